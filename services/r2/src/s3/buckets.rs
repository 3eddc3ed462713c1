//! Operations on buckets.

use proxima_model::{Bucket, BucketName, LocationHint, StorageClass};
use proxima_pipeline::NewBucket;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, dto};

use super::{
    Front, convert,
    error::{not_offered, s3_error},
    noted::Note,
};

/// The region that is told where none has to be: clients sign for any.
const REGION: &str = "auto";

impl Front {
    pub(super) async fn create(
        &self,
        request: S3Request<dto::CreateBucketInput>,
    ) -> S3Result<S3Response<dto::CreateBucketOutput>> {
        let caller = Self::caller(&request)?;
        let name = BucketName::parse(&request.input.bucket)
            .map_err(|error| S3Error::with_message(S3ErrorCode::InvalidBucketName, error.to_string()))?;
        if request.input.object_lock_enabled_for_bucket == Some(true) {
            return Err(not_offered("locking objects"));
        }
        if request.extensions.get::<Note>().is_some_and(|note| note.has_element("Tag")) {
            return Err(not_offered("a bucket's tags"));
        }
        let asked = request.input.create_bucket_configuration;
        if asked.as_ref().is_some_and(|asked| asked.bucket.is_some() || asked.location.is_some()) {
            return Err(not_offered("a bucket that is a directory"));
        }
        let asked = asked.and_then(|asked| asked.location_constraint);
        // Names of regions that are no hints say nothing here.
        let location = asked.and_then(|asked| LocationHint::parse(&asked.as_str().to_ascii_lowercase()).ok());
        let new = NewBucket {
            account: caller.account,
            name,
            location,
            jurisdiction: None,
            storage_class: StorageClass::Standard,
        };
        let bucket = self.objects.create_bucket(new, caller.author).await.map_err(s3_error)?;
        let location = Some(format!("/{}", bucket.name.as_str()));
        Ok(S3Response::new(dto::CreateBucketOutput { location }))
    }

    pub(super) async fn remove(
        &self,
        request: S3Request<dto::DeleteBucketInput>,
    ) -> S3Result<S3Response<dto::DeleteBucketOutput>> {
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let author = Self::caller(&request)?.author;
        self.objects.delete_bucket(&bucket, author).await.map_err(s3_error)?;
        Ok(S3Response::with_status(dto::DeleteBucketOutput::default(), http::StatusCode::NO_CONTENT))
    }

    pub(super) async fn look_at(
        &self,
        request: S3Request<dto::HeadBucketInput>,
    ) -> S3Result<S3Response<dto::HeadBucketOutput>> {
        self.bucket(&request, &request.input.bucket).await?;
        let bucket_region = Some(REGION.to_owned());
        Ok(S3Response::new(dto::HeadBucketOutput { bucket_region, ..dto::HeadBucketOutput::default() }))
    }

    pub(super) async fn location(
        &self,
        request: S3Request<dto::GetBucketLocationInput>,
    ) -> S3Result<S3Response<dto::GetBucketLocationOutput>> {
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let hint = bucket.location.map_or(REGION, LocationHint::as_str);
        let location_constraint = Some(dto::BucketLocationConstraint::from_static(hint));
        Ok(S3Response::new(dto::GetBucketLocationOutput { location_constraint }))
    }

    pub(super) async fn all(
        &self,
        request: S3Request<dto::ListBucketsInput>,
    ) -> S3Result<S3Response<dto::ListBucketsOutput>> {
        let caller = Self::caller(&request)?;
        let dto::ListBucketsInput { continuation_token, max_buckets, prefix, .. } = request.input;
        let all = self.buckets.all(caller.account).await.map_err(s3_error)?;
        let begins =
            |bucket: &Bucket| prefix.as_ref().is_none_or(|prefix| bucket.name.as_str().starts_with(prefix));
        let is_behind = |bucket: &Bucket| {
            continuation_token.as_ref().is_none_or(|after| bucket.name.as_str() > after.as_str())
        };
        let mut left = all.into_iter().filter(|bucket| begins(bucket) && is_behind(bucket));
        let most = max_buckets.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
        let page: Vec<_> = left.by_ref().take(most).collect();
        let has_more = left.next().is_some();
        let next = page.last().filter(|_| has_more).map(|bucket| bucket.name.as_str().to_owned());
        let shown = page.into_iter().map(|bucket| dto::Bucket {
            creation_date: Some(convert::time(bucket.created_at)),
            name: Some(bucket.name.as_str().to_owned()),
            ..dto::Bucket::default()
        });
        let id = caller.account.to_string();
        Ok(S3Response::new(dto::ListBucketsOutput {
            buckets: Some(shown.collect()),
            continuation_token: next,
            owner: Some(dto::Owner { display_name: Some(id.clone()), id: Some(id) }),
            prefix,
        }))
    }
}
