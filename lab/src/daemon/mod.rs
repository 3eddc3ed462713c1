//! The daemon: one process that owns a lab's links and programs, and dies with them.
//!
//! ```text
//! lab up ──spawns──> daemon ── threads: one delay line per link
//!   ^  progress        │ ───── children: BIRD per router, nginx per origin, node per server, knot, nsd, bind, unbound
//!   └──────────────────┤
//! lab status, fault, down ──control.sock──> one request at a time
//! ```
//!
//! One request at a time is meant: a status never shows a fault half done.

mod inject;
mod names;
mod start;
mod survey;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use nix::fcntl::Flock;

use crate::control::{Answer, Progress, REQUEST_BYTES_MAX, Request, line, parse};
use crate::delay::line::DelayLine;
use crate::error::{Doing, Result};
use crate::plan::Plan;
use crate::process::Process;
use crate::state::LabState;
use crate::teardown;
use crate::topology::{LinkShape, Topology};

/// A client of the control socket sends its line at once.
const REQUEST_DEADLINE: Duration = Duration::from_secs(2);

/// What the daemon is told on its command line.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DaemonArgs {
    /// The lab's name.
    #[arg(long)]
    pub(crate) name: String,
    /// Folder of all labs' state.
    #[arg(long)]
    pub(crate) state_root: PathBuf,
    /// The program that is run as `PROGRAM node --config node.toml`.
    #[arg(long)]
    pub(crate) proxima: PathBuf,
    /// Folder that origins serve that have none of their own.
    #[arg(long)]
    pub(crate) origin_root: Option<PathBuf>,
    /// The program that runs Workers on servers.
    #[arg(long)]
    pub(crate) workerd: Option<PathBuf>,
}

struct Daemon {
    state: LabState,
    topology: Topology,
    plan: Plan,
    proxima: PathBuf,
    origin_root: Option<PathBuf>,
    workerd: Option<PathBuf>,
    /// By link name.
    lines: BTreeMap<String, DelayLine>,
    /// By link name: the shape in force, which faults change.
    shapes: BTreeMap<String, LinkShape>,
    /// Names of links that are cut.
    cut: BTreeSet<String>,
    /// Names of servers that are silenced.
    silenced: BTreeSet<String>,
    /// By host.
    routers: BTreeMap<String, Process>,
    /// By host.
    nodes: BTreeMap<String, Process>,
    /// By host.
    origins: BTreeMap<String, Process>,
    /// The lab's own domain name system, where the topology has one.
    names: Option<names::Names>,
    /// Held as long as the daemon lives.
    _lock: Flock<File>,
}

/// Runs the daemon until it is told to end. Progress goes to stdout, for `lab up`.
pub(crate) fn run(args: &DaemonArgs) -> Result<()> {
    match start(args) {
        Ok((mut daemon, listener)) => {
            if report(&Progress::Ready) {
                daemon.serve(&listener);
            }
            Ok(())
        }
        Err(error) => {
            report(&Progress::Error(error.to_string()));
            Err(error)
        }
    }
}

fn start(args: &DaemonArgs) -> Result<(Daemon, UnixListener)> {
    let state = LabState::new(&args.name, &args.state_root)?;
    let mut lock = teardown::lock(&state)?;
    lock.set_len(0)
        .and_then(|()| writeln!(lock, "{}", std::process::id()))
        .doing(|| "noting the pid".to_owned())?;
    let topology = Topology::read(&state.topology())?;
    let plan = Plan::new(&topology);
    let mut daemon = Daemon {
        state,
        topology,
        plan,
        proxima: args.proxima.clone(),
        origin_root: args.origin_root.clone(),
        workerd: args.workerd.clone(),
        lines: BTreeMap::new(),
        shapes: BTreeMap::new(),
        cut: BTreeSet::new(),
        silenced: BTreeSet::new(),
        routers: BTreeMap::new(),
        nodes: BTreeMap::new(),
        origins: BTreeMap::new(),
        names: None,
        _lock: lock,
    };
    daemon.bring_up()?;
    let path = daemon.state.control_socket();
    let listener = UnixListener::bind(&path).doing(|| format!("listening on {}", path.display()))?;
    Ok((daemon, listener))
}

/// Tells `lab up`; false when it is gone.
fn report(progress: &Progress) -> bool {
    let mut stdout = std::io::stdout();
    stdout.write_all(&line(progress)).and_then(|()| stdout.flush()).is_ok()
}

impl Daemon {
    fn serve(&mut self, listener: &UnixListener) {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let (answer, ends) = self.answer(&stream);
            let _ = stream.write_all(&line(&answer));
            if ends {
                return;
            }
        }
    }

    /// The answer, and whether the daemon ends with it.
    fn answer(&mut self, stream: &UnixStream) -> (Answer, bool) {
        let result = read_request(stream).and_then(|request| match request {
            Request::Status => Ok(Answer::Status(Box::new(self.survey()))),
            Request::Fault(fault) => self.inject(&fault).map(Answer::Fault),
            Request::Delegate(zone) => self.delegate(&zone).map(Answer::Delegated),
            Request::Down => {
                self.end_programs();
                Ok(Answer::Down)
            }
        });
        let answer = result.unwrap_or_else(|error| Answer::Error(error.to_string()));
        let ends = matches!(answer, Answer::Down);
        (answer, ends)
    }

    /// Kills everything that was started. Nodes first: what they would log about dying routers interests nobody.
    fn end_programs(&mut self) {
        for programs in [&mut self.nodes, &mut self.origins, &mut self.routers] {
            programs.clear();
        }
        self.names = None;
        self.lines.clear();
    }
}

fn read_request(stream: &UnixStream) -> Result<Request> {
    let doing = || "reading a request".to_owned();
    stream.set_read_timeout(Some(REQUEST_DEADLINE)).doing(doing)?;
    stream.set_write_timeout(Some(REQUEST_DEADLINE)).doing(doing)?;
    let mut request = String::new();
    BufReader::new(stream.take(REQUEST_BYTES_MAX)).read_line(&mut request).doing(doing)?;
    parse(&request)
}
