//! Durable Objects: where they are, and what is known of them. The port between who runs them (`services/workers`) and who shows and
//! makes their namespaces (`services/control`).
//!
//! ```text
//!   control ── DurableObjects::homes(id) ──▶ workers: the servers that a new namespace's objects are spread over
//!      └────── DurableObjects::list(..) ───▶ workers ── all homes of the namespace ──▶ the objects that were made there
//! ```

use futures_util::future::BoxFuture;
use proxima_model::{DurableNamespace, DurableNamespaceId, DurableObjectId, NodeName};
use serde::{Deserialize, Serialize};

/// Objects of one answer; what v4 allows.
pub const DURABLE_LISTED_MAX: usize = 10_000;

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurableAbout {
    /// Which one.
    pub id: DurableObjectId,
    /// Whether it has written anything.
    pub has_stored_data: bool,
}

/// Why objects cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurableError {
    /// A home of them does not answer.
    #[error("{0}, where some of these objects are, does not answer; ask again when it is back")]
    Away(NodeName),
    /// This server, or a home, cannot run them.
    #[error("the objects cannot be asked: {0}")]
    Broken(String),
}

/// Knows where objects are.
pub trait DurableObjects: Send + Sync + 'static {
    /// The servers that the objects of a new namespace are to be spread over.
    fn homes(&self, namespace: DurableNamespaceId) -> Vec<NodeName>;

    /// The objects of a namespace by their ids, those after this one, as many as are asked for at most.
    fn list<'a>(
        &'a self,
        namespace: &'a DurableNamespace,
        after: Option<DurableObjectId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DurableAbout>, DurableError>>;
}
