//! Answering other servers, which are trusted as far as servers of this network are; what they say is checked all the same.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use proxima_model::{KvNamespaceId, NodeName};
use proxima_pipeline::{AnswersServers, Body, ServerAbout};
use proxima_store::StoreId;
use tokio::time::Instant;

use crate::{
    kv::Kv,
    metrics::From,
    place,
    room::Taken,
    store::{Job, Number},
    wire::{Among, Answer, BODY_OCTETS_MAX, ITEMS_MAX, PATH, Question, Refusal},
};

/// Octets of the values of one answer to who takes over what it missed, unless one value has more: several such answers must
/// have room beside the requests of clients.
const VERSIONS_OCTETS: usize = 4 << 20;

/// See the module.
pub(crate) struct Answers(pub(crate) Arc<Kv>);

impl AnswersServers for Answers {
    fn answer<'a>(&'a self, asker: &'a NodeName, request: Request<Body>) -> BoxFuture<'a, Response<Body>> {
        Box::pin(async move {
            if request.uri().path() != PATH {
                return respond(Answer::Refused(Refusal::NotUnderstood), Vec::new());
            }
            let mut taken = Vec::new();
            let answer = self.answered(asker, request.into_body(), &mut taken).await;
            respond(answer.unwrap_or_else(Answer::Refused), taken)
        })
    }
}

impl Answers {
    async fn answered(
        &self,
        asker: &NodeName,
        body: Body,
        taken: &mut Vec<Taken>,
    ) -> Result<Answer, Refusal> {
        let kv = &self.0;
        let _place = Kv::place(&kv.others)?;
        let length = body.length().and_then(|length| usize::try_from(length).ok()).unwrap_or(BODY_OCTETS_MAX);
        let _room = kv.room.take(length).ok_or(Refusal::Busy)?;
        let octets = body.collect(BODY_OCTETS_MAX).await.map_err(|_| Refusal::NotUnderstood)?;
        match Question::read(octets).map_err(|_| Refusal::NotUnderstood)? {
            Question::Read { namespace, key, near_ms: None } => {
                self.check_here(namespace)?;
                let found = kv.own.get(namespace, key).await?;
                let value = found.map(|(value, room)| {
                    taken.push(room);
                    value
                });
                Ok(Answer::Found { value, age_ms: 0 })
            }
            Question::Read { namespace, key, near_ms: Some(near_ms) } => {
                let came = Instant::now();
                let (entry, from) =
                    kv.read_near(&(namespace, key), Duration::from_millis(near_ms), false).await?;
                // What is too old is for who has nothing else to ask: the asker may have.
                if from == From::Stale {
                    return Err(Refusal::NotHere);
                }
                let octets = entry.value.as_ref().map_or(0, |value| value.value.len());
                taken.push(kv.room.take(octets).ok_or(Refusal::Busy)?);
                // When it was asked for, which is what the asker counts from; and not less, since that compares it with when it was
                // told to forget the key.
                let age_ms = came.saturating_duration_since(entry.at).as_nanos().div_ceil(1_000_000);
                let age_ms = u64::try_from(age_ms).unwrap_or(u64::MAX);
                Ok(Answer::Found { value: entry.value, age_ms })
            }
            Question::Write { namespace, writes } => {
                self.check_here(namespace)?;
                if !kv.named.knows(namespace).await {
                    return Err(Refusal::Unknown);
                }
                kv.write_here(namespace, writes).await?;
                Ok(Answer::Done)
            }
            Question::List { namespace, asked } => {
                self.check_here(namespace)?;
                Ok(Answer::Page(kv.own.list(namespace, asked).await?))
            }
            Question::Merge(versions) => {
                let done = kv.own.commit(Job::Merge(versions)).await?;
                kv.metrics.merged.inc_by(done.taken as u64);
                done.lacked.map_or(Ok(Answer::Done), |lacked| Err(lacked.why.into()))
            }
            Question::Changes { store, since } => self.changes(asker, store, since, None).await,
            Question::ChangesAmong { among: Among::Digest(digest), .. } if digest != kv.map => {
                Err(Refusal::OtherServers)
            }
            Question::ChangesAmong { store, since, among: Among::Digest(_) } => {
                self.changes(asker, store, since, None).await
            }
            Question::ChangesAmong { store, since, among: Among::Servers(servers) } => {
                self.changes(asker, store, since, Some(servers)).await
            }
            Question::Versions { store, numbers } => self.versions(store, numbers, u32::MAX, taken).await,
            Question::VersionsUpTo { store, numbers, value_octets_max } => {
                self.versions(store, numbers, value_octets_max, taken).await
            }
            Question::Forget(names) => {
                names.iter().for_each(|name| kv.forget(name));
                Ok(Answer::Done)
            }
            Question::Nudge => {
                kv.replication.nudged(asker);
                Ok(Answer::Done)
            }
        }
    }

    fn check_here(&self, namespace: KvNamespaceId) -> Result<(), Refusal> {
        if self.0.has(namespace) { Ok(()) } else { Err(Refusal::NotHere) }
    }

    /// What was taken since, of the namespaces that the asker has among these servers; among those that this one knows, if it
    /// says of none.
    async fn changes(
        &self,
        asker: &NodeName,
        store: StoreId,
        since: Number,
        among: Option<Vec<ServerAbout>>,
    ) -> Result<Answer, Refusal> {
        let kv = &self.0;
        let missed = kv.replication.missed(asker);
        let (servers, name) = (Arc::clone(&kv.servers), asker.clone());
        let read = kv.own.read(move |own, _| {
            let servers = among.as_deref().unwrap_or_else(|| servers.all());
            // Numbers of another store mean nothing here.
            let since = if store == own.id() { since } else { Number::default() };
            // Thousands of rows are of a few namespaces.
            let mut known = HashMap::new();
            let mut wanted = |namespace| {
                let has = || place::replicas(servers, namespace).iter().any(|server| server.name == name);
                *known.entry(namespace).or_insert_with(has)
            };
            Ok((own.id(), own.changes(since, ITEMS_MAX, &mut wanted)?))
        });
        let (store, feed) = read.await?;
        if !feed.has_more {
            kv.replication.told(asker, missed);
        }
        Ok(Answer::Feed(store, feed))
    }

    async fn versions(
        &self,
        store: StoreId,
        numbers: Vec<Number>,
        value_octets_max: u32,
        taken: &mut Vec<Taken>,
    ) -> Result<Answer, Refusal> {
        let kv = &self.0;
        let (room, octets) = (kv.room.clone(), [VERSIONS_OCTETS, value_octets_max as usize]);
        let read = kv.own.read(move |own, _| match store == own.id() {
            true => own.versions(&numbers, octets, &room).map(Some),
            false => Ok(None),
        });
        let read = read.await?;
        let (versions, done, room) = read.ok_or(Refusal::NotHere)?;
        taken.extend(room);
        Ok(Answer::Versions(versions, done))
    }
}

fn respond(answer: Answer, taken: Vec<Taken>) -> Response<Body> {
    let body = Body::full(answer.write());
    // What was read for it keeps its room until it has gone.
    let body = if taken.is_empty() { body } else { body.holding(taken) };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    response
}
