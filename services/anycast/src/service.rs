//! The service: starts the watchdog, beats, and looks at BIRD.

use std::{
    os::fd::OwnedFd,
    process::Stdio,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use proxima_bird::Control;
use proxima_chassis::{
    Health, NodeContext, PrepareError, Prepared, Service, ServiceError, Shutdown, program,
};
use proxima_ledger::{ChangeSet, Snapshot};
use tokio::{io::AsyncWriteExt, net::unix::pipe, task::JoinHandle, time::MissedTickBehavior};
use tracing::{info, warn};

use crate::{
    AnycastConfig, AnycastError,
    approach::Approach,
    deadman::Beat,
    forward::{ForwardError, Forwarding},
    heart::{BEAT_EVERY, Heart},
    metrics::AnycastMetrics,
};

/// How long the node may be silent unless configured: twelve beats, so that a busy machine is not taken for a dead one.
const SILENCE: Duration = Duration::from_millis(600);
/// How often BIRD is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two watchdogs, should one die or not start.
const WATCHDOG_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The name under which the pipe to the watchdog is handed to the next process on a graceful restart.
const PIPE: &str = "anycast/watchdog";

/// BGP announcements, driven by health.
pub struct AnycastService {
    config: AnycastConfig,
    metrics: AnycastMetrics,
    health: Mutex<Health>,
    /// Whether it is about to withdraw for a drain.
    leaving: AtomicBool,
    forwarding: OnceLock<Arc<Forwarding>>,
    /// Why connections cannot be forwarded here, though the configuration asks for it.
    not_forwarding: OnceLock<String>,
}

impl AnycastService {
    /// Checks the configuration; starts nothing yet.
    ///
    /// # Errors
    /// What is wrong with `[anycast]`, or BIRD missing.
    pub fn new(node: &NodeContext) -> Result<Arc<Self>, Box<dyn std::error::Error + Send + Sync>> {
        let config = AnycastConfig::of(&node.config)?;
        let health = if config.enabled { Health::Starting } else { Health::Ready };
        let metrics = node.metrics.register("anycast", AnycastMetrics::register);
        metrics.sessions.set(i64::try_from(config.neighbors.len()).unwrap_or(i64::MAX));
        Ok(Arc::new(Self {
            config,
            metrics,
            health: Mutex::new(health),
            leaving: AtomicBool::new(false),
            forwarding: OnceLock::new(),
            not_forwarding: OnceLock::new(),
        }))
    }

    fn set_health(&self, health: Health) {
        let mut current = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != health {
            info!(?health, "anycast");
            *current = health;
        }
    }

    /// Writes BIRD's configuration and starts a watchdog; returns the pipe to it.
    fn start_watchdog(&self) -> Result<OwnedFd, AnycastError> {
        let config = &self.config;
        std::fs::create_dir_all(&config.run_dir).map_err(AnycastError::system("making", &config.run_dir))?;
        std::fs::write(config.config_path(), config.render())
            .map_err(AnycastError::system("writing", config.config_path()))?;
        let program = program().map_err(AnycastError::system("finding", "this program"))?;
        let (reading, writing) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
            .map_err(|error| AnycastError::system("making", "a pipe")(error.into()))?;
        let silence = config.silence_ms.map_or(SILENCE, |ms| Duration::from_millis(ms.into()));
        let mut command = std::process::Command::new(program);
        command
            .arg("watchdog")
            .arg("--run-dir")
            .arg(&config.run_dir)
            .arg("--bird")
            .arg(config.bird_program()?)
            .arg("--silence-ms")
            .arg(silence.as_millis().to_string())
            .args(config.announcements())
            .stdin(Stdio::from(reading))
            .stdout(Stdio::null());
        let child = proxima_chassis::start_ordinarily(|| command.spawn())
            .map_err(AnycastError::system("starting", program))?;
        info!(pid = child.id(), "the watchdog has been started");
        // It is known by its pipe, not by its process: on a graceful restart it becomes the next process' watchdog.
        std::thread::Builder::new()
            .name("reap-watchdog".to_owned())
            .spawn(move || {
                let mut child = child;
                child.wait().ok();
            })
            .map_err(AnycastError::system("starting", "a thread"))?;
        Ok(writing)
    }

    /// Beats until the node drains; `Err` when the watchdog is gone.
    async fn beat(
        &self,
        mut pipe: pipe::Sender,
        mut heart: Heart,
        node: &NodeContext,
        shutdown: &Shutdown,
    ) -> std::io::Result<()> {
        let mut ticks = tokio::time::interval(BEAT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut approach = Approach::new(heart.is_announced());
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.withdrawing(), if !shutdown.is_withdrawing() => {}
                () = shutdown.draining() => return Ok(()),
            }
            let can_serve = !shutdown.is_withdrawing() && node.health.cannot_serve("anycast").is_none();
            if let Some(beat) = heart.beat(can_serve, Instant::now()) {
                let leaves = beat == Beat::Announce && self.leaving.load(Ordering::Relaxed);
                let beat = if leaves { Beat::Leave } else { beat };
                let beat = approach.hold_back(beat, || self.seek_homes(shutdown), JoinHandle::is_finished);
                pipe.write_all(&[beat.octet()]).await?;
                self.metrics.announcing.set(i64::from(beat != Beat::Withdraw));
            }
            if shutdown.is_withdrawing() {
                // Said; the pipe stays open until the drain so that BIRD keeps its sessions for an orderly withdrawal.
                shutdown.draining().await;
                return Ok(());
            }
        }
    }

    /// Gets ready for strays of the peers' connections, which routes may bring here once this server is announced.
    fn seek_homes(&self, shutdown: &Shutdown) -> Option<JoinHandle<()>> {
        let (forwarding, window) = (Arc::clone(self.forwarding.get()?), shutdown.drain_within());
        Some(tokio::spawn(async move { forwarding.seek_homes(window).await }))
    }

    /// Takes the former process' watchdog, or starts one, and keeps it for as long as it lives. `Ok` when the node drains,
    /// `Err` when there is no watchdog or it is gone.
    async fn keep_watchdog(
        &self,
        inherited: Option<OwnedFd>,
        node: &NodeContext,
        shutdown: &Shutdown,
    ) -> Result<(), AnycastError> {
        let heart = Heart::new(inherited.is_some());
        let pipe = inherited.map_or_else(|| self.start_watchdog(), Ok)?;
        let kept = pipe.try_clone().map_err(AnycastError::system("keeping", "the watchdog's pipe"))?;
        let pipe = pipe::Sender::from_owned_fd(pipe)
            .map_err(AnycastError::system("using", "the watchdog's pipe"))?;
        node.listeners.keep(PIPE, kept);
        tokio::select! {
            outcome = self.beat(pipe, heart, node, shutdown) =>
                outcome.map_err(AnycastError::system("beating into", "the watchdog's pipe")),
            () = self.keep_looking() => Ok(()),
        }
    }

    /// Looks at BIRD's sessions for as long as it is polled. Beside the beats, never between them: a slow BIRD must not
    /// make a node that is well fall silent.
    async fn keep_looking(&self) {
        loop {
            self.look().await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Looks at BIRD's sessions.
    async fn look(&self) {
        let path = self.config.control_path();
        let seen = tokio::task::spawn_blocking(move || {
            Control::connect(&path)?.say("show protocols").map(|lines| proxima_bird::protocols(&lines))
        })
        .await;
        let health = match seen {
            Ok(Ok(protocols)) => {
                let sessions = protocols.iter().filter(|protocol| protocol.kind == "BGP");
                let down: Vec<&str> = sessions
                    .clone()
                    .filter(|session| session.info != "Established")
                    .map(|session| session.name.as_str())
                    .collect();
                let up = sessions.count() - down.len();
                self.metrics.sessions_up.set(i64::try_from(up).unwrap_or(i64::MAX));
                if down.is_empty() {
                    Health::Ready
                } else {
                    Health::Degraded(format!("BGP is not established with: {}", down.join(", ")))
                }
            }
            Ok(Err(error)) => Health::Failed(error.to_string()),
            Err(panic) => Health::Failed(panic.to_string()),
        };
        // BIRD needs a moment to open its socket: that is a start, not a failure.
        let starting = *self.health.lock().unwrap_or_else(PoisonError::into_inner) == Health::Starting;
        if !(starting && matches!(health, Health::Failed(_))) {
            self.set_health(health);
        }
    }
}

#[async_trait]
impl Service for AnycastService {
    fn name(&self) -> &'static str {
        "anycast"
    }

    fn prepare(&self, _: &Snapshot, _: &ChangeSet) -> Result<Prepared, PrepareError> {
        // What is announced is the server's own configuration: no change of the replica concerns it.
        Ok(Prepared::nothing())
    }

    async fn run(self: Arc<Self>, node: NodeContext, shutdown: Shutdown) -> Result<(), ServiceError> {
        if !self.config.enabled {
            shutdown.draining().await;
            return Ok(());
        }
        self.start_forwarding(&node).await.map_err(ServiceError::new)?;
        self.announce(&node, &shutdown).await;
        if let Some(forwarding) = self.forwarding.get() {
            // Nothing arrives here any more that could be another's; ours may go on arriving elsewhere.
            forwarding.end_forwarding().await;
            if shutdown.is_withdrawing() {
                tokio::select! {
                    () = forwarding.until_nothing_is_under_way() => {}
                    () = shutdown.stopping() => {}
                }
            }
            forwarding.end().await;
        }
        Ok(())
    }

    async fn before_withdrawal(&self) {
        if let Some(forwarding) = self.forwarding.get() {
            forwarding.call_home().await;
        }
        if self.config.enabled && self.metrics.announcing.get() > 0 {
            info!("the announcement says that it is about to go");
            self.leaving.store(true, Ordering::Relaxed);
            tokio::time::sleep(self.config.leave()).await;
        }
    }

    fn health(&self) -> Health {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match self.not_forwarding.get() {
            Some(why) if health == Health::Ready => {
                Health::Degraded(format!("connections are not forwarded: {why}"))
            }
            _ => health,
        }
    }
}

impl AnycastService {
    /// Begins to serve peers, so that connections are forwarded when routes move; goes on without where that cannot be.
    async fn start_forwarding(&self, node: &NodeContext) -> Result<(), ForwardError> {
        match Forwarding::start(node, &self.config, &self.metrics.forward).await {
            Ok(Some(forwarding)) => drop(self.forwarding.set(forwarding)),
            Ok(None) => {}
            Err(error @ ForwardError::Listen { .. }) => return Err(error),
            Err(error) => {
                warn!(
                    %error,
                    "this server cannot forward connections (it needs CAP_NET_ADMIN, CAP_BPF and /dev/net/tun): what is \
                     under way will be reset when routes move"
                );
                self.not_forwarding.set(error.to_string()).ok();
            }
        }
        Ok(())
    }

    /// Announces while this server can serve, until the node drains.
    async fn announce(&self, node: &NodeContext, shutdown: &Shutdown) {
        let mut inherited = node.listeners.inherited(PIPE);
        while !shutdown.is_draining() {
            let Err(error) = self.keep_watchdog(inherited.take(), node, shutdown).await else {
                break;
            };
            // Not announced without it, and no reason to end a node that may soon serve again.
            warn!(%error, "there is no watchdog, and no BIRD without it: another one is started");
            self.set_health(Health::Failed(format!("there is no watchdog: {error}")));
            tokio::select! {
                () = tokio::time::sleep(WATCHDOG_AGAIN_AFTER) => {}
                () = shutdown.draining() => {}
            }
        }
    }
}
