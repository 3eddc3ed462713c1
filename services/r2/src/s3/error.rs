//! The one place where an [`ObjectError`] becomes an error of S3.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use proxima_pipeline::{ObjectAbout, ObjectError};
use s3s::{S3Error, S3ErrorCode};

/// When something may be asked again that was not done now: a server that restarts is back by then.
const RETRY_AFTER_SECONDS: u16 = 5;

/// What S3's clients are told.
pub(super) fn s3_error(error: ObjectError) -> S3Error {
    let code = match &error {
        ObjectError::NoSuchBucket => S3ErrorCode::NoSuchBucket,
        ObjectError::BucketExists => S3ErrorCode::BucketAlreadyOwnedByYou,
        ObjectError::TooManyBuckets => S3ErrorCode::TooManyBuckets,
        ObjectError::BucketNotEmpty | ObjectError::BucketHasDomains => S3ErrorCode::BucketNotEmpty,
        ObjectError::NoSuchKey => S3ErrorCode::NoSuchKey,
        ObjectError::NoSuchUpload => S3ErrorCode::NoSuchUpload,
        ObjectError::PreconditionFailed => S3ErrorCode::PreconditionFailed,
        ObjectError::NotModified(_) => S3ErrorCode::NotModified,
        ObjectError::InvalidRange(_) => S3ErrorCode::InvalidRange,
        ObjectError::InvalidPart => S3ErrorCode::InvalidPart,
        ObjectError::InvalidPartOrder => S3ErrorCode::InvalidPartOrder,
        ObjectError::PartTooSmall => S3ErrorCode::EntityTooSmall,
        ObjectError::TooLarge => S3ErrorCode::EntityTooLarge,
        ObjectError::KeyTooLong => S3ErrorCode::KeyTooLongError,
        ObjectError::MetadataTooLarge => S3ErrorCode::MetadataTooLarge,
        ObjectError::BadDigest(_) => S3ErrorCode::BadDigest,
        ObjectError::Invalid(_) => S3ErrorCode::InvalidArgument,
        ObjectError::Body(_) => S3ErrorCode::IncompleteBody,
        ObjectError::Unreachable(_) => S3ErrorCode::ServiceUnavailable,
        ObjectError::Busy => S3ErrorCode::SlowDown,
        ObjectError::Full(_) => S3ErrorCode::Custom("InsufficientStorage".into()),
        ObjectError::Broken(_) => S3ErrorCode::InternalError,
    };
    // What is broken here is no client's business, and logged.
    let message = match &error {
        ObjectError::Broken(what) => {
            tracing::error!(target: "proxima_r2", what, "a request failed");
            "a fault of ours; it has been logged".to_owned()
        }
        error => error.to_string(),
    };
    let mut told = S3Error::with_message(code, message);
    match &error {
        ObjectError::NotModified(about) => {
            told.set_status_code(StatusCode::NOT_MODIFIED);
            told.set_headers(unchanged(about));
        }
        ObjectError::InvalidRange(octets) => {
            let mut fields = HeaderMap::new();
            if let Ok(range) = HeaderValue::try_from(format!("bytes */{octets}")) {
                fields.insert(header::CONTENT_RANGE, range);
            }
            fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
            told.set_headers(fields);
        }
        ObjectError::Full(_) => told.set_status_code(StatusCode::INSUFFICIENT_STORAGE),
        ObjectError::Unreachable(_) | ObjectError::Busy => {
            let mut fields = HeaderMap::new();
            fields.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
            fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
            told.set_headers(fields);
        }
        _ => {}
    }
    told
}

/// What is said of an object that who asks has already (RFC 9110, 15.4.5).
pub(crate) fn unchanged(about: &ObjectAbout) -> HeaderMap {
    let head = about.head();
    let kept = [header::ETAG, header::LAST_MODIFIED, header::CACHE_CONTROL, header::EXPIRES];
    kept.into_iter().filter_map(|name| head.get(&name).cloned().map(|value| (name, value))).collect()
}

/// What is asked for is not offered.
pub(super) fn not_offered(what: &str) -> S3Error {
    S3Error::with_message(S3ErrorCode::NotImplemented, format!("{what} is not offered"))
}
