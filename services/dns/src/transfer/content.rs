//! What a zone is transferred as: what its names answer.

use std::sync::Arc;

use proxima_transfer::message;
use tracing::debug;

use crate::{
    asker::{Asker, Transport},
    flattening::{Asking, Sought},
    respond::{Responder, Zones},
    rrset::{RrSet, Set},
    server::Server,
    wire::rtype,
    zone::{Kind, Node, Presigned, ZoneTree},
};

const ADDRESSES: [u16; 2] = [rtype::A, rtype::AAAA];
/// What a transfer waits for of what its aliases lead to outside; what else is not known by then goes out without addresses.
const SOUGHT_MAX: usize = 1_024;

/// Goes through a zone's record sets, name by name.
pub(super) struct Content {
    pub(super) zone: Arc<ZoneTree>,
    /// Names relative to the apex that are still to come, the last one first.
    names: Vec<Box<[u8]>>,
}

impl Content {
    pub(super) fn new(zone: Arc<ZoneTree>) -> Self {
        let mut names: Vec<Box<[u8]>> = owners(&zone).map(Box::from).collect();
        names.sort_unstable_by(|one, other| other.cmp(one));
        names.dedup();
        Self { zone, names }
    }

    /// The next name's owner and record sets; `None` at the end. The apex's SOA record is not among them.
    pub(super) fn next(
        &mut self,
        responder: &Responder,
        zones: &impl Zones,
    ) -> Option<(Vec<u8>, Vec<RrSet>)> {
        let relative = self.names.pop()?;
        let owner = [&relative, self.zone.apex()].concat();
        let sets = sets(&self.zone, &relative, responder, zones);
        Some((owner, sets))
    }
}

/// The names that have something to transfer, relative to the apex: those of the zone, and those at which only what its primary
/// denies by stands. In no order, and some twice.
pub(super) fn owners(zone: &ZoneTree) -> impl Iterator<Item = &[u8]> {
    let links = zone.presigned().into_iter().flat_map(Presigned::links);
    zone.names().chain(links.map(|link| &*link.owner))
}

/// What a name is transferred with, but for the apex's SOA record.
pub(super) fn sets(
    zone: &ZoneTree,
    relative: &[u8],
    responder: &Responder,
    zones: &impl Zones,
) -> Vec<RrSet> {
    let node = zone.at(relative);
    let mut sets = node.map(|node| own(zone, relative, node, responder, zones)).unwrap_or_default();
    if let Some(presigned) = zone.presigned() {
        sets.extend(presigned.at(relative).map(|link| link.set.clone()));
        let soa = relative.is_empty().then(|| zone.soa());
        let signed = sets.iter().map(RrSet::view).chain(soa);
        let rrsigs: Vec<Set<'_>> = signed.filter_map(|set| zone.signatures_at(relative, set)).collect();
        for set in rrsigs {
            // One set of each TTL, by which differences are told.
            match sets.iter_mut().find(|known| (known.rtype, known.ttl) == (set.rtype, set.ttl)) {
                Some(known) => known.merge(set),
                None => sets.push(set.detached()),
            }
        }
    }
    sets
}

/// What it answers, as far as that is transferred.
fn own(
    zone: &ZoneTree,
    relative: &[u8],
    node: Node<'_>,
    responder: &Responder,
    zones: &impl Zones,
) -> Vec<RrSet> {
    let (kind, sets) = zone.of_owner(relative, node);
    let mut sets: Vec<RrSet> = sets.filter(|set| goes_out(zone, *set, kind)).map(Set::detached).collect();
    match kind {
        Kind::Plain => {}
        Kind::Alias(alias) => sets.push(alias.detached()),
        Kind::Proxied => {
            sets.extend(
                ADDRESSES.into_iter().filter_map(|rtype| responder.addresses(rtype)).map(Set::detached),
            );
            sets.extend(https(responder, zone, node).map(Set::detached));
        }
        Kind::Flattened(_) => {
            let owner = [relative, zone.apex()].concat();
            sets.extend(ADDRESSES.into_iter().filter_map(|rtype| answered(responder, zones, &owner, rtype)));
        }
    }
    sets
}

/// What a zone's aliases lead to outside and is not known here yet. Has it looked up.
pub(super) fn sought(zone: &ZoneTree, server: &Server) -> Vec<Sought> {
    let mut sought = Vec::new();
    for relative in zone.names().filter(|_| server.flattening.is_some()) {
        let is_flattened = |node: Node<'_>| matches!(zone.of_owner(relative, node).0, Kind::Flattened(_));
        if !zone.at(relative).is_some_and(is_flattened) {
            continue;
        }
        let owner = [relative, zone.apex()].concat();
        for rtype in ADDRESSES {
            let asking = Asking::new(server, false);
            answered(&server.responder, &asking, &owner, rtype);
            sought.extend(asking.sought());
        }
        if sought.len() >= SOUGHT_MAX {
            break;
        }
    }
    sought
}

/// Whether a record set of a name goes out as it is.
fn goes_out(zone: &ZoneTree, set: Set<'_>, kind: Kind<'_>) -> bool {
    match set.rtype {
        rtype::SOA => false,
        rtype::A | rtype::AAAA => !matches!(kind, Kind::Proxied | Kind::Flattened(_)),
        rtype::DNSKEY | rtype::CDS | rtype::CDNSKEY => zone.signer().is_none(),
        _ => true,
    }
}

fn https<'r>(responder: &'r Responder, zone: &ZoneTree, node: Node<'_>) -> Option<Set<'r>> {
    if node.set(rtype::HTTPS).is_some() {
        return None;
    }
    responder.https_of(zone.https())
}

/// What is answered to a question for addresses of a name: those of the name that it stands for.
fn answered(responder: &Responder, zones: &impl Zones, owner: &[u8], rtype: u16) -> Option<RrSet> {
    let question = message::question(0, 0, owner, rtype);
    let asker = Asker::new([127, 0, 0, 1].into(), Transport::Tcp);
    let mut answer = Vec::new();
    responder.respond(zones, &question, asker, &mut answer)?;
    let records = message::answers(&answer).unwrap_or_default();
    let records = records.into_iter().filter(|record| record.rtype == rtype && record.owner == *owner);
    let mut sets = records.map(|record| RrSet::of_one(rtype, record.ttl, record.data)).collect();
    RrSet::gather(&mut sets);
    if sets.is_empty() {
        debug!(?owner, "transferred without addresses: its alias leads to none that are known here");
    }
    sets.pop()
}
