//! What is in force, of services that cannot prepare, cannot commit, or are behind.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers, too")]

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use proxima_chassis::{
    Health, NodeConfig, NodeContext, NodeError, PrepareError, Prepared, Service, ServiceError, Shutdown,
    run_node,
};
use proxima_ledger::{Append, ChangeSet, IdempotencyKey, Seq, Snapshot, Unserved};
use proxima_model::{ZoneId, ZoneIndex, ZoneName};
use tokio::sync::watch;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service with faults.
struct Faulty {
    prepared: AtomicU64,
    /// Whether the next one panics as it prepares or commits.
    cannot_prepare: AtomicBool,
    cannot_commit: Arc<AtomicBool>,
    unserved: watch::Sender<Option<Seq>>,
}

#[async_trait]
impl Service for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn prepare(&self, _: &Snapshot, _: &ChangeSet) -> Result<Prepared, PrepareError> {
        self.prepared.fetch_add(1, Ordering::SeqCst);
        assert!(!self.cannot_prepare.swap(false, Ordering::SeqCst), "as a fault of a service");
        let cannot_commit = self.cannot_commit.clone();
        Ok(Prepared::new(move || assert!(!cannot_commit.load(Ordering::SeqCst), "as a fault of a commit")))
    }

    fn unserved(&self) -> Vec<Unserved> {
        vec![self.unserved.subscribe()]
    }

    async fn run(self: Arc<Self>, _: NodeContext, shutdown: Shutdown) -> Result<(), ServiceError> {
        shutdown.draining().await;
        Ok(())
    }

    fn health(&self) -> Health {
        Health::Ready
    }
}

/// Runs a node of this service, and a test with it; how the node ended if it did before the test.
async fn with_node(
    service: &Arc<Faulty>,
    test: impl AsyncFnOnce(NodeContext),
) -> Option<Result<(), NodeError>> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "11".repeat(32)).unwrap();
    let config = format!(
        "[node]\nname = \"fra-1\"\npop = \"FRA\"\nregion = \"europe\"\ndata_dir = {:?}\nkey_file = {:?}\n\
         admin = \"127.0.0.1:0\"\ndrain_seconds = 1\n[network]\nanycast_addresses = [\"198.18.0.1\"]\n",
        folder.path().join("data"),
        folder.path().join("key"),
    );
    let config = NodeConfig::parse(&config).unwrap();
    let made = service.clone();
    let make =
        move |_: &NodeContext| -> Result<Vec<Arc<dyn Service>>, Box<dyn std::error::Error + Send + Sync>> {
            Ok(vec![made.clone()])
        };
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let known = BTreeSet::from(["faulty"]);
    let run = run_node(config, &known, &make, |node| drop(ready.send(node.clone())));
    let test = async { test(is_ready.await.unwrap()).await };
    tokio::time::timeout(PATIENCE, async {
        tokio::select! {
            ended = run => Some(ended),
            () = test => None,
        }
    })
    .await
    .expect("it takes too long")
}

async fn change(node: &NodeContext, number: u8) -> Seq {
    let index = ZoneIndex {
        name: ZoneName::parse(&format!("zone{number}.example")).unwrap(),
        zone: ZoneId::from_bytes([number; 16]),
    };
    let append = Append {
        changes: vec![node.replica.put(&index)],
        preconditions: Vec::new(),
        idempotency_key: IdempotencyKey(format!("{number}")),
        fingerprint: None,
        author: "test".to_owned(),
    };
    node.log.append(append).await.unwrap().seq
}

async fn until_in_force(node: &NodeContext, seq: Seq) {
    node.in_force.clone().wait_for(|served| *served >= seq).await.unwrap();
}

fn service() -> Arc<Faulty> {
    Arc::new(Faulty {
        prepared: AtomicU64::new(0),
        cannot_prepare: AtomicBool::new(false),
        cannot_commit: Arc::default(),
        unserved: watch::Sender::new(None),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_panics_as_it_prepares_keeps_the_former_state_and_is_tried_again() {
    let service = service();
    let ended = with_node(&service, async |node| {
        until_in_force(&node, change(&node, 1).await).await;
        let before = service.prepared.load(Ordering::SeqCst);
        service.cannot_prepare.store(true, Ordering::SeqCst);
        until_in_force(&node, change(&node, 2).await).await;
        assert!(service.prepared.load(Ordering::SeqCst) >= before + 2, "it failed once");
        // And goes on.
        until_in_force(&node, change(&node, 3).await).await;
    });
    assert!(ended.await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_state_is_in_force_in_part_ends_and_says_so() {
    let service = service();
    let ended = with_node(&service, async |node| {
        service.cannot_commit.store(true, Ordering::SeqCst);
        change(&node, 1).await;
        std::future::pending::<()>().await;
    });
    let error = ended.await.expect("the node ends").unwrap_err();
    let NodeError::Service { source, .. } = error else { panic!("{error}") };
    assert!(source.to_string().contains("as a fault of a commit"), "{source}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_follows_is_in_force_when_it_is_served_and_holds_up_no_other() {
    let service = service();
    let ended = with_node(&service, async |node| {
        let first = change(&node, 1).await;
        until_in_force(&node, first).await;
        service.unserved.send_replace(Some(first.next()));
        let before = service.prepared.load(Ordering::SeqCst);
        change(&node, 2).await;
        let last = change(&node, 3).await;
        // Both are committed, be it together.
        let mut commits = tokio::time::interval(Duration::from_millis(5));
        while service.prepared.load(Ordering::SeqCst) == before {
            commits.tick().await;
        }
        assert_eq!(*node.in_force.borrow(), first);
        service.unserved.send_replace(None);
        until_in_force(&node, last).await;
    });
    assert!(ended.await.is_none());
}
