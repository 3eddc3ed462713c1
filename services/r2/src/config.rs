//! `[r2]` of `node.toml`.

use std::net::SocketAddr;

use proxima_chassis::{ConfigError, NodeConfig};
use serde::Deserialize;

use crate::SERVICE;

/// The least that the index is worth anything with.
const INDEX_BYTES_MIN: u64 = 1 << 20;
/// More connections than one server has descriptors for.
const CONNECTIONS_MAX: usize = 65_536;
/// More requests than a server has threads and memory for: each may hold some 512 KiB.
const REQUESTS_MAX: usize = 16_384;

/// `[r2]`. [`Default`] is what a node has that says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct R2Config {
    /// Where S3 is spoken, in clear.
    pub listen: Vec<SocketAddr>,
    /// Where S3 is spoken by TLS: under the certificates of the network's zones, and under the node's own for all other names.
    pub https: Vec<SocketAddr>,
    /// The host below which buckets are hosts, `BUCKET.HOST`; without it they are the first part of paths alone.
    pub host: Option<String>,
    /// Octets of the index of objects: address space, of which the disk has what is used.
    pub index_bytes_max: u64,
    /// Octets of the disk that are left free: with less, nothing large is taken any more.
    pub free_bytes_min: u64,
    /// Connections at a time.
    pub connections_max: usize,
    /// Connections of one client at a time: of one IPv4 address, or one IPv6 network of 64 bits.
    pub connections_per_client_max: usize,
    /// Requests at a time.
    pub requests_max: usize,
    /// Requests of one client at a time.
    pub requests_per_client_max: usize,
}

impl Default for R2Config {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            https: Vec::new(),
            host: None,
            // Some ten million objects.
            index_bytes_max: 16 << 30,
            // For the index itself, and for the log, which may lie on the same disk.
            free_bytes_min: 256 << 20,
            connections_max: 1_024,
            // More than tools for many files open; four clients that hold all of theirs keep the others out.
            connections_per_client_max: 256,
            requests_max: 512,
            // As with connections.
            requests_per_client_max: 128,
        }
    }
}

impl R2Config {
    /// Reads and checks the table.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(node: &NodeConfig) -> Result<Self, ConfigError> {
        let config: Self = node.service(SERVICE)?;
        let refuse = |problem: String| Err(ConfigError::Section { section: SERVICE.to_owned(), problem });
        if config.index_bytes_max < INDEX_BYTES_MIN || usize::try_from(config.index_bytes_max).is_err() {
            return refuse(format!("index_bytes_max: give {INDEX_BYTES_MIN} or more"));
        }
        if !(1..=CONNECTIONS_MAX).contains(&config.connections_max) {
            return refuse(format!("connections_max: give 1 to {CONNECTIONS_MAX}"));
        }
        if config.connections_per_client_max == 0 {
            return refuse("connections_per_client_max: give 1 or more".to_owned());
        }
        if !(1..=REQUESTS_MAX).contains(&config.requests_max) {
            return refuse(format!("requests_max: give 1 to {REQUESTS_MAX}"));
        }
        if config.requests_per_client_max == 0 {
            return refuse("requests_per_client_max: give 1 or more".to_owned());
        }
        if let Some(host) = &config.host
            && s3s::host::SingleDomain::new(host).is_err()
        {
            return refuse(format!("host: {host} is not the name of a host"));
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<R2Config, String> {
        let node = "[node]\nname = \"a\"\npop = \"FRA\"\nregion = \"europe\"\ndata_dir = \"d\"\nkey_file = \"k\"\n\
                    [network]\n[r2]\n";
        let config = NodeConfig::parse(&format!("{node}{text}")).map_err(|error| error.to_string())?;
        R2Config::of(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn what_could_not_work_is_told() {
        assert_eq!(read(""), Ok(R2Config::default()));
        for (text, told) in [
            ("index_bytes_max = 1048575", "index_bytes_max: give 1048576"),
            ("connections_max = 0", "connections_max: give 1"),
            ("connections_max = 65537", "connections_max: give 1"),
            ("connections_per_client_max = 0", "connections_per_client_max: give 1"),
            ("requests_max = 0", "requests_max: give 1"),
            ("requests_max = 16385", "requests_max: give 1"),
            ("requests_per_client_max = 0", "requests_per_client_max: give 1"),
            ("host = \"a b\"", "host: a b is not"),
            ("hosts = \"x\"", "unknown field `hosts`"),
        ] {
            let error = read(text).expect_err(told);
            assert!(error.contains(told), "{error}");
        }
        assert!(
            read("host = \"s3.example.com\"\nlisten = [\"[::1]:9000\"]\nconnections_max = 65536").is_ok()
        );
    }
}
