//! Operations on objects.

use http::HeaderMap;
use proxima_pipeline::{
    Body, ObjectAbout, ObjectCopy, ObjectDelete, ObjectError, ObjectFields, ObjectPut, ObjectRead, Span,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, dto};

use super::{
    Front, conditions,
    convert::{self, checksums, fields, tell_checksums},
    error::{not_offered, s3_error},
    lists,
};
use crate::wanted::Wanted;

/// What an object has when nobody said what it is.
const CONTENT_TYPE: &str = "binary/octet-stream";

/// Refuses, by its name, what would be lost if it were passed over.
macro_rules! refuse {
    ($($given:expr => $what:literal),* $(,)?) => {
        $(if $given.is_some() {
            return Err(not_offered($what));
        })*
    };
}

/// The fields of an object that several answers have.
macro_rules! tell_object {
    ($told:expr, $bucket:expr, $about:expr, $asked:expr, $span:expr) => {{
        let (about, span): (&ObjectAbout, Option<Span>) = ($about, $span);
        let length = span.map_or(about.octets, |span| span.octets);
        $told.accept_ranges = Some("bytes".to_owned());
        $told.content_length = i64::try_from(length).ok();
        $told.content_range = span.map(|span| content_range(about, span));
        $told.content_type =
            Some(about.fields.content_type.clone().unwrap_or_else(|| CONTENT_TYPE.to_owned()));
        $told.cache_control = about.fields.cache_control.clone();
        $told.content_disposition = about.fields.content_disposition.clone();
        $told.content_encoding = about.fields.content_encoding.clone();
        $told.content_language = about.fields.content_language.clone();
        $told.expires = about.fields.expires.map(convert::time);
        $told.e_tag = Some(convert::etag(&about.etag));
        $told.last_modified = Some(convert::time(about.modified));
        $told.metadata = convert::metadata(&about.fields);
        $told.storage_class =
            convert::unusual_class(about.fields.class_in($bucket)).map(dto::StorageClass::from_static);
        $told.parts_count = $asked.part_number.and(about.parts).map(i32::from);
        let wants_checksum = $asked.checksum_mode.as_ref().is_some_and(|mode| mode.as_str() == "ENABLED");
        // A part of an object has not its checksum.
        if wants_checksum && span.is_none() {
            tell_checksums!($told, (about.checksum.as_ref(), about.parts));
            $told.checksum_type =
                about.checksum.as_ref().map(|checksum| convert::checksum_type(checksum.kind));
        }
    }};
}

fn content_range(about: &ObjectAbout, span: Span) -> String {
    format!("bytes {}-{}/{}", span.start, (span.start + span.octets).saturating_sub(1), about.octets)
}

/// Versions of objects are not kept: there is the only one.
pub(super) fn check_version(version: Option<&str>) -> S3Result<()> {
    match version {
        None | Some(lists::ONLY_VERSION | "") => Ok(()),
        Some(_) => Err(S3Error::with_message(S3ErrorCode::NoSuchVersion, "objects have no versions here")),
    }
}

/// How an object is asked for.
fn wanted<T>(request: &mut S3Request<T>, part: Option<i32>) -> S3Result<Wanted> {
    // `s3s` has not seen what it would refuse.
    let wanted = request.extensions.remove().unwrap_or_else(|| Wanted::read(&request.headers));
    match part {
        None => Ok(wanted),
        Some(number) => wanted.part(convert::part_number(number)?).map_err(s3_error),
    }
}

/// Why an object cannot be read.
fn unread(error: ObjectError) -> S3Error {
    if error != ObjectError::InvalidPart {
        return s3_error(error);
    }
    let code = S3ErrorCode::Custom("InvalidPartNumber".into());
    let mut told = S3Error::with_message(code, "the object has no part of this number");
    told.set_status_code(http::StatusCode::RANGE_NOT_SATISFIABLE);
    told
}

/// A body as it is sent.
fn outgoing(body: Body) -> dto::StreamingBlob {
    dto::StreamingBlob::from(s3s::Body::http_body_unsync(body))
}

/// The fields that a client wishes in the answer.
fn overridden(asked: &dto::GetObjectInput) -> S3Result<HeaderMap> {
    use http::header;
    let expires = asked.response_expires.as_ref().map(|at| {
        let mut text = Vec::new();
        at.format(dto::TimestampFormat::HttpDate, &mut text).ok();
        String::from_utf8(text).unwrap_or_default()
    });
    let mut fields = HeaderMap::new();
    for (name, value) in [
        (header::CONTENT_TYPE, &asked.response_content_type),
        (header::CACHE_CONTROL, &asked.response_cache_control),
        (header::CONTENT_DISPOSITION, &asked.response_content_disposition),
        (header::CONTENT_ENCODING, &asked.response_content_encoding),
        (header::CONTENT_LANGUAGE, &asked.response_content_language),
        (header::EXPIRES, &expires),
    ] {
        let Some(value) = value else { continue };
        let value = http::HeaderValue::try_from(value);
        let refused = |_| s3_error(ObjectError::Invalid("that is no field's value".to_owned()));
        fields.insert(name, value.map_err(refused)?);
    }
    Ok(fields)
}

impl Front {
    pub(super) async fn read(
        &self,
        mut request: S3Request<dto::GetObjectInput>,
    ) -> S3Result<S3Response<dto::GetObjectOutput>> {
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let key = convert::key(&request.input.key)?;
        let part = request.input.part_number;
        let wanted = wanted(&mut request, part)?;
        let asked = &request.input;
        check_version(asked.version_id.as_deref())?;
        refuse!(asked.sse_customer_algorithm => "encryption with keys of clients");
        let fields = overridden(asked)?;
        let read = wanted.ask(|read: &ObjectRead| &read.about, |get| self.objects.get(&bucket, &key, get));
        let read = read.await.map_err(unread)?;
        let mut told = dto::GetObjectOutput::default();
        tell_object!(told, &bucket, &read.about, asked, read.span);
        told.body = Some(outgoing(read.body));
        Ok(S3Response::with_headers(told, fields))
    }

    pub(super) async fn look(
        &self,
        mut request: S3Request<dto::HeadObjectInput>,
    ) -> S3Result<S3Response<dto::HeadObjectOutput>> {
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let key = convert::key(&request.input.key)?;
        let part = request.input.part_number;
        let wanted = wanted(&mut request, part)?;
        let asked = &request.input;
        check_version(asked.version_id.as_deref())?;
        refuse!(asked.sse_customer_algorithm => "encryption with keys of clients");
        let told =
            wanted.ask(|(about, _): &(ObjectAbout, _)| about, |get| self.objects.head(&bucket, &key, get));
        let (about, span) = told.await.map_err(unread)?;
        let mut told = dto::HeadObjectOutput::default();
        tell_object!(told, &bucket, &about, asked, span);
        let mut response = S3Response::new(told);
        response.status = span.map(|_| http::StatusCode::PARTIAL_CONTENT);
        Ok(response)
    }

    pub(super) async fn write(
        &self,
        mut request: S3Request<dto::PutObjectInput>,
    ) -> S3Result<S3Response<dto::PutObjectOutput>> {
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let key = convert::key(&request.input.key)?;
        let asked = &mut request.input;
        refuse!(
            asked.sse_customer_algorithm => "encryption with keys of clients",
            asked.object_lock_mode => "object lock",
            asked.object_lock_legal_hold_status => "object lock",
            asked.tagging => "tags of objects",
            asked.write_offset_bytes => "writing behind an object's end",
        );
        let given = checksums!(asked);
        let put = ObjectPut {
            fields: fields!(asked).read()?,
            conditions: conditions::of_write(&request.headers)?,
            expected: convert::expected(
                &request.headers,
                (asked.content_length, asked.content_md5.as_deref()),
                given,
                asked.checksum_algorithm.as_ref(),
            )?,
            copied_from: None,
        };
        let (body, broken) = convert::body(&request.headers, asked.body.take(), request.trailing_headers)?;
        let about = self.objects.put(&bucket, &key, put, body).await.map_err(|error| broken.tell(error))?;
        let etag = Some(convert::etag(&about.etag));
        let mut told = dto::PutObjectOutput { e_tag: etag, ..Default::default() };
        tell_checksums!(told, (about.checksum.as_ref(), None));
        told.checksum_type = about.checksum.as_ref().map(|checksum| convert::checksum_type(checksum.kind));
        Ok(S3Response::new(told))
    }

    pub(super) async fn copy(
        &self,
        mut request: S3Request<dto::CopyObjectInput>,
    ) -> S3Result<S3Response<dto::CopyObjectOutput>> {
        let (from, from_key) = self.source(&request, &request.input.copy_source).await?;
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let key = convert::key(&request.input.key)?;
        let asked = &mut request.input;
        refuse!(
            asked.sse_customer_algorithm => "encryption with keys of clients",
            asked.copy_source_sse_customer_algorithm => "encryption with keys of clients",
            asked.object_lock_mode => "object lock",
            asked.tagging => "tags of objects",
        );
        let replaces = asked.metadata_directive.as_ref().is_some_and(|word| word.as_str() == "REPLACE");
        if !replaces && asked.storage_class.is_none() && from.tag == bucket.tag && from_key == key {
            let what = "an object that is copied to itself needs other metadata or another storage class";
            return Err(S3Error::with_message(S3ErrorCode::InvalidRequest, what));
        }
        let given: ObjectFields = fields!(asked).read()?;
        let storage_class = given.storage_class.filter(|_| !replaces);
        let copy = ObjectCopy {
            source: convert::conditions(
                (asked.copy_source_if_match.take(), asked.copy_source_if_none_match.take()),
                (asked.copy_source_if_modified_since.take(), asked.copy_source_if_unmodified_since.take()),
            )?,
            conditions: conditions::of_copy(&request.headers)?,
            fields: replaces.then_some(given),
            checksum: convert::algorithm(asked.checksum_algorithm.as_ref())?,
            storage_class,
        };
        let about = self.objects.copy((&from, &from_key), (&bucket, &key), copy).await.map_err(s3_error)?;
        let mut result = dto::CopyObjectResult {
            e_tag: Some(convert::etag(&about.etag)),
            last_modified: Some(convert::time(about.modified)),
            ..dto::CopyObjectResult::default()
        };
        tell_checksums!(result, (about.checksum.as_ref(), about.parts));
        let copy_object_result = Some(result);
        Ok(S3Response::new(dto::CopyObjectOutput { copy_object_result, ..dto::CopyObjectOutput::default() }))
    }

    pub(super) async fn delete_one(
        &self,
        request: S3Request<dto::DeleteObjectInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectOutput>> {
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let key = convert::key(&request.input.key)?;
        check_version(request.input.version_id.as_deref())?;
        refuse!(
            request.input.if_match_last_modified_time => "deleting by the time of the last change",
            request.input.if_match_size => "deleting by size",
        );
        let conditions = conditions::of_write(&request.headers)?;
        let outcomes = self.objects.delete(&bucket, vec![ObjectDelete { key, conditions }]).await;
        outcomes.map_err(s3_error)?.into_iter().try_for_each(|outcome| outcome.map_err(s3_error))?;
        Ok(S3Response::with_status(dto::DeleteObjectOutput::default(), http::StatusCode::NO_CONTENT))
    }

    pub(super) async fn delete_many(
        &self,
        request: S3Request<dto::DeleteObjectsInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectsOutput>> {
        let bucket = self.bucket(&request, &request.input.bucket).await?;
        let dto::Delete { objects, quiet } = request.input.delete;
        if objects.is_empty() || objects.len() > proxima_pipeline::OBJECTS_LISTED_MAX {
            return Err(S3Error::with_message(S3ErrorCode::MalformedXML, "give 1 to 1000 keys"));
        }
        let mut keys = Vec::with_capacity(objects.len());
        for dto::ObjectIdentifier { e_tag, key, version_id, last_modified_time, size } in objects {
            check_version(version_id.as_deref())?;
            refuse!(
                last_modified_time => "deleting by the time of the last change",
                size => "deleting by size",
            );
            let condition = e_tag.map(dto::ETagCondition::ETag);
            let conditions = convert::conditions((condition, None), (None, None))?;
            keys.push(ObjectDelete { key: convert::key(&key)?, conditions });
        }
        let names: Vec<_> = keys.iter().map(|delete| delete.key.as_str().to_owned()).collect();
        let outcomes = self.objects.delete(&bucket, keys).await.map_err(s3_error)?;
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for (name, outcome) in names.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => {
                    deleted.push(dto::DeletedObject { key: Some(name), ..dto::DeletedObject::default() })
                }
                Err(error) => {
                    let error = s3_error(error);
                    errors.push(dto::Error {
                        code: Some(error.code().as_str().to_owned()),
                        key: Some(name),
                        message: error.message().map(str::to_owned),
                        version_id: None,
                    });
                }
            }
        }
        let deleted = (!quiet.unwrap_or_default()).then_some(deleted);
        let errors = (!errors.is_empty()).then_some(errors);
        Ok(S3Response::new(dto::DeleteObjectsOutput { deleted, errors, request_charged: None }))
    }

    /// The object that is copied, of the same account.
    pub(super) async fn source<T>(
        &self,
        request: &S3Request<T>,
        source: &dto::CopySource,
    ) -> S3Result<(proxima_model::Bucket, proxima_pipeline::ObjectKey)> {
        match source {
            dto::CopySource::Bucket { bucket, key, version_id } => {
                check_version(version_id.as_deref())?;
                Ok((self.read_from(request, bucket).await?, convert::key(key)?))
            }
            _ => Err(not_offered("copying by access points")),
        }
    }
}
