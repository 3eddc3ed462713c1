//! A place for one process at a time: started when it is needed, watched, replaced, and not started too often.

mod standby;

use std::{
    collections::BTreeSet,
    os::unix::net::UnixListener,
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use nix::libc::c_int;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStdout},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use super::{
    end::Why,
    folder::Folder,
    groups::{Group, Groups},
    hosts::Hosts,
    isolation::{Isolation, Start},
    pace::{Pace, log},
    place::{Place, Unavailable},
    process::{AtWork, Process, Processes, Verdict},
    shares::Shares,
    spawner::Spawner,
    verdicts::{Record, Verdicts},
    watch::{self, Finding, Limits, Sight, Watch},
};
use crate::{error::WorkersError, metrics::Metrics, version::VersionKey};

/// How often a process is looked at.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(50);
/// After how long without requests a process ends, and its Workers cost no memory any more.
const QUIET_MAX: Duration = Duration::from_secs(300);
/// The same of a process that one version has alone: others may want its place.
const OWN_QUIET_MAX: Duration = Duration::from_secs(30);
/// By when such a process listens, with its code started.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);
/// How the line begins by which the engine says so.
pub(super) const LISTENS: &[u8] = b"{\"event\":\"listen\"";
/// Octets of what it may say before.
const STARTING_OCTETS_MAX: u64 = 64 << 10;
/// A process that is replaced ends by then what it has begun.
const REPLACED_WITHIN: Duration = Duration::from_secs(60);
/// A process younger than this is not replaced: else Workers that need so much would never have one for long.
const REPLACED_AFTER: Duration = Duration::from_secs(60);
/// How long the next start waits after a process that ended before it had answered anything; twice as long each time.
const BACK_OFF_FIRST: Duration = Duration::from_millis(500);
/// And at most.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);
/// By how much a process that is started for who was convicted gives way to all others (nice(2)): if it spins again, it has
/// a tenth of a processor that others want.
const OFFENDER_NICE: c_int = 10;

/// What all places have in common.
pub(crate) struct Common {
    pub(crate) program: PathBuf,
    pub(crate) settings: String,
    /// What faults of processes for several are known by.
    pub(crate) secret: Arc<str>,
    pub(crate) folder: Folder,
    pub(crate) isolation: Isolation,
    /// What bounds processes, where the machine has it.
    pub(crate) groups: Option<Arc<Groups>>,
    pub(crate) spawner: Spawner,
    pub(crate) hosts: Hosts,
    pub(crate) limits: Limits,
    pub(crate) verdicts: Mutex<Verdicts>,
    pub(crate) metrics: Metrics,
    /// Of what fails in Workers.
    pub(crate) failures: Mutex<Pace>,
    /// Those that run.
    pub(crate) processes: Arc<Processes>,
    /// Of invocations that the dispatcher does not see begin.
    pub(crate) shares: Arc<Shares>,
    /// The engine has ended: so does every process, also one that is being started.
    pub(crate) ended: CancellationToken,
    /// Numbers processes.
    pub(crate) started: AtomicU64,
}

impl Common {
    /// A control group for the process of this number.
    pub(super) async fn group(&self, number: u64, is_offender: bool) -> std::io::Result<Option<Group>> {
        let Some(groups) = self.groups.clone() else { return Ok(None) };
        let memory = self.limits.memory;
        let made = tokio::task::spawn_blocking(move || groups.group(number, memory, is_offender));
        made.await.map_err(std::io::Error::other)?.map(Some)
    }
}

/// A place.
pub(crate) struct Shard {
    common: Arc<Common>,
    place: Place,
    settings: String,
    secret: Arc<str>,
    /// Its process is to end what it has begun, and no more.
    retired: AtomicBool,
    state: Mutex<State>,
    /// Who is asked in its place while it is held, and in whose place this one is.
    beside: OnceLock<[Weak<Shard>; 2]>,
    /// Held while a process is started: all who need it wait for one.
    starting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    process: Option<Arc<Process>>,
    /// Processes in a row that ended before they had answered anything.
    failures: u32,
    not_before: Option<Instant>,
}

impl Shard {
    pub(crate) fn new(common: Arc<Common>, place: Place) -> Arc<Self> {
        let (settings, secret) = (common.settings.clone(), Arc::clone(&common.secret));
        Self::with(common, place, settings, secret)
    }

    /// A place for one version's own process: of these settings, in which stands this secret.
    pub(crate) fn own(common: Arc<Common>, settings: String, secret: String) -> Arc<Self> {
        Self::with(common, Place::Own, settings, secret.into())
    }

    fn with(common: Arc<Common>, place: Place, settings: String, secret: Arc<str>) -> Arc<Self> {
        let (state, starting) = (Mutex::default(), tokio::sync::Mutex::default());
        let (retired, beside) = (AtomicBool::new(false), OnceLock::new());
        Arc::new(Self { common, place, settings, secret, retired, state, beside, starting })
    }

    /// Starts the process of one version, which can be asked from then on; ready when it listens. What it returns is ready when
    /// the process has ended.
    pub(crate) async fn start_own(
        self: &Arc<Self>,
        key: &VersionKey,
    ) -> Result<impl Future<Output = ()> + use<>, WorkersError> {
        let (process, output) = self.start(Some(key)).await?;
        let listens = async {
            let mut output = BufReader::new(output?);
            let (mut said, mut line) = ((&mut output).take(STARTING_OCTETS_MAX), Vec::new());
            // What the code itself says while it starts comes the same way.
            while !line.starts_with(LISTENS) {
                line.clear();
                said.read_until(b'\n', &mut line).await.ok().filter(|octets| *octets > 0)?;
            }
            Some(output)
        };
        let Some(mut output) = tokio::time::timeout(LISTENS_WITHIN, listens).await.ok().flatten() else {
            process.unneeded.cancel();
            return Err(WorkersError::DoesNotListen);
        };
        // What it says from now on is nobody's to read; who writes to a pipe that nobody has ends.
        tokio::spawn(async move { tokio::io::copy(&mut output, &mut tokio::io::sink()).await.ok() });
        self.state().process = Some(Arc::clone(&process));
        Ok(async move { process.ended().await })
    }

    /// Its process is to end what it has begun, and no more.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// A request of this version begins, in a process that is started if there is none; in one that is held, if it `waits`.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        key: &VersionKey,
        waits: bool,
    ) -> Result<AtWork, Unavailable> {
        let running = self.enter_running(key, waits);
        let is_elsewhere = matches!(running, Ok(None) | Err(Unavailable::BacksOff | Unavailable::Full));
        if self.place == Place::Own && is_elsewhere {
            return Err(Unavailable::Gone);
        }
        match running? {
            Some(at_work) => Ok(at_work),
            // Boxed: few requests have a process started, and what that takes would be moved about with each of them.
            None => Box::pin(self.enter_started(key, waits)).await,
        }
    }

    async fn enter_started(self: &Arc<Self>, key: &VersionKey, waits: bool) -> Result<AtWork, Unavailable> {
        let _starting = self.starting.lock().await;
        if let Some(at_work) = self.enter_running(key, waits)? {
            return Ok(at_work);
        }
        match self.start(Some(key)).await {
            Ok((process, _)) => {
                self.state().process = Some(Arc::clone(&process));
                process.enter(key, waits).map_err(Unavailable::from)
            }
            Err(error) => {
                self.state().failed();
                Err(Unavailable::Failed(error))
            }
        }
    }

    /// Whether it has no process.
    pub(crate) fn is_idle(&self) -> bool {
        self.state().process.is_none() && self.starting.try_lock().is_ok()
    }

    /// For how long its process has had no requests and no WebSockets; `None` while it has, or there is none.
    pub(crate) fn quiet_for(&self) -> Option<Duration> {
        let process = self.state().process.clone()?;
        process.quiet_for()
    }

    /// Ends its process, unless a request has come meanwhile.
    pub(crate) fn stop_if_quiet(&self) -> bool {
        let process = self.state().process.clone();
        let quiet = process.filter(|process| self.leave_if_quiet(process));
        quiet.inspect(|process| process.unneeded.cancel()).is_some()
    }

    /// Ends its process.
    pub(crate) fn stop(&self) {
        if let Some(process) = self.state().process.take() {
            process.unneeded.cancel();
        }
    }

    fn enter_running(&self, key: &VersionKey, waits: bool) -> Result<Option<AtWork>, Unavailable> {
        let state = self.state();
        match &state.process {
            Some(process) if !process.has_ended() => Ok(Some(process.enter(key, waits)?)),
            _ if state.not_before.is_some_and(|then| Instant::now() < then) => Err(Unavailable::BacksOff),
            _ => Ok(None),
        }
    }

    /// Starts a process, for this version first, if it is for one.
    async fn start(
        self: &Arc<Self>,
        key: Option<&VersionKey>,
    ) -> Result<(Arc<Process>, Option<ChildStdout>), WorkersError> {
        let common = &self.common;
        let failed = |source| WorkersError::Start { program: common.program.clone(), source };
        let number = common.started.fetch_add(1, Ordering::Relaxed);
        let name = format!("{number}.sock");
        let socket = common.folder.socket(&name);
        let bound = Bound { common: Arc::clone(common), name };
        // Connections may be made at once; they wait until the process takes them.
        let listener = UnixListener::bind(&socket).map_err(failed)?;
        let (settings, keeps) = match self.place {
            Place::Shared | Place::Apart | Place::Own => (self.settings.clone(), None),
            Place::Objects(account) => {
                let is_caged = common.isolation.has_walls();
                let hosting = common.hosts.prepare(&common.folder, account, is_caged).await?;
                (hosting.settings, Some(hosting.keeps))
            }
        };
        // Where others run, too, all of them would give way.
        let is_alone = self.place != Place::Shared;
        let has_record = |key| self.verdicts().record(key, Instant::now()).is_some();
        let is_offender = is_alone && key.is_some_and(has_record);
        let nice = if is_offender { OFFENDER_NICE } else { 0 };
        let group = common.group(number, is_offender).await.map_err(failed)?;
        let tells = self.place == Place::Own;
        let start = Start {
            settings: &settings,
            listener,
            nice,
            tells,
            keeps,
            group: group.as_ref().map(Group::path),
        };
        let command = common.isolation.command(start).map_err(failed)?;
        let mut child = common.spawner.spawn(command).await.map_err(failed)?;
        common.metrics.starts.inc();
        common.metrics.processes.inc();
        tracing::debug!(process = child.id(), "a process of the engine was started");
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(log(stderr));
        }
        let output = child.stdout.take();
        let process = Process::new(socket, self.place, Arc::clone(&self.secret));
        if let Some(id) = child.id() {
            common.processes.began(id, &process);
        }
        tokio::spawn(Arc::clone(self).keep(Arc::clone(&process), child, bound, group));
        Ok((process, output))
    }

    /// Looks after a process until it is gone.
    async fn keep(
        self: Arc<Self>,
        process: Arc<Process>,
        mut child: Child,
        _bound: Bound,
        group: Option<Group>,
    ) {
        let id = child.id();
        let why = match self.watch(&process, &mut child).await {
            // It grew faster than it is looked at.
            Why::Exited(_) if group.as_ref().is_some_and(Group::ran_out_of_memory) => Why::Memory,
            why => why,
        };
        self.judge(&process, &why);
        // Only now, so that whoever loses an answer by it finds out why.
        child.start_kill().ok();
        if let Err(error) = child.wait().await {
            tracing::warn!(%error, "a process of the engine cannot be waited for");
        }
        if let Some(id) = id {
            self.common.processes.ended(id, &process);
        }
        // The kernel may take its time.
        tokio::task::spawn_blocking(move || drop(group)).await.ok();
    }

    async fn watch(&self, process: &Arc<Process>, child: &mut Child) -> Why {
        let Some(id) = child.id() else { return Why::Exited(None) };
        let (began, mut replaced) = (Instant::now(), None);
        let (mut watch, mut counted) = (Watch::default(), Duration::ZERO);
        let mut due = tokio::time::interval(LOOKED_AT_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                status = child.wait() => return Why::Exited(status.ok()),
                () = process.unneeded.cancelled() => return Why::Unneeded,
                () = self.common.ended.cancelled() => return Why::Unneeded,
                _ = due.tick() => {}
            }
            let (Some(cpu), Some(memory)) = (watch::cpu(id), watch::memory(id)) else { continue };
            self.common.metrics.took(self.place.into(), cpu.saturating_sub(counted));
            counted = cpu;
            process.look();
            let quiet = process.quiet_for();
            let sight = Sight { at_work: quiet.is_none(), progress: process.progress(), cpu, memory };
            match watch.look(sight, &self.common.limits) {
                Finding::Spins => return Why::Cpu,
                Finding::TooLarge => return Why::Memory,
                // It may be ended soon, or not: nobody needs to wait for it. (Its own start is no silence.)
                Finding::Silent
                    if self.place == Place::Shared
                        && process.progress() > 0
                        && !process.avoided.is_cancelled() =>
                {
                    // One of them keeps it busy: whoever it is goes on apart from others.
                    let at_work = process.at_work();
                    if !self.suspects_last(process, &at_work) {
                        self.verdicts().suspect(&at_work, Instant::now());
                    }
                    self.leave(process);
                    process.avoided.cancel();
                    replaced.get_or_insert_with(Instant::now);
                }
                Finding::Full
                    if !matches!(self.place, Place::Objects(_))
                        && replaced.is_none()
                        && began.elapsed() > REPLACED_AFTER =>
                {
                    self.leave(process);
                    replaced = Some(Instant::now());
                }
                Finding::Full | Finding::Silent | Finding::Fine => {}
            }
            if standby::was_in_use(process) {
                self.has_another_stand_by();
            }
            let is_retired = self.retired.load(Ordering::Relaxed);
            if is_retired {
                self.leave(process);
            }
            let quiet_max = if self.place == Place::Own { OWN_QUIET_MAX } else { QUIET_MAX };
            let over = match replaced {
                Some(since) => quiet.is_some() || process.is_left() || since.elapsed() > REPLACED_WITHIN,
                // What it has begun, WebSockets among it, goes on.
                None if is_retired => quiet.is_some_and(|quiet| quiet > quiet_max),
                None => {
                    quiet.is_some_and(|quiet| quiet > quiet_max)
                        && !self.stands_by()
                        && self.leave_if_quiet(process)
                }
            };
            if over {
                return Why::Unneeded;
            }
        }
    }

    /// The next request gets another process.
    fn leave(&self, process: &Arc<Process>) {
        let mut state = self.state();
        if state.process.as_ref().is_some_and(|current| Arc::ptr_eq(current, process)) {
            state.process = None;
        }
    }

    /// The same, unless a request has come meanwhile.
    fn leave_if_quiet(&self, process: &Arc<Process>) -> bool {
        let mut state = self.state();
        if process.quiet_for().is_none() {
            return false;
        }
        if state.process.as_ref().is_some_and(|current| Arc::ptr_eq(current, process)) {
            state.process = None;
        }
        true
    }

    /// Where nobody is at work: whoever was answered last may go on computing after that, and is a suspect. It may also have been somebody
    /// before, so nobody is convicted.
    fn suspects_last(&self, process: &Process, at_work: &BTreeSet<VersionKey>) -> bool {
        if at_work.is_empty()
            && let Some(last) = process.last()
        {
            self.verdicts().suspect(&BTreeSet::from([last]), Instant::now());
        }
        at_work.is_empty()
    }

    fn judge(&self, process: &Arc<Process>, why: &Why) {
        let at_work = process.at_work();
        let versions = at_work.len();
        let (end, exceeded, now) = (why.end(), why.exceeded(), Instant::now());
        let mut verdict = Verdict::Unknown;
        if let Some(exceeded) = exceeded
            && !self.suspects_last(process, &at_work)
            && self.verdicts().judge(&at_work, exceeded, now)
            && let Some(only) = at_work.first()
        {
            verdict = Verdict::Guilty(only.clone(), exceeded);
            self.common.metrics.convicted(exceeded);
        }
        match why {
            Why::Unneeded => tracing::debug!("a process of the engine is not needed any more"),
            Why::Exited(status) => {
                tracing::warn!(?status, versions, ?verdict, "a process of the engine ended by itself");
            }
            Why::Cpu | Why::Memory => {
                tracing::warn!(why = ?end, versions, ?verdict, "a process of the engine took too much, and is ended");
            }
        }
        if let Verdict::Guilty(only, _) = &verdict
            && let Some(Record { convictions, last, locked_out }) = self.verdicts().record(only, now)
        {
            let seconds = locked_out.map(|left| left.as_secs());
            tracing::warn!(worker = %only, why = %last, convictions, not_run_for_s = seconds, "a Worker is convicted");
        }
        self.common.metrics.ended(end);
        let mut state = self.state();
        if matches!(why, Why::Exited(_)) && exceeded.is_none() && process.progress() == 0 {
            state.failed();
        } else if process.progress() > 0 {
            (state.failures, state.not_before) = (0, None);
        }
        if state.process.as_ref().is_some_and(|current| Arc::ptr_eq(current, process)) {
            state.process = None;
        }
        process.end(verdict);
    }

    fn verdicts(&self) -> std::sync::MutexGuard<'_, Verdicts> {
        self.common.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket's file, which goes with this: also when whoever has a process started goes away meanwhile.
pub(super) struct Bound {
    pub(super) common: Arc<Common>,
    pub(super) name: String,
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.common.folder.remove(&self.name);
    }
}

impl State {
    fn failed(&mut self) {
        let back_off = BACK_OFF_FIRST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(Instant::now() + back_off.min(BACK_OFF_MAX));
    }
}
