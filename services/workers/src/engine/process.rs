//! One process of the engine: who is at work in it, and the connections to it.

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use proxima_model::AccountId;
use proxima_pipeline::Exceeded;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    connection::Connection,
    held::Held,
    invocation::Invocation,
    place::Place,
    requests::{Requests, Running},
    shares::UnderWay,
    spent::CpuClock,
};
use crate::version::VersionKey;

/// For how long a connection is kept that nobody uses: below the five seconds after which the engine closes it.
const KEPT_FOR: Duration = Duration::from_secs(2);
/// How many such connections are kept: what a burst leaves behind.
const KEPT_MAX: usize = 64;
/// How long the end of a process may take to be known, once its connections broke.
const END_KNOWN_WITHIN: Duration = Duration::from_secs(2);

/// What the end of a process means for those who were at work in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// This version alone was, and is to blame for this.
    Guilty(VersionKey, Exceeded),
    /// It was somebody, or nobody, of them.
    Unknown,
}

/// A process.
pub(crate) struct Process {
    socket: PathBuf,
    /// Who runs in it.
    pub(crate) place: Place,
    /// What its faults are known by.
    pub(crate) secret: Arc<str>,
    at_work: Mutex<Requests>,
    kept: Mutex<Vec<Kept>>,
    progress: Arc<AtomicU64>,
    id: OnceLock<u32>,
    clock: OnceLock<CpuClock>,
    ended: watch::Sender<Option<Verdict>>,
    /// It is to end.
    pub(crate) unneeded: CancellationToken,
    /// Somebody keeps it busy: who can be answered elsewhere is.
    pub(crate) avoided: CancellationToken,
}

struct Kept {
    connection: Connection,
    since: Instant,
}

/// Why no request begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotEntered {
    /// There are too many.
    Full,
    /// Another version keeps the process from everybody else.
    Held,
}

impl Process {
    /// One that listens at this socket. Its faults are known by `secret`.
    pub(crate) fn new(socket: PathBuf, place: Place, secret: Arc<str>) -> Arc<Self> {
        Arc::new(Self {
            socket,
            place,
            secret,
            at_work: Mutex::new(Requests::new()),
            kept: Mutex::default(),
            progress: Arc::default(),
            id: OnceLock::new(),
            clock: OnceLock::new(),
            ended: watch::Sender::new(None),
            unneeded: CancellationToken::new(),
            avoided: CancellationToken::new(),
        })
    }

    /// By which the kernel knows it, once it was started.
    pub(crate) fn id(&self) -> Option<u32> {
        self.id.get().copied()
    }

    /// A request of this version begins; also in a process that is held, if it `waits`.
    pub(crate) fn enter(self: &Arc<Self>, key: &VersionKey, waits: bool) -> Result<AtWork, NotEntered> {
        let cpu = self.cpu();
        let mut requests = self.requests();
        if !waits && requests.held_at(self.progress()).is_some_and(|held| !held.begun.contains(key)) {
            return Err(NotEntered::Held);
        }
        let number = requests.enter(key, cpu).ok_or(NotEntered::Full)?;
        Ok(AtWork { process: Arc::clone(self), number, done: false, under_way: None, invocation: None })
    }

    /// Whether a request was read by the process, as far as is known.
    pub(crate) fn has_begun(&self, number: u64) -> bool {
        self.requests().running.get(&number).is_none_or(Running::has_begun)
    }

    /// Whether it is known that somebody holds the process, and nothing has come out since.
    pub(crate) fn is_held(&self, progress: u64) -> bool {
        self.requests().held_at(progress).is_some()
    }

    /// The process is held by who has begun in it, unless something came out since.
    pub(crate) fn hold(&self, progress: u64) {
        let mut requests = self.requests();
        if self.progress() == progress {
            let begun = requests.begun(progress);
            requests.held = Some(Held { progress, begun });
        }
    }

    /// Whether it runs Workers of an account, or did: nobody else's name may it use.
    pub(crate) fn may_name(&self, account: AccountId) -> bool {
        self.requests().accounts.contains(&account)
    }

    /// Who may be what keeps it busy: those whose requests it has read, as far as is known.
    pub(crate) fn at_work(&self) -> BTreeSet<VersionKey> {
        let progress = self.progress();
        self.requests().begun(progress)
    }

    /// Who was answered last, and may go on computing after that.
    pub(crate) fn last(&self) -> Option<VersionKey> {
        self.requests().last.clone()
    }

    /// For how long nobody has been; `None` while somebody is.
    pub(crate) fn quiet_for(&self) -> Option<Duration> {
        let progress = self.progress();
        self.requests().quiet_for(progress)
    }

    /// Whether nobody waits for it any more, whatever it is still busy with.
    pub(crate) fn is_left(&self) -> bool {
        self.avoided.is_cancelled() && self.requests().running.is_empty()
    }

    /// How often something came out of it, or was read by it.
    pub(crate) fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Looks at what it has had of processors: when it is gone nobody knows. Closes connections that nobody has used for long.
    pub(crate) fn look(&self) {
        close_old(&mut self.kept(), Instant::now());
        let cpu = self.cpu();
        self.requests().look(cpu);
    }

    /// Tells all who are at work in it that it ends, and what that means.
    pub(crate) fn end(&self, verdict: Verdict) {
        // What it has had until now is theirs.
        self.look();
        self.ended.send_replace(Some(verdict));
        self.kept().clear();
    }

    /// Ready when it has ended, or is about to.
    pub(crate) async fn ended(&self) {
        // The sender is its own.
        self.ended.subscribe().wait_for(Option::is_some).await.ok();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// What the end of the process means, whose connection broke.
    pub(crate) async fn verdict(&self) -> Verdict {
        let mut ended = self.ended.subscribe();
        let known = tokio::time::timeout(END_KNOWN_WITHIN, ended.wait_for(Option::is_some)).await;
        known.ok().and_then(Result::ok).and_then(|verdict| verdict.clone()).unwrap_or(Verdict::Unknown)
    }

    /// What it has had of processors, while it is there: afterwards its id may be another one's.
    fn cpu(&self) -> Option<Duration> {
        if self.has_ended() { None } else { self.clock.get()?.now() }
    }

    /// What an invocation of this name has had of a processor, if it runs or ended lately, and its Worker was looked at.
    pub(crate) fn cpu_of(&self, key: &VersionKey, name: &str) -> Option<Duration> {
        let cpu = self.cpu();
        self.requests().spent_by(key, name, cpu)
    }

    /// A connection that nobody uses.
    pub(super) async fn connection(&self) -> std::io::Result<Connection> {
        while let Some(Kept { connection, since }) = self.pop() {
            if since.elapsed() < KEPT_FOR && connection.is_quiet() {
                return Ok(connection);
            }
        }
        Connection::open(&self.socket, Arc::clone(&self.progress)).await
    }

    fn pop(&self) -> Option<Kept> {
        self.kept().pop()
    }

    fn keep(&self, connection: Connection) {
        let mut kept = self.kept();
        let now = Instant::now();
        close_old(&mut kept, now);
        if kept.len() < KEPT_MAX && !self.has_ended() {
            kept.push(Kept { connection, since: now });
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn requests(&self) -> std::sync::MutexGuard<'_, Requests> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes connections that nobody has used for long. The last one that was kept is the first one to be used again: they lie in the
/// order of their times.
fn close_old(kept: &mut Vec<Kept>, now: Instant) {
    let old = kept.partition_point(|kept| now.saturating_duration_since(kept.since) >= KEPT_FOR);
    kept.drain(..old);
}

/// The processes that run, by their process ids.
#[derive(Default)]
pub(crate) struct Processes(Mutex<HashMap<u32, Arc<Process>>>);

impl Processes {
    /// The one of this id, if it is one of ours.
    pub(crate) fn of(&self, id: u32) -> Option<Arc<Process>> {
        self.all().get(&id).cloned()
    }

    pub(super) fn began(&self, id: u32, process: &Arc<Process>) {
        // It is started once.
        process.id.set(id).ok();
        if let Some(clock) = CpuClock::of(id) {
            process.clock.set(clock).ok();
        }
        self.all().insert(id, Arc::clone(process));
    }

    /// Another one may have its id already.
    pub(super) fn ended(&self, id: u32, process: &Arc<Process>) {
        let mut all = self.all();
        if all.get(&id).is_some_and(|known| Arc::ptr_eq(known, process)) {
            all.remove(&id);
        }
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Arc<Process>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is at work in a process, until it is dropped.
pub(crate) struct AtWork {
    process: Arc<Process>,
    number: u64,
    /// Whether all of its answer has come.
    done: bool,
    /// Of whose asking the node counts.
    under_way: Option<UnderWay>,
    /// Whose end is told, if it is one.
    invocation: Option<Invocation>,
}

impl AtWork {
    /// Something of its answer came.
    pub(crate) fn progressed(&self) {
        self.process.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// It is sent over this connection, from now on.
    pub(super) fn sent(&self, connection: &Connection) {
        if let Some(running) = self.process.requests().running.get_mut(&self.number) {
            let line = connection.line();
            running.sent = Some((Arc::clone(line), line.writes()));
        }
    }

    /// Which of the process's requests it is.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// The answer has come whole; its connection, if it can take the next request.
    pub(super) fn done(mut self, connection: Option<Connection>) {
        self.done = true;
        if let Some(connection) = connection.and_then(Connection::ended) {
            self.process.keep(connection);
        }
    }

    /// Its client has gone, and it had nothing to do: what keeps the process busy is somebody else.
    pub(crate) fn rested(&mut self) {
        self.done = true;
    }

    /// An answer has come that cannot be used, nor its connection.
    pub(crate) fn spoilt(mut self) {
        self.progressed();
        self.done = true;
    }

    pub(crate) fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// What it asks for is counted so.
    pub(crate) fn counts(&mut self, under_way: UnderWay) {
        self.under_way = Some(under_way);
    }

    /// It is an invocation.
    pub(super) fn invokes(&mut self, invocation: Invocation) {
        if let Some(name) = invocation.name()
            && let Some(running) = self.process.requests().running.get_mut(&self.number)
        {
            running.name = Some(Arc::clone(name));
        }
        self.invocation = Some(invocation);
    }

    /// A WebSocket was told something of which nothing has come yet; or something has, and it waits.
    pub(super) fn has_to_do(&self, has_to_do: bool) {
        let cpu = self.process.cpu();
        self.process.requests().share(self.number, has_to_do, cpu);
    }

    /// It has become a WebSocket. Those to an account's objects are bounded by themselves, and leave their places to requests.
    pub(crate) fn switched(&self) {
        if matches!(self.process.place, Place::Objects(_)) {
            self.process.requests().switched(self.number);
        }
    }

    /// It is told something, by a WebSocket: an object may ask as much for each message as for a request.
    pub(crate) fn told(&self) {
        if let (Place::Objects(_), Some(under_way)) = (self.process.place, &self.under_way) {
            under_way.begin_anew();
        }
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let (progress, cpu) = (self.process.progress(), self.process.cpu());
        let spent = self.process.requests().leave(self.number, self.done, progress, cpu);
        if let (Some(spent), Some(invocation)) = (spent, self.invocation.take()) {
            invocation.ended(spent);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use http::Method;
    use proxima_http1::{Framing, Upload};
    use proxima_pipeline::Body;
    use tokio::{io::AsyncReadExt as _, net::UnixListener};

    use super::super::requests::REQUESTS_MAX;
    use super::*;
    use crate::version::numbered as version;

    /// A request that is written to the process.
    async fn write(process: &Arc<Process>, key: &VersionKey) -> AtWork {
        let at_work = process.enter(key, true).expect("there is room");
        let mut connection = process.connection().await.expect("it listens");
        at_work.sent(&connection);
        let line = Arc::clone(connection.line());
        let head = BytesMut::from("GET http://a.example/ HTTP/1.1\r\n\r\n");
        let mut upload = Upload::new(head, Body::empty(), Framing::None);
        tokio::spawn(async move { connection.ask(&Method::GET, &mut upload).await.map(drop) });
        while line.writes() == 0 {
            tokio::task::yield_now().await;
        }
        at_work
    }

    #[tokio::test]
    async fn a_process_is_held_by_those_whose_requests_it_has_read_until_something_comes_out_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let process = Process::new(socket, Place::Shared, "secret".into());
        let (spinner, neighbour) = (version(1), version(2));
        let spins = write(&process, &spinner).await;
        let (mut read, _) = listener.accept().await.expect("it is there");
        assert!(!process.has_begun(spins.number()));
        read.read_buf(&mut Vec::with_capacity(4096)).await.expect("it is there");
        assert!(process.has_begun(spins.number()));
        let waits = write(&process, &neighbour).await;
        assert!(!process.has_begun(waits.number()));
        assert_eq!(process.at_work(), BTreeSet::from([spinner.clone()]));

        process.hold(0);
        assert_eq!(process.enter(&neighbour, false).err(), Some(NotEntered::Held));
        assert_eq!(process.enter(&version(3), false).err(), Some(NotEntered::Held));
        assert!(process.enter(&neighbour, true).is_ok() && process.enter(&spinner, false).is_ok());
        drop(waits);
        assert_eq!(
            process.at_work(),
            BTreeSet::from([spinner.clone(), neighbour.clone()]),
            "it may be read later"
        );

        spins.progressed();
        process.hold(0);
        assert!(process.enter(&neighbour, false).is_ok(), "that was before");
        assert_eq!(process.last(), None);
        spins.spoilt();
        assert_eq!(process.last(), Some(spinner));
    }

    #[tokio::test]
    async fn websockets_to_objects_leave_their_places_to_requests_and_those_to_workers_do_not() {
        for (place, expected) in
            [(Place::Objects(version(1).account), Ok(())), (Place::Shared, Err(NotEntered::Full))]
        {
            let process = Process::new("socket".into(), place, "secret".into());
            let open: Vec<_> =
                (0..REQUESTS_MAX).map(|_| process.enter(&version(1), true).expect("there is room")).collect();
            assert_eq!(process.enter(&version(1), true).err(), Some(NotEntered::Full));
            open.iter().for_each(AtWork::switched);
            assert_eq!(process.enter(&version(1), true).map(drop), expected);
            assert_eq!(process.quiet_for(), None, "they are at work");
            drop(open);
            let requests = process.requests();
            assert_eq!((requests.running.len(), requests.sockets), (0, 0));
        }
    }
}
