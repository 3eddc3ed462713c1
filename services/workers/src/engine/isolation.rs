//! What stands around the processes of this node, and the command that starts one in it.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::Path,
    process::Stdio,
    time::Duration,
};

use nix::libc::c_int;
use tokio::process::Command;

use super::{folder::Folder, spawner::Spawner};
use crate::{
    WorkersConfig, WorkersError,
    cage::{Keeps, Launcher, Needs, Plan, Walls},
    config::IsolationLevel,
};

/// How long a trial may take: it does what each start does.
const TRIED_WITHIN: Duration = Duration::from_secs(20);
/// Letters of what a launcher says that is kept.
const SAID_LETTERS_MAX: usize = 500;

/// See the module.
#[derive(Debug)]
pub(crate) struct Isolation {
    launcher: Launcher,
    /// Of every process.
    plan: Plan,
}

/// A process that is to be started.
pub(crate) struct Start<'a> {
    /// What its settings are called, in the folder of the run.
    pub(crate) settings: &'a str,
    /// Where it listens.
    pub(crate) listener: UnixListener,
    /// By how much it gives way to all others (nice(2)).
    pub(crate) nice: c_int,
    /// Whether it says on its output when it listens.
    pub(crate) tells: bool,
    /// What it keeps on the disk.
    pub(crate) keeps: Option<Keeps>,
    /// The control group that bounds it.
    pub(crate) group: Option<&'a Path>,
}

impl Isolation {
    /// What `config` wants, as far as it may be had: found out by doing it. Says in the log what is in force.
    pub(crate) async fn find(
        launcher: Launcher,
        program: &Path,
        folder: &Folder,
        spawner: &Spawner,
        config: &WorkersConfig,
    ) -> Result<Self, WorkersError> {
        let refused = |problem: String| WorkersError::Isolation { program: program.to_owned(), problem };
        let program = &std::path::absolute(program).map_err(|error| refused(error.to_string()))?;
        let plan = Plan {
            parent: std::process::id(),
            program: program.to_owned(),
            arguments: Vec::new(),
            folder: folder.cage(),
            nice: 0,
            trial: false,
            filter: false,
            walls: None,
            keeps: None,
            group: None,
        };
        let mut isolation = Self { launcher, plan };
        if config.isolation == IsolationLevel::None {
            tracing::warn!("Workers run without isolation: code that breaks out of V8 is the node");
            return Ok(isolation);
        }
        let owned = program.to_owned();
        let needs = tokio::task::spawn_blocking(move || Needs::of(&owned)).await;
        let needs = needs.map_err(io::Error::other).flatten().map_err(|error| refused(error.to_string()))?;
        let user = nix::unistd::geteuid().is_root().then_some(config.user);
        let walls = Walls { root: folder.root(), needs, user };
        (isolation.plan.walls, isolation.plan.filter) = (Some(walls), true);
        let Err(problem) = isolation.attempt(spawner, None).await else {
            let of_user = if user.is_some() { "" } else { "user, " };
            let namespaces = format!("{of_user}mount, network, IPC, UTS, cgroup");
            tracing::info!(namespaces, user, files = "its own", filter = "seccomp", "Workers are isolated");
            return Ok(isolation);
        };
        if config.isolation == IsolationLevel::Full {
            return Err(refused(problem));
        }
        isolation.plan.walls = None;
        isolation.plan.filter = isolation.attempt(spawner, None).await.is_ok();
        tracing::warn!(problem, filter = isolation.plan.filter, "Workers are not isolated as they should be");
        Ok(isolation)
    }

    pub(crate) fn has_walls(&self) -> bool {
        self.plan.walls.is_some()
    }

    pub(crate) fn has_filter(&self) -> bool {
        self.plan.filter
    }

    /// Who processes are, if not who the node is.
    pub(crate) fn user(&self) -> Option<u32> {
        self.plan.walls.as_ref().and_then(|walls| walls.user)
    }

    /// The command that starts a process, which dies with the thread that starts it.
    pub(crate) fn command(&self, start: Start<'_>) -> io::Result<Command> {
        let Start { settings, listener, nice, tells, keeps, group } = start;
        // Its standard input is the listener.
        let mut arguments =
            ["serve", "--experimental", settings, "--socket-fd=http=0"].map(str::to_owned).to_vec();
        if tells {
            arguments.push("--control-fd=1".to_owned());
        }
        let group = group.map(Path::to_owned);
        let mut command = self.launch(&Plan { arguments, nice, keeps, group, ..self.plan.clone() })?;
        command.stdin(OwnedFd::from(listener));
        if tells {
            command.stdout(Stdio::piped());
        }
        Ok(command)
    }

    fn launch(&self, plan: &Plan) -> io::Result<Command> {
        let mut command = Command::new(&self.launcher.program);
        command
            .args(&self.launcher.arguments)
            // Paths must be UTF-8.
            .arg(serde_json::to_string(plan)?)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A key pressed in the node's terminal is the node's to answer.
            .process_group(0)
            .kill_on_drop(true);
        Ok(command)
    }

    /// Does what a start does, up to the program itself, in this control group.
    pub(crate) async fn attempt(&self, spawner: &Spawner, group: Option<&Path>) -> Result<(), String> {
        let run = async {
            let group = group.map(Path::to_owned);
            let command = self.launch(&Plan { trial: true, group, ..self.plan.clone() })?;
            spawner.spawn(command).await?.wait_with_output().await
        };
        let output = match tokio::time::timeout(TRIED_WITHIN, run).await {
            Ok(output) => output.map_err(|error| format!("{}: {error}", self.launcher.program.display()))?,
            Err(_) => return Err(format!("no answer within {} s", TRIED_WITHIN.as_secs())),
        };
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said: String = said.trim().chars().take(SAID_LETTERS_MAX).collect();
        Err(if said.is_empty() { output.status.to_string() } else { said })
    }
}
