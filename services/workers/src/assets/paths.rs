//! Patterns of URLs as `_headers`, `_redirects` and `run_worker_first` write them.

use std::{borrow::Cow, fmt::Write as _};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use proxima_model::FirstPaths;
use regex::{Captures, Regex};

/// What a path is written without: as browsers write paths (WHATWG URL, the path percent-encode set), and no backslash, which
/// they would read as a slash.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'}');
/// What a segment of a path is written without, when it was decoded.
const SEGMENT: &AsciiSet = &PATH.add(b'%').add(b'[').add(b']').add(b'|');
/// What a location is written without.
const LOCATION: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'|');
/// What a splat is called.
const SPLAT: &str = "splat";

/// A path, with its escapes read: where it is UTF-8, by segments. Several slashes are as one.
pub(super) fn decode(path: &str) -> Cow<'_, str> {
    if !path.contains('%') && !path.contains("//") {
        return Cow::Borrowed(path);
    }
    let mut decoded = String::with_capacity(path.len());
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 && !decoded.ends_with('/') {
            decoded.push('/');
        }
        let read = percent_decode_str(segment).decode_utf8().unwrap_or(Cow::Borrowed(segment));
        // An escaped slash is one.
        for letter in read.chars() {
            if letter != '/' || !decoded.ends_with('/') {
                decoded.push(letter);
            }
        }
    }
    Cow::Owned(decoded)
}

/// A decoded path as it stands in a URL.
pub(super) fn encode(path: &str) -> String {
    utf8_percent_encode(path, SEGMENT).to_string()
}

/// A path that a person has written, as requests have it.
pub(super) fn as_asked(path: &str) -> String {
    utf8_percent_encode(path, PATH).to_string()
}

/// A location as it stands in a field.
pub(super) fn location(text: &str) -> String {
    utf8_percent_encode(text, LOCATION).to_string()
}

/// A pattern of paths, or of `https://HOST/PATH`: `*` is any letters, `:name` those up to the next slash (of a host, the next
/// dot).
#[derive(Debug)]
pub(super) struct Pattern {
    regex: Regex,
    has_host: bool,
}

impl Pattern {
    /// Reads one; nothing of what has several splats, or a name twice.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let has_host = text.starts_with("https://");
        let path_at = if has_host {
            text["https://".len()..].find('/').map(|at| at + "https://".len())
        } else {
            Some(0)
        };
        let mut expression = String::from("^");
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            let at = text.len() - rest.len();
            if letter == '*' {
                let _ = write!(expression, "(?<{SPLAT}>.*)");
                rest = &rest[1..];
            } else if let Some(name) = placeholder(rest).filter(|_| !has_host || at >= "https://".len()) {
                let in_host = path_at.is_none_or(|path_at| at < path_at);
                let _ = write!(expression, "(?<{name}>{})", if in_host { "[^/.]+" } else { "[^/]+" });
                rest = &rest[1 + name.len()..];
            } else {
                let literal = letter.len_utf8();
                expression += &regex::escape(&rest[..literal]);
                rest = &rest[literal..];
            }
        }
        expression.push('$');
        let regex = Regex::new(&expression).ok()?;
        Some(Self { regex, has_host })
    }

    /// What of a URL it stands for, if it fits.
    pub(super) fn captures<'t>(&self, url: &'t Url<'_>) -> Option<Captures<'t>> {
        self.regex.captures(if self.has_host { url.with_host() } else { url.path })
    }
}

/// Whether a text has a splat or a placeholder.
pub(super) fn is_dynamic(text: &str) -> bool {
    text.contains('*') || text.match_indices(':').any(|(at, _)| placeholder(&text[at..]).is_some())
}

/// The name after a colon that this begins with.
fn placeholder(text: &str) -> Option<&str> {
    let rest = text.strip_prefix(':')?;
    let is_of_it = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let name = &rest[..rest.find(|letter| !is_of_it(letter)).unwrap_or(rest.len())];
    name.starts_with(|first: char| first.is_ascii_alphabetic()).then_some(name)
}

/// The URL that is asked for, as patterns see it.
pub(super) struct Url<'a> {
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    with_host: std::cell::OnceCell<String>,
}

impl<'a> Url<'a> {
    pub(super) const fn new(host: &'a str, path: &'a str) -> Self {
        Self { host, path, with_host: std::cell::OnceCell::new() }
    }

    pub(super) fn with_host(&self) -> &str {
        self.with_host.get_or_init(|| ["https://", self.host, self.path].concat())
    }
}

/// A text in which `:name` stands for what a pattern has found.
#[derive(Debug)]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Text(String),
    Name(String),
}

impl Template {
    /// Reads one, in which names are those of the pattern.
    pub(super) fn parse(text: &str, pattern: &Pattern) -> Self {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            let known = placeholder(rest)
                .filter(|name| pattern.regex.capture_names().flatten().any(|known| known == *name));
            if let Some(name) = known {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
                pieces.push(Piece::Name(name.to_owned()));
                rest = &rest[1 + name.len()..];
            } else {
                literal.push(letter);
                rest = &rest[letter.len_utf8()..];
            }
        }
        pieces.push(Piece::Text(literal));
        Self(pieces)
    }

    /// The text, with what was found.
    pub(super) fn fill(&self, found: &Captures<'_>) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            text += match piece {
                Piece::Text(literal) => literal,
                Piece::Name(name) => found.name(name).map_or("", |found| found.as_str()),
            };
        }
        text
    }
}

/// Which paths code is asked about before assets are.
#[derive(Debug)]
pub(super) struct First {
    code: Vec<Glob>,
    assets: Vec<Glob>,
}

/// Who is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Code,
    Assets,
    /// No rule says so.
    Unsaid,
}

impl First {
    pub(super) fn of(paths: &FirstPaths) -> Self {
        let (mut code, mut assets) = (Vec::new(), Vec::new());
        for path in paths.as_slice() {
            match path.strip_prefix('!') {
                Some(path) => assets.push(Glob::of(path)),
                None => code.push(Glob::of(path)),
            }
        }
        Self { code, assets }
    }

    pub(super) fn who(&self, path: &str) -> Who {
        let fits = |globs: &[Glob]| globs.iter().any(|glob| glob.fits(path));
        match (fits(&self.assets), fits(&self.code)) {
            (true, _) => Who::Assets,
            (false, true) => Who::Code,
            (false, false) => Who::Unsaid,
        }
    }
}

/// A path with `*` for any letters.
#[derive(Debug)]
struct Glob(Vec<String>);

impl Glob {
    fn of(text: &str) -> Self {
        Self(text.split('*').map(str::to_owned).collect())
    }

    /// Each part is looked for where it comes first: what is left for the others is most then.
    fn fits(&self, path: &str) -> bool {
        let [first, rest @ ..] = &self.0[..] else { return false };
        let Some(mut left) = path.strip_prefix(first.as_str()) else { return false };
        let [between @ .., last] = rest else { return left.is_empty() };
        for part in between {
            let Some(at) = left.find(part.as_str()) else { return false };
            left = &left[at + part.len()..];
        }
        left.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_by_segments_and_written_again() {
        for (path, decoded) in [
            ("/a/b", "/a/b"),
            ("/a%20b/%C3%BC", "/a b/ü"),
            ("/%ff/%C3%BC", "/%ff/ü"),
            ("//a///b//", "/a/b/"),
            ("/%2F%2fevil", "/evil"),
            ("/", "/"),
        ] {
            assert_eq!(decode(path), decoded, "{path}");
        }
        assert_eq!(encode("/a b/ü%"), "/a%20b/%C3%BC%25");
        assert_eq!(encode("/@scope/a+b.js"), "/@scope/a+b.js");
        assert_eq!(encode("/\\evil"), "/%5Cevil");
    }

    #[test]
    fn splats_and_placeholders_stand_for_parts_of_a_url() {
        let filled = |pattern: &str, template: &str, host: &str, path: &str| {
            let pattern = Pattern::parse(pattern)?;
            let template = Template::parse(template, &pattern);
            let url = Url::new(host, path);
            pattern.captures(&url).map(|found| template.fill(&found))
        };
        let at = |pattern: &str, template: &str, path: &str| filled(pattern, template, "example.com", path);
        assert_eq!(at("/blog/*", "/posts/:splat", "/blog/a/b").as_deref(), Some("/posts/a/b"));
        assert_eq!(at("/blog/*", "/posts/:splat", "/blog/").as_deref(), Some("/posts/"));
        assert_eq!(at("/blog/*", "", "/blog"), None);
        assert_eq!(at("/:a/:b", "/:b-:a/:c", "/x/y").as_deref(), Some("/y-x/:c"), "no such name");
        assert_eq!(at("/:a", "", "/x/y"), None, "a placeholder ends with its segment");
        assert_eq!(at("/:a.html", "/:a", "/x.html").as_deref(), Some("/x"));
        assert_eq!(at("/a.b", "", "/aXb"), None, "a dot is a dot");
        assert!(Pattern::parse("/*/*").is_none(), "several splats");
        assert!(Pattern::parse("/:a/:a").is_none(), "a name twice");
        let host = "https://:sub.example.com/:a";
        assert_eq!(filled(host, ":sub :a", "www.example.com", "/x").as_deref(), Some("www x"));
        assert_eq!(
            filled(host, "", "a.b.example.com", "/x"),
            None,
            "a placeholder of a host ends with its label"
        );
        assert_eq!(filled("https://other.example/*", "", "example.com", "/x"), None);
    }

    #[test]
    fn exceptions_go_before_what_they_are_of() {
        let rules = ["/api/*", "!/api/docs/*", "/exact", "/a*b*c"].map(str::to_owned).to_vec();
        let first = First::of(&FirstPaths::try_from(rules).expect("they are rules"));
        for (path, who) in [
            ("/api/x", Who::Code),
            ("/api/", Who::Code),
            ("/api", Who::Unsaid),
            ("/api/docs/x", Who::Assets),
            ("/exact", Who::Code),
            ("/exact/", Who::Unsaid),
            ("/aXbYc", Who::Code),
            ("/abc", Who::Code),
            ("/acb", Who::Unsaid),
            ("/abcb", Who::Unsaid),
        ] {
            assert_eq!(first.who(path), who, "{path}");
        }
        let all = First::of(&FirstPaths::try_from(vec!["/*".to_owned()]).expect("a rule"));
        assert_eq!(all.who("/"), Who::Code);
    }
}
