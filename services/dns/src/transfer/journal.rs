//! What zones were when they were last transferred from here, so that who has that gets what changed since (RFC 1995).
//!
//! Kept are compiled zones as they were then, some of each zone and a bounded number in all, in memory only: a server that
//! begins, or that somebody comes to for the first time, sends everything. Several serials are passed over in one step,
//! which RFC 1995 (5) allows.
//!
//! Invariant: **a serial stands for one content.** Where a zone comes with a serial that it had before and says something
//! else (its settings changed, its primary took back what it had said), who has that serial may have either, and gets
//! everything.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
/// Names of one that is kept: a larger one would push out those of all others, and is sent whole.
const NAMES_PER_STATE_MAX: usize = NAMES_MAX / 2;
/// Former states of one zone.
const STATES_PER_ZONE_MAX: usize = 4;

/// Former states of zones, the oldest first.
#[derive(Default)]
pub(crate) struct Journal {
    states: Mutex<VecDeque<State>>,
}

/// What a zone was at a serial.
struct State {
    id: ZoneId,
    serial: u32,
    /// None, if it was several things.
    tree: Option<Arc<ZoneTree>>,
}

impl State {
    fn name_count(&self) -> usize {
        self.tree.as_ref().map_or(0, |tree| tree.name_count())
    }
}

/// A record set and its owner.
pub(super) type Owned = (Arc<[u8]>, RrSet);

impl Journal {
    /// Remembers that somebody has this; `is_same` says whether what it was at the same serial says the same.
    pub(super) fn remember(&self, id: ZoneId, tree: &Arc<ZoneTree>, is_same: impl FnOnce(&ZoneTree) -> bool) {
        if tree.name_count() > NAMES_PER_STATE_MAX {
            return;
        }
        let serial = tree.serial();
        let is_it = |state: &State| (state.id, state.serial) == (id, serial);
        let mut states = self.states();
        if let Some(known) = states.iter().find(|state| is_it(state)).map(|state| state.tree.clone()) {
            let Some(known) = known.filter(|known| !Arc::ptr_eq(known, tree)) else { return };
            // That looks at every name: without the lock.
            drop(states);
            let is_same = is_same(&known);
            if let Some(state) = self.states().iter_mut().find(|state| is_it(state)) {
                // The newer one is that which is served, and is known at a glance. None, if another transfer came between.
                let is_known = state.tree.as_ref().is_some_and(|now| Arc::ptr_eq(now, &known));
                state.tree = (is_same && is_known).then(|| tree.clone());
            }
            return;
        }
        states.push_back(State { id, serial, tree: Some(tree.clone()) });
        let mut of_zone = states.iter().filter(|state| state.id == id).count();
        let mut names: usize = states.iter().map(State::name_count).sum();
        while of_zone > STATES_PER_ZONE_MAX || states.len() > STATES_MAX || names > NAMES_MAX {
            let own = states.iter().position(|state| state.id == id);
            let at = if of_zone > STATES_PER_ZONE_MAX { own.unwrap_or(0) } else { 0 };
            let Some(removed) = states.remove(at) else { return };
            of_zone -= usize::from(removed.id == id);
            names -= removed.name_count();
        }
    }

    /// What a zone was at a serial, if that is remembered.
    pub(super) fn at(&self, id: ZoneId, serial: u32) -> Option<Arc<ZoneTree>> {
        let states = self.states();
        states.iter().find(|state| (state.id, state.serial) == (id, serial))?.tree.clone()
    }

    fn states(&self) -> MutexGuard<'_, VecDeque<State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
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
    let names: BTreeSet<&[u8]> = content::owners(former).chain(content::owners(now)).collect();
    let (mut gone, mut come): (Vec<Owned>, Vec<Owned>) = (Vec::new(), Vec::new());
    for relative in &names {
        let sets_of = |tree: &ZoneTree| -> Option<Vec<RrSet>> {
            // What it leads to may have changed without the zone.
            let is_flattened = |node| matches!(tree.of_owner(relative, node).0, Kind::Flattened(_));
            (!tree.at(relative).is_some_and(is_flattened))
                .then(|| content::sets(tree, relative, responder, zones))
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
        let known: BTreeSet<&[u8]> = other.into_iter().flat_map(RrSet::records).collect();
        RrSet::of(set.rtype, set.ttl, set.records().filter(|data| !known.contains(data)))
    })
}
