//! Bringing a lab up: network, routers, origins, nodes, each checked before the next.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Daemon, report};
use crate::bird::{config, control};
use crate::control::Progress;
use crate::error::{LabError, Result};
use crate::identity::{ClusterCa, write_at_rest_key};
use crate::plan::{Host, HostKind, same_family};
use crate::process::{Process, Spec, wait_until};
use crate::state::{create_dir, write};
use crate::{network, nginx, node, probe};

/// BIRD and nginx answer within milliseconds of their start.
const PROGRAM_DEADLINE: Duration = Duration::from_secs(10);
/// Sessions come up within 5 s; the rest is for a machine that also compiles.
const CONVERGENCE_DEADLINE: Duration = Duration::from_secs(30);
/// All nodes together, unoptimized, on two cores.
pub(super) const NODES_DEADLINE: Duration = Duration::from_secs(60);
/// How long one echo may take: longer than any round trip of a topology's sane path.
const ECHO_DEADLINE: Duration = Duration::from_secs(1);
/// Before everything of the user's: BFD has 50 ms.
const ROUTER_NICE: i32 = -10;

impl Daemon {
    pub(super) fn bring_up(&mut self) -> Result<()> {
        step(format!("network: {} namespaces, {} links", self.plan.hosts.len(), self.plan.links.len()))?;
        self.write_files()?;
        self.lines = network::build(&self.state, &self.topology, &self.plan)?;
        self.shapes = self.topology_shapes();
        step(format!("routing: {} BGP routers", self.plan.routers().count()))?;
        for name in self.host_names(|host| host.kind.is_router()) {
            self.start_router(&name)?;
        }
        for name in self.host_names(|host| host.kind == HostKind::Origin) {
            self.start_origin(&name)?;
        }
        self.start_names()?;
        let begin = Instant::now();
        self.wait_for_paths()?;
        step(format!("routing: every server reaches the log and the origins ({:.1?})", begin.elapsed()))?;
        self.wait_for_names()?;
        if !self.topology.zones.is_empty() {
            let (zones, servers) = (self.topology.zones.len(), self.topology.name_servers.len());
            step(format!("names: {zones} zones on {servers} name servers of other brands"))?;
        }
        let servers = self.host_names(|host| matches!(host.kind, HostKind::Server { .. }));
        step(format!("nodes: starting {}", servers.join(", ")))?;
        self.start_nodes(&servers)?;
        step("nodes: all ready; waiting for their announcements".to_owned())?;
        self.wait_for_announcements(&servers)
    }

    fn host_names(&self, fits: impl Fn(&Host) -> bool) -> Vec<String> {
        self.plan.hosts.iter().filter(|host| fits(host)).map(|host| host.name.clone()).collect()
    }

    /// Everything that programs will read.
    fn write_files(&self) -> Result<()> {
        let state = &self.state;
        create_dir(&state.ca_dir())?;
        let ca = ClusterCa::create(&state.ca_dir())?;
        write_at_rest_key(&state.at_rest_key())?;
        for host in &self.plan.hosts {
            let name = &host.name;
            for dir in
                [state.config_dir(name), state.data_dir(name), state.logs_dir(name), state.run_dir(name)]
            {
                create_dir(&dir)?;
            }
            let config = state.config_dir(name);
            match &host.kind {
                HostKind::Transit { .. } | HostKind::Router { .. } => {
                    write(&config.join("bird.conf"), config::render(&self.topology, &self.plan, host))?;
                }
                HostKind::Server { .. } => {
                    ca.issue(name, &config)?;
                    write(
                        &config.join("node.toml"),
                        node::render(state, &self.topology, &self.plan, host, self.workerd.as_deref())?,
                    )?;
                }
                HostKind::Origin => self.write_origin(host)?,
                HostKind::Client | HostKind::NameServer => {}
            }
        }
        Ok(())
    }

    fn write_origin(&self, host: &Host) -> Result<()> {
        let of_topology = self.topology.origins.iter().find(|origin| origin.name == host.name);
        let given = of_topology.and_then(|origin| origin.root.clone()).or_else(|| self.origin_root.clone());
        let root = match given {
            Some(root) if root.is_dir() => root,
            Some(root) => {
                return Err(LabError::Malformed {
                    what: format!("the folder {} that {} is to serve", root.display(), host.name),
                    why: "it is no folder: install the package that has it, or give another".to_owned(),
                });
            }
            None => {
                let root = self.state.data_dir(&host.name);
                write(&root.join("index.html"), nginx::welcome(&host.name, &host.region))?;
                root
            }
        };
        let text = nginx::render(&self.state.host_dir(&host.name), &root);
        write(&self.state.config_dir(&host.name).join("nginx.conf"), text)
    }

    pub(super) fn spawn(
        &self,
        host: &str,
        program: &Path,
        args: &[&str],
        nice: i32,
        death: Signal,
    ) -> Result<Process> {
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
        Process::spawn(&Spec {
            host,
            namespace: &self.state.namespace(host),
            program,
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            log: self.state.logs_dir(host).join(format!("{name}.log")),
            nice,
            on_daemon_death: death,
        })
    }

    pub(super) fn start_router(&mut self, host: &str) -> Result<()> {
        let config = self.state.config_dir(host).join("bird.conf");
        let socket = self.state.bird_socket(host);
        let (config, control_path) = (config.to_string_lossy(), socket.to_string_lossy());
        let args = ["-f", "-c", &config, "-s", &control_path];
        let router = self.spawn(host, Path::new("bird"), &args, ROUTER_NICE, Signal::SIGKILL)?;
        let answers = || control::ask(host, &socket, "show status").is_ok();
        if !wait_until(PROGRAM_DEADLINE, answers) {
            return Err(router.not_ready("does not answer on its control socket"));
        }
        self.routers.insert(host.to_owned(), router);
        Ok(())
    }

    fn start_origin(&mut self, host: &str) -> Result<()> {
        let config = self.state.config_dir(host).join("nginx.conf");
        let early_log = self.state.logs_dir(host).join("error.log");
        let (config, early_log) = (config.to_string_lossy(), early_log.to_string_lossy());
        // A killed master leaves its worker behind; asked to end, it takes it along.
        let args = ["-e", &early_log, "-c", &config];
        let nginx = self.spawn(host, Path::new("nginx"), &args, 0, Signal::SIGTERM)?;
        let namespace = self.state.namespace(host);
        let listens = || {
            crate::netns::within(&namespace, || Ok(std::net::TcpStream::connect(("127.0.0.1", 80)).is_ok()))
                .unwrap_or(false)
        };
        if !wait_until(PROGRAM_DEADLINE, listens) {
            return Err(nginx.not_ready("does not listen on port 80"));
        }
        self.origins.insert(host.to_owned(), nginx);
        Ok(())
    }

    /// Followers that find no way to the log begin with a failure and its waiting time: let the way be there first.
    fn wait_for_paths(&self) -> Result<()> {
        let log = self.plan.server(&self.topology.network.log)?;
        let targets: Vec<_> = self
            .plan
            .hosts
            .iter()
            .filter(|host| host.kind == HostKind::Origin)
            .chain([log])
            .flat_map(|host| {
                [(&host.name, same_family(host, [0, 0, 0, 0].into())), (&host.name, host.address6.into())]
            })
            .collect();
        let end = Instant::now() + CONVERGENCE_DEADLINE;
        for server in self.plan.servers() {
            let namespace = self.state.namespace(&server.name);
            for (name, address) in &targets {
                let reached = wait_until(end.saturating_duration_since(Instant::now()), || {
                    matches!(probe::echo(&namespace, *address, ECHO_DEADLINE), Ok(Some(_)))
                });
                if !reached {
                    return Err(LabError::Daemon(format!(
                        "{} does not reach {name} ({address}) within {CONVERGENCE_DEADLINE:?}: BGP did not converge",
                        server.name
                    )));
                }
            }
        }
        Ok(())
    }

    /// Starts nodes side by side and waits until all are ready.
    pub(super) fn start_nodes(&mut self, servers: &[String]) -> Result<()> {
        let end = Instant::now() + NODES_DEADLINE;
        for server in servers {
            let config = self.state.config_dir(server).join("node.toml");
            let proxima = self.proxima.clone();
            let args = ["node", "--config", &config.to_string_lossy()];
            let node = self.spawn(server, &proxima, &args, 0, Signal::SIGKILL)?;
            self.nodes.insert(server.clone(), node);
        }
        for server in servers {
            if let Some(node) = self.nodes.get_mut(server) {
                node.wait_ready(end)?;
            }
        }
        Ok(())
    }

    /// Waits until each server's router has all anycast prefixes from it.
    pub(super) fn wait_for_announcements(&self, servers: &[String]) -> Result<()> {
        let missing = || -> Vec<String> {
            let missing_of = |server: &String| {
                let announced = self.observer().announced_by(server).len();
                (announced < self.topology.network.anycast.len()).then(|| server.clone())
            };
            servers.iter().filter_map(missing_of).collect()
        };
        if wait_until(CONVERGENCE_DEADLINE, || missing().is_empty()) {
            return Ok(());
        }
        let missing = missing();
        let logs: Vec<_> = missing
            .iter()
            .filter_map(|server| self.nodes.get(server))
            .map(|node| node.not_ready("is ready but does not announce every anycast prefix").to_string())
            .collect();
        Err(LabError::Daemon(logs.join("\n")))
    }
}

/// Tells `lab up`. Without it nobody waits for this lab: give up, so that an interrupted `up` leaves nothing running.
fn step(text: String) -> Result<()> {
    if report(&Progress::Step(text)) {
        return Ok(());
    }
    Err(LabError::Daemon("`lab up` was interrupted".to_owned()))
}
