//! Tells browsers to come by TLS only.

use http::{HeaderValue, header};
use proxima_pipeline::{Adding, Exchange, Glance, Sight, Stage};

const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// On the way back: `Strict-Transport-Security` (RFC 6797) and `X-Content-Type-Options`, as the zone's setting
/// `security_header` says, on every answer by TLS: the origin's, the cache's, and our own errors. In clear nothing is
/// said (RFC 6797, 7.2): whoever is on the way could have said it.
pub struct SecurityHeader;

impl Stage for SecurityHeader {
    fn name(&self) -> &'static str {
        "security header"
    }

    fn on_response(&self, exchange: &mut Exchange) {
        let Some(site) = exchange.site.as_ref().filter(|_| exchange.client.tls.is_some()) else { return };
        let Some(value) = &site.strict_transport_security else { return };
        let Some(response) = exchange.response.as_mut() else { return };
        exchange.trace.note(self.name(), || format!("told the visitor {value:?}"));
        // The zone's setting holds for all of its names, whatever one origin says.
        response.headers.insert(header::STRICT_TRANSPORT_SECURITY, value.clone());
        if site.zone.settings.strict_transport_security.nosniff {
            response.headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
        }
    }

    fn glance(&self, _glance: &mut Glance<'_>) -> Sight {
        Sight::Pass
    }

    fn add(&self, glance: &Glance<'_>, answer: &mut Adding<'_>) {
        let Some(site) = glance.site.as_ref().filter(|_| glance.client.tls.is_some()) else { return };
        let Some(value) = &site.strict_transport_security else { return };
        answer.add(&header::STRICT_TRANSPORT_SECURITY, value.as_bytes());
        if site.zone.settings.strict_transport_security.nosniff {
            answer.add(&header::X_CONTENT_TYPE_OPTIONS, NOSNIFF.as_bytes());
        }
    }
}
