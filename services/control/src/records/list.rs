//! `GET dns_records`: filters, orders and pages.

use std::{cmp::Ordering, sync::Arc};

use axum::{Extension, extract::State};
use proxima_ledger::Snapshot;
use proxima_model::{DnsName, Record, RecordData, Zone, limits::RECORDS_PER_ZONE_MAX};

use super::body::show;
use crate::{
    api::{
        Api,
        envelope::Answer,
        page::{Query, TextFilter},
    },
    error::ApiError,
    limits,
};

/// Which records are wanted.
struct Filters {
    names: Vec<TextFilter>,
    contents: Vec<TextFilter>,
    comments: Vec<TextFilter>,
    comment_present: Option<bool>,
    record_type: Option<String>,
    proxied: Option<bool>,
    tags: Vec<TagFilter>,
    tags_all: bool,
    search: Option<String>,
    all: bool,
}

/// A filter on a record's tags, `NAME:VALUE` each.
enum TagFilter {
    /// A tag of this name is there, or is not.
    Present(String, bool),
    /// A tag of this name has a value that passes.
    Value(String, TextFilter),
}

impl TagFilter {
    fn of(query: &Query) -> Vec<Self> {
        let lower = |suffix: &str| query.get(&format!("tag{suffix}")).map(str::to_lowercase);
        let value = |suffix: &str, filter: fn(String) -> TextFilter| {
            let text = lower(suffix)?;
            let (name, value) = text.split_once(':').unwrap_or((&text, ""));
            Some(Self::Value(name.to_owned(), filter(value.to_owned())))
        };
        [
            value("", TextFilter::Equal),
            value(".exact", TextFilter::Equal),
            value(".contains", TextFilter::Contains),
            value(".startswith", TextFilter::StartsWith),
            value(".endswith", TextFilter::EndsWith),
            lower(".present").map(|name| Self::Present(name, true)),
            lower(".absent").map(|name| Self::Present(name, false)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn passes(&self, tags: &[String]) -> bool {
        let named = |wanted: &str| {
            let wanted = wanted.to_owned();
            tags.iter().filter_map(move |tag| {
                let lower = tag.to_lowercase();
                let (name, value) = lower.split_once(':').unwrap_or((&lower, ""));
                (name == wanted).then(|| value.to_owned())
            })
        };
        match self {
            Self::Present(name, wanted) => named(name).next().is_some() == *wanted,
            Self::Value(name, filter) => named(name).any(|value| filter.passes(&value)),
        }
    }
}

impl Filters {
    fn of(query: &Query) -> Result<Self, ApiError> {
        let names = TextFilter::of_parameter(query, "name").into_iter().map(|filter| match filter {
            // People ask for names as they write them: with the last dot, or international.
            TextFilter::Equal(name) => {
                TextFilter::Equal(DnsName::parse(&name).map_or(name, |parsed| parsed.to_string()))
            }
            other => other,
        });
        let comment_present = match (query.has("comment.present"), query.has("comment.absent")) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        };
        let tags_all =
            query.choice("tag_match", &["all", "any"])?.or(query.choice("tag-match", &["all", "any"])?);
        Ok(Self {
            names: names.collect(),
            contents: TextFilter::of_parameter(query, "content"),
            comments: TextFilter::of_parameter(query, "comment"),
            comment_present,
            record_type: query.get("type").map(str::to_ascii_uppercase),
            proxied: query.flag("proxied")?,
            tags: TagFilter::of(query),
            tags_all: tags_all != Some("any"),
            search: query.get("search").map(str::to_lowercase),
            all: query.match_all()?,
        })
    }

    fn pass(&self, record: &Record) -> bool {
        let content = record.data.content();
        let text = match &record.data {
            RecordData::Txt(text) => Some(text.text()),
            _ => None,
        };
        let comment = record.comment.as_deref().unwrap_or_default();
        let of_content = |filter: &TextFilter| {
            filter.passes(&content) || text.as_ref().is_some_and(|text| filter.passes(text))
        };
        let tags = (!self.tags.is_empty()).then(|| {
            let mut verdicts = self.tags.iter().map(|filter| filter.passes(&record.tags));
            if self.tags_all { verdicts.all(|passed| passed) } else { verdicts.any(|passed| passed) }
        });
        let wanted_type = self.record_type.as_ref();
        let verdicts = self
            .names
            .iter()
            .map(|filter| filter.passes(record.name.as_str()))
            .chain(self.contents.iter().map(of_content))
            .chain(self.comments.iter().map(|filter| filter.passes(comment)))
            .chain(self.comment_present.map(|present| record.comment.is_some() == present))
            .chain(wanted_type.map(|wanted| *wanted == record.data.record_type().name()))
            .chain(self.proxied.map(|proxied| proxied == record.proxied))
            .chain(tags);
        let mut verdicts = verdicts.peekable();
        let passed = verdicts.peek().is_none()
            || if self.all { verdicts.all(|passed| passed) } else { verdicts.any(|passed| passed) };
        passed && self.search.as_ref().is_none_or(|wanted| found(record, &content, comment, wanted))
    }
}

/// Whether a text stands anywhere in a record.
fn found(record: &Record, content: &str, comment: &str, wanted: &str) -> bool {
    let in_text = |text: &str| text.to_lowercase().contains(wanted);
    in_text(record.name.as_str())
        || in_text(content)
        || in_text(comment)
        || record.tags.iter().any(|tag| in_text(tag))
}

/// `GET dns_records`.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    Extension(query): Extension<Arc<Query>>,
) -> Result<Answer, ApiError> {
    let page = query.page(limits::RECORDS_PER_PAGE, limits::RECORDS_PER_PAGE_MAX)?;
    let filters = Filters::of(&query)?;
    let order =
        query.choice("order", &["type", "name", "content", "ttl", "proxied"])?.unwrap_or("type").to_owned();
    let descending = query.descending()?;
    let read = move |snapshot: &Snapshot| {
        let mut records = page.first_of(|a, b| {
            let ordering = by_order(&order, a, b).then_with(|| whole_order(a, b));
            if descending { ordering.reverse() } else { ordering }
        });
        super::each_of_zone(snapshot, zone.id, |record| {
            if filters.pass(&record) {
                records.take(record);
            }
        })?;
        let (records, info) = records.cut();
        let shown = records.iter().map(|record| show(record, &zone.name)).collect();
        Ok(Answer::page((shown, info)).at(snapshot.seq()))
    };
    if page.end() > RECORDS_PER_ZONE_MAX { api.read_much(read).await } else { api.read(read).await }
}

fn by_order(order: &str, a: &Record, b: &Record) -> Ordering {
    match order {
        "name" => a.name.cmp(&b.name),
        "content" => a.data.content().cmp(&b.data.content()),
        "ttl" => u32::from(a.ttl).cmp(&u32::from(b.ttl)),
        "proxied" => a.proxied.cmp(&b.proxied),
        _ => a.data.record_type().name().cmp(&b.data.record_type().name()),
    }
}

/// An order in which no two records are the same, so that pages neither overlap nor leave out.
fn whole_order(a: &Record, b: &Record) -> Ordering {
    (&a.name, a.data.record_type(), &a.data, a.id).cmp(&(&b.name, b.data.record_type(), &b.data, b.id))
}

#[cfg(test)]
mod tests {
    use proxima_model::{RecordId, RecordType, Timestamp, Ttl, ZoneId};

    use super::*;

    fn record() -> Record {
        Record {
            id: RecordId::from_bytes([1; 16]),
            zone: ZoneId::from_bytes([2; 16]),
            name: DnsName::parse("Www.Example.com").unwrap(),
            data: RecordData::parse(RecordType::Txt, "Hello World").unwrap(),
            ttl: Ttl::Auto,
            proxied: false,
            flatten: false,
            comment: Some("A comment".to_owned()),
            tags: vec!["owner:Dns-Team".to_owned(), "plain".to_owned()],
            created_at: Timestamp::from_millis(0),
            modified_at: Timestamp::from_millis(0),
        }
    }

    fn passes(query: &str) -> bool {
        Filters::of(&Query::parse(Some(query)).unwrap()).unwrap().pass(&record())
    }

    #[test]
    fn every_filter_of_v4_passes_what_it_should() {
        for query in [
            "",
            "name=www.example.com",
            "name=WWW.example.com.",
            "name.exact=www.example.com",
            "name.contains=EXAMPLE",
            "name.startswith=www",
            "name.endswith=.com",
            "type=TXT",
            "type=txt",
            "content=hello+world",
            "content=%22Hello+World%22",
            "content.contains=lo+wo",
            "proxied=false",
            "comment.present",
            "comment=a+comment",
            "comment.endswith=ment",
            "tag=owner:dns-team",
            "tag.present=plain",
            "tag.absent=other",
            "tag.startswith=owner:dns",
            "search=dns-team",
            "search=world",
            "name=www.example.com&type=TXT",
            "match=any&name=no&type=TXT",
            "tag_match=any&tag.present=no&tag.contains=owner:team",
            "unknown=1",
        ] {
            assert!(passes(query), "{query}");
        }
    }

    #[test]
    fn every_filter_of_v4_holds_back_what_it_should() {
        for query in [
            "name=example.com",
            "name.contains=net",
            "name.startswith=example",
            "type=A",
            "content=hello",
            "proxied=true",
            "comment.absent",
            "comment=other",
            "tag=owner:x",
            "tag.present=no",
            "tag.absent=owner",
            "search=nowhere",
            "name=www.example.com&type=A",
            "match=any&name=no&type=A",
            "tag.present=plain&tag.present=no",
            "name=www.example.com&search=nowhere",
        ] {
            assert!(!passes(query), "{query}");
        }
    }

    #[test]
    fn values_that_no_filter_has_are_refused() {
        for query in ["proxied=maybe", "match=some", "tag_match=some"] {
            assert!(Filters::of(&Query::parse(Some(query)).unwrap()).is_err(), "{query}");
        }
    }
}
