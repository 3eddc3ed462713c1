//! Tests of the core: tables of shapes, and properties over arbitrary input.

mod bodies;
mod plain;
mod properties;
mod requests;
mod responses;
mod writing;

use bytes::BytesMut;

use super::{Http1Error, Limits, RequestHead, parse_request_head};

/// Parses `octets` as one whole request head.
fn request(octets: impl AsRef<[u8]>) -> Result<RequestHead, Http1Error> {
    let mut buffer = BytesMut::from(octets.as_ref());
    parse_request_head(&mut buffer, &Limits::DEFAULT).map(|head| {
        head.unwrap_or_else(|| panic!("incomplete: {:?}", String::from_utf8_lossy(octets.as_ref())))
    })
}
