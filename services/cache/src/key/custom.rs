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

/// Each value stands behind what it is of, and has a length before it: neither those of different requests nor those that
/// different rules ask for can run together.
fn parts(headers: &HeaderMap, custom: &CustomKey) -> Vec<u8> {
    let mut parts = Vec::new();
    if let Some(header) = &custom.header {
        let origin = (header.exclude_origin == Some(false)).then_some("origin");
        for name in header.include.iter().map(String::as_str).chain(origin) {
            put_name(&mut parts, b'h', name);
            put_all(&mut parts, headers.get_all(name).iter().map(http::HeaderValue::as_bytes));
        }
        for name in &header.check_presence {
            put_name(&mut parts, b'H', name);
            parts.push(u8::from(headers.contains_key(name)));
        }
        for (name, texts) in &header.contains {
            for text in texts {
                put_name(&mut parts, b'n', name);
                put_all(&mut parts, [text.as_bytes()].into_iter());
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
            put_name(&mut parts, b'c', name);
            put_all(&mut parts, values(name));
        }
        for name in &cookie.check_presence {
            put_name(&mut parts, b'C', name);
            parts.push(u8::from(values(name).next().is_some()));
        }
    }
    if custom.user.is_some_and(|user| user.lang == Some(true)) {
        let accepted = headers.get(http::header::ACCEPT_LANGUAGE).map_or(&[][..], |value| value.as_bytes());
        let first = accepted.split(|octet| matches!(octet, b',' | b';')).next().unwrap_or_default();
        put_name(&mut parts, b'l', "");
        put_all(&mut parts, [first.trim_ascii().to_ascii_lowercase().as_slice()].into_iter());
    }
    parts
}

/// The kind of a part, and the name of the field or cookie that it is of.
fn put_name(parts: &mut Vec<u8>, kind: u8, name: impl AsRef<str>) {
    parts.push(kind);
    put_all(parts, [name.as_ref().as_bytes()].into_iter());
}

fn put_all<'a>(parts: &mut Vec<u8>, values: impl Iterator<Item = &'a [u8]>) {
    for value in values {
        parts.push(1);
        parts.extend_from_slice(&(value.len() as u64).to_be_bytes());
        parts.extend_from_slice(value);
    }
    parts.push(0);
}
