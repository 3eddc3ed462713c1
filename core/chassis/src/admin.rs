//! What an operator and a monitor ask a node: `/healthz`, `/readyz`, `/metrics`, `/status`.

use std::{sync::Arc, time::Instant};

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use serde_json::json;

use crate::{NodeContext, ServiceError, Shutdown};

struct Admin {
    node: NodeContext,
    started: Instant,
}

/// Serves until the node stops.
pub(crate) async fn serve(node: NodeContext, shutdown: Shutdown) -> Result<(), ServiceError> {
    let address = node.config.node.admin;
    let listener = node.listeners.tcp("admin", address).map_err(ServiceError::new)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(ServiceError::new)?;
    let router = Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .with_state(Arc::new(Admin { node, started: Instant::now() }));
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
    (code, Json(json!({ "ready": ready, "draining": draining, "services": services })))
}

async fn metrics(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
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
        "draining": node.shutdown.is_withdrawing(),
    }))
}
