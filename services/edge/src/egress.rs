//! What code that runs here, Workers, may ask for, and by which way it goes.
//!
//! ```text
//!  URL of a Worker ─▶ a site of its own account? ── yes ─▶ the stages behind the Workers' own: zone, rules, cache, origin
//!                          │ no
//!                          ├─ another account's site ─▶ refused
//!                          └─ elsewhere ─▶ Names ─▶ AddressPolicy ─▶ OriginClient, to the address that was checked
//! ```
//!
//! Everything that leaves is signed by `CDN-Loop`: what leads back to this network is refused where it comes in again.

use std::{net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use proxima_model::{AccountId, ZoneId, ZoneStatus};
use proxima_pipeline::{Exchange, Fault, Fetch, Pipeline, Response, Site, answer};

use crate::{
    origin::{AddressPolicy, Origins},
    stages::{LoopGuard, Missing, Sites, Wait, take_off_ours, unreadable},
};

/// The way out for code.
pub struct Egress {
    sites: Arc<dyn Sites>,
    origins: Arc<Origins>,
    behind: Pipeline,
    guard: LoopGuard,
    policy: AddressPolicy,
    upgrade_idle: Duration,
}

/// Where code may not fetch from by its own choice.
#[derive(Default)]
pub struct EgressAddresses {
    /// Whether private ones are allowed.
    pub allow_private: bool,
    /// This machine's, and the anycast ones: never.
    pub own: Vec<IpAddr>,
    /// The servers' of the network, as the replica has them at the moment: never.
    pub servers: Arc<ArcSwap<Vec<IpAddr>>>,
}

impl Egress {
    /// Through `behind` for sites, and else by `origins`' names and connections, as far as `addresses` allow it. WebSockets end when
    /// nothing has moved on them for `upgrade_idle`.
    pub fn new(
        sites: Arc<dyn Sites>,
        origins: Arc<Origins>,
        behind: Pipeline,
        guard: LoopGuard,
        addresses: EgressAddresses,
        upgrade_idle: Duration,
    ) -> Self {
        let EgressAddresses { allow_private, own, servers } = addresses;
        let policy = AddressPolicy::refusing(allow_private, &own).and_servers(servers);
        Self { sites, origins, behind, guard, policy, upgrade_idle }
    }

    async fn ask(&self, account: AccountId, exchange: &mut Exchange) -> Result<Response, Fault> {
        self.guard.sign(&mut exchange.request.headers);
        match self.site(&exchange.request.host).await? {
            Some(site) if site.zone.account == account => {
                self.behind.run(exchange).await;
                exchange.response.take().ok_or(Fault::Internal("no stage answered"))
            }
            // By its records it could be reached around whatever protects it.
            Some(_) => Err(Fault::Forbidden("a Worker may not fetch what this network serves for others")),
            None => {
                // Networks believe what stands in these fields of requests that come from us: code may not write them.
                take_off_ours(&mut exchange.request.headers);
                self.origins.fetch_by_name(exchange, &self.policy).await
            }
        }
    }

    /// The zone that serves a host here. One that is not active counts for nothing: anybody can make a zone of any name.
    async fn site(&self, host: &str) -> Result<Option<Arc<Site>>, Fault> {
        let wait = Wait::new();
        loop {
            match self.sites.find(host) {
                Ok(found) => return Ok(found.filter(|site| serves(site, host))),
                Err(Missing::Unreadable(error)) => return Err(unreadable(&error)),
                Err(Missing::Pending(pending)) => wait.until_landed(pending).await?,
            }
        }
    }
}

fn serves(site: &Site, host: &str) -> bool {
    site.zone.status == ZoneStatus::Active
        && site.zone.is_proxied()
        && site.host(host).is_some_and(|host| host.proxied)
}

impl Fetch for Egress {
    fn fetch<'a>(&'a self, account: AccountId, exchange: &'a mut Exchange) -> BoxFuture<'a, Response> {
        Box::pin(async move {
            match self.ask(account, exchange).await {
                Ok(response) => response,
                Err(fault) => {
                    let response = answer(&fault, exchange);
                    exchange.extensions.insert(fault);
                    response
                }
            }
        })
    }

    fn websocket_idle_max(&self) -> Duration {
        self.upgrade_idle
    }

    fn zone<'a>(&'a self, account: AccountId, host: &'a str) -> BoxFuture<'a, Result<Option<ZoneId>, Fault>> {
        Box::pin(async move {
            let site = self.site(host).await?;
            Ok(site.filter(|site| site.zone.account == account).map(|site| site.zone.id))
        })
    }
}

#[cfg(test)]
mod tests;
