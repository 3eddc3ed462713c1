//! `zones/:zone_id/dns_analytics/report`: what the network's name servers were asked about a zone.
//!
//! ```text
//!  parameters ─ read here ─▶ QueryReportAsked ─ QueryReports (services/dns) ─▶ QueryReport ─ shown here ─▶ result
//! ```
//!
//! Everything is answered with authority, so nothing comes from a cache that could be stale: `uncachedCount` and
//! `staleCount` are 0. What the v4 API tells besides, and is not counted here, is refused by name.

mod filters;
mod times;

use std::sync::Arc;

use axum::{Extension, extract::State};
use proxima_model::{Timestamp, Zone, excerpt};
use proxima_pipeline::{
    NoQueryReport, QUERY_HOURS_KEPT, QUERY_ROWS_MAX, QueryDimension, QueryKey, QueryReport, QueryReportAsked,
};
use serde_json::{Map, Value, json};

pub(crate) use self::filters::exercise;
use self::{
    filters::Filters,
    times::{Delta, Times},
};
use crate::{
    api::{Api, envelope::Answer, page::Query},
    error::{ApiError, Code},
};

/// Octets of `dimensions`, `metrics`, `filters` and `sort` each.
const PARAMETER_OCTETS_MAX: usize = 4_096;
/// What the v4 API knows and nobody counts here.
const NOT_TOLD: [&str; 8] = [
    "responseCached",
    "origin",
    "querySizeBucket",
    "responseSizeBucket",
    "responseTimeAvg",
    "responseTimeMedian",
    "responseTime90th",
    "responseTime99th",
];

/// What is told of queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metric {
    Queries,
    Uncached,
    Stale,
}

impl Metric {
    const ALL: [Self; 3] = [Self::Queries, Self::Uncached, Self::Stale];

    const fn name(self) -> &'static str {
        match self {
            Self::Queries => "queryCount",
            Self::Uncached => "uncachedCount",
            Self::Stale => "staleCount",
        }
    }

    fn of(self, queries: u64) -> u64 {
        if self == Self::Queries { queries } else { 0 }
    }
}

/// `GET dns_analytics/report`: one number for each combination of values.
pub(crate) async fn report(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    Extension(query): Extension<Arc<Query>>,
) -> Result<Answer, ApiError> {
    let asked = Asked::read(&query, Delta::All, api.now())?;
    let report = ask(&api, &zone, &asked).await?;
    Ok(asked.answer(asked.show(&report, false)))
}

/// `GET dns_analytics/report/bytime`: the same for each interval of time.
pub(crate) async fn bytime(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    Extension(query): Extension<Arc<Query>>,
) -> Result<Answer, ApiError> {
    let delta = query.choice("time_delta", &Delta::NAMES)?.and_then(Delta::by_name);
    let asked = Asked::read(&query, delta.unwrap_or(Delta::Auto), api.now())?;
    let report = ask(&api, &zone, &asked).await?;
    Ok(asked.answer(asked.show(&report, true)))
}

async fn ask(api: &Api, zone: &Zone, asked: &Asked) -> Result<QueryReport, ApiError> {
    let asked = QueryReportAsked {
        zone: zone.id,
        by_minute: asked.times.by_minute,
        boundaries: asked.times.boundaries.clone(),
        dimensions: asked.dimensions.clone(),
        any_of: asked.filters.as_ref().map(|filters| filters.0.clone()).unwrap_or_default(),
        sort: asked.sort.iter().filter_map(|(_, key, descending)| Some(((*key)?, *descending))).collect(),
        limit: asked.limit,
    };
    api.queries.report(asked).await.map_err(|why| match why {
        NoQueryReport::TooMuch(why) => ApiError::new(Code::QueryInvalid, why),
        NoQueryReport::Unavailable(why) => {
            ApiError::new(Code::CountsUnavailable, format!("counts of queries are not within reach: {why}"))
        }
    })
}

/// A report that is asked for, understood.
#[derive(Debug)]
struct Asked {
    dimensions: Vec<QueryDimension>,
    metrics: Vec<Metric>,
    filters: Option<Filters>,
    /// What each is called, its key if it makes a difference, and whether the greatest comes first.
    sort: Vec<(&'static str, Option<QueryKey>, bool)>,
    limit: usize,
    times: Times,
}

impl Asked {
    fn read(query: &Query, delta: Delta, now: Timestamp) -> Result<Self, ApiError> {
        let dimensions = list(query, "dimensions")?.into_iter().map(dimension);
        let dimensions: Vec<_> = unique("dimensions", dimensions.collect::<Result<_, _>>())?;
        let metrics = list(query, "metrics")?.into_iter().map(metric);
        let mut metrics: Vec<_> = unique("metrics", metrics.collect::<Result<_, _>>())?;
        if metrics.is_empty() {
            metrics.push(Metric::Queries);
        }
        let filters = match parameter(query, "filters")? {
            Some(text) => Some(Filters::parse(text).map_err(|why| wrong("filters", &why))?),
            None => None,
        };
        let sort = list(query, "sort")?.into_iter().map(|text| sort_key(text, &dimensions));
        let sort = sort.collect::<Result<_, _>>().map_err(|why| wrong("sort", &why))?;
        let limit = match query.number("limit")? {
            None => QUERY_ROWS_MAX,
            Some(given) => match usize::try_from(given) {
                Ok(limit @ 1..=QUERY_ROWS_MAX) => limit,
                _ => return Err(wrong("limit", &format!("give 1 to {QUERY_ROWS_MAX}"))),
            },
        };
        let (since, until) = (time(query, "since")?, time(query, "until")?);
        let times =
            Times::new(since, until, delta, now).map_err(|why| ApiError::new(Code::QueryInvalid, why))?;
        Ok(Self { dimensions, metrics, filters, sort, limit, times })
    }

    /// The result, as the v4 API shapes it.
    fn show(&self, report: &QueryReport, by_time: bool) -> Value {
        let rows = report.rows.iter().map(|row| {
            let metrics = self.metrics.iter().map(|metric| {
                let mut counts = row.counts.iter().map(|count| metric.of(*count));
                if by_time {
                    json!(counts.collect::<Vec<_>>())
                } else {
                    json!(counts.next().unwrap_or_default())
                }
            });
            json!({ "dimensions": row.dimensions, "metrics": metrics.collect::<Vec<_>>() })
        });
        let totals =
            self.metrics.iter().map(|metric| (metric.name().to_owned(), json!(metric.of(report.total))));
        let mut result = json!({
            "rows": report.rows.len(),
            "data": rows.collect::<Vec<_>>(),
            "data_lag": report.lag_seconds,
            "min": {},
            "max": {},
            "totals": totals.collect::<Map<_, _>>(),
            "query": self.show_query(by_time),
        });
        if by_time {
            let intervals = self.times.boundaries.windows(2);
            // The last second of each, as the v4 API has it.
            let intervals = intervals.map(|pair| [second(pair[0]), second(pair[1].plus_seconds(-1))]);
            result["time_intervals"] = json!(intervals.collect::<Vec<_>>());
        }
        result
    }

    /// What was understood: times as they were rounded.
    fn show_query(&self, by_time: bool) -> Value {
        let boundaries = &self.times.boundaries;
        let mut query = json!({
            "dimensions": self.dimensions.iter().map(|dimension| dimension.name()).collect::<Vec<_>>(),
            "metrics": self.metrics.iter().map(|metric| metric.name()).collect::<Vec<_>>(),
            "since": boundaries.first().copied().map(second),
            "until": boundaries.last().copied().map(second),
            "limit": self.limit,
        });
        if !self.sort.is_empty() {
            let sort = self.sort.iter();
            let sort =
                sort.map(|(name, _, descending)| format!("{}{name}", if *descending { "-" } else { "+" }));
            query["sort"] = json!(sort.collect::<Vec<_>>());
        }
        if let Some(filters) = &self.filters {
            query["filters"] = json!(filters.to_string());
        }
        if by_time {
            query["time_delta"] = json!(self.times.delta.name());
        }
        query
    }

    fn answer(&self, result: Value) -> Answer {
        let answer = Answer::new(result);
        if !self.times.is_cut {
            return answer;
        }
        answer.message(format!(
            "counts are kept for {} days: the report begins later than was asked for",
            QUERY_HOURS_KEPT / 86_400
        ))
    }
}

fn wrong(parameter: &str, why: &str) -> ApiError {
    ApiError::new(Code::QueryInvalid, format!("{parameter}: {why}"))
}

fn parameter<'q>(query: &'q Query, name: &str) -> Result<Option<&'q str>, ApiError> {
    match query.get(name) {
        Some(text) if text.len() > PARAMETER_OCTETS_MAX => {
            Err(wrong(name, &format!("it is longer than {PARAMETER_OCTETS_MAX} octets")))
        }
        given => Ok(given),
    }
}

/// The words of a list; none if it is not given.
fn list<'q>(query: &'q Query, name: &str) -> Result<Vec<&'q str>, ApiError> {
    let text = parameter(query, name)?;
    Ok(text.into_iter().flat_map(|text| text.split(',')).map(str::trim).collect())
}

fn unique<T: PartialEq>(parameter: &str, items: Result<Vec<T>, String>) -> Result<Vec<T>, ApiError> {
    let items = items.map_err(|why| wrong(parameter, &why))?;
    let twice = items.iter().enumerate().any(|(index, item)| items[..index].contains(item));
    if twice { Err(wrong(parameter, "one is named twice")) } else { Ok(items) }
}

/// A dimension by its name; or which there are.
fn dimension(name: &str) -> Result<QueryDimension, String> {
    let found = QueryDimension::ALL.into_iter().find(|known| known.name() == name);
    found.ok_or_else(|| unknown(name, "dimension", &QueryDimension::ALL.map(QueryDimension::name)))
}

fn metric(name: &str) -> Result<Metric, String> {
    let found = Metric::ALL.into_iter().find(|known| known.name() == name);
    found.ok_or_else(|| unknown(name, "metric", &Metric::ALL.map(Metric::name)))
}

fn unknown(name: &str, what: &str, known: &[&str]) -> String {
    let known = known.join(", ");
    match NOT_TOLD.contains(&name) {
        true => format!("{name} is not told here; what is: {known}"),
        false => format!("{} is no {what}; there are {known}", excerpt(name)),
    }
}

/// A word of `sort`. A plus sign of a URL that was not encoded is a space by now, and has been cut off.
fn sort_key(
    text: &str,
    dimensions: &[QueryDimension],
) -> Result<(&'static str, Option<QueryKey>, bool), String> {
    let (name, descending) = match (text.strip_prefix('-'), text.strip_prefix('+')) {
        (Some(name), _) => (name, true),
        (None, name) => (name.unwrap_or(text), false),
    };
    if let Ok(metric) = metric(name) {
        // The others are all alike.
        return Ok((metric.name(), (metric == Metric::Queries).then_some(QueryKey::Count), descending));
    }
    let dimension = dimension(name)?;
    let place = dimensions.iter().position(|known| *known == dimension);
    let place = place.ok_or_else(|| format!("{name} is not among the dimensions that are asked for"))?;
    Ok((dimension.name(), Some(QueryKey::Dimension(place)), descending))
}

/// A time as RFC 3339 writes it, or a day's beginning by UTC.
fn time(query: &Query, name: &str) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = query.get(name) else { return Ok(None) };
    // A plus sign that was not encoded.
    let text = text.replace(' ', "+");
    let at = text.parse::<jiff::Timestamp>().or_else(|error| {
        let day: jiff::civil::Date = text.parse().map_err(|_| error)?;
        jiff::tz::Offset::UTC.to_timestamp(day.at(0, 0, 0, 0))
    });
    match at {
        Ok(at) => Ok(Some(Timestamp::from_millis(at.as_millisecond()))),
        Err(_) => {
            let why = format!("{} is not a time such as 2026-11-28T12:00:00Z", excerpt(&text));
            Err(wrong(name, &why))
        }
    }
}

/// A time without fractions, as reports have them.
fn second(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.as_seconds()).map_or_else(|_| at.to_string(), |at| format!("{at:.0}"))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
