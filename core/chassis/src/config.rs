//! `node.toml`: what differs between servers. Each service reads the table of its own name.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use proxima_ledger::LedgerConfig;
use proxima_model::{DnsName, NodeName, PopCode, RegionName};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{IdentityConfig, LogFormat};

/// Octets of a configuration file.
const FILE_OCTETS_MAX: u64 = 1 << 20;
/// Anycast addresses of a network.
const ANYCAST_ADDRESSES_MAX: usize = 64;

/// Why a configuration is not one.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("reading the configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML.
    #[error("the configuration is not valid TOML: {0}")]
    Syntax(String),
    /// A table has something wrong in it.
    #[error("in the configuration, [{section}]: {problem}")]
    Section {
        /// The table.
        section: String,
        /// What is wrong, and where in it.
        problem: String,
    },
    /// A table that nobody reads.
    #[error("in the configuration, [{section}]: no service has this name; there are: {known}")]
    Unknown {
        /// The table.
        section: String,
        /// The tables that exist.
        known: String,
    },
}

/// `[node]`: this server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSection {
    /// Its name, unique in the network; the common name of its certificate.
    pub name: NodeName,
    /// The PoP that it stands in.
    pub pop: PopCode,
    /// The region that the PoP stands in.
    pub region: RegionName,
    /// Where it keeps what must survive a restart.
    pub data_dir: PathBuf,
    /// The key that secrets are encrypted with at rest: a file of 64 hexadecimal digits, the same on all nodes.
    pub key_file: PathBuf,
    /// Where health, readiness, metrics and status are told. Not for the public: loopback unless said otherwise.
    #[serde(default = "admin_default")]
    pub admin: SocketAddr,
    /// How long draining may take, in seconds.
    #[serde(default = "drain_default")]
    pub drain_seconds: u16,
    /// How log lines look.
    #[serde(default)]
    pub log_format: LogFormat,
    /// Whether threads that do little else than have Workers answer wait for them, and interrupt nobody.
    #[serde(default = "yield_to_workers_default")]
    pub yield_to_workers: bool,
}

const fn yield_to_workers_default() -> bool {
    true
}

const fn admin_default() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090)
}

const fn drain_default() -> u16 {
    30
}

/// `[network]`: what all nodes have in common.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkConfig {
    /// The addresses that proxied names answer.
    pub anycast_addresses: Vec<IpAddr>,
    /// The names of the network's name servers, to which zones are delegated.
    pub name_servers: Vec<DnsName>,
    /// Whether HTTP/3 is spoken, by UDP wherever HTTP is spoken by TLS. What one server tells a visitor of it, all must
    /// keep.
    pub http3: bool,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self { anycast_addresses: Vec::new(), name_servers: Vec::new(), http3: true }
    }
}

/// A node's configuration.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// This server.
    pub node: NodeSection,
    /// The network.
    pub network: NetworkConfig,
    /// Who this server is towards others; only a node that is alone can do without.
    pub identity: Option<IdentityConfig>,
    /// The ledger.
    pub ledger: LedgerConfig,
    services: toml::Table,
    /// The folder that paths are taken from.
    folder: PathBuf,
}

impl NodeConfig {
    /// Reads a file. Paths in it that are not absolute are taken from the file's folder.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let size = std::fs::metadata(path).map_err(read)?.len();
        if size > FILE_OCTETS_MAX {
            return Err(ConfigError::Syntax(format!(
                "the file has {size} octets; the most is {FILE_OCTETS_MAX}"
            )));
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        let mut config = Self::parse(&text)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        config.folder = folder.to_owned();
        config.node.data_dir = folder.join(&config.node.data_dir);
        config.node.key_file = folder.join(&config.node.key_file);
        if let Some(identity) = &mut config.identity {
            identity.resolve_from(folder);
        }
        Ok(config)
    }

    /// Parses the text of a configuration.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut tables: toml::Table =
            text.parse().map_err(|error| ConfigError::Syntax(format!("{error}")))?;
        let node = take(&mut tables, "node")?.ok_or_else(|| ConfigError::Section {
            section: "node".to_owned(),
            problem: "the table is missing; give name, pop, region, data_dir and key_file".to_owned(),
        })?;
        let network: NetworkConfig = take(&mut tables, "network")?.unwrap_or_default();
        if network.anycast_addresses.len() > ANYCAST_ADDRESSES_MAX {
            return Err(ConfigError::Section {
                section: "network".to_owned(),
                problem: format!("more than {ANYCAST_ADDRESSES_MAX} anycast_addresses"),
            });
        }
        let identity = take(&mut tables, "identity")?;
        let ledger = take(&mut tables, "ledger")?.unwrap_or_default();
        Ok(Self { node, network, identity, ledger, services: tables, folder: PathBuf::new() })
    }

    /// A service's own table; its defaults where the table is absent.
    ///
    /// # Errors
    /// What is wrong in it, and where.
    pub fn service<T: DeserializeOwned + Default>(&self, name: &str) -> Result<T, ConfigError> {
        match self.services.get(name) {
            None => Ok(T::default()),
            Some(value) => parse_section(name, value.clone()),
        }
    }

    /// A path of a service's own table, taken from the configuration file's folder.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// Refuses tables that are no service's.
    ///
    /// # Errors
    /// The first such table.
    pub fn check_services(&self, known: &BTreeSet<&'static str>) -> Result<(), ConfigError> {
        match self.services.keys().find(|section| !known.contains(section.as_str())) {
            None => Ok(()),
            Some(section) => Err(ConfigError::Unknown {
                section: section.clone(),
                known: known.iter().copied().collect::<Vec<_>>().join(", "),
            }),
        }
    }
}

fn take<T: DeserializeOwned>(tables: &mut toml::Table, section: &str) -> Result<Option<T>, ConfigError> {
    tables.remove(section).map(|value| parse_section(section, value)).transpose()
}

fn parse_section<T: DeserializeOwned>(section: &str, value: toml::Value) -> Result<T, ConfigError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner().to_string();
        let inner = inner.trim_end();
        let problem = if path == "." { inner.to_owned() } else { format!("{path}: {inner}") };
        ConfigError::Section { section: section.to_owned(), problem }
    })
}
