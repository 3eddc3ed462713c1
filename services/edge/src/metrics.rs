//! What the edge counts. No label holds what a client sent.

use std::sync::Arc;

use http::StatusCode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use proxima_chassis::GaugeGuard;
use proxima_http1::Http1Error;
use proxima_pipeline::{Protocol, Scheme};

use crate::http2::Code as Http2Code;
use crate::http3::Code;

/// Names and values of labels; all of them ours.
type Labels<const N: usize> = [(&'static str, &'static str); N];

/// How a TLS handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeResult {
    /// A new session.
    Full,
    /// An earlier session was resumed.
    Resumed,
    /// An earlier session was resumed, and requests came with its first packets.
    Early,
    /// There is no certificate for the name that was asked for.
    UnknownName,
    /// It failed, by either side.
    Failed,
    /// It took too long.
    TimedOut,
}

impl HandshakeResult {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Full, "full"),
        (Self::Resumed, "resumed"),
        (Self::Early, "early"),
        (Self::UnknownName, "unknown_name"),
        (Self::Failed, "failed"),
        (Self::TimedOut, "timed_out"),
    ];
}

/// What became of lines of the request log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogLines {
    Written,
    /// The thread that writes was behind.
    QueueFull,
    /// The disk did not take them.
    WriteFailed,
}

impl LogLines {
    /// Each in the place of its number.
    const NAMES: [&'static str; 3] = ["written", "queue_full", "write_failed"];
}

const PROTOCOLS: [Protocol; 4] = [Protocol::Http10, Protocol::Http11, Protocol::Http2, Protocol::Http3];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The edge's counters. Those of the hot path are looked up once, when they are made.
#[derive(Debug)]
pub struct EdgeMetrics {
    connections: Family<Labels<1>, Gauge>,
    connections_total: Family<Labels<1>, Counter>,
    connections_refused: Family<Labels<1>, Counter>,
    proxy_headers_refused: Counter,
    handshakes: [Counter; HandshakeResult::ALL.len()],
    handshakes_in_flight: Gauge,
    requests: [[Counter; CLASSES.len()]; PROTOCOLS.len()],
    entered: [Counter; CLASSES.len()],
    refusals: Family<Labels<1>, Counter>,
    http2_broken: Family<Labels<1>, Counter>,
    http3_broken: Family<Labels<1>, Counter>,
    in_flight: Gauge,
    clients_gone: Counter,
    answers_cut: Counter,
    log_lines: [Counter; LogLines::NAMES.len()],
}

impl EdgeMetrics {
    /// Registers all of them.
    pub fn register(registry: &mut Registry) -> Arc<Self> {
        let handshakes = Family::<Labels<1>, Counter>::default();
        let requests = Family::<Labels<2>, Counter>::default();
        let entered = Family::<Labels<1>, Counter>::default();
        let log_lines = Family::<Labels<1>, Counter>::default();
        let metrics = Arc::new(Self {
            connections: Family::default(),
            connections_total: Family::default(),
            connections_refused: Family::default(),
            proxy_headers_refused: Counter::default(),
            handshakes: HandshakeResult::ALL
                .map(|(_, name)| handshakes.get_or_create_owned(&[("result", name)])),
            handshakes_in_flight: Gauge::default(),
            requests: PROTOCOLS.map(|protocol| {
                CLASSES.map(|class| {
                    requests.get_or_create_owned(&[("protocol", protocol.name()), ("status", class)])
                })
            }),
            entered: CLASSES.map(|class| entered.get_or_create_owned(&[("status", class)])),
            refusals: Family::default(),
            http2_broken: Family::default(),
            http3_broken: Family::default(),
            in_flight: Gauge::default(),
            clients_gone: Counter::default(),
            answers_cut: Counter::default(),
            log_lines: LogLines::NAMES.map(|name| log_lines.get_or_create_owned(&[("result", name)])),
        });
        registry.register("request_log_lines", "Lines of the request log, by result", log_lines);
        registry.register(
            "entered",
            "Requests of Workers that were answered by sites of other accounts, by class of status",
            entered,
        );
        metrics.describe(registry, handshakes, requests);
        metrics
    }

    fn describe(
        &self,
        registry: &mut Registry,
        handshakes: Family<Labels<1>, Counter>,
        requests: Family<Labels<2>, Counter>,
    ) {
        registry.register("connections", "Connections that are open, by scheme", self.connections.clone());
        registry.register(
            "connections_opened",
            "Connections accepted, by scheme",
            self.connections_total.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections closed at once because the listener had as many as it may have, by scheme",
            self.connections_refused.clone(),
        );
        registry.register(
            "proxy_headers_refused",
            "Connections of load balancers that ended because they did not begin with a header of the PROXY protocol",
            self.proxy_headers_refused.clone(),
        );
        registry.register("handshakes", "TLS handshakes, by result", handshakes);
        registry.register(
            "handshakes_in_flight",
            "TLS handshakes that are going on",
            self.handshakes_in_flight.clone(),
        );
        registry.register("requests", "Requests answered, by protocol and class of status", requests);
        registry.register(
            "requests_refused",
            "Requests that could not be read, by reason",
            self.refusals.clone(),
        );
        registry.register(
            "http2_errors",
            "Streams and connections that ended because a client broke HTTP/2 or asked too much, by code",
            self.http2_broken.clone(),
        );
        registry.register(
            "http3_errors",
            "Streams and connections that ended because a client broke HTTP/3 or asked too much, by code",
            self.http3_broken.clone(),
        );
        registry.register("requests_in_flight", "Requests that are being answered", self.in_flight.clone());
        registry.register(
            "clients_gone",
            "Requests whose client went away before the answer was written",
            self.clients_gone.clone(),
        );
        registry.register("answers_cut", "Answers whose body failed half-way", self.answers_cut.clone());
    }

    /// A connection was accepted; it is open until the guard is dropped.
    pub(crate) fn begin_connection(&self, scheme: Scheme) -> GaugeGuard {
        let label = [("scheme", scheme.name())];
        self.connections_total.get_or_create(&label).inc();
        GaugeGuard::new(&self.connections.get_or_create(&label))
    }

    /// A connection was closed because there were too many.
    pub(crate) fn connection_refused(&self, scheme: Scheme) {
        self.connections_refused.get_or_create(&[("scheme", scheme.name())]).inc();
    }

    /// A balancer's connection did not begin as it should.
    pub(crate) fn proxy_header_refused(&self) {
        self.proxy_headers_refused.inc();
    }

    /// A handshake began; it goes on until the guard is dropped.
    pub(crate) fn begin_handshake(&self) -> GaugeGuard {
        GaugeGuard::new(&self.handshakes_in_flight)
    }

    /// Handshakes that are going on.
    pub(crate) fn handshakes_in_flight(&self) -> i64 {
        self.handshakes_in_flight.get()
    }

    /// A handshake ended.
    pub(crate) fn handshake(&self, result: HandshakeResult) {
        let index = HandshakeResult::ALL.iter().position(|(known, _)| *known == result);
        self.handshakes[index.expect("ALL holds every result")].inc();
    }

    /// A request is being answered, until the guard is dropped.
    pub(crate) fn begin_exchange(&self) -> GaugeGuard {
        GaugeGuard::new(&self.in_flight)
    }

    /// A request was answered with this status.
    pub(crate) fn answered(&self, protocol: Protocol, status: StatusCode) {
        let protocol = PROTOCOLS.iter().position(|known| *known == protocol);
        self.requests[protocol.expect("PROTOCOLS holds every protocol")][class_of(status)].inc();
    }

    /// A Worker's request of another account's site was answered with this status.
    pub(crate) fn entered(&self, status: StatusCode) {
        self.entered[class_of(status)].inc();
    }

    /// A request could not be read.
    pub(crate) fn refused(&self, error: Http1Error) {
        self.refusals.get_or_create(&[("reason", error.reason())]).inc();
    }

    /// A client broke HTTP/2.
    pub(crate) fn http2_broken(&self, code: Http2Code) {
        self.http2_broken.get_or_create(&[("code", code.name())]).inc();
    }

    /// A client broke HTTP/3.
    pub(crate) fn http3_broken(&self, code: Code) {
        self.http3_broken.get_or_create(&[("code", code.name())]).inc();
    }

    /// A client went away.
    pub(crate) fn client_gone(&self) {
        self.clients_gone.inc();
    }

    /// What became of lines of the request log.
    pub(crate) fn log_lines(&self, what: LogLines, lines: u64) {
        self.log_lines[what as usize].inc_by(lines);
    }

    /// Requests that are being answered.
    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> i64 {
        self.in_flight.get()
    }

    /// How often clients broke HTTP/3 with this code.
    #[cfg(test)]
    pub(crate) fn http3_broken_by(&self, code: Code) -> u64 {
        self.http3_broken.get_or_create(&[("code", code.name())]).get()
    }

    /// How many lines became that.
    #[cfg(test)]
    pub(crate) fn log_lines_of(&self, what: LogLines) -> u64 {
        self.log_lines[what as usize].get()
    }

    /// A body failed.
    pub(crate) fn answer_cut(&self) {
        self.answers_cut.inc();
    }
}

/// The place of a status in [`CLASSES`].
fn class_of(status: StatusCode) -> usize {
    usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_shows_under_labels_of_ours_only() {
        let mut registry = Registry::default();
        let metrics = EdgeMetrics::register(&mut registry);
        let open = metrics.begin_connection(Scheme::Https);
        let going_on = metrics.begin_exchange();
        metrics.answered(Protocol::Http2, StatusCode::from_u16(530).unwrap());
        metrics.entered(StatusCode::SWITCHING_PROTOCOLS);
        metrics.refused(Http1Error::BareLf);
        metrics.handshake(HandshakeResult::Resumed);
        let text = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        for line in [
            "connections{scheme=\"https\"} 1",
            "requests_in_flight 1",
            "requests_total{protocol=\"http/2\",status=\"5xx\"} 1",
            "entered_total{status=\"1xx\"} 1",
            "requests_refused_total{reason=\"bare_lf\"} 1",
            "handshakes_total{result=\"resumed\"} 1",
        ] {
            assert!(text().contains(line), "{line} is not in {}", text());
        }
        drop((open, going_on));
        assert!(
            text().contains("connections{scheme=\"https\"} 0") && text().contains("requests_in_flight 0")
        );
    }
}
