//! Name servers of other brands, clients' resolvers, and the registry that delegates zones to Proxima.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::Daemon;
use crate::error::{LabError, Result};
use crate::names::{self, Tree};
use crate::netns;
use crate::plan::Host;
use crate::process::{Process, ProcessState, wait_until};
use crate::state::{create_dir, write};
use crate::status::NameServerStatus;
use crate::topology::{NameServer, Zone};

/// All of them start in a second; the rest is for a machine that also compiles.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// A zone of some lines is read within milliseconds of the signal, on a machine that does nothing else.
const RELOAD_DEADLINE: Duration = Duration::from_secs(30);
/// A server that was reading when it was told to, or that takes a file of the same second for the same, is told again.
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);
/// For the answer of a server at the other end of the world.
const DIG: [&str; 4] = ["+norecurse", "+time=2", "+tries=2", "+nosearch"];
/// A CDS that asks for no DS at all (RFC 8078, 4).
const CDS_DELETE: &str = "0 0 0 00";

/// What the daemon keeps of the lab's own domain name system.
pub(super) struct Names {
    tree: Tree,
    /// DS records of the zones of the topology, by name.
    ds: BTreeMap<String, String>,
    servers: BTreeMap<String, Process>,
    /// By client.
    resolvers: BTreeMap<String, Process>,
}

impl Daemon {
    /// Makes keys and zones, and starts everything; nothing where the topology has no zones.
    pub(super) fn start_names(&mut self) -> Result<()> {
        if self.topology.zones.is_empty() {
            return Ok(());
        }
        create_dir(&self.state.names_dir())?;
        let tree = Tree::new(&self.topology, &self.plan)?;
        let ds = names::keep_keys(&self.state, &tree)?;
        for zone in tree.zones() {
            names::sign(&self.state, &tree, zone, &ds)?;
        }
        let mut running = Names { tree, ds, servers: BTreeMap::new(), resolvers: BTreeMap::new() };
        for server in &self.topology.name_servers {
            let host = self.plan.host(&server.name)?;
            running.servers.insert(server.name.clone(), self.start_name_server(server, host)?);
        }
        for client in self.topology.clients.iter().filter(|client| client.resolver.is_some()) {
            running.resolvers.insert(client.name.clone(), self.start_resolver(&client.name)?);
        }
        self.names = Some(running);
        Ok(())
    }

    fn start_name_server(&self, server: &NameServer, host: &Host) -> Result<Process> {
        let config = self.state.config_dir(&server.name).join("names.conf");
        let zones = self.topology.zones.iter().filter(|zone| zone.servers.contains(&server.name));
        write(&config, names::render_server(&self.state, server, host, zones))?;
        let (program, before) = names::program(server.software);
        let config = config.to_string_lossy();
        let args: Vec<_> = before.iter().copied().chain([&*config]).collect();
        // A killed nsd leaves its children behind; asked to end, it takes them along.
        self.spawn(&server.name, Path::new(program), &args, 0, Signal::SIGTERM)
    }

    fn start_resolver(&self, client: &str) -> Result<Process> {
        let config = self.state.config_dir(client).join("unbound.conf");
        write(&config, names::render_resolver(&self.state, client))?;
        let args = ["-d", "-c", &config.to_string_lossy()];
        self.spawn(client, Path::new("unbound"), &args, 0, Signal::SIGKILL)
    }

    /// Waits until all take connections. They come up while routing converges.
    pub(super) fn wait_for_names(&mut self) -> Result<()> {
        let Some(running) = &mut self.names else { return Ok(()) };
        let (state, plan) = (&self.state, &self.plan);
        let listens = |host: &str, address: IpAddr, process: &mut Process| {
            let namespace = state.namespace(host);
            let connects = || Ok(std::net::TcpStream::connect((address, 53)).is_ok());
            let listens = || netns::within(&namespace, connects).unwrap_or(false);
            let mut is_there = false;
            wait_until(START_DEADLINE, || {
                is_there = listens();
                is_there || process.state() == ProcessState::Dead
            });
            if is_there { Ok(()) } else { Err(process.not_ready("does not listen on port 53")) }
        };
        for (name, process) in &mut running.servers {
            listens(name, plan.host(name)?.address4.into(), process)?;
        }
        for (name, process) in &mut running.resolvers {
            listens(name, [127, 0, 0, 1].into(), process)?;
        }
        Ok(())
    }

    pub(super) fn name_server_statuses(&mut self) -> Vec<NameServerStatus> {
        let Some(running) = &mut self.names else { return Vec::new() };
        let mut statuses = Vec::new();
        for server in &self.topology.name_servers {
            let process = running.servers.get_mut(&server.name);
            let state = process.map_or(ProcessState::Dead, |process| process.state());
            let zones = self.topology.zones.iter().filter(|zone| zone.servers.contains(&server.name));
            statuses.push(NameServerStatus {
                name: server.name.clone(),
                region: server.region.clone(),
                software: server.software,
                state,
                zones: zones.map(|zone| zone.name.clone()).collect(),
            });
        }
        statuses
    }

    /// Delegates a zone to Proxima in the zone above it, with the DS records that the zone asks for; returns what was done.
    /// Done again, it takes over what the zone asks for then.
    pub(super) fn delegate(&mut self, zone: &str) -> Result<String> {
        let zone = format!("{}.", zone.trim_end_matches('.').to_ascii_lowercase());
        let no_names = || LabError::NotDelegated {
            zone: zone.clone(),
            why: "this lab has no domain name system: its topology has no [[zone]]".to_owned(),
        };
        let running = self.names.as_ref().ok_or_else(no_names)?;
        let parent = running.tree.parent_of_new(&zone)?.clone();
        let ds = self.asked_ds(&parent, &zone)?;
        let (count, was_there) = (ds.len(), running.tree.is_delegated(&zone));
        let running = self.names.as_mut().ok_or_else(no_names)?;
        let former = running.tree.delegate(&zone, Some(ds));
        if let Err(error) = names::sign(&self.state, &running.tree, &parent, &running.ds) {
            // What the zone asks for may be what cannot be signed: the next one must not fail for it.
            running.tree.delegate(&zone, former);
            return Err(error);
        }
        self.reload(&parent.servers);
        for server in &parent.servers {
            self.wait_until_read(server, &parent)?;
        }
        let keys = if count == 0 { "without DS".to_owned() } else { format!("with {count} DS") };
        let how = if was_there { "delegates it as before" } else { "delegates it" };
        Ok(format!(
            "{zone}: {} {how} to {}, {keys}",
            parent.name,
            self.topology.network.name_servers.join(", ")
        ))
    }

    /// The DS records that a zone on Proxima asks its parent for, as seen from a server of that.
    fn asked_ds(&self, parent: &Zone, zone: &str) -> Result<Vec<String>> {
        let Some(anycast) = self.topology.network.anycast.first() else { return Ok(Vec::new()) };
        let at = format!("@{}", anycast.address);
        let soa = self.dig(&parent.servers[0], &[&at, zone, "SOA", "+short"])?;
        if soa.is_empty() {
            let why =
                format!("Proxima has no such zone: `proxima zones add {}` first", zone.trim_end_matches('.'));
            return Err(LabError::NotDelegated { zone: zone.to_owned(), why });
        }
        let cds = self.dig(&parent.servers[0], &[&at, zone, "CDS", "+short"])?;
        Ok(cds.into_iter().filter(|line| line != CDS_DELETE).collect())
    }

    fn reload(&mut self, servers: &[String]) {
        let Some(running) = &mut self.names else { return };
        for server in servers {
            if let Some(process) = running.servers.get_mut(server) {
                process.signal(Signal::SIGHUP, &ProcessState::Running, Duration::ZERO);
            }
        }
    }

    /// Waits until a server answers with the present serial.
    fn wait_until_read(&mut self, server: &String, zone: &Zone) -> Result<()> {
        let at = format!("@{}", self.plan.host(server)?.address4);
        let serial = self.names.as_ref().map_or(0, |running| running.tree.serial()).to_string();
        let (mut seen, mut told) = (Vec::new(), Instant::now());
        let is_new = || {
            if told.elapsed() >= RELOAD_INTERVAL {
                self.reload(std::slice::from_ref(server));
                told = Instant::now();
            }
            seen = self.dig(server, &[&at, &zone.name, "SOA", "+short"]).unwrap_or_default();
            seen.iter().any(|soa| soa.split_whitespace().nth(2) == Some(&serial))
        };
        if wait_until(RELOAD_DEADLINE, is_new) {
            return Ok(());
        }
        let why = format!("{server} goes on serving {} as it was ({})", zone.name, seen.join(", "));
        Err(LabError::NotDelegated { zone: zone.name.clone(), why })
    }

    /// What was answered, line by line, without what dig says of itself: that it had to try again, for instance.
    fn dig(&self, host: &str, args: &[&str]) -> Result<Vec<String>> {
        let mut dig = Command::new("dig");
        dig.args(args).args(DIG);
        netns::enter(&mut dig, &self.state.namespace(host))?;
        let printed = netns::feed(&mut dig, "")?;
        let lines = printed.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(';'));
        Ok(lines.map(str::to_owned).collect())
    }
}
