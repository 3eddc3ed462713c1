//! From a field section to a request's head or its trailers.

use http::header::HeaderMap;
use http::{Request, Version};

use super::code::Broken;
use super::hpack::Decoder;
use crate::fields::{RequestFields, Section, TrailerFields};
use crate::http1::Limits;

/// The head of a request.
///
/// # Errors
/// [`Broken`], if it is malformed, cannot be decoded, or is over its bounds. What follows can be decoded all the same,
/// unless the connection is broken.
pub fn read_request(decoder: &mut Decoder, section: &[u8], limits: &Limits) -> Result<Request<()>, Broken> {
    let mut head = RequestFields::default();
    decoder.decode(section, Section::of_head(limits), |name, value| head.add(name, value))?;
    Ok(head.finish(Version::HTTP_2)?)
}

/// The trailers of a request.
///
/// # Errors
/// [`Broken`], as for heads.
pub fn read_trailers(decoder: &mut Decoder, section: &[u8], limits: &Limits) -> Result<HeaderMap, Broken> {
    let mut trailers = TrailerFields::default();
    decoder.decode(section, Section::of_trailers(limits), |name, value| trailers.add(name, value))?;
    Ok(trailers.finish()?)
}
