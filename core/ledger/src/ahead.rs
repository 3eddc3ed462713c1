//! What becomes of compiled zones when a change comes: compiled anew before it is in force, or right after.
//!
//! ```text
//!  change ─▶ prepare: which zones that are kept does it change? ─┬ small: T::compile, within a time for all ─▶ commit: in the
//!                                                                │                            place of the former one
//!                                                                └ large, or beyond that time ─▶ commit: left behind ─▶ aside
//! ```
//!
//! One prepare holds up the changes of everybody: so it takes [`CompileZone::AHEAD_WITHIN`] at the most and one small zone more,
//! whatever zones somebody changes. A zone beyond that is **left behind**: its former state is served until another
//! thread has compiled it (`aside.rs`).
//!
//! Invariants:
//! * **No zone goes back, and none is half.** What is served of a zone is always its whole state at one place of the log, and
//!   only that of a later place takes its place. Two zones may be of different places.
//! * **What counts as served is.** Of all zones every change before [`CompiledZones::unserved`] is served; a node does not say
//!   that a later one is in force. Who waits for that (an authority is asked to look, a peer is told of a change) waits for the
//!   zones that were left behind; who is served does not.
//! * **A name never answers as a zone that it is no longer**: one that was deleted, or that another one took the place of, is
//!   gone with the commit, however large it is. So is one that can no longer be read or compiled.
//! * **Each compilation brings a zone forward**, also one that changes more often than it can be compiled: it is compiled of
//!   the newest state, and once more if it has changed since.
//!
//! A commit puts nothing where nothing is: what was pushed out meanwhile may have been of a later state. Of a zone that was
//! neither kept nor under way when a change was prepared, whatever is there at the commit was read after the change.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering,
    time::Instant,
};

use proxima_model::{Key, Kind, Zone, ZoneId};
use tokio::sync::watch;

use crate::{
    ChangeSet, CompileZone, CompiledZones, Seq, Snapshot,
    compiled::{LARGE_NOUNS, Shared, compile_zone},
    compiling::{Kept, Leading, Role, UnderWay},
};

/// The first change that is perhaps not served yet though it is committed, as long as there is one.
pub type Unserved = watch::Receiver<Option<Seq>>;

/// What a change makes of the zone of one name.
enum Next<T> {
    /// This.
    Zone(Kept<T>),
    /// This zone as it will be when it is compiled; until then it stays as it is.
    Later(ZoneId),
    /// There is none any more, or none that can be read: who asks sees to it.
    None,
}

impl<T: CompileZone> CompiledZones<T> {
    /// Compiles anew what is kept of the zones that changed; puts it in force when called, which is quick and takes
    /// nothing away before. Called with every change set, and the state up to which it tells. What it does not come to follows
    /// ([`Self::unserved`]).
    pub fn prepare(&self, snapshot: &Snapshot, changed: &ChangeSet) -> impl FnOnce() + Send + use<T> {
        let replica = &self.shared.replica;
        // Until that succeeds, everything is found nevertheless, and more slowly.
        replica.zone_names().learn(replica, changed.is_everything().then_some(changed.to)).ok();
        let (from, seq) = (changed.from, snapshot.seq());
        let until = Instant::now() + T::AHEAD_WITHIN;
        let next = self.names_of(snapshot, changed).map(|names| {
            let next = names.into_iter().filter(|name| self.is_in_use(name, seq)).map(|name| {
                let next = self.next(snapshot, &name, until);
                (name, next)
            });
            next.collect::<Vec<_>>()
        });
        let zones = self.clone();
        move || match next {
            Some(next) => zones.commit((from, seq), next),
            None => zones.forget_all(seq),
        }
    }

    /// The first change that is perhaps not served yet though it is committed, as long as there is one.
    pub fn unserved(&self) -> Unserved {
        self.shared.flights.unserved()
    }

    /// The names of zones of which something changed; `None` if that may be all.
    fn names_of(&self, snapshot: &Snapshot, changed: &ChangeSet) -> Option<BTreeSet<String>> {
        let names = changed.of_kind(Kind::ZoneName)?.filter_map(Key::first_part::<String>);
        let mut names: BTreeSet<String> = names.collect();
        let says_more = |kind: &Kind| T::KINDS_THAT_SAY_MORE.contains(kind);
        let only: Vec<Kind> = T::KINDS.iter().copied().filter(|kind| !says_more(kind)).collect();
        let surely = changed.zones_with(&only)?;
        for zone in changed.zones_with(T::KINDS)? {
            match snapshot.get::<Zone>(&zone) {
                Ok(Some(zone)) if !surely.contains(&zone.id) && self.stays(snapshot, &zone) => {}
                Ok(Some(zone)) => drop(names.insert(zone.name.to_string())),
                // One that was deleted is told by its name.
                Ok(None) => {}
                // It cannot be known which one that was.
                Err(_) => return None,
            }
        }
        Some(names)
    }

    /// Whether what is kept of a zone stays, of which nothing changed but nouns that say more than it is made of. While it is
    /// compiled, or is to be, that it is as it was says nothing: what takes its place may be of a state between.
    fn stays(&self, snapshot: &Snapshot, zone: &Zone) -> bool {
        let Shared { zones, flights, .. } = &*self.shared;
        let name = zone.name.as_str();
        // In this order: what lands between these looks is kept by the last.
        if flights.has(name) || flights.behind(name).is_some() {
            return false;
        }
        let kept = zones.peek(name).filter(|kept| kept.zone == zone.id);
        kept.is_some_and(|kept| kept.compiled.is_as_in(snapshot, zone.id).unwrap_or(false))
    }

    /// Whether something older than this is kept of the zone of this name, or about to be.
    fn is_in_use(&self, name: &str, than: Seq) -> bool {
        match self.shared.zones.peek(name) {
            Some(kept) => kept.seq < than,
            // Who lands between these two looks has kept it by the second.
            None => self.shared.flights.has(name) || self.shared.zones.contains_key(name),
        }
    }

    fn next(&self, snapshot: &Snapshot, name: &str, until: Instant) -> Next<T> {
        let Ok(Some(zone)) = snapshot.zone_by_name(name) else { return Next::None };
        if Instant::now() >= until {
            return Next::Later(zone.id);
        }
        match T::is_larger_than(snapshot, zone.id, LARGE_NOUNS) {
            Err(_) => return Next::None,
            Ok(true) => return Next::Later(zone.id),
            Ok(false) => {}
        }
        self.shared.compiled_ahead.fetch_add(1, Ordering::Relaxed);
        compile_zone(snapshot, zone).map_or(Next::None, Next::Zone)
    }

    fn commit(&self, (from, seq): (Seq, Seq), next: Vec<(String, Next<T>)>) {
        let Shared { zones, flights, .. } = &*self.shared;
        let mut left = Vec::new();
        for (name, next) in next {
            let mut under_way = flights.lock();
            let known = zones.peek(&*name);
            let is_older = known.as_ref().is_some_and(|kept| kept.seq < seq);
            match next {
                Next::Zone(kept) => {
                    if is_older {
                        zones.insert(name.as_str().into(), kept.clone());
                    }
                    under_way.serves(&name, seq);
                    under_way.flight(&name).into_iter().for_each(|flight| flight.overtake(seq, Some(&kept)));
                }
                Next::Later(zone) if known.as_ref().is_none_or(|known| known.zone == zone) => {
                    // What is neither kept nor under way was pushed out, and what is not older was read after the change.
                    let follows =
                        is_older || !zones.contains_key(&*name) && under_way.flight(&name).is_some();
                    if follows && under_way.leave_behind(&name, zone, (from, seq)) {
                        left.push((name.into_boxed_str(), zone));
                    }
                }
                Next::Later(_) | Next::None => {
                    if is_older || known.is_none() {
                        self.serve_nothing(&mut under_way, &name);
                    }
                    under_way.flight(&name).into_iter().for_each(|flight| flight.overtake(seq, None));
                }
            }
        }
        // What was behind may be served now, and something else not.
        flights.tell_unserved(&flights.lock());
        left.into_iter().for_each(|left| self.catch_up(left));
    }

    fn forget_all(&self, seq: Seq) {
        let Shared { zones, flights, .. } = &*self.shared;
        let mut under_way = flights.lock();
        under_way.flights().for_each(|flight| flight.overtake(seq, None));
        under_way.serves_nothing_at_all();
        zones.clear();
        flights.tell_unserved(&under_way);
    }

    /// What is kept of the zone of this name is not served any more.
    pub(crate) fn serve_nothing(&self, under_way: &mut UnderWay<T>, name: &str) {
        self.shared.zones.remove(name);
        under_way.serves_nothing(name);
        self.shared.flights.tell_unserved(under_way);
    }

    /// Has a zone that was left behind compiled by a thread that does nothing else.
    fn catch_up(&self, left: (Box<str>, ZoneId)) {
        self.aside(left, |zones, name| {
            let Shared { flights, compiled_ahead, .. } = &*zones.shared;
            if flights.behind(name).is_none() {
                return;
            }
            // Whoever else compiles it sees to what is left after that.
            let Role::Leads(flight) = flights.join(name) else { return };
            let _goes_on = zones.going_on(name);
            let leading = Leading::new(flights, flight, name);
            // What it comes to is seen to as it lands.
            if catch_unwind(AssertUnwindSafe(|| zones.lead(leading, compiled_ahead).ok())).is_err() {
                zones.serve_nothing(&mut flights.lock(), name);
            }
        });
    }

    /// Has a zone that is still behind when this is dropped compiled once more.
    pub(crate) const fn going_on<'z>(&'z self, name: &'z str) -> GoesOn<'z, T> {
        GoesOn { zones: self, name }
    }
}

/// See [`CompiledZones::going_on`].
pub(crate) struct GoesOn<'z, T: CompileZone> {
    zones: &'z CompiledZones<T>,
    name: &'z str,
}

impl<T: CompileZone> Drop for GoesOn<'_, T> {
    fn drop(&mut self) {
        if let Some(zone) = self.zones.shared.flights.behind(self.name) {
            self.zones.catch_up((self.name.into(), zone));
        }
    }
}
