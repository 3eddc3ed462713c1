//! The port: where new namespaces lie, and which objects there are.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{BoxFuture, try_join_all};
use http::HeaderMap;
use proxima_model::{DurableNamespace, DurableNamespaceId, DurableObjectId, NodeName};
use proxima_pipeline::{Body, DURABLE_LISTED_MAX, DurableAbout, DurableError, DurableObjects};
use serde::Deserialize;
use serde_json::json;

use super::{
    ANSWER_OCTETS_MAX, ANSWERS_WITHIN, Durable,
    answers::Listing,
    asked::{MOVING, OUTCOME, Refusal},
    elsewhere::{FOR, LIST},
    place,
};
use crate::facts::encoded;

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
        let away = || Refusal::away(format!("{home} is not within reach of this server"));
        let elsewhere = self.elsewhere.get().ok_or_else(away)?;
        let field = encoded(listing).ok_or_else(|| Refusal::broken("what is asked for cannot be written"))?;
        let headers = HeaderMap::from_iter([(FOR, field)]);
        let answered = elsewhere.send(home, LIST, headers, Body::empty(), ANSWERS_WITHIN).await?;
        if answered.headers().contains_key(OUTCOME) {
            return Err(Refusal::away(format!("{home} does not say which objects it has")));
        }
        let octets = answered.into_body().collect(ANSWER_OCTETS_MAX).await.map_err(|_| Refusal::lost())?;
        serde_json::from_slice(&octets).map_err(|_| Refusal::broken("a list cannot be read"))
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
        let looked = tokio::task::spawn_blocking(move || {
            let about = |Listed { id, file }| {
                let written = std::fs::metadata(folder.join(format!("{file}{FACET}")));
                DurableAbout { id, has_stored_data: written.is_ok_and(|metadata| metadata.len() > 0) }
            };
            found.into_iter().map(about).collect()
        });
        looked.await.map_err(|_| Refusal::broken("what its objects keep cannot be looked at"))
    }
}
