//! `_redirects`: who asks for this is sent there, whether there is a file or not.

use std::collections::{HashMap, HashSet};

use http::StatusCode;
use proxima_model::HtmlHandling;

use super::paths::{Pattern, Template, Url, as_asked, is_dynamic, location};

/// Rules of fixed paths; what Cloudflare takes.
const STATIC_MAX: usize = 2_000;
/// Rules of patterns: each is looked at for every request; what Cloudflare takes.
const DYNAMIC_MAX: usize = 100;
/// Letters of a line; beyond, it is passed over. Cloudflare documents half of that, and takes it.
const LINE_CHARS_MAX: usize = 2_000;

/// The rules, in their order. What is no rule is passed over, as Cloudflare does.
#[derive(Debug, Default)]
pub(super) struct Redirects {
    fixed: HashMap<String, (String, u16)>,
    dynamic: Vec<(Pattern, Template, u16)>,
}

/// Where a request is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// To this location, with this status.
    To(StatusCode, String),
    /// Nowhere: it is answered as if it were for this path.
    Within(String),
}

impl Redirects {
    pub(super) fn parse(text: &str, handling: HtmlHandling) -> Self {
        let (mut rules, mut seen) = (Self::default(), HashSet::new());
        for line in text.lines() {
            let Some((from, to, status)) = rule(line, handling) else { continue };
            // Behind the first pattern all are looked at one by one.
            let is_fixed = rules.dynamic.is_empty() && !is_dynamic(&from);
            let full =
                if is_fixed { rules.fixed.len() >= STATIC_MAX } else { rules.dynamic.len() >= DYNAMIC_MAX };
            if full || !seen.insert(from.clone()) {
                continue;
            }
            if is_fixed {
                rules.fixed.insert(from, (to, status));
            } else if let Some(pattern) = Pattern::parse(&from) {
                let template = Template::parse(&to, &pattern);
                rules.dynamic.push((pattern, template, status));
            }
        }
        rules
    }

    /// Where a request for this URL is sent, if anywhere.
    pub(super) fn find(&self, url: &Url<'_>, query: Option<&str>) -> Option<Sent> {
        if let Some((to, status)) = self.fixed.get(url.path) {
            return Some(sent(to, *status, query));
        }
        let (found, template, status) = self.dynamic.iter().find_map(|(pattern, template, status)| {
            pattern.captures(url).map(|found| (found, template, *status))
        })?;
        let to = template.fill(&found);
        let to = to.trim();
        // What was filled in could make another host of a path.
        Some(if is_absolute(to) { sent(to, status, query) } else { sent(&single_slashes(to), status, query) })
    }
}

/// A rule's parts, if it is one that can do something.
fn rule(line: &str, handling: HtmlHandling) -> Option<(String, String, u16)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') || line.chars().count() > LINE_CHARS_MAX {
        return None;
    }
    let tokens: Vec<&str> = line.split_whitespace().take_while(|token| !token.starts_with('#')).collect();
    let (from, to, status) = match tokens[..] {
        [from, to] => (from, to, 302),
        [from, to, status] => (from, to, status.parse().ok()?),
        _ => return None,
    };
    if !matches!(status, 200 | 301 | 302 | 303 | 307 | 308) || is_absolute(from) {
        return None;
    }
    let from = from.split(['?', '#']).next().unwrap_or_default();
    let from = as_asked(&format!("/{}", from.strip_prefix('/').unwrap_or(from)));
    let is_within = to.starts_with('/');
    let is_other = to.starts_with("https://") && to.len() > "https://".len();
    if !is_within && (!is_other || status == 200) {
        return None;
    }
    // It would lead to itself, since indices are sent to where they are.
    let is_index = to.ends_with("/index") || to.ends_with("/index.html");
    let is_loop = from.ends_with("/*") || from.ends_with('/') && handling != HtmlHandling::None;
    if is_within && is_index && is_loop {
        return None;
    }
    Some((from, if is_within { single_slashes(to) } else { to.to_owned() }, status))
}

fn is_absolute(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.bytes().all(|octet| octet.is_ascii_alphanumeric())
    })
}

/// A target within the site whose path makes no other host; a query and a fragment are left alone.
fn single_slashes(text: &str) -> String {
    let (path, rest) = text.split_at(text.find(['?', '#']).unwrap_or(text.len()));
    let mut single = String::with_capacity(text.len());
    // Browsers read a backslash as a slash.
    for letter in path.chars().map(|letter| if letter == '\\' { '/' } else { letter }) {
        if letter != '/' || !single.ends_with('/') {
            single.push(letter);
        }
    }
    single + rest
}

/// What a rule says, with the query of the request where it has none of its own.
fn sent(to: &str, status: u16, query: Option<&str>) -> Sent {
    let (rest, fragment) = to.split_once('#').map_or((to, None), |(rest, fragment)| (rest, Some(fragment)));
    let (path, own) = rest.split_once('?').map_or((rest, None), |(path, own)| (path, Some(own)));
    if status == 200 {
        return Sent::Within(as_asked(path));
    }
    let mut target = path.to_owned();
    if let Some(query) = own.filter(|own| !own.is_empty()).or(query) {
        target.push('?');
        target += query;
    }
    if let Some(fragment) = fragment {
        target.push('#');
        target += fragment;
    }
    Sent::To(StatusCode::from_u16(status).unwrap_or(StatusCode::FOUND), location(&target))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, target: &str) -> Option<Sent> {
        let rules = Redirects::parse(text, HtmlHandling::AutoTrailingSlash);
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        rules.find(&Url::new("example.com", path), query)
    }

    fn to(status: u16, location: &str) -> Option<Sent> {
        Some(Sent::To(StatusCode::from_u16(status).expect("a status"), location.to_owned()))
    }

    /// The example of Cloudflare's documentation.
    const EXAMPLE: &str = "/home301 / 301
/home302 / 302
/querystrings /?query=string 301
/twitch https://twitch.tv
/trailing /trailing/ 301
/notrailing/ /nottrailing 301
/page/ /page2/#fragment 301
/blog/* https://blog.my.domain/:splat
/products/:code/:name /products?code=:code&name=:name
";

    #[test]
    fn rules_send_on_as_they_are_documented() {
        for (target, sent) in [
            ("/home301", to(301, "/")),
            ("/home302", to(302, "/")),
            ("/querystrings", to(301, "/?query=string")),
            ("/querystrings?a=b", to(301, "/?query=string")),
            ("/twitch?a=b", to(302, "https://twitch.tv?a=b")),
            ("/trailing", to(301, "/trailing/")),
            ("/notrailing/", to(301, "/nottrailing")),
            ("/page/?a", to(301, "/page2/?a#fragment")),
            ("/blog/2026/x", to(302, "https://blog.my.domain/2026/x")),
            ("/products/1/two", to(302, "/products?code=1&name=two")),
            ("/products/1", None),
            ("/trailing/", None),
            ("/", None),
        ] {
            assert_eq!(find(EXAMPLE, target), sent, "{target}");
        }
    }

    #[test]
    fn a_status_of_200_answers_with_another_path_of_the_site() {
        let rules = "/a /b 200\n/b /c 200\n/x/* https://other.example/:splat 200\n/y/* /z/:splat?q#f 200";
        assert_eq!(find(rules, "/a"), Some(Sent::Within("/b".to_owned())), "once only");
        assert_eq!(find(rules, "/x/1"), None, "another host cannot be asked");
        assert_eq!(find(rules, "/y/1"), Some(Sent::Within("/z/1".to_owned())));
    }

    #[test]
    fn what_is_no_rule_is_passed_over() {
        for line in [
            "# /a /b",
            "/a",
            "/a /b 404",
            "/a /b x",
            "/a /b 301 c",
            "https://example.com/a /b",
            "/a ftp://b",
            "/a b",
            "/* /index.html 200",
            "/* /index",
            "/a/ /index.html",
            &format!("/a /{}", "b".repeat(2_000)),
        ] {
            for target in ["/a", "/a/"] {
                assert_eq!(find(line, target), None, "{line}");
            }
        }
        assert_eq!(find("/a /b # why\n/a /c", "/a"), to(302, "/b"), "the first of a path counts");
        assert_eq!(find("a /b", "/a"), to(302, "/b"), "without its slash");
        assert_eq!(find("/ü /b\r\n", "/%C3%BC"), to(302, "/b"));
        assert_eq!(
            find("/a //b?u=https://c", "/a"),
            to(302, "/b?u=https://c"),
            "no host, and a query as it is"
        );
    }

    #[test]
    fn what_is_filled_in_makes_no_other_host() {
        for target in ["/go//evil.example", "/go/\\evil.example", "/go///evil.example"] {
            assert_eq!(find("/go/* /:splat", target), to(302, "/evil.example"), "{target}");
        }
    }

    #[test]
    fn rules_are_bounded_in_number() {
        let lines =
            |count: usize, rule: fn(usize) -> String| (0..count).map(rule).collect::<Vec<_>>().join("\n");
        let fixed = lines(2_001, |index| format!("/{index} /x"));
        assert!(find(&fixed, "/1999").is_some() && find(&fixed, "/2000").is_none());
        let dynamic = lines(101, |index| format!("/{index}/* /x"));
        assert!(find(&dynamic, "/99/").is_some() && find(&dynamic, "/100/").is_none());
    }
}
