//! Byte ranges (RFC 9110, 14) as clients ask for them: one range at a time. A request for several is answered with the whole, which
//! the RFC allows and which leaves nothing to be gained by asking for hundreds.

use http::{HeaderMap, HeaderValue, header};

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
pub fn octets(text: &str) -> Option<Option<u64>> {
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

/// `Content-Range` of a 416: only the length.
pub fn unsatisfied_range(length: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("bytes */{length}"))
        .expect("digits and separators are a valid field value")
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
}
