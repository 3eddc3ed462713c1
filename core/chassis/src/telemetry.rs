//! Logs and metrics.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// rustls warns of every ticket after which no early data is taken; that is what most zones want. s3s tells every request that it
/// refuses as an error of the server: anybody could fill the log.
const FILTER: &str = "info,rustls=error,s3s=off";

/// Sends log lines to standard error, at `info` unless `PROXIMA_LOG` says otherwise (`debug`, `proxima_edge=trace`).
/// A second call does nothing.
pub fn init_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_env("PROXIMA_LOG").unwrap_or_else(|_| EnvFilter::new(FILTER));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.compact().try_init().ok(),
        LogFormat::Json => builder.json().flatten_event(true).try_init().ok(),
    };
}

/// One more in a gauge, for as long as it lives.
#[derive(Debug)]
pub struct GaugeGuard(Gauge);

impl GaugeGuard {
    /// Counts one more.
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// All metrics of this node, in the OpenMetrics text format at `/metrics`.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { registry: Arc::new(Mutex::new(Registry::with_prefix("proxima"))) }
    }
}

impl Metrics {
    /// Lets a service register its metrics under its own name; done once, when it is made.
    pub fn register<T>(&self, service: &str, register: impl FnOnce(&mut Registry) -> T) -> T {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        register(registry.sub_registry_with_prefix(service))
    }

    /// All of them, as text.
    pub fn encode(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).ok();
        text
    }
}
