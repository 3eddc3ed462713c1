//! Which requests a stored response answers (RFC 9111, 4.1): `Vary` and the secondary key made of it.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use proxima_pipeline::lists::{WEIGHT_MAX, members, weight};

use super::codings;
use crate::hashing;

/// Names that a response may vary by; one with more is not stored, because nobody would ever match it again.
pub const VARY_NAMES_MAX: usize = 16;

/// The request fields that a response depends on, in one order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Vary(Arc<[HeaderName]>);

impl Vary {
    /// Reads a response's `Vary`. `None`: it matches no request (`*`, or something that is no name), or names more
    /// than [`VARY_NAMES_MAX`].
    pub fn read(response: &HeaderMap) -> Option<Self> {
        let names = members(response, &header::VARY)
            .filter(|name| !name.is_empty())
            .map(|name| if name == b"*" { None } else { HeaderName::from_bytes(name).ok() })
            .collect::<Option<Vec<_>>>()?;
        Some(Self::of(names)).filter(|vary| vary.0.len() <= VARY_NAMES_MAX)
    }

    fn of(mut names: Vec<HeaderName>) -> Self {
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        Self(names.into())
    }

    /// The names, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(HeaderName::as_str)
    }

    /// The names that [`Self::names`] gave; `None` if these are none.
    pub fn of_names(names: &[String]) -> Option<Self> {
        let read = |name: &String| HeaderName::from_bytes(name.as_bytes()).ok();
        names.iter().map(read).collect::<Option<_>>().map(Self::of)
    }

    /// Whether every request matches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same names and those by which an answer with a part depends on its request: it answers who asks for the
    /// very same part, on the very same condition.
    #[must_use]
    pub fn of_a_part(&self) -> Self {
        Self::of(self.0.iter().cloned().chain([header::RANGE, header::IF_RANGE]).collect())
    }

    /// Whether these are the names of an answer with a part.
    pub fn is_of_a_part(&self) -> bool {
        self.0.contains(&header::RANGE)
    }

    /// The secondary key of a request under these names.
    pub fn variant(&self, request: &HeaderMap) -> Variant {
        self.key(request, None)
    }

    /// The secondary key of all requests that prefer this language to all others and are alike else. `None` if
    /// answers do not vary by `Accept-Language`.
    pub fn variant_in(&self, request: &HeaderMap, language: &[u8]) -> Option<Variant> {
        self.0.contains(&header::ACCEPT_LANGUAGE).then(|| self.key(request, Some(language)))
    }

    fn key(&self, request: &HeaderMap, language: Option<&[u8]>) -> Variant {
        let mut key = Vec::new();
        for name in self.0.iter() {
            key.extend_from_slice(name.as_str().as_bytes());
            key.push(SEPARATOR);
            match language.filter(|_| *name == header::ACCEPT_LANGUAGE) {
                Some(language) => {
                    key.push(PREFERRED);
                    key.extend(language.iter().map(u8::to_ascii_lowercase));
                }
                None if request.contains_key(name) => {
                    key.push(PRESENT);
                    normalise(name, request, &mut key);
                }
                None => {}
            }
            key.push(SEPARATOR);
        }
        Variant(key.into())
    }
}

/// No field name or value can hold these octets, so that keys of different requests cannot run together.
const SEPARATOR: u8 = 0;
const PRESENT: u8 = 1;
const PREFERRED: u8 = 2;

/// The language that a request prefers to all others: the only one of the highest weight (RFC 9110, 12.5.4).
pub fn preferred_language(request: &HeaderMap) -> Option<Vec<u8>> {
    let ranked = ranked(&header::ACCEPT_LANGUAGE, request);
    let alone = ranked.get(1).is_none_or(|second| second.0 != ranked[0].0);
    let (std::cmp::Reverse(weight), language) = ranked.into_iter().next()?;
    (alone && weight > 0 && language != b"*").then_some(language)
}

/// Whether a request names this language and prefers none to it. Then an answer in it was the best that its origin
/// could give; one in another language was a compromise, which lesser preferences or something else decided.
pub fn prefers_none_to(request: &HeaderMap, language: &[u8]) -> bool {
    let ranked = ranked(&header::ACCEPT_LANGUAGE, request);
    let best = ranked.first().map(|(weight, _)| *weight).filter(|weight| weight.0 > 0);
    ranked.iter().any(|(weight, named)| Some(*weight) == best && named.eq_ignore_ascii_case(language))
}

/// The members of a list of preferences by falling weight, each once.
fn ranked(name: &HeaderName, request: &HeaderMap) -> Vec<(std::cmp::Reverse<u16>, Vec<u8>)> {
    let lines = request.get_all(name).iter().map(HeaderValue::as_bytes);
    let members = lines.flat_map(Members).map(<[u8]>::trim_ascii).filter(|member| !member.is_empty());
    let mut ranked: Vec<_> = members.map(preference).collect();
    ranked.sort_unstable();
    ranked.dedup();
    ranked
}

/// The language that a response is in, if it is in one.
pub fn language_of(response: &HeaderMap) -> Option<&[u8]> {
    let mut lines = response.get_all(header::CONTENT_LANGUAGE).iter();
    let (Some(only), None) = (lines.next(), lines.next()) else { return None };
    let tag = only.as_bytes().trim_ascii();
    let is_tag = !tag.is_empty() && tag.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-');
    is_tag.then_some(tag)
}

/// What a request says in the fields that a response varies by, normalised. Kept in full: a digest could collide,
/// and a collision would hand one variant to the readers of another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Variant(Arc<[u8]>);

impl Variant {
    /// Octets that it takes in memory.
    pub fn octets(&self) -> usize {
        self.0.len()
    }

    /// Its octets: a form that stays the same.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The one that has these octets.
    pub fn from_octets(octets: &[u8]) -> Self {
        Self(octets.into())
    }

    /// Its hash under the process's key; never 0.
    pub(crate) fn hash(&self) -> u64 {
        hashing::of(&*self.0).max(1)
    }
}

/// Appends a field's value in a form in which values that mean the same are the same: lines joined, white space
/// about commas gone; for languages also case and the order of equals (RFC 9110, 12.4.2 and 12.5.4 give that order no
/// meaning); for codings what is left of them for origins ([`codings`]).
fn normalise(name: &HeaderName, request: &HeaderMap, key: &mut Vec<u8>) {
    if *name == header::ACCEPT_ENCODING {
        key.extend_from_slice(codings::accepted(request).unwrap_or_default().as_bytes());
        return;
    }
    if *name == header::ACCEPT_LANGUAGE {
        for (std::cmp::Reverse(weight), member) in ranked(name, request) {
            key.extend_from_slice(&member);
            key.extend_from_slice(format!(";{weight},").as_bytes());
        }
        return;
    }
    let lines = request.get_all(name).iter().map(HeaderValue::as_bytes);
    for member in lines.flat_map(Members).map(<[u8]>::trim_ascii).filter(|member| !member.is_empty()) {
        key.extend_from_slice(member);
        key.push(b',');
    }
}

/// A member of a list of preferences in lower case without spaces, and its weight in thousandths. A weight that is
/// none stays part of the member, which then only equals its like.
fn preference(member: &[u8]) -> (std::cmp::Reverse<u16>, Vec<u8>) {
    let text: Vec<u8> =
        member.iter().filter(|octet| !octet.is_ascii_whitespace()).map(u8::to_ascii_lowercase).collect();
    let split = text.windows(3).position(|window| window == b";q=");
    match split.and_then(|at| Some((at, weight(&text[at + 3..])?))) {
        Some((at, weight)) => (std::cmp::Reverse(weight), text[..at].to_vec()),
        None => (std::cmp::Reverse(WEIGHT_MAX), text),
    }
}

/// The members of a line, split at commas outside quoted strings.
struct Members<'a>(&'a [u8]);

impl<'a> Iterator for Members<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let mut quoted = false;
        let end = self.0.iter().position(|octet| {
            quoted ^= *octet == b'"';
            *octet == b',' && !quoted
        });
        let end = end.unwrap_or(self.0.len());
        let member = &self.0[..end];
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        Some(member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn vary(lines: &[&'static str]) -> Option<Vary> {
        Vary::read(&lines.iter().map(|line| (header::VARY, HeaderValue::from_static(line))).fold(
            HeaderMap::new(),
            |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            },
        ))
    }

    #[test]
    fn a_star_anywhere_matches_nothing() {
        for lines in
            [&["*"][..], &["*, *"], &["*", "*"], &[", *"], &["", "*"], &["*, Foo"], &["Foo, *"], &["a b"]]
        {
            assert_eq!(vary(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn names_have_one_order_and_no_case() {
        assert_eq!(vary(&["Foo, bar"]), vary(&["BAR", "foo , foo"]));
        assert!(vary(&[]).expect("matches all").is_empty());
        let many: String = (0..=VARY_NAMES_MAX).map(|n| format!("x{n},")).collect();
        assert_eq!(vary(&[Box::leak(many.into_boxed_str())]), None);
    }

    #[test]
    fn requests_that_mean_the_same_have_the_same_variant() {
        type Fields = &'static [(&'static str, &'static str)];
        let same: &[(&str, Fields, Fields)] = &[
            ("foo", &[("foo", "1"), ("other", "2")], &[("foo", "1"), ("other", "3")]),
            ("foo", &[("foo", "1, 2")], &[("foo", "1"), ("foo", "2")]),
            ("foo", &[("foo", "1, 2")], &[("foo", " 1,2 ")]),
            ("foo, bar", &[("foo", "1")], &[("foo", "1")]),
            (
                "accept-encoding",
                &[("accept-encoding", "gzip, br")],
                &[("accept-encoding", "BR;q=0.5 , gzip;q=1.0, deflate, zstd")],
            ),
            ("accept-language", &[("accept-language", "en, de")], &[("accept-language", "De,eN")]),
            ("accept-language", &[("accept-language", "en;q=0.5")], &[("accept-language", "en ; q=0.500")]),
        ];
        for (names, one, other) in same {
            let vary = vary(&[names]).expect("names");
            assert_eq!(vary.variant(&fields(one)), vary.variant(&fields(other)), "{one:?} {other:?}");
        }
    }

    #[test]
    fn the_language_preferred_to_all_others_is_the_only_one_of_the_highest_weight() {
        for (accepted, preferred) in [
            ("de", Some("de")),
            ("fr;q=0.5, DE;q=1.0", Some("de")),
            ("fr;q=0.5, de;q=0.501, *;q=0.1", Some("de")),
            ("de-AT, de;q=0.9", Some("de-at")),
            ("en, de", None),
            ("de;q=0", None),
            ("*", None),
            ("", None),
        ] {
            let found = preferred_language(&fields(&[("accept-language", accepted)]));
            assert_eq!(found.as_deref(), preferred.map(str::as_bytes), "{accepted}");
        }
        let german = fields(&[("content-language", "DE")]);
        let vary = vary(&["accept-language, foo"]).expect("names");
        let request = fields(&[("accept-language", "fr;q=0.5, de"), ("foo", "1")]);
        let key = vary.variant_in(&request, language_of(&german).expect("a tag"));
        assert_eq!(key, vary.variant_in(&request, &preferred_language(&request).expect("one")));
        assert_ne!(key, Some(vary.variant(&request)));
        assert_eq!(language_of(&fields(&[("content-language", "de, en")])), None);
    }

    #[test]
    fn an_answer_in_a_language_to_which_none_is_preferred_is_no_compromise() {
        for (accepted, language, best) in [
            ("de", "de", true),
            ("de", "DE", true),
            ("en, de", "de", true),
            ("fr;q=0.5, de;q=0.9", "de", true),
            ("fr, de;q=0.9", "de", false),
            ("de-CH, de;q=0.9", "de", false),
            ("de", "de-CH", false),
            ("*", "de", false),
            ("de;q=0", "de", false),
            ("", "de", false),
        ] {
            let request = fields(&[("accept-language", accepted)]);
            assert_eq!(prefers_none_to(&request, language.as_bytes()), best, "{accepted}: {language}");
        }
        assert!(!prefers_none_to(&HeaderMap::new(), b"de"));
    }

    #[test]
    fn a_part_answers_who_asks_for_the_same_part_on_the_same_condition() {
        let vary = vary(&["foo"]).expect("names").of_a_part();
        assert!(vary.is_of_a_part() && vary.of_a_part() == vary);
        let stored = vary.variant(&fields(&[("range", "bytes=0-1")]));
        assert_eq!(stored, vary.variant(&fields(&[("range", "bytes=0-1"), ("bar", "1")])));
        for other in [
            &[][..],
            &[("range", "bytes=0-2")],
            &[("range", "bytes=0-1"), ("foo", "1")],
            &[("range", "bytes=0-1"), ("if-range", "\"1\"")],
        ] {
            assert_ne!(stored, vary.variant(&fields(other)), "{other:?}");
        }
    }

    #[test]
    fn requests_that_differ_have_different_variants() {
        type Fields = &'static [(&'static str, &'static str)];
        let different: &[(&str, Fields, Fields)] = &[
            ("foo", &[("foo", "1")], &[("foo", "2")]),
            ("foo", &[("foo", "1")], &[]),
            ("foo", &[("foo", "")], &[]),
            ("foo, bar", &[("foo", "1")], &[("bar", "1")]),
            ("foo", &[("foo", "\"a, b\"")], &[("foo", "\"a,b\"")]),
            ("accept-encoding", &[("accept-encoding", "gzip")], &[("accept-encoding", "gzip;q=0")]),
            ("accept-encoding", &[("accept-encoding", "gzip")], &[("accept-encoding", "gzip, br")]),
            ("accept-encoding", &[("accept-encoding", "identity")], &[]),
            ("accept-language", &[("accept-language", "en;q=2")], &[("accept-language", "en")]),
        ];
        for (names, one, other) in different {
            let vary = vary(&[names]).expect("names");
            assert_ne!(vary.variant(&fields(one)), vary.variant(&fields(other)), "{one:?} {other:?}");
        }
    }
}
