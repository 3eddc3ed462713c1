//! A zone's records while they are changed: pure, and the one place where records meet each other.
//!
//! Every way in (one record, a batch, an imported file) goes through here, so that what may stand beside what is decided
//! once. Changes are made in order; each sees those before it. Nothing is written until [`ZoneEdit::finish`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proxima_model::{DnsName, Invalid, OtherType, Record, RecordId, RecordType, Zone, conflict, limits};

use crate::{
    error::{ApiError, Code},
    hosts::Kept,
};

/// A zone's records, and which of them changed.
pub(crate) struct ZoneEdit {
    zone: Zone,
    records: BTreeMap<RecordId, Record>,
    by_name: HashMap<DnsName, Vec<RecordId>>,
    put: BTreeSet<RecordId>,
    deleted: BTreeSet<RecordId>,
    /// The records of custom domains, by their names: they are not the zone's owner's to change.
    hosts: BTreeMap<DnsName, Kept>,
}

/// What an edit comes to.
pub(crate) struct Edited {
    pub(crate) zone: Zone,
    pub(crate) put: Vec<Record>,
    pub(crate) deleted: Vec<RecordId>,
}

impl ZoneEdit {
    /// Of a zone with these records.
    pub(crate) fn new(zone: Zone, records: Vec<Record>) -> Self {
        let mut by_name: HashMap<DnsName, Vec<RecordId>> = HashMap::new();
        for record in &records {
            by_name.entry(record.name.clone()).or_default().push(record.id);
        }
        let records = records.into_iter().map(|record| (record.id, record)).collect();
        let (put, deleted, hosts) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        Self { zone, records, by_name, put, deleted, hosts }
    }

    /// Leaves these records as they are, and alone where they say at which host something of ours answers.
    pub(crate) fn keeping(self, hosts: BTreeMap<DnsName, Kept>) -> Self {
        Self { hosts, ..self }
    }

    /// The zone.
    pub(crate) const fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The record of this id.
    pub(crate) fn get(&self, id: RecordId) -> Result<&Record, ApiError> {
        self.records.get(&id).ok_or_else(not_found)
    }

    /// The record that says the same under the same name.
    pub(crate) fn identical(&self, record: &Record) -> Option<&Record> {
        self.at(&record.name).find(|other| other.data == record.data)
    }

    /// Adds a record.
    pub(crate) fn create(&mut self, record: Record) -> Result<(), ApiError> {
        if self.records.len() >= limits::RECORDS_PER_ZONE_MAX {
            let message = format!("a zone has at most {} records", limits::RECORDS_PER_ZONE_MAX);
            return Err(ApiError::new(Code::RecordQuota, message));
        }
        self.check(&record)?;
        self.insert(record);
        Ok(())
    }

    /// Puts a record in the place of the one of its id.
    pub(crate) fn replace(&mut self, record: Record) -> Result<(), ApiError> {
        let former = self.get(record.id)?;
        let same = Record { modified_at: former.modified_at, ..record.clone() } == *former;
        if same {
            return Ok(());
        }
        self.check_kept(record.id)?;
        self.check(&record)?;
        self.remove(record.id);
        self.insert(record);
        Ok(())
    }

    /// Takes a record away.
    pub(crate) fn delete(&mut self, id: RecordId) -> Result<Record, ApiError> {
        self.check_kept(id)?;
        let record = self.remove(id).ok_or_else(not_found)?;
        self.put.remove(&id);
        self.deleted.insert(id);
        Ok(record)
    }

    /// The records put that say how a delegated name is signed, where none is delegated. It is looked at when all changes
    /// were made: within a batch or a file, their order does not count. A DS record that loses its delegation later is
    /// kept and not answered.
    pub(crate) fn undelegated(&self) -> impl Iterator<Item = &Record> {
        let put = self.put.iter().filter_map(|id| self.records.get(id));
        put.filter(|record| record.data.record_type() == RecordType::Other(OtherType::DS))
            .filter(|record| !self.at(&record.name).any(|other| other.data.record_type() == RecordType::Ns))
    }

    /// What is to be written; `None` if nothing changed.
    pub(crate) fn finish(mut self) -> Result<Option<Edited>, ApiError> {
        if let Some(record) = self.undelegated().next() {
            return Err(not_delegated(record));
        }
        if self.put.is_empty() && self.deleted.is_empty() {
            return Ok(None);
        }
        let put = self.put.iter().filter_map(|id| self.records.remove(id)).collect();
        Ok(Some(Edited { zone: self.zone, put, deleted: self.deleted.into_iter().collect() }))
    }

    /// Whether a record is one that is left as it is.
    fn check_kept(&self, id: RecordId) -> Result<(), ApiError> {
        match self.hosts.iter().find(|(_, kept)| kept.record == id) {
            Some((host, kept)) => Err(kept.refusal(host)),
            None => Ok(()),
        }
    }

    /// The records at a name that say where its host is.
    pub(crate) fn whereabouts(&self, name: &DnsName) -> Vec<RecordId> {
        let found = self.at(name).filter(|record| record.data.record_type().can_be_proxied());
        found.map(|record| record.id).collect()
    }

    fn at(&self, name: &DnsName) -> impl Iterator<Item = &Record> {
        let ids = self.by_name.get(name).map(Vec::as_slice).unwrap_or_default();
        ids.iter().filter_map(|id| self.records.get(id))
    }

    /// Whether a record can stand in this zone, beside all others but the one of its own id.
    fn check(&self, record: &Record) -> Result<(), ApiError> {
        record.check(&self.zone.name).map_err(|invalid| ApiError::record(&invalid))?;
        if record.data.record_type().can_be_proxied()
            && let Some(kept) = self.hosts.get(&record.name)
        {
            return Err(kept.refusal(&record.name));
        }
        let others = || self.at(&record.name).filter(|other| other.id != record.id);
        for other in others() {
            if let Some(clash) = conflict(record, other, &self.zone.name) {
                return Err(refusal(record, other, &clash.to_string()));
            }
        }
        if others().count() >= limits::RECORDS_PER_NAME_MAX {
            let message = format!("a name has at most {} records", limits::RECORDS_PER_NAME_MAX);
            return Err(ApiError::new(Code::RecordQuota, message).at("/name"));
        }
        let record_type = record.data.record_type();
        if others().filter(|other| other.data.record_type() == record_type).count()
            >= limits::RECORDS_PER_SET_MAX
        {
            let message = format!("a name has at most {} records of one type", limits::RECORDS_PER_SET_MAX);
            return Err(ApiError::new(Code::RecordQuota, message).at("/name"));
        }
        Ok(())
    }

    fn insert(&mut self, record: Record) {
        self.put.insert(record.id);
        self.by_name.entry(record.name.clone()).or_default().push(record.id);
        self.records.insert(record.id, record);
    }

    fn remove(&mut self, id: RecordId) -> Option<Record> {
        let record = self.records.remove(&id)?;
        if let Some(ids) = self.by_name.get_mut(&record.name) {
            ids.retain(|other| *other != id);
        }
        Some(record)
    }
}

/// The record that was asked for does not exist in this zone.
pub(crate) fn not_found() -> ApiError {
    ApiError::new(Code::RecordNotFound, "Record does not exist.")
}

/// A DS record says how a zone is signed, and there is none.
pub(crate) fn not_delegated(record: &Record) -> ApiError {
    ApiError::record(&Invalid::new(
        "name",
        format!("{} has a DS record and no NS record, so that no zone begins there", record.name),
        "make its NS records first, or all in one batch",
    ))
}

/// A clash, under the number that clients look for.
fn refusal(record: &Record, other: &Record, words: &str) -> ApiError {
    let (code, pointer) = if record.data == other.data {
        (Code::RecordExists, "/content")
    } else if other.data.record_type() == RecordType::Cname {
        (Code::AliasExists, "/name")
    } else {
        (Code::HostExists, "/name")
    };
    let message = match code {
        Code::RecordExists => format!("An identical record already exists. ({words})"),
        Code::AliasExists => format!("A CNAME record with that host already exists. ({words})"),
        _ => format!("An A, AAAA, or CNAME record with that host already exists. ({words})"),
    };
    ApiError::new(code, message).at(pointer)
}

#[cfg(test)]
mod tests {
    use proxima_model::{RecordData, Timestamp, Ttl};

    use super::*;
    use crate::fixtures::zone;

    fn record(id: u8, name: &str, record_type: RecordType, content: &str) -> Record {
        Record {
            id: RecordId::from_bytes([id; 16]),
            zone: zone().id,
            name: zone().name.record_name(name).unwrap(),
            data: RecordData::parse(record_type, content).unwrap(),
            ttl: Ttl::Auto,
            proxied: false,
            flatten: false,
            comment: None,
            tags: Vec::new(),
            created_at: Timestamp::from_millis(0),
            modified_at: Timestamp::from_millis(0),
        }
    }

    #[test]
    fn clashes_have_the_numbers_that_clients_look_for() {
        let host = record(1, "www", RecordType::A, "192.0.2.1");
        let alias = record(2, "alias", RecordType::Cname, "www.example.com");
        let mut edit = ZoneEdit::new(zone(), vec![host, alias]);
        let mut code = |record| edit.create(record).unwrap_err().code();
        assert_eq!(code(record(3, "www", RecordType::A, "192.0.2.1")), Code::RecordExists);
        assert_eq!(code(record(4, "www", RecordType::Cname, "other.example.com")), Code::HostExists);
        assert_eq!(code(record(5, "alias", RecordType::A, "192.0.2.1")), Code::AliasExists);
        assert_eq!(code(record(6, "alias", RecordType::Cname, "other.example.com")), Code::AliasExists);
        assert!(edit.finish().unwrap().is_none(), "what was refused is not written");
    }

    #[test]
    fn changes_see_those_before_them() {
        let mut edit = ZoneEdit::new(zone(), vec![record(1, "www", RecordType::A, "192.0.2.1")]);
        edit.delete(RecordId::from_bytes([1; 16])).unwrap();
        edit.create(record(2, "www", RecordType::Cname, "other.example.com")).unwrap();
        assert_eq!(edit.delete(RecordId::from_bytes([1; 16])).unwrap_err().code(), Code::RecordNotFound);
        let edited = edit.finish().unwrap().unwrap();
        assert_eq!((edited.put.len(), edited.deleted.len()), (1, 1));
    }

    #[test]
    fn a_record_that_does_not_change_is_not_written() {
        let former = record(1, "www", RecordType::A, "192.0.2.1");
        let mut edit = ZoneEdit::new(zone(), vec![former.clone()]);
        edit.replace(Record { modified_at: Timestamp::from_millis(5), ..former }).unwrap();
        assert!(edit.finish().unwrap().is_none());
    }

    #[test]
    fn a_record_may_take_another_name_and_leaves_its_former_one_free() {
        let mut edit = ZoneEdit::new(zone(), vec![record(1, "a", RecordType::A, "192.0.2.1")]);
        edit.replace(record(1, "b", RecordType::A, "192.0.2.1")).unwrap();
        edit.create(record(2, "a", RecordType::Cname, "b.example.com")).unwrap();
        assert_eq!(
            edit.create(record(3, "b", RecordType::Cname, "a.example.com")).unwrap_err().code(),
            Code::HostExists
        );
    }

    #[test]
    fn a_ds_record_needs_a_delegation_by_the_end_of_a_change() {
        let ds = |id| {
            record(id, "sub", RecordType::by_name("DS").unwrap(), &format!("1 13 2 {}", "0a".repeat(32)))
        };
        let ns = || record(9, "sub", RecordType::Ns, "ns.example.net");
        let mut alone = ZoneEdit::new(zone(), Vec::new());
        alone.create(ds(1)).unwrap();
        assert_eq!(alone.finish().err().unwrap().code(), Code::RecordNameInvalid);
        let mut together = ZoneEdit::new(zone(), Vec::new());
        together.create(ds(1)).unwrap();
        together.create(ns()).unwrap();
        assert_eq!(together.finish().unwrap().unwrap().put.len(), 2);
        // Tools take records away in an order of their own.
        let mut lost = ZoneEdit::new(zone(), vec![ns(), ds(1)]);
        lost.delete(RecordId::from_bytes([9; 16])).unwrap();
        assert!(lost.finish().unwrap().is_some());
    }

    #[test]
    fn a_set_has_a_bound() {
        let records =
            (0..100).map(|n: u8| record(n, "www", RecordType::A, &format!("192.0.2.{n}"))).collect();
        let mut edit = ZoneEdit::new(zone(), records);
        assert_eq!(
            edit.create(record(200, "www", RecordType::A, "192.0.2.200")).unwrap_err().code(),
            Code::RecordQuota
        );
        edit.create(record(201, "www", RecordType::Txt, "other types have their own")).unwrap();
    }

    #[test]
    fn a_name_has_a_bound_for_all_its_types() {
        let of_type = |number: u16, name: &str| {
            let rtype = RecordType::by_name(&format!("TYPE{}", 10_000 + number)).unwrap();
            let id = RecordId::from_bytes([&number.to_be_bytes()[..], &[7; 14]].concat().try_into().unwrap());
            Record { id, ..record(1, name, rtype, "\\# 1 00") }
        };
        let records = (0..4_096).map(|number| of_type(number, "www")).collect();
        let mut edit = ZoneEdit::new(zone(), records);
        assert_eq!(edit.create(of_type(5_000, "www")).unwrap_err().code(), Code::RecordQuota);
        edit.replace(of_type(7, "www")).unwrap();
        edit.create(of_type(5_000, "other")).unwrap();
    }
}
