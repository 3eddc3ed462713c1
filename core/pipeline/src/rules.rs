//! Rules on the request path: an exchange as their expressions ask it.

use std::{borrow::Cow, fmt, net::IpAddr, ops::ControlFlow};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use proxima_model::{RuleExpression, RuleId};
use proxima_rules::{Flag, Listing, Map, Number, Text};

use crate::{ClientCertificate, Exchange, Protocol, Scheme};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A rule that is switched on.
#[derive(Clone, Debug)]
pub struct SiteRule<A> {
    /// Its id.
    pub id: RuleId,
    /// What its owner says of it.
    pub description: String,
    /// When it applies.
    pub expression: RuleExpression,
    /// What it does then.
    pub action: A,
}

impl<A> SiteRule<A> {
    /// Whether it applies.
    pub fn holds(&self, asked: &Asked<'_>) -> bool {
        self.expression.parsed().holds(asked)
    }
}

/// Which rule it is, for traces.
impl<A> fmt::Display for SiteRule<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {}", self.id)?;
        if self.description.is_empty() { Ok(()) } else { write!(f, " ({})", self.description) }
    }
}

/// An exchange, as expressions of rules ask it.
#[derive(Clone, Copy)]
pub struct Asked<'a>(pub &'a Exchange);

impl proxima_rules::Request for Asked<'_> {
    fn text(&self, field: Text) -> Cow<'_, [u8]> {
        let request = &self.0.request;
        let (path, query) = (request.target.path(), request.target.query().unwrap_or_default());
        Cow::Borrowed(match field {
            Text::Host => request.host.as_bytes(),
            Text::Method => request.method.as_str().as_bytes(),
            Text::Uri => request.target.as_str().as_bytes(),
            Text::Path => path.as_bytes(),
            Text::Query => query.as_bytes(),
            Text::Extension => return in_lower_case(extension(path)),
            Text::FullUri => return Cow::Owned(request.url().into_bytes()),
            Text::Version => match self.0.client.protocol {
                Protocol::Http10 => b"HTTP/1.0",
                Protocol::Http11 => b"HTTP/1.1",
                Protocol::Http2 => b"HTTP/2",
                Protocol::Http3 => b"HTTP/3",
            },
            // HTTP/2 and HTTP/3 send cookies in several lines (RFC 9113, 8.2.3).
            Text::Cookie => return joined(&request.headers, &header::COOKIE, b"; "),
            Text::UserAgent => return joined(&request.headers, &header::USER_AGENT, b", "),
            Text::Referer => return joined(&request.headers, &header::REFERER, b", "),
            Text::CertFingerprint => {
                self.certificate().map_or(&[][..], |shown| shown.fingerprint().as_bytes())
            }
            // The edge has appended the client's own address to what came.
            Text::XForwardedFor => {
                let line = request.headers.get(X_FORWARDED_FOR).map_or(&[][..], HeaderValue::as_bytes);
                line.iter().rposition(|octet| *octet == b',').map_or(&[][..], |comma| &line[..comma])
            }
        })
    }

    fn flag(&self, field: Flag) -> bool {
        match field {
            Flag::Ssl => self.0.request.scheme == Scheme::Https,
            Flag::CertPresented => self.certificate().is_some(),
            Flag::CertVerified => self.0.client_verified,
        }
    }

    fn number(&self, field: Number) -> i64 {
        match field {
            Number::Timestamp => self.0.received_at.as_seconds(),
        }
    }

    fn address(&self) -> IpAddr {
        self.0.client.address.ip()
    }

    fn values(&self, map: Map, name: &[u8], see: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) {
        let headers = &self.0.request.headers;
        match map {
            Map::Headers => {
                let Ok(name) = HeaderName::from_lowercase(name) else { return };
                show(headers.get_all(name).iter().map(HeaderValue::as_bytes), see);
            }
            Map::Cookies => {
                show(cookies(headers).filter_map(|(known, value)| (known == name).then_some(value)), see)
            }
            Map::Args => show(self.args().filter_map(|(known, value)| (known == name).then_some(value)), see),
        }
    }

    fn listing(&self, listing: Listing, see: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) {
        let headers = &self.0.request.headers;
        match listing {
            Listing::HeaderNames => show(headers.keys().map(|name| name.as_str().as_bytes()), see),
            Listing::HeaderValues => show(headers.values().map(HeaderValue::as_bytes), see),
            Listing::ArgNames => show(self.args().map(|(name, _)| name), see),
            Listing::ArgValues => show(self.args().map(|(_, value)| value), see),
        }
    }
}

impl Asked<'_> {
    fn certificate(&self) -> Option<&ClientCertificate> {
        self.0.client.tls.as_ref()?.client_certificate.as_deref()
    }

    fn args(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let query = self.0.request.target.query().unwrap_or_default().as_bytes();
        query.split(|octet| *octet == b'&').filter(|arg| !arg.is_empty()).map(name_and_value)
    }
}

/// The cookies of a request, in order (RFC 6265, 4.2.1): names and values, neither decoded.
pub fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let pairs = lines.flat_map(|line| line.split(|octet| *octet == b';')).map(<[u8]>::trim_ascii);
    pairs.filter(|pair| !pair.is_empty()).map(name_and_value)
}

/// The two sides of `name=value`; what has no `=` is a name.
pub fn name_and_value(pair: &[u8]) -> (&[u8], &[u8]) {
    match pair.iter().position(|octet| *octet == b'=') {
        Some(at) => (&pair[..at], &pair[at + 1..]),
        None => (pair, &[]),
    }
}

/// What follows the last dot of a path's last segment, as it is written there.
pub fn extension(path: &str) -> &str {
    let segment = path.rsplit('/').next().unwrap_or_default();
    segment.rsplit_once('.').map_or("", |(_, extension)| extension)
}

fn in_lower_case(text: &str) -> Cow<'_, [u8]> {
    if text.bytes().any(|octet| octet.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase().into_bytes())
    } else {
        Cow::Borrowed(text.as_bytes())
    }
}

/// The lines of a field as one.
fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName, between: &[u8]) -> Cow<'a, [u8]> {
    let mut lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let first = lines.next().unwrap_or_default();
    let mut all = Cow::Borrowed(first);
    for line in lines {
        let all = all.to_mut();
        all.extend_from_slice(between);
        all.extend_from_slice(line);
    }
    all
}

fn show<'a>(texts: impl Iterator<Item = &'a [u8]>, see: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) {
    let mut texts = texts;
    let _seen = texts.try_for_each(see);
}
