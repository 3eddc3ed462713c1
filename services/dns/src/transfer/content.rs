//! What a zone is transferred as: what its names answer.

use std::{borrow::Cow, sync::Arc};

use proxima_transfer::message;
use tracing::debug;

use crate::{
    asker::{Asker, Transport},
    respond::{Responder, Zones},
    rrset::RrSet,
    wire::rtype,
    zone::{Kind, Node, ZoneTree},
};

/// Goes through a zone's record sets, name by name.
pub(super) struct Content {
    pub(super) zone: Arc<ZoneTree>,
    /// Names relative to the apex that are still to come, the last one first.
    names: Vec<Box<[u8]>>,
}

impl Content {
    pub(super) fn new(zone: Arc<ZoneTree>) -> Self {
        let mut names: Vec<Box<[u8]>> = zone.names().map(Box::from).collect();
        names.sort_unstable_by(|one, other| other.cmp(one));
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
        let Some(node) = self.zone.at(&relative) else { return Some((owner, Vec::new())) };
        let kind = node.kind(&self.zone);
        let mut sets: Vec<Cow<'_, RrSet>> = own_sets(&self.zone, node, kind).map(Cow::Borrowed).collect();
        match kind {
            Kind::Plain => {}
            Kind::Alias(alias) => sets.push(Cow::Borrowed(alias)),
            Kind::Proxied => {
                sets.extend(
                    [rtype::A, rtype::AAAA]
                        .into_iter()
                        .filter_map(|rtype| responder.addresses(rtype).map(Cow::Borrowed)),
                );
                sets.extend(https(responder, &self.zone, node).map(Cow::Borrowed));
            }
            Kind::Flattened(_) => {
                sets.extend(
                    [rtype::A, rtype::AAAA]
                        .into_iter()
                        .filter_map(|rtype| answered(responder, zones, &owner, rtype).map(Cow::Owned)),
                );
            }
        }
        Some((owner, sets.into_iter().map(Cow::into_owned).collect()))
    }
}

/// The record sets that a name has of its own and that go out.
fn own_sets<'n>(zone: &ZoneTree, node: &'n Node, kind: Kind<'_>) -> impl Iterator<Item = &'n RrSet> {
    let is_replaced = matches!(kind, Kind::Proxied | Kind::Flattened(_));
    let is_signed = zone.signer().is_some();
    node.sets().iter().filter(move |set| match set.rtype {
        rtype::SOA => false,
        rtype::A | rtype::AAAA => !is_replaced,
        rtype::DNSKEY | rtype::CDS | rtype::CDNSKEY => !is_signed,
        _ => true,
    })
}

fn https<'r>(responder: &'r Responder, zone: &ZoneTree, node: &Node) -> Option<&'r RrSet> {
    if node.set(rtype::HTTPS).is_some() {
        return None;
    }
    responder.https_of(zone.https())
}

/// What is answered to a question for addresses of a name: those of the name that it stands for.
fn answered(responder: &Responder, zones: &impl Zones, owner: &[u8], rtype: u16) -> Option<RrSet> {
    let question = message::question(0, 0, owner, rtype);
    let asker = Asker { address: [127, 0, 0, 1].into(), transport: Transport::Tcp };
    let mut answer = Vec::new();
    responder.respond(zones, &question, asker, &mut answer)?;
    let records = message::answers(&answer).unwrap_or_default();
    let mut records = records.into_iter().filter(|record| record.rtype == rtype && record.owner == *owner);
    let Some(first) = records.next() else {
        debug!(?owner, "transferred without addresses: its alias leads to none that are known here");
        return None;
    };
    let mut set = RrSet::of_one(rtype, first.ttl, first.data);
    records.for_each(|record| set.add(record.ttl, record.data));
    Some(set)
}
