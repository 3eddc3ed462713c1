//! From a field section to a request's head or its trailers.

use http::header::HeaderMap;
use http::{Request, Version};
use proxima_http1::Limits;

use super::code::Broken;
use super::qpack::decode_section;
use crate::fields::{RequestFields, Section, TrailerFields};

/// The head of a request.
///
/// # Errors
/// [`Broken`], if it is malformed, cannot be decoded, or is over its bounds.
pub fn read_request(section: &[u8], limits: &Limits) -> Result<Request<()>, Broken> {
    let mut head = RequestFields::default();
    decode_section(section, Section::of_head(limits), |name, value| head.add(name, value))?;
    Ok(head.finish(Version::HTTP_3)?)
}

/// The trailers of a request.
///
/// # Errors
/// [`Broken`], if they are malformed, cannot be decoded, or are over their bounds.
pub fn read_trailers(section: &[u8], limits: &Limits) -> Result<HeaderMap, Broken> {
    let mut trailers = TrailerFields::default();
    decode_section(section, Section::of_trailers(limits), |name, value| trailers.add(name, value))?;
    Ok(trailers.finish()?)
}
