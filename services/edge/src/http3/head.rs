//! From a field section to a request's head or its trailers.

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri, Version};

use super::code::Broken;
use super::qpack::{Section, decode_section};
use crate::http1::{Limits, may_be_trailer};

/// The pseudo-header fields of a request (RFC 9114, 4.3.1).
#[derive(Default)]
struct Pseudo {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
}

/// Sets what may be set once.
fn once<T>(slot: &mut Option<T>, value: Option<T>) -> Result<(), Broken> {
    if slot.is_some() || value.is_none() {
        return Err(Broken::MALFORMED);
    }
    *slot = value;
    Ok(())
}

impl Pseudo {
    fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), Broken> {
        match name {
            b":method" => once(&mut self.method, Method::from_bytes(value).ok()),
            b":scheme" => once(&mut self.scheme, web_scheme(value)),
            b":authority" => once(&mut self.authority, Authority::try_from(value).ok()),
            b":path" if !value.is_empty() => once(&mut self.path, PathAndQuery::try_from(value).ok()),
            // `:protocol` too: extended CONNECT is not offered (RFC 9220, 3).
            _ => Err(Broken::MALFORMED),
        }
    }

    fn into_parts(mut self, host: Option<&HeaderValue>) -> Result<(Method, Uri), Broken> {
        let method = self.method.ok_or(Broken::MALFORMED)?;
        let connect = method == Method::CONNECT;
        // One of both must be there (RFC 9114, 4.3.1); whether they agree is for whoever knows what a host is.
        if self.authority.is_none() && !connect {
            let host = host.ok_or(Broken::MALFORMED)?;
            once(&mut self.authority, Authority::try_from(host.as_bytes()).ok())?;
        }
        let mut parts = http::uri::Parts::default();
        // CONNECT has neither, and an authority (RFC 9114, 4.4); everything else has both.
        if connect != self.scheme.is_none()
            || connect != self.path.is_none()
            || (connect && self.authority.is_none())
        {
            return Err(Broken::MALFORMED);
        }
        parts.scheme = self.scheme;
        parts.authority = self.authority;
        parts.path_and_query = self.path;
        Ok((method, Uri::from_parts(parts).map_err(|_| Broken::MALFORMED)?))
    }
}

/// A scheme for which there are requests here; of others, whether they have an authority is not known.
fn web_scheme(value: &[u8]) -> Option<Scheme> {
    Scheme::try_from(value).ok().filter(|scheme| *scheme == Scheme::HTTPS || *scheme == Scheme::HTTP)
}

/// The fields of a section that are no pseudo-header fields.
struct Fields(HeaderMap);

impl Fields {
    fn append(&mut self, name: &[u8], value: &[u8]) -> Result<(), Broken> {
        // Only lower case, and no octet that a name or a value may not have (RFC 9114, 4.2, 10.3).
        let name = HeaderName::from_lowercase(name).map_err(|_| Broken::MALFORMED)?;
        let padded = |octet: Option<&u8>| matches!(octet, Some(b' ' | b'\t'));
        if is_of_a_connection(&name, value) || padded(value.first()) || padded(value.last()) {
            return Err(Broken::MALFORMED);
        }
        let value = HeaderValue::from_bytes(value).map_err(|_| Broken::MALFORMED)?;
        self.0.try_append(name, value).map_err(|_| Broken::TooLarge)?;
        Ok(())
    }
}

/// Whether a field belongs to a connection of HTTP/1.1 (RFC 9114, 4.2).
fn is_of_a_connection(name: &HeaderName, value: &[u8]) -> bool {
    match name.as_str() {
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => true,
        "te" => !value.eq_ignore_ascii_case(b"trailers"),
        _ => false,
    }
}

/// The head of a request.
///
/// # Errors
/// [`Broken`], if it is malformed, cannot be decoded, or is over its bounds.
pub fn read_request(section: &[u8], limits: &Limits) -> Result<Request<()>, Broken> {
    let bounds = Section { bytes_max: limits.head_bytes_max, fields_max: limits.head_fields_max };
    let mut pseudo = Pseudo::default();
    let mut fields = Fields(HeaderMap::new());
    decode_section(section, bounds, |name, value| match name.first() {
        // They stand before all others (RFC 9114, 4.3).
        Some(b':') if fields.0.is_empty() => pseudo.set(name, value),
        Some(b':') => Err(Broken::MALFORMED),
        _ => fields.append(name, value),
    })?;
    let (method, uri) = pseudo.into_parts(fields.0.get(HOST))?;
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_3;
    *request.headers_mut() = fields.0;
    Ok(request)
}

/// The trailers of a request.
///
/// # Errors
/// [`Broken`], if they are malformed, cannot be decoded, or are over their bounds.
pub fn read_trailers(section: &[u8], limits: &Limits) -> Result<HeaderMap, Broken> {
    let bounds = Section { bytes_max: limits.trailer_bytes_max, fields_max: limits.trailer_fields_max };
    let mut fields = Fields(HeaderMap::new());
    decode_section(section, bounds, |name, value| fields.append(name, value))?;
    // What frames or routes a message comes too late here (RFC 9110, 6.5.1), and may become a field of HTTP/1.1.
    let late = !fields.0.keys().all(may_be_trailer);
    if late { Err(Broken::MALFORMED) } else { Ok(fields.0) }
}
