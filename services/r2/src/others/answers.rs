//! Answering other servers about buckets whose home this is. They are trusted as far as servers of this network are: who may, they
//! have looked at; whether the bucket is there, and all that is to be decided, is looked at here.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use proxima_ledger::Seq;
use proxima_model::{Bucket, NodeName};
use proxima_pipeline::{
    AnswersServers, Body, BodySender, ObjectCopy, ObjectError, ObjectPut, ObjectRead, Objects as _,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{interval_at, timeout},
};

use super::{
    body::{Coming, Unread, marked},
    wire::{self, ANSWER_OCTETS_MAX, Answer, Asked, PATH, QUESTION_OCTETS_MAX, Refusal, What, Which},
};
use crate::local::Local;

/// Requests of other servers at a time, of all of them.
const UNDER_WAY_MAX: usize = 1_024;
/// How often a server that is asked says that it is still at it.
pub(super) const WAIT_EVERY: Duration = Duration::from_secs(5);
/// How long the head of a question may pause.
const QUESTION_SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long a bucket is waited for that was made elsewhere a moment ago.
const KNOWN_WITHIN: Duration = Duration::from_secs(3);
/// Frames of an answer that wait for the connection: one goes while the next is read.
const FRAMES_WAITING_MAX: usize = 2;
/// How long who reads may pause.
const READER_IDLE: Duration = Duration::from_secs(60);

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Answers {
    local: Local,
    places: Arc<Semaphore>,
}

/// What is answered, and what follows.
type Reply = Result<(Answer, Body), Refusal>;

impl From<ObjectError> for Refusal {
    fn from(error: ObjectError) -> Self {
        if let ObjectError::Broken(what) = &error {
            tracing::error!(target: "proxima_r2", what, "a request of another server failed");
        }
        Self::Error(error)
    }
}

impl AnswersServers for Answers {
    /// The answer begins at once: what is put may take as long as its sender does, and so may what is decided about it.
    fn answer<'a>(&'a self, _: &'a NodeName, request: Request<Body>) -> BoxFuture<'a, Response<Body>> {
        Box::pin(async move {
            let (sender, body) = Body::channel(FRAMES_WAITING_MAX, None);
            let place = Arc::clone(&self.places).try_acquire_owned();
            let refusal = match (request.uri().path(), place) {
                (PATH, Ok(place)) => {
                    tokio::spawn(self.clone().serve(request.into_body(), sender, place));
                    return Response::new(body);
                }
                (PATH, Err(_)) => Refusal::Error(ObjectError::Busy),
                _ => Refusal::NotUnderstood,
            };
            let head = wire::write(&Answer::Refused(refusal), ANSWER_OCTETS_MAX);
            Response::new(Body::full(head.expect("a refusal is short")))
        })
    }
}

impl Answers {
    pub(crate) fn new(local: Local) -> Self {
        Self { local, places: Arc::new(Semaphore::new(UNDER_WAY_MAX)) }
    }

    /// Carries a question out to its end, also if who asked has gone: of what is half done nobody knows what it was.
    async fn serve(self, body: Body, mut sender: BodySender, place: OwnedSemaphorePermit) {
        let _place = place;
        let mut work = tokio::spawn(async move { self.reply(body).await });
        let mut waits = interval_at(tokio::time::Instant::now() + WAIT_EVERY, WAIT_EVERY);
        let reply = loop {
            tokio::select! {
                reply = &mut work => break reply,
                _ = waits.tick() => sender.send(wire::wait()).await.ok(),
            };
        };
        let reply = reply.unwrap_or_else(|panic| Err(ObjectError::Broken(panic.to_string()).into()));
        let (answer, body) = reply.unwrap_or_else(|refusal| (Answer::Refused(refusal), Body::empty()));
        let head = wire::write(&answer, ANSWER_OCTETS_MAX).or_else(|_| {
            let what = ObjectError::Broken("a page is longer than an answer may be".to_owned());
            wire::write(&Answer::Refused(what.into()), ANSWER_OCTETS_MAX)
        });
        if sender.send(head.expect("a refusal is short")).await.is_ok() {
            send(sender, body).await;
        }
    }

    async fn reply(&self, body: Body) -> Reply {
        let mut coming = Coming::new(body);
        let asked = coming.head(QUESTION_OCTETS_MAX, QUESTION_SILENCE_MAX).await;
        let asked = asked.map_err(|error| match error {
            Unread::Lost => ObjectError::Body("the question broke off".to_owned()).into(),
            Unread::Malformed => Refusal::NotUnderstood,
        })?;
        match asked {
            Asked::Hello => Ok((Answer::Done, Body::empty())),
            Asked::Of { bucket, known, what } => {
                let bucket = self.bucket(&bucket, known).await?;
                match *what {
                    What::Get { key, get } => {
                        let ObjectRead { about, span, body } = self.local.get(&bucket, &key, get).await?;
                        Ok((Answer::Read(about, span), body))
                    }
                    what => Ok((self.carry_out(&bucket, known, what, coming).await?, Body::empty())),
                }
            }
        }
    }

    async fn carry_out(
        &self,
        bucket: &Bucket,
        known: Seq,
        what: What,
        coming: Coming,
    ) -> Result<Answer, Refusal> {
        let local = &self.local;
        Ok(match what {
            What::Get { .. } => unreachable!("its octets follow the answer"),
            What::DeleteBucket { author } => {
                local.delete_bucket(bucket, author).await?;
                Answer::BucketDeleted(local.buckets.replica.seq())
            }
            What::Content => Answer::Content(local.content(bucket).await?),
            What::Head { key, get } => {
                let (about, span) = local.head(bucket, &key, get).await?;
                Answer::Head(about, span)
            }
            What::Put { key, put } => {
                let body = coming.rest(put.expected.octets);
                Answer::Put(local.put(bucket, &key, put, body).await?)
            }
            What::PutCopy { key, put, from } => {
                let body = coming.rest(put.expected.octets);
                let put = ObjectPut { copied_from: Some(from), ..put };
                Answer::Put(local.put(bucket, &key, put, body).await?)
            }
            What::Copy { from: (from, from_key), key, copy } => {
                let from = self.bucket(&from, known).await?;
                Answer::Put(local.copy((&from, &from_key), (bucket, &key), copy).await?)
            }
            What::CopyAs { from: (from, from_key), key, copy, storage_class } => {
                let from = self.bucket(&from, known).await?;
                let copy = ObjectCopy { storage_class: Some(storage_class), ..copy };
                Answer::Put(local.copy((&from, &from_key), (bucket, &key), copy).await?)
            }
            What::Delete(keys) => Answer::Deleted(local.delete(bucket, keys).await?),
            What::List(asked) => Answer::Page(local.list(bucket, asked).await?),
            What::BeginUpload { key, begin } => Answer::Begun(local.begin_upload(bucket, &key, begin).await?),
            What::PutPart { key, part, expected } => {
                let body = coming.rest(expected.octets);
                Answer::Part(local.put_part(bucket, &key, part, expected, body).await?)
            }
            What::CopyPart { from: (from, from_key), what, key, part } => {
                let from = self.bucket(&from, known).await?;
                Answer::Part(local.copy_part((&from, &from_key), what, (bucket, &key), part).await?)
            }
            What::Parts { key, upload, which: (after, limit) } => {
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                Answer::Parts(local.parts(bucket, &key, upload, (after, limit)).await?)
            }
            What::PartsOf { key, which: (after, limit) } => {
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                Answer::PartsOf(local.parts_of(bucket, &key, (after, limit)).await?)
            }
            What::Uploads(asked) => Answer::Uploads(local.uploads(bucket, asked).await?),
            What::CompleteUpload { key, upload, complete } => {
                Answer::Put(local.complete_upload(bucket, &key, upload, complete).await?)
            }
            What::AbortUpload { key, upload } => {
                local.abort_upload(bucket, &key, upload).await?;
                Answer::Done
            }
        })
    }

    /// The bucket, as this server's replica has it. One that was made elsewhere a moment ago comes within a moment.
    async fn bucket(&self, which: &Which, known: Seq) -> Result<Bucket, Refusal> {
        let buckets = &self.local.buckets;
        let find = || async {
            let (account, name) = which.id();
            match buckets.find(account, name).await {
                Ok(bucket) => Ok(Some(bucket).filter(|bucket| which.is(bucket))),
                Err(ObjectError::NoSuchBucket) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let found = match find().await? {
            Some(bucket) => bucket,
            None if !buckets.replica.wait_for(known, KNOWN_WITHIN).await => return Err(Refusal::Unknown),
            None => find().await?.ok_or(ObjectError::NoSuchBucket)?,
        };
        if found.home == buckets.me { Ok(found) } else { Err(Refusal::NotHome) }
    }
}

/// Sends what follows an answer, as fast as it is read, and behind it that this was all.
async fn send(mut sender: BodySender, mut body: Body) {
    while let Some(frame) = body.next_frame().await {
        match frame {
            Ok(frame) => {
                let Ok(data) = frame.into_data() else { continue };
                if !matches!(timeout(READER_IDLE, sender.send(data)).await, Ok(Ok(()))) {
                    return;
                }
            }
            Err(error) => return sender.fail(error).await,
        }
    }
    if sender.send_trailers(marked(None)).await.is_ok() {
        sender.finish().await;
    }
}
