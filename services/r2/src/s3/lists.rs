//! Listings of objects, of both versions.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use proxima_model::Bucket;
use proxima_pipeline::{OBJECTS_LISTED_MAX, ObjectAbout, ObjectKey, ObjectListing};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, dto};

use super::{Front, convert, error::s3_error};

/// What stays as it is in keys that are asked for encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// What the only version of an object is called.
pub(super) const ONLY_VERSION: &str = "null";

/// How keys are written: XML has no room for some of them.
#[derive(Clone, Copy)]
pub(super) struct Written(bool);

impl Written {
    pub(super) fn of(encoding: Option<&dto::EncodingType>) -> S3Result<Self> {
        match encoding.map(dto::EncodingType::as_str) {
            None => Ok(Self(false)),
            Some("url") => Ok(Self(true)),
            Some(_) => Err(S3Error::with_message(S3ErrorCode::InvalidArgument, "EncodingType: give url")),
        }
    }

    pub(super) fn key(self, text: &str) -> String {
        if self.0 { utf8_percent_encode(text, ENCODED).to_string() } else { text.to_owned() }
    }

    pub(super) fn prefixes(self, prefixes: Vec<String>) -> Option<dto::CommonPrefixList> {
        let told = prefixes.iter().map(|prefix| dto::CommonPrefix { prefix: Some(self.key(prefix)) });
        (!prefixes.is_empty()).then(|| told.collect())
    }
}

/// How many are asked for.
pub(super) fn limit(asked: Option<i32>) -> S3Result<usize> {
    let most = OBJECTS_LISTED_MAX;
    let asked = asked.map_or(Ok(most), usize::try_from);
    let refused = |_| S3Error::with_message(S3ErrorCode::InvalidArgument, "give 0 or more of them");
    asked.map(|asked| asked.min(most)).map_err(refused)
}

/// As many as S3 says; never more than [`OBJECTS_LISTED_MAX`].
pub(super) fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn object(
    bucket: &Bucket,
    (key, about): &(ObjectKey, ObjectAbout),
    written: Written,
    owner: Option<dto::Owner>,
) -> dto::Object {
    let algorithm = about.checksum.as_ref().map(|checksum| checksum.algorithm.word());
    dto::Object {
        checksum_algorithm: algorithm.map(|word| vec![dto::ChecksumAlgorithm::from_static(word)]),
        checksum_type: about.checksum.as_ref().map(|checksum| convert::checksum_type(checksum.kind)),
        e_tag: Some(convert::etag(&about.etag)),
        key: Some(written.key(key.as_str())),
        last_modified: Some(convert::time(about.modified)),
        owner,
        size: i64::try_from(about.octets).ok(),
        storage_class: Some(dto::ObjectStorageClass::from_static(convert::storage_class(
            about.fields.class_in(bucket),
        ))),
        ..dto::Object::default()
    }
}

/// What is asked of the objects, where a text that is empty is none.
fn listing(
    prefix: Option<&String>,
    delimiter: Option<&String>,
    after: Option<&String>,
    limit: usize,
) -> ObjectListing {
    let given = |text: Option<&String>| text.filter(|text| !text.is_empty()).cloned();
    ObjectListing {
        prefix: prefix.cloned().unwrap_or_default(),
        delimiter: given(delimiter),
        after: given(after),
        limit,
    }
}

fn owner(bucket: &Bucket) -> dto::Owner {
    let id = bucket.account.to_string();
    dto::Owner { display_name: Some(id.clone()), id: Some(id) }
}

impl Front {
    pub(super) async fn list_v1(
        &self,
        request: S3Request<dto::ListObjectsInput>,
    ) -> S3Result<S3Response<dto::ListObjectsOutput>> {
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let asked = request.input;
        let written = Written::of(asked.encoding_type.as_ref())?;
        let limit = limit(asked.max_keys)?;
        let after = asked.marker.as_ref();
        let listing = listing(asked.prefix.as_ref(), asked.delimiter.as_ref(), after, limit);
        let page = self.objects.list(&bucket, listing).await.map_err(s3_error)?;
        let objects = page.objects.iter();
        let objects = objects.map(|one| object(&bucket, one, written, Some(owner(&bucket))));
        let is_truncated = page.next.is_some();
        let objects: dto::ObjectList = objects.collect();
        Ok(S3Response::new(dto::ListObjectsOutput {
            name: Some(asked.bucket),
            prefix: Some(written.key(asked.prefix.as_deref().unwrap_or_default())),
            marker: Some(written.key(asked.marker.as_deref().unwrap_or_default())),
            max_keys: Some(count(limit)),
            is_truncated: Some(is_truncated),
            contents: Some(objects),
            common_prefixes: written.prefixes(page.prefixes),
            // Without a delimiter, clients take the last key.
            next_marker: page.next.filter(|_| asked.delimiter.is_some()).map(|next| written.key(&next)),
            delimiter: asked.delimiter.filter(|delimiter| !delimiter.is_empty()).map(|one| written.key(&one)),
            encoding_type: asked.encoding_type,
            ..dto::ListObjectsOutput::default()
        }))
    }

    pub(super) async fn list_v2(
        &self,
        request: S3Request<dto::ListObjectsV2Input>,
    ) -> S3Result<S3Response<dto::ListObjectsV2Output>> {
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let asked = request.input;
        let written = Written::of(asked.encoding_type.as_ref())?;
        let limit = limit(asked.max_keys)?;
        let wrong =
            || S3Error::with_message(S3ErrorCode::InvalidArgument, "the continuation token is none of ours");
        let after = match &asked.continuation_token {
            // Which some clients send for the first page.
            Some(token) if token.is_empty() => asked.start_after.clone(),
            Some(token) => {
                let octets = hex::decode(token).map_err(|_| wrong())?;
                Some(String::from_utf8(octets).ok().filter(|text| !text.is_empty()).ok_or_else(wrong)?)
            }
            None => asked.start_after.clone(),
        };
        let listing = listing(asked.prefix.as_ref(), asked.delimiter.as_ref(), after.as_ref(), limit);
        let page = self.objects.list(&bucket, listing).await.map_err(s3_error)?;
        let with_owner = asked.fetch_owner.unwrap_or_default();
        let objects = page.objects.iter();
        let objects = objects.map(|one| object(&bucket, one, written, with_owner.then(|| owner(&bucket))));
        let objects: dto::ObjectList = objects.collect();
        Ok(S3Response::new(dto::ListObjectsV2Output {
            name: Some(asked.bucket),
            prefix: Some(written.key(asked.prefix.as_deref().unwrap_or_default())),
            max_keys: Some(count(limit)),
            key_count: Some(count(objects.len() + page.prefixes.len())),
            continuation_token: asked.continuation_token,
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.map(hex::encode),
            contents: Some(objects),
            common_prefixes: written.prefixes(page.prefixes),
            delimiter: asked.delimiter.filter(|delimiter| !delimiter.is_empty()).map(|one| written.key(&one)),
            encoding_type: asked.encoding_type,
            start_after: asked.start_after.map(|after| written.key(&after)),
            ..dto::ListObjectsV2Output::default()
        }))
    }

    /// Versions are not kept: each object is its only one, and called `null`, as where S3 keeps none.
    pub(super) async fn list_versions(
        &self,
        request: S3Request<dto::ListObjectVersionsInput>,
    ) -> S3Result<S3Response<dto::ListObjectVersionsOutput>> {
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let asked = request.input;
        let written = Written::of(asked.encoding_type.as_ref())?;
        let limit = limit(asked.max_keys)?;
        let after = asked.key_marker.as_ref();
        let listing = listing(asked.prefix.as_ref(), asked.delimiter.as_ref(), after, limit);
        let page = self.objects.list(&bucket, listing).await.map_err(s3_error)?;
        let versions = page.objects.iter().map(|one| {
            let (key, about) = one;
            let dto::Object { checksum_algorithm, checksum_type, e_tag, last_modified, .. } =
                object(&bucket, one, written, None);
            dto::ObjectVersion {
                checksum_algorithm,
                checksum_type,
                e_tag,
                is_latest: Some(true),
                key: Some(written.key(key.as_str())),
                last_modified,
                owner: Some(owner(&bucket)),
                size: i64::try_from(about.octets).ok(),
                storage_class: Some(dto::ObjectVersionStorageClass::from_static(convert::storage_class(
                    about.fields.class_in(&bucket),
                ))),
                version_id: Some(ONLY_VERSION.to_owned()),
                ..dto::ObjectVersion::default()
            }
        });
        let is_truncated = page.next.is_some();
        let versions: Vec<_> = versions.collect();
        Ok(S3Response::new(dto::ListObjectVersionsOutput {
            common_prefixes: written.prefixes(page.prefixes),
            delimiter: asked.delimiter.filter(|delimiter| !delimiter.is_empty()).map(|one| written.key(&one)),
            encoding_type: asked.encoding_type,
            is_truncated: Some(is_truncated),
            key_marker: Some(written.key(asked.key_marker.as_deref().unwrap_or_default())),
            max_keys: Some(count(limit)),
            name: Some(asked.bucket),
            next_key_marker: page.next.map(|next| written.key(&next)),
            next_version_id_marker: is_truncated.then(|| ONLY_VERSION.to_owned()),
            prefix: Some(written.key(asked.prefix.as_deref().unwrap_or_default())),
            version_id_marker: asked.version_id_marker,
            versions: Some(versions),
            ..dto::ListObjectVersionsOutput::default()
        }))
    }
}
