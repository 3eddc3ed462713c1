//! Entity tags (RFC 9110, 8.8.3), and lists of them.

use http::HeaderValue;

/// An entity tag as it was written: `"x"` or `W/"x"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'a> {
    weak: bool,
    /// The opaque part with its quotes (or without, as some origins write it: then it only equals its like).
    opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// Reads a field's whole value as one tag.
    pub fn parse(value: &'a [u8]) -> Self {
        let value = value.trim_ascii();
        match value.strip_prefix(b"W/") {
            Some(opaque) => Self { weak: true, opaque },
            None => Self { weak: false, opaque: value },
        }
    }

    /// Strong comparison (8.8.3.2): both strong and the same.
    pub fn strong_eq(self, other: Self) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// Weak comparison: the same but for weakness.
    pub fn weak_eq(self, other: Self) -> bool {
        self.opaque == other.opaque
    }
}

/// Whether one of the tags listed in `If-None-Match` equals `stored` weakly, or the list is `*` (13.1.2).
pub fn any_matches<'a>(lines: impl Iterator<Item = &'a HeaderValue>, stored: Option<&HeaderValue>) -> bool {
    let stored = stored.map(|value| EntityTag::parse(value.as_bytes()));
    lines.map(HeaderValue::as_bytes).any(|line| {
        line.trim_ascii() == b"*" || stored.is_some_and(|tag| Tags(line).any(|listed| listed.weak_eq(tag)))
    })
}

/// The tags of one line, split at commas outside quotes (a tag may hold commas, and knows no escapes).
struct Tags<'a>(&'a [u8]);

impl<'a> Iterator for Tags<'a> {
    type Item = EntityTag<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            let mut quoted = false;
            let end = self
                .0
                .iter()
                .position(|octet| {
                    quoted ^= *octet == b'"';
                    *octet == b',' && !quoted
                })
                .unwrap_or(self.0.len());
            let tag = self.0[..end].trim_ascii();
            self.0 = self.0.get(end + 1..).unwrap_or_default();
            if !tag.is_empty() {
                return Some(EntityTag::parse(tag));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_strongly_and_weakly() {
        let tag = |text: &'static str| EntityTag::parse(text.as_bytes());
        // RFC 9110, 8.8.3.2, the table of examples.
        for (one, other, strong, weak) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ] {
            assert_eq!(tag(one).strong_eq(tag(other)), strong, "{one} {other}");
            assert_eq!(tag(one).weak_eq(tag(other)), weak, "{one} {other}");
        }
    }

    #[test]
    fn lists_are_searched_wherever_the_tag_stands() {
        let matches = |list: &'static str, stored: &'static str| {
            any_matches([HeaderValue::from_static(list)].iter(), Some(&HeaderValue::from_static(stored)))
        };
        assert!(matches("\"a\", \"b\", \"c\"", "\"a\""));
        assert!(matches("\"a\" , W/\"b\",\"c\"", "\"b\""));
        assert!(matches("\"a\", \"b\", \"c\"", "W/\"c\""));
        assert!(matches("\"with, comma\"", "\"with, comma\""));
        assert!(matches("*", "\"x\""));
        assert!(matches(", ,\"x\"", "\"x\""));
        assert!(!matches("\"ab\"", "\"a\""));
        assert!(!matches("a", "\"a\""));
        assert!(!matches("w/\"a\"", "\"a\""));
        assert!(!matches("", "\"a\""));
    }
}
