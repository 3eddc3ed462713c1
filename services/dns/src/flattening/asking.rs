//! What the making of an answer asks about zones and about names outside, and what it waits for.

use std::{cell::RefCell, sync::Arc};

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

/// The zones of a server, for one answer, which may find that it has to wait.
pub(crate) struct Asking<'a> {
    server: &'a Server,
    /// Whether it has waited for a name outside already: then it takes what there is.
    has_waited: bool,
    patience: Patience,
    /// A zone that it has waited for, which may have been pushed out since.
    landed: Option<Landed>,
    sought: RefCell<Option<Sought>>,
    pending: RefCell<Option<Pending<ZoneTree>>>,
}

/// What is done about a large zone that is not compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It is waited for here: the thread may be held up.
    HoldsUp,
    /// The answer is made once more when it is there.
    ComesAgain,
    /// Nothing: the answer says so.
    Ended,
}

/// A zone that was waited for, and its name.
pub(crate) type Landed = (Box<str>, Arc<ZoneTree>);

/// What an answer had better wait for.
pub(crate) enum Awaited {
    /// A name outside.
    Outside(Sought),
    /// A large zone.
    Zone(Pending<ZoneTree>),
}

/// What an answer waits for.
pub(crate) struct Sought {
    target: Arc<Target>,
    /// How many resolutions of it had ended.
    turn: u64,
}

impl<'a> Asking<'a> {
    /// For a thread that may be held up.
    pub(crate) fn new(server: &'a Server, has_waited: bool) -> Self {
        Self::of_query(server, (has_waited, Patience::HoldsUp), None)
    }

    /// For a query.
    pub(crate) fn of_query(
        server: &'a Server,
        (has_waited, patience): (bool, Patience),
        landed: Option<Landed>,
    ) -> Self {
        let (sought, pending) = (RefCell::default(), RefCell::default());
        Self { server, has_waited, patience, landed, sought, pending }
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
        let missing = match self.patience {
            Patience::HoldsUp => return self.server.find(name),
            Patience::ComesAgain => match self.server.look(name)? {
                LookOfZone::Found(found) => return Ok(found),
                LookOfZone::Pending(pending) => {
                    let missing = pending.zone_name().to_owned();
                    *self.pending.borrow_mut() = Some(pending);
                    missing
                }
            },
            Patience::Ended => match self.server.find_compiled(name) {
                Err(ReadError::NotCompiled { zone }) => zone,
                found => return found,
            },
        };
        match &self.landed {
            Some((name, landed)) if **name == *missing => {
                self.pending.take();
                Ok(Some(landed.clone()))
            }
            _ => Err(ReadError::NotCompiled { zone: missing }),
        }
    }

    fn beneath(&self, name: &str) -> Option<Vec<String>> {
        self.server.beneath(name)
    }

    fn is_active(&self, zone: &str) -> Result<Option<bool>, ReadError> {
        self.server.is_active(zone)
    }

    fn awaits_zone(&self) -> bool {
        self.pending.borrow().is_some()
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
