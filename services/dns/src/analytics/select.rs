//! From rows that are kept to the report that is asked for: filtered, grouped, sorted. Pure.

use std::{borrow::Cow, cmp::Ordering, collections::HashMap};

use proxima_model::type_name;
use proxima_pipeline::{
    NoQueryReport, QUERY_INTERVALS_MAX, QueryCondition, QueryDimension, QueryKey, QueryReport,
    QueryReportAsked, QueryRow,
};

use super::key::{RowKey, Span};
use crate::wire::Rcode;

/// Numbers of one report while it is made: rows, each with its intervals.
const CELLS_MAX: usize = 1_000_000;
/// Rows of one report while it is made: with their names some 40 MiB at most, of the node that keeps the log.
const ROWS_MAX: usize = 100_000;
/// Ends each value in a group's name. No value has it.
const END: char = '\0';

/// A report in the making.
pub(super) struct Selection<'a> {
    asked: &'a QueryReportAsked,
    pub(super) span: Span,
    /// The slots with which intervals begin, and that with which the last one ends.
    boundaries: Vec<u32>,
    groups: HashMap<Box<str>, Vec<u64>>,
    /// The name of the last row's group: room that is used again.
    group: String,
}

impl<'a> Selection<'a> {
    pub(super) fn new(asked: &'a QueryReportAsked) -> Result<Self, NoQueryReport> {
        let span = if asked.by_minute { Span::Minute } else { Span::Hour };
        let boundaries: Vec<u32> = asked.boundaries.iter().map(|at| span.slot(*at)).collect();
        let slots =
            boundaries.last().zip(boundaries.first()).map_or(0, |(last, first)| last - last.min(first));
        if boundaries.len() < 2 || !boundaries.is_sorted() || slots as usize > QUERY_INTERVALS_MAX {
            return Err(NoQueryReport::TooMuch("the report spans too long a time".to_owned()));
        }
        Ok(Self { asked, span, boundaries, groups: HashMap::new(), group: String::new() })
    }

    /// The slots that are to be read.
    pub(super) fn slots(&self) -> std::ops::Range<u32> {
        self.boundaries[0]..self.boundaries[self.boundaries.len() - 1]
    }

    /// Adds a row of one of those slots.
    pub(super) fn add(&mut self, slot: u32, row: &RowKey<'_>, count: u64) -> Result<(), NoQueryReport> {
        let (asked, span) = (self.asked, self.span);
        let value = |dimension| value(dimension, row, span, slot);
        let holds = |condition: &QueryCondition| {
            condition.comparison.holds(&value(condition.dimension), &condition.value)
        };
        if !asked.any_of.is_empty() && !asked.any_of.iter().any(|all| all.iter().all(holds)) {
            return Ok(());
        }
        self.group.clear();
        for dimension in &asked.dimensions {
            self.group.push_str(&value(*dimension));
            self.group.push(END);
        }
        let interval = self.boundaries.partition_point(|begin| *begin <= slot).saturating_sub(1);
        let intervals = self.boundaries.len() - 1;
        if !self.groups.contains_key(self.group.as_str()) {
            let rows = self.groups.len() + 1;
            if rows > ROWS_MAX || rows * intervals > CELLS_MAX {
                let why =
                    "the report has too many rows; ask for fewer dimensions, filter, or ask for less time";
                return Err(NoQueryReport::TooMuch(why.to_owned()));
            }
            self.groups.insert(self.group.as_str().into(), vec![0; intervals]);
        }
        let cells = self.groups.get_mut(self.group.as_str());
        if let Some(cell) = cells.and_then(|cells| cells.get_mut(interval)) {
            *cell = cell.saturating_add(count);
        }
        Ok(())
    }

    /// The whole report.
    pub(super) fn finish(self) -> QueryReport {
        let mut rows: Vec<(Vec<&str>, u64, &Vec<u64>)> = self
            .groups
            .iter()
            .map(|(group, counts)| (group.split_terminator(END).collect(), counts.iter().sum(), counts))
            .collect();
        let total = rows.iter().map(|(_, count, _)| count).sum();
        rows.sort_unstable_by(|(one, one_count, _), (other, other_count, _)| {
            let by_wish = self.asked.sort.iter().map(|(key, descending)| {
                let order = match *key {
                    QueryKey::Count => one_count.cmp(other_count),
                    QueryKey::Dimension(index) => one.get(index).cmp(&other.get(index)),
                };
                if *descending { order.reverse() } else { order }
            });
            let first = by_wish.into_iter().find(|order| *order != Ordering::Equal);
            first.unwrap_or_else(|| other_count.cmp(one_count).then_with(|| one.cmp(other)))
        });
        rows.truncate(self.asked.limit);
        let rows = rows.into_iter().map(|(dimensions, _, counts)| QueryRow {
            dimensions: dimensions.into_iter().map(str::to_owned).collect(),
            counts: counts.clone(),
        });
        QueryReport { rows: rows.collect(), total, lag_seconds: super::REPORT_INTERVAL.as_secs() }
    }
}

/// What a row has of a dimension.
fn value<'r>(dimension: QueryDimension, row: &RowKey<'r>, span: Span, slot: u32) -> Cow<'r, str> {
    match dimension {
        QueryDimension::Name => row.name.into(),
        QueryDimension::Type => match type_name(row.qtype) {
            unnamed if unnamed.starts_with("TYPE") => "".into(),
            name => name,
        },
        QueryDimension::ResponseCode => {
            let rcode = Rcode::ALL.iter().find(|rcode| rcode.code() == row.rcode);
            rcode.map_or("", |rcode| rcode.name()).into()
        }
        QueryDimension::Colo => row.pop.into(),
        QueryDimension::Tcp => if row.streamed { "1" } else { "0" }.into(),
        QueryDimension::IpVersion => if row.v6 { "6" } else { "4" }.into(),
        QueryDimension::DayOfWeek => {
            const DAYS: [&str; 8] = ["", "1", "2", "3", "4", "5", "6", "7"];
            DAYS.get(usize::from(span.day_of_week(slot))).copied().unwrap_or_default().into()
        }
    }
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
