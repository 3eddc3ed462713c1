//! How the node refuses what a process of the engine asks for.

use bytes::Bytes;
use http::{Response, StatusCode};
use proxima_pipeline::Body;

/// An answer that says only why there is no other.
pub(crate) fn refuse(status: StatusCode, why: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::full(why));
    *response.status_mut() = status;
    response
}
