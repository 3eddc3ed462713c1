//! Operations on uploads in parts.

use proxima_model::Bucket;
use proxima_pipeline::{
    ChecksumAlgorithm, ChecksumKind, ObjectError, ObjectRange, PartAbout, PartChosen, UploadAbout,
    UploadBegin, UploadComplete, UploadListing,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, dto};

use super::{
    Front, conditions,
    convert::{self, checksums, fields, tell_checksums},
    error::{not_offered, s3_error},
    lists::{self, Written},
};

/// Of what the checksum of an upload is.
fn checksum_of(
    asked: &dto::CreateMultipartUploadInput,
) -> S3Result<Option<(ChecksumAlgorithm, ChecksumKind)>> {
    let Some(algorithm) = convert::algorithm(asked.checksum_algorithm.as_ref())? else { return Ok(None) };
    let kind = match asked.checksum_type.as_ref().map(dto::ChecksumType::as_str) {
        Some(dto::ChecksumType::FULL_OBJECT) => ChecksumKind::Full,
        Some(_) => ChecksumKind::Composite,
        None if algorithm == ChecksumAlgorithm::Crc64Nvme => ChecksumKind::Full,
        None => ChecksumKind::Composite,
    };
    // Hashes of parts make no hash of the whole; and this CRC is made of no others.
    let is_hash = matches!(algorithm, ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256);
    if is_hash && kind == ChecksumKind::Full
        || algorithm == ChecksumAlgorithm::Crc64Nvme && kind == ChecksumKind::Composite
    {
        let what = format!("a checksum by {} cannot be of that type", algorithm.word());
        return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, what));
    }
    Ok(Some((algorithm, kind)))
}

fn part(about: &PartAbout) -> dto::Part {
    let mut told = dto::Part {
        e_tag: Some(convert::etag(&about.etag())),
        last_modified: Some(convert::time(about.modified)),
        part_number: Some(i32::from(about.number)),
        size: i64::try_from(about.octets).ok(),
        ..dto::Part::default()
    };
    tell_checksums!(told, (about.checksum.as_ref(), None));
    told
}

fn chosen(given: dto::CompletedMultipartUpload) -> S3Result<Vec<PartChosen>> {
    let parts = given.parts.unwrap_or_default().into_iter().map(|mut part| {
        let malformed =
            || S3Error::with_message(S3ErrorCode::MalformedXML, "a part has a number and an ETag");
        Ok(PartChosen {
            number: convert::part_number(part.part_number.ok_or_else(malformed)?)?,
            checksum: checksums!(part).read()?,
            etag: part.e_tag.ok_or_else(malformed)?.into_value(),
        })
    });
    parts.collect()
}

fn upload(bucket: &Bucket, about: UploadAbout, written: Written) -> dto::MultipartUpload {
    let class = convert::storage_class(about.begin.fields.class_in(bucket));
    dto::MultipartUpload {
        checksum_algorithm: about
            .begin
            .checksum
            .map(|(one, _)| dto::ChecksumAlgorithm::from_static(one.word())),
        checksum_type: about.begin.checksum.map(|(_, kind)| convert::checksum_type(kind)),
        initiated: Some(convert::time(about.begun)),
        key: Some(written.key(about.key.as_str())),
        storage_class: Some(dto::StorageClass::from_static(class)),
        upload_id: Some(about.id.to_string()),
        ..dto::MultipartUpload::default()
    }
}

/// Which octets of an object become a part.
fn source_range(text: Option<&str>) -> S3Result<Option<ObjectRange>> {
    let Some(text) = text else { return Ok(None) };
    let numbers = text.strip_prefix("bytes=").and_then(|numbers| numbers.split_once('-'));
    let numbers = numbers.and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    match numbers {
        Some((first, last)) if first <= last => Ok(Some(ObjectRange::From(first, Some(last)))),
        _ => Err(s3_error(ObjectError::Invalid(
            "the range to copy is not of the form bytes=FIRST-LAST".to_owned(),
        ))),
    }
}

impl Front {
    pub(super) async fn begin(
        &self,
        mut request: S3Request<dto::CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CreateMultipartUploadOutput>> {
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let key = convert::key(&request.input.key)?;
        let asked = &mut request.input;
        conditions::refuse_before_completion(&request.headers)?;
        for (given, what) in [
            (asked.sse_customer_algorithm.is_some(), "encryption with keys of clients"),
            (asked.object_lock_mode.is_some(), "object lock"),
            (asked.tagging.is_some(), "tags of objects"),
        ] {
            if given {
                return Err(not_offered(what));
            }
        }
        let checksum = checksum_of(asked)?;
        let begin = UploadBegin { fields: fields!(asked).read()?, checksum };
        let id = self.objects.begin_upload(&bucket, &key, begin).await.map_err(s3_error)?;
        Ok(S3Response::new(dto::CreateMultipartUploadOutput {
            bucket: Some(asked.bucket.clone()),
            checksum_algorithm: checksum.map(|(one, _)| dto::ChecksumAlgorithm::from_static(one.word())),
            checksum_type: checksum.map(|(_, kind)| convert::checksum_type(kind)),
            key: Some(asked.key.clone()),
            upload_id: Some(id.to_string()),
            ..dto::CreateMultipartUploadOutput::default()
        }))
    }

    pub(super) async fn write_part(
        &self,
        mut request: S3Request<dto::UploadPartInput>,
    ) -> S3Result<S3Response<dto::UploadPartOutput>> {
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let key = convert::key(&request.input.key)?;
        let asked = &mut request.input;
        let which = (convert::upload(&asked.upload_id)?, convert::part_number(asked.part_number)?);
        conditions::refuse_before_completion(&request.headers)?;
        let given = checksums!(asked);
        let octets = (asked.content_length, asked.content_md5.as_deref());
        let expected = convert::expected(&request.headers, octets, given, asked.checksum_algorithm.as_ref())?;
        let (body, broken) = convert::body(&request.headers, asked.body.take(), request.trailing_headers)?;
        let put = self.objects.put_part(&bucket, &key, which, expected, body).await;
        let about = put.map_err(|error| broken.tell(error))?;
        let etag = Some(convert::etag(&about.etag()));
        let mut told = dto::UploadPartOutput { e_tag: etag, ..Default::default() };
        tell_checksums!(told, (about.checksum.as_ref(), None));
        Ok(S3Response::new(told))
    }

    pub(super) async fn copy_part(
        &self,
        mut request: S3Request<dto::UploadPartCopyInput>,
    ) -> S3Result<S3Response<dto::UploadPartCopyOutput>> {
        let (from, from_key) = self.source(&request, &request.input.copy_source).await?;
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let key = convert::key(&request.input.key)?;
        let asked = &mut request.input;
        let which = (convert::upload(&asked.upload_id)?, convert::part_number(asked.part_number)?);
        conditions::refuse_before_completion(&request.headers)?;
        let conditions = convert::conditions(
            (asked.copy_source_if_match.take(), asked.copy_source_if_none_match.take()),
            (asked.copy_source_if_modified_since.take(), asked.copy_source_if_unmodified_since.take()),
        )?;
        let range = source_range(asked.copy_source_range.as_deref())?;
        if let Some(ObjectRange::From(_, Some(last))) = range {
            // Unlike where it is read, a range here must be there whole.
            let (about, _) =
                self.objects.head(&from, &from_key, Default::default()).await.map_err(s3_error)?;
            if last >= about.octets {
                return Err(s3_error(ObjectError::InvalidRange(about.octets)));
            }
        }
        let copy = self.objects.copy_part((&from, &from_key), (range, conditions), (&bucket, &key), which);
        let about = copy.await.map_err(s3_error)?;
        let mut result = dto::CopyPartResult {
            e_tag: Some(convert::etag(&about.etag())),
            last_modified: Some(convert::time(about.modified)),
            ..dto::CopyPartResult::default()
        };
        tell_checksums!(result, (about.checksum.as_ref(), None));
        let copy_part_result = Some(result);
        Ok(S3Response::new(dto::UploadPartCopyOutput {
            copy_part_result,
            ..dto::UploadPartCopyOutput::default()
        }))
    }

    pub(super) async fn complete(
        &self,
        mut request: S3Request<dto::CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CompleteMultipartUploadOutput>> {
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let key = convert::key(&request.input.key)?;
        let asked = &mut request.input;
        let upload = convert::upload(&asked.upload_id)?;
        let complete = UploadComplete {
            parts: chosen(asked.multipart_upload.take().unwrap_or_default())?,
            conditions: conditions::of_write(&request.headers)?,
            octets: asked.mpu_object_size.and_then(|octets| u64::try_from(octets).ok()),
            checksum: checksums!(asked).read()?,
        };
        if complete.parts.is_empty() {
            return Err(S3Error::with_message(S3ErrorCode::MalformedXML, "give at least one part"));
        }
        let done = self.objects.complete_upload(&bucket, &key, upload, complete).await;
        let about = done.map_err(s3_error)?;
        let mut told = dto::CompleteMultipartUploadOutput {
            bucket: Some(asked.bucket.clone()),
            e_tag: Some(convert::etag(&about.etag)),
            key: Some(asked.key.clone()),
            location: Some(format!("/{}/{}", asked.bucket, asked.key)),
            ..dto::CompleteMultipartUploadOutput::default()
        };
        tell_checksums!(told, (about.checksum.as_ref(), about.parts));
        told.checksum_type = about.checksum.as_ref().map(|checksum| convert::checksum_type(checksum.kind));
        Ok(S3Response::new(told))
    }

    pub(super) async fn abort(
        &self,
        request: S3Request<dto::AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::AbortMultipartUploadOutput>> {
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let key = convert::key(&request.input.key)?;
        let upload = convert::upload(&request.input.upload_id)?;
        self.objects.abort_upload(&bucket, &key, upload).await.map_err(s3_error)?;
        let told = dto::AbortMultipartUploadOutput::default();
        Ok(S3Response::with_status(told, http::StatusCode::NO_CONTENT))
    }

    pub(super) async fn parts(
        &self,
        request: S3Request<dto::ListPartsInput>,
    ) -> S3Result<S3Response<dto::ListPartsOutput>> {
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let asked = request.input;
        let (key, id) = (convert::key(&asked.key)?, convert::upload(&asked.upload_id)?);
        let limit = lists::limit(asked.max_parts)?;
        let after = convert::part_number(asked.part_number_marker.unwrap_or_default())?;
        let page = self.objects.parts(&bucket, &key, id, (after, limit)).await.map_err(s3_error)?;
        let begin = &page.upload.begin;
        let class = convert::storage_class(begin.fields.class_in(&bucket));
        let last = page.parts.last().map(|part| i32::from(part.number));
        Ok(S3Response::new(dto::ListPartsOutput {
            bucket: Some(asked.bucket),
            checksum_algorithm: begin
                .checksum
                .map(|(one, _)| dto::ChecksumAlgorithm::from_static(one.word())),
            checksum_type: begin.checksum.map(|(_, kind)| convert::checksum_type(kind)),
            is_truncated: Some(page.has_more),
            key: Some(asked.key),
            max_parts: Some(lists::count(limit)),
            next_part_number_marker: last,
            part_number_marker: Some(i32::from(after)),
            parts: Some(page.parts.iter().map(part).collect()),
            storage_class: Some(dto::StorageClass::from_static(class)),
            upload_id: Some(asked.upload_id),
            ..dto::ListPartsOutput::default()
        }))
    }

    pub(super) async fn uploads(
        &self,
        request: S3Request<dto::ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<dto::ListMultipartUploadsOutput>> {
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let asked = request.input;
        let written = Written::of(asked.encoding_type.as_ref())?;
        let limit = lists::limit(asked.max_uploads)?;
        let key_marker = asked.key_marker.clone().filter(|marker| !marker.is_empty());
        // Without a key it says nothing.
        let id = asked.upload_id_marker.as_deref().filter(|id| key_marker.is_some() && !id.is_empty());
        let wrong = |_| s3_error(ObjectError::Invalid("upload-id-marker: it is no upload's id".to_owned()));
        let id = id.map(|id| convert::upload(id).map_err(wrong)).transpose()?;
        let listing = UploadListing {
            prefix: asked.prefix.clone().unwrap_or_default(),
            delimiter: asked.delimiter.clone().filter(|delimiter| !delimiter.is_empty()),
            after: key_marker.map(|marker| (marker, id)),
            limit,
        };
        let page = self.objects.uploads(&bucket, listing).await.map_err(s3_error)?;
        let is_truncated = page.next.is_some();
        let (next_key, next_id) = page.next.map_or((None, None), |(key, id)| (Some(key), id));
        Ok(S3Response::new(dto::ListMultipartUploadsOutput {
            bucket: Some(asked.bucket),
            common_prefixes: written.prefixes(page.prefixes),
            delimiter: asked.delimiter.map(|delimiter| written.key(&delimiter)),
            encoding_type: asked.encoding_type,
            is_truncated: Some(is_truncated),
            key_marker: asked.key_marker.map(|marker| written.key(&marker)),
            max_uploads: Some(lists::count(limit)),
            next_key_marker: next_key.map(|key| written.key(&key)),
            next_upload_id_marker: next_id.map(|id| id.to_string()),
            prefix: asked.prefix.map(|prefix| written.key(&prefix)),
            upload_id_marker: asked.upload_id_marker,
            uploads: Some(page.uploads.into_iter().map(|about| upload(&bucket, about, written)).collect()),
            ..dto::ListMultipartUploadsOutput::default()
        }))
    }
}
