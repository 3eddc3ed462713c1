//! `Date` (RFC 9110, 6.6.1).

use std::cell::RefCell;
use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;
use proxima_model::Timestamp;

/// The first second of the year 10000, which an HTTP date cannot write.
const SECONDS_END: u64 = 253_402_300_800;

/// A point in time as HTTP writes it; where the clock shows what HTTP cannot write, the nearest that it can.
pub(crate) fn http_date(at: Timestamp) -> HeaderValue {
    thread_local! {
        /// Writing a date costs more than the rest of a small head, and it changes once a second.
        static LAST: RefCell<Option<(i64, HeaderValue)>> = const { RefCell::new(None) };
    }
    let seconds = at.as_seconds();
    LAST.with_borrow_mut(|last| match last {
        Some((written, date)) if *written == seconds => date.clone(),
        _ => {
            let since = Duration::from_secs(u64::try_from(seconds).unwrap_or_default().min(SECONDS_END - 1));
            let text = httpdate::fmt_http_date(UNIX_EPOCH + since);
            let date = HeaderValue::from_maybe_shared(text).expect("a date is printable ASCII");
            *last = Some((seconds, date.clone()));
            date
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_http_has_them_whatever_the_clock_shows() {
        let date = |millis| http_date(Timestamp::from_millis(millis)).to_str().unwrap().to_owned();
        assert_eq!(date(784_111_777_999), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(784_111_777_999), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(-1), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date(i64::MIN), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date(i64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
