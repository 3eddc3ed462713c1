//! HTTP dates (RFC 9110, 5.6.7): the three forms, and nothing that only looks like one.

use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};
use proxima_model::Timestamp;

/// The longest of the three forms is RFC 850's with `Wednesday`: 33 octets. Anything longer is no date.
const DATE_OCTETS_MAX: usize = 40;

/// What a response says in a field that holds one date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateField {
    /// The field is not there.
    Absent,
    /// It is there and is no date, or two lines of it disagree.
    Invalid,
    /// The date.
    At(Timestamp),
}

impl DateField {
    /// Reads the field `name`. Lines that say the same thing twice count as one.
    pub fn read(headers: &HeaderMap, name: &HeaderName) -> Self {
        let mut lines = headers.get_all(name).iter();
        let Some(first) = lines.next() else { return Self::Absent };
        if lines.any(|line| line != first) {
            return Self::Invalid;
        }
        parse(first.as_bytes()).map_or(Self::Invalid, Self::At)
    }

    /// The date, if there is a valid one.
    pub const fn at(self) -> Option<Timestamp> {
        match self {
            Self::At(at) => Some(at),
            Self::Absent | Self::Invalid => None,
        }
    }
}

/// Parses an HTTP date. The names of days and months and `GMT` are taken in any case, because senders err in it
/// and nothing can be meant but what is meant; everything else is as strict as the grammar.
pub fn parse(value: &[u8]) -> Option<Timestamp> {
    if value.len() > DATE_OCTETS_MAX {
        return None;
    }
    let mut text = String::with_capacity(value.len());
    let mut in_word = false;
    for &octet in value.trim_ascii() {
        if !octet.is_ascii() {
            return None;
        }
        let cased = if in_word { octet.to_ascii_lowercase() } else { octet.to_ascii_uppercase() };
        text.push(char::from(cased));
        in_word = octet.is_ascii_alphabetic();
    }
    if text.ends_with("Gmt") {
        text.truncate(text.len() - 3);
        text.push_str("GMT");
    }
    let at = httpdate::parse_http_date(&text).ok()?;
    let millis = at.duration_since(UNIX_EPOCH).ok()?.as_millis();
    i64::try_from(millis).ok().map(Timestamp::from_millis)
}

/// Writes a date as IMF-fixdate; `None` outside the years that can be written (1970 to 9999).
pub fn format(at: Timestamp) -> Option<HeaderValue> {
    /// 9999-12-31T23:59:59Z, the last second that four digits of a year can name.
    const SECONDS_MAX: u64 = 253_402_300_799;
    let seconds = u64::try_from(at.as_seconds()).ok().filter(|seconds| *seconds <= SECONDS_MAX)?;
    let at: SystemTime = UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds))?;
    HeaderValue::from_str(&httpdate::fmt_http_date(at)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_are_read_in_any_case() {
        let all = [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "SUN, 06 NOV 1994 08:49:37 gMT",
            " Sun, 06 Nov 1994 08:49:37 GMT ",
        ];
        for text in all {
            assert_eq!(parse(text.as_bytes()), Some(Timestamp::from_millis(784_111_777_000)), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_a_date_is_none() {
        let all = [
            "",
            "0",
            "-1",
            "Thu, 18 Aug 2050 02:01:18 UTC",
            "Thu, 18 Aug 2050 02:01:18 AEST",
            "Thu, 18 Aug 50 02:01:18 GMT",
            "Thu 18 Aug 2050 02:01:18 GMT",
            "Thu, 18  Aug  2050 02:01:18 GMT",
            "Thu, 18-Aug-2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02.01.18 GMT",
            "Thu, 18 Aug 2050 2:01:18 GMT",
            "Thu, 18 Aug 2050 02:01:18 GMT and so on and on",
        ];
        for text in all {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn far_dates_are_dates() {
        assert!(parse(b"Tue, 19 Jan 2038 14:14:08 GMT").is_some());
        assert!(parse(b"Sun, 21 Nov 2286 04:46:39 GMT").is_some());
    }

    #[test]
    fn lines_that_disagree_are_invalid() {
        let mut headers = HeaderMap::new();
        headers.append("expires", HeaderValue::from_static("Thu, 18 Aug 2050 02:01:18 GMT"));
        assert!(DateField::read(&headers, &http::header::EXPIRES).at().is_some());
        headers.append("expires", HeaderValue::from_static("Thu, 18 Aug 2050 02:01:19 GMT"));
        assert_eq!(DateField::read(&headers, &http::header::EXPIRES), DateField::Invalid);
    }

    #[test]
    fn a_date_is_written_as_it_is_read() {
        let at = Timestamp::from_millis(784_111_777_000);
        assert_eq!(format(at).expect("in range").as_bytes(), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(format(Timestamp::from_millis(i64::MAX)), None);
        assert_eq!(format(Timestamp::from_millis(-1)), None);
    }
}
