//! Where a request goes, by its site's records, rules and settings.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use http::{HeaderValue, header};
use proxima_chassis::Metrics;
use proxima_model::{OriginMaxHttpVersion, SslMode};
use proxima_pipeline::{Blame, Body, Exchange, Fault, OriginSeen, Response, Scheme, Site, Trace};
use smallvec::{SmallVec, smallvec};

use super::{
    OriginConfig, OriginConfigError,
    address::AddressPolicy,
    client::{ADDRESSES_TRIED_MAX, Call, OriginClient},
    http2::{Http2Client, is_grpc},
    metrics::OriginMetrics,
    names::{Addresses, Names, resolver},
    pool::{Destination, Pool, TlsName},
    tls::OriginTls,
};
use crate::stages::Sites;

/// The one protocol to which a client may have a connection switched: others (`h2c`) would carry requests past us.
const WEBSOCKET: &str = "websocket";

fn is_websocket(protocol: &str) -> bool {
    protocol.eq_ignore_ascii_case(WEBSOCKET)
}

/// All origins of all sites, as seen from this node.
pub struct Origins {
    names: Names,
    policy: AddressPolicy,
    client: OriginClient,
    http2: Http2Client,
    metrics: OriginMetrics,
}

impl Origins {
    /// Reads the machine's certificate authorities and registers its metrics; connects to nothing yet.
    ///
    /// # Errors
    /// What of the configuration cannot be used.
    pub fn new(
        config: &OriginConfig,
        sites: Arc<dyn Sites>,
        metrics: &Metrics,
    ) -> Result<Self, OriginConfigError> {
        let tls = OriginTls::new(config.origin_ca.as_deref())?;
        let metrics = OriginMetrics::new(metrics);
        let pool = Pool::new(config.limits, config.timeouts.idle, metrics.clone());
        Ok(Self {
            names: Names::new(sites, resolver(&config.resolvers)?, config.timeouts.resolve),
            policy: AddressPolicy::new(config),
            http2: Http2Client::new(pool.clone(), tls.clone(), config.timeouts),
            client: OriginClient::new(pool, tls, config.timeouts, metrics.clone()),
            metrics,
        })
    }

    /// Sends the exchange's request to its origin; takes its body.
    ///
    /// # Errors
    /// What of the origin failed.
    pub(crate) async fn fetch(&self, exchange: &mut Exchange) -> Result<Response, Fault> {
        let (began, mut asked) = (Instant::now(), None);
        let fetched = self.fetch_uncounted(exchange, &mut asked).await;
        let status = fetched.as_ref().ok().map(|response| response.status);
        exchange.extensions.insert(OriginSeen { address: asked, status, took: began.elapsed() });
        if let Err(fault) = &fetched
            && fault.blame() != Blame::Client
        {
            self.metrics.failed(fault);
        }
        fetched
    }

    async fn fetch_uncounted(
        &self,
        exchange: &mut Exchange,
        asked: &mut Option<IpAddr>,
    ) -> Result<Response, Fault> {
        let site = exchange.site.clone().ok_or(Fault::Internal("no stage has set the zone"))?;
        let addresses =
            self.addresses(exchange.origin.host.as_deref(), &exchange.request.host, &site).await?;
        let way = Way::of(exchange, &site);
        let destinations = way.destinations(addresses);
        exchange.trace.note("origin", || way.describe(&destinations));
        *asked = destinations.first().filter(|_| destinations.len() == 1).map(|only| only.address.ip());

        let body = std::mem::take(&mut exchange.request_body);
        let Exchange { request, origin, trace, interims, .. } = exchange;
        // The origin sees another `Host`; the stages on the way back see the client's again.
        let asked_host = match &origin.host_header {
            None => None,
            Some(host) => {
                let value = HeaderValue::from_str(host).map_err(|_| Fault::OriginName)?;
                request.headers.insert(header::HOST, value)
            }
        };
        let upgrade = request
            .upgrade
            .as_deref()
            .filter(|protocol| site.zone.settings.websockets && is_websocket(protocol));
        let call = Call {
            method: &request.method,
            target: &request.target,
            headers: &request.headers,
            upgrade,
            interims: interims.as_ref(),
        };
        let answered = self.send((&destinations, &site), call, body, trace, asked).await;
        if let Some(host) = asked_host {
            request.headers.insert(header::HOST, host);
        }
        answered
    }

    /// By HTTP/2 what needs it and can have it, all else by HTTP/1.1.
    async fn send(
        &self,
        (destinations, site): (&[Destination], &Site),
        call: Call<'_>,
        body: Body,
        trace: &mut Trace,
        asked: &mut Option<IpAddr>,
    ) -> Result<Response, Fault> {
        if site.zone.settings.origin_max_http_version == OriginMaxHttpVersion::V2
            && call.upgrade.is_none()
            && is_grpc(call.headers)
            && let Some(connection) = Box::pin(self.http2.connection(destinations, trace)).await?
        {
            return Box::pin(connection.ask(call, body)).await;
        }
        self.client.send(destinations, call, body, trace, asked).await
    }

    /// Sends the exchange's request, whatever zone it may be of, to the host that its URL names; takes its body. What is
    /// asked for by TLS proves that it is that host.
    ///
    /// # Errors
    /// What of it failed; [`Fault::OriginForbidden`] where `policy` allows none of its addresses.
    pub(crate) async fn fetch_by_name(
        &self,
        exchange: &mut Exchange,
        policy: &AddressPolicy,
    ) -> Result<Response, Fault> {
        let Exchange { request, trace, .. } = exchange;
        let mut addresses = self.named_addresses(&request.host).await?;
        addresses.retain(|address| policy.allows(*address));
        if addresses.is_empty() {
            return Err(Fault::OriginForbidden);
        }
        let port = request.port.unwrap_or_else(|| request.scheme.default_port());
        let tls = (request.scheme == Scheme::Https)
            .then(|| TlsName { name: bare(&request.host).into(), verify: true });
        let way = Way { port, tls };
        // What was checked is what is connected to: the name is not looked up again.
        let destinations = way.destinations(addresses);
        trace.note("origin", || way.describe(&destinations));
        let body = std::mem::take(&mut exchange.request_body);
        let call = Call {
            method: &request.method,
            target: &request.target,
            headers: &request.headers,
            upgrade: request.upgrade.as_deref().filter(|protocol| is_websocket(protocol)),
            interims: None,
        };
        self.client.send(&destinations, call, body, trace, &mut None).await
    }

    /// The addresses of a host that may be one itself.
    async fn named_addresses(&self, host: &str) -> Result<Addresses, Fault> {
        match bare(host).parse::<IpAddr>() {
            Ok(address) => Ok(smallvec![address]),
            // Boxed: what resolving takes is not to be carried about by requests that need none.
            Err(_) => Box::pin(self.names.addresses(host)).await,
        }
    }

    /// Where the origin lies: at the host that the rules `chose`, and else where the records of the host `asked` for
    /// say. Only addresses to which we may connect.
    async fn addresses(&self, chosen: Option<&str>, asked: &str, site: &Site) -> Result<Addresses, Fault> {
        let mut addresses = self.any_addresses(chosen, asked, site).await?;
        addresses.retain(|address| self.policy.allows(*address));
        if addresses.is_empty() { Err(Fault::OriginForbidden) } else { Ok(addresses) }
    }

    async fn any_addresses(
        &self,
        chosen: Option<&str>,
        asked: &str,
        site: &Site,
    ) -> Result<Addresses, Fault> {
        if let Some(host) = chosen {
            return self.named_addresses(host).await;
        }
        let host = site.host(asked).ok_or(Fault::OriginName)?;
        match &host.alias {
            _ if !host.addresses.is_empty() => Ok(host.addresses.iter().copied().collect()),
            Some(alias) => Box::pin(self.names.addresses(alias.as_str())).await,
            None => Err(Fault::OriginName),
        }
    }
}

/// How an origin is spoken to.
struct Way {
    port: u16,
    tls: Option<TlsName>,
}

impl Way {
    /// By the zone's `ssl` and the rules.
    fn of(exchange: &Exchange, site: &Site) -> Self {
        let ssl = site.zone.settings.ssl;
        let scheme = match (ssl, exchange.request.scheme) {
            (SslMode::Full | SslMode::Strict, Scheme::Https) => Scheme::Https,
            _ => Scheme::Http,
        };
        let tls = (scheme == Scheme::Https).then(|| {
            let name = match &exchange.origin.host_header {
                Some(host) => without_port(host).into(),
                None => exchange.request.host.clone(),
            };
            TlsName { name, verify: ssl == SslMode::Strict }
        });
        Self { port: exchange.origin.port.unwrap_or_else(|| scheme.default_port()), tls }
    }

    fn destinations(&self, addresses: Addresses) -> SmallVec<[Destination; ADDRESSES_TRIED_MAX]> {
        let destination =
            |address| Destination { address: SocketAddr::new(address, self.port), tls: self.tls.clone() };
        addresses.into_iter().map(destination).collect()
    }

    fn describe(&self, destinations: &[Destination]) -> String {
        let addresses: Vec<String> = destinations.iter().map(|to| to.address.to_string()).collect();
        let by = match &self.tls {
            None => "in clear".to_owned(),
            Some(TlsName { name, verify: true }) => format!("by TLS as {name}, verified"),
            Some(TlsName { name, verify: false }) => format!("by TLS as {name}, not verified"),
        };
        format!("the origin is {}, {by}", addresses.join(", "))
    }
}

/// An IPv6 address without its brackets; anything else as it is.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

/// The host of a `Host` value.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    }
}
