//! What a request asks for, as a fingerprint: tells a retry under an `Idempotency-Key` from another request.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, header},
};
use memchr::memmem;
use proxima_ledger::Fingerprint;
use sha2::{Digest, Sha256};

use crate::{
    api::{blocking, body},
    error::ApiError,
    limits,
};

/// Characters of a boundary (RFC 2046, 5.1.1).
const BOUNDARY_CHARS_MAX: usize = 70;

/// Reads the body, leaves it in the request, and returns the fingerprint of method, path and body.
pub(crate) async fn of(request: &mut Request) -> Result<Fingerprint, ApiError> {
    let mut sent = Request::new(std::mem::take(request.body_mut()));
    sent.headers_mut().clone_from(request.headers());
    let octets = body::read(sent, limits::IMPORT_BODY_OCTETS_MAX).await?;
    *request.body_mut() = Body::from(octets.clone());
    let asked = format!("{} {}", request.method(), request.uri().path());
    let boundary = boundary(request.headers());
    // Megabytes take a while.
    blocking(move || Ok(fingerprint(&asked, boundary.as_deref(), &octets))).await
}

fn fingerprint(asked: &str, boundary: Option<&str>, body: &[u8]) -> Fingerprint {
    let mut hash = Sha256::new();
    hash.update(asked.len().to_be_bytes());
    hash.update(asked);
    match boundary {
        None => hash.update(body),
        // Clients draw another boundary for each attempt.
        Some(boundary) => {
            let mut from = 0;
            for at in memmem::find_iter(body, boundary) {
                hash.update(&body[from..at]);
                hash.update(b"\0boundary\0");
                from = at + boundary.len();
            }
            hash.update(&body[from..]);
        }
    }
    Fingerprint(hash.finalize().into())
}

/// The boundary of a form (RFC 7578; RFC 2046, 5.1.1). Any other body, or one with a boundary that none may be, counts
/// octet by octet.
fn boundary(headers: &HeaderMap) -> Option<String> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let mut parts = content_type.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let mut named = parts.filter_map(|parameter| parameter.split_once('='));
    let (_, value) = named.find(|(name, _)| name.eq_ignore_ascii_case("boundary"))?;
    let boundary = value.trim_matches('"');
    (1..=BOUNDARY_CHARS_MAX).contains(&boundary.len()).then(|| boundary.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_path_and_body_count_and_the_boundary_of_a_form_does_not() {
        fn of(asked: &str, boundary: Option<&str>, body: &str) -> Fingerprint {
            fingerprint(asked, boundary, body.as_bytes())
        }
        assert_eq!(of("POST /a", None, "{}"), of("POST /a", None, "{}"));
        assert_ne!(of("POST /a", None, "{}"), of("PUT /a", None, "{}"));
        assert_ne!(of("POST /a", None, "{}"), of("POST /a", None, "[]"));
        assert_ne!(of("POST /a", None, "b"), of("POST /ab", None, ""));
        let form = |boundary: &str, file: &str| format!("--{boundary}\r\n\r\n{file}\r\n--{boundary}--\r\n");
        let sent = |boundary: &str, file: &str| of("POST /a", Some(boundary), &form(boundary, file));
        assert_eq!(sent("one", "www A 192.0.2.1"), sent("another", "www A 192.0.2.1"));
        assert_ne!(sent("one", "www A 192.0.2.1"), sent("one", "www A 192.0.2.2"));
    }

    #[test]
    fn the_boundary_is_found_quoted_or_not() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, text.parse().unwrap());
            boundary(&headers)
        };
        assert_eq!(of("multipart/form-data; boundary=abc").as_deref(), Some("abc"));
        assert_eq!(of("multipart/form-data; charset=utf-8; Boundary=\"a b\"").as_deref(), Some("a b"));
        assert_eq!(of("application/json"), None);
        assert_eq!(of("multipart/form-data; boundary="), None);
        assert_eq!(of("application/json; boundary=abc"), None);
        assert_eq!(of("multipart/mixed; boundary=abc"), None);
        let long = |length| of(&format!("Multipart/Form-Data; boundary={}", "a".repeat(length)));
        assert_eq!(long(70).map(|boundary| boundary.len()), Some(70));
        assert_eq!(long(71), None);
    }
}
