//! Reads whose fields `s3s` refuses, where HTTP has them passed over or reads more in them: a range that is none (RFC 9110, 14.2),
//! several entity tags, a date that is none (13.1). They may be signed, so that none can be taken away before the signature is
//! checked: such a request goes through `s3s` once more, then without its signature and without them.
//!
//! ```text
//!  s3s: signature ─▶ does s3s take these fields? ─yes─────────────────────────────▶ may they? ─▶ operation
//!                                  └─no─▶ they are read here ─▶ s3s without them ──────▲
//! ```

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use s3s::{
    Body, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, dto,
    route::S3Route,
    service::{S3Service, S3ServiceBuilder},
};

use super::{Front, Hosts};
use crate::wanted::Wanted;

/// By what a signature in a URL is known.
const SIGNATURE: &[u8] = b"X-Amz-Signature";
/// The fields that are read here.
const READ_HERE: [HeaderName; 5] = [
    header::RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

/// Whose signature a request had that goes through again: it has been checked. Nothing that comes from outside has one.
#[derive(Clone)]
pub(super) struct Signed(pub(super) String);

/// The second way through.
pub(super) struct Again(S3Service);

impl Again {
    /// Under the names that the first way has.
    pub(super) fn new(front: Front, hosts: Hosts) -> Self {
        let mut builder = S3ServiceBuilder::new(front.clone());
        builder.set_auth(front.clone());
        builder.set_access(front);
        builder.set_host(hosts);
        Self(builder.build())
    }
}

#[async_trait::async_trait]
impl S3Route for Again {
    fn is_match(&self, method: &Method, _: &Uri, headers: &HeaderMap, _: &mut http::Extensions) -> bool {
        matches!(*method, Method::GET | Method::HEAD) && !is_taken(headers)
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let unsigned = || S3Error::with_message(S3ErrorCode::AccessDenied, "sign the request");
        let signed = Signed(request.credentials.ok_or_else(unsigned)?.access_key);
        let mut again = Request::new(request.input);
        *again.method_mut() = request.method;
        *again.uri_mut() = without_signature(&request.uri).map_err(S3Error::internal_error)?;
        *again.headers_mut() = request.headers;
        *again.extensions_mut() = request.extensions;
        let wanted = Wanted::read(again.headers());
        again.extensions_mut().insert(wanted);
        again.extensions_mut().insert(signed);
        for name in READ_HERE.iter().chain([&header::AUTHORIZATION]) {
            again.headers_mut().remove(name);
        }
        let failed = |error| S3Error::with_source(S3ErrorCode::InternalError, s3s::StdError::from(error));
        let (head, body) = self.0.call(again).await.map_err(failed)?.into_parts();
        let mut response = S3Response::with_status(body, head.status);
        response.headers = head.headers;
        response.extensions = head.extensions;
        Ok(response)
    }
}

/// Whether `s3s` takes these fields, and passes none over that says something.
fn is_taken(headers: &HeaderMap) -> bool {
    READ_HERE.iter().all(|name| {
        let mut lines = headers.get_all(name).iter();
        let (first, more) = (lines.next(), lines.next());
        more.is_none() && first.is_none_or(|value| value.is_empty() || is_one(name, value))
    })
}

fn is_one(name: &HeaderName, value: &HeaderValue) -> bool {
    if [header::IF_MATCH, header::IF_NONE_MATCH].contains(name) {
        return dto::ETagCondition::parse_http_header(value.as_bytes()).is_ok();
    }
    let Ok(text) = value.to_str() else { return false };
    if *name == header::RANGE {
        return dto::Range::parse(text).is_ok();
    }
    dto::Timestamp::parse(dto::TimestampFormat::HttpDate, text).is_ok()
}

/// The same without its signature.
fn without_signature(uri: &Uri) -> Result<Uri, http::uri::InvalidUri> {
    let is_signature = |pair: &&str| {
        let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
        percent_encoding::percent_decode_str(name).eq(SIGNATURE.iter().copied())
    };
    let pairs = uri.query().unwrap_or_default().split('&');
    let kept: Vec<_> = pairs.filter(|pair| !pair.is_empty() && !is_signature(pair)).collect();
    let query = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
    format!("{}{query}", uri.path()).parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_s3s_refuses_goes_through_again_and_nothing_else_does() {
        let date = "Thu, 01 Jan 1970 00:00:10 GMT";
        for (name, value, is) in [
            ("range", "bytes=0-4", true),
            ("range", "bytes=-5", true),
            ("range", "", true),
            ("range", "bytes=5-2", false),
            ("range", "items=1-2", false),
            ("range", "bytes=0-0,2-3", false),
            ("range", "bytes=0-99999999999999999999", false),
            ("if-match", "\"a\"", true),
            ("if-match", "*", true),
            ("if-none-match", "a b", false),
            ("if-modified-since", date, true),
            ("if-modified-since", "garbage", false),
            ("if-unmodified-since", "garbage", false),
            ("x-amz-date", "garbage", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            assert_eq!(is_taken(&headers), is, "{name}: {value}");
            headers.append(name, HeaderValue::from_static("*"));
            assert_eq!(is_taken(&headers), name == "x-amz-date", "{name} twice");
        }
    }

    #[test]
    fn the_signature_goes_and_all_else_of_a_url_stays_as_it_is_written() {
        for (url, expected) in [
            ("/b/k%2F?X-Amz-Signature=s&partNumber=2&a=%2B", "/b/k%2F?partNumber=2&a=%2B"),
            ("/b/k?a=1&X%2DAmz-Signatur%65=s", "/b/k?a=1"),
            ("http://host/b/k?X-Amz-Signature", "/b/k"),
            ("/b/k", "/b/k"),
        ] {
            let left = without_signature(&url.parse().unwrap()).unwrap();
            assert_eq!(left.to_string(), expected);
        }
    }
}
