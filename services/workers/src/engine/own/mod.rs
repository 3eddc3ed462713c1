//! Processes that run one version alone: those that are asked most.
//!
//! ```text
//!  a request ─▶ has the version a process of its own? ── yes ─▶ Shard (Place::Own) ─▶ own.js ─▶ the Worker
//!                     │ no                                             │
//!                     ▼                                                │ ended, for whatever reason
//!          a shared process (dispatcher.js) ◀──────────────────────────┘
//!          one of sixteen is counted (counts.rs) ── asked often ─▶ settings.rs ─▶ a process starts, and is taken once it listens
//! ```
//!
//! Through the dispatcher a request passes two isolates, and the loader is asked for each; a Worker that stands in the settings of
//! its process is asked as bare `workerd` is, which takes less than half of the processor. So the few versions that most requests
//! are for get a process each, the others share some. Nobody sees the difference but by the time it takes.
//!
//! Invariants:
//! * A process of its own runs what a shared one would: the same program, the same stubs of the same dispatcher.
//! * It is asked once it listens, which it does when its code has started. One that does not start is not tried again for a while.
//! * There are no more than `own_processes_max`. A version that is not asked often any more gives its process back.
//! * Who is suspected or convicted runs apart, whatever is asked of it ([`Verdicts`](super::verdicts::Verdicts)); who is looked at
//!   runs where its tail is.

mod counts;
mod settings;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use serde_json::Value;

use self::counts::{COUNTED_OF, Counts, Found};
pub(super) use self::settings::OwnSettings;
use super::{
    settings::{BUDGETS, BUDGETS_SOURCE, DISPATCHER, DISPATCHER_SOURCE, SETTINGS},
    shard::{Common, Shard},
};
use crate::version::VersionKey;

/// A version whose process did not start gets no other before.
const UNFIT_FOR: Duration = Duration::from_secs(600);
/// Versions of which that is remembered: beyond it, all may try again.
const UNFIT_MAX: usize = 1_024;

/// Gives programs of versions: blocks, since the replica is read.
pub(crate) trait Programs: Send + Sync {
    /// What the engine is given of a version, or why there is none.
    fn program(&self, key: &VersionKey) -> Result<Value, String>;
}

/// All of them.
pub(crate) struct Own {
    common: Arc<Common>,
    most: usize,
    /// Whoever has them has the engine.
    programs: OnceLock<Weak<dyn Programs>>,
    asked: AtomicU32,
    started: AtomicU64,
    counts: Mutex<Counts>,
    /// Those that can be asked.
    places: ArcSwap<HashMap<VersionKey, Arc<Shard>>>,
    changes: Mutex<Changes>,
}

#[derive(Default)]
struct Changes {
    /// These are being started.
    starting: Vec<VersionKey>,
    /// These did not start, until when.
    unfit: HashMap<VersionKey, Instant>,
    stopped: bool,
}

impl Own {
    /// At most so many.
    pub(crate) fn new(common: Arc<Common>, most: usize) -> Arc<Self> {
        Arc::new(Self {
            common,
            most,
            programs: OnceLock::new(),
            asked: AtomicU32::new(0),
            started: AtomicU64::new(0),
            counts: Mutex::new(Counts::new(Instant::now())),
            places: ArcSwap::default(),
            changes: Mutex::default(),
        })
    }

    /// By whom programs are given; without, there are no processes.
    pub(crate) fn programs_by(&self, programs: &Arc<dyn Programs>) {
        self.programs.set(Arc::downgrade(programs)).ok();
    }

    /// Where a version is asked that has a process of its own. To be asked for each request: so it is known who is asked often.
    pub(crate) fn place(self: &Arc<Self>, key: &VersionKey) -> Option<Arc<Shard>> {
        if self.most == 0 {
            return None;
        }
        if self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(COUNTED_OF) {
            self.count(key);
        }
        let places = self.places.load();
        if places.is_empty() { None } else { places.get(key).cloned() }
    }

    /// Ends all.
    pub(crate) fn stop(&self) {
        self.changes().stopped = true;
        for shard in self.places.load().values() {
            shard.stop();
        }
    }

    fn count(self: &Arc<Self>, key: &VersionKey) {
        let places = self.places.load();
        let now = Instant::now();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Found { often, rarely }) = counts.count(key, now, || places.keys().collect()) else {
            return;
        };
        drop(counts);
        for key in rarely {
            if let Some(shard) = places.get(&key) {
                shard.retire();
            }
        }
        for key in often {
            let mut changes = self.changes();
            changes.unfit.retain(|_, until| now < *until);
            let taken = places.len() + changes.starting.len();
            if changes.stopped
                || taken >= self.most
                || changes.starting.contains(&key)
                || changes.unfit.contains_key(&key)
            {
                continue;
            }
            changes.starting.push(key.clone());
            tokio::spawn(Arc::clone(self).run(key));
        }
    }

    /// Runs a version in a process of its own until that ends.
    async fn run(self: Arc<Self>, key: VersionKey) {
        let starting = Starting { own: &self, key: &key };
        let begun = self.begin(&key).await;
        let (shard, ended) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                tracing::info!(worker = %key, error, "a Worker that is asked often has no process of its own");
                self.common.metrics.own_failed.inc();
                let mut changes = self.changes();
                if changes.unfit.len() >= UNFIT_MAX {
                    changes.unfit.clear();
                }
                changes.unfit.insert(key.clone(), Instant::now() + UNFIT_FOR);
                return;
            }
        };
        self.change(|places| places.insert(key.clone(), Arc::clone(&shard)));
        if self.changes().stopped {
            shard.stop();
        }
        drop(starting);
        tracing::debug!(worker = %key, "a Worker that is asked often has a process of its own");
        self.common.metrics.own_processes.inc();
        ended.await;
        self.change(|places| places.remove(&key));
        self.common.metrics.own_processes.dec();
    }

    /// Starts a process; what its end is told by.
    async fn begin(
        &self,
        key: &VersionKey,
    ) -> Result<(Arc<Shard>, impl Future<Output = ()> + use<>), String> {
        let programs = self.programs.get().and_then(Weak::upgrade).ok_or("nobody gives programs")?;
        let secret = format!("{:032x}", rand::random::<u128>());
        let folder = format!("own-{}", self.started.fetch_add(1, Ordering::Relaxed));
        let files = Files::in_folder(&self.common, folder);
        let shard = Shard::own(Arc::clone(&self.common), files.settings(), secret.clone());
        let known = key.clone();
        let written = tokio::task::spawn_blocking(move || {
            let program = programs.program(&known)?;
            let made = OwnSettings::of(&program, &secret).map_err(|unfit| unfit.to_string())?;
            files
                .write(made, DISPATCHER_SOURCE)
                .map_err(|error| format!("its files cannot be written: {error}"))?;
            Ok::<_, String>(files)
        });
        // They are read when it starts, and are then nobody's to read: secrets stand in them.
        let _files = written.await.map_err(|_| "a defect of the node".to_owned())??;
        let ended = shard.start_own(key).await.map_err(|error| error.to_string())?;
        Ok((shard, ended))
    }

    fn change<T>(&self, change: impl Fn(&mut HashMap<VersionKey, Arc<Shard>>) -> T) {
        let _one_at_a_time = self.changes();
        let mut places = HashMap::clone(&self.places.load());
        change(&mut places);
        self.places.store(Arc::new(places));
    }

    fn changes(&self) -> std::sync::MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That a version's process starts; gone when it has, or has not.
struct Starting<'a> {
    own: &'a Own,
    key: &'a VersionKey,
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.own.changes().starting.retain(|key| key != self.key);
    }
}

/// The folder of a process's files, in the folder of the run; gone with this.
pub(super) struct Files {
    common: Arc<Common>,
    folder: String,
}

impl Files {
    /// Those in a folder of this name, which is not there yet.
    pub(super) fn in_folder(common: &Arc<Common>, folder: String) -> Self {
        Self { common: Arc::clone(common), folder }
    }

    /// What the settings are called, in the folder of the run.
    pub(super) fn settings(&self) -> String {
        format!("{}/{SETTINGS}", self.folder)
    }

    /// Writes them, with this dispatcher. To be called by a thread that may wait.
    pub(super) fn write(
        &self,
        OwnSettings { settings, files }: OwnSettings,
        dispatcher: &str,
    ) -> std::io::Result<()> {
        let folder = &self.common.folder;
        folder.make_folder(&self.folder)?;
        let write = |name: &str, octets: &[u8]| folder.write(&format!("{}/{name}", self.folder), octets);
        write(DISPATCHER, dispatcher.as_bytes())?;
        write(BUDGETS, BUDGETS_SOURCE.as_bytes())?;
        write(SETTINGS, settings.as_bytes())?;
        files.iter().try_for_each(|(name, octets)| write(name, octets))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let (common, name) = (Arc::clone(&self.common), std::mem::take(&mut self.folder));
        let remove = move || common.folder.remove_folder(&name);
        // Files are removed by no thread that answers.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}
