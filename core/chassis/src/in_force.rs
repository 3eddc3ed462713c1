//! What puts the replica's states in force, one after the other, in all services.
//!
//! ```text
//!  replica has N ─▶ prepare, all services ─▶ commit, all services ─▶ what is behind follows ─▶ N is in force
//!                     │ an error or a panic                            (Service::unserved)
//!                     └▶ the former state stays; tried again
//! ```
//!
//! Committing goes on while something follows that takes long, so that one customer's large zones hold up nobody else's
//! changes: only that they count as in force waits for it.
//!
//! Invariant: **in force is what every service serves**, of every zone, and it never goes back. A node that cannot keep that (a
//! commit has panicked: one service serves the new state and another one the former) ends, for its supervisor to start anew.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt, select_all};
use proxima_ledger::{ChangeSet, Seq, Unserved};
use tokio::sync::watch;
use tracing::{error, info};

use crate::{NodeContext, NodeError, Prepared, Service, ServiceError, notify};

/// After a state could not be put in force, it is tried again at this pace even if nothing new comes.
const PREPARE_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Why a state is not in force.
enum Failure {
    /// The former one stays, in all services.
    Prepare(String),
    /// Some services serve the new one.
    Commit(String),
}

impl From<Failure> for String {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Prepare(why) | Failure::Commit(why) => why,
        }
    }
}

/// Puts the first state in force, so that no service ever serves without one. A node that has just been made waits
/// here until its replica has a state at all.
pub(crate) async fn first(
    node: &NodeContext,
    services: &[Arc<dyn Service>],
    in_force: &watch::Sender<Seq>,
) -> Result<(), NodeError> {
    if node.replica.snapshot().is_err() {
        info!("this node's replica is empty: waiting for a snapshot from an upstream");
        notify::status("waits for its first snapshot");
        node.replica.ready().await;
    }
    let committed = commit(node, services, Seq::ZERO).map_err(|why| {
        let why = String::from(why);
        NodeError::Services(format!("the first state cannot be put in force: {why}").into())
    })?;
    in_force.send_replace(committed);
    Ok(())
}

/// Prepares all services for the replica's state, then commits all of them; up to where.
fn commit(node: &NodeContext, services: &[Arc<dyn Service>], from: Seq) -> Result<Seq, Failure> {
    let snapshot = node.replica.snapshot().map_err(|error| Failure::Prepare(error.to_string()))?;
    let to = snapshot.seq();
    let changed =
        if from == Seq::ZERO { ChangeSet::everything(to) } else { node.replica.changes_since(from) };
    let prepare = |service: &Arc<dyn Service>| {
        let prepared = catch_unwind(AssertUnwindSafe(|| service.prepare(&snapshot, &changed)));
        match prepared {
            Ok(prepared) => prepared.map_err(|error| format!("{}: {error}", service.name())),
            Err(panic) => Err(format!("{}: preparing it panicked: {}", service.name(), said(&*panic))),
        }
    };
    let prepared = services.iter().map(prepare).collect::<Result<Vec<_>, _>>().map_err(Failure::Prepare)?;
    drop(snapshot);
    catch_unwind(AssertUnwindSafe(|| prepared.into_iter().for_each(Prepared::commit)))
        .map_err(|panic| Failure::Commit(format!("committing it panicked: {}", said(&*panic))))?;
    Ok(to)
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("nothing")
}

/// The same where nothing waits for it.
async fn commit_aside(node: &NodeContext, services: &[Arc<dyn Service>], from: Seq) -> Result<Seq, Failure> {
    let (node, services) = (node.clone(), services.to_vec());
    let ended = tokio::task::spawn_blocking(move || commit(&node, &services, from)).await;
    ended.unwrap_or_else(|ended| Err(Failure::Commit(ended.to_string())))
}

/// Follows the replica for as long as the node runs.
///
/// # Errors
/// Some services serve a state that others do not.
pub(crate) async fn keep(
    node: NodeContext,
    services: Vec<Arc<dyn Service>>,
    in_force: watch::Sender<Seq>,
) -> Result<(), ServiceError> {
    let committed = watch::Sender::new(*in_force.borrow());
    let unserved = services.iter().flat_map(|service| service.unserved()).collect();
    let telling = tell(committed.subscribe(), unserved, in_force);
    tokio::select! {
        ended = follow(&node, &services, &committed) => ended,
        () = telling => Ok(()),
        () = node.shutdown.stopping() => Ok(()),
    }
}

/// Commits what the replica comes to, until that ends.
async fn follow(
    node: &NodeContext,
    services: &[Arc<dyn Service>],
    committed: &watch::Sender<Seq>,
) -> Result<(), ServiceError> {
    let mut applied = node.replica.watch();
    loop {
        let from = *committed.borrow();
        let latest = *applied.borrow_and_update();
        if latest != from {
            match commit_aside(node, services, from).await {
                Ok(to) => drop(committed.send_replace(to)),
                Err(Failure::Commit(why)) => {
                    error!(%why, in_force = %from, %latest, "a state is in force only in part: this node ends");
                    return Err(ServiceError::new(why));
                }
                Err(Failure::Prepare(why)) => {
                    error!(%why, in_force = %from, %latest, "the new state cannot be put in force: the former one stays");
                    let again = tokio::time::timeout(PREPARE_AGAIN_AFTER, applied.changed());
                    if again.await.is_ok_and(|changed| changed.is_err()) {
                        return Ok(());
                    }
                    continue;
                }
            }
        }
        if applied.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// Tells what is in force: what was committed, but for what follows.
async fn tell(
    mut committed: watch::Receiver<Seq>,
    mut unserved: Vec<Unserved>,
    in_force: watch::Sender<Seq>,
) {
    loop {
        // In this order: what a commit leaves behind is told before that it is committed.
        let to = *committed.borrow_and_update();
        let first = unserved.iter_mut().filter_map(|unserved| *unserved.borrow_and_update()).min();
        let served = first.map_or(to, |first| to.min(Seq(first.0.saturating_sub(1))));
        in_force.send_if_modified(|told| {
            let is_later = served > *told;
            *told = served.max(*told);
            is_later
        });
        let changes = std::iter::once(committed.changed().boxed())
            .chain(unserved.iter_mut().map(|unserved| unserved.changed().boxed()));
        let changes: Vec<BoxFuture<'_, _>> = changes.collect();
        // Whoever told it has gone: the node ends.
        if select_all(changes).await.0.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn in_force_is_what_was_committed_but_for_what_follows_and_never_goes_back() {
        let committed = watch::Sender::new(Seq(3));
        let (one, other) = (watch::Sender::new(None), watch::Sender::new(None));
        let (in_force, mut told) = watch::channel(Seq(3));
        let unserved = vec![one.subscribe(), other.subscribe()];
        let task = tokio::spawn(tell(committed.subscribe(), unserved, in_force));
        committed.send_replace(Seq(4));
        told.wait_for(|seq| *seq == Seq(4)).await.unwrap();
        // Both are behind, one further than the other.
        one.send_replace(Some(Seq(6)));
        other.send_replace(Some(Seq(7)));
        committed.send_replace(Seq(9));
        told.wait_for(|seq| *seq > Seq(4)).await.unwrap();
        assert_eq!(*told.borrow(), Seq(5));
        one.send_replace(None);
        told.wait_for(|seq| *seq > Seq(5)).await.unwrap();
        assert_eq!(*told.borrow(), Seq(6));
        // What is said to be behind after it was in force takes nothing back.
        one.send_replace(Some(Seq(2)));
        other.send_replace(None);
        one.send_replace(Some(Seq(9)));
        told.wait_for(|seq| *seq > Seq(6)).await.unwrap();
        assert_eq!(*told.borrow(), Seq(8));
        one.send_replace(None);
        told.wait_for(|seq| *seq == Seq(9)).await.unwrap();
        drop(committed);
        task.await.unwrap();
    }
}
