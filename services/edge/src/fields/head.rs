//! From the fields of a section to a request's head or its trailers.

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri, Version};
use proxima_http1::{is_token, may_be_trailer};

use super::FieldError;

/// What an extended CONNECT wants to speak (RFC 8441, 4; RFC 9220, 3): beside the head, as no part of it is made for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectProtocol(pub(crate) Box<str>);

/// The pseudo-header fields of a request (RFC 9113, 8.3.1; RFC 9114, 4.3.1).
#[derive(Default)]
struct Pseudo {
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    protocol: Option<ConnectProtocol>,
}

/// Sets what may be set once.
fn once<T>(slot: &mut Option<T>, value: Option<T>) -> Result<(), FieldError> {
    if slot.is_some() || value.is_none() {
        return Err(FieldError::Malformed);
    }
    *slot = value;
    Ok(())
}

impl Pseudo {
    fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), FieldError> {
        match name {
            b":method" => once(&mut self.method, Method::from_bytes(value).ok()),
            b":scheme" => once(&mut self.scheme, web_scheme(value)),
            b":authority" => once(&mut self.authority, Authority::try_from(value).ok()),
            b":path" if !value.is_empty() => once(&mut self.path, PathAndQuery::try_from(value).ok()),
            b":protocol" => once(&mut self.protocol, protocol(value)),
            _ => Err(FieldError::Malformed),
        }
    }

    fn into_parts(
        mut self,
        host: Option<&HeaderValue>,
    ) -> Result<(Method, Uri, Option<ConnectProtocol>), FieldError> {
        let method = self.method.ok_or(FieldError::Malformed)?;
        if self.protocol.is_some() && method != Method::CONNECT {
            return Err(FieldError::Malformed);
        }
        // With a protocol it has what every request has.
        let connect = method == Method::CONNECT && self.protocol.is_none();
        // One of both must be there (RFC 9114, 4.3.1); whether they agree is for whoever knows what a host is.
        if self.authority.is_none() && !connect {
            let host = host.ok_or(FieldError::Malformed)?;
            once(&mut self.authority, Authority::try_from(host.as_bytes()).ok())?;
        }
        let mut parts = http::uri::Parts::default();
        // CONNECT has neither, and an authority (RFC 9114, 4.4); everything else has both.
        if connect != self.scheme.is_none()
            || connect != self.path.is_none()
            || (connect && self.authority.is_none())
        {
            return Err(FieldError::Malformed);
        }
        parts.scheme = self.scheme;
        parts.authority = self.authority;
        parts.path_and_query = self.path;
        let uri = Uri::from_parts(parts).map_err(|_| FieldError::Malformed)?;
        Ok((method, uri, self.protocol))
    }
}

/// A scheme for which there are requests here; of others, whether they have an authority is not known.
fn web_scheme(value: &[u8]) -> Option<Scheme> {
    Scheme::try_from(value).ok().filter(|scheme| *scheme == Scheme::HTTPS || *scheme == Scheme::HTTP)
}

/// The name of a protocol: a token, as in `Upgrade` (RFC 8441, 5).
fn protocol(value: &[u8]) -> Option<ConnectProtocol> {
    let name = std::str::from_utf8(value).ok().filter(|_| is_token(value))?;
    Some(ConnectProtocol(name.into()))
}

/// The fields of a section that are no pseudo-header fields.
#[derive(Default)]
struct Fields(HeaderMap);

impl Fields {
    fn append(&mut self, name: &[u8], value: &[u8]) -> Result<(), FieldError> {
        // Only lower case, and no octet that a name or a value may not have (RFC 9114, 4.2, 10.3).
        let name = HeaderName::from_lowercase(name).map_err(|_| FieldError::Malformed)?;
        if is_of_a_connection(&name, value) || is_padded(value) {
            return Err(FieldError::Malformed);
        }
        let value = HeaderValue::from_bytes(value).map_err(|_| FieldError::Malformed)?;
        self.0.try_append(name, value).map_err(|_| FieldError::TooLarge)?;
        Ok(())
    }
}

/// Whether white space is around a value.
pub(super) fn is_padded(value: &[u8]) -> bool {
    let padded = |octet: Option<&u8>| matches!(octet, Some(b' ' | b'\t'));
    padded(value.first()) || padded(value.last())
}

/// Whether a field belongs to a connection of HTTP/1.1 (RFC 9114, 4.2).
fn is_of_a_connection(name: &HeaderName, value: &[u8]) -> bool {
    match name.as_str() {
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => true,
        "te" => !value.eq_ignore_ascii_case(b"trailers"),
        _ => false,
    }
}

/// A request's head, field by field.
#[derive(Default)]
pub(crate) struct RequestFields {
    pseudo: Pseudo,
    fields: Fields,
}

impl RequestFields {
    /// The next field.
    ///
    /// # Errors
    /// [`FieldError`], if it may not stand here or anywhere.
    pub(crate) fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), FieldError> {
        match name.first() {
            // They stand before all others (RFC 9113, 8.3; RFC 9114, 4.3).
            Some(b':') if self.fields.0.is_empty() => self.pseudo.set(name, value),
            Some(b':') => Err(FieldError::Malformed),
            _ => self.fields.append(name, value),
        }
    }

    /// The request, once there are no more fields.
    ///
    /// # Errors
    /// [`FieldError`], if one is missing, or they contradict each other.
    pub(crate) fn finish(self, version: Version) -> Result<Request<()>, FieldError> {
        let (method, uri, protocol) = self.pseudo.into_parts(self.fields.0.get(HOST))?;
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.version_mut() = version;
        *request.headers_mut() = self.fields.0;
        if let Some(protocol) = protocol {
            request.extensions_mut().insert(protocol);
        }
        Ok(request)
    }
}

/// Trailers, field by field.
#[derive(Default)]
pub(crate) struct TrailerFields(Fields);

impl TrailerFields {
    /// The next field.
    ///
    /// # Errors
    /// [`FieldError`], if it may not stand anywhere.
    pub(crate) fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), FieldError> {
        self.0.append(name, value)
    }

    /// The trailers. What frames or routes a message comes too late here (RFC 9110, 6.5.1), and may become a field of
    /// HTTP/1.1.
    ///
    /// # Errors
    /// [`FieldError`], if one is such a field.
    pub(crate) fn finish(self) -> Result<HeaderMap, FieldError> {
        let Fields(fields) = self.0;
        if fields.keys().all(may_be_trailer) { Ok(fields) } else { Err(FieldError::Malformed) }
    }
}
