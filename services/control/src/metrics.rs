//! The metrics of the API, `proxima_control_…`.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use proxima_ledger::AppendError;
use proxima_model::PresignedProblem;

use crate::error::{Code, Fault};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    /// The route's template, never a path: its values are known before any request.
    route: &'static str,
    method: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabels {
    fault: &'static str,
}

/// What is counted.
pub(crate) struct ControlMetrics {
    requests: Family<RequestLabels, Counter>,
    request_seconds: Histogram,
    errors: Family<FaultLabels, Counter>,
    refused: Family<ReasonLabels, Counter>,
    appends: Family<OutcomeLabels, Counter>,
    append_seconds: Histogram,
    /// Connections that are open now.
    pub(crate) connections: Gauge,
    /// Live logs of Workers that are looked at by way of this server.
    pub(crate) tails: Gauge,
    /// Certificates that this node issued.
    pub(crate) certificates_issued: Counter,
    acme_orders: Family<ResultLabels, Counter>,
    notifies: Family<ResultLabels, Counter>,
    transfers_in: Family<ResultLabels, Counter>,
    crons: Family<ResultLabels, Counter>,
    presigned_zones: Family<StateLabels, Gauge>,
    /// When the first of the certificates that were ordered runs out, in seconds since 1970.
    pub(crate) acme_certificate_expires: Gauge,
    /// Zones whose last order failed.
    pub(crate) acme_zones_failing: Gauge,
}

impl ControlMetrics {
    /// Registers all of them.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            request_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 16)),
            errors: Family::default(),
            refused: Family::default(),
            appends: Family::default(),
            append_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 16)),
            connections: Gauge::default(),
            tails: Gauge::default(),
            certificates_issued: Counter::default(),
            acme_orders: Family::default(),
            notifies: Family::default(),
            transfers_in: Family::default(),
            crons: Family::default(),
            presigned_zones: Family::default(),
            acme_certificate_expires: Gauge::default(),
            acme_zones_failing: Gauge::default(),
        };
        registry.register(
            "requests",
            "Requests answered, by route, method and class of status",
            metrics.requests.clone(),
        );
        registry.register("request_seconds", "Time to answer a request", metrics.request_seconds.clone());
        registry.register("errors", "Error answers, by whose fault it was", metrics.errors.clone());
        registry.register("refused", "Requests refused for who asked, by reason", metrics.refused.clone());
        registry.register("appends", "Appends to the log, by outcome", metrics.appends.clone());
        registry.register(
            "append_seconds",
            "Time until the log took or refused an append",
            metrics.append_seconds.clone(),
        );
        registry.register("connections", "Connections that are open", metrics.connections.clone());
        registry.register(
            "tails",
            "Live logs of Workers that are shown by this server",
            metrics.tails.clone(),
        );
        registry.register(
            "certificates_issued",
            "Certificates issued for zones",
            metrics.certificates_issued.clone(),
        );
        registry.register(
            "transfers_in",
            "Secondary zones that came from a primary, or did not, by result",
            metrics.transfers_in.clone(),
        );
        registry.register("crons", "Cron triggers that came, by result", metrics.crons.clone());
        registry.register(
            "presigned_zones",
            "Secondary zones that are answered as their primary signed them, by what is wrong with that; none, if not the log's node",
            metrics.presigned_zones.clone(),
        );
        registry.register(
            "notifies",
            "Peers of zones that were told of a change, by result",
            metrics.notifies.clone(),
        );
        registry.register(
            "acme_orders",
            "Orders at the certificate authority that ended, by result",
            metrics.acme_orders.clone(),
        );
        registry.register(
            "acme_certificate_expires_seconds",
            "When the first of the ordered certificates runs out, in seconds since 1970; 0 if there is none. Looked up hourly",
            metrics.acme_certificate_expires.clone(),
        );
        registry.register(
            "acme_zones_failing",
            "Zones whose last order at the certificate authority failed. Looked up hourly",
            metrics.acme_zones_failing.clone(),
        );
        metrics
    }

    /// A request was answered.
    pub(crate) fn answered(
        &self,
        route: &'static str,
        method: &'static str,
        status: u16,
        code: Option<Code>,
        took: Duration,
    ) {
        let status = match status {
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.requests.get_or_create(&RequestLabels { route, method, status }).inc();
        self.request_seconds.observe(took.as_secs_f64());
        if let Some(code) = code {
            let fault = match code.fault() {
                Fault::Client => "client",
                Fault::Proxima => "proxima",
            };
            self.errors.get_or_create(&FaultLabels { fault }).inc();
        }
    }

    /// A cron trigger was run to its end (`ran`), failed, or was passed over.
    pub(crate) fn cron(&self, result: &'static str) {
        self.crons.get_or_create(&ResultLabels { result }).inc();
    }

    /// A secondary zone came, or did not.
    pub(crate) fn transferred_in(&self, result: &'static str) {
        self.transfers_in.get_or_create(&ResultLabels { result }).inc();
    }

    /// How zones are that are answered as their primary signed them: what is wrong with each, if something is.
    pub(crate) fn presigned(&self, problems: impl Iterator<Item = Option<PresignedProblem>> + Clone) {
        for state in PresignedProblem::NAMES.into_iter().chain(["good"]) {
            let names = problems.clone().map(|problem| problem.map_or("good", PresignedProblem::name));
            let count = i64::try_from(names.filter(|name| *name == state).count()).unwrap_or(i64::MAX);
            self.presigned_zones.get_or_create(&StateLabels { state }).set(count);
        }
    }

    /// A zone's peer was told of a change, or not.
    pub(crate) fn notified(&self, result: &'static str) {
        self.notifies.get_or_create(&ResultLabels { result }).inc();
    }

    /// An order at the certificate authority ended.
    pub(crate) fn acme_ordered(&self, result: &'static str) {
        self.acme_orders.get_or_create(&ResultLabels { result }).inc();
    }

    /// A request was refused for who asked.
    pub(crate) fn refused(&self, code: Code) {
        let reason = match code {
            Code::CredentialsMissing => "missing",
            Code::CredentialsMalformed => "malformed",
            Code::TokenInvalid => "invalid",
            Code::TokenUnusable => "unusable",
            _ => "not_allowed",
        };
        self.refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// The log took or refused an append.
    pub(crate) fn appended(&self, took: Duration, outcome: Result<(), &AppendError>) {
        let outcome = match outcome {
            Ok(()) => "taken",
            Err(AppendError::Precondition { .. }) => "precondition",
            Err(AppendError::KeyReused { .. }) => "key_reused",
            Err(AppendError::Unreachable { .. }) => "unreachable",
            Err(AppendError::Busy) => "busy",
            Err(_) => "failed",
        };
        self.appends.get_or_create(&OutcomeLabels { outcome }).inc();
        self.append_seconds.observe(took.as_secs_f64());
    }
}
