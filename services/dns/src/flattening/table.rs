//! The names outside that are known: what was found, when it is resolved again, whose they are. No I/O; the time is passed in,
//! in milliseconds since 1970.
//!
//! ```text
//!  look ─ not there ─▶ Sought ── ended: found ───▶ Fresh ── 9/10 of its time, and asked for lately: resolved again ─┐
//!                        │                         ▲   └─ its time, and not asked for: the next look seeks it       │
//!                        │                         └────────────────────────────────────────────────────────────────┘
//!                        └─ ended: failed ─▶ Stale for a day, or Failed; again after 5 s, 10 s, … 5 min
//! ```
//!
//! A look takes the read lock of one shard of the map. All else goes through one lock, the book's, that nobody holds while
//! anything is waited for.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use proxima_model::AccountId;
use tokio::sync::watch;

use super::target::{Ended, Found, Key, Look, Outcome, RESOLVED_WITHIN_MS, State, Target, UnderWay};
use crate::name::NAME_OCTETS_MAX;

/// How long an answer waits for a resolution (RFC 8767, 5: what stale answers are given after); later than that after one
/// began, nobody begins to wait for it.
pub(crate) const WAIT_MS: u64 = 1_800;
/// For how long after it was asked for a target is kept fresh.
const KEPT_FRESH_MS: u64 = 600_000;
/// For how long after that it was asked for a target is known at all.
const KNOWN_MS: u64 = 3_600_000;
/// The shortest time for which what was found is kept, in seconds: nobody's TTL has names resolved in a loop.
const TTL_SECONDS_MIN: u32 = 10;
/// The longest, in seconds.
const TTL_SECONDS_MAX: u32 = 86_400;
/// How long after a failure a target is resolved again, doubled with each: first and longest.
const RETRY_MS: u64 = 5_000;
const RETRY_MS_MAX: u64 = 300_000;
/// Resolutions of one account at a time: others' do not wait behind servers that are slow.
const RESOLUTIONS_PER_ACCOUNT_MAX: usize = 16;
/// Targets of one account that wait for their turn. Beyond them what is asked for is not resolved, for now.
const QUEUED_PER_ACCOUNT_MAX: usize = 1_024;
/// Targets among which the one that was not asked for longest makes room for another.
const SAMPLE: usize = 8;
/// How many that are due are looked at while the book is held.
const DUE_AT_ONCE: usize = 256;
/// Parts of the map, each with a lock of its own.
const SHARDS: usize = 64;

/// What belongs together of what changes.
#[derive(Default)]
struct Book {
    accounts: HashMap<AccountId, Account>,
    /// Accounts by how many targets they have.
    by_size: BTreeSet<(usize, AccountId)>,
    /// When which target is looked at: each once.
    due: BTreeSet<(u64, Key)>,
    count: usize,
    /// What is being resolved for whom; accounts without anything are not there.
    work: HashMap<AccountId, Work>,
}

/// An account's resolutions.
#[derive(Default)]
struct Work {
    running: usize,
    /// Each target once.
    queue: VecDeque<Arc<Target>>,
}

/// What became of the wish to have something resolved.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begun {
    /// Whoever asked has to resolve it.
    Here,
    /// It will be, or is being.
    Elsewhere,
    /// Too much waits already.
    Nowhere,
}

#[derive(Default)]
struct Account {
    targets: BTreeMap<Key, Arc<Target>>,
}

type Shard = RwLock<HashMap<Key, Arc<Target>, foldhash::fast::FixedState>>;

/// The names outside that are known.
pub(super) struct Table {
    shards: Box<[Shard]>,
    hasher: RandomState,
    book: Mutex<Book>,
    targets_max: usize,
    targets_per_account_max: usize,
}

impl Table {
    pub(super) fn new(targets_max: usize, targets_per_account_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: RandomState::new(),
            book: Mutex::default(),
            targets_max,
            targets_per_account_max,
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> i64 {
        i64::try_from(self.book().count).unwrap_or(i64::MAX)
    }

    /// What is known of a name's addresses of a type; and the target, if whoever looks has to have it resolved.
    pub(super) fn look(
        &self,
        account: AccountId,
        (name, rtype): (&[u8], u16),
        now: u64,
    ) -> (Look, Option<Arc<Target>>) {
        let mut buffer = [0; NAME_OCTETS_MAX + 2];
        buffer[..name.len()].copy_from_slice(name);
        buffer[name.len()..name.len() + 2].copy_from_slice(&rtype.to_be_bytes());
        let key = &buffer[..name.len() + 2];
        let known = self.shard(key).read().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        let Some(target) = known else { return self.begin_new(account, (name, rtype), key, now) };
        target.asked_at.store(now, Ordering::Relaxed);
        let state = target.state.load();
        if let Some(found) = state.found.as_ref().filter(|found| now < found.until) {
            let seconds = (found.until - now).div_ceil(1_000);
            return (Look::Fresh(found.clone(), u32::try_from(seconds).unwrap_or(u32::MAX)), None);
        }
        let before = state.stale(now);
        // Who gets what there was before does not wait for another failure.
        let known_to_fail = before.clone().filter(|_| state.failures > 0);
        let can_be_waited_for = state.under_way.is_some_and(|how| match how {
            UnderWay::Queued => true,
            UnderWay::Since(since) => now < since.saturating_add(WAIT_MS),
        });
        match known_to_fail {
            None if can_be_waited_for => {
                let turn = state.turn;
                drop(state);
                (Look::Sought { target, turn, before }, None)
            }
            // Others have waited for it long enough, or it has just failed.
            _ if state.is_resolving(now) || now < state.not_before => {
                (before.map_or(Look::Failed, Look::Stale), None)
            }
            _ => {
                drop(state);
                let (turn, begun) = begin(&mut self.book(), &target, now);
                let to_resolve = (begun == Begun::Here).then(|| target.clone());
                let look = match known_to_fail {
                    Some(before) => Look::Stale(before),
                    None if begun == Begun::Nowhere => before.map_or(Look::Failed, Look::Stale),
                    None => Look::Sought { target, turn, before },
                };
                (look, to_resolve)
            }
        }
    }

    /// Takes in what came of a resolution.
    pub(super) fn ended(&self, target: &Arc<Target>, outcome: Outcome, now: u64) -> Ended {
        let mut book = self.book();
        let former = State::clone(&target.state.load());
        let mut state = State { under_way: None, turn: former.turn + 1, ..former.clone() };
        let (due, ended) = match outcome {
            Outcome::Found { addresses, ttl } => {
                let lives = u64::from(ttl.clamp(TTL_SECONDS_MIN, TTL_SECONDS_MAX)) * 1_000;
                state.found = Some(Arc::new(Found { addresses, until: now + lives }));
                (state.failures, state.not_before) = (0, 0);
                let ended = if former.failures > 0 { Ended::Recovered } else { Ended::Unremarkable };
                (now + lives / 10 * 9, ended)
            }
            Outcome::Failed => {
                state.failures = former.failures.saturating_add(1);
                let wait = RETRY_MS.saturating_mul(1 << former.failures.min(10)).min(RETRY_MS_MAX);
                state.not_before = now + wait;
                let has_former = state.stale(now).is_some();
                let ended = match former.failures {
                    0 => Ended::Failing { has_former },
                    _ => Ended::Unremarkable,
                };
                (now + wait, ended)
            }
        };
        let turn = state.turn;
        target.state.store(Arc::new(state));
        // It may have been forgotten meanwhile.
        if book.has(target) {
            schedule(&mut book, target, due);
        }
        drop(book);
        target.ended.send_replace(turn);
        ended
    }

    /// What is known of a name's addresses of a type, and when somebody last asked for them.
    pub(super) fn known(&self, name: &[u8], rtype: u16) -> Option<(u64, Arc<State>)> {
        let key = [name, &rtype.to_be_bytes()].concat();
        let known = self.shard(&key).read().unwrap_or_else(PoisonError::into_inner).get(&*key).cloned()?;
        Some((known.asked_at.load(Ordering::Relaxed), known.state.load_full()))
    }

    /// When something is due next.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.book().due.first().map(|(at, _)| *at)
    }

    /// Takes out what is due, or some of it: returns what has to be resolved, and forgets what nobody asks for.
    pub(super) fn take_due(&self, now: u64) -> Vec<Arc<Target>> {
        let mut book = self.book();
        let mut to_resolve = Vec::new();
        for _ in 0..DUE_AT_ONCE {
            let Some((_, key)) = book.due.first().filter(|(at, _)| *at <= now).cloned() else { break };
            let known = self.shard(&key).read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
            let Some(target) = known else {
                book.due.pop_first();
                continue;
            };
            let unasked = now.saturating_sub(target.asked_at.load(Ordering::Relaxed));
            if unasked >= KNOWN_MS {
                self.forget(&mut book, &target);
            } else if unasked >= KEPT_FRESH_MS {
                // The next who asks has it resolved.
                schedule(&mut book, &target, now + (KNOWN_MS - unasked));
            } else {
                // Should it be lost, it is looked at then.
                schedule(&mut book, &target, now + RESOLVED_WITHIN_MS);
                if begin(&mut book, &target, now).1 == Begun::Here {
                    to_resolve.push(target);
                }
            }
        }
        to_resolve
    }

    /// The next target of an account, for who has resolved one; if there is none, its turn is over.
    pub(super) fn next_queued(&self, account: AccountId, now: u64) -> Option<Arc<Target>> {
        let mut book = self.book();
        while let Some(target) = book.work.get_mut(&account)?.queue.pop_front() {
            // It may have been forgotten meanwhile.
            if book.has(&target) {
                set_under_way(&target, UnderWay::Since(now));
                return Some(target);
            }
        }
        book.give_back(account);
        None
    }

    /// A turn has ended without its end.
    pub(super) fn give_back(&self, account: AccountId) {
        self.book().give_back(account);
    }

    /// It has a place among those of all, and begins in truth.
    pub(super) fn started(&self, target: &Arc<Target>, now: u64) {
        let _book = self.book();
        set_under_way(target, UnderWay::Since(now));
    }

    /// Begins to resolve what was not known, in the place of something else if there is no more room.
    fn begin_new(
        &self,
        account: AccountId,
        (name, rtype): (&[u8], u16),
        key: &[u8],
        now: u64,
    ) -> (Look, Option<Arc<Target>>) {
        let mut book = self.book();
        // Somebody else may have been first.
        let known = self.shard(key).read().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        if let Some(target) = known {
            let state = target.state.load();
            let (turn, before) = (state.turn, state.stale(now));
            drop(state);
            return (Look::Sought { target, turn, before }, None);
        }
        let of_account = book.accounts.get(&account).map_or(0, |account| account.targets.len());
        if of_account >= self.targets_per_account_max {
            self.make_room(&mut book, account, key);
        } else if book.count >= self.targets_max
            && let Some((_, largest)) = book.by_size.last().copied()
        {
            self.make_room(&mut book, largest, key);
        }
        let target = Arc::new(Target {
            name: name.into(),
            rtype,
            account,
            asked_at: AtomicU64::new(now),
            state: ArcSwap::from_pointee(State::default()),
            ended: watch::Sender::new(0),
        });
        book.resize(account, |targets| {
            targets.insert(key.into(), target.clone());
        });
        self.shard(key).write().unwrap_or_else(PoisonError::into_inner).insert(key.into(), target.clone());
        schedule(&mut book, &target, now + RESOLVED_WITHIN_MS);
        match begin(&mut book, &target, now).1 {
            Begun::Here => (Look::Sought { target: target.clone(), turn: 0, before: None }, Some(target)),
            Begun::Elsewhere => (Look::Sought { target, turn: 0, before: None }, None),
            Begun::Nowhere => (Look::Failed, None),
        }
    }

    /// Forgets, of some targets of an account, the one that was not asked for for longest.
    fn make_room(&self, book: &mut Book, account: AccountId, near: &[u8]) {
        let oldest = book.accounts.get(&account).and_then(|account| {
            let from = account.targets.range::<[u8], _>((Bound::Excluded(near), Bound::Unbounded));
            let some = from.chain(&account.targets).map(|(_, target)| target).take(SAMPLE);
            some.min_by_key(|target| target.asked_at.load(Ordering::Relaxed)).cloned()
        });
        if let Some(target) = oldest {
            self.forget(book, &target);
        }
    }

    fn forget(&self, book: &mut Book, target: &Arc<Target>) {
        let key = target.key();
        self.shard(&key).write().unwrap_or_else(PoisonError::into_inner).remove(&key);
        book.resize(target.account, |targets| {
            targets.remove(&key);
        });
        book.due.remove(&(target.state.load().due, key));
    }

    fn shard(&self, key: &[u8]) -> &Shard {
        let hash = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        &self.shards[hash]
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn has(&self, target: &Arc<Target>) -> bool {
        let known = self.accounts.get(&target.account).and_then(|account| account.targets.get(&target.key()));
        known.is_some_and(|known| Arc::ptr_eq(known, target))
    }

    fn give_back(&mut self, account: AccountId) {
        let Some(work) = self.work.get_mut(&account) else { return };
        work.running = work.running.saturating_sub(1);
        if work.running == 0 && work.queue.is_empty() {
            self.work.remove(&account);
        }
    }

    /// Changes an account's targets, and what is counted of them.
    fn resize(&mut self, id: AccountId, change: impl FnOnce(&mut BTreeMap<Key, Arc<Target>>)) {
        let account = self.accounts.entry(id).or_default();
        let before = account.targets.len();
        change(&mut account.targets);
        let after = account.targets.len();
        self.by_size.remove(&(before, id));
        if after == 0 {
            self.accounts.remove(&id);
        } else {
            self.by_size.insert((after, id));
        }
        self.count = self.count + after - before;
    }
}

/// Begins a resolution, unless one is under way, or puts it behind others of its account; how many have ended, and what became
/// of it.
fn begin(book: &mut Book, target: &Arc<Target>, now: u64) -> (u64, Begun) {
    let state = target.state.load();
    let (turn, is_resolving) = (state.turn, state.is_resolving(now));
    drop(state);
    if is_resolving {
        return (turn, Begun::Elsewhere);
    }
    let work = book.work.entry(target.account).or_default();
    if work.running < RESOLUTIONS_PER_ACCOUNT_MAX {
        work.running += 1;
        set_under_way(target, UnderWay::Since(now));
        return (turn, Begun::Here);
    }
    if work.queue.len() < QUEUED_PER_ACCOUNT_MAX {
        work.queue.push_back(target.clone());
        set_under_way(target, UnderWay::Queued);
        return (turn, Begun::Elsewhere);
    }
    change(target, |state| state.not_before = now + RETRY_MS);
    (turn, Begun::Nowhere)
}

fn set_under_way(target: &Target, how: UnderWay) {
    change(target, |state| state.under_way = Some(how));
}

/// Changes a target's state: under the book's lock, as all do.
fn change(target: &Target, change: impl FnOnce(&mut State)) {
    let mut state = State::clone(&target.state.load());
    change(&mut state);
    target.state.store(Arc::new(state));
}

/// Has a target looked at then, and not when it was to be.
fn schedule(book: &mut Book, target: &Arc<Target>, at: u64) {
    let key = target.key();
    book.due.remove(&(target.state.load().due, key.clone()));
    book.due.insert((at, key));
    change(target, |state| state.due = at);
}

#[cfg(test)]
mod tests;
