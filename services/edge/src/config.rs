//! `[edge]` of the node's configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use proxima_http1::Limits;
use serde::Deserialize;

use crate::server::Timeouts;
use crate::{EdgeError, RequestLogConfig};

/// Addresses of one kind.
const ADDRESSES_MAX: usize = 64;
/// Longest time that may be configured, in milliseconds: an hour. What is longer is a mistake in the unit.
const TIMEOUT_MS_MAX: u64 = 3_600_000;
/// What a configured time must have at least, in milliseconds.
const TIMEOUT_MS_MIN: u64 = 100;

/// Zones with metrics of their own unless configured: each has up to 20 series, and Prometheus takes some 3 KiB of memory
/// for each.
const METRICS_ZONES_DEFAULT: usize = 1_000;
/// The most that may be configured: two million series of one server are too much for most who scrape.
const METRICS_ZONES_MAX: u64 = 10_000;

/// `[edge]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdgeConfig {
    /// Where HTTP in clear is spoken.
    pub http: Vec<SocketAddr>,
    /// Where HTTP by TLS is spoken; by UDP too, if the network speaks HTTP/3 ([`NetworkConfig::http3`](proxima_chassis::NetworkConfig)).
    pub https: Vec<SocketAddr>,
    /// Whether origins may lie at private, loopback and link-local addresses: `dev` and the lab.
    pub allow_private_origins: bool,
    /// Resolvers for origins that are given by a name outside of our zones; none: the machine's.
    pub resolvers: Vec<SocketAddr>,
    /// PEM file of further certificate authorities that zones with `ssl: strict` trust in origins.
    pub origin_ca: Option<PathBuf>,
    /// Networks of load balancers in front of this server: their TCP connections begin with a header of the PROXY
    /// protocol, version 2, and are from whom it says.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Connections of one listener, TCP and UDP each for itself; more are closed at once.
    pub connections_max: usize,
    /// Zones that have metrics of their own at a time; others are summed up.
    pub metrics_zones_max: usize,
    /// Requests as lines of JSON, if they are wanted.
    pub request_log: Option<RequestLogConfig>,
    /// Bounds of requests.
    pub limits: LimitsConfig,
    /// Bounds of time.
    pub timeouts: TimeoutsConfig,
}

impl Default for EdgeConfig {
    fn default() -> Self {
        Self {
            http: Vec::new(),
            https: Vec::new(),
            allow_private_origins: false,
            resolvers: Vec::new(),
            origin_ca: None,
            proxy_protocol_from: Vec::new(),
            connections_max: 32_768,
            metrics_zones_max: METRICS_ZONES_DEFAULT,
            request_log: None,
            limits: LimitsConfig::default(),
            timeouts: TimeoutsConfig::default(),
        }
    }
}

/// `[edge.limits]`: what a request may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Octets of a head; between 4 KiB and 1 MiB.
    pub head_bytes_max: usize,
    /// Field lines of a head; between 16 and 1,024.
    pub head_fields_max: usize,
    /// Octets of a request's target; at least 1 KiB, at most what a head may have.
    pub target_bytes_max: usize,
    /// Octets of a request's body.
    pub request_body_bytes_max: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            head_bytes_max: Limits::DEFAULT.head_bytes_max,
            head_fields_max: Limits::DEFAULT.head_fields_max,
            target_bytes_max: Limits::DEFAULT.target_bytes_max,
            request_body_bytes_max: 500 * 1024 * 1024,
        }
    }
}

/// `[edge.timeouts]`: how long a client may take, each in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeoutsConfig {
    /// For a TLS handshake.
    pub handshake_ms: u64,
    /// For a request's head.
    pub head_ms: u64,
    /// Between two requests.
    pub idle_ms: u64,
    /// For the next piece of a body.
    pub body_idle_ms: u64,
    /// For taking any more of an answer.
    pub write_idle_ms: u64,
    /// Without anything moving on a WebSocket.
    pub upgrade_idle_ms: u64,
}

impl Default for TimeoutsConfig {
    fn default() -> Self {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(TIMEOUT_MS_MAX);
        let Timeouts { handshake, head, idle, body_idle, write_idle, upgrade_idle } = Timeouts::DEFAULT;
        Self {
            handshake_ms: ms(handshake),
            head_ms: ms(head),
            idle_ms: ms(idle),
            body_idle_ms: ms(body_idle),
            write_idle_ms: ms(write_idle),
            upgrade_idle_ms: ms(upgrade_idle),
        }
    }
}

impl EdgeConfig {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// The first value that cannot be, and what it may be.
    pub fn check(&self) -> Result<(), EdgeError> {
        let within = |field: &'static str, value: u64, min: u64, max: u64| match (min..=max).contains(&value)
        {
            true => Ok(()),
            false => {
                Err(EdgeError::Setting { field, problem: format!("{value} is not between {min} and {max}") })
            }
        };
        within("http: addresses", self.http.len() as u64, 0, ADDRESSES_MAX as u64)?;
        within("https: addresses", self.https.len() as u64, 0, ADDRESSES_MAX as u64)?;
        within("resolvers: addresses", self.resolvers.len() as u64, 0, ADDRESSES_MAX as u64)?;
        let networks = self.proxy_protocol_from.len() as u64;
        within("proxy_protocol_from: networks", networks, 0, ADDRESSES_MAX as u64)?;
        within("connections_max", self.connections_max as u64, 1, 4_194_304)?;
        within("metrics_zones_max", self.metrics_zones_max as u64, 0, METRICS_ZONES_MAX)?;
        self.request_log.as_ref().map_or(Ok(()), RequestLogConfig::check)?;
        let LimitsConfig { head_bytes_max, head_fields_max, target_bytes_max, .. } = self.limits;
        within("limits.head_bytes_max", head_bytes_max as u64, 4_096, 1_048_576)?;
        within("limits.head_fields_max", head_fields_max as u64, 16, 1_024)?;
        within("limits.target_bytes_max", target_bytes_max as u64, 1_024, head_bytes_max as u64)?;
        let t = &self.timeouts;
        for (field, value) in [
            ("timeouts.handshake_ms", t.handshake_ms),
            ("timeouts.head_ms", t.head_ms),
            ("timeouts.idle_ms", t.idle_ms),
            ("timeouts.body_idle_ms", t.body_idle_ms),
            ("timeouts.write_idle_ms", t.write_idle_ms),
            ("timeouts.upgrade_idle_ms", t.upgrade_idle_ms),
        ] {
            within(field, value, TIMEOUT_MS_MIN, TIMEOUT_MS_MAX)?;
        }
        Ok(())
    }

    /// Bounds of heads and framing.
    pub fn http1_limits(&self) -> Limits {
        Limits {
            head_bytes_max: self.limits.head_bytes_max,
            head_fields_max: self.limits.head_fields_max,
            target_bytes_max: self.limits.target_bytes_max,
            ..Limits::DEFAULT
        }
    }

    /// Bounds of time.
    pub fn server_timeouts(&self) -> Timeouts {
        let t = &self.timeouts;
        Timeouts {
            handshake: Duration::from_millis(t.handshake_ms),
            head: Duration::from_millis(t.head_ms),
            idle: Duration::from_millis(t.idle_ms),
            body_idle: Duration::from_millis(t.body_idle_ms),
            write_idle: Duration::from_millis(t.write_idle_ms),
            upgrade_idle: Duration::from_millis(t.upgrade_idle_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use proxima_chassis::NodeConfig;

    use super::*;

    /// `[edge]` of a node's configuration, read as the node does.
    fn edge(text: &str) -> Result<EdgeConfig, String> {
        let node =
            "[node]\nname = \"n\"\npop = \"TST\"\nregion = \"r\"\ndata_dir = \"d\"\nkey_file = \"k\"\n";
        let config = NodeConfig::parse(&format!("{node}{text}")).map_err(|error| error.to_string())?;
        let edge: EdgeConfig = config.service(crate::SERVICE).map_err(|error| error.to_string())?;
        edge.check().map_err(|error| error.to_string())?;
        Ok(edge)
    }

    #[test]
    fn an_absent_table_means_the_defaults_and_they_hold() {
        assert_eq!(edge(""), Ok(EdgeConfig::default()));
        assert_eq!(EdgeConfig::default().server_timeouts(), Timeouts::DEFAULT);
        assert_eq!(EdgeConfig::default().http1_limits(), Limits::DEFAULT);
    }

    #[test]
    fn what_is_given_is_taken_and_the_rest_stays() {
        let text = "[edge]\nhttp = [\"127.0.0.1:0\"]\n[edge.timeouts]\nhead_ms = 500\n[edge.limits]\nhead_fields_max = 64\n";
        let config = edge(text).unwrap();
        assert_eq!(config.http, ["127.0.0.1:0".parse().unwrap()]);
        assert_eq!(
            config.server_timeouts(),
            Timeouts { head: Duration::from_millis(500), ..Timeouts::DEFAULT }
        );
        assert_eq!(config.http1_limits(), Limits { head_fields_max: 64, ..Limits::DEFAULT });
    }

    #[test]
    fn a_mistake_is_refused_and_named() {
        let cases = [
            ("[edge]\nhtp = []", "htp"),
            ("[edge]\nhttp = [\"127.0.0.1\"]", "http"),
            ("[edge]\nconnections_max = 0", "connections_max"),
            ("[edge]\nproxy_protocol_from = [\"10.0.0.0/33\"]", "proxy_protocol_from"),
            ("[edge]\nmetrics_zones_max = 100000", "metrics_zones_max"),
            ("[edge.request_log]\nsample_interval = 2", "path"),
            ("[edge.request_log]\npath = \"l\"\nsample_interval = 0", "sample_interval"),
            ("[edge.limits]\nhead_bytes_max = 100", "head_bytes_max"),
            ("[edge.limits]\ntarget_bytes_max = 100000", "target_bytes_max"),
            ("[edge.timeouts]\nidle_ms = 5", "idle_ms"),
            ("[edge.timeouts]\nidle_ms = 99999999", "idle_ms"),
        ];
        for (text, named) in cases {
            let error = edge(text).unwrap_err();
            assert!(error.contains("edge") && error.contains(named), "{text}: {error}");
        }
    }
}
