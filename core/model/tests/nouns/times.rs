//! Points in time and times to live.

use proptest::prelude::*;
use proxima_model::{Timestamp, Ttl};

#[test]
fn times_to_live_are_automatic_or_within_limits() {
    assert_eq!(Ttl::try_from(1), Ok(Ttl::Auto));
    assert_eq!(Ttl::Auto.wire_seconds(), 300);
    for good in [30, 86_400] {
        assert_eq!(Ttl::try_from(good), Ok(Ttl::Seconds(good)));
    }
    for bad in [0, 2, 29, 86_401, u32::MAX] {
        assert_eq!(Ttl::try_from(bad).unwrap_err().field, "ttl", "{bad}");
    }
}

#[test]
fn points_in_time_are_shown_as_rfc_3339_and_stop_at_the_ends() {
    assert_eq!(Timestamp::from_millis(1_764_000_000_123).to_string(), "2025-11-24T16:00:00.123000Z");
    assert_eq!(Timestamp::from_millis(-1).as_seconds(), -1);
    assert_eq!(Timestamp::from_millis(i64::MAX).plus_seconds(1).as_millis(), i64::MAX);
    assert!(!Timestamp::from_millis(i64::MAX).to_string().is_empty());
}

proptest! {
    #[test]
    fn a_time_to_live_is_written_and_read_as_the_same(seconds in any::<u32>()) {
        if let Ok(ttl) = Ttl::try_from(seconds) {
            prop_assert_eq!(u32::from(ttl), seconds);
        }
    }
}
