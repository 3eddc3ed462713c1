//! Objects of all buckets: those whose home this server is lie here, for the others their home is asked.
//!
//! ```text
//!  S3, API, Workers ─▶ Everywhere ─┬─ this server is the bucket's home ─▶ local
//!                                  └─ another one is ─▶ reach ─ connections between servers ─▶ answers ─▶ local, there
//! ```
//!
//! Octets pass as they come, in both directions, and are looked at where they are kept: digests, checksums and conditions are the
//! home's, and its errors come back as they are. A home that cannot be reached is told as such, in bounded time; what was put then
//! is seen whole, or not at all. Between buckets of two homes a copy is a read of the one that is put at the other.

pub(crate) mod answers;
mod body;
mod copies;
mod locations;
pub(crate) mod reach;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use proxima_model::Bucket;
use proxima_pipeline::{
    Body, BucketContent, Expected, NewBucket, ObjectAbout, ObjectConditions, ObjectCopy, ObjectDelete,
    ObjectError, ObjectFuture, ObjectGet, ObjectKey, ObjectListing, ObjectPage, ObjectPartPage, ObjectPut,
    ObjectRange, ObjectRead, Objects, PartAbout, PartPage, Span, UploadBegin, UploadComplete, UploadId,
    UploadListing, UploadPage,
};

use self::{
    reach::{Answered, Reach},
    wire::{Answer, Asked, Refusal, What, Which},
};
use crate::local::Local;

/// How long an answer waits until this server's own replica shows what another one has written to the log.
const SEEN_WITHIN: Duration = Duration::from_secs(2);

/// Objects of all buckets. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Everywhere {
    local: Local,
    reach: Arc<Reach>,
}

/// What the home said, if it is of this kind.
macro_rules! said {
    ($answered:expr, $($answer:ident)::+ => $value:expr) => {
        match $answered.answer {
            $($answer)::+ => Ok($value),
            _ => Err(ObjectError::from(Refusal::NotUnderstood)),
        }
    };
    ($answered:expr, $($answer:ident)::+ ( $($said:ident),+ ) => $value:expr) => {
        match $answered.answer {
            $($answer)::+($($said),+) => Ok($value),
            _ => Err(ObjectError::from(Refusal::NotUnderstood)),
        }
    };
}

impl Everywhere {
    pub(crate) fn new(local: Local, reach: Reach) -> Self {
        Self { local, reach: Arc::new(reach) }
    }

    /// Whether this server is the home of a bucket.
    fn is_home(&self, bucket: &Bucket) -> bool {
        bucket.home == self.local.buckets.me
    }

    /// Asks a bucket's home.
    async fn ask(&self, bucket: &Bucket, what: What) -> Result<Answered, ObjectError> {
        self.send(bucket, what, Body::empty()).await
    }

    /// Asks a bucket's home to take something.
    async fn send(&self, bucket: &Bucket, what: What, body: Body) -> Result<Answered, ObjectError> {
        let (bucket, home) = (Which::of(bucket), &bucket.home);
        let asked = Asked::Of { bucket, known: self.local.buckets.replica.seq(), what: Box::new(what) };
        self.reach.ask(home, &asked, body).await
    }

    async fn read(&self, bucket: &Bucket, key: ObjectKey, get: ObjectGet) -> Result<ObjectRead, ObjectError> {
        let answered = self.ask(bucket, What::Get { key, get }).await?;
        let Answer::Read(about, span) = &answered.answer else {
            return Err(Refusal::NotUnderstood.into());
        };
        let (about, span) = (about.clone(), *span);
        let octets = span.map_or(about.octets, |span| span.octets);
        Ok(ObjectRead { about, span, body: answered.body(octets) })
    }
}

impl Objects for Everywhere {
    fn create_bucket(&self, new: NewBucket, author: String) -> ObjectFuture<'_, Bucket> {
        async move {
            let home = self.home_for(&new).await?;
            self.local.buckets.create(new, home, author).await
        }
        .boxed()
    }

    fn delete_bucket<'a>(&'a self, bucket: &'a Bucket, author: String) -> ObjectFuture<'a, ()> {
        if self.is_home(bucket) {
            return self.local.delete_bucket(bucket, author);
        }
        async move {
            let answered = self.ask(bucket, What::DeleteBucket { author }).await?;
            let seq = said!(answered, Answer::BucketDeleted(seq) => seq)?;
            self.local.buckets.replica.wait_for(seq, SEEN_WITHIN).await;
            Ok(())
        }
        .boxed()
    }

    fn content<'a>(&'a self, bucket: &'a Bucket) -> ObjectFuture<'a, BucketContent> {
        if self.is_home(bucket) {
            return self.local.content(bucket);
        }
        async move { said!(self.ask(bucket, What::Content).await?, Answer::Content(content) => content) }
            .boxed()
    }

    fn head<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        get: ObjectGet,
    ) -> ObjectFuture<'a, (ObjectAbout, Option<Span>)> {
        if self.is_home(bucket) {
            return self.local.head(bucket, key, get);
        }
        async move {
            let answered = self.ask(bucket, What::Head { key: key.clone(), get }).await?;
            said!(answered, Answer::Head(about, span) => (about, span))
        }
        .boxed()
    }

    fn parts_of<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        which: (u16, usize),
    ) -> ObjectFuture<'a, ObjectPartPage> {
        if self.is_home(bucket) {
            return self.local.parts_of(bucket, key, which);
        }
        async move {
            let which = (which.0, u32::try_from(which.1).unwrap_or(u32::MAX));
            let answered = self.ask(bucket, What::PartsOf { key: key.clone(), which }).await?;
            said!(answered, Answer::PartsOf(page) => page)
        }
        .boxed()
    }

    fn get<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        get: ObjectGet,
    ) -> ObjectFuture<'a, ObjectRead> {
        if self.is_home(bucket) {
            return self.local.get(bucket, key, get);
        }
        self.read(bucket, key.clone(), get).boxed()
    }

    fn put<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        put: ObjectPut,
        body: Body,
    ) -> ObjectFuture<'a, ObjectAbout> {
        if self.is_home(bucket) {
            return self.local.put(bucket, key, put, body);
        }
        async move {
            let key = key.clone();
            let what = match put.copied_from.clone() {
                None => What::Put { key, put },
                Some(from) => What::PutCopy { key, put, from },
            };
            said!(self.send(bucket, what, body).await?, Answer::Put(about) => about)
        }
        .boxed()
    }

    fn copy<'a>(
        &'a self,
        from: (&'a Bucket, &'a ObjectKey),
        to: (&'a Bucket, &'a ObjectKey),
        copy: ObjectCopy,
    ) -> ObjectFuture<'a, ObjectAbout> {
        if from.0.home != to.0.home {
            return copies::object(self, from, to, copy).boxed();
        }
        if self.is_home(to.0) {
            return self.local.copy(from, to, copy);
        }
        async move {
            let (from, key) = ((Which::of(from.0), from.1.clone()), to.1.clone());
            let what = match copy.storage_class {
                None => What::Copy { from, key, copy },
                Some(storage_class) => What::CopyAs { from, key, copy, storage_class },
            };
            said!(self.ask(to.0, what).await?, Answer::Put(about) => about)
        }
        .boxed()
    }

    fn delete<'a>(
        &'a self,
        bucket: &'a Bucket,
        keys: Vec<ObjectDelete>,
    ) -> ObjectFuture<'a, Vec<Result<(), ObjectError>>> {
        if self.is_home(bucket) {
            return self.local.delete(bucket, keys);
        }
        async move { said!(self.ask(bucket, What::Delete(keys)).await?, Answer::Deleted(outcomes) => outcomes) }
            .boxed()
    }

    fn list<'a>(&'a self, bucket: &'a Bucket, asked: ObjectListing) -> ObjectFuture<'a, ObjectPage> {
        if self.is_home(bucket) {
            return self.local.list(bucket, asked);
        }
        async move { said!(self.ask(bucket, What::List(asked)).await?, Answer::Page(page) => page) }.boxed()
    }

    fn begin_upload<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        begin: UploadBegin,
    ) -> ObjectFuture<'a, UploadId> {
        if self.is_home(bucket) {
            return self.local.begin_upload(bucket, key, begin);
        }
        async move {
            let answered = self.ask(bucket, What::BeginUpload { key: key.clone(), begin }).await?;
            said!(answered, Answer::Begun(upload) => upload)
        }
        .boxed()
    }

    fn put_part<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        part: (UploadId, u16),
        expected: Expected,
        body: Body,
    ) -> ObjectFuture<'a, PartAbout> {
        if self.is_home(bucket) {
            return self.local.put_part(bucket, key, part, expected, body);
        }
        async move {
            let what = What::PutPart { key: key.clone(), part, expected };
            said!(self.send(bucket, what, body).await?, Answer::Part(about) => about)
        }
        .boxed()
    }

    fn copy_part<'a>(
        &'a self,
        from: (&'a Bucket, &'a ObjectKey),
        what: (Option<ObjectRange>, ObjectConditions),
        to: (&'a Bucket, &'a ObjectKey),
        part: (UploadId, u16),
    ) -> ObjectFuture<'a, PartAbout> {
        if from.0.home != to.0.home {
            return copies::part(self, from, what, to, part).boxed();
        }
        if self.is_home(to.0) {
            return self.local.copy_part(from, what, to, part);
        }
        async move {
            let from = (Which::of(from.0), from.1.clone());
            let answered = self.ask(to.0, What::CopyPart { from, what, key: to.1.clone(), part }).await?;
            said!(answered, Answer::Part(about) => about)
        }
        .boxed()
    }

    fn parts<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        upload: UploadId,
        which: (u16, usize),
    ) -> ObjectFuture<'a, PartPage> {
        if self.is_home(bucket) {
            return self.local.parts(bucket, key, upload, which);
        }
        async move {
            let which = (which.0, u32::try_from(which.1).unwrap_or(u32::MAX));
            let answered = self.ask(bucket, What::Parts { key: key.clone(), upload, which }).await?;
            said!(answered, Answer::Parts(page) => page)
        }
        .boxed()
    }

    fn uploads<'a>(&'a self, bucket: &'a Bucket, asked: UploadListing) -> ObjectFuture<'a, UploadPage> {
        if self.is_home(bucket) {
            return self.local.uploads(bucket, asked);
        }
        async move { said!(self.ask(bucket, What::Uploads(asked)).await?, Answer::Uploads(page) => page) }
            .boxed()
    }

    fn complete_upload<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        upload: UploadId,
        complete: UploadComplete,
    ) -> ObjectFuture<'a, ObjectAbout> {
        if self.is_home(bucket) {
            return self.local.complete_upload(bucket, key, upload, complete);
        }
        async move {
            let what = What::CompleteUpload { key: key.clone(), upload, complete };
            said!(self.ask(bucket, what).await?, Answer::Put(about) => about)
        }
        .boxed()
    }

    fn abort_upload<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        upload: UploadId,
    ) -> ObjectFuture<'a, ()> {
        if self.is_home(bucket) {
            return self.local.abort_upload(bucket, key, upload);
        }
        async move {
            let answered = self.ask(bucket, What::AbortUpload { key: key.clone(), upload }).await?;
            said!(answered, Answer::Done => ())
        }
        .boxed()
    }
}
