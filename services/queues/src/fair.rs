//! Places for batches under way, shared fairly between accounts.
//!
//! An account that has none gets a place as long as there is one; it gets another one while it has fewer than are free beside those
//! that are kept for accounts without any, and no more than a bound of its own. So whoever takes all that it can leaves room for
//! others, half of what was left each time, and gives back when others come: what ends of it goes to them.
//!
//! Who waits holds nothing. A place that becomes free goes to who has waited longest, of those that may have it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use proxima_model::AccountId;
use tokio::sync::oneshot;

/// How many places there are, and for whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) all: usize,
    /// Of these, what only accounts get that have none.
    pub(crate) for_first: usize,
    pub(crate) of_account: usize,
}

/// See the module.
pub(crate) struct FairPlaces {
    bounds: Bounds,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    taken: usize,
    of_accounts: HashMap<AccountId, usize>,
    waiting: VecDeque<(AccountId, oneshot::Sender<Place>)>,
}

/// A place, until it is dropped.
pub(crate) struct Place {
    account: AccountId,
    places: Arc<FairPlaces>,
}

/// A place that is waited for, in turn, until it is dropped.
pub(crate) type Turn = oneshot::Receiver<Place>;

impl FairPlaces {
    pub(crate) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { bounds, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a batch of an account, or a turn to get one.
    pub(crate) fn take(self: &Arc<Self>, account: AccountId) -> Result<Place, Turn> {
        let (given, mut turn) = oneshot::channel();
        self.state().waiting.push_back((account, given));
        self.give();
        turn.try_recv().map_err(|_| turn)
    }

    /// Gives what is free to those who wait.
    fn give(self: &Arc<Self>) {
        let given = {
            let mut state = self.state();
            let (mut given, waiting) = (Vec::new(), std::mem::take(&mut state.waiting));
            for (account, turn) in waiting {
                if turn.is_closed() {
                    continue;
                }
                if state.may_have(account, self.bounds) {
                    state.taken += 1;
                    *state.of_accounts.entry(account).or_default() += 1;
                    given.push((account, turn));
                } else {
                    state.waiting.push_back((account, turn));
                }
            }
            given
        };
        for (account, turn) in given {
            // Who does not wait any more drops it, and it is free again.
            turn.send(Place { account, places: Arc::clone(self) }).ok();
        }
    }
}

impl State {
    fn may_have(&self, account: AccountId, bounds: Bounds) -> bool {
        let free = bounds.all - self.taken;
        match self.of_accounts.get(&account) {
            None => free > 0,
            Some(has) => *has < bounds.of_account.min(free.saturating_sub(bounds.for_first)),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut state = self.places.state();
            state.taken -= 1;
            match state.of_accounts.get_mut(&self.account) {
                Some(has @ 2..) => *has -= 1,
                _ => {
                    state.of_accounts.remove(&self.account);
                }
            }
        }
        self.places.give();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { all: 16, for_first: 4, of_account: 5 };

    fn account(number: u8) -> AccountId {
        AccountId::from_bytes([number; 16])
    }

    /// As many places as an account gets.
    fn all_for(places: &Arc<FairPlaces>, number: u8) -> Vec<Place> {
        std::iter::from_fn(|| places.take(account(number)).ok()).collect()
    }

    #[test]
    fn whoever_takes_all_that_it_can_leaves_others_room() {
        let places = FairPlaces::new(BOUNDS);
        let held: Vec<_> = (0..7).map(|number| all_for(&places, number)).collect();
        let counts: Vec<_> = held.iter().map(Vec::len).collect();
        assert_eq!(counts, [5, 4, 2, 1, 1, 1, 1], "half of what is left, and one each at the least");
        drop(held);
        assert_eq!(all_for(&places, 9).len(), 5, "all are free again");
    }

    #[test]
    fn what_becomes_free_goes_in_turn_to_those_that_may_have_it() {
        let places = FairPlaces::new(BOUNDS);
        let mut greedy = all_for(&places, 0);
        let others: Vec<_> =
            (1..=11).map(|number| places.take(account(number)).ok().expect("one each")).collect();
        assert_eq!((greedy.len(), others.len()), (5, 11), "all there are");
        let mut again = places.take(account(0)).err().expect("it has some");
        let mut first = places.take(account(20)).err().expect("none is left");
        let mut second = places.take(account(21)).err().expect("none is left");
        greedy.pop();
        assert!(first.try_recv().is_ok(), "not to the first, which has some, but to the next");
        let _held = second.try_recv().expect("and on to the next, as soon as it is not held");
        assert!(again.try_recv().is_err());
        let gone = places.take(account(22)).err().expect("none is left");
        let mut third = places.take(account(23)).err().expect("none is left");
        drop(gone);
        greedy.clear();
        assert!(third.try_recv().is_ok(), "who has gone keeps nobody waiting");
        assert!(again.try_recv().is_ok(), "and at last who had many");
        drop(others);
    }
}
