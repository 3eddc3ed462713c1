//! What name servers were asked, as the API asks for it: the port between who counts (`services/dns`) and who tells
//! (`services/control`).
//!
//! A report groups the queries of one zone by some dimensions, over all servers of the network. Whoever answers it holds
//! counts by minute, for [`QUERY_MINUTES_KEPT`], and by hour, for [`QUERY_HOURS_KEPT`]. What lies between two minutes, or two
//! hours, is not known: a report's intervals begin and end there, which is for who asks to see to.

use std::fmt;

use futures_util::future::BoxFuture;
use proxima_model::{Timestamp, ZoneId};
use serde::{Deserialize, Serialize};

/// Seconds for which the queries of each minute are told apart.
pub const QUERY_MINUTES_KEPT: i64 = 6 * 3_600;
/// Seconds for which those of each hour are.
pub const QUERY_HOURS_KEPT: i64 = 31 * 86_400;
/// Intervals of one report: the hours that are kept, and some more.
pub const QUERY_INTERVALS_MAX: usize = 1_000;
/// Rows of one report.
pub const QUERY_ROWS_MAX: usize = 10_000;
/// The name under which names are counted for which there was no place of their own. No name has such octets.
pub const QUERY_NAMES_OTHER: &str = "(other)";

/// What queries are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueryDimension {
    /// The name that was asked for, in lower case, without the last dot, or [`QUERY_NAMES_OTHER`]. A dot or an octet within
    /// a label that zone files do not write as it is stands as there (RFC 1035, 5.1).
    Name,
    /// The mnemonic of the type that was asked for; empty if it has none.
    Type,
    /// The mnemonic of the answer's code.
    ResponseCode,
    /// The PoP of the server that answered.
    Colo,
    /// `1` if it came in a stream, of whichever protocol, and `0` if in a datagram.
    Tcp,
    /// `4` or `6`.
    IpVersion,
    /// From `1`, Monday, to `7`, by UTC.
    DayOfWeek,
}

impl QueryDimension {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Name, Self::Type, Self::ResponseCode, Self::Colo, Self::Tcp, Self::IpVersion, Self::DayOfWeek];

    /// As the v4 API names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Name => "queryName",
            Self::Type => "queryType",
            Self::ResponseCode => "responseCode",
            Self::Colo => "coloName",
            Self::Tcp => "tcp",
            Self::IpVersion => "ipVersion",
            Self::DayOfWeek => "dayOfWeek",
        }
    }
}

/// How a value is compared with one that is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "they are what they are called")]
pub enum QueryComparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl QueryComparison {
    /// Whether it holds. Values are compared as texts: numbers here have one digit.
    pub fn holds(self, value: &str, given: &str) -> bool {
        let order = value.cmp(given);
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryCondition {
    /// Of what.
    pub dimension: QueryDimension,
    /// How.
    pub comparison: QueryComparison,
    /// With what, written as the dimension's values are.
    pub value: String,
}

/// What a report is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueryKey {
    /// The number of queries.
    Count,
    /// The dimension at this place among those of the report.
    Dimension(usize),
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryReportAsked {
    /// Of which zone.
    pub zone: ZoneId,
    /// Whether the intervals begin and end with minutes, and otherwise with hours.
    pub by_minute: bool,
    /// When each interval of the report begins, and when the last one ends: in order, at least two, and at most
    /// [`QUERY_INTERVALS_MAX`] and one.
    pub boundaries: Vec<Timestamp>,
    /// One row for each combination of their values.
    pub dimensions: Vec<QueryDimension>,
    /// Queries count for which all conditions of one of these hold; all, if there are none.
    pub any_of: Vec<Vec<QueryCondition>>,
    /// By what rows are sorted, and whether the greatest comes first. What is equal by these is sorted by its number, the
    /// greatest first, and then by its dimensions.
    pub sort: Vec<(QueryKey, bool)>,
    /// At most so many rows.
    pub limit: usize,
}

/// One combination of values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryRow {
    /// In the order of the dimensions that were asked for.
    pub dimensions: Vec<String>,
    /// How many queries there were in each interval.
    pub counts: Vec<u64>,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryReport {
    /// Sorted, and cut at the limit.
    pub rows: Vec<QueryRow>,
    /// All queries that count, also those of rows that were cut.
    pub total: u64,
    /// Seconds by which the latest counts may be late.
    pub lag_seconds: u64,
}

/// Why there is no report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoQueryReport {
    /// What was asked for has too much in it; in words.
    TooMuch(String),
    /// Who has the counts does not answer now; in words.
    Unavailable(String),
}

impl fmt::Display for NoQueryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::TooMuch(why) | Self::Unavailable(why)) = self;
        f.write_str(why)
    }
}

/// Tells what the network's name servers were asked.
pub trait QueryReports: Send + Sync + 'static {
    /// The report, from wherever in the network the counts are kept.
    fn report(&self, asked: QueryReportAsked) -> BoxFuture<'_, Result<QueryReport, NoQueryReport>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_comparison_holds_where_its_opposite_does_not() {
        use QueryComparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        for (value, given) in [("4", "6"), ("6", "4"), ("a", "a"), ("", "a"), ("ab", "a")] {
            for (one, other) in [(Equal, NotEqual), (Less, GreaterOrEqual), (Greater, LessOrEqual)] {
                assert_ne!(one.holds(value, given), other.holds(value, given), "{value} {given}");
            }
            assert_eq!(Less.holds(value, given), Greater.holds(given, value));
            assert_eq!(Equal.holds(value, given), value == given);
        }
    }
}
