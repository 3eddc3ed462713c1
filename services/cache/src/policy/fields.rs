//! The fields of stored responses: what is kept, what a 304 changes, what goes out (RFC 9111, 3.1, 3.2 and 5.1).

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use proxima_pipeline::lists::members;

/// Fields that belong to one connection or one proxy and are never kept (RFC 9111, 3.1; RFC 9110, 7.6.1). `Age` is
/// kept as a number beside them, and trailers are not kept at all.
const NEVER_STORED: [HeaderName; 12] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    header::PROXY_AUTHORIZATION,
    header::AGE,
    HeaderName::from_static("cf-cache-status"),
];

/// Fields that describe the stored octets: a 304, which brings none, does not change them (RFC 9111, 3.2).
const NEVER_UPDATED: [HeaderName; 4] =
    [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::CONTENT_RANGE, header::CONTENT_TYPE];

/// Fields that a 304 repeats (RFC 9110, 15.4.5), with `Last-Modified` for those who validate by it.
const OF_A_304: [HeaderName; 7] = [
    header::CACHE_CONTROL,
    header::CONTENT_LOCATION,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::VARY,
];

/// The fields of a response that may be stored, without those in `left_out`. Their values are copies: those of the
/// response are slices of the connection's read buffer, which would live as long as what is stored.
pub fn storable(response: &HeaderMap, left_out: &[HeaderName]) -> HeaderMap {
    let mut kept = response.clone();
    for name in named_by_connection(response) {
        kept.remove(name);
    }
    for name in NEVER_STORED.iter().chain(left_out) {
        kept.remove(name);
    }
    kept.values_mut().for_each(|value| *value = copied(value));
    kept
}

/// The same value in memory of its own.
fn copied(value: &HeaderValue) -> HeaderValue {
    let mut copy = HeaderValue::from_bytes(value.as_bytes()).expect("a value's octets are a valid value");
    copy.set_sensitive(value.is_sensitive());
    copy
}

/// The stored fields as a 304 makes them (RFC 9111, 4.3.4): each field that it brings replaces its namesakes. Where
/// none is stored, a cookie of a 304 is for the client that was asked for.
pub fn update(stored: &HeaderMap, not_modified: &HeaderMap) -> HeaderMap {
    let mut updated = stored.clone();
    let mut fresh = storable(not_modified, &NEVER_UPDATED);
    if !stored.contains_key(header::SET_COOKIE) {
        fresh.remove(header::SET_COOKIE);
    }
    for name in fresh.keys() {
        updated.remove(name);
        for value in fresh.get_all(name) {
            updated.append(name.clone(), value.clone());
        }
    }
    updated
}

/// The fields of a 304 that is made from a stored response.
pub fn not_modified(stored: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(OF_A_304.len());
    for name in &OF_A_304 {
        for value in stored.get_all(name) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// `Age` (RFC 9111, 5.1): whole seconds.
pub fn age(age: Duration) -> HeaderValue {
    HeaderValue::from(age.as_secs())
}

/// The field names listed in `Connection`.
fn named_by_connection(response: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    members(response, &header::CONNECTION).filter_map(|name| HeaderName::from_bytes(name).ok())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn fields(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn what_belongs_to_the_connection_is_not_stored() {
        let response = fields(&[
            ("connection", "a, b"),
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-authenticate", "Basic"),
            ("proxy-authentication-info", "x"),
            ("proxy-authorization", "x"),
            ("proxy-connection", "close"),
            ("age", "3"),
            ("set-cookie", "left=out"),
            ("content-md5", "kept"),
        ]);
        let kept = storable(&response, &[header::SET_COOKIE]);
        assert_eq!(kept, fields(&[("c", "3"), ("content-md5", "kept")]));
    }

    #[test]
    fn stored_values_do_not_keep_the_buffer_alive_that_they_were_read_into() {
        let buffer = Bytes::from(b"secretvalue".to_vec());
        let mut response = HeaderMap::new();
        let mut secret = HeaderValue::from_maybe_shared(buffer.slice(..6)).unwrap();
        secret.set_sensitive(true);
        response.insert("x-secret", secret);
        response.insert("x-value", HeaderValue::from_maybe_shared(buffer.slice(6..)).unwrap());
        let kept = storable(&response, &[]);
        assert_eq!(kept, response);
        assert!(kept["x-secret"].is_sensitive() && !kept["x-value"].is_sensitive());
        drop(response);
        assert!(buffer.is_unique());
    }

    #[test]
    fn a_304_replaces_what_it_brings_and_leaves_the_rest() {
        let stored = fields(&[
            ("cache-control", "max-age=1"),
            ("cache-control", "public"),
            ("content-length", "10"),
            ("content-type", "text/plain"),
            ("x-kept", "1"),
            ("x-new", "old"),
        ]);
        let not_modified = fields(&[
            ("cache-control", "max-age=2"),
            ("content-length", "0"),
            ("content-type", "text/html"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("x-new", "a"),
            ("x-new", "b"),
            ("set-cookie", "a=b"),
        ]);
        let expected = fields(&[
            ("cache-control", "max-age=2"),
            ("content-length", "10"),
            ("content-type", "text/plain"),
            ("x-kept", "1"),
            ("x-new", "a"),
            ("x-new", "b"),
        ]);
        assert_eq!(update(&stored, &not_modified), expected);
        let with_cookie = fields(&[("set-cookie", "a=old"), ("x-kept", "1")]);
        let updated = update(&with_cookie, &fields(&[("set-cookie", "a=b")]));
        assert_eq!(updated, fields(&[("x-kept", "1"), ("set-cookie", "a=b")]));
    }

    #[test]
    fn a_304_repeats_validators_and_lifetimes_only() {
        let stored =
            fields(&[("etag", "\"1\""), ("content-type", "text/plain"), ("vary", "foo"), ("x", "y")]);
        assert_eq!(not_modified(&stored), fields(&[("etag", "\"1\""), ("vary", "foo")]));
    }
}
