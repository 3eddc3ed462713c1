//! Byte ranges (RFC 9110, 14) of what is stored and of what origins answer; how clients ask for them is the pipeline's.

use http::{HeaderMap, HeaderValue, header};
use proxima_pipeline::ranges::octets;
pub use proxima_pipeline::ranges::{Asked, Part, unsatisfied_range};

use super::{date, validators::EntityTag};

/// Ranges of one request that the origin is asked for, where a request goes past the cache: as many as common servers
/// answer. More, small or overlapping, are for making servers work (RFC 9110, 14.2 and 17.15).
pub const RANGES_MAX: usize = 200;

/// Whether a request asks for more ranges than are passed on.
pub fn is_absurd(request: &HeaderMap) -> bool {
    let commas = |line: &HeaderValue| line.as_bytes().iter().filter(|octet| **octet == b',').count();
    request.get_all(header::RANGE).iter().map(|line| commas(line) + 1).sum::<usize>() > RANGES_MAX
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
