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
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use proxima_model::AccountId;
use tokio::sync::{Semaphore, watch};

use super::target::{Ended, Found, Key, Look, Outcome, RESOLVED_WITHIN_MS, State, Target};
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
}

#[derive(Default)]
struct Account {
    targets: BTreeMap<Key, Arc<Target>>,
    places: Option<Arc<Semaphore>>,
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
        match state.since {
            Some(since) if known_to_fail.is_none() && now < since.saturating_add(WAIT_MS) => {
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
                let to_resolve = begun.then(|| target.clone());
                (known_to_fail.map_or(Look::Sought { target, turn, before }, Look::Stale), to_resolve)
            }
        }
    }

    /// Takes in what came of a resolution.
    pub(super) fn ended(&self, target: &Arc<Target>, outcome: Outcome, now: u64) -> Ended {
        let mut book = self.book();
        let former = State::clone(&target.state.load());
        let mut state = State { since: None, turn: former.turn + 1, ..former.clone() };
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

    /// Takes out what is due: returns what has to be resolved, and forgets what nobody asks for.
    pub(super) fn take_due(&self, now: u64) -> Vec<Arc<Target>> {
        let mut book = self.book();
        let mut to_resolve = Vec::new();
        while let Some((_, key)) = book.due.first().filter(|(at, _)| *at <= now).cloned() {
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
                if begin(&mut book, &target, now).1 {
                    to_resolve.push(target);
                }
            }
        }
        to_resolve
    }

    /// The places in which an account's targets are resolved.
    pub(super) fn places_of(&self, account: AccountId, most: usize) -> Arc<Semaphore> {
        let mut book = self.book();
        let new = || Arc::new(Semaphore::new(most));
        match book.accounts.get_mut(&account) {
            Some(account) => account.places.get_or_insert_with(new).clone(),
            None => new(),
        }
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
            self.make_room(&mut book, account);
        } else if book.count >= self.targets_max
            && let Some((_, largest)) = book.by_size.last().copied()
        {
            self.make_room(&mut book, largest);
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
        begin(&mut book, &target, now);
        (Look::Sought { target: target.clone(), turn: 0, before: None }, Some(target))
    }

    /// Forgets what of an account was not asked for for longest.
    fn make_room(&self, book: &mut Book, account: AccountId) {
        let targets = book.accounts.get(&account).map(|account| account.targets.values());
        let oldest = targets.and_then(|targets| {
            targets.min_by_key(|target| target.asked_at.load(Ordering::Relaxed)).cloned()
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

/// Begins a resolution, unless one is under way; how many have ended, and whether it has begun.
fn begin(_: &mut Book, target: &Arc<Target>, now: u64) -> (u64, bool) {
    let state = target.state.load();
    let (turn, begins) = (state.turn, !state.is_resolving(now));
    if begins {
        target.state.store(Arc::new(State { since: Some(now), ..State::clone(&state) }));
    }
    (turn, begins)
}

/// Has a target looked at then, and not when it was to be.
fn schedule(book: &mut Book, target: &Arc<Target>, at: u64) {
    let (state, key) = (target.state.load(), target.key());
    book.due.remove(&(state.due, key.clone()));
    book.due.insert((at, key));
    target.state.store(Arc::new(State { due: at, ..State::clone(&state) }));
}

#[cfg(test)]
mod tests {
    use super::{super::target::STALE_MS, *};

    const NOW: u64 = 1_800_000_000_000;
    const A: u16 = 1;

    fn account(number: u8) -> AccountId {
        AccountId::from_bytes([number; 16])
    }

    fn name(number: u16) -> Vec<u8> {
        let text = format!("n{number}");
        [&[u8::try_from(text.len()).unwrap()], text.as_bytes(), &[0]].concat()
    }

    fn found(last: u8, ttl: u32) -> Outcome {
        Outcome::Found { addresses: vec![[192, 0, 2, last].into()], ttl }
    }

    /// A look, in a word, and what is to be resolved.
    fn look(table: &Table, of: u8, number: u16, now: u64) -> (String, Option<Arc<Target>>) {
        let (look, to_resolve) = table.look(account(of), (&name(number), A), now);
        let said = match look {
            Look::Fresh(found, seconds) => format!("{} for {seconds}", found.addresses[0][3]),
            Look::Stale(found) => format!("{} stale", found.addresses[0][3]),
            Look::Sought { before, .. } => {
                before.map_or("sought".to_owned(), |found| format!("sought after {}", found.addresses[0][3]))
            }
            Look::Failed => "failed".to_owned(),
        };
        (said, to_resolve)
    }

    #[test]
    fn a_target_has_one_resolution_for_all_who_ask_and_is_fresh_for_its_time() {
        let table = Table::new(10, 10);
        let (said, target) = look(&table, 1, 1, NOW);
        let target = target.expect("it is new");
        assert_eq!(said, "sought");
        assert!(
            matches!(look(&table, 2, 1, NOW), (said, None) if said == "sought"),
            "of another account, too"
        );
        assert_eq!(look(&table, 1, 1, NOW + WAIT_MS).0, "failed", "others have waited long enough");
        assert_eq!(table.ended(&target, found(7, 60), NOW + 100), Ended::Unremarkable);
        assert_eq!(*target.ended.borrow(), 1);
        assert_eq!(look(&table, 1, 1, NOW + 100).0, "7 for 60");
        assert_eq!(look(&table, 1, 1, NOW + 60_099).0, "7 for 1");
        let (said, again) = look(&table, 1, 1, NOW + 60_100);
        assert!(said == "sought after 7" && again.is_some(), "{said}");
    }

    #[test]
    fn what_is_asked_for_is_resolved_again_before_its_time_ends_and_what_is_not_is_forgotten() {
        let table = Table::new(10, 10);
        let target = look(&table, 1, 1, NOW).1.unwrap();
        table.ended(&target, found(7, 100), NOW);
        assert_eq!(table.next_due(), Some(NOW + 90_000));
        assert!(table.take_due(NOW + 89_999).is_empty());
        assert_eq!(table.take_due(NOW + 90_000).len(), 1);
        assert!(table.take_due(NOW + 90_000).is_empty(), "it is under way");
        assert_eq!(look(&table, 1, 1, NOW + 95_000).0, "7 for 5", "nobody waits");
        table.ended(&target, found(8, 10_000), NOW + 95_000);
        assert_eq!(look(&table, 1, 1, NOW + 95_000).0, "8 for 10000");
        // Nobody asks for more than ten minutes: it is left alone, and after an hour forgotten.
        let due = table.next_due().unwrap();
        assert!(due == NOW + 95_000 + 9_000_000 && table.take_due(due).is_empty());
        assert_eq!((table.count(), table.next_due()), (0, None));
        let target = look(&table, 1, 1, NOW).1.unwrap();
        table.ended(&target, found(7, 1_000), NOW);
        assert!(table.take_due(NOW + 900_000).is_empty());
        assert_eq!((table.count(), table.next_due()), (1, Some(NOW + KNOWN_MS)));
    }

    #[test]
    fn what_was_found_is_served_for_a_day_while_resolving_fails_which_is_tried_ever_less_often() {
        let table = Table::new(10, 10);
        let target = look(&table, 1, 1, NOW).1.unwrap();
        table.ended(&target, found(7, 60), NOW);
        let mut now = NOW + 54_000;
        let mut waits = Vec::new();
        for failure in 0..9 {
            assert_eq!(table.take_due(now).len(), 1, "{failure}");
            let ended = table.ended(&target, Outcome::Failed, now);
            assert_eq!(ended == Ended::Failing { has_former: true }, failure == 0);
            let due = table.next_due().unwrap();
            waits.push((due - now) / 1_000);
            now = due;
            let expected = if now < NOW + 60_000 { "7 for 2" } else { "7 stale" };
            assert_eq!(look(&table, 1, 1, now - 1).0, expected);
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        // Asked for now and then, and never resolved.
        let last = NOW + 60_000 + STALE_MS;
        let (said, again) = look(&table, 1, 1, last - 1);
        assert_eq!(said, "7 stale");
        assert_eq!(look(&table, 1, 1, last - 1).0, "7 stale", "nobody waits for the next failure");
        table.ended(&again.unwrap(), Outcome::Failed, last);
        assert_eq!(look(&table, 1, 1, last).0, "failed");
        let (said, again) = look(&table, 1, 1, last + RETRY_MS_MAX);
        assert_eq!(said, "sought");
        assert_eq!(table.ended(&again.unwrap(), found(9, 60), last + RETRY_MS_MAX), Ended::Recovered);
        assert_eq!(look(&table, 1, 1, last + RETRY_MS_MAX).0, "9 for 60");
    }

    #[test]
    fn no_ttl_has_a_name_resolved_in_a_loop_or_never_again() {
        let table = Table::new(10, 10);
        for (number, ttl, expected) in [(1, 0, 10), (2, u32::MAX, TTL_SECONDS_MAX)] {
            let target = look(&table, 1, number, NOW).1.unwrap();
            table.ended(&target, found(7, ttl), NOW);
            assert_eq!(look(&table, 1, number, NOW).0, format!("7 for {expected}"));
        }
    }

    #[test]
    fn an_account_that_has_its_targets_gives_its_own_and_of_all_the_largest_does() {
        let table = Table::new(5, 3);
        for number in 0..3 {
            look(&table, 1, number, NOW + u64::from(number));
        }
        look(&table, 1, 0, NOW + 5);
        assert!(look(&table, 1, 9, NOW + 6).1.is_some());
        assert_eq!(table.count(), 3);
        let is_known = |number| look(&table, 1, number, NOW + 7).1.is_none();
        assert!(is_known(0) && is_known(2) && is_known(9), "the one that was not asked for longest went");
        for number in 20..22 {
            look(&table, 2, number, NOW);
        }
        assert_eq!(table.count(), 5);
        // A third one comes: the first account has most.
        look(&table, 3, 30, NOW);
        assert_eq!(table.count(), 5);
        let sizes: Vec<usize> = table.book().by_size.iter().map(|(size, _)| *size).collect();
        assert_eq!(sizes, [1, 2, 2]);
        assert_eq!(table.book().due.len(), 5, "each is looked at once");
    }

    #[test]
    fn a_resolution_that_is_lost_or_whose_target_was_forgotten_does_no_harm() {
        let table = Table::new(1, 1);
        let lost = look(&table, 1, 1, NOW).1.unwrap();
        let (said, again) = look(&table, 1, 1, NOW + RESOLVED_WITHIN_MS);
        assert!(said == "sought" && again.is_some(), "it is begun anew");
        look(&table, 1, 2, NOW + RESOLVED_WITHIN_MS);
        table.ended(&lost, found(7, 60), NOW + RESOLVED_WITHIN_MS);
        assert_eq!((table.count(), table.book().due.len()), (1, 1));
    }
}
