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
mod forget;
pub(super) mod gate;
mod give;
mod leave;
pub(super) mod marks;
mod staging;
mod take;
pub(super) mod wire;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use proxima_ledger::{Log, ReadError, Snapshot};
use proxima_model::{AccountId, DurableNamespace, DurableNamespaceId, DurableSlot, NodeName};
use tokio::{
    sync::{Semaphore, watch},
    task::{AbortHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use self::{
    gate::Gates,
    marks::{Mark, Marks, OfAccount, is_held, lies_here},
    staging::Staging,
};
use super::{Durable, asked::Refusal};
use crate::engine::Pace;

/// How long a request waits for its object to be handed over: longer than a few thousand objects take, and shorter than clients wait.
pub(super) const MOVES_WITHIN: Duration = Duration::from_secs(30);
/// How often it looks meanwhile, if the replica shows nothing new: another server may have become ready.
pub(super) const LOOKED_AGAIN: Duration = Duration::from_millis(200);
/// How long it is waited before what failed is tried again, or what another server has to do first is asked for.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Accounts whose objects are given away at a time, and of which some are taken: disks and connections are there for requests.
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
    /// Slots and the turns of their hand-overs, of whose objects no process has had any since.
    still: Mutex<HashMap<SlotOf, u32>>,
    staging: Staging,
    /// Of what each request and each look may find again.
    told: Mutex<Pace>,
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

/// Why some of it is to be done again: another server's turn comes first, which the log tells; or it failed, which nothing tells of.
#[derive(Default)]
struct Again {
    waits: bool,
    failed: bool,
}

/// What is done beside the other: what is to be taken is down until then, and waits for no other server.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Take,
    GiveAndLeave,
}

impl HandOver {
    pub(super) fn new(log: Arc<dyn Log>) -> Self {
        Self {
            log,
            changed: watch::Sender::new(()),
            gates: Gates::default(),
            marks: Marks::default(),
            still: Mutex::default(),
            staging: Staging::default(),
            told: Mutex::default(),
        }
    }

    /// The log says something new of namespaces.
    pub(super) fn tell(&self) {
        self.changed.send_replace(());
    }

    /// Waits until something may be different, at most so long.
    pub(super) async fn pause(&self, at_most: Duration) {
        let mut changed = self.changed.subscribe();
        tokio::time::timeout(at_most, changed.changed()).await.ok();
    }

    /// Whether it may be logged what is found again and again.
    fn may_tell(&self) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).may_tell()
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
            if self.hand_over.may_tell() {
                tracing::error!(namespace = %namespace.id, %slot, ?mark, "the log says that a slot of Durable Objects was never handed over, and it was");
            }
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
        let marks = self.marks(namespace.account).await?;
        Ok(marks.get(&(namespace.id, slot.clone())).copied())
    }

    async fn marks(&self, account: AccountId) -> Result<Arc<OfAccount>, Refusal> {
        let folder = self.engine()?.hosts().path(account);
        self.hand_over.marks.of(folder, account).await.map_err(|error| {
            if self.hand_over.may_tell() {
                tracing::error!(%error, %account, "which slots of Durable Objects are here cannot be read");
            }
            Refusal::broken("which objects are here cannot be read")
        })
    }

    /// Does what the log says of slots, until `stopped`.
    pub(crate) async fn hand_over_until(self: Arc<Self>, stopped: CancellationToken) {
        tokio::select! {
            never = async { tokio::join!(self.do_what_is_due(), self.forget_what_is_not_due()).0 } => never,
            () = stopped.cancelled() => {}
        }
    }

    /// Does what is due, each part some accounts at a time, in the order in which it became due: what failed comes again after all that
    /// waits.
    async fn do_what_is_due(self: &Arc<Self>) {
        let mut changed = self.hand_over.changed.subscribe();
        let parts =
            [Part::Take, Part::GiveAndLeave].map(|part| (part, Arc::new(Semaphore::new(GIVEN_AT_A_TIME))));
        let (mut under_way, mut begun) = (JoinSet::new(), HashMap::<(AccountId, Part), AbortHandle>::new());
        loop {
            changed.mark_unchanged();
            begun.retain(|_, task| !task.is_finished());
            let (due, is_all) = self.due().await;
            for (account, due) in due {
                let due = Arc::new(due);
                for (part, places) in &parts {
                    if due.has(*part) && !begun.contains_key(&(account, *part)) {
                        let doing =
                            Arc::clone(self).do_part(account, Arc::clone(&due), *part, Arc::clone(places));
                        begun.insert((account, *part), under_way.spawn(doing));
                    }
                }
            }
            tokio::select! {
                _ = changed.changed() => {}
                Some(_) = under_way.join_next() => while under_way.try_join_next().is_some() {},
                () = tokio::time::sleep(AGAIN_AFTER), if !is_all => {}
            }
        }
    }

    async fn do_part(self: Arc<Self>, account: AccountId, due: Arc<Due>, part: Part, places: Arc<Semaphore>) {
        let place = places.acquire().await;
        let mut again = Again::default();
        match part {
            Part::Take => {
                for (namespace, slot) in &due.take {
                    let taken = self.take_in(account, *namespace, slot).await;
                    self.ended(account, slot, "taken over", taken, &mut again);
                }
            }
            Part::GiveAndLeave => {
                for (namespace, slot) in &due.give {
                    let given = self.give(account, *namespace, slot, &due.give).await;
                    self.ended(account, slot, "handed over", given, &mut again);
                }
                for (namespace, slot) in &due.leave {
                    let left = self.leave(account, *namespace, slot).await;
                    self.ended(account, slot, "left", left, &mut again);
                }
            }
        }
        drop(place);
        match again {
            Again { failed: true, .. } => tokio::time::sleep(AGAIN_AFTER).await,
            Again { waits: true, .. } => self.hand_over.pause(AGAIN_AFTER).await,
            Again { .. } => {}
        }
    }

    async fn forget_what_is_not_due(&self) {
        let mut changed = self.hand_over.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let is_all = self.forget_unexpected().await;
            tokio::select! {
                _ = changed.changed() => {}
                () = tokio::time::sleep(AGAIN_AFTER), if !is_all => {}
            }
        }
    }

    /// Tells how a step went, unless it is another server's turn.
    fn ended(
        &self,
        account: AccountId,
        slot: &NodeName,
        what: &str,
        ended: Result<(), Refusal>,
        again: &mut Again,
    ) {
        match ended {
            Ok(()) => {}
            Err(refusal) if refusal.is_moving() => {
                again.waits = true;
                tracing::debug!(%account, %slot, %refusal, "Durable Objects cannot be {what} yet");
            }
            Err(refusal) => {
                again.failed = true;
                self.shared.metrics.hand_over_failed();
                tracing::warn!(%account, %slot, %refusal, "Durable Objects cannot be {what} now");
            }
        }
    }

    /// What is to be done, by accounts; and whether that is all: what cannot be read of one account keeps no other one from it.
    async fn due(&self) -> (BTreeMap<AccountId, Due>, bool) {
        let (mut due, mut is_all) = (BTreeMap::<AccountId, Due>::new(), true);
        let replica = self.replica.clone();
        let handed = super::blocking(move || {
            replica.snapshot().and_then(|snapshot| handed(&snapshot)).map_err(std::io::Error::other)
        });
        let handed = match handed.await {
            Ok(handed) => handed,
            Err(error) => {
                tracing::warn!(%error, "which Durable Objects are to be handed over cannot be read now");
                return (due, false);
            }
        };
        for namespace in &handed {
            let Ok(marks) = self.marks(namespace.account).await else {
                is_all = false;
                continue;
            };
            let due = due.entry(namespace.account).or_default();
            for (name, slot) in &namespace.handed {
                let which = (namespace.id, name.clone());
                let mark = marks.get(&which).copied();
                due.add(&self.me, which, slot, mark);
            }
        }
        due.retain(|_, due| *due != Due::default());
        (due, is_all)
    }
}

impl Due {
    fn has(&self, part: Part) -> bool {
        match part {
            Part::Take => !self.take.is_empty(),
            Part::GiveAndLeave => !(self.give.is_empty() && self.leave.is_empty()),
        }
    }

    fn add(&mut self, me: &NodeName, which: SlotOf, slot: &DurableSlot, mark: Option<Mark>) {
        if slot.server != *me {
            if lies_here(mark, &which.1, me) {
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
        assert_eq!(due("fra1", "ams1", &handed, Some(Mark::taking(1))), "take");
        assert_eq!(due("fra1", "ams1", &handed, Some(Mark::held(1))), "nothing");
        assert_eq!(due("ams1", "ams1", &handed, None), "leave");
        assert_eq!(due("ams1", "ams1", &handed, Some(Mark::leaving(1))), "leave");
        assert_eq!(due("ams1", "ams1", &handed, Some(Mark::left(1))), "nothing");
        assert_eq!(due("sin1", "ams1", &handed, None), "nothing");
        // It was given up while it took it: a part of it lies there.
        let given_up = slot("sin1", 2, 2, None);
        assert_eq!(due("fra1", "ams1", &given_up, Some(Mark::taking(1))), "leave");
        assert_eq!(due("fra1", "ams1", &given_up, None), "nothing");
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
