//! Whether the client presented a certificate that the host asked for trusts.

use std::sync::Arc;

use proxima_chassis::Clock;
use proxima_pipeline::{ClientCertificate, Decision, Exchange, Fault, Flow, Glance, Sight, Stage};

use proxima_tls::Certificates;

/// Verifies the certificate that a connection's client presented, by the authorities of the host that a request is for,
/// and refuses requests without one where the host's association says `enforce`.
///
/// It stands before rules, cache and origin: nobody is answered by any of them who has no certificate that holds, be the
/// answer stored or not. What a cache stores of such a host lies under that host's name, and is reached through here only.
/// A connection made for another host of the zone was not asked for a certificate: its client is told to make one for this
/// host (421), which browsers do. Requests in clear are refused, unless the zone sends them to TLS first.
pub struct ClientCertificates {
    certificates: Arc<Certificates>,
    clock: Arc<dyn Clock>,
}

impl ClientCertificates {
    /// By the authorities that are kept with these certificates.
    pub fn new(certificates: Arc<Certificates>, clock: Arc<dyn Clock>) -> Self {
        Self { certificates, clock }
    }

    fn holds(&self, certificate: &ClientCertificate, host: &str) -> bool {
        let Some(authorities) = self.certificates.client_authorities(Some(host)) else { return false };
        let now = self.clock.now();
        certificate.holds_by(&authorities, now, || authorities.verify(certificate.chain(), now))
    }
}

impl Stage for ClientCertificates {
    fn name(&self) -> &'static str {
        "client certificates"
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        let host = &*exchange.request.host;
        let wanted = exchange.site.as_ref().and_then(|site| site.client_auth.get(host));
        let Some(&enforced) = wanted else { return Decision::Now(Flow::Continue) };
        let tls = exchange.client.tls.as_deref();
        let presented = tls.and_then(|tls| tls.client_certificate.as_deref());
        let verified = presented.is_some_and(|certificate| self.holds(certificate, host));
        let elsewhere = tls.is_some_and(|tls| tls.server_name.as_deref() != Some(host));
        exchange.trace.note(self.name(), || match presented {
            Some(shown) if verified => format!("{} holds", shown.fingerprint()),
            Some(shown) => format!("{} does not hold by the host's authorities", shown.fingerprint()),
            None => "none was presented".to_owned(),
        });
        exchange.client_verified = verified;
        Decision::Now(match (enforced && !verified, elsewhere) {
            (false, _) => Flow::Continue,
            (true, true) => Flow::Fail(Fault::Misdirected),
            (true, false) => Flow::Fail(Fault::Forbidden("it asks for a client certificate that it trusts")),
        })
    }

    fn glance(&self, glance: &mut Glance<'_>) -> Sight {
        let asked = glance.site.as_ref().is_none_or(|site| site.client_auth.contains_key(glance.host));
        if asked { Sight::Unsure } else { Sight::Pass }
    }
}

#[cfg(test)]
mod tests {
    use proxima_chassis::SystemClock;
    use proxima_pipeline::TlsFacts;

    use super::*;
    use crate::stages::tests::fixtures::{exchange, site_of, zone};
    use crate::tls::tests::World;

    #[tokio::test]
    async fn who_has_no_certificate_is_refused_where_that_is_enforced_and_sent_elsewhere_if_not_asked() {
        let stage = ClientCertificates::new(World::new().await.certificates(), Arc::new(SystemClock));
        let decide = |url: &str, server_name: &str, enforced| {
            let mut exchange = exchange(url);
            let mut site =
                (*site_of(zone("a.example"), &[("www.a.example", "192.0.2.1")], Vec::new())).clone();
            site.client_auth.insert("www.a.example".into(), enforced);
            exchange.site = Some(Arc::new(site));
            exchange.client.tls = exchange.client.tls.map(|tls| {
                let chain = vec![b"nonsense".to_vec()];
                let client_certificate = Some(Arc::new(ClientCertificate::new(chain, "00".to_owned())));
                Arc::new(TlsFacts {
                    server_name: Some(server_name.into()),
                    client_certificate,
                    ..(*tls).clone()
                })
            });
            let fault = match stage.on_request(&mut exchange) {
                Decision::Now(Flow::Fail(fault)) => Some(fault.status().as_u16()),
                Decision::Now(_) => None,
                Decision::Later(_) => panic!("it decides at once"),
            };
            assert!(!exchange.client_verified);
            fault
        };
        let (url, host) = ("https://www.a.example/", "www.a.example");
        assert_eq!(decide(url, host, true), Some(403));
        assert_eq!(decide(url, host, false), None);
        assert_eq!(decide(url, "a.example", true), Some(421), "a connection of its own is asked");
        assert_eq!(decide("http://www.a.example/", host, true), Some(403));
        assert_eq!(decide("https://a.example/", "a.example", true), None, "another host of the zone");
    }
}
