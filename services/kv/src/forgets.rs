//! Telling all other servers' caches to forget what was written.
//!
//! Nothing depends on it but how soon a write is seen: who is not told, because too many keys wait or it is away, gives what it
//! has to nobody for longer than that reader asked for.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    cache::Name,
    kv::Kv,
    metrics::Metrics,
    reach::Kind,
    wire::{ITEMS_MAX, Question},
};

/// Keys that wait to be told: some 10 MB of ordinary ones.
const WAITING_MAX: usize = 65_536;
/// Servers that are told at once.
const SERVERS_AT_ONCE: usize = 64;

/// See the module.
pub(crate) struct Forgets {
    names: mpsc::Sender<Name>,
    waiting: Mutex<Option<mpsc::Receiver<Name>>>,
}

impl Forgets {
    pub(crate) fn new() -> Self {
        let (names, waiting) = mpsc::channel(WAITING_MAX);
        Self { names, waiting: Mutex::new(Some(waiting)) }
    }

    /// Has the others forget a key, if there is room for it.
    pub(crate) fn tell(&self, name: Name, metrics: &Metrics) {
        match self.names.try_send(name) {
            Ok(()) => metrics.forgets.inc(),
            Err(_) => metrics.forgets_lost.inc(),
        };
    }
}

impl Kv {
    /// Tells what waits, until `stop`.
    pub(crate) async fn forget_until(self: Arc<Self>, stop: CancellationToken) {
        let Some(mut waiting) = self.forgets.waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
        else {
            return;
        };
        let mut names = Vec::new();
        loop {
            tokio::select! {
                count = waiting.recv_many(&mut names, ITEMS_MAX) => if count == 0 { return },
                () = stop.cancelled() => return,
            }
            let distinct: HashSet<Name> = names.drain(..).collect();
            let count = distinct.len() as u64;
            let question = Question::Forget(distinct.into_iter().collect());
            let others = self.servers.all().iter().filter(|server| server.name != self.me);
            stream::iter(others)
                .for_each_concurrent(SERVERS_AT_ONCE, |server| {
                    let (kv, question) = (&self, &question);
                    async move {
                        let is_away = kv.reach.is_away(&server.name, Kind::Forget);
                        if is_away || kv.reach.ask(&server.name, question).await.is_err() {
                            kv.metrics.forgets_lost.inc_by(count);
                        }
                    }
                })
                .await;
        }
    }
}
