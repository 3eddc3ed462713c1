//! The port: where new namespaces lie, and which objects there are.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{BoxFuture, try_join_all};
use proxima_model::{DurableNamespace, DurableNamespaceId, DurableObjectId, NodeName};
use proxima_pipeline::{Body, DURABLE_LISTED_MAX, DurableAbout, DurableError, DurableObjects};
use serde::Deserialize;
use serde_json::json;

use super::{
    ANSWER_OCTETS_MAX, Durable,
    answers::Listing,
    asked::{MOVING, Refusal},
    blocking,
    elsewhere::LIST,
    place,
};

/// The folder of all objects in an account's: the supervisors' key in the engine's settings.
pub(super) const OBJECTS: &str = "objects";
/// What follows a supervisor's id in the name of its first facet's file: of the object itself.
const FACET: &str = ".1.sqlite";

/// An object as the registry has it.
#[derive(Deserialize)]
struct Listed {
    id: DurableObjectId,
    file: String,
}

impl DurableObjects for Durable {
    fn homes(&self, namespace: DurableNamespaceId) -> Vec<NodeName> {
        match self.elsewhere.get() {
            Some(elsewhere) => place::homes(elsewhere.servers().all(), namespace),
            None => vec![self.me.clone()],
        }
    }

    fn list<'a>(
        &'a self,
        namespace: &'a DurableNamespace,
        after: Option<DurableObjectId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DurableAbout>, DurableError>> {
        let limit = limit.min(DURABLE_LISTED_MAX);
        let listing = Listing { account: namespace.account, namespace: namespace.id, after, limit };
        Box::pin(async move {
            // Each home has the first of its own: the first of all are among them.
            let homes: BTreeSet<_> = namespace.homes.iter().map(|slot| namespace.server(slot)).collect();
            let asked = homes.into_iter().map(|home| self.list_from(home, &listing));
            let found = try_join_all(asked).await?.into_iter().flatten();
            let found: BTreeMap<_, _> = found.map(|about| (about.id, about)).collect();
            Ok(found.into_values().take(limit).collect())
        })
    }
}

impl Durable {
    async fn list_from(&self, home: &NodeName, listing: &Listing) -> Result<Vec<DurableAbout>, DurableError> {
        self.list_at(home, listing).await.map_err(|refusal| match refusal.outcome {
            "away" | "lost" | MOVING => DurableError::Away(home.clone()),
            _ => DurableError::Broken(refusal.message),
        })
    }

    async fn list_at(&self, home: &NodeName, listing: &Listing) -> Result<Vec<DurableAbout>, Refusal> {
        if *home == self.me {
            return self.list_here(listing).await;
        }
        self.elsewhere(home)?.told(home, LIST, listing, Body::empty(), ANSWER_OCTETS_MAX).await
    }

    /// The objects of a namespace whose home is here. Asks nothing where none was ever made.
    pub(super) async fn list_here(&self, listing: &Listing) -> Result<Vec<DurableAbout>, Refusal> {
        let engine = self.engine()?;
        let namespace = self.namespace(listing.account, listing.namespace)?;
        for slot in namespace.homes.iter().filter(|slot| *namespace.server(slot) == self.me) {
            self.check_taken(&namespace, slot).await?;
        }
        if !engine.hosts().path(listing.account).exists() {
            return Ok(Vec::new());
        }
        let limit = listing.limit.min(DURABLE_LISTED_MAX);
        let (mut found, mut after) = (Vec::new(), listing.after);
        // What was handed over, or is not yet removed here, is another server's to list.
        let is_here = |listed: &Listed| {
            place::slot(&namespace, listed.id).is_some_and(|slot| *namespace.server(slot) == self.me)
        };
        while found.len() < limit {
            let said = json!({ "namespace": listing.namespace, "after": after, "limit": limit });
            let listed: Vec<Listed> = self.registry(listing.account, "list", said).await?;
            after = listed.last().map(|last| last.id);
            let is_last = listed.len() < limit;
            found.extend(listed.into_iter().filter(&is_here));
            if is_last {
                break;
            }
        }
        found.truncate(limit);
        let folder = engine.hosts().path(listing.account).join(OBJECTS);
        let looked = blocking(move || {
            let about = |Listed { id, file }| {
                let written = std::fs::metadata(folder.join(format!("{file}{FACET}")));
                DurableAbout { id, has_stored_data: written.is_ok_and(|metadata| metadata.len() > 0) }
            };
            Ok(found.into_iter().map(about).collect())
        });
        looked.await.map_err(|_| Refusal::broken("what its objects keep cannot be looked at"))
    }
}
