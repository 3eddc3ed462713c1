//! Cron triggers: when a Worker runs without being asked.
//!
//! An expression has five fields, in UTC: minute, hour, day of the month, month, day of the week. Days of the week are 1, Sunday,
//! to 7, or have their names; `L`, `W` and `#` mean the last, the nearest working day, and the n-th. Of a day of the month and one
//! of the week, either is enough.

use std::{cmp::Ordering, fmt};

use croner::{
    Cron, CronDateTime,
    errors::CronError,
    parser::{CronParser, Seconds, Year},
    time::{CivilDate, CivilDateTime, CivilTime, Resolution, Weekday},
};
use jiff::{SignedDuration, civil::DateTime};
use serde::{Deserialize, Serialize};

use crate::{Invalid, Timestamp, excerpt, limits};

/// A cron expression. Compares by its text.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CronExpression {
    text: String,
    cron: Cron,
}

impl CronExpression {
    /// Parses an expression.
    ///
    /// # Errors
    /// What is none, and one whose time never comes.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let refuse = |problem: String| {
            Err(Invalid::new(
                "cron",
                problem,
                "give minute, hour, day of the month, month and day of the week (1, Sunday, to 7), as in 10 7 * * MON-FRI",
            ))
        };
        if text.len() > limits::WORKER_CRON_OCTETS_MAX || text.contains('@') {
            return refuse(format!("{} is not a cron expression", excerpt(text)));
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .alternative_weekdays(true)
            .sloppy_ranges(true)
            .build();
        let cron = match parser.parse(text) {
            Ok(cron) => cron,
            Err(error) => return refuse(format!("{} is not a cron expression ({error})", excerpt(text))),
        };
        // Eight years on from here have every day of the calendar on some day of the week or another.
        let somewhen = Utc(jiff::civil::date(2024, 1, 1).at(0, 0, 0, 0));
        if cron.find_next_occurrence(&somewhen, true).is_err() {
            return refuse(format!("the time of {} never comes", excerpt(text)));
        }
        Ok(Self { text: text.to_owned(), cron })
    }

    /// Whether its time is within this minute.
    pub fn is_at(&self, at: Timestamp) -> bool {
        let Ok(at) = jiff::Timestamp::from_second(at.as_seconds().div_euclid(60) * 60) else { return false };
        let at = Utc(jiff::tz::Offset::UTC.to_datetime(at));
        self.cron.is_time_matching(&at).unwrap_or(false)
    }

    /// The expression as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for CronExpression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for CronExpression {}

impl fmt::Debug for CronExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CronExpression({})", self.text)
    }
}

impl TryFrom<String> for CronExpression {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<CronExpression> for String {
    fn from(expression: CronExpression) -> Self {
        expression.text
    }
}

/// When a Worker runs without being asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerCron {
    /// When.
    pub expression: CronExpression,
    /// Since when it is wanted.
    pub created_at: Timestamp,
}

/// A time in UTC, as the library that knows expressions asks for it.
#[derive(Clone)]
struct Utc(DateTime);

impl CronDateTime for Utc {
    fn to_civil(&self) -> CivilDateTime {
        let part = |part: i8| u32::from(part.unsigned_abs());
        CivilDateTime::new(
            CivilDate::from_parts_unchecked(
                i32::from(self.0.year()),
                part(self.0.month()),
                part(self.0.day()),
            ),
            CivilTime::from_parts_unchecked(
                part(self.0.hour()),
                part(self.0.minute()),
                part(self.0.second()),
            ),
        )
    }

    fn civil_weekday(&self) -> Weekday {
        let days = self.0.weekday().to_sunday_zero_offset();
        Weekday::from_days_from_sunday(u32::from(days.unsigned_abs()))
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let part = |part: u32| i8::try_from(part).map_err(|_| CronError::InvalidTime);
        let year = i16::try_from(civil.year()).map_err(|_| CronError::InvalidDate)?;
        let (month, day) = (part(civil.month())?, part(civil.day())?);
        let (hour, minute, second) = (part(civil.hour())?, part(civil.minute())?, part(civil.second())?);
        let at = DateTime::new(year, month, day, hour, minute, second, 0);
        at.map(|at| Resolution::Single(Self(at))).map_err(|_| CronError::InvalidDate)
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(SignedDuration::from_secs(seconds)).ok().map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    #[test]
    fn an_expression_says_its_minutes() {
        for (text, minutes, others) in [
            ("* * * * *", &["2026-11-29T17:00:59Z"][..], &[][..]),
            ("*/30 * * * *", &["2026-11-29T17:00:00Z", "2026-11-29T17:30:01Z"], &["2026-11-29T17:29:59Z"]),
            // Sunday is 1.
            ("0 17 * * 1", &["2026-11-29T17:00:00Z"], &["2026-11-30T17:00:00Z"]),
            ("0 17 * * sun", &["2026-11-29T17:00:00Z"], &["2026-11-28T17:00:00Z"]),
            ("10 7 * * mon-fri", &["2026-11-30T07:10:00Z"], &["2026-11-29T07:10:00Z"]),
            ("0 18 * * 6L", &["2026-11-27T18:00:00Z"], &["2026-11-20T18:00:00Z"]),
            ("59 23 LW * *", &["2026-10-30T23:59:00Z"], &["2026-10-31T23:59:00Z"]),
            ("0 0 * * MON#1", &["2026-12-07T00:00:00Z"], &["2026-12-14T00:00:00Z"]),
            ("0 0 29 2 *", &["2028-02-29T00:00:00Z"], &["2027-03-01T00:00:00Z"]),
            ("0 0 1 * MON", &["2026-12-01T00:00:00Z", "2026-12-07T00:00:00Z"], &["2026-12-02T00:00:00Z"]),
        ] {
            let expression = CronExpression::parse(text).unwrap();
            for minute in minutes {
                assert!(expression.is_at(at(minute)), "{text} {minute}");
            }
            for other in others {
                assert!(!expression.is_at(at(other)), "{text} {other}");
            }
            let written = serde_json::to_string(&expression).unwrap();
            assert_eq!(serde_json::from_str::<CronExpression>(&written).unwrap(), expression);
        }
    }

    #[test]
    fn what_is_none_is_told_and_what_never_comes() {
        let long = format!("{} * * * *", "1,".repeat(200));
        for text in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* * * * 0",
            "* * * * 8",
            "@daily",
            "a b c d e",
            &long,
        ] {
            let told = CronExpression::parse(text).unwrap_err();
            assert!(told.problem.contains("is not a cron expression"), "{text}: {told}");
        }
        assert!(CronExpression::parse("0 0 30 2 *").unwrap_err().problem.contains("never comes"));
    }
}
