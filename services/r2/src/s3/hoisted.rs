//! Fields that stand in the query of a signed URL (`x-amz-meta-a=b`): the JavaScript SDK writes them there, and S3 takes them for fields
//! of the request.
//!
//! They are put beside the fields before `s3s` reads these, and stay in the query, of which all is signed: as a field none of them is,
//! so what the signature is checked over is what came. For that, one that is signed as a field and is not there is not taken from the
//! query. One that stands in both places says the same in both, or is refused: both were signed, and which was meant nobody can tell.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proxima_pipeline::ChecksumAlgorithm;
use s3s::{S3Error, S3ErrorCode};

use super::{admit::Query, hosts::Level};
use crate::store::hashing::checksum;

/// What is said of a new object.
const OBJECT: &[&str] = &["x-amz-meta-", "x-amz-object-lock-mode", "x-amz-storage-class", "x-amz-tagging"];
/// What is copied, and on what condition.
const COPY: &[&str] = &[
    "x-amz-copy-source",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-unmodified-since",
];
/// What is said of a body.
const DIGESTS: &[&str] = &[
    "x-amz-checksum-algorithm",
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
];
const OF_COPY: &[&str] = &["x-amz-metadata-directive", "x-amz-tagging-directive"];
const OF_UPLOAD: &[&str] = &["x-amz-checksum-algorithm", "x-amz-checksum-type"];
const OF_COMPLETION: &[&str] = &["x-amz-checksum-type", "x-amz-mp-object-size"];
const OF_ATTRIBUTES: &[&str] = &["x-amz-max-parts", "x-amz-object-attributes", "x-amz-part-number-marker"];

/// The fields that an operation heeds, or refuses by their names. One that ends in `-` is all that begin so.
fn heeded(method: &Method, level: Level, query: &Query) -> &'static [&'static [&'static str]] {
    match (method.as_str(), level) {
        ("PUT", Level::Object) if query.has("uploadId") => &[COPY, DIGESTS, &["x-amz-copy-source-range"]],
        ("PUT", Level::Object) => &[OBJECT, COPY, DIGESTS, OF_COPY],
        ("POST", Level::Object) if query.has("uploads") => &[OBJECT, OF_UPLOAD],
        ("POST", Level::Object) => &[DIGESTS, OF_COMPLETION],
        ("PUT", Level::Bucket) if query.has("cors") || query.has("lifecycle") => &[DIGESTS],
        ("PUT", Level::Bucket) => &[&["x-amz-bucket-object-lock-enabled"]],
        ("POST", Level::Bucket) => &[DIGESTS],
        ("GET", Level::Object) if query.has("attributes") => &[OF_ATTRIBUTES],
        ("GET" | "HEAD", Level::Object) => &[&["x-amz-checksum-mode"]],
        ("DELETE", Level::Object) => &[&["x-amz-if-match-last-modified-time", "x-amz-if-match-size"]],
        _ => &[],
    }
}

/// The fields that one operation takes from the query.
pub(super) struct Hoisted(&'static [&'static [&'static str]]);

impl Hoisted {
    /// Of a request that is signed by its query.
    pub(super) fn of(method: &Method, level: Level, query: &Query) -> Self {
        Self(heeded(method, level, query))
    }

    /// Of one that is not: there are none.
    pub(super) const fn none() -> Self {
        Self(&[])
    }

    /// Whether it takes this one, whose name is in lower case.
    pub(super) fn has(&self, name: &str) -> bool {
        let is = |one: &&str| *one == name || one.ends_with('-') && name.starts_with(one);
        self.0.iter().any(|names| names.iter().any(is))
    }

    /// What is to be put beside the fields of the request.
    pub(super) fn read(
        &self,
        query: &Query,
        headers: &HeaderMap,
        is_signed: impl Fn(&str) -> bool,
    ) -> Result<HeaderMap, S3Error> {
        let mut fields = HeaderMap::new();
        for (name, value) in query.pairs() {
            let name = name.to_ascii_lowercase();
            if !self.has(&name) || is_of_nothing(query, &name, value) {
                continue;
            }
            // What stands around a field's value is no part of it.
            let value = value.trim_matches([' ', '\t']);
            let (Ok(field), Ok(value)) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes()))
            else {
                return Err(invalid(&name, "in a query it has characters that a field does not have"));
            };
            if fields.contains_key(&field) {
                return Err(invalid(&name, "it is there twice in the query"));
            }
            if headers.get_all(&field).iter().any(|other| other != value) {
                return Err(invalid(&name, "the query and the field of the request say different things"));
            }
            if headers.contains_key(&field) {
                continue;
            }
            if is_signed(&name) {
                return Err(invalid(&name, "it is signed as a field of the request, and is none"));
            }
            fields.insert(field, value);
        }
        Ok(fields)
    }
}

/// Whether it is the checksum of an empty body beside the name of its algorithm: the JavaScript SDK writes both where it does not know
/// the body yet, and says nothing by it.
fn is_of_nothing(query: &Query, name: &str, value: &str) -> bool {
    let algorithm = ChecksumAlgorithm::ALL.into_iter().find(|one| one.field() == name);
    algorithm.is_some_and(|algorithm| {
        query.fields("x-amz-sdk-checksum-algorithm").any(|given| given.eq_ignore_ascii_case(algorithm.word()))
            && STANDARD.encode(checksum(algorithm, b"")) == value
    })
}

fn invalid(name: &str, what: &str) -> S3Error {
    let name: String = name.chars().take(64).collect();
    S3Error::with_message(S3ErrorCode::InvalidArgument, format!("{}: {what}", name.escape_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: Method, query: &str, fields: &[(&'static str, &'static str)]) -> Result<String, String> {
        let query = Query::of(query);
        let headers = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let headers: HeaderMap = headers.collect();
        let is_signed = |name: &str| headers.contains_key(name) || name == "x-amz-meta-signed";
        let hoisted = Hoisted::of(&method, Level::Object, &query).read(&query, &headers, is_signed);
        let told = hoisted.map_err(|error| {
            assert_eq!(error.code().as_str(), "InvalidArgument");
            error.message().unwrap_or_default().to_owned()
        })?;
        let each = told
            .iter()
            .map(|(name, value)| format!("{name}: {}", std::str::from_utf8(value.as_bytes()).unwrap()));
        let mut each: Vec<_> = each.collect();
        each.sort();
        Ok(each.join("\n"))
    }

    fn put(query: &str) -> Result<String, String> {
        read(Method::PUT, query, &[])
    }

    #[test]
    fn what_an_operation_heeds_becomes_fields_and_nothing_else_does() {
        let all = "X-Amz-Algorithm=a&X-Amz-Date=d&x-id=PutObject&x-amz-acl=private&X-Amz-Meta-A%2Db=%C3%A9%20b+c\
                   &x-amz-storage-class=STANDARD_IA&x-amz-copy-source=%2Fb%2Fa%2520b&x-amz-checksum-mode=ENABLED\
                   &x-amz-content-sha256=x&x-amz-trailer=x&x-amz-decoded-content-length=1&host=x&x-amz-foo=1";
        assert_eq!(
            put(all).unwrap(),
            "x-amz-copy-source: /b/a%20b\nx-amz-meta-a-b: é b c\nx-amz-storage-class: STANDARD_IA"
        );
        assert_eq!(read(Method::GET, all, &[]).unwrap(), "x-amz-checksum-mode: ENABLED");
        assert_eq!(
            put(&format!("{all}&partNumber=1&uploadId=u")).unwrap(),
            "x-amz-copy-source: /b/a%20b",
            "a part has no metadata"
        );
        let begin = read(Method::POST, &format!("{all}&uploads&x-amz-checksum-algorithm=SHA1"), &[]);
        assert_eq!(
            begin.unwrap(),
            "x-amz-checksum-algorithm: SHA1\nx-amz-meta-a-b: é b c\nx-amz-storage-class: STANDARD_IA"
        );
        let delete = "x-amz-if-match-size=1&x-amz-meta-a=b";
        assert_eq!(read(Method::DELETE, delete, &[]).unwrap(), "x-amz-if-match-size: 1");
    }

    #[test]
    fn the_checksum_of_a_body_that_was_not_known_says_nothing() {
        for (name, nothing) in [
            ("crc32", "AAAAAA%3D%3D"),
            ("crc32c", "AAAAAA%3D%3D"),
            ("crc64nvme", "AAAAAAAAAAA%3D"),
            ("sha1", "2jmj7l5rSw0yVb%2FvlWAYkK%2FYBwk%3D"),
            ("sha256", "47DEQpj8HBSa%2B%2FTImW%2B5JCeuQeRkm5NMpJWZG3hSuFU%3D"),
        ] {
            let given = format!("x-amz-checksum-{name}={nothing}");
            let beside = format!("{given}&x-amz-sdk-checksum-algorithm={}", name.to_uppercase());
            assert_eq!(put(&beside), Ok(String::new()), "{name}");
            let meant = format!("x-amz-checksum-{name}: ");
            assert!(put(&given).is_ok_and(|told| told.starts_with(&meant)), "who asks for an empty body");
            let some = format!("x-amz-checksum-{name}: BAAA");
            assert_eq!(put(&some.replace(": ", "=")), Ok(some));
        }
    }

    #[test]
    fn what_no_field_could_say_is_refused() {
        assert_eq!(put("x-amz-meta-a=&x-amz-meta-b=%20%09"), Ok("x-amz-meta-a: \nx-amz-meta-b: ".to_owned()));
        assert_eq!(put("x-amz-meta-a=%20b%20c%20"), Ok("x-amz-meta-a: b c".to_owned()));
        for query in [
            "x-amz-meta-a=b%0D%0Ax-amz-meta-c:d",
            "x-amz-meta-a=%0A",
            "x-amz-meta-a=%00",
            "x-amz-meta-a=%7F",
            "x-amz-meta-a%0D%0Ab=c",
            "x-amz-meta-a%20b=c",
            "x-amz-meta-a:=c",
            "x-amz-meta-%C3%A9=c",
        ] {
            let told = put(query).expect_err(query);
            assert!(told.starts_with("x-amz-meta-") && told.contains("characters"), "{query}: {told}");
            assert!(!told.contains(['\r', '\n']), "{told}");
        }
        for query in
            ["x-amz-meta-a=b&x-amz-meta-a=b", "x-amz-meta-a=b&X-Amz-Meta-A=c", "x-amz-meta-a&x-amz-meta-%61"]
        {
            assert!(put(query).is_err_and(|told| told.contains("twice")), "{query}");
        }
        let long = put(&format!("x-amz-meta-{}=%00", "a".repeat(60_000))).unwrap_err();
        assert!(long.len() < 200, "{long}");
    }

    #[test]
    fn what_stands_in_both_places_says_the_same_in_both() {
        let both = |query: &str, fields| read(Method::PUT, query, fields);
        assert_eq!(both("x-amz-meta-a=b", &[("x-amz-meta-a", "b")]), Ok(String::new()));
        for fields in [
            &[("x-amz-meta-a", "c")][..],
            &[("x-amz-meta-a", "")],
            &[("x-amz-meta-a", "b"), ("x-amz-meta-a", "c")],
        ] {
            let told = both("X-Amz-Meta-A=b", fields).unwrap_err();
            assert!(told.contains("different things"), "{told}");
        }
        let told = put("x-amz-meta-signed=b").unwrap_err();
        assert!(told.contains("signed as a field"), "{told}");
    }
}
