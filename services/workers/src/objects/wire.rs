//! What `r2_bucket.js` and the node say to each other, as JSON: pure.

use std::collections::BTreeMap;

use http::StatusCode;
use proxima_model::{Bucket, StorageClass, Timestamp};
use proxima_pipeline::{
    ChecksumAlgorithm, ChecksumKind, Expected, ObjectAbout, ObjectConditions, ObjectError, ObjectFields,
    ObjectRange, Span, Tags,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::metrics::R2Operation;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Asked {
    Head { key: String },
    Get { key: String, only_if: Option<OnlyIf>, range: Option<Range> },
    Put { key: String, only_if: Option<OnlyIf>, fields: Fields, hash: Option<Hash>, mark: Option<String> },
    Delete,
    List(Listing),
    Begin { key: String, fields: Fields },
    Part { key: String, upload_id: String, part_number: i64, mark: Option<String> },
    Complete { key: String, upload_id: String },
    Abort { key: String, upload_id: String },
}

impl Asked {
    /// What stands behind a stream that is put.
    pub(super) fn mark(&self) -> Option<&str> {
        match self {
            Self::Put { mark, .. } | Self::Part { mark, .. } => mark.as_deref(),
            _ => None,
        }
    }

    /// As it is counted.
    pub(super) const fn operation(&self) -> R2Operation {
        match self {
            Self::Head { .. } => R2Operation::Head,
            Self::Get { .. } => R2Operation::Get,
            Self::Put { .. } => R2Operation::Put,
            Self::Delete => R2Operation::Delete,
            Self::List(_) => R2Operation::List,
            Self::Begin { .. } | Self::Part { .. } | Self::Complete { .. } | Self::Abort { .. } => {
                R2Operation::Multipart
            }
        }
    }
}

/// Which keys.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listing {
    pub(super) limit: Option<usize>,
    pub(super) prefix: Option<String>,
    pub(super) cursor: Option<String>,
    pub(super) delimiter: Option<String>,
    pub(super) start_after: Option<String>,
}

/// A part of which an object is made.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Chosen {
    pub(super) part_number: u16,
    pub(super) etag: String,
}

/// What must hold; times in milliseconds.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct OnlyIf {
    etag_matches: Option<Vec<String>>,
    etag_does_not_match: Option<Vec<String>>,
    uploaded_before: Option<f64>,
    uploaded_after: Option<f64>,
    seconds_granularity: bool,
}

fn tags(given: Option<&Vec<String>>) -> Option<Tags> {
    let given = given?;
    Some(if given.iter().any(|tag| tag == "*") { Tags::Any } else { Tags::OneOf(given.clone()) })
}

fn have(tags: &[String], about: &ObjectAbout) -> bool {
    tags.iter().any(|tag| tag == "*" || *tag == about.etag)
}

impl OnlyIf {
    /// Whether an object that is read is so.
    pub(super) fn holds(&self, about: &ObjectAbout) -> bool {
        let at = about.modified.as_millis();
        let at = if self.seconds_granularity { at.div_euclid(1_000) * 1_000 } else { at };
        // Milliseconds since 1970 are whole numbers in a double, for longer than there will be.
        #[allow(clippy::cast_precision_loss, reason = "see above")]
        let at = at as f64;
        let is_before = |before: f64| if self.seconds_granularity { at <= before } else { at < before };
        self.etag_matches.as_ref().is_none_or(|tags| have(tags, about))
            && self.etag_does_not_match.as_ref().is_none_or(|tags| !have(tags, about))
            && self.uploaded_before.is_none_or(is_before)
            && self.uploaded_after.is_none_or(|after| at > after)
    }

    /// As the bucket's home looks at it when it writes: times by seconds, there.
    pub(super) fn to_conditions(&self) -> ObjectConditions {
        // What is no time is compared with the beginning of time.
        #[allow(clippy::cast_possible_truncation, reason = "a cast of a double saturates")]
        let time = |millis: Option<f64>| millis.map(|millis| Timestamp::from_millis(millis as i64));
        ObjectConditions {
            if_match: tags(self.etag_matches.as_ref()),
            if_none_match: tags(self.etag_does_not_match.as_ref()),
            modified_since: time(self.uploaded_after),
            unmodified_since: time(self.uploaded_before),
        }
    }
}

/// Which octets.
#[derive(Debug, Deserialize)]
pub(super) struct Range {
    offset: Option<u64>,
    length: Option<u64>,
    suffix: Option<u64>,
}

impl Range {
    pub(super) fn read(&self) -> Result<ObjectRange, Refusal> {
        match (self.suffix, self.offset.unwrap_or(0), self.length) {
            (Some(suffix), _, _) => Ok(ObjectRange::Last(suffix)),
            (None, offset, None) => Ok(ObjectRange::From(offset, None)),
            (None, _, Some(0)) => Err(Refusal::from(ObjectError::InvalidRange(0))),
            (None, offset, Some(length)) => {
                Ok(ObjectRange::From(offset, Some(offset.saturating_add(length - 1))))
            }
        }
    }
}

/// What else is said of an object.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fields {
    #[serde(default)]
    http: Map<String, Value>,
    #[serde(default)]
    custom: BTreeMap<String, String>,
    storage_class: Option<String>,
}

impl Fields {
    pub(super) fn read(mut self) -> Result<ObjectFields, Refusal> {
        let class = self.storage_class.as_deref().map(StorageClass::parse).transpose();
        for (name, value) in &self.custom {
            // S3 gives them back as fields of HTTP.
            let is_field =
                http::HeaderName::try_from(name).is_ok() && http::HeaderValue::try_from(value).is_ok();
            if !is_field {
                return Err(Refusal::invalid(
                    "customMetadata: give names and values that are fields of HTTP",
                ));
            }
        }
        let expires = self.http.remove("cacheExpiry").and_then(|at| at.as_i64());
        let mut field = |name: &str| match self.http.remove(name) {
            Some(Value::String(text)) if http::HeaderValue::try_from(&text).is_ok() => Ok(Some(text)),
            Some(_) => Err(Refusal::invalid("httpMetadata: give values that are fields of HTTP")),
            None => Ok(None),
        };
        Ok(ObjectFields {
            content_type: field("contentType")?,
            cache_control: field("cacheControl")?,
            content_disposition: field("contentDisposition")?,
            content_encoding: field("contentEncoding")?,
            content_language: field("contentLanguage")?,
            expires: expires.map(Timestamp::from_millis),
            metadata: self.custom.into_iter().collect(),
            storage_class: class.map_err(|problem| Refusal::invalid(&problem.to_string()))?,
        })
    }
}

/// What octets must be, in hexadecimal.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Hash {
    Md5(String),
    Sha1(String),
    Sha256(String),
}

impl Hash {
    pub(super) fn expected(hash: Option<&Self>, octets: Option<u64>) -> Result<Expected, Refusal> {
        let mut expected = Expected { octets, ..Expected::default() };
        let octets =
            |text: &str| hex::decode(text).map_err(|_| Refusal::invalid("a hash is not hexadecimal"));
        match hash {
            None => {}
            Some(Self::Md5(text)) => {
                let md5 = octets(text)?.try_into();
                expected.md5 =
                    Some(md5.map_err(|_| Refusal::invalid("a hash is not as long as it should be"))?);
            }
            Some(Self::Sha1(text)) => {
                expected.checksum = Some((ChecksumAlgorithm::Sha1, Some(octets(text)?)))
            }
            Some(Self::Sha256(text)) => {
                expected.checksum = Some((ChecksumAlgorithm::Sha256, Some(octets(text)?)));
            }
        }
        Ok(expected)
    }
}

/// What is known of an object.
pub(super) fn show(bucket: &Bucket, key: &str, about: &ObjectAbout, span: Option<Span>) -> Value {
    let fields = &about.fields;
    let mut http = Map::new();
    for (name, value) in [
        ("contentType", &fields.content_type),
        ("cacheControl", &fields.cache_control),
        ("contentDisposition", &fields.content_disposition),
        ("contentEncoding", &fields.content_encoding),
        ("contentLanguage", &fields.content_language),
    ] {
        if let Some(value) = value {
            http.insert(name.to_owned(), value.as_str().into());
        }
    }
    if let Some(expires) = fields.expires {
        http.insert("cacheExpiry".to_owned(), expires.as_millis().into());
    }
    let mut checksums = Map::new();
    // Of an object of several parts it is made of theirs.
    if about.parts.is_none() {
        checksums.insert("md5".to_owned(), about.etag.as_str().into());
    }
    if let Some(checksum) = about.checksum.as_ref().filter(|checksum| checksum.kind == ChecksumKind::Full) {
        let name = match checksum.algorithm {
            ChecksumAlgorithm::Sha1 => Some("sha1"),
            ChecksumAlgorithm::Sha256 => Some("sha256"),
            _ => None,
        };
        checksums.extend(name.map(|name| (name.to_owned(), hex::encode(&checksum.value).into())));
    }
    let custom: Map<_, _> =
        fields.metadata.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let mut shown = json!({
        "key": key,
        "version": hex::encode(about.version),
        "size": about.octets,
        "etag": about.etag,
        "uploaded": about.modified.as_millis(),
        "httpMetadata": http,
        "customMetadata": custom,
        "checksums": checksums,
        "storageClass": fields.class_in(bucket).as_str(),
    });
    if let Some(span) = span {
        shown["range"] = json!({ "offset": span.start, "length": span.octets });
    }
    shown
}

/// Why it is not done: a status, the code that R2 has for it, and what is said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: u32,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: u32, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// What is asked for cannot be.
    pub(super) fn invalid(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, 10029, message)
    }

    /// A stream that is put has failed where it came from.
    pub(super) fn broken() -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, 10029, "the stream did not come to its end")
    }

    /// What was demanded of an object does not hold.
    pub(super) fn precondition() -> Self {
        ObjectError::PreconditionFailed.into()
    }
}

impl From<ObjectError> for Refusal {
    fn from(error: ObjectError) -> Self {
        let (status, code) = match &error {
            ObjectError::NoSuchBucket => (StatusCode::NOT_FOUND, 10006),
            ObjectError::NoSuchKey => (StatusCode::NOT_FOUND, 10007),
            ObjectError::NoSuchUpload => (StatusCode::NOT_FOUND, 10024),
            ObjectError::PreconditionFailed | ObjectError::NotModified(_) => {
                (StatusCode::PRECONDITION_FAILED, 10031)
            }
            ObjectError::InvalidRange(_) => (StatusCode::RANGE_NOT_SATISFIABLE, 10039),
            ObjectError::InvalidPart | ObjectError::InvalidPartOrder => (StatusCode::BAD_REQUEST, 10025),
            ObjectError::PartTooSmall => (StatusCode::BAD_REQUEST, 10011),
            ObjectError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, 100_100),
            ObjectError::KeyTooLong => (StatusCode::BAD_REQUEST, 10020),
            ObjectError::MetadataTooLarge => (StatusCode::BAD_REQUEST, 10012),
            ObjectError::BadDigest(_) => (StatusCode::BAD_REQUEST, 10037),
            ObjectError::Invalid(_)
            | ObjectError::Body(_)
            | ObjectError::BucketExists
            | ObjectError::TooManyBuckets
            | ObjectError::BucketNotEmpty
            | ObjectError::BucketHasDomains => (StatusCode::BAD_REQUEST, 10029),
            ObjectError::Busy => (StatusCode::TOO_MANY_REQUESTS, 10058),
            ObjectError::Unreachable(_) | ObjectError::Full(_) => (StatusCode::SERVICE_UNAVAILABLE, 10043),
            ObjectError::Broken(what) => {
                tracing::error!(what, "what a Worker asked of a bucket failed");
                let told = "We encountered an internal error. Please try again.";
                return Self::new(StatusCode::INTERNAL_SERVER_ERROR, 10001, told);
            }
        };
        Self::new(status, code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> ObjectAbout {
        ObjectAbout {
            octets: 6,
            etag: "e".to_owned(),
            version: [1; 16],
            modified: Timestamp::from_millis(10_500),
            fields: ObjectFields::default(),
            checksum: None,
            parts: None,
        }
    }

    #[test]
    fn conditions_of_reads_are_looked_at_to_the_millisecond_unless_by_seconds() {
        let holds = |text: &str| serde_json::from_str::<OnlyIf>(text).unwrap().holds(&about());
        for (text, expected) in [
            ("{}", true),
            (r#"{"etagMatches":["e"]}"#, true),
            (r#"{"etagMatches":["x","*"]}"#, true),
            (r#"{"etagMatches":["x"]}"#, false),
            (r#"{"etagDoesNotMatch":["x"]}"#, true),
            (r#"{"etagDoesNotMatch":["e"]}"#, false),
            (r#"{"uploadedBefore":10500}"#, false),
            (r#"{"uploadedBefore":10501}"#, true),
            (r#"{"uploadedAfter":10499}"#, true),
            (r#"{"uploadedAfter":10500}"#, false),
            (r#"{"uploadedBefore":10000,"secondsGranularity":true}"#, true),
            (r#"{"uploadedAfter":10000,"secondsGranularity":true}"#, false),
            (r#"{"etagMatches":["e"],"uploadedAfter":10500}"#, false),
        ] {
            assert_eq!(holds(text), expected, "{text}");
        }
    }

    #[test]
    fn ranges_are_read_as_documented() {
        let read = |text: &str| serde_json::from_str::<Range>(text).unwrap().read();
        assert_eq!(read(r#"{"offset":2}"#), Ok(ObjectRange::From(2, None)));
        assert_eq!(read(r#"{"offset":2,"length":3}"#), Ok(ObjectRange::From(2, Some(4))));
        assert_eq!(read(r#"{"length":3}"#), Ok(ObjectRange::From(0, Some(2))));
        assert_eq!(read(r#"{"suffix":3}"#), Ok(ObjectRange::Last(3)));
        assert_eq!(read(r#"{"offset":2,"length":0}"#).unwrap_err().code, 10039);
        let largest = format!(r#"{{"offset":{0},"length":{0}}}"#, u64::MAX);
        assert_eq!(read(&largest), Ok(ObjectRange::From(u64::MAX, Some(u64::MAX))));
    }

    #[test]
    fn what_is_no_field_of_http_is_refused() {
        let read = |text: &str| serde_json::from_str::<Fields>(text).unwrap().read();
        let fields =
            read(r#"{"http":{"contentType":"text/x","cacheExpiry":5},"custom":{"Name":"é"}}"#).unwrap();
        assert_eq!(fields.content_type.as_deref(), Some("text/x"));
        assert_eq!(fields.expires, Some(Timestamp::from_millis(5)));
        assert_eq!(fields.metadata, [("Name".to_owned(), "é".to_owned())]);
        for text in [
            r#"{"custom":{"a b":"x"}}"#,
            r#"{"custom":{"a":"x\ny"}}"#,
            r#"{"http":{"contentType":"x\ny"}}"#,
            r#"{"http":{"contentType":5}}"#,
            r#"{"storageClass":"Other"}"#,
        ] {
            assert_eq!(read(text).unwrap_err().code, 10029, "{text}");
        }
    }
}
