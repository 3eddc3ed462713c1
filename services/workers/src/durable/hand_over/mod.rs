//! Hand-over: a slot's objects go from one server to another, with all that they keep. Which server has a slot is the log's to say
//! (`proxima_model::DurableSlot`, its states and steps); here is what the two servers do when they see it.
//!
//! ```text
//!  A: the log says that A hands the slot over to B, as turn N          B
//!  │ from now on A answers for its objects: not now                    │
//!  │ ends the account's process: nobody has the objects' files open    │
//!  │ ── begin ───────────────────────────────────────────────────────▶ │ an empty folder, incoming/NAMESPACE.SLOT.N
//!  │ ── batches: octets of files, with digests; objects and alarms ──▶ │ checks and writes them, fsync
//!  │ ── end: so many batches ────────────────────────────────────────▶ │ looks whether all is there; marks it as whole, fsync
//!  │ appends to the log: B has the slot, if it still says the above    │
//!  │                                                                   │ the log says that B has the slot, since N:
//!  │                                                                   │ renames the files into place, notes objects and alarms,
//!  │                                                                   │ marks the slot as held since N; now its objects answer
//!  │ ── standing? ───────────────────────────────────────────────────▶ │ taken
//!  │ removes the objects' files, and marks the slot as left            │
//! ```
//!
//! Invariants:
//! * **One entry of the log is the moment of truth**, and A alone makes it, when all lies on B's disk. Before it B never runs an object
//!   of the slot; A runs none from the moment that it sees the hand-over, until that is cancelled. In between nobody does.
//! * **A server runs a slot's objects only if the log says that it has the slot and it has taken it by that very hand-over** (`marks`).
//!   So also a log that was put back to a former state brings no second copy to life.
//! * **A removes nothing before B has taken it.** What B lost until then, it is given again.
//! * Every step may be done again, and begins again after whichever crash: a batch is written to the same place, a file that was
//!   renamed is in place, and what is noted is noted once.
//! * **Nothing is handed over by itself**: by an operator's word alone.
//!
//! Who asks for an object meanwhile waits, and is answered by B ([`MOVES_WITHIN`]). Other objects of the account wait until what they
//! were asked has ended ([`gate`]), and for the new process.
//!
//! What is given up instead, since its server is lost for good, begins empty at the other one. Should the lost one come back, it sets
//! aside what it had, in `given-up`, and runs none of it.
//!
//! Limits: octets and objects of a batch ([`wire`]), objects that are looked at together ([`files::PAGE`]), accounts that are given at a
//! time ([`GIVEN_AT_A_TIME`]).

pub(super) mod files;
pub(super) mod gate;
mod give;
mod leave;
pub(super) mod marks;
mod take;
pub(super) mod wire;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use proxima_ledger::{Log, ReadError, Snapshot};
use proxima_model::{AccountId, DurableNamespace, DurableNamespaceId, DurableSlot, NodeName};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::{
    gate::Gates,
    marks::{Mark, Marks, is_held},
};
use super::{Durable, asked::Refusal};

/// How long a request waits for its object to be handed over: longer than a few thousand objects take, and shorter than clients wait.
pub(super) const MOVES_WITHIN: Duration = Duration::from_secs(30);
/// How often it looks meanwhile, if the replica shows nothing new: another server may have become ready.
const LOOKED_AGAIN: Duration = Duration::from_millis(200);
/// How long it is waited before what failed is tried again, or what another server has to do first is asked for.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Accounts whose objects are given away at a time: disks and connections are there for requests.
const GIVEN_AT_A_TIME: usize = 2;

/// A slot of a namespace.
pub(super) type SlotOf = (DurableNamespaceId, NodeName);

/// See the module.
pub(super) struct HandOver {
    log: Arc<dyn Log>,
    /// Told when the log says something new of namespaces, or this server has taken a slot.
    changed: watch::Sender<()>,
    pub(super) gates: Gates,
    pub(super) marks: Marks,
    /// Accounts whose objects are being given.
    giving: Mutex<HashSet<AccountId>>,
    /// Slots and the turns of their hand-overs, of whose objects no process has had any since.
    still: Mutex<HashMap<SlotOf, u32>>,
    /// Held by who writes what comes: a batch that comes again waits until the former attempt has ended.
    staging: tokio::sync::Mutex<()>,
}

/// What this server has to do of one account.
#[derive(Debug, Default, PartialEq, Eq)]
struct Due {
    /// Slots to hand over.
    give: Vec<SlotOf>,
    /// Slots that it has by now, and has not taken.
    take: Vec<SlotOf>,
    /// Slots that another server has by now, and whose objects lie here.
    leave: Vec<SlotOf>,
}

impl HandOver {
    pub(super) fn new(log: Arc<dyn Log>) -> Self {
        Self {
            log,
            changed: watch::Sender::new(()),
            gates: Gates::default(),
            marks: Marks::default(),
            giving: Mutex::default(),
            still: Mutex::default(),
            staging: tokio::sync::Mutex::default(),
        }
    }

    /// The log says something new of namespaces.
    pub(super) fn tell(&self) {
        self.changed.send_replace(());
    }

    /// Waits until something may be different.
    pub(super) async fn pause(&self) {
        let mut changed = self.changed.subscribe();
        tokio::time::timeout(LOOKED_AGAIN, changed.changed()).await.ok();
    }
}

impl Durable {
    /// Whether this server runs the objects of a slot now, as the log has it and as they lie here.
    pub(super) async fn check_home(
        &self,
        namespace: &DurableNamespace,
        slot: &NodeName,
    ) -> Result<(), Refusal> {
        if *namespace.server(slot) != self.me {
            return Err(Refusal::moving("who is asked is not its home"));
        }
        let mark = self.mark(namespace, slot).await?;
        let Some(handed) = namespace.handed.get(slot) else {
            let Some(mark) = mark else { return Ok(()) };
            tracing::error!(namespace = %namespace.id, %slot, ?mark, "the log says that a slot of Durable Objects was never handed over, and it was");
            return Err(Refusal::broken("its home has handed it over, and the log does not know of it"));
        };
        if let Some(to) = &handed.to {
            return Err(Refusal::moving(&format!("it is being handed over to {to}")));
        }
        if is_held(mark, handed) {
            return Ok(());
        }
        Err(Refusal::moving("its home is taking it over"))
    }

    /// Whether what a slot's objects keep is here, of one that the log says this server has.
    pub(super) async fn check_taken(
        &self,
        namespace: &DurableNamespace,
        slot: &NodeName,
    ) -> Result<(), Refusal> {
        let mark = self.mark(namespace, slot).await?;
        match is_held(mark, &namespace.slot(slot)) {
            true => Ok(()),
            false => Err(Refusal::moving("its home is taking it over")),
        }
    }

    async fn mark(&self, namespace: &DurableNamespace, slot: &NodeName) -> Result<Option<Mark>, Refusal> {
        let folder = self.engine()?.hosts().path(namespace.account);
        let marks = self.hand_over.marks.of(folder, namespace.account).await.map_err(|error| {
            tracing::error!(%error, account = %namespace.account, "which slots of Durable Objects are here cannot be read");
            Refusal::broken("which objects are here cannot be read")
        })?;
        Ok(marks.get(&(namespace.id, slot.clone())).copied())
    }

    /// Does what the log says of slots, until `stopped`.
    pub(crate) async fn hand_over_until(self: Arc<Self>, stopped: CancellationToken) {
        let mut changed = self.hand_over.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let again = self.do_what_is_due(&stopped).await;
            let later = async {
                match again {
                    true => tokio::time::sleep(AGAIN_AFTER).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = changed.changed() => {}
                () = later => {}
                () = stopped.cancelled() => return,
            }
        }
    }

    /// Whether it is to be looked again though nothing changes.
    async fn do_what_is_due(self: &Arc<Self>, stopped: &CancellationToken) -> bool {
        let due = match self.due().await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "which Durable Objects are to be handed over cannot be read now");
                return true;
            }
        };
        let mut again = false;
        for (account, due) in due {
            for (namespace, slot) in &due.take {
                let taken = self.take_in(account, *namespace, slot).await;
                again |= self.ended(account, slot, "taken over", taken);
            }
            for (namespace, slot) in &due.leave {
                let left = self.leave(account, *namespace, slot).await;
                again |= self.ended(account, slot, "left", left);
            }
            again |= !due.give.is_empty();
            self.begin_to_give(account, due.give, stopped);
        }
        again
    }

    /// Tells how a step went, unless it is another server's turn; whether it is to be done again.
    fn ended(&self, account: AccountId, slot: &NodeName, what: &str, ended: Result<(), Refusal>) -> bool {
        match ended {
            Ok(()) => return false,
            Err(refusal) if refusal.is_moving() => {
                tracing::debug!(%account, %slot, %refusal, "Durable Objects cannot be {what} yet");
            }
            Err(refusal) => {
                self.shared.metrics.hand_over_failed();
                tracing::warn!(%account, %slot, %refusal, "Durable Objects cannot be {what} now");
            }
        }
        true
    }

    /// Begins to give an account's slots away, unless that is being done or enough others are.
    fn begin_to_give(self: &Arc<Self>, account: AccountId, slots: Vec<SlotOf>, stopped: &CancellationToken) {
        let mut giving = self.hand_over.giving.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.is_empty() || giving.len() >= GIVEN_AT_A_TIME || !giving.insert(account) {
            return;
        }
        drop(giving);
        let (durable, stopped) = (Arc::clone(self), stopped.clone());
        tokio::spawn(async move {
            let given = async {
                for (namespace, slot) in &slots {
                    let given = durable.give(account, *namespace, slot, &slots).await;
                    durable.ended(account, slot, "handed over", given);
                }
            };
            tokio::select! {
                () = given => {}
                () = stopped.cancelled() => {}
            }
            durable.hand_over.giving.lock().unwrap_or_else(PoisonError::into_inner).remove(&account);
        });
    }

    /// What is to be done, by accounts. Removes what came for hand-overs that are no more.
    async fn due(self: &Arc<Self>) -> Result<BTreeMap<AccountId, Due>, Refusal> {
        let unreadable = |error: &dyn std::fmt::Display| {
            tracing::warn!(%error, "namespaces of Durable Objects cannot be read");
            Refusal::broken("the replica cannot be read")
        };
        let replica = self.replica.clone();
        let handed = super::blocking(move || {
            replica.snapshot().and_then(|snapshot| handed(&snapshot)).map_err(std::io::Error::other)
        });
        let handed = handed.await.map_err(|error| unreadable(&error))?;
        let mut due = BTreeMap::<AccountId, Due>::new();
        let mut expected = HashSet::new();
        for namespace in &handed {
            for (name, slot) in &namespace.handed {
                let mark = self.mark(namespace, name).await?;
                let due = due.entry(namespace.account).or_default();
                due.add(&self.me, (namespace.id, name.clone()), slot, mark);
                if slot.to.as_ref() == Some(&self.me) {
                    expected.insert(take::folder_name(namespace.id, name, slot.turn));
                }
                if due.take.contains(&(namespace.id, name.clone())) {
                    expected.insert(take::folder_name(namespace.id, name, slot.since));
                }
            }
        }
        self.forget_unexpected(expected).await?;
        due.retain(|_, due| *due != Due::default());
        Ok(due)
    }
}

impl Due {
    fn add(&mut self, me: &NodeName, which: SlotOf, slot: &DurableSlot, mark: Option<Mark>) {
        let is_first = which.1 == *me;
        if slot.server != *me {
            if mark.map_or(is_first, Mark::lies_here) {
                self.leave.push(which);
            }
        } else if !is_held(mark, slot) {
            self.take.push(which);
        } else if slot.to.is_some() {
            self.give.push(which);
        }
    }
}

/// The namespaces of which slots were handed over, or are being.
fn handed(snapshot: &Snapshot) -> Result<Vec<DurableNamespace>, ReadError> {
    let all = snapshot.scan::<DurableNamespace>(&[]);
    all.filter(|namespace| namespace.as_ref().map_or(true, |namespace| !namespace.handed.is_empty()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NodeName {
        NodeName::parse(text).expect("a name")
    }

    /// What `me` does of a slot that is called after `first`.
    fn due(me: &str, first: &str, slot: &DurableSlot, mark: Option<Mark>) -> &'static str {
        let mut due = Due::default();
        due.add(&name(me), (DurableNamespaceId::from_bytes([1; 16]), name(first)), slot, mark);
        match (due.give.len(), due.take.len(), due.leave.len()) {
            (0, 0, 0) => "nothing",
            (1, 0, 0) => "give",
            (0, 1, 0) => "take",
            (0, 0, 1) => "leave",
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_server_does_its_part_of_a_hand_over_and_no_more() {
        let slot = |server: &str, since, turn, to: Option<&str>| DurableSlot {
            server: name(server),
            since,
            from: None,
            turn,
            began_empty: false,
            to: to.map(name),
        };
        let handing = slot("ams1", 0, 1, Some("fra1"));
        assert_eq!(due("ams1", "ams1", &handing, None), "give");
        assert_eq!(due("fra1", "ams1", &handing, None), "nothing");
        let handed = slot("fra1", 1, 1, None);
        assert_eq!(due("fra1", "ams1", &handed, None), "take");
        assert_eq!(due("fra1", "ams1", &handed, Some(Mark::held(1))), "nothing");
        assert_eq!(due("ams1", "ams1", &handed, None), "leave");
        assert_eq!(due("ams1", "ams1", &handed, Some(Mark::leaving(1))), "leave");
        assert_eq!(due("ams1", "ams1", &handed, Some(Mark::left(1))), "nothing");
        assert_eq!(due("sin1", "ams1", &handed, None), "nothing");
        let on = slot("fra1", 1, 2, Some("sin1"));
        assert_eq!(due("fra1", "ams1", &on, Some(Mark::held(1))), "give");
        assert_eq!(due("fra1", "ams1", &on, None), "take", "it gives nothing that it has not taken");
        let back = slot("ams1", 3, 3, None);
        assert_eq!(due("ams1", "ams1", &back, Some(Mark::left(1))), "take");
        assert_eq!(due("fra1", "ams1", &back, Some(Mark::held(1))), "leave");
        let cancelled = slot("ams1", 0, 1, None);
        assert_eq!(due("ams1", "ams1", &cancelled, None), "nothing");
    }
}
