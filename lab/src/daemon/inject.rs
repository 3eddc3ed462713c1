//! Injecting faults, and making sure that each took effect.

use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::Daemon;
use crate::bird::control;
use crate::error::{LabError, Result};
use crate::fault::{Fault, FaultReport};
use crate::netns::{feed, ip_batch};
use crate::node::DRAIN_SECONDS;
use crate::plan::{Host, Medium, PlannedLink};
use crate::probe;
use crate::process::{ProcessState, wait_until};
use crate::topology::{DELAY_MS_MAX, LinkShape};

/// Signals act within a scheduling round; this is for a machine that also compiles.
const SIGNAL_DEADLINE: Duration = Duration::from_secs(5);
/// A draining node ends by its own deadline; the rest is for its last words.
const DRAIN_DEADLINE: Duration = Duration::from_secs(DRAIN_SECONDS as u64 + 3);
/// An echo that must not come back is waited for this long beyond the link's own round trip.
const SILENCE_WAIT: Duration = Duration::from_millis(300);
/// How long a healed link may take until an echo comes back.
const HEAL_DEADLINE: Duration = Duration::from_secs(5);
/// Echoes by which a loss is seen: at 5 % and more, all coming back has a chance below 1 in 28,000.
const LOSS_ECHOES: u16 = 100;
/// Below this percentage, no echo lost in the sample proves nothing.
const LOSS_PERCENT_SEEN: f64 = 5.0;

/// The table that silences a server: on its uplink, both directions, before anything else sees the packet.
const SILENCE_TABLE: &str = "proxima_lab_silence";

impl Daemon {
    pub(super) fn inject(&mut self, fault: &Fault) -> Result<FaultReport> {
        let begin = Instant::now();
        let effect = self.apply(fault)?;
        Ok(FaultReport { fault: fault.to_string(), effect, took_ms: begin.elapsed().as_secs_f64() * 1e3 })
    }

    fn apply(&mut self, fault: &Fault) -> Result<String> {
        let log = self.topology.network.log.clone();
        match fault {
            Fault::Kill { server } => self.kill_nodes(fault, &self.servers(server)?),
            Fault::KillPop { pop } => self.kill_nodes(fault, &self.pop_servers(pop)?),
            Fault::Stop { server } => self.freeze(fault, server, Signal::SIGSTOP, &ProcessState::Stopped),
            Fault::Continue { server } => self.freeze(fault, server, Signal::SIGCONT, &ProcessState::Running),
            Fault::Restart { server } => self.restart_nodes(fault, &self.servers(server)?),
            Fault::RestartPop { pop } => self.restart_nodes(fault, &self.pop_servers(pop)?),
            Fault::Silence { server } => self.silence(fault, server),
            Fault::Unsilence { server } => self.unsilence(fault, server),
            Fault::SilenceLog => self.silence(fault, &log),
            Fault::UnsilenceLog => self.unsilence(fault, &log),
            Fault::KillRouter { router } => self.kill_router(fault, router),
            Fault::RestartRouter { router } => self.restart_router(fault, router),
            Fault::Cut { from, to } => self.cut(fault, from, to),
            Fault::Heal { from, to } => self.heal(fault, from, to),
            Fault::Slow { from, to, delay_ms, jitter_ms } => {
                self.slow(fault, (from, to), bounded_ms(fault, *delay_ms)?, bounded_ms(fault, *jitter_ms)?)
            }
            Fault::Lose { from, to, percent } => self.lose(fault, (from, to), *percent),
        }
    }

    // --- nodes ---

    fn servers(&self, server: &str) -> Result<Vec<String>> {
        Ok(vec![self.plan.server(server)?.name.clone()])
    }

    fn pop_servers(&self, pop: &str) -> Result<Vec<String>> {
        Ok(self.plan.pop_servers(pop)?.into_iter().map(|server| server.name.clone()).collect())
    }

    fn kill_nodes(&mut self, fault: &Fault, servers: &[String]) -> Result<String> {
        let mut pids = Vec::new();
        // All are shot before any death is waited for: a PoP loses its power at once.
        for server in servers {
            let Some(node) = self.nodes.get_mut(server) else { continue };
            if node.state() != ProcessState::Dead {
                pids.push(format!("{server} (pid {})", node.pid()));
            }
            node.signal(Signal::SIGKILL, &ProcessState::Dead, Duration::ZERO);
        }
        for server in servers {
            if !self.nodes.get_mut(server).is_none_or(|node| node.kill()) {
                return Err(no_effect(fault, format!("the node of {server} still lives")));
            }
        }
        if pids.is_empty() {
            return Err(impossible(fault, "no node runs there: `lab fault restart` starts one"));
        }
        Ok(format!("{} dead", pids.join(", ")))
    }

    fn freeze(
        &mut self,
        fault: &Fault,
        server: &str,
        signal: Signal,
        wanted: &ProcessState,
    ) -> Result<String> {
        let server = self.plan.server(server)?.name.clone();
        let Some(node) = self.nodes.get_mut(&server) else {
            return Err(impossible(fault, "no node was started there"));
        };
        if node.state() == ProcessState::Dead {
            return Err(impossible(fault, "the node is dead: `lab fault restart` starts it"));
        }
        if node.signal(signal, wanted, SIGNAL_DEADLINE) {
            return Ok(format!("{server} (pid {}) is {}", node.pid(), format!("{wanted:?}").to_lowercase()));
        }
        let state = node.state();
        Err(no_effect(fault, format!("the node of {server} is {state:?}")))
    }

    fn restart_nodes(&mut self, fault: &Fault, servers: &[String]) -> Result<String> {
        for server in servers {
            let Some(mut node) = self.nodes.remove(server) else { continue };
            // A stopped process takes no SIGTERM before it goes on.
            node.signal(Signal::SIGCONT, &ProcessState::Running, Duration::ZERO);
            let drained = node.signal(Signal::SIGTERM, &ProcessState::Dead, DRAIN_DEADLINE);
            if !drained && !node.kill() {
                return Err(no_effect(fault, format!("the node of {server} still lives")));
            }
        }
        self.start_nodes(servers)?;
        let silenced = servers.iter().any(|server| self.silenced.contains(server));
        if !silenced {
            self.wait_for_announcements(servers)?;
        }
        let pid =
            |server: &String| self.nodes.get(server).map(|node| format!("{server} (pid {})", node.pid()));
        let pids: Vec<_> = servers.iter().filter_map(pid).collect();
        let announced = if silenced { "" } else { " and announced" };
        Ok(format!("{} ready{announced}", pids.join(", ")))
    }

    fn silence(&mut self, fault: &Fault, server: &str) -> Result<String> {
        let server = self.plan.server(server)?.clone();
        let Some(uplink) = server.interfaces.first() else {
            return Err(impossible(fault, "the server has no uplink"));
        };
        let device = &uplink.peer;
        let rules = format!(
            "table netdev {SILENCE_TABLE} {{}}\ndelete table netdev {SILENCE_TABLE}\n\
             table netdev {SILENCE_TABLE} {{\n\
             chain in {{ type filter hook ingress device \"{device}\" priority 0; policy drop; }}\n\
             chain out {{ type filter hook egress device \"{device}\" priority 0; policy drop; }}\n}}\n"
        );
        self.nft(&server, &rules)?;
        self.silenced.insert(server.name.clone());
        let router = self.state.namespace(&uplink.peer);
        if let Some(time) = probe::echo(&router, server.address4.into(), SILENCE_WAIT)? {
            return Err(no_effect(
                fault,
                format!("{} still answers {} in {time:?}", server.name, uplink.peer),
            ));
        }
        Ok(format!("{} no longer answers {}, and its link is up", server.name, uplink.peer))
    }

    fn unsilence(&mut self, fault: &Fault, server: &str) -> Result<String> {
        let server = self.plan.server(server)?.clone();
        if !self.silenced.contains(&server.name) {
            return Err(impossible(fault, "the server is not silenced"));
        }
        self.nft(&server, &format!("delete table netdev {SILENCE_TABLE}\n"))?;
        self.silenced.remove(&server.name);
        let router = server.interfaces.first().map(|uplink| uplink.peer.clone()).unwrap_or_default();
        self.wait_for_echo(fault, &router, server.address4.into())?;
        Ok(format!("{} answers {router} again", server.name))
    }

    fn nft(&self, host: &Host, rules: &str) -> Result<()> {
        let mut command = Command::new("nft");
        crate::netns::enter(&mut command, &self.state.namespace(&host.name))?;
        feed(command.args(["-f", "-"]), rules).map(drop)
    }

    // --- routers ---

    fn kill_router(&mut self, fault: &Fault, router: &str) -> Result<String> {
        let host = self.plan.router(router)?.name.clone();
        let Some(mut bird) = self.routers.remove(&host) else {
            return Err(impossible(fault, "its BIRD is dead already: `lab fault restart-router` starts it"));
        };
        let pid = bird.pid();
        if !bird.kill() || control::ask(&host, &self.state.bird_socket(&host), "show status").is_ok() {
            return Err(no_effect(fault, format!("the BIRD of {host} still answers")));
        }
        Ok(format!("the BIRD of {host} (pid {pid}) is dead"))
    }

    fn restart_router(&mut self, fault: &Fault, router: &str) -> Result<String> {
        let host = self.plan.router(router)?.name.clone();
        if self.routers.get_mut(&host).is_some_and(|bird| bird.state() != ProcessState::Dead) {
            return Err(impossible(fault, "its BIRD runs: kill-router first"));
        }
        self.start_router(&host)?;
        Ok(format!("the BIRD of {host} answers"))
    }

    // --- links ---

    fn cut(&mut self, fault: &Fault, from: &str, to: &str) -> Result<String> {
        let link = self.plan.link(from, to)?.clone();
        self.set_cut(&link, true)?;
        self.cut.insert(link.name());
        let (namespace, target, trip) = self.across(&link)?;
        if let Some(time) = probe::echo(&namespace, target, trip + SILENCE_WAIT)? {
            return Err(no_effect(fault, format!("an echo still crosses the link in {time:?}")));
        }
        Ok(format!("{} is cut: no echo crosses it, both ends see no carrier", link.name()))
    }

    fn heal(&mut self, fault: &Fault, from: &str, to: &str) -> Result<String> {
        let link = self.plan.link(from, to)?.clone();
        if let Medium::DelayLine(shape) = link.medium {
            self.reshape(&link, shape)?;
        }
        self.set_cut(&link, false)?;
        self.cut.remove(&link.name());
        let (_, target, _) = self.across(&link)?;
        self.wait_for_echo(fault, &link.a, target)?;
        Ok(format!("echoes cross {} again", link.name()))
    }

    fn slow(
        &mut self,
        fault: &Fault,
        (from, to): (&str, &str),
        delay: Duration,
        jitter: Duration,
    ) -> Result<String> {
        let link = self.plan.link(from, to)?.clone();
        let shape = LinkShape { delay, jitter, ..self.shape(fault, &link)? };
        self.reshape(&link, shape)?;
        if self.cut.contains(&link.name()) || shape.loss >= 1.0 {
            return Ok(format!("{} has the delay, but carries nothing now", link.name()));
        }
        let (namespace, target, trip) = self.across(&link)?;
        for _ in 0..3 {
            // With loss, the first echo may be gone.
            match probe::echo(&namespace, target, trip + HEAL_DEADLINE)? {
                Some(time) if time >= 2 * delay => {
                    return Ok(format!(
                        "an echo over {} takes {:.1} ms",
                        link.name(),
                        time.as_secs_f64() * 1e3
                    ));
                }
                Some(time) => return Err(no_effect(fault, format!("an echo takes only {time:?}"))),
                None => {}
            }
        }
        Err(no_effect(fault, "no echo came back".to_owned()))
    }

    fn lose(&mut self, fault: &Fault, (from, to): (&str, &str), percent: f64) -> Result<String> {
        if !(0.0..=100.0).contains(&percent) {
            return Err(impossible(fault, "a percentage is 0 to 100"));
        }
        let link = self.plan.link(from, to)?.clone();
        let shape = LinkShape { loss: percent / 100.0, ..self.shape(fault, &link)? };
        self.reshape(&link, shape)?;
        let (namespace, target, trip) = self.across(&link)?;
        let lost = probe::echo_burst(&namespace, target, LOSS_ECHOES, trip + SILENCE_WAIT)?;
        let implausible =
            (percent >= LOSS_PERCENT_SEEN && lost == 0) || (percent >= 100.0 && lost < LOSS_ECHOES);
        if implausible {
            return Err(no_effect(fault, format!("of {LOSS_ECHOES} echoes {lost} were lost")));
        }
        Ok(format!("of {LOSS_ECHOES} echoes over {} and back, {lost} were lost", link.name()))
    }

    /// The shape in force of a link that has one.
    fn shape(&self, fault: &Fault, link: &PlannedLink) -> Result<LinkShape> {
        let why = "wires within a PoP have neither delay nor loss: cut it, or silence the server";
        self.shapes.get(&link.name()).copied().ok_or_else(|| impossible(fault, why))
    }

    fn reshape(&mut self, link: &PlannedLink, shape: LinkShape) -> Result<()> {
        if let Some(line) = self.lines.get(&link.name()) {
            line.reshape(shape)?;
            self.shapes.insert(link.name(), shape);
        }
        Ok(())
    }

    fn set_cut(&self, link: &PlannedLink, cut: bool) -> Result<()> {
        match self.lines.get(&link.name()) {
            Some(line) => line.set_cut(cut),
            // One end of a wire down takes the carrier from both; routers keep no default route to restore.
            None => {
                let direction = if cut { "down" } else { "up" };
                let batch = format!("link set {} {direction}\n", link.b);
                ip_batch(Some(&self.state.namespace(&link.a)), &batch)
            }
        }
    }

    /// How to send an echo over just this link: from where, to which address, and its round trip.
    fn across(&self, link: &PlannedLink) -> Result<(String, IpAddr, Duration)> {
        let host = self.plan.host(&link.a)?;
        let Some(interface) = host.interface(&link.b) else {
            let what = format!("the interface of {} towards {}", link.a, link.b);
            return Err(LabError::Malformed { what, why: "the plan has none".to_owned() });
        };
        let one_way =
            self.shapes.get(&link.name()).map_or(Duration::ZERO, |shape| shape.delay + shape.jitter);
        Ok((self.state.namespace(&link.a), interface.peer4.into(), 2 * one_way))
    }

    fn wait_for_echo(&self, fault: &Fault, from: &str, target: IpAddr) -> Result<()> {
        let namespace = self.state.namespace(from);
        let answers = || matches!(probe::echo(&namespace, target, HEAL_DEADLINE), Ok(Some(_)));
        if wait_until(HEAL_DEADLINE, answers) {
            return Ok(());
        }
        Err(no_effect(fault, format!("{target} does not answer {from}")))
    }
}

fn bounded_ms(fault: &Fault, ms: f64) -> Result<Duration> {
    if (0.0..=DELAY_MS_MAX).contains(&ms) {
        return Ok(Duration::from_secs_f64(ms / 1e3));
    }
    Err(impossible(fault, &format!("a delay is 0 to {DELAY_MS_MAX} ms")))
}

fn no_effect(fault: &Fault, seen: String) -> LabError {
    LabError::NoEffect { fault: fault.to_string(), seen }
}

fn impossible(fault: &Fault, why: &str) -> LabError {
    LabError::FaultImpossible { fault: fault.to_string(), why: why.to_owned() }
}
