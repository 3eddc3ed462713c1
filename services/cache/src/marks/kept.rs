//! Marks that outlive the process, because what they hide lies on a disk.
//!
//! Moments are microseconds since 1970 at the process's start, and one more for each that is given: fewer are given than
//! microseconds pass, so that those of the next process are later. A clock that was put back is met by the moments that
//! lie beside the marks: the count goes on after them.

use std::sync::{Arc, PoisonError, atomic::Ordering};

use proxima_model::{Timestamp, ZoneId};
use serde::{Deserialize, Serialize};

use super::{Birth, Marks, ZoneMarks};

/// Moments that a process may have given after its marks were last written: ten minutes' worth.
const MOMENTS_UNWRITTEN: u64 = 600_000_000;

/// All marks, as they are kept.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeptMarks {
    moment: u64,
    everything: u64,
    zones: Vec<KeptZone>,
    /// Zones with keys that rules made.
    custom: Vec<[u8; 16]>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptZone {
    id: [u8; 16],
    all: u64,
    latest: u64,
    latest_tag: u64,
    names: Vec<(u64, u64)>,
}

impl Marks {
    /// No marks yet, for a store of which a part lies on a disk. `now` is the wall clock's.
    #[must_use]
    pub fn lasting(mut self, now: Timestamp) -> Self {
        let start = u64::try_from(now.as_millis()).unwrap_or(0).saturating_mul(1_000);
        self.moments = start.max(1).into();
        self.lasting = true;
        self
    }

    /// The birth of what was fetched by this or a former process. `None` if its moment has not come yet.
    pub fn born(&self, zone: ZoneId, moment: u64) -> Option<Birth> {
        (moment <= self.moments.load(Ordering::Acquire))
            .then(|| Birth { moment, zone: self.of_zone(&mut self.zones(), zone) })
    }

    /// All marks, to be kept.
    pub fn keep(&self) -> KeptMarks {
        let mut zones = self.zones();
        self.clean(&mut zones);
        let kept = |(id, marks): (&ZoneId, &Arc<ZoneMarks>)| {
            let names = marks.names.read().unwrap_or_else(PoisonError::into_inner);
            KeptZone {
                id: *id.as_bytes(),
                all: marks.all.load(Ordering::Acquire),
                latest: marks.latest.load(Ordering::Acquire),
                latest_tag: marks.latest_tag.load(Ordering::Acquire),
                names: names.iter().map(|(hash, moment)| (*hash, *moment)).collect(),
            }
        };
        KeptMarks {
            moment: self.moments.load(Ordering::Acquire),
            everything: self.everything.load(Ordering::Acquire),
            zones: zones.marks.iter().filter(|(_, marks)| marks.hide_something()).map(kept).collect(),
            custom: {
                let custom = self.custom.read().unwrap_or_else(PoisonError::into_inner);
                custom.iter().map(|zone| *zone.as_bytes()).collect()
            },
        }
    }

    /// Takes back what was kept, beside what came since.
    pub fn take_back(&self, kept: KeptMarks) {
        let mut custom = self.custom.write().unwrap_or_else(PoisonError::into_inner);
        custom.extend(kept.custom.into_iter().map(ZoneId::from_bytes));
        drop(custom);
        let mut zones = self.zones();
        self.moments.fetch_max(kept.moment.saturating_add(MOMENTS_UNWRITTEN), Ordering::AcqRel);
        self.everything.fetch_max(kept.everything, Ordering::AcqRel);
        for kept in kept.zones {
            let marks = zones.marks.entry(ZoneId::from_bytes(kept.id)).or_default();
            let mut names = marks.names.write().unwrap_or_else(PoisonError::into_inner);
            for (hash, moment) in kept.names {
                let at = names.entry(hash).or_default();
                *at = moment.max(*at);
            }
            marks.all.fetch_max(kept.all, Ordering::AcqRel);
            marks.latest_tag.fetch_max(kept.latest_tag, Ordering::AcqRel);
            marks.latest.fetch_max(kept.latest, Ordering::AcqRel);
        }
        self.clean(&mut zones);
    }
}

impl Birth {
    /// Of what is not to be stored, nor shared: nobody knows whether it was purged.
    pub(crate) fn hidden() -> Self {
        Self { moment: 0, zone: Arc::default() }
    }

    /// Its moment.
    pub const fn moment(&self) -> u64 {
        self.moment
    }
}
