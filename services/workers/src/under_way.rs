//! What accounts have under way at the node on behalf of their Workers: so many at a time, so that none takes all.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use proxima_model::AccountId;

/// How much each account has under way.
pub(crate) struct UnderWay {
    each: usize,
    counts: Mutex<HashMap<AccountId, usize>>,
}

impl UnderWay {
    /// With so many places for each account.
    pub(crate) fn new(each: usize) -> Arc<Self> {
        Arc::new(Self { each, counts: Mutex::default() })
    }

    /// A place, if the account has one left.
    pub(crate) fn enter(of: &Arc<Self>, account: AccountId) -> Option<Place> {
        let mut counts = of.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(account).or_default();
        if *count >= of.each {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Place { of: Arc::clone(of), account })
    }
}

/// A place among what an account has under way, until it is dropped.
pub(crate) struct Place {
    of: Arc<UnderWay>,
    account: AccountId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.of.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.account) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_its_places_and_no_more() {
        let (under_way, account) = (UnderWay::new(3), AccountId::from_bytes([1; 16]));
        let mut places: Vec<_> =
            (0..3).map(|_| UnderWay::enter(&under_way, account).expect("a place")).collect();
        assert!(UnderWay::enter(&under_way, account).is_none());
        assert!(UnderWay::enter(&under_way, AccountId::from_bytes([2; 16])).is_some());
        places.pop();
        assert!(UnderWay::enter(&under_way, account).is_some());
        drop(places);
        assert!(under_way.counts.lock().expect("unpoisoned").is_empty());
    }
}
