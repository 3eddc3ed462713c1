//! Byte ranges (RFC 9110, 14): one range at a time. A request for several is answered with the whole, which the
//! RFC allows and which leaves nothing to be gained by asking for hundreds.

use http::{HeaderMap, HeaderValue, header};

use super::{date, validators::EntityTag};

/// Ranges of one request that the origin is asked for, where a request goes past the cache: as many as common servers
/// answer. More, small or overlapping, are for making servers work (RFC 9110, 14.2 and 17.15).
pub const RANGES_MAX: usize = 200;

/// Whether a request asks for more ranges than are passed on.
pub fn is_absurd(request: &HeaderMap) -> bool {
    let commas = |line: &HeaderValue| line.as_bytes().iter().filter(|octet| **octet == b',').count();
    request.get_all(header::RANGE).iter().map(|line| commas(line) + 1).sum::<usize>() > RANGES_MAX
}

/// What a `Range` field asks for, before the length is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// From this octet, to this one inclusive or to the end.
    From(u64, Option<u64>),
    /// The last octets.
    Last(u64),
}

impl Asked {
    /// Reads a request's `Range`. `None`: there is none, it is not understood, or it asks for several; the field is
    /// then ignored (14.2).
    pub fn read(request: &HeaderMap) -> Option<Self> {
        let mut lines = request.get_all(header::RANGE).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        let text = line.to_str().ok()?.trim();
        let (unit, set) = text.split_once('=')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = set.trim().split_once('-')?;
        match (octets(first)?, octets(last)?) {
            (Some(first), Some(last)) if last < first => None,
            (Some(first), last) => Some(Self::From(first, last)),
            (None, Some(count)) => Some(Self::Last(count)),
            (None, None) => None,
        }
    }

    /// The part of a representation of this length that is meant; `None`: no part of it (416).
    pub fn of_length(self, length: u64) -> Option<Part> {
        let (first, end) = match self {
            Self::From(first, last) => {
                (first, last.map_or(length, |last| last.saturating_add(1).min(length)))
            }
            Self::Last(count) => (length.saturating_sub(count), length),
        };
        (first < end).then_some(Part { first, end, length })
    }
}

/// A number, nothing, or (`None`) something else.
fn octets(text: &str) -> Option<Option<u64>> {
    if text.is_empty() {
        return Some(None);
    }
    // Digits only: `parse` alone would take a sign.
    let digits = text.bytes().all(|octet| octet.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX)).map(Some)
}

/// A part of a representation: `first..end` of `length` octets, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The first octet.
    pub first: u64,
    /// One past the last.
    pub end: u64,
    /// Octets of the whole.
    pub length: u64,
}

impl Part {
    /// Its `Content-Range` (14.4).
    pub fn content_range(self) -> HeaderValue {
        HeaderValue::from_str(&format!("bytes {}-{}/{}", self.first, self.end - 1, self.length))
            .expect("digits and separators are a valid field value")
    }
}

/// The one part that a 206 says it holds (14.4): first and last octet. `None`: it holds several, or says nothing that
/// makes sense.
pub fn content_range(response: &HeaderMap) -> Option<(u64, u64)> {
    let mut lines = response.get_all(header::CONTENT_RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let (unit, range) = line.to_str().ok()?.trim().split_once(' ')?;
    let (part, length) = range.trim().split_once('/')?;
    let (first, last) = part.split_once('-')?;
    let (first, last) = (octets(first)??, octets(last)??);
    let within = length == "*" || octets(length)?? > last;
    (unit.eq_ignore_ascii_case("bytes") && first <= last && within).then_some((first, last))
}

/// The length of the whole of which a 206 holds a part; `None` if it does not say, or says nothing that makes sense.
pub fn whole_length(response: &HeaderMap) -> Option<u64> {
    content_range(response)?;
    let (_, length) = response.get(header::CONTENT_RANGE)?.to_str().ok()?.rsplit_once('/')?;
    octets(length.trim())?
}

/// `Content-Range` of a 416: only the length.
pub fn unsatisfied_range(length: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("bytes */{length}"))
        .expect("digits and separators are a valid field value")
}

/// Whether `If-Range` (13.1.5) lets the range be answered from the stored response: there is none, or it names the
/// same representation by a strong tag or by the very date of its `Last-Modified`.
pub fn if_range_holds(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let Some(condition) = request.get(header::IF_RANGE) else { return true };
    if let Some(wanted) = date::parse(condition.as_bytes()) {
        return stored
            .get(header::LAST_MODIFIED)
            .and_then(|modified| date::parse(modified.as_bytes()))
            .is_some_and(|modified| modified == wanted);
    }
    stored
        .get(header::ETAG)
        .is_some_and(|tag| EntityTag::parse(tag.as_bytes()).strong_eq(EntityTag::parse(condition.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(range: &str, length: u64) -> Option<Option<(u64, u64)>> {
        let mut request = HeaderMap::new();
        request.insert(header::RANGE, HeaderValue::from_str(range).expect("a value"));
        Some(Asked::read(&request)?.of_length(length).map(|part| (part.first, part.end)))
    }

    #[test]
    fn one_range_is_cut_to_the_length() {
        for (range, length, expected) in [
            ("bytes=0-1", 11, Some((0, 2))),
            ("bytes=1-", 11, Some((1, 11))),
            ("bytes=-1", 11, Some((10, 11))),
            ("bytes=-99", 11, Some((0, 11))),
            ("bytes=5-99999999999999999999999", 11, Some((5, 11))),
            ("Bytes=0-0", 1, Some((0, 1))),
            ("bytes=11-", 11, None),
            ("bytes=-0", 11, None),
            ("bytes=0-", 0, None),
        ] {
            assert_eq!(part(range, length), Some(expected), "{range}");
        }
    }

    #[test]
    fn what_is_not_one_range_is_ignored() {
        for range in
            ["bytes=0-1,3-4", "bytes=", "bytes=-", "lines=0-1", "bytes=a-b", "bytes=+1-2", "bytes=3-2", "0-1"]
        {
            assert_eq!(part(range, 11), None, "{range}");
        }
    }

    #[test]
    fn the_part_that_a_206_holds_is_read_if_it_makes_sense() {
        for (value, expected) in [
            ("bytes 0-4/10", Some((0, 4))),
            ("Bytes 5-9/10", Some((5, 9))),
            ("bytes 5-9/*", Some((5, 9))),
            ("bytes 5-10/10", None),
            ("bytes 5-4/10", None),
            ("bytes */10", None),
            ("bytes 5-/10", None),
            ("lines 0-4/10", None),
            ("bytes=0-4/10", None),
            ("", None),
        ] {
            let response: HeaderMap =
                [(header::CONTENT_RANGE, HeaderValue::from_static(value))].into_iter().collect();
            assert_eq!(content_range(&response), expected, "{value}");
        }
    }

    #[test]
    fn if_range_needs_the_same_representation() {
        let stored: HeaderMap = [
            (header::ETAG, HeaderValue::from_static("\"1\"")),
            (header::LAST_MODIFIED, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT")),
        ]
        .into_iter()
        .collect();
        for (condition, holds) in [
            ("\"1\"", true),
            ("W/\"1\"", false),
            ("\"2\"", false),
            ("Sun, 06 Nov 1994 08:49:37 GMT", true),
            ("Sun, 06 Nov 1994 08:49:38 GMT", false),
        ] {
            let request: HeaderMap =
                [(header::IF_RANGE, HeaderValue::from_static(condition))].into_iter().collect();
            assert_eq!(if_range_holds(&request, &stored), holds, "{condition}");
        }
        assert!(if_range_holds(&HeaderMap::new(), &stored));
    }
}
