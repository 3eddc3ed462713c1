//! How many zones are asked for, fetched or told of at a time: of all accounts, and of each, so that none keeps the others
//! waiting.

use std::{collections::HashMap, sync::Arc};

use proxima_model::AccountId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places for one thing.
#[derive(Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    per_account: usize,
    accounts: HashMap<AccountId, Arc<Semaphore>>,
}

/// Those that one account may take.
#[derive(Clone, Debug)]
pub(super) struct Share {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

/// One that is taken; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(all: usize, per_account: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), per_account, accounts: HashMap::new() }
    }

    pub(super) fn of(&mut self, account: AccountId) -> Share {
        let own = self.accounts.entry(account).or_insert_with(|| Arc::new(Semaphore::new(self.per_account)));
        Share { all: self.all.clone(), own: own.clone() }
    }

    /// Forgets accounts nothing of which is under way or waits.
    pub(super) fn forget_idle(&mut self) {
        self.accounts.retain(|_, own| Arc::strong_count(own) > 1);
    }
}

impl Share {
    /// Waits for a place, behind those that wait already. An account's own comes first: who waits for that takes none from
    /// the others.
    pub(super) async fn take(&self) -> Place {
        const OPEN: &str = "these are never closed";
        let own = self.own.clone().acquire_owned().await.expect(OPEN);
        let all = self.all.clone().acquire_owned().await.expect(OPEN);
        Place { _own: own, _all: all }
    }

    /// Takes a place if one is free now.
    pub(super) fn try_take(&self) -> Option<Place> {
        let own = self.own.clone().try_acquire_owned().ok()?;
        let all = self.all.clone().try_acquire_owned().ok()?;
        Some(Place { _own: own, _all: all })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn account(number: u8) -> AccountId {
        AccountId::from_bytes([number; 16])
    }

    #[test]
    fn an_account_that_fills_its_places_leaves_the_others_theirs() {
        let mut places = Places::new(6, 2);
        let first = places.of(account(0));
        let mut held: Vec<Place> = (0..2).map(|_| first.take().now_or_never().unwrap()).collect();
        let mut waiting = Box::pin(first.take());
        assert!(waiting.as_mut().now_or_never().is_none(), "its own are taken");
        for number in 1..3 {
            let share = places.of(account(number));
            held.extend((0..2).map(|_| share.take().now_or_never().unwrap()));
        }
        assert!(places.of(account(3)).take().now_or_never().is_none(), "all are taken");
        assert!(places.of(account(3)).try_take().is_none() && first.try_take().is_none());
        held.remove(0);
        held.push(waiting.now_or_never().unwrap());
        places.forget_idle();
        assert_eq!(places.accounts.len(), 3, "{places:?}");
        drop((held, first));
        places.forget_idle();
        assert_eq!((places.accounts.len(), places.all.available_permits()), (0, 6));
    }
}
