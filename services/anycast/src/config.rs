//! `[anycast]`: whether, what and to whom this server announces.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use proxima_chassis::NodeConfig;
use serde::Deserialize;

use crate::{AnycastError, forward::limits::PEERS_MAX};

/// Prefixes that a server announces.
pub(crate) const PREFIXES_MAX: usize = 64;
/// BGP sessions of a server.
const NEIGHBORS_MAX: usize = 16;
/// Octets of a Unix socket's path (`sockaddr_un`), less the last zero and the socket's own name.
const RUN_DIR_OCTETS_MAX: usize = 107 - "/bird.ctl".len();

/// What tells routers that a path is about to go: they use another, if there is one (RFC 8326).
const GRACEFUL_SHUTDOWN: &str = "(65535, 0)";
/// What BIRD thinks of announcements that say so: less than of others, whose preference is 200 (BIRD's for static routes).
const LEAVING_PREFERENCE: u16 = 100;
/// How long they are said before they are withdrawn, unless configured: some round trips between the farthest routers.
const LEAVE: Duration = Duration::from_millis(500);
/// What is longer than that is no longer somebody waiting for a server to end.
const LEAVE_MS_MAX: u32 = 60_000;

/// Words of BIRD 2's configuration that a neighbour might be called by chance.
const BIRD_WORDS: [&str; 12] = [
    "router", "peer", "neighbor", "bgp", "bfd", "local", "as", "direct", "kernel", "device", "static",
    "gateway",
];

/// `[anycast]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnycastConfig {
    /// Whether this server announces anything. Off in `proxima dev`.
    pub enabled: bool,
    /// What it announces.
    pub prefixes: Vec<IpNet>,
    /// Our AS number.
    pub local_as: u32,
    /// BIRD's router id, by custom the server's own IPv4 address.
    pub router_id: Option<Ipv4Addr>,
    /// Where BIRD's configuration, control socket and log lie.
    pub run_dir: PathBuf,
    /// The routers that are told.
    pub neighbors: Vec<Neighbor>,
    /// Bidirectional forwarding detection towards the routers (RFC 5880).
    pub bfd: Bfd,
    /// How long the node may be silent before it is withdrawn, in milliseconds.
    pub silence_ms: Option<u32>,
    /// How long its announcements say that they are about to go before they are withdrawn for a drain, in milliseconds.
    pub leave_ms: Option<u32>,
    /// The BIRD 2 program; found in the usual places unless said.
    pub bird: Option<PathBuf>,
    /// Where peers connect, so that connections are forwarded when routes move.
    pub forward_listen: Option<SocketAddr>,
    /// Other servers' `forward_listen`.
    pub peers: Vec<SocketAddr>,
}

/// A BGP session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbor {
    /// Its name in BIRD and in logs.
    pub name: String,
    /// The router's address. A session over IPv4 carries IPv4 prefixes, one over IPv6 those of IPv6.
    pub address: IpAddr,
    /// The router's AS number.
    #[serde(rename = "as")]
    pub remote_as: u32,
}

/// How fast a dead path is noticed: after `interval_ms` × `multiplier`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bfd {
    /// Between packets, in milliseconds.
    pub interval_ms: u16,
    /// Packets that may be missing.
    pub multiplier: u8,
}

impl Default for Bfd {
    fn default() -> Self {
        Self { interval_ms: 50, multiplier: 3 }
    }
}

impl AnycastConfig {
    /// `[anycast]` of a node: checked, `run_dir` resolved, and BIRD there if it is needed.
    ///
    /// # Errors
    /// What is wrong with `[anycast]`, or BIRD missing.
    pub fn of(node: &NodeConfig) -> Result<Self, AnycastError> {
        let mut config: Self =
            node.service("anycast").map_err(|error| AnycastError::Config(error.to_string()))?;
        config.run_dir = node.path(&config.run_dir);
        config.bird = config.bird.map(|path| node.path(&path));
        config.check()?;
        if config.enabled {
            config.bird_program()?;
        }
        if config.forwards() && node.identity.is_none() {
            return Err(AnycastError::Config(
                "forward_listen and peers: servers know each other by certificates: give [identity]"
                    .to_owned(),
            ));
        }
        Ok(config)
    }

    /// Checks what types cannot: numbers, lengths and names.
    ///
    /// # Errors
    /// What is wrong and what to give instead.
    pub fn check(&self) -> Result<(), AnycastError> {
        let refuse = |problem: String| Err(AnycastError::Config(problem));
        if !self.enabled {
            return Ok(());
        }
        if self.prefixes.is_empty() || self.prefixes.len() > PREFIXES_MAX {
            return refuse(format!("prefixes: give 1 to {PREFIXES_MAX}"));
        }
        if self.local_as == 0 || self.router_id.is_none() {
            return refuse("give local_as and router_id".to_owned());
        }
        if self.neighbors.is_empty() || self.neighbors.len() > NEIGHBORS_MAX {
            return refuse(format!("neighbors: give 1 to {NEIGHBORS_MAX}"));
        }
        for neighbor in &self.neighbors {
            let letters = neighbor.name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_');
            if neighbor.name.is_empty() || neighbor.name.len() > 32 || !letters {
                return refuse(format!(
                    "neighbors: {:?}: use letters, digits and underscores",
                    neighbor.name
                ));
            }
            // BIRD's language has no way to say a name that is one of its own words; `uplink…` never is.
            if BIRD_WORDS.contains(&neighbor.name.as_str()) {
                return refuse(format!(
                    "neighbors: {:?} is a word of BIRD's language: use another",
                    neighbor.name
                ));
            }
            if neighbor.remote_as == 0 {
                return refuse(format!("neighbors: {}: as 0 is reserved (RFC 7607)", neighbor.name));
            }
        }
        if self.bfd.interval_ms < 10 || self.bfd.multiplier == 0 {
            return refuse("bfd: give interval_ms of 10 at least and multiplier of 1 at least".to_owned());
        }
        if self.leave_ms.is_some_and(|ms| ms > LEAVE_MS_MAX) {
            return refuse(format!("leave_ms: give {LEAVE_MS_MAX} at most"));
        }
        if self.run_dir.as_os_str().is_empty() || self.run_dir.as_os_str().len() > RUN_DIR_OCTETS_MAX {
            return refuse(format!("run_dir: give a path of at most {RUN_DIR_OCTETS_MAX} octets"));
        }
        self.check_forwarding()
    }

    pub(crate) fn leave(&self) -> Duration {
        self.leave_ms.map_or(LEAVE, |ms| Duration::from_millis(ms.into()))
    }

    /// Whether connections are to be forwarded when routes move.
    pub fn forwards(&self) -> bool {
        self.enabled && (self.forward_listen.is_some() || !self.peers.is_empty())
    }

    /// Checks where servers reach each other: at their own addresses, never at one that they share.
    fn check_forwarding(&self) -> Result<(), AnycastError> {
        let refuse = |problem: String| Err(AnycastError::Config(problem));
        if self.peers.len() > PEERS_MAX {
            return refuse(format!("peers: give at most {PEERS_MAX}"));
        }
        for address in self.forward_listen.iter().chain(&self.peers) {
            if self.prefixes.iter().any(|prefix| prefix.contains(&address.ip()))
                || address.ip().is_multicast()
            {
                return refuse(format!("forward_listen, peers: {address}: give a server's own address"));
            }
        }
        match self.peers.iter().find(|peer| peer.port() == 0 || peer.ip().is_unspecified()) {
            Some(peer) => refuse(format!("peers: {peer}: give the address and port of a server")),
            None => Ok(()),
        }
    }

    /// The BIRD program.
    ///
    /// # Errors
    /// If it is not installed, or not where the configuration says.
    pub fn bird_program(&self) -> Result<PathBuf, AnycastError> {
        if let Some(path) = &self.bird {
            let refused = || AnycastError::Config(format!("bird: {} is not a file", path.display()));
            return path.is_file().then(|| path.clone()).ok_or_else(refused);
        }
        let usual = ["/usr/sbin/bird", "/usr/local/sbin/bird", "/usr/bin/bird"].map(PathBuf::from);
        usual.into_iter().find(|path| path.is_file()).ok_or(AnycastError::NoBird)
    }

    /// BIRD's configuration file.
    pub fn config_path(&self) -> PathBuf {
        config_path(&self.run_dir)
    }

    /// BIRD's control socket.
    pub fn control_path(&self) -> PathBuf {
        control_path(&self.run_dir)
    }

    /// BIRD's configuration: announcements disabled, nothing imported, nothing exported but the anycast prefixes. Each
    /// family has them twice, as they are and as those of a server that is about to leave, which are only used where the
    /// others are not: so BIRD goes from the ones to the others without a withdrawal between.
    pub fn render(&self) -> String {
        let mut text = String::from("# Written by proxima (services/anycast); rewritten at every start.\n");
        let bfd = self.bfd;
        if let Some(router_id) = self.router_id {
            text.push_str(&format!("router id {router_id};\n"));
        }
        text.push_str("log stderr { warning, error, fatal, bug };\n");
        text.push_str("protocol device {}\n");
        text.push_str(&format!(
            "protocol bfd {{ interface \"*\" {{ min rx interval {0} ms; min tx interval {0} ms; idle tx interval {0} ms; \
             multiplier {1}; }}; }}\n",
            bfd.interval_ms, bfd.multiplier
        ));
        for (family, channel) in [(Family::V4, "ipv4"), (Family::V6, "ipv6")] {
            let prefixes: Vec<_> = self.prefixes.iter().filter(|prefix| family.has(prefix.addr())).collect();
            if prefixes.is_empty() {
                continue;
            }
            text.push_str(&format!("protocol static {} {{ disabled; {channel};", family.protocol()));
            for prefix in &prefixes {
                text.push_str(&format!(" route {} blackhole;", prefix.trunc()));
            }
            text.push_str(" }\n");
            let leaving = leaving(family.protocol());
            text.push_str(&format!(
                "protocol static {leaving} {{ disabled; {channel} {{ preference {LEAVING_PREFERENCE}; }};"
            ));
            for prefix in prefixes {
                text.push_str(&format!(
                    " route {} blackhole {{ bgp_community.add({GRACEFUL_SHUTDOWN}); }};",
                    prefix.trunc()
                ));
            }
            text.push_str(" }\n");
        }
        for neighbor in &self.neighbors {
            let (family, channel) =
                if neighbor.address.is_ipv4() { (Family::V4, "ipv4") } else { (Family::V6, "ipv6") };
            let announced = family.protocol();
            text.push_str(&format!(
                "protocol bgp {} {{ local as {}; neighbor {} as {}; direct; bfd on; hold time 9; keepalive time 3; connect \
                 delay time 1; connect retry time 2; error wait time 1, 5; {channel} {{ import none; export where \
                 proto = \"{announced}\" || proto = \"{}\"; next hop self; }}; }}\n",
                neighbor.name,
                self.local_as,
                neighbor.address,
                neighbor.remote_as,
                leaving(announced),
            ));
        }
        text
    }

    /// The names of BIRD's protocols that hold the announcements.
    pub fn announcements(&self) -> Vec<&'static str> {
        [Family::V4, Family::V6]
            .into_iter()
            .filter(|family| self.prefixes.iter().any(|prefix| family.has(prefix.addr())))
            .map(Family::protocol)
            .collect()
    }
}

/// An address family and what its announcements are called in BIRD.
#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

impl Family {
    const fn has(self, address: IpAddr) -> bool {
        match self {
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }

    const fn protocol(self) -> &'static str {
        match self {
            Self::V4 => "anycast4",
            Self::V6 => "anycast6",
        }
    }
}

/// What BIRD calls the announcements of a server that is about to leave.
pub(crate) fn leaving(announcement: &str) -> String {
    format!("{announcement}_leaving")
}

pub(crate) fn config_path(run_dir: &Path) -> PathBuf {
    run_dir.join("bird.conf")
}

pub(crate) fn control_path(run_dir: &Path) -> PathBuf {
    run_dir.join("bird.ctl")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> AnycastConfig {
        toml::from_str(
            r#"
            enabled = true
            prefixes = ["198.18.0.0/24", "fd00:198:18::/48"]
            local_as = 64512
            router_id = "10.1.1.2"
            run_dir = "/run/x"
            neighbors = [{ name = "uplink4", address = "10.1.1.1", as = 64512 },
                         { name = "uplink6", address = "fd00::1", as = 64512 }]
            "#,
        )
        .unwrap()
    }

    #[test]
    fn bird_is_told_the_prefixes_disabled_and_a_session_for_each_neighbor() {
        let config = config();
        config.check().unwrap();
        let text = config.render();
        assert!(text.contains("protocol static anycast4 { disabled; ipv4; route 198.18.0.0/24 blackhole; }"));
        assert!(
            text.contains("protocol static anycast6 { disabled; ipv6; route fd00:198:18::/48 blackhole; }")
        );
        assert!(
            text.contains(
                "protocol bgp uplink4 { local as 64512; neighbor 10.1.1.1 as 64512; direct; bfd on;"
            )
        );
        assert!(text.contains("export where proto = \"anycast6\" || proto = \"anycast6_leaving\";"));
        assert!(text.contains(
            "protocol static anycast4_leaving { disabled; ipv4 { preference 100; }; route 198.18.0.0/24 blackhole { \
             bgp_community.add((65535, 0)); }; }"
        ));
        assert_eq!(config.announcements(), ["anycast4", "anycast6"]);
    }

    #[test]
    fn a_configuration_that_cannot_work_is_refused_with_what_to_give() {
        type Break = fn(&mut AnycastConfig);
        let broken: [(&str, Break); 11] = [
            ("leave_ms", |config| config.leave_ms = Some(60_001)),
            ("BIRD's language", |config| config.neighbors[0].name = "router".to_owned()),
            ("prefixes", |config| config.prefixes.clear()),
            ("local_as", |config| config.local_as = 0),
            ("neighbors", |config| config.neighbors.clear()),
            ("letters", |config| config.neighbors[0].name = "a; b".to_owned()),
            ("RFC 7607", |config| config.neighbors[0].remote_as = 0),
            ("run_dir", |config| config.run_dir = "/".repeat(200).into()),
            ("own address", |config| config.forward_listen = Some(([198, 18, 0, 1], 7500).into())),
            ("address and port", |config| config.peers = vec![([10, 0, 0, 1], 0).into()]),
            ("at most 64", |config| config.peers = vec![([10, 0, 0, 1], 1).into(); PEERS_MAX + 1]),
        ];
        for (says, break_it) in broken {
            let mut config = config();
            break_it(&mut config);
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(says), "{error:?} should say {says:?}");
        }
    }
}
