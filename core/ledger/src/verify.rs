//! Checks what is kept while nothing else asks for it: soon after the start, then once a day, slowly.
//!
//! Damage to what is rarely read would otherwise be met on the day when it is needed. What is found counts as if a
//! reader had met it: nothing is read from the replica any more, and a follower rebuilds it from an upstream.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use tokio::{sync::watch, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ReadError, Replica,
    check::{Check, StepBounds},
    ledger::Role,
    limits,
};

/// When a node checks what it keeps, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyPace {
    /// How long after the start, and after damage was mended.
    pub first_after: Duration,
    /// How long after a check that found nothing.
    pub every: Duration,
    /// How much is checked at a time.
    pub step: StepBounds,
    /// How long is waited between two steps.
    pub pause: Duration,
}

impl Default for VerifyPace {
    fn default() -> Self {
        Self {
            first_after: limits::VERIFY_FIRST_AFTER,
            every: limits::VERIFY_INTERVAL,
            step: StepBounds::default(),
            pause: limits::VERIFY_PAUSE,
        }
    }
}

/// What the checks have come to since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Values and entries that the present or last check has read.
    pub checked: u64,
    /// Checks that found everything whole.
    pub passes: u64,
    /// Checks that found damage.
    pub damages: u64,
    /// What the last damage was.
    pub last_damage: Option<Arc<str>>,
}

/// Checks until `stop`.
pub(crate) async fn run(
    replica: Replica,
    role: Role,
    pace: VerifyPace,
    (stop, tasks): (CancellationToken, TaskTracker),
    told: watch::Sender<Verification>,
) {
    stop.run_until_cancelled(async {
        let mut wait = pace.first_after;
        loop {
            sleep(wait).await;
            replica.ready().await;
            wait = match pass(&replica, pace, &tasks, &told).await {
                Ok(checked) => {
                    tracing::info!(checked, "everything that is kept was checked and is whole");
                    told.send_modify(|told| told.passes += 1);
                    pace.every
                }
                Err(ReadError::Corrupt(reason)) => {
                    tell(role, &reason);
                    told.send_modify(|told| {
                        told.damages += 1;
                        told.last_damage = Some(reason.into());
                    });
                    pace.first_after
                }
                Err(error) => {
                    tracing::warn!(%error, "what is kept could not be checked; it is tried again");
                    pace.first_after
                }
            };
        }
    })
    .await;
}

fn tell(role: Role, reason: &str) {
    match role {
        Role::Follower => tracing::error!(
            reason,
            "a check found damage: nothing is served from this replica until it is rebuilt from an upstream, which \
             begins now. If it comes again, this server's disk or memory fails: look at the kernel's log, replace it"
        ),
        Role::Log => tracing::error!(
            reason,
            "a check found damage in the log: it takes no changes and this server serves nothing; the others serve on. \
             Stop this node and restore the log from its peers (docs/operating/restore-the-log.md)"
        ),
    }
}

async fn pass(
    replica: &Replica,
    pace: VerifyPace,
    tasks: &TaskTracker,
    told: &watch::Sender<Verification>,
) -> Result<u64, ReadError> {
    let mut check = Check::default();
    loop {
        let (target, token) = (replica.clone(), tasks.token());
        let step = tokio::task::spawn_blocking(move || {
            // Dropped in reverse: the token says that the replica is let go.
            let (_token, target) = (token, target);
            let outcome = check.step(&target, pace.step);
            (check, outcome)
        });
        let Ok((next, outcome)) = step.await else {
            // The runtime ends.
            return std::future::pending().await;
        };
        check = next;
        told.send_modify(|told| told.checked = check.checked);
        if outcome? {
            return Ok(check.checked);
        }
        sleep(pace.pause).await;
    }
}
