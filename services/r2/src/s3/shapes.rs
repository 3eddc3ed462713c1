//! Which requests there are: for each operation, by method and by what it is about, which parameters it needs and which it takes.
//!
//! `s3s` looks for the parameters that it knows and passes over the rest, so that what is asked for by one that it does not know
//! would be done as if it were not there: `PUT /b/k?annotation` would replace the object, `DELETE /b?abac` delete the bucket. So a
//! request whose parameters are not those of one operation is not offered.

use http::Method;
use s3s::S3Error;

use super::{admit::Query, error::not_offered, hosts::Level};

/// An operation, as it is asked for.
struct Shape {
    method: &'static str,
    level: Level,
    /// Parameters that are there.
    needs: &'static [&'static str],
    /// Parameters that may be there.
    takes: &'static [&'static str],
}

const fn shape(
    (method, level): (&'static str, Level),
    needs: &'static [&'static str],
    takes: &'static [&'static str],
) -> Shape {
    Shape { method, level, needs, takes }
}

/// Of both versions of lists: which one it is decides what they say. `metadata` is asked for by some clients, and tells them more
/// where it is known.
const LISTS: &[&str] = &[
    "list-type",
    "delimiter",
    "encoding-type",
    "max-keys",
    "prefix",
    "marker",
    "continuation-token",
    "start-after",
    "fetch-owner",
    "metadata",
];
const VERSIONS: &[&str] =
    &["delimiter", "encoding-type", "key-marker", "max-keys", "metadata", "prefix", "version-id-marker"];
const UPLOADS: &[&str] =
    &["delimiter", "encoding-type", "key-marker", "max-uploads", "prefix", "upload-id-marker"];
const READS: &[&str] = &[
    "partNumber",
    "versionId",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
];

const ALL: (&str, Level) = ("GET", Level::Service);
const GET_BUCKET: (&str, Level) = ("GET", Level::Bucket);
const HEAD_BUCKET: (&str, Level) = ("HEAD", Level::Bucket);
const PUT_BUCKET: (&str, Level) = ("PUT", Level::Bucket);
const POST_BUCKET: (&str, Level) = ("POST", Level::Bucket);
const DELETE_BUCKET: (&str, Level) = ("DELETE", Level::Bucket);
const GET: (&str, Level) = ("GET", Level::Object);
const HEAD: (&str, Level) = ("HEAD", Level::Object);
const PUT: (&str, Level) = ("PUT", Level::Object);
const POST: (&str, Level) = ("POST", Level::Object);
const DELETE: (&str, Level) = ("DELETE", Level::Object);

const SHAPES: &[Shape] = &[
    // ListBuckets
    shape(ALL, &[], &["bucket-region", "continuation-token", "max-buckets", "prefix"]),
    // ListObjects, ListObjectsV2
    shape(GET_BUCKET, &[], LISTS),
    // ListObjectVersions
    shape(GET_BUCKET, &["versions"], VERSIONS),
    // ListMultipartUploads
    shape(GET_BUCKET, &["uploads"], UPLOADS),
    // GetBucketLocation
    shape(GET_BUCKET, &["location"], &[]),
    // GetBucketVersioning
    shape(GET_BUCKET, &["versioning"], &[]),
    // GetBucketCors
    shape(GET_BUCKET, &["cors"], &[]),
    // GetBucketLifecycleConfiguration
    shape(GET_BUCKET, &["lifecycle"], &[]),
    // HeadBucket
    shape(HEAD_BUCKET, &[], &[]),
    // CreateBucket
    shape(PUT_BUCKET, &[], &[]),
    // PutBucketCors
    shape(PUT_BUCKET, &["cors"], &[]),
    // PutBucketLifecycleConfiguration
    shape(PUT_BUCKET, &["lifecycle"], &[]),
    // DeleteBucket
    shape(DELETE_BUCKET, &[], &[]),
    // DeleteBucketCors
    shape(DELETE_BUCKET, &["cors"], &[]),
    // DeleteBucketLifecycle
    shape(DELETE_BUCKET, &["lifecycle"], &[]),
    // DeleteObjects
    shape(POST_BUCKET, &["delete"], &[]),
    // GetObject
    shape(GET, &[], READS),
    // GetObjectAttributes
    shape(GET, &["attributes"], &["versionId"]),
    // ListParts
    shape(GET, &["uploadId"], &["encoding-type", "max-parts", "part-number-marker"]),
    // HeadObject
    shape(HEAD, &[], READS),
    // PutObject, and CopyObject, which a field tells from it
    shape(PUT, &[], &[]),
    // UploadPart, and UploadPartCopy
    shape(PUT, &["partNumber", "uploadId"], &[]),
    // CreateMultipartUpload
    shape(POST, &["uploads"], &[]),
    // CompleteMultipartUpload
    shape(POST, &["uploadId"], &[]),
    // DeleteObject
    shape(DELETE, &[], &["versionId"]),
    // AbortMultipartUpload
    shape(DELETE, &["uploadId"], &[]),
];

/// Characters of a parameter's name that are told.
const TOLD_CHARACTERS_MAX: usize = 64;

/// Parameters of a signature, and of clients that say by one which operation they mean; they are no part of any.
fn is_of_all(name: &str) -> bool {
    name == "x-id" || name.get(..6).is_some_and(|begin| begin.eq_ignore_ascii_case("x-amz-"))
}

impl Shape {
    fn is_of(&self, names: &[&str]) -> bool {
        self.needs.iter().all(|name| names.contains(name))
            && names.iter().all(|name| self.needs.contains(name) || self.takes.contains(name))
    }
}

/// Refuses what is none of the operations.
pub(super) fn check(method: &Method, level: Level, query: &Query) -> Result<(), S3Error> {
    let names: Vec<_> = query.names().filter(|name| !is_of_all(name)).collect();
    let of_these = || SHAPES.iter().filter(|shape| shape.method == method.as_str() && shape.level == level);
    if of_these().any(|shape| shape.is_of(&names)) {
        return Ok(());
    }
    let about = match level {
        Level::Service => "the list of buckets",
        Level::Bucket => "a bucket",
        Level::Object => "an object",
    };
    // The one that nobody knows, or else the first.
    let is_known =
        |name: &str| of_these().any(|shape| shape.needs.contains(&name) || shape.takes.contains(&name));
    let told = names.iter().find(|name| !is_known(name)).or(names.first());
    let told =
        told.map(|name| format!(" with ?{}", name.chars().take(TOLD_CHARACTERS_MAX).collect::<String>()));
    Err(not_offered(&format!("{method} of {about}{}", told.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(method: &Method, level: Level, query: &str) -> Option<String> {
        let refusal = check(method, level, &Query::of(query)).err()?;
        assert_eq!(refusal.code().as_str(), "NotImplemented");
        Some(refusal.message().unwrap_or_default().to_owned())
    }

    /// As clients write them.
    const SIGNED: &str =
        "X-Amz-Algorithm=a&x-amz-credential=c&X-AMZ-DATE=d&X-Amz-Signature=s&x-amz-checksum-crc32=c";

    #[test]
    fn every_operation_is_asked_for_with_what_it_takes_and_nothing_else() {
        for Shape { method, level, needs, takes } in SHAPES {
            let method = &Method::from_bytes(method.as_bytes()).unwrap();
            let operation = format!("{method} {level:?} {needs:?}");
            let bare = needs.join("&");
            let whole = [*needs, *takes].concat().iter().map(|name| format!("{name}=a&")).collect::<String>();
            for query in [&bare, &whole, &format!("{whole}x-id=Any&{SIGNED}")] {
                assert_eq!(refused(method, *level, query), None, "{operation}: {query}");
            }
            for other in ["foo", "policy", "X-Foo=1", "acl=", "%61bac", "uploadid=x", "x-idx"] {
                let told = refused(method, *level, &format!("{whole}{other}"));
                assert!(told.is_some_and(|told| told.contains('?')), "{operation}: {other}");
            }
        }
    }

    #[test]
    fn what_would_be_taken_for_another_operation_is_refused_by_its_name() {
        use Level::{Bucket, Object, Service};
        for (method, level, queries) in [
            (
                Method::PUT,
                Object,
                "encryption annotation restore policy versionId=abc versionId=null uploadId=x partNumber=1",
            ),
            (Method::PUT, Object, "foo acl tagging legal-hold retention renameObject append uploads"),
            (
                Method::DELETE,
                Object,
                "foo policy uploads tagging annotation partNumber=1 uploadId=x&versionId=null",
            ),
            (
                Method::DELETE,
                Bucket,
                "metadataConfiguration metadataTable abac policy tagging website uploads force versionId=x",
            ),
            (
                Method::PUT,
                Bucket,
                "abac policy metadataConfiguration versioning object-lock uploads cors&lifecycle foo",
            ),
            (
                Method::GET,
                Bucket,
                "abac attributes torrent policy acl events uploadId=x cors&uploads versionId=x session",
            ),
            (Method::GET, Object, "abac logging acl tagging torrent uploads uploadId=x&attributes prefix=x"),
            (Method::HEAD, Object, "uploadId=x attributes abac"),
            (Method::HEAD, Bucket, "abac versions"),
            (Method::POST, Object, "restore select&select-type=2 uploads&uploadId=x"),
            (Method::POST, Bucket, "metadataTable delete&x abac"),
            (Method::GET, Service, "policy location foo"),
        ] {
            for query in queries.split(' ') {
                let told = refused(&method, level, query).unwrap_or_else(|| panic!("{method} {query}"));
                assert!(told.contains('?') && told.contains(method.as_str()), "{told}");
            }
        }
        for (method, level) in
            [(Method::PUT, Service), (Method::HEAD, Service), (Method::PATCH, Object), (Method::POST, Object)]
        {
            assert!(refused(&method, level, "").is_some(), "{method}");
        }
        assert_eq!(
            refused(&Method::PUT, Object, "x-id=PutObject&foo").unwrap(),
            "PUT of an object with ?foo is not offered"
        );
        assert_eq!(
            refused(&Method::PUT, Object, "uploadId=x").unwrap(),
            "PUT of an object with ?uploadId is not offered"
        );
        let long = refused(&Method::GET, Bucket, &"é".repeat(9_999)).unwrap();
        assert!(long.len() < 200, "{long}");
    }
}
