//! Whether this server can serve right now.

use std::sync::{Arc, OnceLock};

use proxima_ledger::Replica;
use serde::Serialize;

use crate::Service;

/// What a service says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "why")]
pub enum Health {
    /// Not yet: it binds, or waits for its first state.
    Starting,
    /// It serves.
    Ready,
    /// It serves, but an operator should look.
    Degraded(String),
    /// It cannot serve: no users may be sent here.
    Failed(String),
}

impl Health {
    /// Whether users may be sent here.
    pub const fn can_serve(&self) -> bool {
        matches!(self, Self::Ready | Self::Degraded(_))
    }
}

/// A service and what it says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceHealth {
    /// Its name.
    pub service: &'static str,
    /// What it says.
    #[serde(flatten)]
    pub health: Health,
}

/// All services' health, asked when somebody wants to know.
#[derive(Clone)]
pub struct HealthBoard {
    services: Arc<OnceLock<Vec<Arc<dyn Service>>>>,
    replica: Replica,
}

impl HealthBoard {
    pub(crate) fn new(replica: Replica) -> Self {
        Self { services: Arc::default(), replica }
    }

    /// The board of these services; set once, by the node.
    pub(crate) fn set(&self, services: Vec<Arc<dyn Service>>) {
        self.services.set(services).ok();
    }

    /// What the node still waits for before its services begin; `None` once they have.
    pub(crate) fn starting(&self) -> Option<&'static str> {
        match self.services.get() {
            Some(_) => None,
            None if self.replica.snapshot().is_err() => Some("waits for its first snapshot"),
            None => Some("puts its first state in force"),
        }
    }

    /// What each service says now.
    pub fn all(&self) -> Vec<ServiceHealth> {
        let services = self.services.get().map(Vec::as_slice).unwrap_or_default();
        let services = services
            .iter()
            .map(|service| ServiceHealth { service: service.name(), health: service.health() });
        std::iter::once(self.ledger()).chain(services).collect()
    }

    /// Whoever serves reads the replica: where it is damaged nobody serves, whoever met the damage first. What it has no room for
    /// is no reason to serve nobody.
    fn ledger(&self) -> ServiceHealth {
        let health = match self.replica.fault() {
            Some(why) => Health::Failed(format!("the replica is damaged: {why}")),
            None if self.services.get().is_none() && self.replica.snapshot().is_err() => Health::Starting,
            None => self
                .replica
                .lacks_room()
                .map_or(Health::Ready, |why| Health::Degraded(format!("no room for further changes: {why}"))),
        };
        ServiceHealth { service: "ledger", health }
    }

    /// The first service other than `except` that cannot serve; `None` when all can. Before the services are made,
    /// nothing can.
    pub fn cannot_serve(&self, except: &str) -> Option<ServiceHealth> {
        let Some(services) = self.services.get() else {
            return Some(ServiceHealth { service: "node", health: Health::Starting });
        };
        let services = services
            .iter()
            .filter(|service| service.name() != except)
            .map(|service| ServiceHealth { service: service.name(), health: service.health() });
        std::iter::once(self.ledger()).chain(services).find(|entry| !entry.health.can_serve())
    }
}
