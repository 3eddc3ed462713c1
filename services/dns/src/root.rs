//! The root, as resolvers here know it: where they begin, and what of that they follow.
//!
//! ```text
//!  hints_file ────────────────────────────▶ Root ──▶ Recursive (at once), Flattening (once it has resolved something)
//!  anchors_file ──▶ TrustAnchors ─────────────┘           └──────────────┬───────────────┘
//!                    ▲         ▲                                         ▼
//!  data_dir/root-anchors       │            tend ─▶ Resolver::tend ── servers of the root (priming)
//!     ▲                        └────────────────────────────────── keys of the root (RFC 5011)
//!     └── written anew: beside, synced, renamed ◀──── log, metrics ◀────┘
//! ```
//!
//! Invariants:
//! * **Nobody waits for it, and what fails here leaves what there was.** Where the file cannot be written, as on a full disk,
//!   what was followed counts until the server ends, and is written as soon as that works.
//! * **The file is whole or it is not believed.** One that is damaged is told of in the log and kept beside; then the anchors
//!   of the configuration count, as on the first day.
//! * **What could not be read is not written over**: it may say which keys were revoked. It is left for as long as the process
//!   lives, and so is one that is damaged and cannot be put aside.
//! * **The configuration's anchors count beside those that were followed**, but for keys that were revoked since.
//!
//! Limits: those of `proxima_resolver` for keys, and for the file.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use proxima_chassis::{NodeContext, Shutdown};
use proxima_resolver::{
    AnchorChange, AnchorState, Followed, Observation, Resolver, TrustAnchors, Unobserved, Upstream,
};
use tracing::{debug, error, info, warn};

use crate::{DnsError, resolver::ResolverConfig, service::NAME};

/// How long a resolver that nobody has used yet is left alone before it is looked at again.
const IDLE: Duration = Duration::from_secs(60);
/// Where in the node's folder it is kept what was followed of the root's keys.
const FILE: &str = "root-anchors";

/// When a resolver begins to tend what it knows of the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tending {
    /// With the server.
    AtOnce,
    /// When it was used: a server that resolves nothing asks nobody anything.
    OnceUsed,
}

/// Where resolvers begin.
pub(crate) struct Root {
    pub(crate) hints: Vec<IpAddr>,
    pub(crate) anchors: Arc<TrustAnchors>,
    file: PathBuf,
    /// Whether the file may be written over: it was read, put aside, or there was none.
    may_write: bool,
    /// Whether something was followed that is not in the file yet.
    is_unwritten: AtomicBool,
    writing: Mutex<()>,
    /// Whether it was told that the file cannot be written.
    is_told: AtomicBool,
    metrics: RootMetrics,
}

struct RootMetrics {
    keys: Family<[(&'static str, &'static str); 1], Gauge>,
}

impl RootMetrics {
    fn register(registry: &mut Registry) -> Self {
        let keys = Family::<[(&'static str, &'static str); 1], Gauge>::default();
        registry.register("anchors", "Keys of the root that are followed (RFC 5011), by state", keys.clone());
        Self { keys }
    }

    fn show(&self, followed: &Followed) {
        for state in AnchorState::ALL {
            let count = i64::try_from(followed.count(state)).unwrap_or(i64::MAX);
            self.keys.get_or_create(&[("state", state.name())]).set(count);
        }
    }
}

impl Root {
    /// Reads the files that say where resolution begins, and what was followed before.
    ///
    /// # Errors
    /// A file of the configuration cannot be read or used.
    pub(crate) fn open(node: &NodeContext, config: &ResolverConfig) -> Result<Arc<Self>, DnsError> {
        let (hints, ds) = config.beginning(&node.config)?;
        let file = node.config.node.data_dir.join(FILE);
        let metrics = node.metrics.register(&format!("{NAME}_root"), RootMetrics::register);
        let root = match config.follows_root_keys() {
            true => {
                let (followed, may_write) = read(&file);
                Self::new(hints, TrustAnchors::followed(ds, followed), file, may_write, metrics)
            }
            false => Self::new(hints, TrustAnchors::fixed(ds), file, false, metrics),
        };
        Ok(Arc::new(root))
    }

    fn new(
        hints: Vec<IpAddr>,
        anchors: Arc<TrustAnchors>,
        file: PathBuf,
        may_write: bool,
        metrics: RootMetrics,
    ) -> Self {
        metrics.show(&anchors.to_keep());
        let (is_unwritten, is_told) = (AtomicBool::new(false), AtomicBool::new(false));
        let writing = Mutex::default();
        Self { hints, anchors, file, may_write, is_unwritten, writing, is_told, metrics }
    }

    /// Has a resolver tend what it knows of the root, until the server drains.
    pub(crate) async fn tend<U: Upstream>(
        self: Arc<Self>,
        resolver: Arc<Resolver<U>>,
        when: Tending,
        shutdown: Shutdown,
    ) -> Result<(), DnsError> {
        loop {
            let one = async {
                let is_idle = when == Tending::OnceUsed && !resolver.is_in_use();
                let wait = if is_idle { IDLE } else { self.tend_once(&resolver).await };
                tokio::time::sleep(wait).await;
            };
            tokio::select! {
                () = shutdown.draining() => return Ok(()),
                () = one => {}
            }
        }
    }

    async fn tend_once<U: Upstream>(self: &Arc<Self>, resolver: &Resolver<U>) -> Duration {
        let tended = resolver.tend().await;
        if let Some(observation) = tended.keys {
            report(&observation);
            if observation.outcome.is_ok() || !observation.changes.is_empty() {
                self.metrics.show(&self.anchors.to_keep());
                self.is_unwritten.store(true, Ordering::Relaxed);
            }
        }
        if self.is_unwritten.load(Ordering::Relaxed) {
            let root = self.clone();
            tokio::task::spawn_blocking(move || root.write()).await.ok();
        }
        tended.again
    }

    /// Writes what was followed; what cannot be written is, the next time.
    fn write(&self) {
        // One at a time: resolvers are tended side by side.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_unwritten.swap(false, Ordering::Relaxed) || !self.may_write {
            return;
        }
        match replace(&self.file, &self.anchors.to_keep().to_text()) {
            Ok(()) => {
                if self.is_told.swap(false, Ordering::Relaxed) {
                    info!(file = %self.file.display(), "the root's keys are written again");
                }
            }
            Err(error) => {
                self.is_unwritten.store(true, Ordering::Relaxed);
                if !self.is_told.swap(true, Ordering::Relaxed) {
                    let file = self.file.display();
                    warn!(%file, %error, "the root's keys that were followed cannot be written: a restart forgets them");
                }
            }
        }
    }
}

/// What a node that has its state in `data_dir` follows of the root's keys, as it was last written; `None` if nothing was. For
/// people: nothing is changed, and the node may be running.
///
/// # Errors
/// The file cannot be read, or not be believed.
pub fn root_keys(data_dir: &Path) -> io::Result<Option<Followed>> {
    let text = match fs::read_to_string(data_dir.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    Followed::parse(&text).map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// What was followed before, nothing where there is no file or none that can be believed; and whether it may be written over.
fn read(file: &Path) -> (Followed, bool) {
    let octets = match fs::read(file) {
        Ok(octets) => octets,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (Followed::default(), true),
        Err(error) => {
            warn!(file = %file.display(), %error, "the root's keys that were followed cannot be read: the configuration's anchors are used, and the file is not written before a restart that can read it");
            return (Followed::default(), false);
        }
    };
    let text = String::from_utf8(octets).map_err(|error| error.to_string());
    match text.and_then(|text| Followed::parse(&text).map_err(|error| error.to_string())) {
        Ok(followed) => (followed, true),
        Err(error) => {
            warn!(file = %file.display(), %error, "the root's keys that were followed are not believed: the configuration's anchors are used");
            (Followed::default(), put_aside(file))
        }
    }
}

/// Renames a file that is damaged, so that what it says of revoked keys is not lost; whether that worked.
fn put_aside(file: &Path) -> bool {
    let damaged = file.with_extension("damaged");
    match fs::rename(file, &damaged) {
        Ok(()) => {
            warn!(file = %damaged.display(), "the damaged file is kept there");
            true
        }
        Err(error) => {
            warn!(file = %file.display(), %error, "the damaged file cannot be renamed: it is left, and not written before a restart");
            false
        }
    }
}

/// Writes a file beside, syncs it and renames it, so that there always is a whole one.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    use io::Write as _;
    let folder = file.parent().unwrap_or(Path::new("."));
    let beside = file.with_extension("new");
    fs::create_dir_all(folder)?;
    let mut new = fs::File::create(&beside)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    fs::rename(&beside, file)?;
    fs::File::open(folder)?.sync_all()
}

/// Says in the log what became of the root's keys.
fn report(observation: &Observation) {
    for AnchorChange { key_tag, from, to } in &observation.changes {
        let name = |state: &Option<AnchorState>| state.map_or("unknown", AnchorState::name);
        let (from, to_name) = (name(from), name(to));
        match to {
            Some(AnchorState::Revoked | AnchorState::Missing) => {
                warn!(key_tag, from, to = to_name, "a key of the root has changed")
            }
            _ => info!(key_tag, from, to = to_name, "a key of the root has changed"),
        }
    }
    match observation.outcome {
        Ok(()) => debug!("the root's keys are as they are followed"),
        Err(why @ Unobserved::NoAnchor) => error!("{why}"),
        Err(why @ Unobserved::Invalid(_)) => warn!("{why}; they are asked for again"),
        Err(why @ (Unobserved::Old | Unobserved::Unanswered)) => info!("{why}; they are asked for again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a node wrote it.
    const SOME: &str = include_str!("../../../fuzz/seeds/root_anchors/followed");

    #[test]
    fn a_file_that_was_written_is_read_and_one_that_is_not_whole_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        assert_eq!(read(&file), (Followed::default(), true), "there is none");
        let text = SOME;
        replace(&file, text).unwrap();
        let (followed, may_write) = read(&file);
        assert_eq!((followed.count(AnchorState::Valid), &*followed.to_text(), may_write), (1, text, true));
        fs::write(&file, &text[..text.len() - 9]).unwrap();
        assert_eq!(read(&file), (Followed::default(), true), "it was cut off");
        fs::write(&file, b"\xff").unwrap();
        assert_eq!(read(&file), (Followed::default(), true), "it is no text");
    }

    /// The root as a server has it that begins with what is in this file, after it has written what it follows.
    fn written(file: &Path) -> Root {
        let (followed, may_write) = read(file);
        let metrics = RootMetrics::register(&mut Registry::default());
        let anchors = TrustAnchors::followed(Vec::new(), followed);
        let root = Root::new(Vec::new(), anchors, file.to_owned(), may_write, metrics);
        root.is_unwritten.store(true, Ordering::Relaxed);
        root.write();
        root
    }

    #[test]
    fn a_file_that_is_damaged_is_kept_beside_the_one_that_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (file, damaged) = (folder.path().join(FILE), folder.path().join("root-anchors.damaged"));
        let cut = &SOME[..SOME.len() - 9];
        fs::write(&file, cut).unwrap();
        let root = written(&file);
        assert_eq!(fs::read_to_string(&damaged).unwrap(), cut);
        assert_eq!(fs::read_to_string(&file).unwrap(), root.anchors.to_keep().to_text());
        // Where it cannot be put aside, it is left.
        fs::remove_file(&damaged).unwrap();
        fs::create_dir(&damaged).unwrap();
        fs::write(&file, cut).unwrap();
        let root = written(&file);
        assert_eq!(fs::read_to_string(&file).unwrap(), cut);
        assert!(!root.is_unwritten.load(Ordering::Relaxed), "nor is it tried again");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        // A link to itself can be read by nobody, and replaced by anybody.
        std::os::unix::fs::symlink(&file, &file).unwrap();
        let root = written(&file);
        assert!(fs::symlink_metadata(&file).unwrap().is_symlink());
        assert!(!file.with_extension("new").exists());
        // Not even when it could be, for as long as the process lives.
        fs::remove_file(&file).unwrap();
        fs::write(&file, SOME).unwrap();
        root.is_unwritten.store(true, Ordering::Relaxed);
        root.write();
        assert_eq!(fs::read_to_string(&file).unwrap(), SOME);
        assert_eq!(read(&file).0.to_text(), SOME, "after a restart it counts");
    }

    #[test]
    fn a_crash_while_it_is_written_and_a_disk_that_takes_nothing_leave_what_there_was() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        replace(&file, SOME).unwrap();
        // What a crash leaves is overwritten the next time.
        fs::write(file.with_extension("new"), &SOME[..100]).unwrap();
        assert_eq!(read(&file).0.to_text(), SOME);
        replace(&file, SOME).unwrap();
        assert!(!file.with_extension("new").exists());
        std::os::unix::fs::symlink("/dev/full", file.with_extension("new")).unwrap();
        let error = replace(&file, &Followed::default().to_text()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(read(&file).0.to_text(), SOME);
    }
}
