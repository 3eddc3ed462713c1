//! `_headers`: fields that answers carry besides, or do not carry.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::paths::{Pattern, Template, Url, as_asked};

/// Rules; what Cloudflare takes.
const RULES_MAX: usize = 100;
/// Letters of a line; beyond, it is passed over; what Cloudflare takes.
const LINE_CHARS_MAX: usize = 2_000;
/// Fields that say where a message ends, or are of one connection: not a site's to say.
const FRAMING: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// The rules, in their order. What is no rule is passed over, as Cloudflare does.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    pattern: Pattern,
    set: Vec<(HeaderName, Value)>,
    unset: Vec<HeaderName>,
}

#[derive(Debug)]
enum Value {
    Fixed(HeaderValue),
    Filled(Template),
}

/// A rule as it is read.
struct Lines {
    url: String,
    set: Vec<(HeaderName, String)>,
    unset: Vec<HeaderName>,
}

impl Fields {
    pub(super) fn parse(text: &str) -> Self {
        let (mut rules, mut open) = (Vec::new(), None::<Lines>);
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') || line.chars().count() > LINE_CHARS_MAX {
                continue;
            }
            if line.starts_with('/') || scheme(line).is_some() {
                rules.extend(open.take().and_then(Rule::of));
                if rules.len() == RULES_MAX {
                    break;
                }
                open = url(line).map(|url| Lines { url, set: Vec::new(), unset: Vec::new() });
            } else if let Some(lines) = &mut open {
                lines.read(line);
            }
        }
        rules.extend(open.and_then(Rule::of));
        rules.truncate(RULES_MAX);
        Self(rules)
    }

    /// Whether there are none.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes an answer's fields what the rules that fit say: a rule replaces what is there, and adds to what others have said.
    pub(super) fn apply(&self, url: &Url<'_>, headers: &mut HeaderMap) {
        let mut said = Vec::new();
        for rule in &self.0 {
            let Some(found) = rule.pattern.captures(url) else { continue };
            for name in &rule.unset {
                headers.remove(name);
            }
            for (name, value) in &rule.set {
                let value = match value {
                    Value::Fixed(value) => value.clone(),
                    Value::Filled(template) => match HeaderValue::try_from(template.fill(&found)) {
                        Ok(value) => value,
                        Err(_) => continue,
                    },
                };
                if said.contains(&name) {
                    headers.append(name.clone(), value);
                } else {
                    headers.insert(name.clone(), value);
                    said.push(name);
                }
            }
        }
    }
}

impl Lines {
    fn read(&mut self, line: &str) {
        match line.split_once(':') {
            Some((name, value)) => {
                let (name, value) = (name.trim(), value.trim());
                let Ok(name) = name.parse::<HeaderName>() else { return };
                if value.is_empty() || FRAMING.contains(&name) {
                    return;
                }
                // One field of several lines is one of several values.
                match self.set.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, known)) => {
                        known.push_str(", ");
                        known.push_str(value);
                    }
                    None => self.set.push((name, value.to_owned())),
                }
            }
            None => {
                let name = line.strip_prefix("! ").and_then(|name| name.trim().parse().ok());
                self.unset.extend(name.filter(|name| !FRAMING.contains(name)));
            }
        }
    }
}

impl Rule {
    fn of(Lines { url, set, unset }: Lines) -> Option<Self> {
        if set.is_empty() && unset.is_empty() {
            return None;
        }
        let pattern = Pattern::parse(&url)?;
        let set = set.into_iter().filter_map(|(name, text)| {
            let value = match super::paths::is_dynamic(&text) {
                true => Value::Filled(Template::parse(&text, &pattern)),
                false => Value::Fixed(HeaderValue::try_from(text).ok()?),
            };
            Some((name, value))
        });
        Some(Self { set: set.collect(), unset, pattern })
    }
}

/// What a line begins with that is a URL with its scheme.
fn scheme(line: &str) -> Option<&str> {
    line.split_once("://").map(|(scheme, _)| scheme).filter(|scheme| !scheme.contains([' ', '\t', ':']))
}

/// What a rule is for, as requests have it; nothing of other schemes, and none with a port.
fn url(line: &str) -> Option<String> {
    let Some(rest) = line.strip_prefix("https://") else {
        return line.starts_with('/').then(|| as_asked(line));
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|it| it.is_ascii_digit()));
    (!host.is_empty() && !has_port).then(|| format!("https://{host}/{}", as_asked(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(text: &str, host: &str, path: &str) -> Vec<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=0, must-revalidate"));
        Fields::parse(text).apply(&Url::new(host, path), &mut headers);
        let mut shown: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("it is text")))
            .collect();
        shown.sort();
        shown
    }

    const DEFAULT: &str = "cache-control: public, max-age=0, must-revalidate";

    #[test]
    fn rules_set_add_and_remove_fields() {
        let text = "# all\n/*\n  X-Frame-Options: DENY\n  X-Robots-Tag: noindex\n\n/static/*\n  Cache-Control: max-age=31556952\n  \
                    x-robots-tag: nosnippet\n/static/plain/*\n  ! X-Frame-Options\n  ! Cache-Control\n";
        assert_eq!(applied(text, "a", "/"), [DEFAULT, "x-frame-options: DENY", "x-robots-tag: noindex"]);
        let of_static = [
            "cache-control: max-age=31556952",
            "x-frame-options: DENY",
            "x-robots-tag: noindex",
            "x-robots-tag: nosnippet",
        ];
        assert_eq!(applied(text, "a", "/static/a.css"), of_static);
        assert_eq!(
            applied(text, "a", "/static/plain/a"),
            ["x-robots-tag: noindex", "x-robots-tag: nosnippet"]
        );
    }

    #[test]
    fn a_field_of_several_lines_is_a_list_and_values_are_filled_in() {
        let text = "/movies/:title\n  x-movie: You watch :title: well\n  Link: </a>; rel=preload\n  Link: </b>; rel=preload\n\
                    https://:name.pages.example/*\n  x-site: :name\nhttps://a:8080/*\n  x-port: no\nhttp://a/*\n  x-plain: no\n";
        assert_eq!(
            applied(text, "a", "/movies/Dune"),
            [DEFAULT, "link: </a>; rel=preload, </b>; rel=preload", "x-movie: You watch Dune: well"]
        );
        assert_eq!(applied(text, "one.pages.example", "/"), [DEFAULT, "x-site: one"]);
        assert_eq!(applied(text, "a", "/"), [DEFAULT]);
    }

    #[test]
    fn what_is_no_rule_is_passed_over() {
        for text in [
            "x-before: any path",
            "/*",
            "/*\n  no colon",
            "/*\n  a b: space in the name",
            "/*\n  : no name",
            "/*\n  x-nothing:",
            "/*\n  content-length: 1\n  Transfer-Encoding: chunked\n  ! connection",
            "/*/*\n  x-two: splats",
            &format!("/*\n  x-long: {}", "a".repeat(2_000)),
        ] {
            assert_eq!(applied(text, "a", "/a"), [DEFAULT], "{text}");
        }
    }

    #[test]
    fn rules_are_bounded_in_number() {
        let rules =
            |count: usize| (0..count).map(|index| format!("/{index}\n  x-a: b\n")).collect::<String>();
        assert_eq!(applied(&rules(100), "a", "/99").len(), 2);
        assert_eq!(applied(&rules(101), "a", "/100").len(), 1);
    }
}
