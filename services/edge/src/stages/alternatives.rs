//! Tells visitors that HTTP/3 is spoken here.

use std::sync::Arc;

use bytes::BytesMut;
use http::{HeaderValue, header};
use proxima_pipeline::{Adding, Client, Exchange, Glance, Protocol, Sight, Site, Stage, put_decimal};

/// What is said where HTTPS has its own port: for a day.
const USUAL: HeaderValue = HeaderValue::from_static("h3=\":443\"; ma=86400");

/// On the way back: `Alt-Svc` (RFC 7838) on answers by HTTP/1.1 and HTTP/2 over TLS, where the network speaks HTTP/3 and
/// the zone wants it told. HTTP/3 has the port of the listener by which the visitor came.
pub struct Alternatives {
    http3: bool,
}

impl Alternatives {
    /// For a network that speaks HTTP/3, or does not.
    pub const fn new(http3: bool) -> Self {
        Self { http3 }
    }

    /// Whether a visitor of this site is told.
    fn tells(&self, client: &Client, site: Option<&Arc<Site>>) -> bool {
        self.http3
            && client.tls.is_some()
            && client.protocol != Protocol::Http3
            && site.is_some_and(|site| site.zone.settings.http3)
    }
}

/// What is said of HTTP/3 at this port.
fn at_port(port: u16) -> BytesMut {
    let mut value = BytesMut::from(&b"h3=\":"[..]);
    put_decimal(&mut value, port.into());
    value.extend_from_slice(b"\"; ma=86400");
    value
}

impl Stage for Alternatives {
    fn name(&self) -> &'static str {
        "alternatives"
    }

    fn on_response(&self, exchange: &mut Exchange) {
        let told = self.tells(&exchange.client, exchange.site.as_ref());
        let Some(response) = exchange.response.as_mut().filter(|_| told) else { return };
        let value = match exchange.client.local.port() {
            443 => USUAL,
            port => match HeaderValue::from_maybe_shared(at_port(port).freeze()) {
                Ok(value) => value,
                Err(_) => return,
            },
        };
        exchange.trace.note(self.name(), || format!("told the visitor {value:?}"));
        // What an origin says of itself would lead visitors past us.
        response.headers.insert(header::ALT_SVC, value);
    }

    fn glance(&self, _glance: &mut Glance<'_>) -> Sight {
        Sight::Pass
    }

    fn add(&self, glance: &Glance<'_>, answer: &mut Adding<'_>) {
        if !self.tells(glance.client, glance.site.as_ref()) {
            return;
        }
        match glance.client.local.port() {
            443 => answer.add(&header::ALT_SVC, USUAL.as_bytes()),
            port => answer.add(&header::ALT_SVC, &at_port(port)),
        }
    }
}
