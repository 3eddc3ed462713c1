//! Where Workers belong, as strangers are told.
//!
//! It is asked for every fetch from a site of another account. What the replica says is remembered for as long as it stands at the same
//! place of the log, of [`KNOWN_MAX`] Workers at most: beyond it all are read anew.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use proxima_ledger::{ReadError, Replica, Seq, Snapshot};
use proxima_model::{
    AccountId, WorkerDomain, WorkerName, WorkerTriggers, Zone, ZoneId, ZoneName, ZoneStatus,
};
use proxima_pipeline::{Fault, WorkerZones};

/// Workers whose zones are remembered.
const KNOWN_MAX: usize = 10_000;

/// A Worker of an account.
type Whose = (AccountId, WorkerName);

/// As the replica has it.
pub struct Zones {
    replica: Replica,
    known: Mutex<Known>,
}

/// What was read at one place of the log.
#[derive(Default)]
struct Known {
    at: Seq,
    zones: HashMap<Whose, Option<ZoneName>>,
}

impl Known {
    /// What was read of this Worker, if it was and the replica still stands there.
    fn get(&self, at: Seq, whose: &Whose) -> Option<Option<ZoneName>> {
        if self.at == at { self.zones.get(whose).cloned() } else { None }
    }

    /// Remembers what was read there.
    fn keep(&mut self, at: Seq, whose: Whose, zone: Option<ZoneName>) {
        if self.at != at || self.zones.len() >= KNOWN_MAX {
            self.zones.clear();
        }
        self.at = at;
        self.zones.insert(whose, zone);
    }
}

impl Zones {
    /// Of this replica.
    pub fn new(replica: Replica) -> Self {
        Self { replica, known: Mutex::default() }
    }

    fn find(&self, account: AccountId, worker: &WorkerName) -> Result<Option<ZoneName>, ReadError> {
        let whose = (account, worker.clone());
        let known = self.known().get(self.replica.seq(), &whose);
        if let Some(zone) = known {
            return Ok(zone);
        }
        let snapshot = self.replica.snapshot()?;
        let zone = read(&snapshot, &whose)?;
        self.known().keep(snapshot.seq(), whose, zone.clone());
        Ok(zone)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first active zone of the Worker's account in which it is reached.
fn read(snapshot: &Snapshot, whose: &Whose) -> Result<Option<ZoneName>, ReadError> {
    let Some(triggers) = snapshot.get::<WorkerTriggers>(whose)? else {
        return Ok(None);
    };
    let account = whose.0;
    let mut zones: BTreeSet<ZoneId> = triggers.routes.iter().map(|(zone, _)| *zone).collect();
    for domain in &triggers.domains {
        zones.extend(snapshot.get::<WorkerDomain>(&(account, *domain))?.map(|domain| domain.zone));
    }
    let mut first: Option<ZoneName> = None;
    for zone in &zones {
        // Anybody can make a zone of any name, and have a route there: until it is active it is not theirs.
        let is_theirs = |zone: &Zone| zone.account == account && zone.status == ZoneStatus::Active;
        let Some(zone) = snapshot.get::<Zone>(zone)?.filter(is_theirs) else { continue };
        if first.as_ref().is_none_or(|first| zone.name < *first) {
            first = Some(zone.name);
        }
    }
    Ok(first)
}

impl WorkerZones for Zones {
    fn zone_of(&self, account: AccountId, worker: &WorkerName) -> Result<Option<ZoneName>, Fault> {
        self.find(account, worker).map_err(|error| {
            tracing::error!(%error, "where a Worker belongs cannot be read");
            Fault::Internal("the replica cannot be read")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whose(number: usize) -> Whose {
        (AccountId::from_bytes([1; 16]), WorkerName::parse(&format!("app-{number}")).unwrap())
    }

    #[test]
    fn what_was_read_counts_where_it_was_read_and_of_so_many_at_most() {
        let mut known = Known::default();
        let zone = ZoneName::parse("a.example").unwrap();
        known.keep(Seq(5), whose(0), Some(zone.clone()));
        known.keep(Seq(5), whose(1), None);
        assert_eq!(known.get(Seq(5), &whose(0)), Some(Some(zone)));
        assert_eq!(known.get(Seq(5), &whose(1)), Some(None));
        assert_eq!(known.get(Seq(5), &whose(2)), None);
        assert_eq!(known.get(Seq(6), &whose(0)), None);
        known.keep(Seq(6), whose(1), None);
        assert_eq!(known.get(Seq(6), &whose(0)), None, "it was read before");
        for number in 0..=KNOWN_MAX {
            known.keep(Seq(6), whose(number), None);
            assert!(known.zones.len() <= KNOWN_MAX);
        }
        assert_eq!(known.get(Seq(6), &whose(KNOWN_MAX)), Some(None));
    }
}
