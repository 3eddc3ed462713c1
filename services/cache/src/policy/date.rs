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
/// and nothing can be meant but what is meant. That a day of the week is one is checked, that it is that date's is
/// not: it says nothing that the date does not. Everything else is as strict as the grammar.
pub fn parse(value: &[u8]) -> Option<Timestamp> {
    let value = value.trim_ascii();
    if value.len() > DATE_OCTETS_MAX {
        return None;
    }
    let (year, month, day, time) = imf_fixdate(value).or_else(|| rfc850(value)).or_else(|| asctime(value))?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of_month = DAYS_OF_MONTHS[month] + i64::from(leap && month == 1);
    if !(1..=days_of_month).contains(&day) {
        return None;
    }
    // Days since 1970-01-01 in the proleptic Gregorian calendar, whose leap days up to a year are countable.
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400;
    let in_year = DAYS_OF_MONTHS[..month].iter().sum::<i64>() + i64::from(leap && month > 1);
    let days = before * 365 + leap_days + in_year + day - 1 - DAYS_TO_1970;
    let seconds = days * 86_400 + seconds_of_day(time)?;
    (seconds >= 0).then(|| Timestamp::from_millis(seconds * 1_000))
}

const MONTHS: [&[u8]; 12] =
    [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];
const DAYS_OF_MONTHS: [i64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const WEEKDAYS: [&[u8]; 7] =
    [b"monday", b"tuesday", b"wednesday", b"thursday", b"friday", b"saturday", b"sunday"];
/// Days from 0001-01-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_162;

/// Year, month from 0, day of the month, and the time as it was written.
type Parts<'a> = (i64, usize, i64, &'a [u8]);

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn imf_fixdate(text: &[u8]) -> Option<Parts<'_>> {
    let (weekday, rest) = (text.get(..3)?, text.get(3..)?);
    let [b',', b' ', d1, d2, b' ', m1, m2, m3, b' ', y @ .., b' ', _, _, _] = rest else { return None };
    let (year, time) = (y.get(..4)?, y.get(4..)?.strip_prefix(b" ")?);
    let gmt = text.get(text.len() - 3..)?;
    if !is_weekday(weekday, true) || !gmt.eq_ignore_ascii_case(b"gmt") {
        return None;
    }
    Some((number(year)?, month([*m1, *m2, *m3])?, number(&[*d1, *d2])?, time))
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`. A year of two digits is in the century around 2020: this form is that old.
fn rfc850(text: &[u8]) -> Option<Parts<'_>> {
    let comma = text.iter().position(|octet| *octet == b',')?;
    let (weekday, rest) = text.split_at(comma);
    let [b',', b' ', d1, d2, b'-', m1, m2, m3, b'-', y1, y2, b' ', time @ .., b' ', g, m, t] = rest else {
        return None;
    };
    if !is_weekday(weekday, false) || ![*g, *m, *t].eq_ignore_ascii_case(b"gmt") {
        return None;
    }
    let year = number(&[*y1, *y2])?;
    let century = if year < 70 { 2_000 } else { 1_900 };
    Some((century + year, month([*m1, *m2, *m3])?, number(&[*d1, *d2])?, time))
}

/// `Sun Nov  6 08:49:37 1994`.
fn asctime(text: &[u8]) -> Option<Parts<'_>> {
    let (weekday, rest) = (text.get(..3)?, text.get(3..)?);
    let [b' ', m1, m2, m3, b' ', d1, d2, b' ', time @ .., b' ', y1, y2, y3, y4] = rest else { return None };
    if !is_weekday(weekday, true) {
        return None;
    }
    let day = if *d1 == b' ' { number(&[*d2])? } else { number(&[*d1, *d2])? };
    Some((number(&[*y1, *y2, *y3, *y4])?, month([*m1, *m2, *m3])?, day, time))
}

fn is_weekday(text: &[u8], short: bool) -> bool {
    WEEKDAYS.iter().any(|name| text.eq_ignore_ascii_case(if short { &name[..3] } else { name }))
}

fn month(text: [u8; 3]) -> Option<usize> {
    MONTHS.iter().position(|name| text.eq_ignore_ascii_case(name))
}

/// `08:49:37`; 60 is a leap second, which counts as the one after.
fn seconds_of_day(text: &[u8]) -> Option<i64> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = text else { return None };
    let (hour, minute, second) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?, number(&[*s1, *s2])?);
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3_600 + minute * 60 + second)
}

/// A few decimal digits.
fn number(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
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
            "Tue, 06 Nov 1994 08:49:37 GMT",
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
            "Thu, 18 Aug 2050 24:01:18 GMT",
            "Thu, 31 Apr 2050 02:01:18 GMT",
            "Tue, 29 Feb 2050 02:01:18 GMT",
            "Tue, 00 Feb 2050 02:01:18 GMT",
            "Xyz, 18 Aug 2050 02:01:18 GMT",
            "Thursday, 18 Aug 2050 02:01:18 GMT",
            "Thu, 18-Aug-50 02:01:18 GMT",
            "Thu, 18 Aug 0000 02:01:18 GMT",
            "Thu, 18 Aug 1969 02:01:18 GMT",
            "Thu Aug 8 02:01:18 2050",
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
    fn every_day_of_four_centuries_is_read_as_it_is_written() {
        for day in 0..150_000 {
            let at = Timestamp::from_millis(day * 86_400_000 + 3_723_000);
            let written = format(at).expect("in range");
            assert_eq!(parse(written.as_bytes()), Some(at), "{written:?}");
        }
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
