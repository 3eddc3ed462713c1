//! The requests that are at work in a process, and those that nobody waits for any more.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use proxima_model::AccountId;

use super::{
    held::{Held, Line},
    invocation::Lately,
    spent::{Part, Spent},
};
use crate::version::VersionKey;

/// Requests that a process has at a time: more than a thread answers in the time that people wait.
pub(super) const REQUESTS_MAX: usize = 1_024;
/// For how long a request whose client has gone counts as at work while nothing comes out of the process: it may be what
/// keeps everything else from it, and is not to be blamed on who came later.
const ABANDONED_FOR: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Requests {
    next: u64,
    pub(super) running: HashMap<u64, Running>,
    /// Those of them that are WebSockets, and are bounded elsewhere.
    pub(super) sockets: usize,
    abandoned: Vec<Abandoned>,
    pub(super) held: Option<Held>,
    /// The version that was answered last.
    pub(super) last: Option<VersionKey>,
    /// When the last one ended, or the process began.
    quiet_since: Instant,
    /// Whose Workers were sent to it.
    pub(super) accounts: HashSet<AccountId>,
    spent: Spent,
    /// Of Workers that somebody looks at.
    lately: Lately,
}

pub(super) struct Running {
    key: VersionKey,
    /// Over which connection it is sent, and how often something had been written to that before.
    pub(super) sent: Option<(Arc<Line>, u32)>,
    is_socket: bool,
    /// What it has had of a processor.
    spent: Part,
    /// What it is known by to who looks at its Worker.
    pub(super) name: Option<Arc<str>>,
}

struct Abandoned {
    key: VersionKey,
    progress: u64,
    since: Instant,
}

impl Running {
    /// Whether the process has read it, as far as is known.
    pub(super) fn has_begun(&self) -> bool {
        self.sent.as_ref().is_some_and(|(line, writes)| line.was_read_since(*writes))
    }
}

impl Requests {
    pub(super) fn new() -> Self {
        Self {
            next: 0,
            running: HashMap::new(),
            sockets: 0,
            abandoned: Vec::new(),
            held: None,
            last: None,
            quiet_since: Instant::now(),
            accounts: HashSet::new(),
            spent: Spent::default(),
            lately: Lately::default(),
        }
    }

    /// One begins, if there is room; the process has had so much of a processor. Its number.
    pub(super) fn enter(&mut self, key: &VersionKey, cpu: Option<Duration>) -> Option<u64> {
        if self.running.len() - self.sockets >= REQUESTS_MAX {
            return None;
        }
        let mut spent = Part::default();
        self.spent.begin(&mut spent, cpu);
        let number = self.next;
        self.next += 1;
        self.running
            .insert(number, Running { key: key.clone(), sent: None, is_socket: false, spent, name: None });
        self.accounts.insert(key.account);
        Some(number)
    }

    /// One has become a WebSocket, which is bounded elsewhere: it leaves its place to requests.
    pub(super) fn switched(&mut self, number: u64) {
        if let Some(running) = self.running.get_mut(&number) {
            self.sockets += usize::from(!std::mem::replace(&mut running.is_socket, true));
        }
    }

    /// One has ended, or nobody waits for it any more; what it has had of a processor.
    pub(super) fn leave(
        &mut self,
        number: u64,
        is_done: bool,
        progress: u64,
        cpu: Option<Duration>,
    ) -> Option<Duration> {
        self.forget_abandoned(progress);
        let since = Instant::now();
        let Running { key, mut spent, name, is_socket, .. } = self.running.remove(&number)?;
        self.sockets -= usize::from(is_socket);
        self.spent.end(&mut spent, cpu);
        let spent = self.spent.had(&spent);
        if let Some(name) = name {
            self.lately.note(key.clone(), name, spent);
        }
        if is_done {
            self.last = Some(key);
        } else if self.abandoned.len() < REQUESTS_MAX {
            self.abandoned.push(Abandoned { key, progress, since });
        }
        if self.running.is_empty() {
            self.quiet_since = since;
        }
        Some(spent)
    }

    /// One has something to do, or rests until then.
    pub(super) fn share(&mut self, number: u64, has_to_do: bool, cpu: Option<Duration>) {
        let Some(running) = self.running.get_mut(&number) else { return };
        match has_to_do {
            true => self.spent.begin(&mut running.spent, cpu),
            false => self.spent.end(&mut running.spent, cpu),
        }
    }

    /// The process has had so much of a processor.
    pub(super) fn look(&mut self, cpu: Option<Duration>) {
        self.spent.look(cpu);
    }

    /// What one of this name has had of a processor, if it runs or ended lately, and its Worker was looked at when it began.
    pub(super) fn spent_by(
        &mut self,
        key: &VersionKey,
        name: &str,
        cpu: Option<Duration>,
    ) -> Option<Duration> {
        self.spent.look(cpu);
        let is_it = |running: &&Running| running.name.as_deref() == Some(name) && running.key == *key;
        let running = self.running.values().find(is_it);
        running.map(|running| self.spent.had(&running.spent)).or_else(|| self.lately.of(key, name))
    }

    /// What holds the process, as long as nothing has come out of it since.
    pub(super) fn held_at(&self, progress: u64) -> Option<&Held> {
        self.held.as_ref().filter(|held| held.progress == progress)
    }

    /// Those whose requests the process has read, as far as is known.
    pub(super) fn begun(&mut self, progress: u64) -> BTreeSet<VersionKey> {
        self.forget_abandoned(progress);
        let running = self.running.values().filter(|running| running.has_begun());
        // What nobody waits for any more may be read at any time.
        let abandoned = self.abandoned.iter().map(|abandoned| &abandoned.key);
        running.map(|running| &running.key).chain(abandoned).cloned().collect()
    }

    /// For how long there has been none; `None` while there is one.
    pub(super) fn quiet_for(&mut self, progress: u64) -> Option<Duration> {
        self.forget_abandoned(progress);
        let is_quiet = self.running.is_empty() && self.abandoned.is_empty();
        is_quiet.then(|| self.quiet_since.elapsed())
    }

    /// Something came out of the process since they were abandoned: none of them keeps it from anything.
    fn forget_abandoned(&mut self, progress: u64) {
        self.abandoned
            .retain(|abandoned| abandoned.progress == progress && abandoned.since.elapsed() < ABANDONED_FOR);
    }
}
