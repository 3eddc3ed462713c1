//! Which zone a request is for, and whether it is served here and in this way.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use proxima_ledger::Pending;
use proxima_model::{MinTlsVersion, SslMode};
use proxima_pipeline::{
    AskedByPeer, Decision, Exchange, Fault, Flow, Glance, Response, Scheme, Sight, Site, Stage, TlsFacts,
};

use super::{Missing, Sites, Wait, unreadable};

const NAME: &str = "zone";

/// The ports at which the public reaches this network, for redirects from one scheme to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicPorts {
    /// In clear.
    pub http: u16,
    /// By TLS.
    pub https: u16,
}

impl Default for PublicPorts {
    fn default() -> Self {
        Self { http: Scheme::Http.default_port(), https: Scheme::Https.default_port() }
    }
}

/// Looks up the host's zone and puts it into the exchange. Refuses hosts that are not served here, hosts that are not
/// of the TLS session's zone, and TLS that is older than the zone allows; redirects to the scheme that the zone wants.
pub struct ZoneStage {
    sites: Arc<dyn Sites>,
    ports: PublicPorts,
}

impl ZoneStage {
    /// Over these sites.
    pub fn new(sites: Arc<dyn Sites>, ports: PublicPorts) -> Self {
        Self { sites, ports }
    }

    fn site(&self, host: &str, tls: Option<&TlsFacts>) -> Result<Arc<Site>, Refused> {
        let site = self.sites.find(host)?.ok_or(Fault::HostUnknown)?;
        if !site.zone.is_proxied() || !site.host(host).is_some_and(|host| host.proxied) {
            return Err(Fault::HostUnknown.into());
        }
        if let Some(tls) = tls {
            self.check_session(tls, host, &site)?;
        }
        Ok(site)
    }

    /// Whether a TLS session may ask for `host`: a client may use one connection for all names of a zone, but not for
    /// another zone's (RFC 9110, 7.4; RFC 9113, 9.1.1).
    fn check_session(&self, tls: &TlsFacts, host: &str, site: &Site) -> Result<(), Refused> {
        if let Some(name) = tls.server_name.as_deref()
            && name != host
            && self.sites.find(name)?.is_none_or(|named| named.zone.id != site.zone.id)
        {
            return Err(Fault::Misdirected.into());
        }
        if site.zone.settings.min_tls_version == MinTlsVersion::V1_3 && tls.version != "TLSv1.3" {
            return Err(Fault::Forbidden("it asks for TLS 1.3 or later").into());
        }
        Ok(())
    }

    /// The scheme to which the zone sends visitors who came by the other one. Another server's cache is no visitor: its
    /// own zone stage has let the request pass, and it would store the redirect as the answer to what it asked.
    fn redirect(exchange: &Exchange, site: &Site) -> Option<Scheme> {
        if exchange.extensions.get::<AskedByPeer>().is_some() {
            return None;
        }
        Self::other_scheme(exchange.request.scheme, site)
    }

    /// The scheme that the zone wants instead of the one by which a visitor came.
    fn other_scheme(came_by: Scheme, site: &Site) -> Option<Scheme> {
        let settings = &site.zone.settings;
        match came_by {
            // Without TLS there is nothing to redirect to, whatever `always_use_https` says.
            Scheme::Http => {
                (settings.always_use_https && settings.ssl != SslMode::Off).then_some(Scheme::Https)
            }
            Scheme::Https => (settings.ssl == SslMode::Off).then_some(Scheme::Http),
        }
    }

    fn location(&self, exchange: &Exchange, scheme: Scheme) -> Result<HeaderValue, Fault> {
        let port = match scheme {
            Scheme::Http => self.ports.http,
            Scheme::Https => self.ports.https,
        };
        let request = &exchange.request;
        let port = if port == scheme.default_port() { String::new() } else { format!(":{port}") };
        HeaderValue::from_maybe_shared(format!(
            "{}://{}{port}{}",
            scheme.name(),
            request.host,
            request.target
        ))
        .map_err(|_| Fault::BadRequest("the target cannot stand in a Location"))
    }

    /// What becomes of a request for a site.
    fn decide(&self, exchange: &mut Exchange, site: &Arc<Site>) -> Flow {
        exchange.trace.note(NAME, || format!("zone {}, ssl {:?}", site.zone.name, site.zone.settings.ssl));
        // Before anything is answered: whatever it is, it is this zone's.
        exchange.site = Some(Arc::clone(site));
        if let Some(scheme) = Self::redirect(exchange, site) {
            let location = match self.location(exchange, scheme) {
                Ok(location) => location,
                Err(fault) => return Flow::Fail(fault),
            };
            exchange.trace.note(NAME, || format!("the zone's settings send visitors to {}", scheme.name()));
            let mut response = Response { status: StatusCode::MOVED_PERMANENTLY, ..Response::default() };
            response.headers.insert(header::LOCATION, location);
            // The settings may change, and a browser would not forget.
            response.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
            return Flow::Respond(response);
        }
        Flow::Continue
    }

    /// The same, when its zone is there.
    async fn decide_later(&self, exchange: &mut Exchange, mut pending: Pending<Site>) -> Flow {
        let wait = Wait::new();
        loop {
            if let Err(fault) = wait.until_landed(pending).await {
                return Flow::Fail(fault);
            }
            match self.site(&exchange.request.host, exchange.client.tls.as_deref()) {
                Ok(site) => return self.decide(exchange, &site),
                Err(Refused::Fault(fault)) => return Flow::Fail(fault),
                Err(Refused::Pending(next)) => pending = next,
            }
        }
    }
}

/// Why there is no site for a request.
enum Refused {
    Fault(Fault),
    Pending(Pending<Site>),
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Missing> for Refused {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Unreadable(error) => Self::Fault(unreadable(&error)),
            Missing::Pending(pending) => Self::Pending(pending),
        }
    }
}

impl Stage for ZoneStage {
    fn name(&self) -> &'static str {
        NAME
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        match self.site(&exchange.request.host, exchange.client.tls.as_deref()) {
            Ok(site) => Decision::Now(self.decide(exchange, &site)),
            Err(Refused::Fault(fault)) => Decision::Now(Flow::Fail(fault)),
            Err(Refused::Pending(pending)) => Decision::Later(Box::pin(self.decide_later(exchange, pending))),
        }
    }

    fn glance(&self, glance: &mut Glance<'_>) -> Sight {
        match self.site(glance.host, glance.client.tls.as_deref()) {
            Ok(site) if Self::other_scheme(glance.scheme, &site).is_none() => {
                glance.site = Some(site);
                Sight::Pass
            }
            _ => Sight::Unsure,
        }
    }
}
