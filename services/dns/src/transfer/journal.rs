//! What zones were when they were last transferred from here, so that who has that gets what changed since (RFC 1995).
//!
//! Kept are compiled zones as they were then, some of each zone and a bounded number in all, in memory only: a server that
//! begins, or that somebody comes to for the first time, sends everything. Several serials are passed over in one step,
//! which RFC 1995 (5) allows.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use proxima_model::ZoneId;

use super::content;
use crate::{
    respond::{Responder, Zones},
    rrset::RrSet,
    zone::{Kind, ZoneTree},
};

/// Former states of zones that are kept.
const STATES_MAX: usize = 256;
/// Names of all of them together: some hundred MiB where they share nothing with what is served.
const NAMES_MAX: usize = 500_000;
/// Former states of one zone.
const STATES_PER_ZONE_MAX: usize = 4;

/// Former states of zones, the oldest first.
#[derive(Default)]
pub(crate) struct Journal {
    states: Mutex<VecDeque<(ZoneId, Arc<ZoneTree>)>>,
}

/// A record set and its owner.
pub(super) type Owned = (Arc<[u8]>, RrSet);

impl Journal {
    /// Remembers that somebody has this.
    pub(super) fn remember(&self, id: ZoneId, tree: &Arc<ZoneTree>) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same =
            |(known, state): &(ZoneId, Arc<ZoneTree>)| *known == id && state.serial() == tree.serial();
        if states.iter().any(is_same) {
            return;
        }
        states.push_back((id, tree.clone()));
        let mut of_zone = states.iter().filter(|(known, _)| *known == id).count();
        let mut names: usize = states.iter().map(|(_, state)| state.name_count()).sum();
        while of_zone > STATES_PER_ZONE_MAX || states.len() > STATES_MAX || names > NAMES_MAX {
            let own = states.iter().position(|(known, _)| *known == id);
            let at = if of_zone > STATES_PER_ZONE_MAX { own.unwrap_or(0) } else { 0 };
            let Some((known, state)) = states.remove(at) else { return };
            of_zone -= usize::from(known == id);
            names -= state.name_count();
        }
    }

    /// What a zone was at a serial, if that is remembered.
    pub(super) fn at(&self, id: ZoneId, serial: u32) -> Option<Arc<ZoneTree>> {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let found = states.iter().rev().find(|(known, state)| *known == id && state.serial() == serial);
        found.map(|(_, state)| state.clone())
    }
}

/// What went and what came from one state of a zone to another; `None` if that cannot be told, or is about as much as the
/// whole.
pub(super) fn differences(
    former: &ZoneTree,
    now: &ZoneTree,
    responder: &Responder,
    zones: &impl Zones,
) -> Option<(Vec<Owned>, Vec<Owned>)> {
    let names: BTreeSet<&[u8]> = former.names().chain(now.names()).collect();
    let (mut gone, mut come): (Vec<Owned>, Vec<Owned>) = (Vec::new(), Vec::new());
    for relative in &names {
        let sets_of = |tree: &ZoneTree| -> Option<Vec<RrSet>> {
            let Some(node) = tree.at(relative) else { return Some(Vec::new()) };
            // What it leads to may have changed without the zone.
            let is_flattened = matches!(node.kind(tree), Kind::Flattened(_));
            (!is_flattened).then(|| content::sets(tree, relative, node, responder, zones))
        };
        let (before, after) = (sets_of(former)?, sets_of(now)?);
        let owner: Arc<[u8]> = [*relative, now.apex()].concat().into();
        gone.extend(missing(&before, &after).map(|set| (owner.clone(), set)));
        come.extend(missing(&after, &before).map(|set| (owner.clone(), set)));
        if gone.len() + come.len() > names.len() {
            return None;
        }
    }
    Some((gone, come))
}

/// The records of some sets that others lack.
fn missing<'s>(sets: &'s [RrSet], others: &'s [RrSet]) -> impl Iterator<Item = RrSet> + use<'s> {
    sets.iter().filter_map(move |set| {
        let other = others.iter().find(|other| (other.rtype, other.ttl) == (set.rtype, set.ttl));
        let known = other.map(|other| other.data.as_slice()).unwrap_or_default();
        let data: Vec<_> = set.data.iter().filter(|data| !known.contains(data)).cloned().collect();
        (!data.is_empty()).then_some(RrSet { rtype: set.rtype, ttl: set.ttl, data })
    })
}
