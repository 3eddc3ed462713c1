//! Tells visitors that HTTP/3 is spoken here.

use http::{HeaderValue, header};
use proxima_pipeline::{Exchange, Protocol, Stage};

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
}

impl Stage for Alternatives {
    fn name(&self) -> &'static str {
        "alternatives"
    }

    fn on_response(&self, exchange: &mut Exchange) {
        let told = self.http3
            && exchange.client.tls.is_some()
            && exchange.client.protocol != Protocol::Http3
            && exchange.site.as_ref().is_some_and(|site| site.zone.settings.http3);
        let Some(response) = exchange.response.as_mut().filter(|_| told) else { return };
        let value = match exchange.client.local.port() {
            443 => USUAL,
            port => match HeaderValue::from_maybe_shared(format!("h3=\":{port}\"; ma=86400")) {
                Ok(value) => value,
                Err(_) => return,
            },
        };
        exchange.trace.note(self.name(), || format!("told the visitor {value:?}"));
        // What an origin says of itself would lead visitors past us.
        response.headers.insert(header::ALT_SVC, value);
    }
}
