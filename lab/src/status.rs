//! The state of a lab as people and tests read it.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::delay::line::LineCount;
use crate::process::ProcessState;
use crate::topology::{LinkShape, Software};

/// A lab at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The lab's name.
    pub lab: String,
    /// The server that keeps the log.
    pub log: String,
    /// Every server.
    pub servers: Vec<ServerStatus>,
    /// Every router.
    pub routers: Vec<RouterStatus>,
    /// Every client.
    pub clients: Vec<ClientStatus>,
    /// Every name server that is not Proxima.
    pub name_servers: Vec<NameServerStatus>,
    /// Every link.
    pub links: Vec<LinkStatus>,
}

/// A server and its node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Its name.
    pub name: String,
    /// Its PoP.
    pub pop: String,
    /// The node's process.
    pub state: ProcessState,
    /// The node's process id, if it lives.
    pub pid: Option<u32>,
    /// True while `silence` holds.
    pub silenced: bool,
    /// Where its API listens.
    pub api: String,
    /// Anycast prefixes that its PoP's router has from it.
    pub announces: Vec<String>,
}

/// A name server of another brand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NameServerStatus {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// What it runs.
    pub software: Software,
    /// How its process is.
    pub state: ProcessState,
    /// The zones that it has.
    pub zones: Vec<String>,
}

/// A router and its routes to the anycast prefixes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouterStatus {
    /// Its name.
    pub name: String,
    /// False when its BIRD does not answer.
    pub running: bool,
    /// For each anycast prefix, where it goes.
    pub routes: Vec<AnycastRoute>,
}

/// A router's ways to an anycast prefix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnycastRoute {
    /// The prefix.
    pub prefix: String,
    /// The neighbours in use; several where ECMP spreads over them.
    pub via: Vec<String>,
    /// Neighbours that offer it too.
    pub also: Vec<String>,
}

/// A client and where it lands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientStatus {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// The routers that its packets to the first anycast address pass, and the servers that may get them.
    pub path: Vec<String>,
    /// The PoP that answered its request.
    pub colo: Option<String>,
    /// The server that answered, if it tells.
    pub node: Option<String>,
    /// Round trip to the anycast address, measured by an echo request.
    pub rtt_ms: Option<f64>,
    /// Time to the answer's first byte of an HTTP request.
    pub first_byte_ms: Option<f64>,
    /// Why the request failed.
    pub error: Option<String>,
    /// The same for the other anycast addresses, as those of IPv6.
    pub others: Vec<Landing>,
}

/// Where a client's request to an anycast address landed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Landing {
    /// The anycast address.
    pub address: IpAddr,
    /// The PoP that answered.
    pub colo: Option<String>,
    /// The server that answered, if it tells.
    pub node: Option<String>,
    /// Round trip to the address.
    pub rtt_ms: Option<f64>,
    /// Time to the answer's first byte.
    pub first_byte_ms: Option<f64>,
    /// Why the request failed.
    pub error: Option<String>,
}

impl ClientStatus {
    /// Whether all anycast addresses led it to this PoP.
    #[must_use]
    pub fn lands_only_at(&self, pop: &str) -> bool {
        let others = self.others.iter().map(|landing| &landing.colo);
        std::iter::once(&self.colo).chain(others).all(|colo| colo.as_deref() == Some(pop))
    }
}

/// A link and what it carried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// One end.
    pub a: String,
    /// The other end.
    pub b: String,
    /// Cut by a fault.
    pub cut: bool,
    /// What it does to packets; `None` for a wire within a PoP.
    pub shape: Option<LinkShape>,
    /// Packets carried and dropped; `None` for a wire within a PoP.
    pub count: Option<LineCount>,
}

impl Status {
    /// The client of this name.
    #[must_use]
    pub fn client(&self, name: &str) -> Option<&ClientStatus> {
        self.clients.iter().find(|client| client.name == name)
    }

    /// The server of this name.
    #[must_use]
    pub fn server(&self, name: &str) -> Option<&ServerStatus> {
        self.servers.iter().find(|server| server.name == name)
    }

    fn server_rows(&self) -> Vec<Vec<String>> {
        let rows = self.servers.iter().map(|server| {
            let mut state = shown(&server.state).to_owned();
            if server.silenced {
                state += ", silenced";
            }
            let role = if server.name == self.log { " (log)" } else { "" };
            vec![
                format!("{}{role}", server.name),
                server.pop.clone(),
                state,
                server.pid.map_or("-".to_owned(), |pid| pid.to_string()),
                server.api.clone(),
                or_dash(server.announces.join(" ")),
            ]
        });
        rows.collect()
    }

    fn router_rows(&self) -> Vec<Vec<String>> {
        let rows = self.routers.iter().flat_map(|router| {
            let down = (!router.running).then(|| vec![router.name.clone(), "BIRD is down".to_owned()]);
            down.into_iter().chain(router.routes.iter().map(|route| {
                vec![
                    router.name.clone(),
                    route.prefix.clone(),
                    or_dash(route.via.join(" + ")),
                    or_dash(route.also.join(", ")),
                ]
            }))
        });
        rows.collect()
    }

    fn client_rows(&self) -> Vec<Vec<String>> {
        let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.1} ms"));
        let rows = self.clients.iter().map(|client| {
            let first = lands(client.colo.as_ref(), client.node.as_ref(), client.error.as_ref());
            let others = client
                .others
                .iter()
                .map(|landing| lands(landing.colo.as_ref(), landing.node.as_ref(), landing.error.as_ref()));
            let lands = std::iter::once(first).chain(others).collect::<Vec<_>>().join(", ");
            vec![
                client.name.clone(),
                client.region.clone(),
                lands,
                ms(client.rtt_ms),
                ms(client.first_byte_ms),
                client.path.join(" > "),
            ]
        });
        rows.collect()
    }

    fn name_server_rows(&self) -> Vec<Vec<String>> {
        let rows = self.name_servers.iter().map(|server| {
            let software = match server.software {
                Software::Knot => "knot",
                Software::Nsd => "nsd",
                Software::Bind => "bind",
            };
            let (state, zones) = (shown(&server.state).to_owned(), server.zones.join(" "));
            vec![server.name.clone(), server.region.clone(), software.to_owned(), state, zones]
        });
        rows.collect()
    }

    fn link_rows(&self) -> Vec<Vec<String>> {
        let rows = self.links.iter().filter(|link| link.shape.is_some() || link.cut).map(|link| {
            let shape = link.shape.map_or("wire".to_owned(), |shape| {
                let mut text = format!("{:.1} ms", shape.delay.as_secs_f64() * 1e3);
                if !shape.jitter.is_zero() {
                    let _ = write!(text, " + 0..{:.1}", shape.jitter.as_secs_f64() * 1e3);
                }
                if shape.loss > 0.0 {
                    let _ = write!(text, ", loses {} %", shape.loss * 100.0);
                }
                if let Some(rate) = shape.rate_bits_per_second {
                    let _ = write!(text, ", {} Mbit/s", rate / 1_000_000);
                }
                text
            });
            let count = link.count.map_or("-".to_owned(), |count| {
                format!("{} carried, {} dropped", count.carried, count.dropped)
            });
            let cut = if link.cut { "CUT, " } else { "" };
            vec![format!("{} – {}", link.a, link.b), format!("{cut}{shape}"), count]
        });
        rows.collect()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "lab {}\n", self.lab)?;
        table(out, &["SERVER", "POP", "NODE", "PID", "API", "ANNOUNCES"], &self.server_rows())?;
        table(out, &["ROUTER", "PREFIX", "GOES TO", "COULD GO TO"], &self.router_rows())?;
        let heads = ["CLIENT", "REGION", "LANDS AT", "RTT", "FIRST BYTE", "PATH"];
        table(out, &heads, &self.client_rows())?;
        if !self.name_servers.is_empty() {
            let heads = ["NAME SERVER", "REGION", "SOFTWARE", "STATE", "ZONES"];
            table(out, &heads, &self.name_server_rows())?;
        }
        table(out, &["LINK", "ONE WAY", "PACKETS"], &self.link_rows())
    }
}

fn shown(state: &ProcessState) -> &'static str {
    match state {
        ProcessState::Running => "running",
        ProcessState::Stopped => "stopped",
        ProcessState::Dead => "dead",
    }
}

fn lands(colo: Option<&String>, node: Option<&String>, error: Option<&String>) -> String {
    match (colo, node, error) {
        (Some(colo), Some(node), _) => format!("{colo} ({node})"),
        (Some(colo), None, _) => colo.clone(),
        (None, _, Some(error)) => error.clone(),
        _ => "-".to_owned(),
    }
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

/// Columns as wide as their widest cell.
fn table(out: &mut fmt::Formatter<'_>, heads: &[&str], rows: &[Vec<String>]) -> fmt::Result {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([heads[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..heads.len()).map(width).collect();
    let heads: Vec<_> = heads.iter().map(|head| (*head).to_owned()).collect();
    for row in std::iter::once(&heads).chain(rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    writeln!(out)
}
