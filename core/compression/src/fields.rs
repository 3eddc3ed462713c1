//! What the fields of an answer say of encoding it, and how encoding changes them.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use proxima_pipeline::lists::members;

use crate::Coding;

/// Shorter content is not worth it: a coding's frame and the fields that it needs outweigh what is saved. (Cloudflare
/// begins at 48 octets for gzip and at 50 for brotli; one bound for all is enough.)
pub const LENGTH_MIN: u64 = 50;

/// The media types that Cloudflare documents as compressed. `text/event-stream` is not among them, so events go as they
/// are, each at once.
const TYPES: &[&str] = &[
    "application/atom+xml",
    "application/eot",
    "application/font",
    "application/font-sfnt",
    "application/geo+json",
    "application/graphql+json",
    "application/javascript",
    "application/javascript-binast",
    "application/json",
    "application/ld+json",
    "application/manifest+json",
    "application/opentype",
    "application/otf",
    "application/rss+xml",
    "application/truetype",
    "application/ttf",
    "application/vnd.api+json",
    "application/vnd.mapbox-vector-tile",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-httpd-cgi",
    "application/x-javascript",
    "application/x-opentype",
    "application/x-otf",
    "application/x-perl",
    "application/x-protobuf",
    "application/x-ttf",
    "application/xhtml+xml",
    "application/xml",
    "application/xml+rss",
    "font/otf",
    "font/ttf",
    "font/x-woff",
    "image/bmp",
    "image/svg+xml",
    "image/vnd.microsoft.icon",
    "image/x-icon",
    "multipart/bag",
    "multipart/mixed",
    "text/css",
    "text/html",
    "text/javascript",
    "text/js",
    "text/markdown",
    "text/plain",
    "text/richtext",
    "text/x-component",
    "text/x-java-source",
    "text/x-markdown",
    "text/x-script",
    "text/xml",
];

/// Fields that speak of the octets as they were, or of parts of them (RFC 9110, 14.3; RFC 9530; RFC 3230; RFC 2616).
const OF_THE_OCTETS: [HeaderName; 6] = [
    header::ACCEPT_RANGES,
    header::CONTENT_LENGTH,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// Whether an answer of status 200 may be encoded and is worth it. `length` is that of its content, if it is known.
pub fn is_compressible(headers: &HeaderMap, length: Option<u64>) -> bool {
    length.is_none_or(|length| length >= LENGTH_MIN)
        && !headers.contains_key(header::CONTENT_ENCODING)
        && !headers.contains_key(header::CONTENT_RANGE)
        && headers.get(header::CONTENT_TYPE).is_some_and(|value| is_listed(value.as_bytes()))
        && !forbids_transforming(headers)
}

/// Whether `Cache-Control` of a request or an answer says `no-transform` (RFC 9111, 5.2.1.6 and 5.2.2.6).
pub fn forbids_transforming(headers: &HeaderMap) -> bool {
    members(headers, &header::CACHE_CONTROL).any(|member| member.eq_ignore_ascii_case(b"no-transform"))
}

fn is_listed(content_type: &[u8]) -> bool {
    let end = content_type.iter().position(|octet| *octet == b';').unwrap_or(content_type.len());
    let media_type = content_type[..end].trim_ascii();
    TYPES.iter().any(|listed| media_type.eq_ignore_ascii_case(listed.as_bytes()))
}

/// Makes the fields those of the encoded answer; `length` is that of the whole encoded content, if it is known.
pub fn encode(headers: &mut HeaderMap, coding: Coding, length: Option<u64>) {
    for name in &OF_THE_OCTETS {
        headers.remove(name);
    }
    headers.insert(header::CONTENT_ENCODING, coding.value());
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    weaken(headers);
    vary(headers);
}

/// Says that the answer depends on `Accept-Encoding` (RFC 9110, 12.5.5): for whoever might have got another form of it,
/// also if this one is as it was.
pub fn vary(headers: &mut HeaderMap) {
    const NAME: HeaderValue = HeaderValue::from_static("Accept-Encoding");
    if !headers.contains_key(header::VARY) {
        headers.insert(header::VARY, NAME);
        return;
    }
    let said = |member: &[u8]| member == b"*" || member.eq_ignore_ascii_case(NAME.as_bytes());
    if members(headers, &header::VARY).any(said) {
        return;
    }
    let lines: Vec<&[u8]> = headers.get_all(header::VARY).iter().map(HeaderValue::as_bytes).collect();
    let joined = [&lines.join(&b", "[..])[..], NAME.as_bytes()].join(&b", "[..]);
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::VARY, joined);
    }
}

/// Makes a strong entity tag weak: other octets, the same meaning (RFC 9110, 8.8.3.3).
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(header::ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/")) else {
        return;
    };
    match HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()) {
        Ok(weak) => headers.insert(header::ETAG, weak),
        Err(_) => headers.remove(header::ETAG),
    };
}

/// Makes a 304 repeat the entity tag of the form that its client has (RFC 9110, 15.4.5): weak, if it asked with the weak
/// tag that [`encode`] had made of this strong one. Whether it did.
pub fn not_modified(request: &HeaderMap, headers: &mut HeaderMap) -> bool {
    let Some(tag) = headers.get(header::ETAG).map(HeaderValue::as_bytes) else { return false };
    if tag.starts_with(b"W/") || tag.contains(&b',') {
        return false;
    }
    let (mut strong, mut weak) = (false, false);
    for member in members(request, &header::IF_NONE_MATCH) {
        strong |= member == tag;
        weak |= member.strip_prefix(b"W/") == Some(tag);
    }
    let changed = weak && !strong;
    if changed {
        weaken(headers);
        vary(headers);
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn what_may_be_encoded_and_is_worth_it() {
        const HTML: (&str, &str) = ("content-type", "text/html; charset=utf-8");
        let with = |field| is_compressible(&fields(&[HTML, field]), None);
        assert!(is_compressible(&fields(&[HTML]), None));
        assert!(is_compressible(&fields(&[("content-type", "Application/JSON")]), Some(LENGTH_MIN)));
        assert!(!is_compressible(&fields(&[HTML]), Some(LENGTH_MIN - 1)));
        assert!(with(("cache-control", "max-age=60")));
        assert!(!with(("cache-control", "max-age=60, No-Transform")));
        assert!(!with(("content-encoding", "gzip")));
        assert!(!with(("content-range", "bytes 0-1/2")));
        assert!(!is_compressible(&HeaderMap::new(), None));
        for other in ["image/png", "video/mp4", "text/event-stream", "font/woff2", "text", ""] {
            assert!(!is_compressible(&fields(&[("content-type", other)]), None), "{other}");
        }
    }

    #[test]
    fn encoding_changes_what_speaks_of_the_octets() {
        let mut headers = fields(&[
            ("accept-ranges", "bytes"),
            ("content-digest", "sha-256=:x:"),
            ("content-length", "100"),
            ("content-md5", "x"),
            ("content-type", "text/html"),
            ("digest", "x"),
            ("etag", "\"1\""),
            ("repr-digest", "sha-256=:x:"),
            ("vary", "Origin"),
        ]);
        encode(&mut headers, Coding::Br, Some(7));
        let expected = fields(&[
            ("content-encoding", "br"),
            ("content-length", "7"),
            ("content-type", "text/html"),
            ("etag", "W/\"1\""),
            ("vary", "Origin, Accept-Encoding"),
        ]);
        assert_eq!(headers, expected);
        encode(&mut headers, Coding::Gzip, None);
        assert!(!headers.contains_key("content-length"));
        assert_eq!(
            (&headers["etag"], &headers["vary"]),
            (&expected["etag"], &expected["vary"]),
            "once is enough"
        );
    }

    #[test]
    fn vary_names_the_field_once() {
        for (lines, expected) in [
            (&[][..], &["Accept-Encoding"][..]),
            (&["*"], &["*"]),
            (&["a, accept-encoding"], &["a, accept-encoding"]),
            (&["a", "b"], &["a, b, Accept-Encoding"]),
        ] {
            let mut headers: HeaderMap =
                lines.iter().map(|line| (header::VARY, HeaderValue::from_static(line))).collect();
            vary(&mut headers);
            assert_eq!(headers.get_all(header::VARY).iter().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_304_repeats_the_tag_that_its_client_has() {
        for (asked, tag, expected) in [
            ("W/\"1\"", "\"1\"", "W/\"1\""),
            ("\"0\", W/\"1\"", "\"1\"", "W/\"1\""),
            ("\"1\"", "\"1\"", "\"1\""),
            ("W/\"1\", \"1\"", "\"1\"", "\"1\""),
            ("*", "\"1\"", "\"1\""),
            ("W/\"1\"", "W/\"1\"", "W/\"1\""),
        ] {
            let mut headers = fields(&[("etag", tag)]);
            not_modified(&fields(&[("if-none-match", asked)]), &mut headers);
            assert_eq!(headers["etag"], expected, "{asked}");
            assert_eq!(headers.contains_key("vary"), tag != expected);
        }
    }
}
