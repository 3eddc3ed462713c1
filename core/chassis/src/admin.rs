//! What an operator and a monitor ask a node: `/healthz`, `/readyz`, `/metrics`, `/status`.

use std::{sync::Arc, time::Instant};

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use serde_json::json;

use crate::{NodeContext, ServiceError, Shutdown, scheduling};

struct Admin {
    node: NodeContext,
    started: Instant,
    gauges: Gauges,
}

/// What the node itself measures, under `proxima_node_`; set when somebody asks.
#[derive(Default)]
struct Gauges {
    in_force: Gauge,
    ledger_seq: Gauge,
    ledger_lag: Gauge,
    ledger_checked: Gauge,
    ledger_checks_passed: Gauge,
    ledger_checks_damaged: Gauge,
    ledger_disk_free: Gauge,
    ready: Gauge,
}

impl Gauges {
    fn register(registry: &mut Registry, node: &NodeContext) -> Self {
        let gauges = Self::default();
        registry.register(
            "in_force",
            "The log's entry up to which the state is in force",
            gauges.in_force.clone(),
        );
        registry.register(
            "ledger_seq",
            "The log's entry up to which the replica is",
            gauges.ledger_seq.clone(),
        );
        registry.register(
            "ledger_lag",
            "Entries that the replica lacks, as far as is known",
            gauges.ledger_lag.clone(),
        );
        registry.register(
            "ledger_checked",
            "Values and entries that the present or last check of the replica has read",
            gauges.ledger_checked.clone(),
        );
        registry.register(
            "ledger_checks_passed",
            "Checks since the start that found the replica whole",
            gauges.ledger_checks_passed.clone(),
        );
        registry.register(
            "ledger_checks_damaged",
            "Checks since the start that found the replica damaged",
            gauges.ledger_checks_damaged.clone(),
        );
        registry.register(
            "ledger_disk_free_octets",
            "Octets of the disk that are free, of the file system of the replica",
            gauges.ledger_disk_free.clone(),
        );
        registry.register(
            "threads_batched",
            "Threads that do little else than have Workers answer, and interrupt nobody",
            scheduling::batched(),
        );
        registry.register("ready", "1 while every service can serve", gauges.ready.clone());
        // A node without a certificate has no such metric: 0 would say that it ran out in 1970.
        if let Some(expires) = node.identity_expires {
            let gauge: Gauge = Gauge::default();
            gauge.set(expires.as_seconds());
            registry.register(
                "identity_expires_seconds",
                "When this node's certificate runs out, in seconds since 1970",
                gauge,
            );
        }
        gauges
    }

    fn set(&self, node: &NodeContext) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let ledger = node.ledger_status();
        self.in_force.set(number(node.in_force.borrow().0));
        self.ledger_seq.set(number(ledger.seq.0));
        self.ledger_lag.set(number(ledger.lag));
        self.ledger_checked.set(number(ledger.verification.checked));
        self.ledger_checks_passed.set(number(ledger.verification.passes));
        self.ledger_checks_damaged.set(number(ledger.verification.damages));
        self.ledger_disk_free.set(number(ledger.disk_free_octets.unwrap_or_default()));
        self.ready.set(i64::from(node.health.cannot_serve("").is_none()));
    }
}

/// The listener. Had before the node is ready, like those of the services: what a former process handed over and nobody
/// has asked for by then is closed.
///
/// # Errors
/// Why it cannot be had.
pub(crate) fn listen(node: &NodeContext) -> Result<std::net::TcpListener, ServiceError> {
    node.listeners.tcp("admin", node.config.node.admin).map_err(ServiceError::new)
}

/// Serves until the node stops.
pub(crate) async fn serve(
    listener: std::net::TcpListener,
    node: NodeContext,
    shutdown: Shutdown,
) -> Result<(), ServiceError> {
    let listener = tokio::net::TcpListener::from_std(listener).map_err(ServiceError::new)?;
    let router = Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .with_state(Arc::new(Admin {
            gauges: node.metrics.register("node", |registry| Gauges::register(registry, &node)),
            node,
            started: Instant::now(),
        }));
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { shutdown.stopping().await })
        .await
        .map_err(ServiceError::new)
}

async fn ready(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let services = admin.node.health.all();
    let draining = admin.node.shutdown.is_withdrawing();
    let ready = !draining && admin.node.health.cannot_serve("").is_none();
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let starting = admin.node.health.starting();
    (code, Json(json!({ "ready": ready, "starting": starting, "draining": draining, "services": services })))
}

async fn metrics(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    admin.gauges.set(&admin.node);
    ([("content-type", format)], admin.node.metrics.encode())
}

async fn status(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let node = &admin.node;
    Json(json!({
        "node": node.config.node.name,
        "pop": node.config.node.pop,
        "region": node.config.node.region,
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptime_seconds": admin.started.elapsed().as_secs(),
        "in_force": *node.in_force.borrow(),
        "ledger": node.ledger_status(),
        "services": node.health.all(),
        "starting": node.health.starting(),
        "identity_expires": node.identity_expires.map(|at| at.to_string()),
        "draining": node.shutdown.is_withdrawing(),
    }))
}
