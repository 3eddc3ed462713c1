//! The topology: which networks, PoPs, clients, origins and name servers there are, and the links between them.
//!
//! ```text
//! text ──serde──> file::File ──check──> Topology ──plan──> addresses, interfaces, configurations
//! ```
//!
//! A `Topology` exists only checked: every name leads somewhere, every number is within its bounds,
//! and every host can reach every other.

mod check;
mod file;
pub(crate) mod names;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

/// The topology that `lab up` takes when it is given none.
pub const DEFAULT_TOPOLOGY: &str = include_str!("../../topologies/default.toml");

/// Hosts of a lab. Each costs a namespace and mostly a process; more do not run well on the two cores and
/// 4 GiB that the lab is made for.
pub const HOSTS_MAX: usize = 64;
/// Links of a lab: each costs a thread.
pub const LINKS_MAX: usize = 96;
/// Servers of one PoP: the third octet of their addresses is their number, and ECMP groups stay small.
pub const SERVERS_PER_POP_MAX: u32 = 16;
/// The longest one-way delay: twice the worst satellite path; more is a typing error.
pub const DELAY_MS_MAX: f64 = 2_000.0;
/// The highest rate that can be asked for: far above what a delay line carries.
pub const RATE_MBIT_MAX: f64 = 10_000.0;
/// The largest topology file that is read.
pub const TOPOLOGY_BYTES_MAX: u64 = 1 << 20;

/// A checked topology.
#[derive(Debug, Clone, PartialEq)]
pub struct Topology {
    /// Seed of every random decision (jitter, loss), so that a run can be repeated.
    pub seed: u64,
    /// The operator's network.
    pub network: Network,
    /// Names of the regions.
    pub regions: Vec<String>,
    /// Transit networks, one router each.
    pub transits: Vec<Transit>,
    /// Points of presence, one router and some servers each.
    pub pops: Vec<Pop>,
    /// Users.
    pub clients: Vec<Client>,
    /// Customers' own servers.
    pub origins: Vec<Origin>,
    /// Authoritative name servers of other brands.
    pub name_servers: Vec<NameServer>,
    /// The zones that they serve, the root among them.
    pub zones: Vec<Zone>,
    /// Links between them, all delay lines.
    pub links: Vec<Link>,
}

/// What holds for all PoPs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The AS number that all PoPs share.
    pub asn: u32,
    /// Name of the server that keeps the log.
    pub log: String,
    /// Names of the authoritative name servers, for node.toml.
    pub name_servers: Vec<String>,
    /// What is announced, and the address in it that every server answers.
    pub anycast: Vec<Anycast>,
    /// How fast a dead neighbour is found out.
    pub bfd: Bfd,
}

/// One anycast prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anycast {
    /// The announced prefix.
    pub prefix: IpNet,
    /// The address that servers answer on.
    pub address: IpAddr,
}

/// Timing of BFD (RFC 5880).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bfd {
    /// Interval of control packets.
    pub interval_ms: u32,
    /// Packets missed until the neighbour counts as dead.
    pub multiplier: u32,
}

/// A transit network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transit {
    /// Host name of its router.
    pub name: String,
    /// Its AS number.
    pub asn: u32,
    /// Its region.
    pub region: String,
}

/// A point of presence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pop {
    /// Three capital letters, as in `cf-ray`.
    pub code: String,
    /// Its region.
    pub region: String,
    /// Number of servers.
    pub servers: u32,
    /// Whether other PoPs' caches ask its caches.
    pub upper_tier: bool,
}

impl Pop {
    /// Host name of the PoP's router: `fra-router`.
    #[must_use]
    pub fn router(&self) -> String {
        format!("{}-router", self.code.to_ascii_lowercase())
    }

    /// Host names of the PoP's servers: `fra-1`, `fra-2` …
    pub fn servers(&self) -> impl Iterator<Item = String> + '_ {
        (1..=self.servers).map(|ordinal| format!("{}-{ordinal}", self.code.to_ascii_lowercase()))
    }
}

/// A user's machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Host name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// The validating resolver that runs on it.
    pub resolver: Option<Resolver>,
}

/// A customer's own server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Host name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// The folder that it serves; without one, a page that the lab writes.
    pub root: Option<PathBuf>,
}

/// A name server that is not Proxima.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameServer {
    /// Host name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// What it runs.
    pub software: Software,
}

/// The software of a name server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Software {
    /// Knot DNS.
    Knot,
    /// NSD.
    Nsd,
    /// BIND.
    Bind,
}

/// The software of a client's resolver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resolver {
    /// Unbound.
    Unbound,
}

/// A zone on name servers that are not Proxima. Its records the lab makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Its name in lower case, with the dot at the end; the root is `.`.
    pub name: String,
    /// Host names of the servers that have it.
    pub servers: Vec<String>,
    /// Whether it is signed.
    pub signing: Signing,
}

/// How a zone is signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signing {
    /// With the key that its parent's DS names, which is made when the lab comes up.
    #[default]
    Signed,
    /// Not at all, and its parent proves that.
    Unsigned,
    /// With another key than the one that its parent's DS names: validating resolvers must not believe it.
    Bogus,
}

/// A delayed link.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// One end: the host name of a transit, client or origin, or of a PoP's router.
    pub from: String,
    /// The other end.
    pub to: String,
    /// Delay, jitter, loss and rate, the same in both directions.
    pub shape: LinkShape,
}

/// What a link does to packets, in one direction.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LinkShape {
    /// The least one-way delay.
    pub delay: Duration,
    /// Up to this is added to the delay, evenly distributed. Packets keep their order.
    pub jitter: Duration,
    /// Probability that a packet is lost, 0 to 1.
    pub loss: f64,
    /// Bits per second; `None` is unlimited.
    pub rate_bits_per_second: Option<u64>,
}

/// One mistake in a topology file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line in the file, from 1; `None` when it is about the whole file.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// All mistakes of a topology file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopologyError {
    /// Name of the file.
    pub file: String,
    /// The mistakes, in the order of the file.
    pub mistakes: Vec<Mistake>,
}

// === impl Topology ===

impl Topology {
    /// Parses and checks a topology. `file` names it in errors.
    ///
    /// # Errors
    /// All mistakes, each with its line and a remedy.
    pub fn parse(file: &str, text: &str) -> Result<Self, TopologyError> {
        check::parse(file, text)
    }

    /// The embedded default: three PoPs of two servers on three continents.
    #[must_use]
    pub fn default_three_continents() -> Self {
        Self::parse("default.toml", DEFAULT_TOPOLOGY).expect("the embedded topology is checked by a test")
    }

    /// Reads, parses and checks a file.
    ///
    /// # Errors
    /// The file cannot be read, is too large, or has mistakes.
    pub fn read(path: &Path) -> Result<Self, TopologyError> {
        Self::parse(&path.display().to_string(), &read_text(path)?)
    }
}

/// Reads a topology file without parsing it.
///
/// # Errors
/// The file cannot be read or is too large.
pub fn read_text(path: &Path) -> Result<String, TopologyError> {
    let fail = |what: String, remedy: &str| TopologyError {
        file: path.display().to_string(),
        mistakes: vec![Mistake { line: None, what, remedy: remedy.to_owned() }],
    };
    let remedy = "give the path of a topology file in UTF-8";
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(TOPOLOGY_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|error| fail(format!("cannot be read: {error}"), remedy))?;
    if text.len() as u64 > TOPOLOGY_BYTES_MAX {
        return Err(fail("is over 1 MiB".to_owned(), "no topology is so long: is this the right file?"));
    }
    Ok(text)
}

// === impl TopologyError ===

impl fmt::Display for TopologyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            match mistake.line {
                Some(line) => write!(out, "{}:{line}: ", self.file)?,
                None => write!(out, "{}: ", self.file)?,
            }
            write!(out, "{}: {}", mistake.what, mistake.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for TopologyError {}

// === impl LinkShape ===

impl LinkShape {
    /// A link that only delays.
    #[must_use]
    pub fn delay(delay: Duration) -> Self {
        Self { delay, jitter: Duration::ZERO, loss: 0.0, rate_bits_per_second: None }
    }
}
