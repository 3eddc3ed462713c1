//! The side of a hand-over that has the objects: stops them, sends what they keep, and writes to the log that the other one has them.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::PoisonError,
    time::{Duration, Instant},
};

use bytes::Bytes;

use proxima_ledger::{Append, AppendError, IdempotencyKey, Precondition, Seq};
use proxima_model::{
    AccountId, DurableNamespace, DurableNamespaceId, DurableObjectId, DurableUsage, Entity as _, NodeName,
};
use proxima_pipeline::Body;
use serde_json::json;

use super::{
    AGAIN_AFTER, SlotOf,
    files::{self, OfObject, PAGE, Registered},
    wire::{Asking, BODY_OCTETS_MAX, Batch, HAND_OVER, Object, PIECE_OCTETS_MAX, Standing, Step},
};
use crate::durable::{Durable, asked::Refusal, blocking, place, port::OBJECTS};

/// Octets of what the registry says of a page of objects: with names of their own of a KiB, six of JSON, each.
const PAGE_OCTETS_MAX: usize = 8 << 20;
/// Octets of an answer to a step.
const STANDING_OCTETS_MAX: usize = 1_024;
/// For how long a step is asked for again that did not come: as long as a server takes to begin anew. After that the slot is sent from
/// its beginning, so that what cannot be sent is no reason that other accounts wait.
const SENT_AGAIN_FOR: Duration = Duration::from_secs(30);
/// How long it is waited until this server's own replica shows what it wrote to the log.
const SEEN_WITHIN: Duration = Duration::from_secs(2);

/// A page of a slot's objects.
pub(super) struct Page {
    pub(super) objects: Vec<Registered>,
    pub(super) files: HashMap<String, Vec<OfObject>>,
    /// Where the next one begins.
    pub(super) next: Option<DurableObjectId>,
}

/// What is on its way to the other server.
struct Sending<'a> {
    durable: &'a Durable,
    namespace: &'a DurableNamespace,
    to: &'a NodeName,
    asking: Asking,
    folder: PathBuf,
    batch: Batch,
    batches: u32,
    objects: usize,
    octets: u64,
}

impl Durable {
    /// Hands a slot over, one of those of its account that are to be.
    pub(super) async fn give(
        &self,
        account: AccountId,
        id: DurableNamespaceId,
        name: &NodeName,
        all: &[SlotOf],
    ) -> Result<(), Refusal> {
        let Ok(namespace) = self.namespace(account, id) else { return Ok(()) };
        let slot = namespace.slot(name);
        let Some(to) = slot.to.filter(|_| slot.server == self.me) else { return Ok(()) };
        let mut turns = Vec::new();
        for (id, name) in all {
            if let Ok(namespace) = self.namespace(account, *id)
                && let slot = namespace.slot(name)
                && slot.to.is_some()
            {
                turns.push(((*id, name.clone()), slot.turn));
            }
        }
        self.make_still(account, turns).await?;
        let (objects, octets) = self.send_all(&namespace, name, &to, slot.turn).await?;
        self.write_that_it_is_given(account, id, name, slot.turn).await?;
        self.shared.metrics.handed_over(octets);
        tracing::info!(%account, namespace = %id, slot = %name, %to, objects, octets, "Durable Objects are handed over");
        Ok(())
    }

    /// Has nothing run the objects of these slots, which the log says that this server does not run; until then others of the account
    /// are not asked.
    pub(super) async fn make_still(
        &self,
        account: AccountId,
        turns: Vec<(SlotOf, u32)>,
    ) -> Result<(), Refusal> {
        let still = &self.hand_over.still;
        let is_still = |(slot, turn): &(SlotOf, u32)| {
            still.lock().unwrap_or_else(PoisonError::into_inner).get(slot) == Some(turn)
        };
        if turns.iter().all(is_still) {
            return Ok(());
        }
        let engine = self.engine()?;
        let end = || async {
            engine.end_objects(account).await.map_err(|error| {
                tracing::warn!(%error, %account, "the process of Durable Objects does not end");
                Refusal::broken("their process does not end")
            })
        };
        // Whoever passes the gate after this sees that they are not to be run; who did before is waited for.
        let _closed = self.hand_over.gates.close(account, end).await?;
        end().await?;
        still.lock().unwrap_or_else(PoisonError::into_inner).extend(turns);
        Ok(())
    }

    /// Sends what a slot's objects keep, unless it is there: how many objects and octets were sent.
    pub(super) async fn send_all(
        &self,
        namespace: &DurableNamespace,
        slot: &NodeName,
        to: &NodeName,
        turn: u32,
    ) -> Result<(usize, u64), Refusal> {
        let (account, id) = (namespace.account, namespace.id);
        let asking = Asking { account, namespace: id, slot: slot.clone(), turn, step: Step::Begin };
        if self.step(to, &asking, Body::empty()).await? != Standing::Lacking {
            return Ok((0, 0));
        }
        let folder = self.engine()?.hosts().path(account).join(OBJECTS);
        let (batch, batches, objects, octets) = (Batch::default(), 0, 0, 0);
        let mut sending = Sending {
            durable: self,
            namespace,
            to,
            asking,
            folder: folder.clone(),
            batch,
            batches,
            objects,
            octets,
        };
        let mut after = None;
        // Where there never was an object nothing is asked for.
        while folder.exists() {
            let Page { objects, mut files, next } = self.page(namespace, slot, after, false).await?;
            for object in objects {
                let files = files.remove(&object.file).unwrap_or_default();
                sending.object(object, files).await?;
            }
            let (objects, octets) = (sending.objects, sending.octets);
            tracing::info!(%account, namespace = %id, %slot, %to, objects, octets, "Durable Objects are on their way");
            after = next;
            sending.check()?;
            if after.is_none() {
                break;
            }
        }
        sending.flush().await?;
        match sending.step(Step::End(sending.batches), Bytes::new()).await? {
            Standing::Whole | Standing::Taken => Ok((sending.objects, sending.octets)),
            Standing::Lacking => Err(Refusal::broken("something of it did not come")),
        }
    }

    /// Objects of a slot that lie here, and their files: all of them, or those alone that others cannot make anew.
    pub(super) async fn page(
        &self,
        namespace: &DurableNamespace,
        slot: &NodeName,
        after: Option<DurableObjectId>,
        all: bool,
    ) -> Result<Page, Refusal> {
        let said = json!({ "namespace": namespace.id, "after": after, "limit": PAGE });
        let given = self.registry_given(namespace.account, "give", said, Body::empty(), PAGE_OCTETS_MAX);
        let mut objects: Vec<Registered> = given.await?;
        let next = objects.last().filter(|_| objects.len() >= PAGE).map(|last| last.id);
        objects.retain(|object| place::slot(namespace, object.id) == Some(slot));
        let names: HashSet<String> = objects.iter().map(|object| object.file.clone()).collect();
        let folder = self.engine()?.hosts().path(namespace.account).join(OBJECTS);
        let found = blocking(move || files::of(&folder, &names, all)).await;
        let files = found.map_err(|error| unreadable(&error))?;
        Ok(Page { objects, files, next })
    }

    /// Asks another server for a step.
    pub(super) async fn step(&self, to: &NodeName, asking: &Asking, body: Body) -> Result<Standing, Refusal> {
        self.elsewhere(to)?.told(to, HAND_OVER, asking, body, STANDING_OCTETS_MAX).await
    }

    /// The moment of truth: the other server has the slot, if this hand-over is still under way. With the account's usage, so that no
    /// migration that was decided upon the former state is written after it.
    async fn write_that_it_is_given(
        &self,
        account: AccountId,
        id: DurableNamespaceId,
        slot: &NodeName,
        turn: u32,
    ) -> Result<(), Refusal> {
        let unreadable = |error| {
            tracing::error!(%error, "a namespace of Durable Objects cannot be read");
            Refusal::broken("the replica cannot be read")
        };
        let snapshot = self.replica.snapshot().map_err(unreadable)?;
        let found = snapshot.get_with_revision::<DurableNamespace>(&(account, id)).map_err(unreadable)?;
        let (mut namespace, revision) = found.ok_or_else(|| Refusal::refused("its class was deleted"))?;
        let usage = snapshot.get_with_revision::<DurableUsage>(&account).map_err(unreadable)?;
        drop(snapshot);
        namespace.end_hand_over(slot, turn).map_err(|invalid| Refusal::moving(&invalid.to_string()))?;
        let mut changes = vec![self.replica.put(&namespace)];
        let mut preconditions = vec![Precondition::Revision(namespace.key(), revision)];
        match usage {
            Some((usage, revision)) => {
                changes.push(self.replica.put(&usage));
                preconditions.push(Precondition::Revision(usage.key(), revision));
            }
            None => preconditions.push(Precondition::Absent(DurableUsage::key_of(&account))),
        }
        let append = Append {
            changes,
            preconditions,
            idempotency_key: IdempotencyKey(format!("{:032x}", rand::random::<u128>())),
            fingerprint: None,
            author: format!("node/{}", self.me),
        };
        match self.hand_over.log.append(append).await {
            Ok(appended) => {
                self.seen(appended.seq).await;
                Ok(())
            }
            Err(AppendError::Precondition { .. }) => {
                Err(Refusal::moving("the log has something newer of it"))
            }
            // It may be written; the replica will tell.
            Err(error) => {
                tracing::warn!(%error, %account, "that Durable Objects are handed over cannot be written to the log now");
                Err(Refusal::moving("the log cannot be written"))
            }
        }
    }

    async fn seen(&self, seq: Seq) {
        self.replica.wait_for(seq, SEEN_WITHIN).await;
    }
}

impl Sending<'_> {
    async fn object(&mut self, registered: Registered, files: Vec<OfObject>) -> Result<(), Refusal> {
        for (rest, octets) in &files {
            let name = format!("{}{rest}", registered.file);
            self.file(&name, *octets).await?;
            self.octets += octets;
        }
        if self.batch.is_full_for(0) {
            self.flush().await?;
        }
        self.batch.objects.push(Object { registered, files });
        self.objects += 1;
        Ok(())
    }

    /// An empty file has one piece too.
    async fn file(&mut self, name: &str, octets: u64) -> Result<(), Refusal> {
        let (path, mut offset) = (self.folder.join(name), 0);
        loop {
            let left = usize::try_from(octets - offset).unwrap_or(usize::MAX).min(PIECE_OCTETS_MAX);
            if self.batch.is_full_for(left) {
                self.flush().await?;
            }
            let (path, name, mut batch) = (path.clone(), name.to_owned(), std::mem::take(&mut self.batch));
            let added = blocking(move || {
                batch.add(name, offset, &files::read(&path, offset, left)?);
                Ok(batch)
            });
            self.batch = added.await.map_err(|error| unreadable(&error))?;
            offset += left as u64;
            if offset >= octets {
                return Ok(());
            }
        }
    }

    async fn flush(&mut self) -> Result<(), Refusal> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        let body = batch.encode().filter(|body| body.len() <= BODY_OCTETS_MAX);
        let body = body.ok_or_else(|| Refusal::broken("a batch of it cannot be written"))?;
        self.step(Step::Batch(self.batches), body).await?;
        self.batches += 1;
        Ok(())
    }

    /// Asks for a step, and again for a while if it fails: what came before lies there.
    async fn step(&mut self, step: Step, body: Bytes) -> Result<Standing, Refusal> {
        self.asking.step = step;
        let begun = Instant::now();
        loop {
            let refusal = match self.durable.step(self.to, &self.asking, Body::full(body.clone())).await {
                Err(refusal) if !refusal.is_moving() && begun.elapsed() < SENT_AGAIN_FOR => refusal,
                ended => return ended,
            };
            tracing::debug!(%refusal, to = %self.to, ?step, "a step of a hand-over is asked for again");
            tokio::time::sleep(AGAIN_AFTER).await;
            self.check()?;
        }
    }

    /// Refuses to go on with what was given up, or is another hand-over by now.
    fn check(&self) -> Result<(), Refusal> {
        let Asking { account, namespace: id, slot, .. } = &self.asking;
        let is_the_same = |now: DurableNamespace| now.handed.get(slot) == self.namespace.handed.get(slot);
        match self.durable.namespace(*account, *id).is_ok_and(is_the_same) {
            true => Ok(()),
            false => Err(Refusal::moving("the hand-over was given up, or is another one")),
        }
    }
}

fn unreadable(error: &std::io::Error) -> Refusal {
    tracing::error!(%error, "the files of Durable Objects cannot be read");
    Refusal::broken("the files of its objects cannot be read")
}
