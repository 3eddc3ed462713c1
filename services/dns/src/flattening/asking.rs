//! What the making of an answer asks about zones and about names outside, and what it waits for.

use std::{cell::RefCell, sync::Arc, time::Duration};

use proxima_ledger::{Look as LookOfZone, Pending, ReadError};
use proxima_model::AccountId;
use tokio::time::timeout;

use super::{
    Found, WAIT,
    target::{Look, Target},
};
use crate::{respond::Zones, server::Server, zone::ZoneTree};

/// What is known of the addresses of a name outside the zones here.
#[derive(Debug, Default)]
pub struct Outside(pub(crate) Seen);

/// What that is.
#[derive(Debug, Default)]
pub(crate) enum Seen {
    /// Nobody resolves names outside here.
    #[default]
    Off,
    /// These addresses, or none, for so many seconds.
    Fresh(Arc<Found>, u32),
    /// These were, and resolving fails.
    Stale(Arc<Found>),
    /// It is being resolved.
    Sought,
    /// It cannot be resolved.
    Failed,
}

/// How long an answer waits for a large zone to be compiled; most who ask have given up by then.
const WAIT_FOR_ZONE: Duration = Duration::from_secs(10);

/// The zones of a server, for one answer, which may find that it has to wait.
pub(crate) struct Asking<'a> {
    server: &'a Server,
    /// Whether it has waited for a name outside already: then it takes what there is.
    has_waited: bool,
    /// Whether it can wait for a zone that is compiled aside; otherwise it holds its thread up until that is done.
    can_wait: bool,
    sought: RefCell<Option<Sought>>,
    pending: RefCell<Option<Pending<ZoneTree>>>,
}

/// What an answer had better wait for.
pub(crate) enum Awaited {
    /// A name outside.
    Outside(Sought),
    /// A large zone.
    Zone(Pending<ZoneTree>),
}

impl Awaited {
    /// Until it is there, or that takes too long.
    pub(crate) async fn wait(&self) {
        match self {
            Self::Outside(sought) => sought.wait().await,
            Self::Zone(pending) => drop(timeout(WAIT_FOR_ZONE, pending.landed()).await),
        }
    }
}

/// What an answer waits for.
pub(crate) struct Sought {
    target: Arc<Target>,
    /// How many resolutions of it had ended.
    turn: u64,
}

impl<'a> Asking<'a> {
    pub(crate) fn new(server: &'a Server, has_waited: bool) -> Self {
        Self { server, has_waited, can_wait: false, sought: RefCell::default(), pending: RefCell::default() }
    }

    /// For a query whose thread has others to answer.
    pub(crate) fn of_query(server: &'a Server, has_waited: bool) -> Self {
        Self { can_wait: true, ..Self::new(server, has_waited) }
    }

    /// What it has to wait for, whichever that is.
    pub(crate) fn awaited(self) -> Option<Awaited> {
        let pending = self.pending.into_inner().map(Awaited::Zone);
        pending.or(self.sought.into_inner().map(Awaited::Outside))
    }

    /// What it has to wait for.
    pub(crate) fn sought(self) -> Option<Sought> {
        self.sought.into_inner()
    }
}

impl Zones for Asking<'_> {
    fn find(&self, name: &str) -> Result<Option<Arc<ZoneTree>>, ReadError> {
        if !self.can_wait {
            return self.server.find(name);
        }
        match self.server.look(name)? {
            LookOfZone::Found(found) => Ok(found),
            LookOfZone::Pending(pending) => {
                *self.pending.borrow_mut() = Some(pending);
                // Whoever asked waits and asks again, or says by this that there is no room to wait.
                Err(ReadError::NotReady)
            }
        }
    }

    fn beneath(&self, name: &str) -> Option<Vec<String>> {
        self.server.beneath(name)
    }

    fn outside(&self, account: AccountId, name: &[u8], rtype: u16) -> Outside {
        let (seen, sought) = look(self.server, account, (name, rtype), self.has_waited);
        *self.sought.borrow_mut() = sought;
        Outside(seen)
    }

    fn explain_outside(&self, name: &[u8]) -> Vec<String> {
        self.server.flattening.as_ref().map(|flattening| flattening.explain(name)).unwrap_or_default()
    }
}

/// Looks at a name outside for an answer of a server.
pub(crate) fn look(
    server: &Server,
    account: AccountId,
    (name, rtype): (&[u8], u16),
    has_waited: bool,
) -> (Seen, Option<Sought>) {
    let Some(flattening) = &server.flattening else { return (Seen::Off, None) };
    let metrics = &flattening.metrics;
    match flattening.look(account, name, rtype, has_waited) {
        Look::Fresh(found, seconds) => {
            let counter = if has_waited { &metrics.waited } else { &metrics.fresh };
            counter.inc();
            (Seen::Fresh(found, seconds), None)
        }
        Look::Stale(found) => {
            metrics.stale.inc();
            (Seen::Stale(found), None)
        }
        Look::Failed => {
            metrics.failed.inc();
            (Seen::Failed, None)
        }
        Look::Sought { target, turn, .. } => {
            if has_waited {
                metrics.failed.inc();
            }
            (Seen::Sought, Some(Sought { target, turn }))
        }
    }
}

impl Sought {
    /// Whose target it is.
    pub(crate) fn account(&self) -> AccountId {
        self.target.account
    }

    /// Whether it is known by now, or that it cannot be.
    pub(crate) fn has_ended(&self) -> bool {
        *self.target.ended.borrow() > self.turn
    }

    /// Until it is resolved, or that takes too long.
    pub(crate) async fn wait(&self) {
        let mut ended = self.target.ended.subscribe();
        let resolved = ended.wait_for(|ended| *ended > self.turn);
        timeout(WAIT, resolved).await.ok();
    }
}
