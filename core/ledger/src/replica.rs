//! A server's own copy of the state.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use proxima_model::{Entity, Key, Kind};
use tokio::sync::watch;

use crate::{
    Change, ChangeSet, Entry, ReadError, ReplicaError, Sealer, Seq, Snapshot,
    check::{Check, StepBounds},
    codec::Digest,
    limits,
    recent::Recent,
    room::Room,
    states::{self, InForce},
    store::{Bounds, HEAD, Head, KEY_CHECK, LogId, Store, StoreError},
    zone_names::ZoneNames,
};

/// How large a replica may become. The defaults suit a network of a million zones.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaOptions {
    /// Address space of the store in octets: what it can never grow beyond. A multiple of the page size.
    pub map_octets: usize,
    /// Entries kept for followers, the audit and going back.
    pub log_entries_max: u64,
    /// Octets of entries kept.
    pub log_octets_max: u64,
    /// Idempotency keys remembered.
    pub idempotency_keys_max: u64,
}

impl Default for ReplicaOptions {
    fn default() -> Self {
        Self {
            map_octets: limits::MAP_OCTETS_DEFAULT,
            log_entries_max: limits::LOG_ENTRIES_DEFAULT,
            log_octets_max: limits::LOG_OCTETS_DEFAULT,
            idempotency_keys_max: limits::IDEMPOTENCY_KEYS_DEFAULT,
        }
    }
}

impl ReplicaOptions {
    const fn bounds(&self) -> Bounds {
        Bounds {
            map_octets: self.map_octets,
            log_entries_max: self.log_entries_max,
            log_octets_max: self.log_octets_max,
            idempotency_keys_max: self.idempotency_keys_max,
        }
    }
}

/// What is wrong where something is in the folder, and nothing says what of it is in force.
const UNNAMED: &str = "CURRENT, which names its state, is missing";
/// What is sealed to recognise the key by.
const KEY_CHECK_TEXT: &[u8] = b"proxima";

/// The replica: an LMDB environment in which a change and its place in the log are applied in one transaction.
/// Readers get immutable [`Snapshot`]s. Cheap to clone; all clones are the same replica.
#[derive(Clone)]
pub struct Replica {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    sealer: Sealer,
    options: ReplicaOptions,
    /// The state in force; `None` until there is one.
    current: ArcSwapOption<Store>,
    /// Why nothing may be read from it, if so.
    fault: watch::Sender<Option<Arc<str>>>,
    seq: watch::Sender<Seq>,
    recent: Mutex<Recent>,
    /// The log that is followed; kept beside the states, so that a damaged one is not rebuilt from another network.
    log: Mutex<Option<LogId>>,
    zone_names: ZoneNames,
    /// Of the log, where this is its own.
    room: Room,
}

impl Replica {
    /// Opens the replica of a follower in this folder, which is made if need be. A damaged one opens, too: it is read
    /// from only after a follower has rebuilt it.
    pub fn open(path: &Path, sealer: Sealer, options: ReplicaOptions) -> Result<Self, ReplicaError> {
        fs::create_dir_all(path).map_err(|source| folder_error(path, source))?;
        let replica = Self::closed(path, sealer, options);
        let found = replica.in_force()?;
        // What a rebuild that was cut short left behind. A follower can have it again, whatever it is.
        states::remove_all_but(path, if let InForce::State(folder) = &found { Some(folder) } else { None });
        replica.adopt_found(found, |folder, bounds| Store::open(folder, bounds).map(Some))?;
        Ok(replica)
    }

    /// Opens the replica in this folder, which must be there and which nobody else may have open, to read what is in it.
    /// Nothing is made, changed or removed there, and a damaged one opens, too.
    pub(crate) fn look(path: &Path, sealer: Sealer, options: ReplicaOptions) -> Result<Self, ReplicaError> {
        let replica = Self::closed(path, sealer, options);
        replica.adopt_found(replica.in_force()?, Store::look)?;
        Ok(replica)
    }

    /// Puts in force what was found in the folder; what is wrong with it is a fault of this replica.
    fn adopt_found(
        &self,
        found: InForce,
        open: fn(&Path, Bounds) -> Result<Option<Store>, StoreError>,
    ) -> Result<(), ReplicaError> {
        let folder = match found {
            InForce::State(folder) => folder,
            InForce::Nothing => return Ok(()),
            InForce::Unnamed => {
                self.set_fault(UNNAMED);
                return Ok(());
            }
            InForce::Unknown(reason) => {
                self.set_fault(reason);
                return Ok(());
            }
        };
        let complete = |store: Option<Store>| {
            let Some(store) = store else { return Ok(None) };
            Ok(store.check()?.map(|head| (store, head)))
        };
        match open(&folder, self.shared.options.bounds()).and_then(complete) {
            Ok(Some((store, head))) => {
                self.check_key(&store)?;
                self.adopt(store, head);
            }
            Ok(None) => self.set_fault("its file is empty"),
            Err(StoreError::Corrupt(reason)) => self.set_fault(&reason),
            Err(error) => return Err(ReplicaError::Open { path: folder, reason: error.to_string() }),
        }
        Ok(())
    }

    /// Opens the replica that is the log's own, and makes a new log if there is none. Damage is refused: nobody has
    /// what this node lost. Nothing is removed before a whole state is in force.
    pub(crate) fn open_log(
        path: &Path,
        sealer: Sealer,
        options: ReplicaOptions,
    ) -> Result<Self, ReplicaError> {
        fs::create_dir_all(path).map_err(|source| folder_error(path, source))?;
        let replica = Self::closed(path, sealer, options);
        let corrupt = |reason| ReplicaError::LogCorrupt { path: path.to_owned(), reason };
        let refuse = |error| match error {
            StoreError::Corrupt(reason) => corrupt(reason),
            error => ReplicaError::Open { path: path.to_owned(), reason: error.to_string() },
        };
        if states::is_marked_restore(path) {
            return Err(corrupt("a restore of it was begun, and has not come to its end".to_owned()));
        }
        match replica.in_force()? {
            InForce::State(folder) => {
                let store = Store::open(&folder, options.bounds()).map_err(refuse)?;
                let head = store.check().map_err(refuse)?;
                let head = head.ok_or_else(|| corrupt("its file is empty".to_owned()))?;
                replica.check_key(&store)?;
                replica.adopt(store, head);
                states::remove_all_but(path, Some(&folder));
            }
            InForce::Unknown(reason) => return Err(corrupt(reason.to_owned())),
            InForce::Unnamed if !replica.never_begun().map_err(|source| folder_error(path, source))? => {
                return Err(corrupt(UNNAMED.to_owned()));
            }
            InForce::Nothing | InForce::Unnamed => {
                let head = Head::new(LogId::random());
                let (store, name) = replica.new_store().map_err(refuse)?;
                replica.complete(&store, &head).map_err(refuse)?;
                states::point_to(path, &name, head.log).map_err(|source| folder_error(path, source))?;
                replica.adopt(store, head);
            }
        }
        Ok(replica)
    }

    fn closed(path: &Path, sealer: Sealer, options: ReplicaOptions) -> Self {
        let shared = Shared {
            path: path.to_owned(),
            sealer,
            options,
            current: ArcSwapOption::empty(),
            fault: watch::Sender::new(None),
            seq: watch::Sender::new(Seq::ZERO),
            recent: Mutex::new(Recent::new(Seq::ZERO)),
            log: Mutex::new(states::log_of(path)),
            zone_names: ZoneNames::default(),
            room: Room::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Whether the first start of a log was cut short here before it was in force: no state here holds an entry.
    fn never_begun(&self) -> io::Result<bool> {
        let path = &self.shared.path;
        let states = states::states(path)?;
        if states.is_empty() || states::in_use(path)? {
            return Ok(false);
        }
        // It is named before the state is, so without a name a state that is not complete was never in force.
        let named = self.log_id();
        Ok(states.iter().all(|state| match Store::look(state, self.shared.options.bounds()) {
            Ok(None) => named.is_none(),
            Ok(Some(store)) => match store.check() {
                Ok(None) => named.is_none(),
                Ok(Some(head)) => head.seq == Seq::ZERO && named.is_none_or(|log| log == head.log),
                Err(_) => false,
            },
            Err(_) => false,
        }))
    }

    fn in_force(&self) -> Result<InForce, ReplicaError> {
        states::in_force(&self.shared.path).map_err(|source| folder_error(&self.shared.path, source))
    }

    /// A view of the state as it is now.
    pub fn snapshot(&self) -> Result<Snapshot, ReadError> {
        let store = self.store()?;
        Snapshot::new(self.clone(), store)
    }

    /// The place in the log up to which changes are applied; zero before the first state.
    pub fn seq(&self) -> Seq {
        *self.shared.seq.borrow()
    }

    /// Changes when entries were applied or another state came into force.
    pub fn watch(&self) -> watch::Receiver<Seq> {
        self.shared.seq.subscribe()
    }

    /// Waits until the changes up to `seq` are applied (read your writes); `false` if they were not within `deadline`.
    pub async fn wait_for(&self, seq: Seq, deadline: Duration) -> bool {
        let mut applied = self.watch();
        let reached = applied.wait_for(|applied| *applied >= seq);
        tokio::time::timeout(deadline, reached).await.is_ok_and(|reached| reached.is_ok())
    }

    /// Waits until there is a state to read: the first snapshot of a new follower, or the end of a rebuild.
    pub async fn ready(&self) {
        let mut fault = self.shared.fault.subscribe();
        let mut seq = self.watch();
        loop {
            // Both, so that who waited for this does not see the place of no state.
            if self.head().is_ok_and(|head| self.seq() >= head.seq) {
                return;
            }
            // The senders live as long as `self`, so neither can fail.
            tokio::select! {
                _ = fault.changed() => {}
                _ = seq.changed() => {}
            }
        }
    }

    /// What changed after the state `from`; more than is remembered is everything.
    ///
    /// Take the snapshot first, ask for what changed since the last one after, and go on from the snapshot's place:
    /// the keys of an entry are remembered before it is seen, so nothing is missed. A key of an entry that is not in
    /// the snapshot yet may be told, too, and will be told again.
    pub fn changes_since(&self, from: Seq) -> ChangeSet {
        let to = self.seq();
        self.recent().since(from, to)
    }

    /// The change that puts this noun: encoded, and sealed if its kind is secret.
    pub fn put<E: Entity>(&self, entity: &E) -> Change {
        let key = entity.key();
        let plain = serde_json::to_vec(entity).expect("nouns have text keys and no failing serializers");
        let value = if E::KIND.secret() {
            let plain = zeroize::Zeroizing::new(plain);
            self.shared.sealer.seal(key.as_str(), &plain)
        } else {
            plain
        };
        Change::Put { key, value }
    }

    /// Why nothing may be read, if so.
    pub fn fault(&self) -> Option<String> {
        self.shared.fault.borrow().as_deref().map(str::to_owned)
    }

    /// Reads everything that is kept and checks it; returns how many values and entries there are. Takes as long as
    /// reading the whole file, and damage that it finds counts as if a reader had met it.
    ///
    /// # Errors
    /// What is damaged.
    pub fn verify(&self) -> Result<u64, ReadError> {
        let mut check = Check::default();
        while !check.step(self, StepBounds::default())? {}
        Ok(check.checked)
    }

    /// Octets on disk.
    pub fn octets(&self) -> u64 {
        self.shared.current.load().as_ref().map_or(0, |store| store.octets())
    }

    /// Octets of its disk that are free, if there is a state and that can be told.
    pub fn disk_free(&self) -> Option<u64> {
        self.shared.current.load().as_ref().and_then(|store| store.disk_free())
    }

    /// Why there is no room for further changes, or hardly any, if so.
    pub fn lacks_room(&self) -> Option<String> {
        self.shared.room.problem(self.disk_free())
    }

    /// How the log's writes end for want of room.
    pub(crate) fn room(&self) -> &Room {
        &self.shared.room
    }

    /// Waits until who writes now has committed or given up: then what was announced before is in a snapshot, if it ever
    /// will be. Not to be called by who writes.
    pub(crate) fn wait_for_writers(&self) -> Result<(), ReadError> {
        let store = self.store()?;
        let waited = store.write().map(drop);
        waited.map_err(|error| self.failed(&store, &error))
    }

    pub(crate) fn zone_names(&self) -> &ZoneNames {
        &self.shared.zone_names
    }

    pub(crate) fn sealer(&self) -> &Sealer {
        &self.shared.sealer
    }

    /// The store in force, if it may be read.
    pub(crate) fn store(&self) -> Result<Arc<Store>, ReadError> {
        if let Some(reason) = self.shared.fault.borrow().as_deref() {
            return Err(ReadError::Corrupt(reason.to_owned()));
        }
        self.shared.current.load_full().ok_or(ReadError::NotReady)
    }

    /// Changes when damage is found, and when it is mended.
    pub(crate) fn watch_fault(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.shared.fault.subscribe()
    }

    /// Which state is in force.
    pub(crate) fn head(&self) -> Result<Head, ReadError> {
        let store = self.store()?;
        let head = store.read().and_then(|txn| store.head(&txn));
        head.map_err(|error| self.failed(&store, &error))?.ok_or(ReadError::NotReady)
    }

    /// The log that this replica follows, also while its state cannot be read; `None` before the first state.
    pub(crate) fn log_id(&self) -> Option<LogId> {
        *self.shared.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The digest of the log up to `seq`, if it is known here.
    pub(crate) fn digest_at(&self, seq: Seq) -> Result<Option<Digest>, ReadError> {
        let store = self.store()?;
        let read = || -> Result<Option<Digest>, StoreError> {
            let txn = store.read()?;
            match store.head(&txn)? {
                Some(head) if head.seq == seq => Ok(Some(head.digest)),
                _ => Ok(store.record(&txn, seq)?.map(|record| record.digest)),
            }
        };
        read().map_err(|error| self.failed(&store, &error))
    }

    /// What a store's error means to a reader. Damage is remembered: from then on nothing is read from that store.
    pub(crate) fn failed(&self, store: &Arc<Store>, error: &StoreError) -> ReadError {
        match error {
            StoreError::Readers => ReadError::TooManyReaders,
            StoreError::Corrupt(reason) | StoreError::Io(reason) | StoreError::Full(reason) => {
                let current = self.shared.current.load();
                if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, store)) {
                    tracing::error!(path = %self.shared.path.display(), reason, "the replica is damaged");
                    self.set_fault(reason);
                }
                ReadError::Corrupt(reason.clone())
            }
        }
    }

    fn set_fault(&self, reason: &str) {
        self.shared.fault.send_replace(Some(reason.into()));
    }

    /// Says which keys are about to change. Called before the commit, so that whoever sees the new state finds its
    /// keys remembered; should the commit fail, a key too many is remembered, which does no harm.
    pub(crate) fn announce(&self, entry: &Entry) {
        let keys: Vec<Key> = entry.append.changes.iter().map(|change| change.key().clone()).collect();
        let names = keys.iter().filter(|key| key.kind() == Some(Kind::ZoneName));
        for name in names.filter_map(Key::first_part::<String>) {
            self.shared.zone_names.add(&name);
        }
        self.recent().push(entry.seq, keys);
    }

    /// Says that the state is now this.
    pub(crate) fn publish(&self, head: &Head) {
        self.shared.seq.send_if_modified(|seq| {
            let forward = head.seq > *seq;
            if forward {
                *seq = head.seq;
            }
            forward
        });
    }

    /// Notices entries that another process applied to this store, which happens while one takes over from another.
    /// `seen` is what this found the last time: a commit of this process that is about to be published is left alone.
    pub(crate) fn notice(&self, seen: Option<Seq>) -> Option<Seq> {
        let head = self.head().ok().filter(|head| head.seq > self.seq())?;
        if seen == Some(self.seq()) {
            self.shared.zone_names.forget(|| ());
            *self.recent() = Recent::new(head.seq);
            self.publish(&head);
        }
        Some(self.seq())
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent> {
        // What is remembered is whole after every step, so a panic elsewhere cannot have left it half.
        self.shared.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new, empty store beside the one in force, and its folder's name.
    pub(crate) fn new_store(&self) -> Result<(Store, String), StoreError> {
        let name = states::new_name();
        let store = Store::open(&self.shared.path.join(&name), self.shared.options.bounds())?;
        Ok((store, name))
    }

    /// Says in the store itself that it holds this state, whole.
    pub(crate) fn complete(&self, store: &Store, head: &Head) -> Result<(), StoreError> {
        let mut txn = store.write()?;
        let check = self.shared.sealer.seal("", KEY_CHECK_TEXT);
        store.meta.put(&mut txn, KEY_CHECK, &check)?;
        store.meta.put(&mut txn, HEAD, &head.encode())?;
        txn.commit()?;
        Ok(())
    }

    /// Puts a complete store in force, durably; the former one goes when its last snapshot does.
    pub(crate) fn swap_in(&self, store: Store, name: &str, head: Head) -> io::Result<()> {
        let path = &self.shared.path;
        states::point_to(path, name, head.log)?;
        if let Some(former) = self.adopt(store, head) {
            former.abandon();
        }
        states::remove_all_but(path, Some(&path.join(name)));
        Ok(())
    }

    /// Puts a store in force; what was there before is returned.
    fn adopt(&self, store: Store, head: Head) -> Option<Arc<Store>> {
        *self.recent() = Recent::new(head.seq);
        *self.shared.log.lock().unwrap_or_else(PoisonError::into_inner) = Some(head.log);
        let former = self.shared.zone_names.forget(|| self.shared.current.swap(Some(Arc::new(store))));
        self.shared.fault.send_replace(None);
        self.shared.seq.send_replace(head.seq);
        former
    }

    fn check_key(&self, store: &Store) -> Result<(), ReplicaError> {
        let path = || self.shared.path.clone();
        let open = |error: StoreError| ReplicaError::Open { path: path(), reason: error.to_string() };
        let txn = store.read().map_err(open)?;
        let check = store.meta.get(&txn, KEY_CHECK).map_err(|error| open(error.into()))?;
        let opened = check.and_then(|check| self.shared.sealer.open("", check));
        if opened.is_some_and(|text| text.as_slice() == KEY_CHECK_TEXT) {
            Ok(())
        } else {
            Err(ReplicaError::WrongKey { path: path() })
        }
    }
}

fn folder_error(path: &Path, source: io::Error) -> ReplicaError {
    ReplicaError::Folder { path: path.to_owned(), source }
}
