//! XML that `s3s` reads and writes: what of it `s3s` leaves undone.
//!
//! * It compares no digest of a body that it reads itself. Those of what deletes and of what sets rules are compared here, as the
//!   body goes by: who reads it is told that it broke off, and the client why.
//! * It writes a carriage return as it is, which readers take for a line's end (XML 1.0, 2.11), and characters that XML does not have.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use http_body::{Frame, SizeHint};
use proxima_pipeline::{Expected, ObjectError, is_of_xml};
use s3s::{Body, HttpError, S3Result, StdError, service::S3Service};

use super::{
    admit::Query,
    convert::{self, Checksums},
    error::s3_error,
};
use crate::store::hashing::Hashes;

/// What has a body of XML that deletes, or sets rules.
const READ: [(Method, &str); 3] =
    [(Method::POST, "delete"), (Method::PUT, "cors"), (Method::PUT, "lifecycle")];
/// What has one that makes an object of parts: its checksum is the object's, and no digest of the body.
const COMPLETES: (Method, &str) = (Method::POST, "uploadId");

/// Has `s3s` answer a request.
pub(super) async fn call(s3: &S3Service, request: Request<Body>) -> Result<Response<Body>, HttpError> {
    let expected = match announced(&request) {
        Ok(None) => return s3.call(request).await.map(written),
        Ok(Some(expected)) => expected,
        Err(refusal) => return refusal.to_http_response().map_err(|error| HttpError::new(error.into())),
    };
    let differs = Arc::new(OnceLock::new());
    let octets = request.headers().get(header::CONTENT_LENGTH);
    let left = octets.and_then(|octets| octets.to_str().ok()?.parse().ok());
    let request = request.map(|body| {
        let hashes = Hashes::new(expected.checksum.as_ref().map(|(algorithm, _)| *algorithm));
        let running = Some((hashes, expected));
        Body::http_body_unsync(Compared { body, left, running, differs: differs.clone() })
    });
    let response = s3.call(request).await?;
    match differs.get().cloned() {
        None => Ok(written(response)),
        Some(error) => s3_error(error).to_http_response().map_err(|error| HttpError::new(error.into())),
    }
}

/// What the fields of a request say of its body, if nobody else compares it.
fn announced<B>(request: &Request<B>) -> S3Result<Option<Expected>> {
    // Reads, and what is deleted one by one, have none.
    if ![Method::POST, Method::PUT].contains(request.method()) {
        return Ok(None);
    }
    let headers = request.headers();
    let query = Query::of(request.uri().query().unwrap_or_default());
    let is = |(method, name): &(Method, &str)| request.method() == method && query.has(name);
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let checksums = match READ.iter().any(is) {
        true => Checksums::of(text),
        false if is(&COMPLETES) => Checksums::default(),
        false => return Ok(None),
    };
    let md5 = text("content-md5");
    // What comes behind a body is said of objects alone.
    let expected = convert::expected(&HeaderMap::new(), (None, md5.as_deref()), checksums, None)?;
    Ok((expected != Expected::default()).then_some(expected))
}

/// A body that is compared with what was said of it.
struct Compared<B> {
    body: B,
    /// Octets that are to come, if it is known: who reads them may not ask whether that was all.
    left: Option<u64>,
    running: Option<(Hashes, Expected)>,
    differs: Arc<OnceLock<ObjectError>>,
}

impl<B> Compared<B> {
    /// Takes note of what has come; of nothing at its end.
    fn came(&mut self, octets: Option<&Bytes>) -> Result<(), StdError> {
        let Some((hashes, _)) = &mut self.running else { return Ok(()) };
        if let Some(octets) = octets {
            hashes.update(octets);
            self.left = self.left.map(|left| left.saturating_sub(octets.len() as u64));
        }
        if octets.is_some() && self.left != Some(0) {
            return Ok(());
        }
        let Some((hashes, expected)) = self.running.take() else { return Ok(()) };
        hashes.finish().check(&expected, None).map_err(|error| {
            self.differs.set(error.clone()).ok();
            error.into()
        })
    }
}

impl<B: http_body::Body<Data = Bytes, Error = StdError> + Unpin> http_body::Body for Compared<B> {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context)).transpose()?;
        let data = frame.as_ref().and_then(Frame::data_ref);
        let is_more = data.is_none() && frame.is_some();
        let compared = if is_more { Ok(()) } else { self.came(data) };
        Poll::Ready(compared.map(|()| frame).transpose())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer whose XML, if it is one, is well-formed and says what it means.
fn written(mut response: Response<Body>) -> Response<Body> {
    let is_xml = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/xml");
    // What an object is comes as it is read.
    let Some(octets) = response.body().bytes().filter(|_| is_xml) else { return response };
    if let Some(text) = well_formed(&octets) {
        *response.body_mut() = Body::from(Bytes::from(text));
    }
    response
}

/// This text as it has to stand in XML, if it has to be another one.
fn well_formed(octets: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(octets).ok()?;
    let is_plain = |character| character != '\r' && is_of_xml(character);
    if text.chars().all(is_plain) {
        return None;
    }
    let mut written = String::with_capacity(text.len() + 64);
    for character in text.chars() {
        match character {
            '\r' => written.push_str("&#13;"),
            character if is_of_xml(character) => written.push(character),
            _ => written.push(char::REPLACEMENT_CHARACTER),
        }
    }
    Some(written)
}

#[cfg(test)]
mod tests {
    use md5::{Digest as _, Md5};
    use proxima_pipeline::ChecksumAlgorithm;

    use super::*;

    const TEXT: &[u8] = b"<Delete/>";

    fn asked(method: Method, uri: &str, fields: &[(&str, &str)]) -> Result<Option<Expected>, String> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        announced(&request.body(()).unwrap()).map_err(|error| error.code().as_str().to_owned())
    }

    #[test]
    fn digests_are_compared_where_nobody_else_does() {
        let crc = ("x-amz-checksum-crc32", "AAAAAA==");
        let md5 = ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==");
        let checksum = Some((ChecksumAlgorithm::Crc32, Some(vec![0; 4])));
        let of_crc = Expected { checksum, ..Expected::default() };
        let of_md5 = Expected { md5: Some([0; 16]), ..Expected::default() };
        for (method, uri) in
            [(Method::POST, "/b?delete"), (Method::PUT, "/b?cors="), (Method::PUT, "/?lifecycle")]
        {
            assert_eq!(asked(method.clone(), uri, &[crc]), Ok(Some(of_crc.clone())), "{uri}");
            assert_eq!(asked(method.clone(), uri, &[md5]), Ok(Some(of_md5.clone())), "{uri}");
            assert_eq!(asked(method.clone(), uri, &[]), Ok(None), "{uri}");
            assert_eq!(
                asked(method, uri, &[("content-md5", "AAAA")]),
                Err("InvalidDigest".to_owned()),
                "{uri}"
            );
        }
        assert_eq!(
            asked(Method::POST, "/b/k?uploadId=u", &[crc, md5]),
            Ok(Some(of_md5)),
            "that is the object's"
        );
        assert_eq!(
            asked(Method::PUT, "/b/k", &[crc, md5]),
            Ok(None),
            "an object's is compared as it is kept"
        );
    }

    /// What is read of a body of which this is said, and what differs.
    async fn compared(md5: [u8; 16], left: Option<u64>) -> (Option<Vec<u8>>, Option<ObjectError>) {
        let expected = Expected { md5: Some(md5), ..Expected::default() };
        let running = Some((Hashes::new(None), expected));
        let differs = Arc::new(OnceLock::new());
        let mut body = Compared { body: Body::from(TEXT.to_vec()), left, running, differs: differs.clone() };
        let mut octets = Vec::new();
        loop {
            let next = |context: &mut Context<'_>| http_body::Body::poll_frame(Pin::new(&mut body), context);
            match std::future::poll_fn(next).await {
                None => break,
                Some(Ok(frame)) => octets.extend_from_slice(&frame.into_data().unwrap()),
                Some(Err(_)) => return (None, differs.get().cloned()),
            }
            // Who knows the length asks no more.
            if left.is_some() {
                break;
            }
        }
        (Some(octets), differs.get().cloned())
    }

    #[tokio::test]
    async fn a_body_that_is_not_what_was_said_breaks_off_before_its_end() {
        let right: [u8; 16] = Md5::digest(TEXT).into();
        for left in [None, Some(TEXT.len() as u64)] {
            assert_eq!(compared(right, left).await, (Some(TEXT.to_vec()), None));
            let differs = Some(ObjectError::BadDigest("Content-MD5".to_owned()));
            assert_eq!(compared([0; 16], left).await, (None, differs));
        }
    }

    #[test]
    fn characters_that_readers_would_take_for_others_or_not_at_all_are_written_so_that_they_are_read() {
        assert_eq!(well_formed("<Key>a\tb\né</Key>".as_bytes()), None);
        assert_eq!(well_formed(b"<Key>a\rb</Key>").as_deref(), Some("<Key>a&#13;b</Key>"));
        assert_eq!(well_formed(b"<Key>\x01</Key>").as_deref(), Some("<Key>\u{fffd}</Key>"));
        let mut response = Response::new(Body::from("a\rb".to_owned()));
        response.headers_mut().insert(header::CONTENT_TYPE, "text/plain".parse().unwrap());
        assert_eq!(written(response).body().bytes().unwrap(), "a\rb", "that is an object");
    }
}
