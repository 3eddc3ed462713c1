//! Places that stand by for each other: while a version keeps the process of one to itself, others are asked in the next one's
//! (`held.rs`), which has a process as long as the former is in use, so that nobody waits for one to start.

use std::{sync::Arc, time::Instant};

use super::{QUIET_MAX, Shard, State};
use crate::engine::process::Process;

impl Shard {
    /// Each of these is asked in the place of the one before it while that is held.
    pub(crate) fn stand_by_each_other(shards: &[Arc<Self>]) {
        let count = shards.len();
        for (at, shard) in shards.iter().enumerate().filter(|_| count > 1) {
            let beside = [at + 1, at + count - 1].map(|at| Arc::downgrade(&shards[at % count]));
            // It is said once.
            shard.beside.set(beside).ok();
        }
    }

    /// Has a process, so that nobody has to wait for one.
    async fn stand_by(self: Arc<Self>) {
        let _starting = self.starting.lock().await;
        let backs_off = |state: &State| state.not_before.is_some_and(|then| Instant::now() < then);
        if self.state().process.is_some() || backs_off(&self.state()) {
            return;
        }
        match self.start(None).await {
            Ok((process, _)) => self.state().process = Some(process),
            Err(error) => {
                tracing::debug!(%error, "no process of the engine stands by");
                self.state().failed();
            }
        }
    }

    /// Sees to it that the next one has a process, as long as this one's is in use.
    pub(super) fn has_another_stand_by(&self) {
        let [next, _] = self.beside.get().cloned().unwrap_or_default();
        if let Some(next) = next.upgrade().filter(|next| next.is_idle()) {
            tokio::spawn(next.stand_by());
        }
    }

    /// Whether it is there for another one, which is in use.
    pub(super) fn stands_by(&self) -> bool {
        let [_, former] = self.beside.get().cloned().unwrap_or_default();
        let process = former.upgrade().and_then(|former| former.state().process.clone());
        process.is_some_and(|process| was_in_use(&process))
    }
}

/// Whether a process has answered something, lately.
pub(super) fn was_in_use(process: &Process) -> bool {
    process.progress() > 0 && process.quiet_for().is_none_or(|quiet| quiet <= QUIET_MAX)
}
