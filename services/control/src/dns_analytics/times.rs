//! From when until when a report is, and its intervals. Pure.

use jiff::{ToSpan as _, civil, tz::Offset};
use proxima_model::Timestamp;
use proxima_pipeline::{QUERY_HOURS_KEPT, QUERY_MINUTES_KEPT};

const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;
/// What a report is of that does not say from when.
const SINCE_DEFAULT: i64 = 6 * HOUR;

/// By what intervals are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delta {
    All,
    Auto,
    Year,
    Quarter,
    Month,
    Week,
    Day,
    Hour,
    Dekaminute,
    Minute,
}

impl Delta {
    /// As the v4 API names them.
    pub(super) const NAMES: [&str; 10] =
        ["all", "auto", "year", "quarter", "month", "week", "day", "hour", "dekaminute", "minute"];
    const ALL: [Self; 10] = [
        Self::All,
        Self::Auto,
        Self::Year,
        Self::Quarter,
        Self::Month,
        Self::Week,
        Self::Day,
        Self::Hour,
        Self::Dekaminute,
        Self::Minute,
    ];

    pub(super) fn by_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().position(|known| *known == name).map(|index| Self::ALL[index])
    }

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().position(|known| *known == self).map_or("", |index| Self::NAMES[index])
    }

    /// What it stands for where it was left open: no more than some hundred intervals.
    fn resolve(self, seconds: i64, by_minute: bool) -> Self {
        match self {
            Self::Auto if by_minute && seconds <= HOUR => Self::Minute,
            Self::Auto if by_minute => Self::Dekaminute,
            Self::Auto if seconds <= 3 * DAY => Self::Hour,
            Self::Auto => Self::Day,
            known => known,
        }
    }

    /// Where the next interval begins after a time, in seconds since 1970, by UTC.
    fn next(self, after: i64) -> Option<i64> {
        let next = |seconds: i64| Some((after.div_euclid(seconds) + 1) * seconds);
        match self {
            Self::All | Self::Auto => None,
            Self::Minute => next(MINUTE),
            Self::Dekaminute => next(10 * MINUTE),
            Self::Hour => next(HOUR),
            Self::Day => next(DAY),
            // The first day was a Thursday; weeks begin with Mondays.
            Self::Week => Some(((after.div_euclid(DAY) + 3).div_euclid(7) * 7 + 4) * DAY),
            Self::Month => next_month(after, 1),
            Self::Quarter => next_month(after, 3),
            Self::Year => next_month(after, 12),
        }
    }
}

/// The next beginning of a month that ends so many of a year.
fn next_month(after: i64, months: i8) -> Option<i64> {
    let day = Offset::UTC.to_datetime(jiff::Timestamp::from_second(after).ok()?).date();
    let first = civil::date(day.year(), (day.month() - 1) / months * months + 1, 1);
    let next = first.checked_add(i32::from(months).months()).ok()?;
    Some(Offset::UTC.to_timestamp(next.at(0, 0, 0, 0)).ok()?.as_second())
}

/// The times of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// Whether they are whole minutes, or whole hours.
    pub(super) by_minute: bool,
    /// Where intervals begin, and where the last one ends.
    pub(super) boundaries: Vec<Timestamp>,
    /// Whether it begins later than was asked for, because of what was before nothing is kept.
    pub(super) is_cut: bool,
    /// By what the intervals are divided.
    pub(super) delta: Delta,
}

impl Times {
    /// Of what was asked for at `now`; or what is wrong with it.
    pub(super) fn new(
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        delta: Delta,
        now: Timestamp,
    ) -> Result<Self, String> {
        let now = now.as_seconds();
        let until = until.map_or(now, Timestamp::as_seconds).min(now);
        let since = since.map_or(until - SINCE_DEFAULT, Timestamp::as_seconds);
        if since >= until {
            return Err("since does not lie before until, or not before now".to_owned());
        }
        let oldest = |seconds: i64, kept: i64| (now.div_euclid(seconds) * seconds).saturating_sub(kept);
        let by_minute = since >= oldest(MINUTE, QUERY_MINUTES_KEPT);
        if matches!(delta, Delta::Minute | Delta::Dekaminute) && !by_minute {
            let hours = QUERY_MINUTES_KEPT / HOUR;
            return Err(format!(
                "time_delta: minutes are told apart for {hours} hours; give a later since, or hour"
            ));
        }
        let unit = if by_minute { MINUTE } else { HOUR };
        let oldest = oldest(HOUR, QUERY_HOURS_KEPT);
        let begin = (since.div_euclid(unit) * unit).max(oldest);
        let end = (until + unit - 1).div_euclid(unit) * unit;
        if end <= begin {
            return Err(format!("until: counts are kept for {} days", QUERY_HOURS_KEPT / DAY));
        }
        let delta = delta.resolve(end - begin, by_minute);
        let mut boundaries = vec![begin];
        let mut at = begin;
        while let Some(next) = delta.next(at).filter(|next| *next < end) {
            boundaries.push(next);
            at = next;
        }
        boundaries.push(end);
        let boundaries = boundaries.into_iter().map(|at| Timestamp::from_millis(at * 1_000)).collect();
        Ok(Self { by_minute, boundaries, is_cut: since < oldest, delta })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxima_pipeline::QUERY_INTERVALS_MAX;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn times(since: &str, until: &str, delta: Delta) -> Result<Vec<String>, String> {
        let now = at("2026-11-28T15:30:20Z");
        let times = Times::new(Some(at(since)), Some(at(until)), delta, now)?;
        Ok(times.boundaries.iter().map(|at| super::super::second(*at)).collect())
    }

    #[test]
    fn a_report_begins_and_ends_with_whole_minutes_or_hours() {
        let all = |since, until| times(since, until, Delta::All).unwrap();
        let minutes = all("2026-11-28T12:00:30Z", "2026-11-28T12:10:00Z");
        assert_eq!(minutes, ["2026-11-28T12:00:00Z", "2026-11-28T12:10:00Z"]);
        let hours = all("2026-11-27T12:00:30Z", "2026-11-28T12:10:00Z");
        assert_eq!(hours, ["2026-11-27T12:00:00Z", "2026-11-28T13:00:00Z"]);
        // Of what is to come nothing is known.
        let now = all("2026-11-28T15:00:00Z", "2027-01-01T00:00:00Z");
        assert_eq!(now, ["2026-11-28T15:00:00Z", "2026-11-28T15:31:00Z"]);
        let default = Times::new(None, None, Delta::All, at("2026-11-28T15:30:20Z")).unwrap();
        assert!(default.by_minute && !default.is_cut);
        assert_eq!(default.boundaries, [at("2026-11-28T09:30:00Z"), at("2026-11-28T15:31:00Z")]);
    }

    #[test]
    fn intervals_begin_where_the_calendar_has_them() {
        let by = |since, until, delta| times(since, until, delta).unwrap();
        assert_eq!(
            by("2026-11-28T12:05:00Z", "2026-11-28T12:25:00Z", Delta::Dekaminute),
            ["2026-11-28T12:05:00Z", "2026-11-28T12:10:00Z", "2026-11-28T12:20:00Z", "2026-11-28T12:25:00Z"]
        );
        assert_eq!(by("2026-11-28T13:00:00Z", "2026-11-28T13:03:00Z", Delta::Minute).len(), 4);
        let span = |delta| by("2026-10-29T22:00:00Z", "2026-11-11T02:00:00Z", delta);
        assert_eq!(span(Delta::Month)[1..2], ["2026-11-01T00:00:00Z"]);
        assert_eq!(span(Delta::Week)[1..3], ["2026-11-02T00:00:00Z", "2026-11-09T00:00:00Z"]);
        assert_eq!(span(Delta::Day).len(), 15);
        assert_eq!((span(Delta::Quarter).len(), span(Delta::Year).len()), (2, 2));
        assert_eq!(Delta::Year.next(0), Some(365 * DAY));
        assert_eq!(Delta::Quarter.next(89 * DAY), Some(90 * DAY));
        assert_eq!(Delta::Quarter.next(90 * DAY), Some(181 * DAY));
    }

    #[test]
    fn what_is_left_open_has_as_many_intervals_as_one_can_look_at() {
        let of =
            |since| Times::new(Some(at(since)), None, Delta::Auto, at("2026-11-28T15:30:00Z")).unwrap().delta;
        assert_eq!(of("2026-11-28T14:30:00Z"), Delta::Minute);
        assert_eq!(of("2026-11-28T10:30:00Z"), Delta::Dekaminute);
        assert_eq!(of("2026-11-27T15:30:00Z"), Delta::Hour);
        assert_eq!(of("2026-11-05T15:30:00Z"), Delta::Day);
    }

    #[test]
    fn what_is_not_kept_is_cut_off_and_what_cannot_be_is_refused() {
        let now = at("2026-11-28T15:30:20Z");
        let old = Times::new(Some(at("2020-01-01T00:00:00Z")), None, Delta::Hour, now).unwrap();
        assert!(old.is_cut && old.boundaries.len() <= QUERY_INTERVALS_MAX + 1);
        assert_eq!(old.boundaries[0], at("2026-10-28T15:00:00Z"));
        let refused = |since, until, delta| times(since, until, delta).unwrap_err();
        let backwards = refused("2026-11-28T12:00:00Z", "2026-11-28T12:00:00Z", Delta::All);
        assert!(backwards.contains("before"), "{backwards}");
        assert!(refused("2027-01-01T00:00:00Z", "2027-01-02T00:00:00Z", Delta::All).contains("now"));
        assert!(refused("2020-01-01T00:00:00Z", "2020-02-01T00:00:00Z", Delta::All).contains("31 days"));
        assert!(refused("2026-11-27T00:00:00Z", "2026-11-28T00:00:00Z", Delta::Minute).contains("6 hours"));
        for (name, delta) in Delta::NAMES.iter().zip(Delta::ALL) {
            assert_eq!((Delta::by_name(name), delta.name()), (Some(delta), *name));
        }
        assert_eq!(Delta::by_name("fortnight"), None);
    }

    proptest! {
        #[test]
        fn intervals_are_in_order_within_bounds_and_cover_what_was_asked(
            since in 0..40 * DAY, span in 1..40 * DAY, delta in 0..Delta::ALL.len()
        ) {
            let now = at("2026-11-28T15:30:20Z");
            let since = now.plus_seconds(-since);
            let until = since.plus_seconds(span);
            if let Ok(times) = Times::new(Some(since), Some(until), Delta::ALL[delta], now) {
                let boundaries = &times.boundaries;
                prop_assert!((2..=QUERY_INTERVALS_MAX + 1).contains(&boundaries.len()));
                prop_assert!(boundaries.windows(2).all(|pair| pair[0] < pair[1]));
                let unit = if times.by_minute { MINUTE } else { HOUR };
                prop_assert!(boundaries.iter().all(|at| at.as_seconds() % unit == 0));
                prop_assert!(times.is_cut || boundaries[0] <= since);
                prop_assert!(boundaries[boundaries.len() - 1] >= until.min(now));
            }
        }
    }
}
