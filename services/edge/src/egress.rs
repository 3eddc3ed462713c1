//! What code that runs here, Workers, may ask for, and by which way it goes.
//!
//! ```text
//!  URL of a Worker ─▶ a site of its own account? ── yes ─▶ the stages behind the Workers' own: zone, rules, custom domains of Workers,
//!                          │ no                             cache, origin
//!                          ├─ another account's site ─▶ Entry ─▶ all stages, as for a visitor
//!                          └─ elsewhere ─▶ Names ─▶ AddressPolicy ─▶ OriginClient, to the address that was checked
//! ```
//!
//! Everything that leaves is signed by `CDN-Loop`: what leads back to this network is refused where it comes in again. What stays within it
//! is counted by whom it has called ([`Caller`]).

use std::{net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use http::HeaderValue;
use proxima_model::{AccountId, ZoneId, ZoneStatus};
use proxima_pipeline::{
    Caller, Exchange, Fault, Fetch, Pipeline, Response, Site, Stranger, WorkerZones, answer,
};

use crate::{
    origin::{AddressPolicy, Origins},
    server::Entry,
    stages::{LoopGuard, Missing, Sites, Wait, take_off_ours, unreadable},
};

/// A step into another account's site goes to the next multiple of this in a row of Workers, where it leaves as many places behind it. Each
/// place is another load of a Worker's code: so nobody has those of others loaded in more places than three (4, 8 and 12), and none of them
/// so near the end of the row that what it calls itself fails by its caller's choice.
const STEP_TO_STRANGERS: u8 = 4;

/// The way out for code.
pub struct Egress {
    sites: Arc<dyn Sites>,
    origins: Arc<Origins>,
    ways: EgressWays,
    guard: LoopGuard,
    policy: AddressPolicy,
    upgrade_idle: Duration,
}

/// Where sites of this network are asked.
pub struct EgressWays {
    /// Those of the account whose code asks.
    pub own: Pipeline,
    /// Those of others.
    pub others: Entry,
    /// Where Workers belong, to tell others.
    pub zones: Arc<dyn WorkerZones>,
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
    /// By `ways` for sites, and else by `origins`' names and connections, as far as `addresses` allow it. WebSockets end when
    /// nothing has moved on them for `upgrade_idle`.
    pub fn new(
        sites: Arc<dyn Sites>,
        origins: Arc<Origins>,
        ways: EgressWays,
        guard: LoopGuard,
        addresses: EgressAddresses,
        upgrade_idle: Duration,
    ) -> Self {
        let EgressAddresses { allow_private, own, servers } = addresses;
        let policy = AddressPolicy::refusing(allow_private, &own).and_servers(servers);
        Self { sites, origins, ways, guard, policy, upgrade_idle }
    }

    async fn ask(&self, account: AccountId, exchange: &mut Exchange) -> Result<Response, Fault> {
        self.guard.sign(&mut exchange.request.headers);
        match self.site(&exchange.request.host).await? {
            Some(site) if site.zone.account == account => {
                self.ways.own.run(exchange).await;
                exchange.response.take().ok_or(Fault::Internal("no stage answered"))
            }
            // Not by its records: so it would be reached around whatever protects it.
            Some(_) => self.enter(account, exchange).await,
            None => {
                // Networks believe what stands in these fields of requests that come from us: code may not write them.
                take_off_ours(&mut exchange.request.headers);
                self.origins.fetch_by_name(exchange, &self.policy).await
            }
        }
    }

    /// Has the site of another account asked as a visitor would.
    async fn enter(&self, account: AccountId, exchange: &mut Exchange) -> Result<Response, Fault> {
        let caller = exchange.extensions.get::<Caller>();
        let row = caller.map_or(0, |caller| caller.row);
        let row = (row / STEP_TO_STRANGERS + 1).saturating_mul(STEP_TO_STRANGERS);
        if row > Caller::ROW_MAX - STEP_TO_STRANGERS {
            return Err(Fault::WorkerLoop);
        }
        let zone =
            caller.map(|caller| self.ways.zones.zone_of(account, &caller.worker)).transpose()?.flatten();
        let named = zone.map_or_else(|| account.to_string(), |zone| zone.to_string());
        let named =
            HeaderValue::from_maybe_shared(named).map_err(|_| Fault::Internal("a name is no value"))?;
        let (response, fault) = self.ways.others.answer(exchange, Stranger { named, row }).await;
        if let Some(fault) = fault {
            exchange.extensions.insert(fault);
        }
        Ok(response)
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
