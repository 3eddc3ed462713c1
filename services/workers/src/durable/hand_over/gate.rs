//! The gate before an account's objects. Each request passes it before it is looked where its object is, and stands in it until its
//! answer has begun; who closes it knows, when it is closed, that whoever comes later sees the log as it is by then.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use proxima_model::AccountId;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::durable::asked::Refusal;

/// How long what was begun may take to be answered before the objects' process is ended; requests that come meanwhile wait. Those of
/// an object that asks another one of its account wait for each other so long.
const GRACE: Duration = Duration::from_secs(5);
/// How long what is cut off by that may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(1);
/// How often the process is ended for it: another one may have been started meanwhile.
const ENDED_MAX: usize = 20;
/// From so many accounts on those that nobody asks are forgotten.
const REMEMBERED_MAX: usize = 1_024;

/// Those of all accounts.
#[derive(Default)]
pub(in crate::durable) struct Gates(Mutex<HashMap<AccountId, Arc<RwLock<()>>>>);

impl Gates {
    fn of(&self, account: AccountId) -> Arc<RwLock<()>> {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if gates.len() >= REMEMBERED_MAX {
            gates.retain(|_, gate| Arc::strong_count(gate) > 1);
        }
        Arc::clone(gates.entry(account).or_default())
    }

    /// Passes; waits while it is closed or about to be.
    pub(in crate::durable) async fn enter(&self, account: AccountId) -> OwnedRwLockReadGuard<()> {
        self.of(account).read_owned().await
    }

    /// Closes it, for as long as what is returned is held: nobody stands in it. `cut` ends the process, if who does takes too long.
    pub(super) async fn close<F: Future<Output = Result<(), Refusal>>>(
        &self,
        account: AccountId,
        cut: impl Fn() -> F,
    ) -> Result<OwnedRwLockWriteGuard<()>, Refusal> {
        let mut closing = std::pin::pin!(self.of(account).write_owned());
        let mut patience = GRACE;
        for _ in 0..ENDED_MAX {
            if let Ok(closed) = tokio::time::timeout(patience, &mut closing).await {
                return Ok(closed);
            }
            cut().await?;
            patience = GONE_WITHIN;
        }
        Err(Refusal::broken("its objects are asked, and do not end"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_stands_in_it_has_a_while_and_who_comes_waits_until_it_is_open() {
        let (gates, account) = (Arc::new(Gates::default()), AccountId::from_bytes([1; 16]));
        let within = gates.enter(account).await;
        let cut = Arc::new(tokio::sync::Notify::new());
        let (closing, cutting) = (Arc::clone(&gates), Arc::clone(&cut));
        let closing = tokio::spawn(async move {
            closing
                .close(account, || async {
                    cutting.notify_one();
                    Ok(())
                })
                .await
        });
        tokio::task::yield_now().await;
        let entering = gates.enter(account);
        tokio::pin!(entering);
        let begun = tokio::time::Instant::now();
        tokio::select! {
            biased;
            _ = &mut entering => panic!("it is about to be closed"),
            () = cut.notified() => {}
        }
        assert!(begun.elapsed() >= GRACE);
        gates.enter(AccountId::from_bytes([2; 16])).await;
        drop(within);
        let closed = closing.await.expect("no panic").expect("nobody stands in it");
        tokio::select! {
            biased;
            _ = &mut entering => panic!("it is closed"),
            () = tokio::task::yield_now() => {}
        }
        drop(closed);
        entering.await;
    }
}
