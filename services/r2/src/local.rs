//! [`Objects`] as this server has them: of buckets whose home it is.

use futures_util::FutureExt as _;
use proxima_model::Bucket;
use proxima_pipeline::{
    Body, BucketContent, Expected, NewBucket, ObjectAbout, ObjectConditions, ObjectCopy, ObjectDelete,
    ObjectError, ObjectFuture, ObjectGet, ObjectKey, ObjectListing, ObjectPage, ObjectPartPage, ObjectPut,
    ObjectRange, ObjectRead, Objects, PartAbout, PartPage, Span, UploadBegin, UploadComplete, UploadId,
    UploadListing, UploadPage,
};

use crate::{buckets::Buckets, store::Store};

/// Objects of buckets whose home this server is.
#[derive(Clone)]
pub(crate) struct Local {
    pub(crate) store: Store,
    pub(crate) buckets: Buckets,
}

impl Local {
    /// The store, if it has the bucket.
    fn at(&self, bucket: &Bucket) -> Result<&Store, ObjectError> {
        if bucket.home == self.buckets.me {
            return Ok(&self.store);
        }
        // Who asks here has looked: for one that asks by a connection, the home did.
        Err(ObjectError::Broken(format!("{} is the home of a bucket that was looked for here", bucket.home)))
    }
}

impl Objects for Local {
    fn create_bucket(&self, new: NewBucket, author: String) -> ObjectFuture<'_, Bucket> {
        self.buckets.create(new, self.buckets.me.clone(), author).boxed()
    }

    fn delete_bucket<'a>(&'a self, bucket: &'a Bucket, author: String) -> ObjectFuture<'a, ()> {
        async move {
            let (store, buckets, bucket) = (self.at(bucket)?.clone(), self.buckets.clone(), bucket.clone());
            // To its end, also if nobody waits for it any more.
            let deleting = tokio::spawn(async move { buckets.delete(&store, &bucket, author).await });
            deleting.await.unwrap_or_else(|panic| Err(ObjectError::Broken(panic.to_string())))
        }
        .boxed()
    }

    fn content<'a>(&'a self, bucket: &'a Bucket) -> ObjectFuture<'a, BucketContent> {
        async move { self.at(bucket)?.content(bucket).await }.boxed()
    }

    fn head<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        get: ObjectGet,
    ) -> ObjectFuture<'a, (ObjectAbout, Option<Span>)> {
        async move { self.at(bucket)?.head(bucket, key, get).await }.boxed()
    }

    fn parts_of<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        which: (u16, usize),
    ) -> ObjectFuture<'a, ObjectPartPage> {
        async move { self.at(bucket)?.parts_of(bucket, key, which).await }.boxed()
    }

    fn get<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        get: ObjectGet,
    ) -> ObjectFuture<'a, ObjectRead> {
        async move { self.at(bucket)?.get(bucket, key, get).await }.boxed()
    }

    fn put<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        put: ObjectPut,
        body: Body,
    ) -> ObjectFuture<'a, ObjectAbout> {
        async move { self.at(bucket)?.put(bucket, key, put, body).await }.boxed()
    }

    fn copy<'a>(
        &'a self,
        from: (&'a Bucket, &'a ObjectKey),
        to: (&'a Bucket, &'a ObjectKey),
        copy: ObjectCopy,
    ) -> ObjectFuture<'a, ObjectAbout> {
        async move {
            self.at(from.0)?;
            self.at(to.0)?.copy(from, to, copy).await
        }
        .boxed()
    }

    fn delete<'a>(
        &'a self,
        bucket: &'a Bucket,
        keys: Vec<ObjectDelete>,
    ) -> ObjectFuture<'a, Vec<Result<(), ObjectError>>> {
        async move { self.at(bucket)?.delete(bucket, keys).await }.boxed()
    }

    fn list<'a>(&'a self, bucket: &'a Bucket, asked: ObjectListing) -> ObjectFuture<'a, ObjectPage> {
        async move { self.at(bucket)?.list(bucket, asked).await }.boxed()
    }

    fn begin_upload<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        begin: UploadBegin,
    ) -> ObjectFuture<'a, UploadId> {
        async move { self.at(bucket)?.begin_upload(bucket, key, begin).await }.boxed()
    }

    fn put_part<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        (upload, number): (UploadId, u16),
        expected: Expected,
        body: Body,
    ) -> ObjectFuture<'a, PartAbout> {
        async move { self.at(bucket)?.put_part((bucket, key, upload, number), expected, body).await }.boxed()
    }

    fn copy_part<'a>(
        &'a self,
        from: (&'a Bucket, &'a ObjectKey),
        (range, conditions): (Option<ObjectRange>, ObjectConditions),
        to: (&'a Bucket, &'a ObjectKey),
        (upload, number): (UploadId, u16),
    ) -> ObjectFuture<'a, PartAbout> {
        async move {
            self.at(from.0)?;
            let part = (to.0, to.1, upload, number);
            self.at(to.0)?.copy_part(from, (range, &conditions), part).await
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
        async move { self.at(bucket)?.parts(bucket, key, upload, which).await }.boxed()
    }

    fn uploads<'a>(&'a self, bucket: &'a Bucket, asked: UploadListing) -> ObjectFuture<'a, UploadPage> {
        async move { self.at(bucket)?.uploads(bucket, asked).await }.boxed()
    }

    fn complete_upload<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        upload: UploadId,
        complete: UploadComplete,
    ) -> ObjectFuture<'a, ObjectAbout> {
        async move { self.at(bucket)?.complete_upload(bucket, key, upload, complete).await }.boxed()
    }

    fn abort_upload<'a>(
        &'a self,
        bucket: &'a Bucket,
        key: &'a ObjectKey,
        upload: UploadId,
    ) -> ObjectFuture<'a, ()> {
        async move { self.at(bucket)?.abort_upload(bucket, key, upload).await }.boxed()
    }
}
