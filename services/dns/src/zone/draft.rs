//! What the names of a zone have, while that is gathered from its records.

use std::collections::hash_map::Entry;

use foldhash::HashMap;
use proxima_model::{Record, RecordData};

use super::{
    ASTERISK,
    packed::{flag, octets_of},
};
use crate::{
    rrset::{self, RrSet},
    wire::rtype,
};

/// Every name that exists, relative to the apex, in lower case: with records, or only with names below it (an empty
/// non-terminal, RFC 4592, 2.2.2).
#[derive(Debug, Default)]
pub(super) struct Draft {
    nodes: HashMap<Box<[u8]>, NodeDraft>,
}

/// What a name has.
#[derive(Debug, Default)]
pub(super) struct NodeDraft {
    pub(super) sets: Vec<RrSet>,
    /// Its CNAME record.
    alias: Option<RrSet>,
    /// What is known of it beside its sets ([`flag`]).
    flags: u8,
}

impl Draft {
    /// What a name has.
    pub(super) fn node(&mut self, relative: &[u8]) -> &mut NodeDraft {
        self.nodes.entry(relative.into()).or_default()
    }

    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Octets of all sets when they are packed, and of all names.
    pub(super) fn octets(&self) -> (usize, usize) {
        let sets = self.nodes.values().flat_map(NodeDraft::sets).map(octets_of).sum();
        (sets, self.nodes.keys().map(|name| name.len()).sum())
    }

    /// All of them, the apex first.
    pub(super) fn in_order(mut self) -> impl Iterator<Item = (Box<[u8]>, NodeDraft)> {
        let apex = self.nodes.remove_entry(&[][..]);
        apex.into_iter().chain(self.nodes)
    }

    /// Brings the records of each name together to sets.
    pub(super) fn gather(&mut self) {
        self.nodes.values_mut().for_each(|node| RrSet::gather(&mut node.sets));
    }

    /// All names, in no order.
    pub(super) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.nodes.keys().map(|name| &**name)
    }

    /// Derives what follows from the names that have records: the names between them and the apex, wildcards, cuts.
    pub(super) fn complete(&mut self, flatten_all: bool, is_presigned: bool) {
        let names: Vec<Box<[u8]>> = self.nodes.keys().cloned().collect();
        for name in names {
            let mut rest = &name[..];
            while let Some((&length, after)) = rest.split_first() {
                let parent = &after[usize::from(length)..];
                let wildcard = if rest.starts_with(ASTERISK) { flag::WILDCARD_BELOW } else { 0 };
                match self.nodes.entry(parent.into()) {
                    // It has records and is looked at itself, or whoever made it made everything above it.
                    Entry::Occupied(known) => {
                        known.into_mut().flags |= wildcard;
                        break;
                    }
                    Entry::Vacant(unknown) => unknown.insert(NodeDraft::default()).flags = wildcard,
                }
                rest = parent;
            }
        }
        for (name, node) in &mut self.nodes {
            node.complete(name, flatten_all, is_presigned);
        }
    }
}

impl NodeDraft {
    /// Adds a record; with its data on the wire, where that is not what is made of it.
    pub(super) fn add(&mut self, record: &Record, wire: Option<Vec<u8>>, ttl_max: u32) {
        let (rtype, data) = rrset::encode(&record.data);
        let data = wire.unwrap_or(data);
        let ttl = record.ttl.wire_seconds().min(ttl_max);
        self.set_flag(flag::PROXIED, record.proxied);
        self.set_flag(flag::WANTS_FLATTENING, record.flatten);
        if let RecordData::Cname { .. } = record.data {
            self.set_alias(RrSet::of_one(rtype, ttl, data));
        } else {
            self.push(rtype, ttl, data);
        }
    }

    /// Adds a record of a type that is not an alias's, that is brought together with others when all are here
    /// ([`Draft::gather`]): one by one, each would be looked for among those before it.
    pub(super) fn push(&mut self, rtype: u16, ttl: u32, data: impl AsRef<[u8]>) {
        self.sets.push(RrSet::of_one(rtype, ttl, data));
    }

    /// Sets its alias, unless it has one: there is one at most (RFC 2181, 10.1), and the model refuses a second one.
    pub(super) fn set_alias(&mut self, alias: RrSet) {
        self.alias.get_or_insert(alias);
        self.set_flag(flag::ALIAS, true);
    }

    /// Adds a record of a type that is not an alias's to few, which were gathered.
    pub(super) fn add_data(&mut self, rtype: u16, ttl: u32, data: &[u8]) {
        match self.sets.iter_mut().find(|set| set.rtype == rtype) {
            Some(set) => set.add(ttl, data),
            None => self.sets.push(RrSet::of_one(rtype, ttl, data)),
        }
    }

    /// The records of a type.
    pub(super) fn set(&self, rtype: u16) -> Option<&RrSet> {
        self.sets.iter().find(|set| set.rtype == rtype)
    }

    /// What is known of it beside its sets.
    pub(super) const fn flags(&self) -> u8 {
        self.flags
    }

    /// All its sets, its alias first.
    pub(super) fn sets(&self) -> impl Iterator<Item = &RrSet> {
        self.alias.iter().chain(&self.sets)
    }

    fn set_flag(&mut self, flag: u8, is_so: bool) {
        if is_so {
            self.flags |= flag;
        }
    }

    /// Derives what follows from what it has.
    fn complete(&mut self, name: &[u8], flatten_all: bool, is_presigned: bool) {
        let is_apex = name.is_empty();
        // A delegation of a wildcard has no meaning (RFC 4592, 4.2): its NS records are records like others.
        let is_cut = !is_apex && !name.starts_with(ASTERISK) && self.set(rtype::NS).is_some();
        if !is_cut {
            // How a zone is signed, where none begins (any more).
            self.sets.retain(|set| set.rtype != rtype::DS);
        }
        self.set_flag(flag::CUT, is_cut);
        // Nobody knows what a wildcard would redirect (RFC 6672, 3.3).
        let redirects = !name.starts_with(ASTERISK) && self.set(rtype::DNAME).is_some();
        self.set_flag(flag::REDIRECTS, redirects);
        self.set_flag(flag::WANTS_FLATTENING, flatten_all);
        let is_flattened = is_apex || self.flags & flag::WANTS_FLATTENING != 0 || !self.sets.is_empty();
        self.set_flag(flag::FLATTENED, is_flattened && !is_presigned);
        if is_presigned && is_apex {
            // It would stand for the zone's own records (RFC 1034, 3.6.2).
            self.alias = None;
            self.flags &= !flag::ALIAS;
        }
    }
}
