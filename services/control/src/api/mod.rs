//! What every endpoint stands on: the state they share, reading and writing.

pub(crate) mod access;
pub(crate) mod body;
pub(crate) mod condition;
pub(crate) mod envelope;
pub(crate) mod fingerprint;
pub(crate) mod jwt;
mod objects;
pub(crate) mod page;
pub(crate) mod turn;
pub(crate) mod write;

use std::sync::{Arc, OnceLock};

use proxima_chassis::{Clock, NetworkConfig, Places};
use proxima_ledger::{Log, Replica, Snapshot};
use proxima_model::{AccountId, NodeName, PopCode, Timestamp, Zone, ZoneId};
use proxima_pipeline::{
    CheckWorkers, DurableObjects, Explainer, KeyValue, Objects, QueryReports, Queues, Tails, TrafficReader,
};
use tokio::sync::Semaphore;

use crate::{
    activation::Delegations,
    config::Activation,
    error::{ApiError, Code},
    metrics::ControlMetrics,
};

/// What the endpoints share.
pub(crate) struct Api {
    pub(crate) replica: Replica,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) network: NetworkConfig,
    pub(crate) activation: Activation,
    pub(crate) delegations: Delegations,
    pub(crate) explainer: Arc<dyn Explainer>,
    /// What this server counted.
    pub(crate) traffic: Arc<dyn TrafficReader>,
    /// What the network's name servers were asked.
    pub(crate) queries: Arc<dyn QueryReports>,
    /// This server, and where it stands.
    pub(crate) node: NodeName,
    pub(crate) pop: PopCode,
    pub(crate) metrics: ControlMetrics,
    /// Keys and values, if this server reaches any.
    pub(crate) key_values: OnceLock<Arc<dyn KeyValue>>,
    /// Octets of values that may still be uploaded at a time.
    pub(crate) uploads: Semaphore,
    /// Buckets and objects, if this server reaches any.
    pub(crate) objects: OnceLock<Arc<dyn Objects>>,
    /// Places for those that are sent or received.
    pub(crate) objects_under_way: Arc<Places<AccountId>>,
    /// Who knows where Durable Objects are, if this server runs any.
    pub(crate) durable_objects: OnceLock<Arc<dyn DurableObjects>>,
    /// Who tries versions of Workers before they are written, if this server runs any.
    pub(crate) checks: OnceLock<Arc<dyn CheckWorkers>>,
    /// Queues, if this server reaches any.
    pub(crate) queues: OnceLock<Arc<dyn Queues>>,
    /// Who shows what Workers do, if this server runs any.
    pub(crate) tails: OnceLock<Arc<dyn Tails>>,
    /// Places for reading what is large.
    pub(crate) much: Arc<Semaphore>,
}

impl Api {
    /// Now.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Reads from one state of the replica, on a thread that may wait for the disk. What is read is one whole state;
    /// its sequence number comes with the answer.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Snapshot) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let replica = self.replica.clone();
        blocking(move || read(&replica.snapshot()?)).await
    }

    /// As [`Self::read`], of what may take hundreds of MiB of memory: [`limits::READS_OF_MUCH_MAX`] at a time.
    pub(crate) async fn read_much<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Snapshot) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let place = self.much.clone().acquire_owned().await.expect("it is never closed");
        // Also when the client leaves, until it has been read.
        self.read(move |snapshot| {
            let _place = place;
            read(snapshot)
        })
        .await
    }
}

/// Runs what may wait for the disk.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| {
        tracing::error!(%panic, "an endpoint panicked");
        Err(ApiError::new(Code::Internal, "a fault of ours; it has been logged"))
    })
}

/// The zone of this id.
pub(crate) fn zone(snapshot: &Snapshot, id: ZoneId) -> Result<Zone, ApiError> {
    snapshot.get::<Zone>(&id)?.ok_or_else(|| ApiError::no_object(&format!("/zones/{id}")))
}
