//! What is known of an object.

use http::{HeaderMap, HeaderValue, header};
use proxima_model::{Bucket, StorageClass, Timestamp};
use serde::{Deserialize, Serialize};

use super::{OBJECT_METADATA_OCTETS_MAX, ObjectError};
use crate::http_date;

/// What else is said of an object: fields that are given back with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectFields {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Expires`.
    pub expires: Option<Timestamp>,
    /// What its owner adds: names in lower case, and values.
    pub metadata: Vec<(String, String)>,
    /// How it is kept; nothing: as its bucket says.
    pub storage_class: Option<StorageClass>,
}

impl ObjectFields {
    /// Whether it is within its bounds.
    ///
    /// # Errors
    /// It is not.
    pub fn check(&self) -> Result<(), ObjectError> {
        let own = self.metadata.iter().map(|(name, value)| name.len() + value.len());
        let fields = [
            &self.content_type,
            &self.cache_control,
            &self.content_disposition,
            &self.content_encoding,
            &self.content_language,
        ];
        let octets = own.chain(fields.into_iter().flatten().map(String::len)).sum::<usize>();
        if octets > OBJECT_METADATA_OCTETS_MAX { Err(ObjectError::MetadataTooLarge) } else { Ok(()) }
    }

    /// How an object of this bucket is kept.
    pub fn class_in(&self, bucket: &Bucket) -> StorageClass {
        self.storage_class.unwrap_or(bucket.storage_class)
    }
}

/// How a checksum is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChecksumAlgorithm {
    /// CRC-32, as zip has it.
    Crc32,
    /// CRC-32C, as iSCSI has it.
    Crc32c,
    /// CRC-64, as NVMe has it.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl ChecksumAlgorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// The word for it in S3.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The field in which S3 has its value: in the head, or behind the body.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// Octets of its value.
    pub const fn octets(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}

/// Of what a checksum of an object of several parts is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChecksumKind {
    /// Of all its octets.
    Full,
    /// Of its parts' checksums.
    Composite,
}

/// A checksum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectChecksum {
    /// How it is made.
    pub algorithm: ChecksumAlgorithm,
    /// Of what it is.
    pub kind: ChecksumKind,
    /// The value.
    pub value: Vec<u8>,
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectAbout {
    /// How long it is.
    pub octets: u64,
    /// Its entity tag, without quotes: MD5 in hexadecimal; for an object of several parts that of their MD5s, a hyphen and how
    /// many there are.
    pub etag: String,
    /// Tells it from whatever else the key has had or will have.
    pub version: [u8; 16],
    /// When it was put.
    pub modified: Timestamp,
    /// What else is said of it.
    pub fields: ObjectFields,
    /// Its checksum.
    pub checksum: Option<ObjectChecksum>,
    /// How many parts it was uploaded in, if it was.
    pub parts: Option<u16>,
}

impl ObjectAbout {
    /// What fields of HTTP say of it where it is read, whoever asks; not how long it is, since that may be a part.
    pub fn head(&self) -> HeaderMap {
        let (mut head, fields) = (HeaderMap::new(), &self.fields);
        for (name, value) in [
            (header::CONTENT_TYPE, fields.content_type.clone()),
            (header::CACHE_CONTROL, fields.cache_control.clone()),
            (header::CONTENT_DISPOSITION, fields.content_disposition.clone()),
            (header::CONTENT_ENCODING, fields.content_encoding.clone()),
            (header::CONTENT_LANGUAGE, fields.content_language.clone()),
            (header::EXPIRES, fields.expires.map(http_date)),
            (header::ETAG, Some(format!("\"{}\"", self.etag))),
            (header::LAST_MODIFIED, Some(http_date(self.modified))),
        ] {
            // What came by S3 may be what no field of HTTP says so.
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                head.insert(name, value);
            }
        }
        head
    }
}
