//! Custom domains, hosts at which a Worker answers everything; and where a Worker is reached in all, and when it runs by itself.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{WorkerCron, WorkerName};
use crate::{
    AccountId, DnsName, Entity, Key, Kind, RecordId, Timestamp, WorkerDomainId, WorkerRouteId, ZoneId,
};

/// A custom domain, as its account has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerDomain {
    /// Its id.
    pub id: WorkerDomainId,
    /// Whose it is.
    pub account: AccountId,
    /// The zone in which the host lies; of the same account.
    pub zone: ZoneId,
    /// The host.
    pub hostname: DnsName,
    /// The Worker.
    pub service: WorkerName,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Entity for WorkerDomain {
    const KIND: Kind = Kind::WorkerDomain;
    type Id = (AccountId, WorkerDomainId);

    fn key(&self) -> Key {
        Self::key_of(&(self.account, self.id))
    }

    fn key_of((account, id): &Self::Id) -> Key {
        Key::new(Self::KIND, &[account, id])
    }
}

/// A custom domain, as its zone has it: what makes its host unique, and what a request's host is looked up in. It is put
/// and deleted with its [`WorkerDomain`], and with the DNS record that leads its clients here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerHost {
    /// The zone in which the host lies.
    pub zone: ZoneId,
    /// The host: a name without `*`, and without `/`, which separates the parts of a key.
    pub hostname: DnsName,
    /// Whose the Worker is.
    pub account: AccountId,
    /// The Worker.
    pub service: WorkerName,
    /// The custom domain.
    pub domain: WorkerDomainId,
    /// The record of the host: proxied, and leading nowhere. It is changed by nobody else.
    pub record: RecordId,
}

impl Entity for WorkerHost {
    const KIND: Kind = Kind::WorkerHost;
    type Id = (ZoneId, DnsName);

    fn key(&self) -> Key {
        Key::new(Self::KIND, &[&self.zone, &self.hostname])
    }

    fn key_of((zone, hostname): &Self::Id) -> Key {
        Key::new(Self::KIND, &[zone, hostname])
    }
}

/// Where a Worker is reached: written with every route and custom domain of it, so that all of them are found; and when it runs
/// without being asked. Routes and domains of a
/// zone that was deleted may still be named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerTriggers {
    /// Whose the Worker is.
    pub account: AccountId,
    /// The Worker.
    pub worker: WorkerName,
    /// Its routes; at most [`limits::WORKER_ROUTES_MAX`](crate::limits::WORKER_ROUTES_MAX).
    pub routes: BTreeSet<(ZoneId, WorkerRouteId)>,
    /// Its custom domains.
    pub domains: BTreeSet<WorkerDomainId>,
    /// When it runs without being asked; at most [`limits::WORKER_CRONS_MAX`](crate::limits::WORKER_CRONS_MAX).
    #[serde(default)]
    pub crons: Vec<WorkerCron>,
}

impl Entity for WorkerTriggers {
    const KIND: Kind = Kind::WorkerTriggers;
    type Id = (AccountId, WorkerName);

    fn key(&self) -> Key {
        Key::new(Self::KIND, &[&self.account, &self.worker])
    }

    fn key_of((account, worker): &Self::Id) -> Key {
        Key::new(Self::KIND, &[account, worker])
    }
}
