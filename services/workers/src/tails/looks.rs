//! Who looks at which Worker on this server: those that this server shows what happens, and other servers on behalf of theirs.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use proxima_model::{AccountId, WorkerName};
use proxima_pipeline::{TAILS_PER_WORKER_MAX, Tail, TailEnd, TailRefused};
use serde_json::Value;

use super::{event, filter::passes, queue::Queue};
use crate::metrics::Metrics;

/// Tails of all Workers on one server: what they have waiting is then at most a quarter of a GiB, and mostly shared.
pub(crate) const LOOKS_MAX: usize = 256;

type Id = (AccountId, WorkerName);

/// See the module.
pub(crate) struct Looks {
    of: RwLock<HashMap<Id, Vec<Arc<Look>>>>,
    /// How many there are: what every request asks.
    count: AtomicUsize,
    /// Whether this server ends.
    ended: AtomicBool,
    metrics: Metrics,
}

/// One of them.
struct Look {
    tail: Tail,
    queue: Arc<Queue>,
}

/// A place among those that look; until it is dropped.
pub(crate) struct Looking {
    looks: Arc<Looks>,
    look: Arc<Look>,
}

impl Looks {
    pub(crate) fn new(metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            of: RwLock::default(),
            count: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            metrics,
        })
    }

    /// Whether somebody looks at a Worker.
    pub(crate) fn is_looked_at(&self, account: AccountId, worker: &WorkerName) -> bool {
        self.count.load(Ordering::Relaxed) > 0 && !self.at(account, worker).is_empty()
    }

    /// What happens from now on goes into this queue.
    pub(crate) fn look(looks: &Arc<Self>, tail: Tail, queue: Arc<Queue>) -> Result<Looking, TailRefused> {
        let id = (tail.account, tail.worker.clone());
        let mut of = looks.of.write().unwrap_or_else(PoisonError::into_inner);
        if of.get(&id).is_some_and(|at| at.len() >= TAILS_PER_WORKER_MAX) {
            return Err(TailRefused::WorkerFull);
        }
        if looks.count.load(Ordering::Relaxed) >= LOOKS_MAX || looks.ended.load(Ordering::Relaxed) {
            return Err(TailRefused::ServerFull);
        }
        let look = Arc::new(Look { tail, queue });
        of.entry(id).or_default().push(Arc::clone(&look));
        looks.count.fetch_add(1, Ordering::Relaxed);
        drop(of);
        looks.metrics.tails.inc();
        Ok(Looking { looks: Arc::clone(looks), look })
    }

    /// The tails of a Worker.
    pub(crate) fn tails(&self, account: AccountId, worker: &WorkerName) -> Vec<Tail> {
        self.at(account, worker).iter().map(|look| look.tail.clone()).collect()
    }

    /// Ends those of this id.
    pub(crate) fn end(&self, account: AccountId, worker: &WorkerName, id: &str) {
        for look in self.at(account, worker).iter().filter(|look| look.tail.id == id) {
            look.queue.end(TailEnd::Done);
        }
    }

    /// Ends all of them, for this server ends; there will be no others.
    pub(crate) fn end_all(&self) {
        // Who looks at the same time is either among them or sees it.
        let of = self.of.write().unwrap_or_else(PoisonError::into_inner);
        self.ended.store(true, Ordering::Relaxed);
        of.values().flatten().for_each(|look| look.queue.end(TailEnd::GoingAway));
    }

    /// Tells those who look at a Worker what has happened, as far as they want to know.
    pub(crate) fn tell(&self, account: AccountId, worker: &WorkerName, event: Value) {
        let mut wanting = self.at(account, worker);
        wanting.retain(|look| look.tail.filters.iter().all(|filter| passes(filter, &event)));
        if wanting.is_empty() {
            return;
        }
        let event = Bytes::from(event::write(event));
        for look in wanting {
            self.metrics.told(look.queue.push(event.clone()));
        }
    }

    /// So many events of a Worker are lost.
    pub(crate) fn lose(&self, account: AccountId, worker: &WorkerName, count: u64) {
        for look in self.at(account, worker) {
            look.queue.lose(count);
            self.metrics.told(false);
        }
    }

    fn at(&self, account: AccountId, worker: &WorkerName) -> Vec<Arc<Look>> {
        let of = self.of.read().unwrap_or_else(PoisonError::into_inner);
        of.get(&(account, worker.clone())).cloned().unwrap_or_default()
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        let id = (self.look.tail.account, self.look.tail.worker.clone());
        let mut of = self.looks.of.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = of.get_mut(&id) {
            at.retain(|look| !Arc::ptr_eq(look, &self.look));
            if at.is_empty() {
                of.remove(&id);
            }
        }
        self.looks.count.fetch_sub(1, Ordering::Relaxed);
        self.looks.metrics.tails.dec();
    }
}

#[cfg(test)]
mod tests {
    use proxima_model::Timestamp;
    use proxima_pipeline::{TailFilter, TailSeen};
    use serde_json::json;

    use super::*;

    const ACCOUNT: AccountId = AccountId::from_bytes([1; 16]);

    fn worker(name: &str) -> WorkerName {
        WorkerName::parse(name).unwrap()
    }

    fn tail(name: &str, filters: Vec<TailFilter>) -> Tail {
        let (worker, expires) = (worker(name), Timestamp::from_millis(0));
        Tail { id: "id".to_owned(), account: ACCOUNT, worker, expires, filters }
    }

    fn looks() -> Arc<Looks> {
        Looks::new(Metrics::register(&mut prometheus_client::registry::Registry::default()))
    }

    #[tokio::test]
    async fn who_looks_at_a_worker_is_told_what_passes_its_filters_until_it_looks_away() {
        let (looks, all, some) = (looks(), Arc::<Queue>::default(), Arc::<Queue>::default());
        let filter = TailFilter::Outcome(vec!["exception".to_owned()]);
        let first = Looks::look(&looks, tail("app", Vec::new()), all.clone()).unwrap();
        let second = Looks::look(&looks, tail("app", vec![filter]), some.clone()).unwrap();
        assert!(looks.is_looked_at(ACCOUNT, &worker("app")));
        assert!(!looks.is_looked_at(ACCOUNT, &worker("other")));
        assert!(!looks.is_looked_at(AccountId::from_bytes([2; 16]), &worker("app")));
        for outcome in ["ok", "exception"] {
            looks.tell(ACCOUNT, &worker("app"), json!({ "outcome": outcome }));
        }
        let event = |outcome| TailSeen::Event(format!("{{\"outcome\":\"{outcome}\"}}").into());
        assert_eq!((all.next().await, all.next().await), (event("ok"), event("exception")));
        assert_eq!(some.next().await, event("exception"));
        drop(second);
        assert!(looks.is_looked_at(ACCOUNT, &worker("app")));
        looks.end(ACCOUNT, &worker("app"), "another");
        looks.end(ACCOUNT, &worker("app"), "id");
        assert_eq!(all.next().await, TailSeen::Ended(TailEnd::Done));
        drop(first);
        assert!(!looks.is_looked_at(ACCOUNT, &worker("app")));
        assert!(looks.of.read().unwrap().is_empty(), "nothing is left of it");
    }

    #[test]
    fn a_worker_and_a_server_have_their_places_and_no_more() {
        let looks = looks();
        let look = |name: &str| Looks::look(&looks, tail(name, Vec::new()), Arc::default());
        let mut held: Vec<_> = (0..TAILS_PER_WORKER_MAX).map(|_| look("app").unwrap()).collect();
        assert_eq!(look("app").err(), Some(TailRefused::WorkerFull));
        held.pop();
        held.push(look("app").unwrap());
        for number in held.len()..LOOKS_MAX {
            held.push(look(&format!("app{number}")).unwrap());
        }
        assert_eq!(look("last").err(), Some(TailRefused::ServerFull));
    }
}
