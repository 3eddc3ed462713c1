//! What servers and the log's node say to each other about queries: JSON, over the ledger's connection.

use proxima_ledger::ASK_OCTETS_MAX;
use proxima_model::{NodeName, PopCode, Timestamp};
use proxima_pipeline::QueryReportAsked;
use serde::{Deserialize, Serialize};

use super::{row::TEXT_OCTETS_MAX, tally::Counted};

/// The questions' topic.
pub(super) const TOPIC: &str = "dns-queries";
/// Rows of one report.
pub(super) const ROWS_MAX: usize = 1_000;
// Each with a name of which every octet is escaped, and less than 128 octets of the rest.
const _: () = assert!(ROWS_MAX * (2 * TEXT_OCTETS_MAX + 128) + 1_024 <= ASK_OCTETS_MAX);

/// What is asked of the log's node.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Question {
    /// Keep this; the answer is empty.
    Keep(Report),
    /// Tell this; the answer is a `Result<QueryReport, NoQueryReport>`.
    Tell(QueryReportAsked),
}

/// What one server has counted in one minute, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) id: ReportId,
    pub(super) pop: PopCode,
    /// Any time within the minute.
    pub(super) at: Timestamp,
    pub(super) rows: Vec<Counted>,
}

/// Names a report, so that one that comes twice counts once. Each process numbers its own, and sends them in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ReportId {
    pub(super) node: NodeName,
    /// Drawn at random by each process: at a hand-over a node has two.
    pub(super) process: u64,
    pub(super) number: u64,
}

impl Report {
    /// All queries of it.
    pub(super) fn queries(&self) -> u64 {
        self.rows.iter().map(|(.., count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use proxima_model::ZoneId;

    use super::*;
    use crate::analytics::row::Row;

    #[test]
    fn the_largest_report_may_be_sent() {
        let row = Row {
            name: "\\".repeat(TEXT_OCTETS_MAX).into(),
            qtype: u16::MAX,
            rcode: u16::MAX,
            streamed: false,
            v6: false,
        };
        let report = Report {
            id: ReportId {
                node: NodeName::parse(&"n".repeat(63)).unwrap(),
                process: u64::MAX,
                number: u64::MAX,
            },
            pop: PopCode::parse("FRAAA").unwrap(),
            at: Timestamp::from_millis(i64::MIN),
            rows: vec![(ZoneId::from_bytes([0xff; 16]), row, u64::MAX); ROWS_MAX],
        };
        let octets = serde_json::to_vec(&Question::Keep(report)).unwrap();
        assert!(octets.len() <= ASK_OCTETS_MAX, "{}", octets.len());
        assert!(serde_json::from_slice::<Question>(&octets).is_ok());
    }
}
