//! Tails of the whole network: what happens here, and what the other servers say.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use proxima_model::{AccountId, WorkerName};
use proxima_pipeline::{Servers, Tail, TailRefused, TailSeen, TailStream, Tails};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{follow::follow, looks::Looks, queue::Queue};

/// Tails that one server shows at a time: each has a request under way to every other server, of which all services together may
/// have [`SERVER_REQUESTS_MAX`](proxima_pipeline::SERVER_REQUESTS_MAX).
pub(crate) const HELD_MAX: usize = 64;

/// See the module.
pub(crate) struct Network {
    looks: Arc<Looks>,
    /// The other servers, if there are any.
    servers: OnceLock<Arc<dyn Servers>>,
    places: Arc<Semaphore>,
}

impl Network {
    pub(crate) fn new(looks: Arc<Looks>) -> Self {
        Self { looks, servers: OnceLock::new(), places: Arc::new(Semaphore::new(HELD_MAX)) }
    }

    /// What happens on these servers is seen too. Given once.
    pub(crate) fn over(&self, servers: Arc<dyn Servers>) {
        self.servers.set(servers).ok();
    }
}

impl Tails for Network {
    fn open(&self, tail: Tail) -> Result<TailStream, TailRefused> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| TailRefused::ServerFull)?;
        let queue = Arc::<Queue>::default();
        let written = Bytes::from(serde_json::to_vec(&tail).unwrap_or_default());
        let looking = Looks::look(&self.looks, tail, Arc::clone(&queue))?;
        let mut following = JoinSet::new();
        if let Some(servers) = self.servers.get() {
            for other in servers.all().iter().filter(|server| server.name != *servers.me()) {
                let (servers, queue) = (Arc::clone(servers), Arc::clone(&queue));
                following.spawn(follow(servers, other.name.clone(), written.clone(), queue));
            }
        }
        // What is held ends with the stream.
        let held = Some((queue, (place, looking, following)));
        let seen = stream::unfold(held, |held| async {
            let (queue, rest) = held?;
            let seen = queue.next().await;
            let is_last = matches!(seen, TailSeen::Ended(_));
            Some((seen, (!is_last).then_some((queue, rest))))
        });
        Ok(seen.boxed())
    }

    fn list(&self, account: AccountId, worker: &WorkerName) -> Vec<Tail> {
        self.looks.tails(account, worker)
    }

    fn end(&self, account: AccountId, worker: &WorkerName, id: &str) {
        self.looks.end(account, worker, id);
    }
}
