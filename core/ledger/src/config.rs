//! The table `[ledger]` of a node's configuration.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{ReplicaOptions, VerifyPace, limits};

/// Where the log is, and how large what is kept may become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerConfig {
    /// Where this node serves its followers; absent: it serves none.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// Where the log is; absent: this node keeps it.
    #[serde(default)]
    pub log: Option<SocketAddr>,
    /// Whom a follower follows, in order of preference; the log is tried last if it is not among them.
    #[serde(default)]
    pub upstreams: Vec<SocketAddr>,
    /// Address space of the store in octets.
    #[serde(default = "map_bytes_max")]
    pub map_bytes_max: usize,
    /// Entries kept for followers, the audit and going back.
    #[serde(default = "log_entries_max")]
    pub log_entries_max: u64,
    /// Octets of entries kept.
    #[serde(default = "log_bytes_max")]
    pub log_bytes_max: u64,
    /// Idempotency keys remembered.
    #[serde(default = "idempotency_keys_max")]
    pub idempotency_keys_max: u64,
    /// When what is kept is checked, and how fast; not for configuration files.
    #[serde(skip)]
    pub verify: VerifyPace,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self {
            listen: None,
            log: None,
            upstreams: Vec::new(),
            map_bytes_max: map_bytes_max(),
            log_entries_max: log_entries_max(),
            log_bytes_max: log_bytes_max(),
            idempotency_keys_max: idempotency_keys_max(),
            verify: VerifyPace::default(),
        }
    }
}

const fn map_bytes_max() -> usize {
    limits::MAP_OCTETS_DEFAULT
}

const fn log_entries_max() -> u64 {
    limits::LOG_ENTRIES_DEFAULT
}

const fn log_bytes_max() -> u64 {
    limits::LOG_OCTETS_DEFAULT
}

const fn idempotency_keys_max() -> u64 {
    limits::IDEMPOTENCY_KEYS_DEFAULT
}

/// Map sizes are multiples of this; every page size in use divides it.
const MAP_STEP_OCTETS: usize = 1 << 20;

impl LedgerConfig {
    /// What is wrong with it, and what to give instead.
    pub fn check(&self) -> Result<(), String> {
        if self.log.is_none() && !self.upstreams.is_empty() {
            return Err(
                "`ledger.upstreams` is given, but not `ledger.log`: name the log's node, or remove the \
                        upstreams if this node keeps the log"
                    .to_owned(),
            );
        }
        if self.upstreams.len() > limits::UPSTREAMS_MAX {
            return Err(format!("`ledger.upstreams` has more than {} addresses", limits::UPSTREAMS_MAX));
        }
        if self.map_bytes_max < MAP_STEP_OCTETS || !self.map_bytes_max.is_multiple_of(MAP_STEP_OCTETS) {
            return Err(format!("`ledger.map_bytes_max` is not a multiple of {MAP_STEP_OCTETS}"));
        }
        if self.log_entries_max == 0 || self.log_bytes_max == 0 || self.idempotency_keys_max == 0 {
            return Err(
                "`ledger.log_entries_max`, `log_bytes_max` and `idempotency_keys_max` are at least 1"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Refuses what a node without a certificate cannot do.
    ///
    /// # Errors
    /// What it cannot do, and what to give.
    pub fn check_identity(&self, identified: bool) -> Result<(), String> {
        if !identified && (self.listen.is_some() || self.log.is_some()) {
            return Err(
                "`ledger.listen` and `ledger.log` need `[identity]`: nodes know each other by certificates"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Whom to follow, in order: the upstreams, then the log.
    pub fn follows(&self) -> Vec<SocketAddr> {
        let mut follows = self.upstreams.clone();
        follows.extend(self.log.filter(|log| !self.upstreams.contains(log)));
        follows
    }

    pub(crate) const fn replica_options(&self) -> ReplicaOptions {
        ReplicaOptions {
            map_octets: self.map_bytes_max,
            log_entries_max: self.log_entries_max,
            log_octets_max: self.log_bytes_max,
            idempotency_keys_max: self.idempotency_keys_max,
        }
    }
}
