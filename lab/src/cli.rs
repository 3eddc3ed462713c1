//! `proxima lab …`: the command line over the typed interface.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::client::{Lab, UpOptions};
use crate::daemon::{self, DaemonArgs};
use crate::error::Result;
use crate::fault::Fault;
use crate::state::{self, DEFAULT_NAME, STATE_ROOT};

/// An internet on one machine.
#[derive(Debug, clap::Args)]
pub struct LabArgs {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The lab's name; labs of different names live side by side. Unless given: `default`, or the only one that runs.
    #[arg(long, global = true)]
    name: Option<String>,
    /// Folder of all labs' state.
    #[arg(long, global = true, default_value = STATE_ROOT)]
    state_root: PathBuf,
}

impl Which {
    /// The lab that runs.
    fn attach(&self) -> Result<Lab> {
        let name = state::meant(self.name.as_deref(), &state::running(&self.state_root))?;
        Lab::attach(&name, &self.state_root)
    }

    /// The name of a lab that is made or removed: only what is named, never the one that happens to run.
    fn exact_name(&self) -> &str {
        self.name.as_deref().unwrap_or(DEFAULT_NAME)
    }
}

#[derive(Debug, clap::Subcommand)]
enum LabCommand {
    /// Bring a lab up: networks, routers, origins, name servers of other brands, and a node on every server.
    Up {
        /// The topology file; without one, three PoPs on three continents.
        topology: Option<PathBuf>,
        /// The program that servers run (default: this one).
        #[arg(long)]
        proxima: Option<PathBuf>,
        /// Folder that origins serve that name none in the topology.
        #[arg(long)]
        origin_root: Option<PathBuf>,
        /// The program that runs Workers on servers; looked for in PATH unless told otherwise.
        #[arg(long, env = "PROXIMA_WORKERD", value_name = "FILE")]
        workerd: Option<PathBuf>,
        #[command(flatten)]
        which: Which,
    },
    /// Who announces what, which client lands where, round trips.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Run a command on a host.
    Exec {
        #[command(flatten)]
        which: Which,
        /// The host: a client, origin, name server, server or router.
        host: String,
        /// The command and its arguments, after `--`.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Delegate a zone on Proxima in the lab's own domain name system, with the DS records that the zone asks for (CDS).
    ///
    /// From then on the clients' resolvers find it from the root: `proxima lab exec paris -- dig @127.0.0.1 NAME`. Do it
    /// again when the zone was signed, or is not any more.
    Delegate {
        /// The zone, like example.com.
        zone: String,
        #[command(flatten)]
        which: Which,
    },
    /// How long each client waits for Proxima's answer over DNS, beside the round trip to where it lands.
    AnswerTimes {
        /// A name in a zone on Proxima.
        host_name: String,
        /// Questions of each client.
        #[arg(long, default_value_t = 100)]
        count: u16,
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Break something, or mend it.
    Fault {
        #[command(subcommand)]
        fault: Fault,
        #[command(flatten)]
        which: Which,
    },
    /// Remove all of a lab, also after a crash.
    Down {
        #[command(flatten)]
        which: Which,
    },
    /// The process that owns a lab; `up` starts it.
    #[command(hide = true)]
    Daemon(DaemonArgs),
}

/// Runs a command of the lab. Blocking.
///
/// # Errors
/// Whatever went wrong, for people to read.
pub fn run(args: LabArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        LabCommand::Up { topology, proxima, origin_root, workerd, which } => {
            let name = which.exact_name().to_owned();
            let state_root = which.state_root;
            let options =
                UpOptions { name, state_root, proxima, origin_root, workerd, ..UpOptions::default() };
            up(topology, options)
        }
        LabCommand::Status { json, which } => {
            let status = which.attach()?.status()?;
            if json {
                println!("{}", serde_json::to_string_pretty(&status)?);
            } else {
                print!("{status}");
            }
            Ok(ExitCode::SUCCESS)
        }
        LabCommand::Exec { which, host, command } => {
            let lab = which.attach()?;
            let (program, arguments) = command.split_first().context("give a command after `--`")?;
            let error = lab.command(&host, program)?.args(arguments).exec();
            Err(error).with_context(|| format!("running {} on {host}", program.display()))
        }
        LabCommand::Fault { fault, which } => {
            let report = which.attach()?.fault(&fault)?;
            println!("{}: {} ({:.0} ms)", report.fault, report.effect, report.took_ms);
            Ok(ExitCode::SUCCESS)
        }
        LabCommand::Delegate { zone, which } => {
            println!("{}", which.attach()?.delegate(&zone)?);
            Ok(ExitCode::SUCCESS)
        }
        LabCommand::AnswerTimes { host_name, count, json, which } => {
            let times = which.attach()?.answer_times(&host_name, count)?;
            if json {
                println!("{}", serde_json::to_string_pretty(&times)?);
            } else {
                times.iter().for_each(|times| println!("{times}"));
            }
            Ok(ExitCode::SUCCESS)
        }
        LabCommand::Down { which } => {
            Lab::remove(which.exact_name(), &which.state_root)?;
            println!("lab {}: nothing is left", which.exact_name());
            Ok(ExitCode::SUCCESS)
        }
        LabCommand::Daemon(args) => {
            daemon::run(&args)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn up(topology: Option<PathBuf>, mut options: UpOptions) -> anyhow::Result<ExitCode> {
    if let Some(path) = topology {
        let text = crate::topology::read_text(&path)?;
        options.topology = (path.display().to_string(), text);
    }
    let begin = std::time::Instant::now();
    let lab = Lab::up(&options, &mut |step| println!("{:>5.1} s  {step}", begin.elapsed().as_secs_f64()))?;
    println!("{:>5.1} s  lab {} is up\n", begin.elapsed().as_secs_f64(), options.name);
    print!("{}", lab.status()?);
    Ok(ExitCode::SUCCESS)
}
