//! Keys as cache rules make them: less of the query, and more of the request's fields.

use http::HeaderMap;
use proxima_model::{ArgNames, CacheKey, CustomKey, KeyQuery};
use proxima_pipeline::{Request, cookies, name_and_value};

/// What a rule makes of a request's key: its URL, and what else belongs to it. `None`: the rule leaves the key as it is.
pub(super) fn make(request: &Request, settings: &CacheKey) -> Option<(String, Vec<u8>)> {
    let custom = settings.custom_key.as_ref();
    let query_rule = custom.and_then(|custom| custom.query_string.as_ref());
    let sorted = settings.ignore_query_strings_order == Some(true);
    if custom.is_none() && !sorted {
        return None;
    }
    let mut url = request.url();
    if (sorted || query_rule.is_some())
        && let Some(at) = url.find('?')
    {
        let query = reduced(&url[at + 1..], query_rule, sorted);
        url.truncate(at);
        if !query.is_empty() {
            url.push('?');
            url.push_str(&query);
        }
    }
    Some((url, custom.map(|custom| parts(&request.headers, custom)).unwrap_or_default()))
}

fn reduced(query: &str, rule: Option<&KeyQuery>, sorted: bool) -> String {
    let is_named = |names: &ArgNames, arg: &str| match names {
        ArgNames::All => true,
        ArgNames::These(list) => {
            let (name, _) = name_and_value(arg.as_bytes());
            list.iter().any(|known| known.as_bytes() == name)
        }
    };
    let is_kept = |arg: &&str| match rule {
        Some(KeyQuery { include: Some(names), .. }) => is_named(names, arg),
        Some(KeyQuery { exclude: Some(names), .. }) => !is_named(names, arg),
        _ => true,
    };
    let mut args: Vec<&str> = query.split('&').filter(is_kept).collect();
    if sorted {
        args.sort_unstable();
    }
    args.join("&")
}

/// Values have a length before them, so that those of different requests cannot run together.
fn parts(headers: &HeaderMap, custom: &CustomKey) -> Vec<u8> {
    let mut parts = Vec::new();
    if let Some(header) = &custom.header {
        let origin = (header.exclude_origin == Some(false)).then_some("origin");
        for name in header.include.iter().map(String::as_str).chain(origin) {
            put_all(&mut parts, headers.get_all(name).iter().map(http::HeaderValue::as_bytes));
        }
        for name in &header.check_presence {
            parts.push(u8::from(headers.contains_key(name)));
        }
        for (name, texts) in &header.contains {
            for text in texts {
                let has = |value: &http::HeaderValue| {
                    memchr::memmem::find(value.as_bytes(), text.as_bytes()).is_some()
                };
                parts.push(u8::from(headers.get_all(name).iter().any(has)));
            }
        }
    }
    if let Some(cookie) = &custom.cookie {
        let values = |wanted: &str| {
            let wanted = wanted.as_bytes().to_vec();
            cookies(headers).filter_map(move |(name, value)| (name == wanted).then_some(value))
        };
        for name in &cookie.include {
            put_all(&mut parts, values(name));
        }
        for name in &cookie.check_presence {
            parts.push(u8::from(values(name).next().is_some()));
        }
    }
    if custom.user.is_some_and(|user| user.lang == Some(true)) {
        let accepted = headers.get(http::header::ACCEPT_LANGUAGE).map_or(&[][..], |value| value.as_bytes());
        let first = accepted.split(|octet| matches!(octet, b',' | b';')).next().unwrap_or_default();
        put_all(&mut parts, [first.trim_ascii().to_ascii_lowercase().as_slice()].into_iter());
    }
    parts
}

fn put_all<'a>(parts: &mut Vec<u8>, values: impl Iterator<Item = &'a [u8]>) {
    for value in values {
        parts.push(1);
        parts.extend_from_slice(&(value.len() as u64).to_be_bytes());
        parts.extend_from_slice(value);
    }
    parts.push(0);
}
