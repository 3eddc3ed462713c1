//! Between S3's words and those of the port.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use base64::Engine as _;
use bytes::Bytes;
use futures_util::Stream as _;
use http::HeaderMap;
use http_body::Frame;
use proxima_model::{StorageClass, Timestamp};
use proxima_pipeline::{
    Body, BodyError, ChecksumAlgorithm, ChecksumKind, Expected, ObjectChecksum, ObjectConditions,
    ObjectError, ObjectFields, ObjectKey, Tags, UploadId,
};
use s3s::{S3Error, S3ErrorCode, S3Result, TrailingHeaders, dto};

use super::{chunks::TOO_LARGE, error::s3_error};

/// What clients that ask for `x-amz-trailer` announce behind the body.
const TRAILER: &str = "x-amz-trailer";

pub(super) fn key(text: &str) -> S3Result<ObjectKey> {
    ObjectKey::new(text).map_err(s3_error)
}

pub(super) fn upload(text: &str) -> S3Result<UploadId> {
    text.parse().map_err(s3_error)
}

fn invalid(what: impl Into<String>) -> S3Error {
    s3_error(ObjectError::Invalid(what.into()))
}

pub(super) fn part_number(number: i32) -> S3Result<u16> {
    u16::try_from(number).map_err(|_| invalid("a part's number is from 1 to 10000"))
}

fn system_time(at: Timestamp) -> SystemTime {
    let millis = Duration::from_millis(at.as_millis().unsigned_abs());
    if at.as_millis() < 0 { SystemTime::UNIX_EPOCH - millis } else { SystemTime::UNIX_EPOCH + millis }
}

pub(super) fn time(at: Timestamp) -> dto::Timestamp {
    dto::Timestamp::from(system_time(at))
}

pub(super) fn at(time: &dto::Timestamp) -> S3Result<Timestamp> {
    let mut text = Vec::new();
    let written = time.format(dto::TimestampFormat::EpochSeconds, &mut text);
    let seconds = String::from_utf8(text).ok().filter(|_| written.is_ok());
    let seconds = seconds.and_then(|text| text.parse::<f64>().ok()).ok_or_else(|| invalid("a time"))?;
    // Whole seconds are all that fields have.
    #[allow(clippy::cast_possible_truncation, reason = "seconds of a date are far within it")]
    Ok(Timestamp::from_millis((seconds as i64).saturating_mul(1_000)))
}

pub(super) fn etag(tag: &str) -> dto::ETag {
    dto::ETag::Strong(tag.to_owned())
}

fn tags(condition: Option<dto::ETagCondition>) -> Option<Tags> {
    condition.map(|condition| match condition {
        dto::ETagCondition::Any => Tags::Any,
        dto::ETagCondition::ETag(tag) => Tags::OneOf(vec![tag.into_value()]),
    })
}

pub(super) fn conditions(
    (if_match, if_none_match): (Option<dto::ETagCondition>, Option<dto::ETagCondition>),
    (modified_since, unmodified_since): (Option<dto::Timestamp>, Option<dto::Timestamp>),
) -> S3Result<ObjectConditions> {
    Ok(ObjectConditions {
        if_match: tags(if_match),
        if_none_match: tags(if_none_match),
        modified_since: modified_since.as_ref().map(at).transpose()?,
        unmodified_since: unmodified_since.as_ref().map(at).transpose()?,
    })
}

/// The fields of an object, as several operations give them.
pub(super) struct Fields {
    pub(super) content_type: Option<String>,
    pub(super) cache_control: Option<String>,
    pub(super) content_disposition: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) content_language: Option<String>,
    pub(super) expires: Option<dto::Timestamp>,
    pub(super) metadata: Option<dto::Metadata>,
    pub(super) storage_class: Option<dto::StorageClass>,
}

impl Fields {
    pub(super) fn read(self) -> S3Result<ObjectFields> {
        let metadata = self.metadata.unwrap_or_default().into_iter();
        let mut metadata: Vec<_> = metadata.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        metadata.sort();
        let storage_class = match self.storage_class.as_ref().map(dto::StorageClass::as_str) {
            None => None,
            Some("STANDARD") => Some(StorageClass::Standard),
            Some("STANDARD_IA") => Some(StorageClass::InfrequentAccess),
            Some(_) => {
                let told = "STANDARD and STANDARD_IA are offered";
                return Err(S3Error::with_message(S3ErrorCode::InvalidStorageClass, told));
            }
        };
        // That one says how the octets come, not what they are. What else is there stays as it was written.
        let coding = self.content_encoding.map(|coding| {
            let codings = coding.split(',').filter(|coding| coding.trim() != "aws-chunked");
            codings.collect::<Vec<_>>().join(",").trim().to_owned()
        });
        Ok(ObjectFields {
            content_type: self.content_type,
            cache_control: self.cache_control,
            content_disposition: self.content_disposition,
            content_encoding: coding.filter(|coding| !coding.is_empty()),
            content_language: self.content_language,
            expires: self.expires.as_ref().map(at).transpose()?,
            metadata,
            storage_class,
        })
    }
}

pub(super) fn metadata(fields: &ObjectFields) -> Option<dto::Metadata> {
    (!fields.metadata.is_empty()).then(|| fields.metadata.iter().cloned().collect())
}

/// What S3 calls a class.
pub(super) const fn storage_class(class: StorageClass) -> &'static str {
    match class {
        StorageClass::Standard => "STANDARD",
        StorageClass::InfrequentAccess => "STANDARD_IA",
    }
}

/// The class, where it is not the usual one: heads of S3 do not tell that one.
pub(super) fn unusual_class(class: StorageClass) -> Option<&'static str> {
    (class != StorageClass::Standard).then(|| storage_class(class))
}

/// The values of checksums, as several operations give and take them.
#[derive(Default)]
pub(super) struct Checksums {
    pub(super) crc32: Option<String>,
    pub(super) crc32c: Option<String>,
    pub(super) crc64nvme: Option<String>,
    pub(super) sha1: Option<String>,
    pub(super) sha256: Option<String>,
}

/// Takes the values of checksums out of whatever has them.
macro_rules! checksums {
    ($given:expr) => {
        $crate::s3::convert::Checksums {
            crc32: $given.checksum_crc32.take(),
            crc32c: $given.checksum_crc32c.take(),
            crc64nvme: $given.checksum_crc64nvme.take(),
            sha1: $given.checksum_sha1.take(),
            sha256: $given.checksum_sha256.take(),
        }
    };
}

/// Puts the values of checksums into whatever has them.
macro_rules! tell_checksums {
    ($told:expr, $checksum:expr) => {{
        let told = $crate::s3::convert::Checksums::tell($checksum);
        $told.checksum_crc32 = told.crc32;
        $told.checksum_crc32c = told.crc32c;
        $told.checksum_crc64nvme = told.crc64nvme;
        $told.checksum_sha1 = told.sha1;
        $told.checksum_sha256 = told.sha256;
    }};
}

/// Takes [`Fields`] out of whatever has them.
macro_rules! fields {
    ($asked:expr) => {
        $crate::s3::convert::Fields {
            content_type: $asked.content_type.take(),
            cache_control: $asked.cache_control.take(),
            content_disposition: $asked.content_disposition.take(),
            content_encoding: $asked.content_encoding.take(),
            content_language: $asked.content_language.take(),
            expires: $asked.expires.take(),
            metadata: $asked.metadata.take(),
            storage_class: $asked.storage_class.take(),
        }
    };
}

pub(super) use {checksums, fields, tell_checksums};

impl Checksums {
    /// Those of a request's fields, which are told by their names.
    pub(super) fn of(field: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            crc32: field(ChecksumAlgorithm::Crc32.field()),
            crc32c: field(ChecksumAlgorithm::Crc32c.field()),
            crc64nvme: field(ChecksumAlgorithm::Crc64Nvme.field()),
            sha1: field(ChecksumAlgorithm::Sha1.field()),
            sha256: field(ChecksumAlgorithm::Sha256.field()),
        }
    }

    /// The one that is given.
    pub(super) fn read(self) -> S3Result<Option<(ChecksumAlgorithm, Vec<u8>)>> {
        let given = [self.crc32, self.crc32c, self.crc64nvme, self.sha1, self.sha256];
        let mut given =
            ChecksumAlgorithm::ALL.into_iter().zip(given).filter_map(|(one, value)| Some((one, value?)));
        let (first, second) = (given.next(), given.next());
        if second.is_some() {
            return Err(invalid("give one checksum"));
        }
        let Some((algorithm, text)) = first else { return Ok(None) };
        // Those of several parts say how many these are.
        let text = text.split_once('-').map_or(text.as_str(), |(value, _)| value);
        let value = base64::engine::general_purpose::STANDARD.decode(text).ok();
        match value.filter(|value| value.len() == algorithm.octets()) {
            Some(value) => Ok(Some((algorithm, value))),
            None => Err(s3_error(ObjectError::BadDigest(algorithm.field().to_owned()))),
        }
    }

    /// A checksum and of how many parts it is.
    pub(super) fn tell((checksum, parts): (Option<&ObjectChecksum>, Option<u16>)) -> Self {
        let mut told = Self::default();
        let Some(checksum) = checksum else { return told };
        let mut text = base64::engine::general_purpose::STANDARD.encode(&checksum.value);
        if let (ChecksumKind::Composite, Some(parts)) = (checksum.kind, parts) {
            text = format!("{text}-{parts}");
        }
        *match checksum.algorithm {
            ChecksumAlgorithm::Crc32 => &mut told.crc32,
            ChecksumAlgorithm::Crc32c => &mut told.crc32c,
            ChecksumAlgorithm::Crc64Nvme => &mut told.crc64nvme,
            ChecksumAlgorithm::Sha1 => &mut told.sha1,
            ChecksumAlgorithm::Sha256 => &mut told.sha256,
        } = Some(text);
        told
    }
}

pub(super) fn checksum_type(kind: ChecksumKind) -> dto::ChecksumType {
    dto::ChecksumType::from_static(match kind {
        ChecksumKind::Full => dto::ChecksumType::FULL_OBJECT,
        ChecksumKind::Composite => dto::ChecksumType::COMPOSITE,
    })
}

pub(super) fn algorithm(given: Option<&dto::ChecksumAlgorithm>) -> S3Result<Option<ChecksumAlgorithm>> {
    let Some(given) = given else { return Ok(None) };
    let found = ChecksumAlgorithm::ALL.into_iter().find(|one| one.word() == given.as_str());
    found.map(Some).ok_or_else(|| invalid("CRC32, CRC32C, CRC64NVME, SHA1 and SHA256 are offered"))
}

/// The checksum that a client says comes behind the body.
fn behind(headers: &HeaderMap) -> S3Result<Option<ChecksumAlgorithm>> {
    let lines = headers.get_all(TRAILER).iter().map(|line| line.to_str().unwrap_or("?"));
    let names = lines.flat_map(|line| line.split(',')).map(str::trim).filter(|name| !name.is_empty());
    let known =
        |name: &str| ChecksumAlgorithm::ALL.into_iter().find(|one| name.eq_ignore_ascii_case(one.field()));
    let refused = |what: &'static str| S3Error::with_message(S3ErrorCode::InvalidRequest, what);
    let found = names
        .map(|name| known(name).ok_or_else(|| refused("x-amz-trailer: it has no checksum that is offered")));
    let found = found.collect::<S3Result<Vec<_>>>()?;
    match found[..] {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => Err(refused("x-amz-trailer: give one checksum")),
    }
}

/// What a client says of the octets that it sends.
pub(super) fn expected(
    headers: &HeaderMap,
    (octets, md5): (Option<i64>, Option<&str>),
    checksums: Checksums,
    asked: Option<&dto::ChecksumAlgorithm>,
) -> S3Result<Expected> {
    let md5 = md5.map(|text| {
        let octets = base64::engine::general_purpose::STANDARD.decode(text).ok();
        octets
            .and_then(|octets| <[u8; 16]>::try_from(octets).ok())
            .ok_or_else(|| S3Error::with_message(S3ErrorCode::InvalidDigest, "Content-MD5 is no MD5"))
    });
    let checksum = match (checksums.read()?, behind(headers)?) {
        (Some((algorithm, value)), _) => Some((algorithm, Some(value))),
        (None, Some(algorithm)) => Some((algorithm, None)),
        (None, None) => algorithm(asked)?.map(|algorithm| (algorithm, None)),
    };
    let octets = octets.map(u64::try_from).transpose().map_err(|_| invalid("Content-Length"))?;
    Ok(Expected { octets, md5: md5.transpose()?, checksum })
}

/// By these words it is known that what was announced did not come behind a body.
const NOT_BEHIND: &str = "x-amz-trailer says what is not there";

/// Why a body ended early, in the words of who checked its signatures.
#[derive(Clone, Default)]
pub(super) struct Broken(Arc<Mutex<Option<String>>>);

impl Broken {
    /// The error with which the request is answered.
    pub(super) fn tell(&self, error: ObjectError) -> S3Error {
        let broken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(broken) = broken.filter(|_| matches!(error, ObjectError::Body(_))) else {
            return s3_error(error);
        };
        if broken.contains(TOO_LARGE) {
            let mut told = S3Error::with_message(S3ErrorCode::InvalidRequest, TOO_LARGE);
            told.set_status_code(http::StatusCode::BAD_REQUEST);
            return told;
        }
        // These errors have no type that can be named, only words.
        let code = match () {
            () if broken.contains("Sha256Mismatch") => {
                S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into())
            }
            () if broken == NOT_BEHIND => S3ErrorCode::Custom("MalformedTrailerError".into()),
            () if broken.contains("Signature") => S3ErrorCode::SignatureDoesNotMatch,
            () => S3ErrorCode::IncompleteBody,
        };
        let is_custom = matches!(code, S3ErrorCode::Custom(_));
        let mut told = S3Error::with_message(code, "the body is not what was signed or announced");
        if is_custom {
            told.set_status_code(http::StatusCode::BAD_REQUEST);
        }
        told
    }
}

/// A body that a client sends, with the fields behind it, among which is what these fields announce.
pub(super) fn body(
    headers: &HeaderMap,
    blob: Option<dto::StreamingBlob>,
    trailing: Option<TrailingHeaders>,
) -> S3Result<(Body, Broken)> {
    let (announced, broken) = (behind(headers)?, Broken::default());
    let body = match blob {
        None if announced.is_none() => Body::empty(),
        blob => Body::stream(Incoming { blob, trailing, announced, broken: broken.clone() }),
    };
    Ok((body, broken))
}

struct Incoming {
    blob: Option<dto::StreamingBlob>,
    trailing: Option<TrailingHeaders>,
    announced: Option<ChecksumAlgorithm>,
    broken: Broken,
}

impl Incoming {
    /// Ends it, for this reason.
    fn break_off(&mut self, words: String) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        *self.broken.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(words);
        (self.blob, self.trailing, self.announced) = (None, None, None);
        Poll::Ready(Some(Err(BodyError::Malformed)))
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(blob) = &mut self.blob {
            match std::task::ready!(Pin::new(blob).poll_next(context)) {
                Some(Ok(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Err(error)) => return self.break_off(format!("{error} {error:?}")),
                None => self.blob = None,
            }
        }
        let trailers = self.trailing.take().and_then(|trailing| trailing.take());
        let has =
            |one: ChecksumAlgorithm| trailers.as_ref().is_some_and(|fields| fields.contains_key(one.field()));
        if self.announced.take().is_some_and(|announced| !has(announced)) {
            return self.break_off(NOT_BEHIND.to_owned());
        }
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn announcing(trailer: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(TRAILER), HeaderValue::from_static(trailer))])
    }

    #[test]
    fn one_checksum_is_announced_and_one_that_is_known() {
        let announced =
            |trailer| behind(&announcing(trailer)).map_err(|error| error.code().as_str().to_owned());
        assert_eq!(announced("X-Amz-Checksum-Crc32"), Ok(Some(ChecksumAlgorithm::Crc32)));
        assert_eq!(announced(""), Ok(None));
        for trailer in ["x-amz-checksum-md5", "x-own", "x-amz-checksum-crc32,x-amz-checksum-sha1"] {
            assert_eq!(announced(trailer), Err("InvalidRequest".to_owned()), "{trailer}");
        }
    }

    #[tokio::test]
    async fn what_is_announced_and_does_not_come_is_told() {
        let headers = announcing("x-amz-checksum-crc32");
        let (mut body, broken) = body(&headers, None, None).unwrap();
        assert!(matches!(body.next_frame().await, Some(Err(BodyError::Malformed))));
        let told = broken.tell(ObjectError::Body("it broke off".to_owned()));
        assert_eq!(told.code().as_str(), "MalformedTrailerError");
        assert_eq!(told.status_code(), Some(http::StatusCode::BAD_REQUEST));
    }
}
