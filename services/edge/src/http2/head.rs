//! From a field section to a request's head or its trailers.

use http::header::HeaderMap;
use http::{Request, Version};
use proxima_http1::Limits;

use super::code::Broken;
use super::hpack::Decoder;
use crate::fields::{FieldError, FieldList, Section, TrailerFields};

/// Decodes the section of a request's head into `fields`: all of them up to the first that is too much.
///
/// # Errors
/// [`FieldError::Undecodable`], with which the connection is broken, or [`FieldError::TooLarge`]: what follows can be decoded
/// all the same. What its fields are good for is not known yet.
pub(crate) fn decode_request(
    decoder: &mut Decoder,
    section: &[u8],
    limits: &Limits,
    fields: &mut FieldList,
) -> Result<(), FieldError> {
    fields.clear();
    decoder.decode(section, Section::of_head(limits), |name, value| {
        fields.push(name, value);
        Ok(())
    })
}

/// The head of a request whose section was decoded so.
///
/// # Errors
/// [`Broken`], if it is malformed, could not be decoded, or is over its bounds, whichever comes first.
pub(crate) fn request_head(
    fields: &FieldList,
    decoded: Result<(), FieldError>,
) -> Result<Request<()>, Broken> {
    if decoded == Err(FieldError::Undecodable) {
        return Err(FieldError::Undecodable.into());
    }
    let head = fields.begun()?;
    decoded?;
    Ok(head.finish(Version::HTTP_2)?)
}

/// The head of a request.
///
/// # Errors
/// [`Broken`], if it is malformed, cannot be decoded, or is over its bounds. What follows can be decoded all the same,
/// unless the connection is broken.
pub fn read_request(decoder: &mut Decoder, section: &[u8], limits: &Limits) -> Result<Request<()>, Broken> {
    let mut fields = FieldList::default();
    let decoded = decode_request(decoder, section, limits, &mut fields);
    request_head(&fields, decoded)
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
