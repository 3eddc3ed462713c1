//! What every answer has, and what errors of `s3s` lack: the ray by which the request is found in the log, what was asked for, and
//! words for those that have none.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use proxima_model::PopCode;
use proxima_pipeline::RayId;
use s3s::Body;

/// Where clients of S3 look for a request's name.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
/// Characters of a path that are told: a key of which each octet takes three, and its bucket.
const PATH_CHARACTERS_MAX: usize = 4_096;
/// How an error of S3 ends.
const ERROR_END: &str = "</Error>";
/// Lines of a period: what is beyond is told by the metrics alone, or a flood would fill the disk.
const LINES_MAX: u32 = 100;
const LINES_PER: Duration = Duration::from_secs(10);

/// A request, as far as its answer and the log tell of it.
pub(super) struct Asked {
    ray: RayId,
    client: IpAddr,
    method: Method,
    uri: Uri,
}

/// How many lines were written of requests that failed here. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<Option<(Instant, u32)>>>);

impl Lines {
    /// Whether there is room for one more.
    fn takes(&self, now: Instant) -> bool {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) =
            written.filter(|(since, _)| now.duration_since(*since) < LINES_PER).unwrap_or((now, 0));
        *written = Some((since, count.saturating_add(1)));
        count < LINES_MAX
    }
}

impl Asked {
    pub(super) fn of<B>(request: &Request<B>, client: IpAddr, pop: &PopCode) -> Self {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Self { ray: RayId::new(pop.clone()), client, method, uri }
    }

    /// The path, as it was asked for.
    fn path(&self) -> String {
        self.uri.path().chars().take(PATH_CHARACTERS_MAX).collect()
    }

    /// An answer with the request's name, which is also told to the log if it failed.
    pub(super) fn complete(&self, mut response: Response<Body>, lines: &Lines) -> Response<Body> {
        let id = self.ray.to_string();
        if let Ok(id) = HeaderValue::try_from(id.as_str()) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            let text = response.body().bytes();
            let text = text.as_ref().and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default();
            self.log(status, code(text), lines);
            if let Some(text) = completed(text, &self.path(), &id) {
                *response.body_mut() = Body::from(text);
            }
        }
        response
    }

    /// What failed here is for whoever runs this; what is wrong with a request, for who looks for it.
    fn log(&self, status: StatusCode, code: &str, lines: &Lines) {
        let Self { ray, client, method, .. } = self;
        let (path, status) = (self.path(), status.as_u16());
        let is_ours = status >= 500 && status != StatusCode::NOT_IMPLEMENTED.as_u16();
        if is_ours && lines.takes(Instant::now()) {
            tracing::warn!(target: "proxima_r2", %ray, %client, %method, path, status, code, "a request of S3 failed");
        } else {
            tracing::debug!(target: "proxima_r2", %ray, %client, %method, path, status, code, "a request of S3 was refused");
        }
    }
}

/// An error's code.
fn code(text: &str) -> &str {
    let behind = text.split_once("<Code>").map(|(_, behind)| behind);
    behind.and_then(|behind| behind.split_once("</Code>")).map(|(code, _)| code).unwrap_or_default()
}

/// An error with all that S3's have, if it is one.
fn completed(text: &str, path: &str, id: &str) -> Option<String> {
    let text = text.strip_suffix(ERROR_END)?;
    let path = path.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let words = words(code(text)).filter(|_| !text.contains("<Message>"));
    let words = words.map(|words| format!("<Message>{words}</Message>")).unwrap_or_default();
    Some(format!("{text}{words}<Resource>{path}</Resource><RequestId>{id}</RequestId>{ERROR_END}"))
}

/// What is to be done about an error to which `s3s` gives no words. None of these has to be written otherwise in XML.
fn words(code: &str) -> Option<&'static str> {
    Some(match code {
        "SignatureDoesNotMatch" => {
            "the signature is not that of this request: is the secret key the SHA-256 of the token's whole text, in 64 lower-case \
             hexadecimal digits (printf %s TOKEN | sha256sum), and the token the one of this access key, as it was last rolled? If \
             so, something on the way changes Host, the path, the query or a signed field"
        }
        "MalformedXML" => {
            "the body is not the XML document that this operation takes: it is not well-formed, or an element is missing, twice \
             there or of a wrong value"
        }
        "InvalidBucketName" => {
            "a bucket's name has 3 to 63 lower-case letters, digits and hyphens, neither beginning nor ending with a hyphen"
        }
        "KeyTooLongError" => "a key has 1024 octets of UTF-8 at the most",
        "InvalidURI" => "the path or the query is not percent-encoded UTF-8",
        "MissingContentLength" => "say by Content-Length how long the body is",
        "MissingRequestBodyError" => "this operation takes an XML document, and there is none",
        "MaxMessageLengthExceeded" => "an XML document has 8 MiB at the most",
        "IncompleteBody" => "the body has another length than was announced",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use s3s::{S3Error, S3ErrorCode};

    use super::*;

    fn answered(error: S3Error) -> (Response<Body>, String) {
        let request = Request::put("/b/k%20?x&y").body(()).unwrap();
        let asked = Asked::of(&request, "192.0.2.1".parse().unwrap(), &PopCode::parse("FRA").unwrap());
        let answer = asked.complete(error.to_http_response().unwrap(), &Lines::default());
        let text = answer.body().bytes().unwrap();
        (answer, String::from_utf8(text.to_vec()).unwrap())
    }

    #[test]
    fn an_error_has_a_name_and_what_was_asked_for_and_words() {
        for (code, words) in [
            (S3ErrorCode::SignatureDoesNotMatch, "SHA-256"),
            (S3ErrorCode::MalformedXML, "well-formed"),
            (S3ErrorCode::InvalidBucketName, "3 to 63"),
            (S3ErrorCode::KeyTooLongError, "1024"),
            (S3ErrorCode::InvalidURI, "percent-encoded"),
        ] {
            let (answer, text) = answered(S3Error::new(code.clone()));
            let id = answer.headers()[REQUEST_ID].to_str().unwrap();
            assert!(id.ends_with("-FRA"), "{id}");
            let end = format!("</Message><Resource>/b/k%20</Resource><RequestId>{id}</RequestId></Error>");
            assert!(text.contains(words) && text.ends_with(&end), "{text}");
            let own = answered(S3Error::with_message(code, "own <Message> & words")).1;
            assert!(
                own.contains("own &lt;Message&gt; &amp; words</Message>") && !own.contains(words),
                "{own}"
            );
        }
        let (_, text) = answered(S3Error::new(S3ErrorCode::NoSuchKey));
        assert!(!text.contains("<Message>") && text.contains("<RequestId>"), "{text}");
    }

    #[test]
    fn what_is_no_error_has_a_name_and_is_as_it_was() {
        let request = Request::get("/b/k").body(()).unwrap();
        let asked = Asked::of(&request, "192.0.2.1".parse().unwrap(), &PopCode::parse("FRA").unwrap());
        for status in [StatusCode::OK, StatusCode::NOT_FOUND] {
            let mut answer = Response::new(Body::from("an object".to_owned()));
            *answer.status_mut() = status;
            let answer = asked.complete(answer, &Lines::default());
            assert!(answer.headers().contains_key(REQUEST_ID));
            assert_eq!(answer.body().bytes().unwrap(), "an object");
        }
    }

    #[test]
    fn the_log_takes_so_many_lines_in_a_time() {
        let (lines, now) = (Lines::default(), Instant::now());
        let taken = |at: Instant| (0..2 * LINES_MAX).filter(|_| lines.takes(at)).count();
        let most = usize::try_from(LINES_MAX).unwrap();
        assert_eq!((taken(now), taken(now)), (most, 0));
        assert_eq!(taken(now + LINES_PER), most);
    }
}
