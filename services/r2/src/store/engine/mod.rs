//! Octets in an S3 engine (`[r2.blobs]`), by way of `opendal`.
//!
//! ```text
//! octets ─▶ [frames]: pieces with checksums ─▶ one object for each, PREFIX/NODE-NAME/ID.NNNN, each acknowledged ─▶ a row
//! octets ◀─ compared by blocks ◀─ [stream]: one question for each piece ◀── row
//! ```
//!
//! What holds for files holds here:
//! * Names are drawn, those of other servers in the same bucket begin otherwise: each store draws a [name](own_name) once, and
//!   removes nothing that does not begin with it.
//! * A row comes after all pieces were acknowledged; what no row names goes ([`discard`](Engine::discard), and what that leaves in
//!   the sweep). It is all objects and no upload in parts, since `opendal` cannot list those that a crash left.
//! * Whoever asks is answered within [`PATIENCE`]. Where the engine has failed somebody, others are refused at once, but for one
//!   each [`TRIED_EVERY`] who tries, until one succeeds: so an engine that says nothing holds no places of those who need none of
//!   it. Its [fault](Engine::fault) is told by health, log and `proxima_r2_engine_away`.

mod attempts;
mod frames;
mod name;
mod stream;
mod writing;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{TryStreamExt as _, future::try_join_all};
use opendal::{ErrorKind, HttpTransporter, Operator, options, services::S3};
use opendal_http_transport_reqwest::ReqwestTransport;
use proxima_chassis::Places;
use proxima_model::AccountId;
use proxima_pipeline::ObjectError;
use tokio::{
    runtime::Handle,
    sync::Semaphore,
    time::{Instant, error::Elapsed},
};
use tokio_util::task::TaskTracker;

use self::{attempts::Attempts, name::own_name};
pub(super) use self::{name::was_used, stream::Stream, writing::Writing};
use super::{
    blobs::{self, Blobs, Pending},
    rows::{Blob, BlobId},
};
use crate::metrics::Metrics;

/// How long the engine has for one piece or one block: less than any client of S3 waits.
pub(super) const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
/// How long it has to take a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// How often somebody tries an engine that has failed.
const TRIED_EVERY: Duration = Duration::from_millis(if cfg!(test) { 200 } else { 1_000 });
/// Blobs that are written at a time: each has a piece of some 4 MiB in memory.
const WRITTEN_AT_A_TIME_MAX: usize = 128;
/// Of those, of one account: whoever sends slowly leaves places for others.
pub(super) const WRITTEN_BY_ONE_MAX: usize = WRITTEN_AT_A_TIME_MAX / 2;
/// Pieces of one blob that are copied at a time.
const COPIED_AT_A_TIME: usize = 8;
/// Names that are listed or deleted at once: what S3 takes.
const NAMES_AT_ONCE: usize = 1_000;

/// What an operator is told who takes the engine away.
pub(super) const MISSING: &str = "objects may lie in an S3 engine, and the configuration has no [r2.blobs]: give it again, or, if \
     nothing of them is wanted, remove the file `engine` here";

/// Where the engine is, and by whom it is asked. No `Debug`: the key is a secret.
#[derive(Clone)]
pub(crate) struct EngineSettings {
    /// Its URL.
    pub(crate) endpoint: String,
    pub(crate) bucket: String,
    pub(crate) region: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    /// What names of all servers begin with; may be empty.
    pub(crate) prefix: String,
    /// What those of this server go on with, for who looks at the bucket.
    pub(crate) node: String,
}

/// The engine. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Engine(Arc<Shared>);

struct Shared {
    operator: Operator,
    places: Arc<Semaphore>,
    of_accounts: Arc<Places<AccountId>>,
    /// What removes blobs that nobody will name, and where it runs.
    discards: TaskTracker,
    runtime: Handle,
    health: Mutex<EngineHealth>,
    metrics: Metrics,
}

/// Whether the engine answers.
struct EngineHealth {
    /// Why not.
    fault: Option<String>,
    /// When somebody may try it again.
    tried_at: Instant,
}

/// What a piece is called.
fn name(id: BlobId, piece: u64) -> String {
    format!("{id}.{piece:04x}")
}

/// Whose piece is called so.
pub(super) fn of_name(name: &str) -> Option<BlobId> {
    blobs::id_of(name.split_once('.')?.0)
}

impl Engine {
    /// The engine, for the store in this folder. It is not asked for anything yet.
    pub(super) fn open(
        folder: &std::path::Path,
        settings: &EngineSettings,
        metrics: Metrics,
    ) -> Result<Self, ObjectError> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            ObjectError::Broken(format!("[r2.blobs]: {what}: {error}"))
        };
        let EngineSettings { endpoint, bucket, region, access_key, secret_key, prefix, node } = settings;
        let own = own_name(folder, &format!("{prefix}/{node}-"));
        let own = own.map_err(|error| failed("the names of its objects", &error))?;
        let service = S3::default()
            .endpoint(endpoint)
            .bucket(bucket)
            .region(region)
            .access_key_id(access_key)
            .secret_access_key(secret_key)
            .root(&format!("/{own}/"))
            // What is changed on its way is refused, by engines that know it.
            .checksum_algorithm("crc32c")
            // Nothing is taken from the environment that `[r2.blobs]` does not say.
            .disable_config_load()
            .disable_ec2_metadata();
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| failed("making its client", &error))?;
        let operator = Operator::new(service).map_err(|error| failed("it cannot be asked", &error))?;
        let context = operator.base_context();
        let context = context.with_http_transport(HttpTransporter::new(ReqwestTransport::new(client)));
        let runtime = Handle::try_current().map_err(|error| failed("it is asked by tasks", &error))?;
        Ok(Self(Arc::new(Shared {
            operator: operator.with_context(context),
            places: Arc::new(Semaphore::new(WRITTEN_AT_A_TIME_MAX)),
            of_accounts: Places::new(usize::MAX, WRITTEN_BY_ONE_MAX),
            discards: TaskTracker::new(),
            runtime,
            health: Mutex::new(EngineHealth { fault: None, tried_at: Instant::now() }),
            metrics,
        })))
    }

    fn health(&self) -> MutexGuard<'_, EngineHealth> {
        self.0.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why it cannot be asked, if so.
    pub(crate) fn fault(&self) -> Option<String> {
        self.health().fault.clone()
    }

    /// Refuses what would be refused at once, before anything is done for it.
    pub(super) fn check(&self) -> Result<(), ObjectError> {
        let health = self.health();
        let is_refused = health.fault.is_some() && Instant::now() < health.tried_at;
        if is_refused { Err(unavailable()) } else { Ok(()) }
    }

    /// Refuses at once where it has failed, but for one who tries it.
    fn admit(&self) -> Result<(), ObjectError> {
        self.check()?;
        let mut health = self.health();
        if health.fault.is_some() {
            health.tried_at = Instant::now() + TRIED_EVERY;
        }
        Ok(())
    }

    fn is_well(&self) {
        let mut health = self.health();
        if health.fault.take().is_some() {
            self.0.metrics.engine_away.set(0);
            tracing::info!(target: "proxima_r2", "the engine of [r2.blobs] answers again");
        }
    }

    fn has_failed(&self, doing: &'static str, why: &str) -> ObjectError {
        self.0.metrics.engine_failures.inc();
        let mut health = self.health();
        health.tried_at = Instant::now() + TRIED_EVERY;
        if health.fault.is_none() {
            self.0.metrics.engine_away.set(1);
            tracing::warn!(
                target: "proxima_r2",
                why,
                "{doing} has failed: objects of more than 16 KiB are refused until the engine of [r2.blobs] answers"
            );
        }
        health.fault = Some(format!("{doing}: {why}"));
        unavailable()
    }

    /// Asks the engine for something, again where that may help; `None` if that is not there.
    async fn ask<T, F: Future<Output = opendal::Result<T>>>(
        &self,
        doing: &'static str,
        mut ask: impl FnMut() -> F,
    ) -> Result<Option<T>, ObjectError> {
        self.admit()?;
        let mut attempts = Attempts::default();
        let asked = tokio::time::timeout(PATIENCE, async {
            loop {
                match ask().await {
                    Err(error) if attempts.again(&error).await => {}
                    done => return done,
                }
            }
        });
        self.conclude(doing, asked.await)
    }

    /// What a question has come to, of the engine and for who asked.
    fn conclude<T>(
        &self,
        doing: &'static str,
        asked: Result<opendal::Result<T>, Elapsed>,
    ) -> Result<Option<T>, ObjectError> {
        match asked {
            Ok(Ok(done)) => {
                self.is_well();
                Ok(Some(done))
            }
            Ok(Err(error)) if error.kind() == ErrorKind::NotFound => {
                self.is_well();
                Ok(None)
            }
            // It answers, and has too much to do: nobody else is refused for that.
            Ok(Err(error)) if error.kind() == ErrorKind::RateLimited => {
                self.is_well();
                self.0.metrics.engine_failures.inc();
                Err(ObjectError::Busy)
            }
            Ok(Err(error)) => Err(self.has_failed(doing, &error.to_string())),
            Err(_) => Err(self.has_failed(doing, "it does not answer in time")),
        }
    }

    /// Puts a piece.
    async fn put(&self, name: &str, octets: Bytes) -> Result<(), ObjectError> {
        let put = self.ask("writing octets", || self.0.operator.write(name, octets.clone()));
        // The bucket itself, if anything.
        put.await?.map(drop).ok_or_else(|| self.has_failed("writing octets", "the bucket is not there"))
    }

    /// The same octets under another name. The engine copies them: nothing of them comes here.
    pub(super) async fn copy(
        &self,
        blobs: &Blobs,
        from: BlobId,
        octets: u64,
    ) -> Result<Pending, ObjectError> {
        let pending = blobs.pending(Blob::Engine);
        let to = pending.blob().id();
        let mut copies = (0..frames::pieces(octets)).map(|piece| self.copy_piece((from, to), piece, octets));
        loop {
            let some: Vec<_> = copies.by_ref().take(COPIED_AT_A_TIME).collect();
            if some.is_empty() {
                return Ok(pending);
            }
            try_join_all(some).await?;
        }
    }

    async fn copy_piece(
        &self,
        (from, to): (BlobId, BlobId),
        piece: u64,
        all: u64,
    ) -> Result<(), ObjectError> {
        let (source, target) = (name(from, piece), name(to, piece));
        let length = Some(frames::piece_octets(all, piece));
        let copied = self.ask("copying octets", || {
            // It would be asked for otherwise.
            let how = options::CopyOptions { source_content_length_hint: length, ..Default::default() };
            self.0.operator.copy_options(&source, &target, how)
        });
        let lost = || ObjectError::Broken(format!("{from} is not in the engine any more"));
        copied.await?.map(drop).ok_or_else(lost)
    }

    /// What the pieces of a blob are called, of so many octets.
    pub(super) fn names_of(id: BlobId, octets: u64) -> impl Iterator<Item = String> {
        (0..frames::pieces(octets)).map(move |piece| name(id, piece))
    }

    /// Removes objects of the engine, those that are there.
    pub(super) async fn remove(&self, names: &[String]) -> Result<(), ObjectError> {
        for names in names.chunks(NAMES_AT_ONCE) {
            self.ask("deleting octets", || self.0.operator.delete_iter(names.to_vec())).await?;
        }
        Ok(())
    }

    /// Some names of what lies in the engine, which begin so and come after one; fewer than [`NAMES_AT_ONCE`] at the end.
    async fn list(&self, begin: &str, after: Option<String>) -> Result<Vec<String>, ObjectError> {
        let listed = self.ask("listing blobs", || list(&self.0.operator, begin, after.clone()));
        listed.await?.ok_or_else(|| self.has_failed("listing blobs", "the bucket is not there"))
    }

    /// Some names of this server's pieces, after one; and the last, if there may be more.
    pub(super) async fn some(
        &self,
        after: Option<String>,
    ) -> Result<(Vec<String>, Option<String>), ObjectError> {
        let names = self.list("", after).await?;
        let last = names.last().filter(|_| names.len() == NAMES_AT_ONCE).cloned();
        Ok((names, last))
    }

    /// Asks it for something that costs it nothing, to know whether it answers.
    pub(super) async fn probe(&self) {
        // What it came to is its health.
        self.list("probe.", None).await.ok();
    }

    /// Removes a blob that nobody will name, behind everybody's back. What stays is a stray, and goes as one.
    pub(super) fn discard(&self, id: BlobId) {
        if self.check().is_err() {
            return;
        }
        let engine = self.clone();
        let discard = async move {
            let begin = format!("{id}.");
            while let Ok(names) = engine.list(&begin, None).await
                && engine.remove(&names).await.is_ok()
                && names.len() == NAMES_AT_ONCE
            {}
        };
        self.0.discards.spawn_on(discard, &self.0.runtime);
    }

    /// How many blobs are being discarded.
    #[cfg(test)]
    pub(super) fn discarding(&self) -> usize {
        self.0.discards.len()
    }
}

async fn list(operator: &Operator, begin: &str, after: Option<String>) -> opendal::Result<Vec<String>> {
    let how = options::ListOptions {
        recursive: true,
        start_after: after,
        limit: Some(NAMES_AT_ONCE),
        ..Default::default()
    };
    let mut lister = operator.lister_options(begin, how).await?;
    let mut names = Vec::new();
    while names.len() < NAMES_AT_ONCE
        && let Some(entry) = lister.try_next().await?
    {
        names.push(entry.path().to_owned());
    }
    Ok(names)
}

/// What whoever needs octets of the engine is told while it is away: what ails it is no client's business, and logged.
fn unavailable() -> ObjectError {
    ObjectError::Unreachable("where its octets lie is away".to_owned())
}
