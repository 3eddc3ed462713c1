//! The stages: requests that a route or a custom domain leads to a Worker are answered by it; and what other Workers fetch from a custom
//! domain.

use std::sync::{Arc, OnceLock, atomic::Ordering};

use http::HeaderValue;
use proxima_model::{AccountId, WorkerName};
use proxima_pipeline::{
    Caller, Decision, Exchange, Fault, Flow, Glance, Request, Response, Sight, Stage, Stranger, WorkerSeen,
};

use crate::{
    SERVICE,
    assets::{Asked, Route, Sites},
    egress::PASSED,
    engine::{ANSWER_WITHIN, Engine, Head, Invoked},
    facts::{Facts, facts},
    metrics::{CalledBy, Handler, Metrics},
    switched::WEBSOCKET,
    tails::{
        Looks,
        lost::{self, Times},
    },
    version::{Deployments, Variant, VersionKey, Wish},
};

/// What the stages and the service share.
pub(crate) struct Shared {
    pub(crate) deployments: Deployments,
    pub(crate) assets: Sites,
    /// The engine, once the service runs and if its program is there.
    pub(crate) engine: OnceLock<Arc<Engine>>,
    /// Whether a request has missed it.
    pub(crate) missed: std::sync::atomic::AtomicBool,
    /// Who looks at Workers.
    pub(crate) looks: Arc<Looks>,
    pub(crate) metrics: Metrics,
}

impl Shared {
    /// The version that answers for a Worker what sticks to a text, if it does; `None` where none is deployed.
    pub(crate) fn chosen(
        &self,
        account: AccountId,
        worker: &WorkerName,
        sticky: Option<&[u8]>,
    ) -> Result<Option<VersionKey>, Fault> {
        self.wished(account, worker, Wish { sticky, named: None })
    }

    /// The same for what has this wish ([`Deployments::choose`]).
    fn wished(
        &self,
        account: AccountId,
        worker: &WorkerName,
        wish: Wish<'_>,
    ) -> Result<Option<VersionKey>, Fault> {
        self.deployments.choose(account, worker, wish).map_err(|error| {
            tracing::error!(%error, "the deployment of a Worker cannot be read");
            Fault::Internal("the replica cannot be read")
        })
    }

    /// The engine, if it is there.
    pub(crate) fn engine(&self) -> Result<&Arc<Engine>, Fault> {
        self.engine.get().ok_or(Fault::WorkersUnavailable("the program workerd is not there"))
    }
}

/// The stage.
#[derive(Clone)]
pub struct WorkersStage(pub(crate) Arc<Shared>);

impl Stage for WorkersStage {
    fn name(&self) -> &'static str {
        SERVICE
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        let request = &exchange.request;
        let worker = exchange.site.as_ref().and_then(|site| {
            site.workers.find(request.scheme, &request.host, request.target.as_str()).cloned()
        });
        match worker {
            Some(worker) => {
                let by = match exchange.extensions.get() {
                    Some(Stranger { row, .. }) => By::Stranger(*row),
                    None => By::Visitor,
                };
                Decision::Later(Box::pin(self.answer(exchange, worker, by)))
            }
            None => Decision::Now(Flow::Continue),
        }
    }

    fn glance(&self, glance: &mut Glance<'_>) -> Sight {
        match &glance.site {
            Some(site) if site.workers.find(glance.scheme, glance.host, glance.target).is_none() => {
                Sight::Pass
            }
            _ => Sight::Unsure,
        }
    }
}

/// The stage at which what a Worker fetches from a custom domain of its account is answered by that one's Worker: it stands in the place of
/// an origin there. Routes are for visitors.
#[derive(Clone)]
pub struct DomainsStage(pub(crate) WorkersStage);

impl Stage for DomainsStage {
    fn name(&self) -> &'static str {
        SERVICE
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        let site = exchange.site.as_ref();
        let worker = site.and_then(|site| site.workers.of_domain(&exchange.request.host));
        let called = exchange.extensions.get::<Caller>().zip(worker);
        // One that has thrown there is not asked once more in its own place.
        match called.filter(|(caller, worker)| !caller.passes || caller.worker != **worker) {
            Some((caller, worker)) => {
                let (by, worker) = (By::Own(caller.row.saturating_add(1)), worker.clone());
                Decision::Later(Box::pin(self.0.answer(exchange, worker, by)))
            }
            None => Decision::Now(Flow::Continue),
        }
    }
}

/// Who asks a Worker, and which place that has in a row of Workers that call each other.
#[derive(Clone, Copy)]
enum By {
    Visitor,
    /// A Worker of its account, which fetches from its custom domain.
    Own(u8),
    /// A Worker of another account.
    Stranger(u8),
}

impl By {
    const fn row(self) -> u8 {
        match self {
            Self::Visitor => 0,
            Self::Own(row) | Self::Stranger(row) => row,
        }
    }

    fn count(self, metrics: &Metrics) {
        match self {
            Self::Visitor => {}
            Self::Own(_) => metrics.called(CalledBy::Own),
            Self::Stranger(_) => metrics.called(CalledBy::Stranger),
        }
    }
}

impl WorkersStage {
    async fn answer(&self, exchange: &mut Exchange, worker: WorkerName, by: By) -> Flow {
        by.count(&self.0.metrics);
        let mut answered = match by.row() {
            0..=Caller::ROW_MAX => self.run(exchange, &worker, by).await,
            _ => Err(Fault::WorkerLoop),
        };
        let passed = answered.as_mut().is_ok_and(|response| response.headers.remove(PASSED).is_some());
        self.0.metrics.ran(answered.as_ref().err(), passed, exchange.received.elapsed());
        match answered {
            Ok(response) => {
                exchange.trace.note(SERVICE, || {
                    let how = if passed { "threw, and the request passed it:" } else { "answered" };
                    format!("the Worker {how} {}", response.status)
                });
                Flow::Respond(response)
            }
            Err(fault) => Flow::Fail(fault),
        }
    }

    async fn run(&self, exchange: &mut Exchange, worker: &WorkerName, by: By) -> Result<Response, Fault> {
        let site = exchange.site.clone().ok_or(Fault::Internal("no stage has set the zone"))?;
        let wish = Wish::of(&exchange.request.headers, worker);
        let chosen = self.0.wished(site.zone.account, worker, wish)?;
        let key = chosen.ok_or(Fault::WorkerBroken("no version of it is deployed"))?;
        exchange.trace.note(SERVICE, || {
            let request = &exchange.request;
            let has_route = || site.workers.has_route(request.scheme, &request.host, request.target.as_str());
            let by = match by {
                By::Visitor | By::Stranger(_) if has_route() => "a route",
                By::Visitor | By::Stranger(_) | By::Own(_) => "a custom domain",
            };
            format!("{by} leads to Worker {worker}, version {}", key.version)
        });
        if let Some(response) = self.by_assets(&exchange.request, &key).await? {
            exchange.trace.note(SERVICE, || "its assets answer".to_owned());
            return Ok(response);
        }
        let engine = self.0.engine().inspect_err(|_| self.0.missed.store(true, Ordering::Relaxed))?;
        let is_looked_at = self.0.looks.is_looked_at(key.account, &key.worker);
        if exchange.trace.is_kept()
            && let Some(record) = engine.record(&key)
        {
            exchange.trace.note(SERVICE, || record.to_string());
        }
        let name = is_looked_at.then(|| exchange.ray.to_string());
        let invoked = Invoked::new(Handler::Fetch).named(name);
        let took = Arc::clone(&invoked.took);
        let facts = facts(exchange, Variant { is_looked_at, row: by.row() })?;
        let head = head(exchange, facts, invoked, site.zone.settings.websockets)?;
        let body = std::mem::take(&mut exchange.request_body);
        exchange.extensions.insert(WorkerSeen { outcome: "canceled", took: Arc::clone(&took) });
        proxima_chassis::engine_asked();
        let answered = engine.run(&key, head, body).await;
        let outcome = match &answered {
            Ok(passed) if passed.headers.contains_key(PASSED) => "exception",
            Ok(_) => "ok",
            Err(fault) => lost::outcome(fault),
        };
        if let Err(fault) = &answered {
            let (began, took, cpu) = (exchange.received_at, exchange.received.elapsed(), took.cpu());
            let times = Times { began, took, cpu };
            self.0.looks.tell_lost(&key, fault, times, || lost::request(&exchange.request));
        }
        exchange.extensions.insert(WorkerSeen { outcome, took });
        answered
    }

    /// The answer of the version's assets, if they are who answers.
    async fn by_assets(&self, request: &Request, key: &VersionKey) -> Result<Option<Response>, Fault> {
        let unreadable = |error| {
            tracing::error!(%error, %key, "the assets of a Worker cannot be read");
            Fault::Internal("the assets of a Worker cannot be read")
        };
        let Some(site) = self.0.assets.of(key).await.map_err(unreadable)?.site else { return Ok(None) };
        let (path, query) = (request.target.path(), request.target.query());
        let asked =
            Asked { method: &request.method, host: &request.host, path, query, headers: &request.headers };
        let Route::Assets(plan) = site.route(&asked) else { return Ok(None) };
        self.0.metrics.assets.inc();
        Box::pin(self.0.assets.answer(&site, plan, &asked)).await.map(Some).map_err(unreadable)
    }
}

/// The request as the engine gets it.
fn head(exchange: &Exchange, facts: Facts, invoked: Invoked, websockets: bool) -> Result<Head, Fault> {
    let request = &exchange.request;
    let (method, invoked) = (request.method.clone(), Some(invoked));
    let head = Head::new(method, &request.url(), &request.headers, facts, ANSWER_WITHIN, invoked)?;
    let protocol = request.upgrade.as_deref().filter(|protocol| websockets && *protocol == WEBSOCKET);
    Ok(if protocol.is_some() { head.switching(HeaderValue::from_static(WEBSOCKET)) } else { head })
}
