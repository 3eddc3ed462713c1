//! Moments as fields of HTTP have them (RFC 9110, 5.6.7).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proxima_model::Timestamp;

/// The last second that has four digits for its year: there is no form for a later one.
const LAST_SECOND: u64 = 253_402_300_799;

/// A moment, to the second; one that has no form is told as the next that has.
pub fn http_date(at: Timestamp) -> String {
    let seconds = u64::try_from(at.as_seconds()).unwrap_or_default().min(LAST_SECOND);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// The moment that a field's value is, in any of the three forms.
pub fn read_http_date(text: &str) -> Option<Timestamp> {
    let at = httpdate::parse_http_date(text).ok()?;
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Some(Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_as_it_was_written_and_one_without_a_form_is_told_all_the_same() {
        let at = Timestamp::from_millis(784_111_777_000);
        assert_eq!(http_date(at), "Sun, 06 Nov 1994 08:49:37 GMT");
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(read_http_date(text), Some(at), "{text}");
        }
        assert_eq!(read_http_date("yesterday"), None);
        assert_eq!(http_date(Timestamp::from_millis(-5)), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(Timestamp::from_millis(i64::MAX)), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
