//! A record as v4 writes it: JSON to noun and back.

use proxima_model::{Invalid, Record, RecordData, RecordId, RecordType, Timestamp, Ttl, Zone, ZoneName};
use serde::Deserialize;
use serde_json::{Map, Number, Value, json};

use super::data::{Parts, assemble, parts, whole};
use crate::{
    api::{body::Given, envelope::time},
    error::{ApiError, Code},
};

/// A record in a body. What is not given has its default in a new record and in one that is put, and stays as it is in
/// one that is patched. Fields of v4 that say nothing here (`meta`, …) are passed over.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RecordBody {
    pub(crate) id: Option<String>,
    #[serde(rename = "type")]
    record_type: Option<String>,
    name: Option<String>,
    content: Option<String>,
    data: Option<Map<String, Value>>,
    ttl: Given<Number>,
    proxied: Given<bool>,
    priority: Given<Number>,
    comment: Given<String>,
    tags: Given<Vec<String>>,
    settings: Given<SettingsBody>,
}

/// A record's `settings`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct SettingsBody {
    flatten_cname: Option<bool>,
    ipv4_only: Option<bool>,
    ipv6_only: Option<bool>,
}

impl RecordBody {
    /// A new record of this zone.
    pub(crate) fn create(&self, zone: &Zone, id: RecordId, now: Timestamp) -> Result<Record, ApiError> {
        let record_type = self.required_type()?;
        let proxied = self.proxied()?.unwrap_or(false);
        let flatten = self.flatten()?.unwrap_or(false);
        Ok(Record {
            id,
            zone: zone.id,
            name: self.name(&zone.name)?,
            data: self.data(record_type, None)?,
            ttl: self.ttl(proxied)?.unwrap_or(Ttl::Auto),
            proxied,
            flatten,
            comment: self.comment(None),
            tags: self.tags(Vec::new()),
            created_at: now,
            modified_at: now,
        })
    }

    /// The record that takes the place of `former`, keeping its id.
    pub(crate) fn put(&self, zone: &Zone, former: &Record, now: Timestamp) -> Result<Record, ApiError> {
        let fresh = self.create(zone, former.id, now)?;
        Ok(Record { created_at: former.created_at, ..fresh })
    }

    /// `former` with what is given.
    pub(crate) fn patch(&self, zone: &Zone, former: &Record, now: Timestamp) -> Result<Record, ApiError> {
        let touches_data = self.record_type.is_some()
            || self.content.is_some()
            || self.data.is_some()
            || self.priority != Given::Absent;
        let proxied = self.proxied()?.unwrap_or(former.proxied);
        let data = if touches_data {
            self.data(self.patched_type(&former.data)?, Some(&former.data))?
        } else {
            former.data.clone()
        };
        let was_flattened = former.flatten && data.record_type() == RecordType::Cname;
        Ok(Record {
            name: if self.name.is_some() { self.name(&zone.name)? } else { former.name.clone() },
            data,
            ttl: self.ttl(proxied)?.unwrap_or(if proxied { Ttl::Auto } else { former.ttl }),
            proxied,
            flatten: self.flatten()?.unwrap_or(was_flattened),
            comment: self.comment(former.comment.clone()),
            tags: self.tags(former.tags.clone()),
            modified_at: now,
            ..former.clone()
        })
    }

    fn required_type(&self) -> Result<RecordType, ApiError> {
        let given = self.record_type.as_deref().ok_or_else(|| {
            ApiError::record(&Invalid::new("type", "it is missing", "give the record's type, such as A"))
        })?;
        RecordType::by_name(given).map_err(|invalid| ApiError::record(&invalid))
    }

    /// The type of a record that is patched. That of one that another version made may be refused here.
    fn patched_type(&self, former: &RecordData) -> Result<RecordType, ApiError> {
        match &self.record_type {
            Some(_) => self.required_type(),
            None => {
                RecordType::by_code(former.record_type().code()).map_err(|invalid| ApiError::record(&invalid))
            }
        }
    }

    /// The name; octoDNS gives that of an SRV record in parts too, and then the parts need not be read.
    fn name(&self, zone: &ZoneName) -> Result<proxima_model::DnsName, ApiError> {
        let refuse = |invalid: Invalid| ApiError::record(&invalid);
        if let Some(name) = &self.name {
            return zone.record_name(name).map_err(refuse);
        }
        let part = |name: &str| self.data.as_ref()?.get(name)?.as_str();
        match (part("service"), part("proto"), part("name")) {
            (Some(service), Some(proto), Some(name)) => {
                let name = if name == "@" { zone.as_str() } else { name };
                zone.record_name(&format!("{service}.{proto}.{name}")).map_err(refuse)
            }
            _ => Err(refuse(Invalid::new(
                "name",
                "it is missing",
                "give the record's name, or @ for the zone's own",
            ))),
        }
    }

    fn proxied(&self) -> Result<Option<bool>, ApiError> {
        match self.proxied {
            Given::Absent => Ok(None),
            Given::Value(proxied) => Ok(Some(proxied)),
            Given::Null => {
                Err(ApiError::record(&Invalid::new("proxied", "it is null", "give true or false")))
            }
        }
    }

    /// Whether an alias is to be flattened.
    fn flatten(&self) -> Result<Option<bool>, ApiError> {
        let settings = match &self.settings {
            Given::Absent => return Ok(None),
            Given::Null => return Ok(Some(false)),
            Given::Value(settings) => settings,
        };
        for (field, given) in [("ipv4_only", settings.ipv4_only), ("ipv6_only", settings.ipv6_only)] {
            if given == Some(true) {
                let message = format!("settings.{field}: not offered; leave it out");
                return Err(ApiError::new(Code::NotOffered, message).at(format!("/settings/{field}")));
            }
        }
        Ok(settings.flatten_cname)
    }

    /// The time to live. That of a proxied name is always automatic: it is our addresses that are remembered.
    fn ttl(&self, proxied: bool) -> Result<Option<Ttl>, ApiError> {
        let Given::Value(number) = &self.ttl else { return Ok(proxied.then_some(Ttl::Auto)) };
        let refuse = |invalid: Invalid| ApiError::record(&invalid);
        let seconds: u32 =
            whole(number, "ttl", "give 1 for automatic, or 30 to 86400 seconds").map_err(refuse)?;
        let ttl = Ttl::try_from(seconds).map_err(refuse)?;
        Ok(Some(if proxied { Ttl::Auto } else { ttl }))
    }

    fn comment(&self, former: Option<String>) -> Option<String> {
        match &self.comment {
            Given::Absent => former,
            Given::Null => None,
            Given::Value(comment) => Some(comment.clone()).filter(|comment| !comment.is_empty()),
        }
    }

    fn tags(&self, former: Vec<String>) -> Vec<String> {
        match &self.tags {
            Given::Absent => former,
            Given::Null => Vec::new(),
            Given::Value(tags) => tags.clone(),
        }
    }

    /// What the record says, from `content`, `data` and `priority`, and for a patch from what it said before.
    fn data(&self, record_type: RecordType, former: Option<&RecordData>) -> Result<RecordData, ApiError> {
        let former = former.filter(|former| former.record_type() == record_type);
        let shown = former.map(parts);
        let priority = match &self.priority {
            Given::Value(number) => Some(number.clone()),
            Given::Absent | Given::Null => shown.as_ref().and_then(|shown| shown.priority.map(Number::from)),
        };
        let mut data = self.data.clone();
        if let (Some(data), Some(former), Some(Parts { data: Some(fields), .. })) =
            (&mut data, former, &shown)
        {
            merge(data, former, fields).map_err(|invalid| ApiError::record(&invalid))?;
        }
        let content = self.content.clone().or_else(|| match data {
            Some(_) => None,
            None => shown.map(|shown| shown.content),
        });
        assemble(record_type, content.as_deref(), data.as_ref(), priority.as_ref())
            .map_err(|invalid| ApiError::record(&invalid))
    }
}

/// Adds to the fields that are given those that stay as they are, as far as JSON has what they are.
fn merge(
    given: &mut Map<String, Value>,
    former: &RecordData,
    fields: &Map<String, Value>,
) -> Result<(), Invalid> {
    if let RecordData::Other(rdata) = former
        && let Some(field) = rdata.unshown().into_iter().find(|field| !given.contains_key(field.key()))
    {
        return Err(Invalid::new(
            field.name,
            "it has octets that are not UTF-8, which a field cannot say, and would change",
            "give the whole record in content, such octets as \\DDD; or give this field too",
        ));
    }
    for (name, value) in fields {
        given.entry(name.clone()).or_insert_with(|| value.clone());
    }
    Ok(())
}

/// A record as v4 shows it.
pub(crate) fn show(record: &Record, zone: &ZoneName) -> Value {
    let record_type = record.data.record_type();
    let Parts { content, priority, data } = parts(&record.data);
    let mut shown = json!({
        "id": record.id.to_string(),
        "zone_id": record.zone.to_string(),
        "zone_name": zone,
        "name": record.name,
        "type": record_type.name(),
        "content": content,
        "proxiable": record.can_be_proxied(),
        "proxied": record.proxied,
        "ttl": u32::from(record.ttl),
        "settings": {},
        "meta": {},
        "comment": record.comment,
        "tags": record.tags,
        "created_on": time(record.created_at),
        "modified_on": time(record.modified_at),
    });
    if record_type == RecordType::Cname {
        shown["settings"] = json!({"flatten_cname": record.flatten});
    }
    if let Some(priority) = priority {
        shown["priority"] = priority.into();
    }
    if let Some(data) = data {
        shown["data"] = Value::Object(data);
    }
    shown
}

/// An id in a body.
pub(crate) fn id_of(body: &RecordBody) -> Result<RecordId, ApiError> {
    let given = body.id.as_deref().ok_or_else(|| {
        ApiError::new(Code::FieldInvalid, "id: it is missing; give the record's id").at("/id")
    })?;
    given.parse().map_err(|_| super::edit::not_found().at("/id"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::zone;

    fn body(value: Value) -> RecordBody {
        serde_json::from_value(value).unwrap()
    }

    fn create(value: Value) -> Result<Record, ApiError> {
        body(value).create(&zone(), RecordId::from_bytes([3; 16]), Timestamp::from_millis(1_000))
    }

    #[test]
    fn what_is_shown_can_be_sent_back_and_is_the_same_record() {
        let bodies = [
            json!({"type": "A", "name": "www", "content": "192.0.2.1", "proxied": true}),
            json!({"type": "AAAA", "name": "@", "content": "2001:DB8:0:0::1", "ttl": 300}),
            json!({"type": "CNAME", "name": "a.example.com", "content": "B.example.com.", "ttl": 60.0}),
            json!({"type": "CNAME", "name": "f", "content": "b.example.com", "settings": {"flatten_cname": true}}),
            json!({"type": "MX", "name": "@", "content": "mail.example.com", "priority": 10}),
            json!({"type": "MX", "name": "null", "content": "0 ."}),
            json!({"type": "TXT", "name": "t", "content": "v=spf1; \"quoted\" ä"}),
            json!({"type": "TXT", "name": "t", "content": ""}),
            json!({"type": "NS", "name": "sub", "content": "ns.example.net."}),
            json!({"type": "SRV", "name": "_sip._tcp", "data": {"priority": 1, "weight": 2, "port": 5060, "target": "sip.example.com"}}),
            json!({"type": "SRV", "name": "_sip._tcp", "content": "2 5060 sip.example.com", "priority": 1}),
            json!({"type": "CAA", "name": "@", "data": {"flags": 0, "tag": "issue", "value": "ca.example; a=b"}}),
            json!({"type": "PTR", "name": "4.3.2.1", "content": "host.example.net."}),
            json!({"type": "URI", "name": "u", "content": "1 \"a:b\"", "priority": 3}),
            json!({"type": "URI", "name": "u", "data": {"weight": 1, "target": "a:b"}, "priority": 3}),
            json!({"type": "TLSA", "name": "_443._tcp", "content": "3 0 0 AA"}),
            json!({"type": "HTTPS", "name": "@", "data": {"priority": 1, "target": ".", "value": " alpn=\"h2\""}}),
            json!({"type": "LOC", "name": "l", "content": "1 2 3.5 N 4 E 5.25m"}),
            json!({"type": "TYPE65280", "name": "x", "content": "\\# 3 ABCDEF"}),
            json!({"type": "CAA", "name": "@", "content": "0 iodef \"mailto:a@example.com\"", "comment": "c", "tags": ["a:b"]}),
        ];
        for given in bodies {
            let record = create(given.clone()).unwrap_or_else(|refusal| panic!("{given}: {refusal}"));
            let again = create(show(&record, &zone().name)).unwrap();
            assert_eq!(again, record, "{given}");
            let patched = body(json!({})).patch(&zone(), &record, record.modified_at).unwrap();
            assert_eq!(patched, record, "an empty patch changes nothing");
        }
    }

    #[test]
    fn a_name_that_is_no_host_is_shown_as_one_that_cannot_be_proxied() {
        for (name, proxiable) in
            [("www", true), ("*.a", true), ("_a", true), ("0/25", false), ("*.0/25", false)]
        {
            let record = create(json!({"type": "A", "name": name, "content": "192.0.2.1"})).unwrap();
            assert_eq!(show(&record, &zone().name)["proxiable"], proxiable, "{name}");
        }
    }

    #[test]
    fn wrong_fields_have_their_code_and_say_where() {
        let refused = |value: Value| {
            let refusal = create(value).unwrap_err();
            (refusal.code(), refusal.problems[0].pointer.clone().unwrap_or_default())
        };
        let at = |code, pointer: &str| (code, pointer.to_owned());
        let a = |extra: Value| {
            let mut whole = json!({"type": "A", "name": "www", "content": "192.0.2.1"});
            whole.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            refused(whole)
        };
        assert_eq!(a(json!({"content": "192.0.2.256"})), at(Code::ContentInvalid, "/content"));
        assert_eq!(a(json!({"name": "a..b"})), at(Code::RecordNameInvalid, "/name"));
        assert_eq!(a(json!({"name": "www.example.net."})), at(Code::RecordNameInvalid, "/name"));
        assert_eq!(a(json!({"type": "WKS"})), at(Code::RecordTypeInvalid, "/type"));
        assert_eq!(a(json!({"ttl": 29})), at(Code::TtlInvalid, "/ttl"));
        assert_eq!(a(json!({"ttl": -1})), at(Code::TtlInvalid, "/ttl"));
        assert_eq!(a(json!({"ttl": 1e9})), at(Code::TtlInvalid, "/ttl"));
        assert_eq!(a(json!({"proxied": null})), at(Code::ProxiedInvalid, "/proxied"));
        assert_eq!(refused(json!({"name": "www", "content": "x"})), at(Code::RecordTypeInvalid, "/type"));
        assert_eq!(
            refused(json!({"type": "A", "content": "192.0.2.1"})),
            at(Code::RecordNameInvalid, "/name")
        );
        assert_eq!(refused(json!({"type": "A", "name": "www"})), at(Code::ContentInvalid, "/content"));
        let mx = json!({"type": "MX", "name": "@", "content": "mail.example.com"});
        assert_eq!(refused(mx), at(Code::PriorityInvalid, "/priority"));
        let srv = json!({"type": "SRV", "name": "_a._b", "priority": 1, "data": {"weight": 1, "port": 70000, "target": "a.example.com"}});
        assert_eq!(refused(srv), at(Code::ContentInvalid, "/data/port"));
    }

    #[test]
    fn a_patch_changes_what_is_given_and_null_takes_a_comment_away() {
        let record = create(
            json!({"type": "MX", "name": "@", "content": "a.example.com", "priority": 1, "comment": "c"}),
        )
        .unwrap();
        let patch = |value: Value| body(value).patch(&zone(), &record, record.modified_at).unwrap();
        assert_eq!(patch(json!({"priority": 5})).data.content(), "5 a.example.com");
        assert_eq!(patch(json!({"content": "b.example.com"})).data.content(), "1 b.example.com");
        assert_eq!(patch(json!({"ttl": 120})).ttl, Ttl::Seconds(120));
        assert_eq!(patch(json!({"comment": null})).comment, None);
        assert_eq!(patch(json!({"name": "x"})).name.as_str(), "x.example.com");
        let uri = create(json!({"type": "URI", "name": "@", "content": "3 1 \"a:b\""})).unwrap();
        let patch = |value: Value| body(value).patch(&zone(), &uri, uri.modified_at).unwrap().data.content();
        assert_eq!(patch(json!({"priority": 5})), "5 1 \"a:b\"");
        assert_eq!(patch(json!({"data": {"target": "c:d"}})), "3 1 \"c:d\"");
        assert_eq!(patch(json!({"content": "2 \"c:d\""})), "3 2 \"c:d\"");
        let caa =
            create(json!({"type": "CAA", "name": "@", "data": {"flags": 0, "tag": "issue", "value": "a"}}))
                .unwrap();
        let patched = body(json!({"data": {"value": "b"}})).patch(&zone(), &caa, caa.modified_at).unwrap();
        assert_eq!(patched.data.content(), "0 issue \"b\"");
    }

    #[test]
    fn an_alias_is_flattened_as_its_settings_say_until_they_say_otherwise_or_it_is_none() {
        let alias = json!({"type": "CNAME", "name": "a", "content": "b.example.com", "settings": {"flatten_cname": true}});
        let record = create(alias.clone()).unwrap();
        let patch = |value: Value| body(value).patch(&zone(), &record, record.modified_at);
        assert!(record.flatten && patch(json!({"ttl": 60})).unwrap().flatten);
        assert!(patch(json!({"settings": {}})).unwrap().flatten);
        for ends in [json!({"settings": {"flatten_cname": false}}), json!({"settings": null})] {
            assert!(!patch(ends).unwrap().flatten);
        }
        assert!(!patch(json!({"type": "A", "content": "192.0.2.1"})).unwrap().flatten);
        let text = json!({"type": "TXT", "name": "a", "content": "b", "settings": {"flatten_cname": true}});
        let refusal = create(text).unwrap().check(&zone().name).unwrap_err();
        assert_eq!(refusal.field, "settings.flatten_cname");
        let refusal = patch(json!({"settings": {"ipv4_only": true}})).unwrap_err();
        assert_eq!(refusal.problems[0].pointer.as_deref(), Some("/settings/ipv4_only"));
    }

    #[test]
    fn a_patch_changes_no_octets_that_it_does_not_name() {
        let record = create(json!({"type": "HINFO", "name": "@", "content": "\"a\\255\" \"b\""})).unwrap();
        let patch = |value: Value| body(value).patch(&zone(), &record, record.modified_at);
        let content = |value: Value| patch(value).unwrap().data.content();
        let refusal = patch(json!({"data": {"os": "c"}})).unwrap_err();
        assert_eq!(refusal.code(), Code::ContentInvalid);
        assert_eq!(refusal.problems[0].pointer.as_deref(), Some("/data/cpu"));
        assert_eq!(content(json!({"data": {"cpu": "c"}})), "\"c\" \"b\"");
        assert_eq!(content(json!({"content": "\"a\\255\" \"c\""})), "\"a\\255\" \"c\"");
        for nothing in [json!({"ttl": 120}), json!({"type": "HINFO"})] {
            assert_eq!(patch(nothing).unwrap().data, record.data);
        }
    }

    #[test]
    fn a_record_of_a_type_that_another_version_took_is_changed_but_for_its_data() {
        let data = serde_json::from_value(json!({"type": "OTHER", "code": 46, "rdata": "00ff"})).unwrap();
        let a = create(json!({"type": "A", "name": "www", "content": "192.0.2.1"})).unwrap();
        let record = Record { data, ..a };
        let patch = |value: Value| body(value).patch(&zone(), &record, record.modified_at);
        assert_eq!(patch(json!({"ttl": 120})).unwrap().data, record.data);
        assert_eq!(patch(json!({"content": "\\# 1 00"})).unwrap_err().code(), Code::RecordTypeInvalid);
        let other = patch(json!({"type": "TXT", "content": "a"})).unwrap();
        assert_eq!(other.data.content(), "\"a\"");
    }

    #[test]
    fn a_proxied_name_has_the_automatic_time_to_live() {
        let record =
            create(json!({"type": "A", "name": "www", "content": "192.0.2.1", "ttl": 600, "proxied": true}));
        assert_eq!(record.unwrap().ttl, Ttl::Auto);
    }
}
