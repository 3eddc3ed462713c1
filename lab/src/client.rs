//! The lab as a program uses it: bring it up, ask, break, measure from inside, take it down.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::control::{Answer, Progress, Request, ask, parse};
use crate::error::{Doing, LabError, Result};
use crate::fault::{Fault, FaultReport};
use crate::names::{self, AnswerTimes};
use crate::netns;
use crate::plan::{Host, Plan};
use crate::process::tail;
use crate::state::{DEFAULT_NAME, LabState, STATE_ROOT, create_dir, write};
use crate::status::Status;
use crate::teardown;
use crate::topology::{DEFAULT_TOPOLOGY, Resolver, Software, Topology};

/// A line of the daemon's progress holds at most some logs' ends.
const PROGRESS_LINE_BYTES_MAX: u64 = 1 << 20;

/// Programs that the lab runs, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 4] =
    [("ip", "iproute2"), ("bird", "bird2"), ("nft", "nftables"), ("nginx", "nginx-core")];

/// What name servers run, beside the tools that sign and ask.
const NAMES_PROGRAMS: [(&str, &str); 4] = [
    ("dnssec-signzone", "bind9-utils"),
    ("dnssec-keygen", "bind9-utils"),
    ("dnssec-dsfromkey", "bind9-utils"),
    ("dig", "bind9-dnsutils"),
];

/// How a lab is brought up.
#[derive(Debug, Clone)]
pub struct UpOptions {
    /// The lab's name; labs of different names live side by side.
    pub name: String,
    /// Folder of all labs' state.
    pub state_root: PathBuf,
    /// The topology's text, and the name of its file for errors.
    pub topology: (String, String),
    /// The program run on servers as `PROGRAM node --config node.toml`; `None` is this executable.
    pub proxima: Option<PathBuf>,
    /// The program run as `PROGRAM lab daemon …`; `None` is this executable.
    pub daemon: Option<PathBuf>,
    /// Folder that origins serve that name none in the topology; `None` is a page of the lab's.
    pub origin_root: Option<PathBuf>,
    /// The program that runs Workers on servers; `None` is what they find in `PATH`.
    pub workerd: Option<PathBuf>,
}

impl Default for UpOptions {
    /// The default topology under the default name.
    fn default() -> Self {
        Self {
            name: DEFAULT_NAME.to_owned(),
            state_root: STATE_ROOT.into(),
            topology: ("default.toml".to_owned(), DEFAULT_TOPOLOGY.to_owned()),
            proxima: None,
            daemon: None,
            origin_root: None,
            workerd: None,
        }
    }
}

/// The program that runs Workers, as npm's package `workerd` has it in this folder `node_modules`.
#[must_use]
pub fn workerd_in(node_modules: &Path) -> PathBuf {
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "64" };
    node_modules.join(format!("@cloudflare/workerd-linux-{machine}/bin/workerd"))
}

/// A lab that is up. Dropping this leaves it up; [`Lab::down`] takes it down.
#[derive(Debug, Clone)]
pub struct Lab {
    state: LabState,
    topology: Topology,
    plan: Plan,
}

impl Lab {
    /// Brings a lab up and waits until every node is ready and announced. What a crashed lab of the same name left is
    /// removed first. `progress` is told each step.
    ///
    /// # Errors
    /// Mistakes in the topology, missing programs, a lab of the name that runs, or anything that did not come up; in the
    /// last case nothing is left behind.
    pub fn up(options: &UpOptions, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        let topology = Topology::parse(&options.topology.0, &options.topology.1)?;
        let state = LabState::new(&options.name, &options.state_root)?;
        check_prerequisites(&topology)?;
        if state.dir().exists() {
            // Refuses while the daemon lives.
            drop(teardown::lock(&state)?);
        }
        teardown::down(&state)?;
        create_dir(state.dir())?;
        write(&state.topology(), &options.topology.1)?;
        let result = start_daemon(&state, options, progress);
        if result.is_err() {
            // The first error is the one to tell.
            let _ = teardown::down(&state);
        }
        result.map(|()| Self { state, plan: Plan::new(&topology), topology })
    }

    /// A lab that is up already.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn attach(name: &str, state_root: &Path) -> Result<Self> {
        let state = LabState::new(name, state_root)?;
        if !state.control_socket().exists() {
            return Err(LabError::NotUp { name: name.to_owned(), state_dir: state.dir().to_owned() });
        }
        let topology = Topology::read(&state.topology())?;
        Ok(Self { plan: Plan::new(&topology), state, topology })
    }

    /// Takes the lab down.
    ///
    /// # Errors
    /// A process or namespace that cannot be removed.
    pub fn down(self) -> Result<()> {
        teardown::down(&self.state)
    }

    /// Takes down whatever there is of a lab, running, crashed or not there at all.
    ///
    /// # Errors
    /// A process or namespace that cannot be removed.
    pub fn remove(name: &str, state_root: &Path) -> Result<()> {
        require_root()?;
        teardown::down(&LabState::new(name, state_root)?)
    }

    /// Where its files are.
    #[must_use]
    pub fn state(&self) -> &LabState {
        &self.state
    }

    /// Its topology.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Its hosts and addresses.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Who announces what, which client lands where; measured now.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub fn status(&self) -> Result<Status> {
        match ask(&self.state, &Request::Status)? {
            Answer::Status(status) => Ok(*status),
            other => Err(unexpected(&other)),
        }
    }

    /// Injects a fault, or ends one; returns once its effect was seen.
    ///
    /// # Errors
    /// It cannot be done, or showed no effect.
    pub fn fault(&self, fault: &Fault) -> Result<FaultReport> {
        match ask(&self.state, &Request::Fault(fault.clone()))? {
            Answer::Fault(report) => Ok(report),
            other => Err(unexpected(&other)),
        }
    }

    /// Delegates a zone on Proxima in the lab's own domain name system, with the DS records that it asks for; returns what
    /// was done.
    ///
    /// # Errors
    /// The lab has no zones, or others serve this one, or Proxima does not.
    pub fn delegate(&self, zone: &str) -> Result<String> {
        match ask(&self.state, &Request::Delegate(zone.to_owned()))? {
            Answer::Delegated(done) => Ok(done),
            other => Err(unexpected(&other)),
        }
    }

    /// How long each client waits for the addresses of a name, asked of Proxima itself `count` times. One client after the
    /// other.
    ///
    /// # Errors
    /// A client has no answer, or Proxima does not have the name's zone.
    pub fn answer_times(&self, name: &str, count: u16) -> Result<Vec<AnswerTimes>> {
        let Some(anycast) = self.topology.network.anycast.first() else { return Ok(Vec::new()) };
        let of_client = |client: &Host| {
            let namespace = self.state.namespace(&client.name);
            let who = (client.name.as_str(), client.region.as_str());
            names::measure(who, &namespace, anycast.address, (name, count))
        };
        self.plan.clients().map(of_client).collect()
    }

    /// Base URL of a server's API, reachable from every host of the lab.
    ///
    /// # Errors
    /// There is no such server.
    pub fn api_url(&self, server: &str) -> Result<String> {
        Ok(format!("http://{}", self.plan.server(server)?.api()))
    }

    /// The API token that the log's node made on its first start.
    ///
    /// # Errors
    /// It has made none.
    pub fn token(&self) -> Result<String> {
        let path = self.state.data_dir(&self.topology.network.log).join("token");
        let token =
            std::fs::read_to_string(&path).doing(|| format!("reading the token {}", path.display()))?;
        Ok(token.trim().to_owned())
    }

    /// A command that will run on a host; PROXIMA_API and PROXIMA_TOKEN are set for it. `proxima` is the program that
    /// runs now, wherever it lies: root's PATH seldom has it.
    ///
    /// # Errors
    /// There is no such host.
    pub fn command(&self, host: &str, program: impl AsRef<OsStr>) -> Result<Command> {
        let host = self.plan.host(host)?;
        let mut command = Command::new(program_meant(program.as_ref())?);
        netns::enter(&mut command, &self.state.namespace(&host.name))?;
        if let Some(server) = self.nearest_server(host) {
            command.env("PROXIMA_API", format!("http://{}", server.api()));
        }
        if let Ok(token) = self.token() {
            command.env("PROXIMA_TOKEN", token);
        }
        Ok(command)
    }

    /// Runs `work` on a thread inside a host. Sockets that it makes belong to the host for good; a runtime that it
    /// starts has its threads there too.
    ///
    /// # Errors
    /// There is no such host, or `work` fails.
    pub fn within<T: Send>(&self, host: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        netns::within(&self.state.namespace(&self.plan.host(host)?.name), work)
    }

    /// The host itself if it is a server, else the first server of its region, else the log's.
    fn nearest_server(&self, host: &Host) -> Option<&Host> {
        let in_region = || self.plan.servers().find(|server| server.region == host.region);
        let itself = self.plan.server(&host.name).ok();
        itself.or_else(in_region).or_else(|| self.plan.server(&self.topology.network.log).ok())
    }
}

fn unexpected(answer: &Answer) -> LabError {
    LabError::Malformed { what: "the daemon's answer".to_owned(), why: format!("unexpected: {answer:?}") }
}

fn require_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() { Ok(()) } else { Err(LabError::NotRoot) }
}

/// The programs that a topology needs, and their packages.
fn programs(topology: &Topology) -> Vec<(&'static str, &'static str)> {
    let mut programs = PROGRAMS.to_vec();
    if !topology.zones.is_empty() {
        programs.extend(NAMES_PROGRAMS);
    }
    programs.extend(topology.name_servers.iter().map(|server| match server.software {
        Software::Knot => ("knotd", "knot"),
        Software::Nsd => ("nsd", "nsd"),
        Software::Bind => ("named", "bind9"),
    }));
    let resolvers = topology.clients.iter().filter_map(|client| client.resolver);
    programs.extend(resolvers.map(|Resolver::Unbound| ("unbound", "unbound")));
    programs
}

fn check_prerequisites(topology: &Topology) -> Result<()> {
    require_root()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    for (program, package) in programs(topology) {
        if !folders.iter().any(|folder| folder.join(program).is_file()) {
            return Err(LabError::ProgramMissing { program, package });
        }
    }
    Ok(())
}

fn this_program() -> Result<PathBuf> {
    std::env::current_exe().doing(|| "finding this executable".to_owned())
}

fn program_meant(given: &OsStr) -> Result<PathBuf> {
    if given == "proxima" { this_program() } else { Ok(given.into()) }
}

fn start_daemon(state: &LabState, options: &UpOptions, progress: &mut dyn FnMut(&str)) -> Result<()> {
    let absolute = |path: &Path| std::path::absolute(path).doing(|| format!("finding {}", path.display()));
    let daemon = options.daemon.clone().map_or_else(this_program, Ok)?;
    let proxima = absolute(&options.proxima.clone().map_or_else(this_program, Ok)?)?;
    let doing = || format!("starting the lab's daemon ({})", daemon.display());
    let log = std::fs::File::create(state.daemon_log()).doing(doing)?;
    let mut command = Command::new(&daemon);
    command.args(["lab", "daemon", "--name", state.name(), "--state-root"]).arg(&options.state_root);
    command.arg("--proxima").arg(proxima);
    if let Some(root) = &options.origin_root {
        command.arg("--origin-root").arg(absolute(root)?);
    }
    if let Some(workerd) = &options.workerd {
        command.arg("--workerd").arg(absolute(workerd)?);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    // SAFETY: setsid(2) is async-signal-safe. The daemon must not get the terminal's signals.
    unsafe {
        command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(std::io::Error::from));
    }
    let mut child = command.spawn().doing(doing)?;
    let Some(stdout) = child.stdout.take() else { return Err(LabError::Daemon("no stdout".to_owned())) };
    let mut lines = BufReader::new(stdout);
    let mut line = String::new();
    loop {
        line.clear();
        lines.by_ref().take(PROGRESS_LINE_BYTES_MAX).read_line(&mut line).doing(doing)?;
        if line.is_empty() {
            let _ = child.wait();
            return Err(LabError::Daemon(format!("the lab's daemon died:\n{}", tail(&state.daemon_log()))));
        }
        match parse(&line)? {
            Progress::Step(step) => progress(&step),
            Progress::Ready => return Ok(()),
            Progress::Error(error) => {
                let _ = child.wait();
                return Err(LabError::Daemon(error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_topology_with_name_servers_needs_their_programs() {
        let mut topology = Topology::default_three_continents();
        let needs =
            |topology: &Topology, wanted| programs(topology).iter().any(|(_, package)| *package == wanted);
        for package in ["knot", "nsd", "bind9", "bind9-utils", "unbound", "nginx-core"] {
            assert!(needs(&topology, package), "{package}");
        }
        topology.name_servers.clear();
        topology.zones.clear();
        topology.clients.iter_mut().for_each(|client| client.resolver = None);
        assert_eq!(programs(&topology), PROGRAMS);
    }

    #[test]
    fn proxima_on_a_host_is_this_program_and_any_other_is_what_it_is_called() {
        assert_eq!(program_meant(OsStr::new("proxima")).unwrap(), std::env::current_exe().unwrap());
        for other in ["curl", "./proxima", "/usr/bin/proxima"] {
            assert_eq!(program_meant(OsStr::new(other)).unwrap(), PathBuf::from(other));
        }
    }
}
