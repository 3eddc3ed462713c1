//! The programs that the daemon runs on hosts: BIRD, nodes, nginx. All die with the daemon.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, getppid};
use serde::{Deserialize, Serialize};

use crate::error::{Doing, LabError, Result};
use crate::netns;

/// What a node prints when it serves.
const READY_LINE: &[u8] = b"ready";
/// The longest line of a node's output that is looked at as one.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// How much of a log an error shows.
const TAIL_BYTES: u64 = 3000;
/// A killed process is gone within milliseconds, unless the kernel is stuck.
const DEATH_DEADLINE: Duration = Duration::from_secs(5);
/// How often something without a notification is looked at again.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// What to run.
pub(crate) struct Spec<'a> {
    pub(crate) host: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) program: &'a Path,
    pub(crate) args: Vec<String>,
    /// Receives stdout and stderr.
    pub(crate) log: PathBuf,
    /// Niceness; routers must send their BFD packets in time whatever else runs.
    pub(crate) nice: i32,
    /// What the process gets when the daemon dies.
    pub(crate) on_daemon_death: Signal,
}

/// How a process is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessState {
    /// It runs.
    Running,
    /// It was stopped by a signal.
    Stopped,
    /// It has ended.
    Dead,
}

/// A running program.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    host: String,
    program: String,
    log: PathBuf,
    ready: Receiver<()>,
}

impl Process {
    /// Starts a program. Must be called on the daemon's main thread: the kernel sends the signal of the parent's death
    /// when the *thread* that forked ends.
    pub(crate) fn spawn(spec: &Spec<'_>) -> Result<Self> {
        let doing = || format!("starting {} on {}", spec.program.display(), spec.host);
        let log = File::options().create(true).append(true).open(&spec.log).doing(doing)?;
        let mut command = Command::new(spec.program);
        command.args(&spec.args).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(log.try_clone().doing(doing)?);
        netns::enter(&mut command, spec.namespace)?;
        let (daemon, nice, signal) = (getpid(), spec.nice, spec.on_daemon_death);
        // SAFETY: only async-signal-safe system calls, on values moved into the closure.
        unsafe {
            command.pre_exec(move || {
                nix::sys::prctl::set_pdeathsig(signal)?;
                if getppid() != daemon {
                    // The daemon died before it could be told about.
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                // Not allowed in some containers: then the lab is only less exact under load.
                libc::setpriority(libc::PRIO_PROCESS, 0, nice);
                Ok(())
            });
        }
        let mut child = command.spawn().doing(doing)?;
        let (is_ready, ready) = channel();
        if let Some(stdout) = child.stdout.take() {
            let copy = move || copy_output(stdout, log, &is_ready);
            std::thread::Builder::new().name("output".to_owned()).spawn(copy).doing(doing)?;
        }
        let program =
            spec.program.file_name().unwrap_or(spec.program.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { child, host: spec.host.to_owned(), program, log: spec.log.clone(), ready })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn nix_pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a pid fits an i32"))
    }

    /// How it is now.
    pub(crate) fn state(&mut self) -> ProcessState {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return ProcessState::Dead;
        }
        match stat_letter(self.child.id()) {
            Some('T' | 't') => ProcessState::Stopped,
            Some('Z' | 'X') | None => ProcessState::Dead,
            Some(_) => ProcessState::Running,
        }
    }

    /// Sends a signal and waits until the process is as `wanted`; false if it is not so in time.
    pub(crate) fn signal(&mut self, signal: Signal, wanted: &ProcessState, deadline: Duration) -> bool {
        if self.state() != ProcessState::Dead {
            let _ = kill(self.nix_pid(), signal);
        }
        wait_until(deadline, || self.state() == *wanted)
    }

    /// SIGKILL, then waits for the end.
    pub(crate) fn kill(&mut self) -> bool {
        self.signal(Signal::SIGKILL, &ProcessState::Dead, DEATH_DEADLINE)
    }

    /// Waits for the line `ready`.
    pub(crate) fn wait_ready(&mut self, deadline: Instant) -> Result<()> {
        match self.ready.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(()) => Ok(()),
            Err(RecvTimeoutError::Timeout) => Err(self.not_ready("did not print `ready` in time")),
            Err(RecvTimeoutError::Disconnected) => {
                let ended = wait_until(DEATH_DEADLINE, || self.state() == ProcessState::Dead);
                let status = self.child.try_wait().ok().flatten().filter(|_| ended);
                let how = status.map_or("closed its output".to_owned(), |status| status.to_string());
                Err(self.not_ready(&format!("ended before it was ready ({how})")))
            }
        }
    }

    /// The error that this process did not come up, with the end of its log.
    pub(crate) fn not_ready(&self, what: &str) -> LabError {
        LabError::NotReady {
            host: self.host.clone(),
            program: self.program.clone(),
            what: what.to_owned(),
            log: self.log.clone(),
            tail: tail(&self.log),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Copies a program's output to its log until it ends, and tells of the line `ready`.
fn copy_output(stdout: ChildStdout, mut log: File, is_ready: &Sender<()>) {
    let mut lines = BufReader::new(stdout);
    let mut line = Vec::new();
    loop {
        line.clear();
        match lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        // A full disk must not stop the program: its output goes on being read.
        let _ = log.write_all(&line);
        if line.trim_ascii() == READY_LINE {
            let _ = is_ready.send(());
        }
    }
}

/// The state letter of /proc/PID/stat: it follows the command's name in parentheses.
fn stat_letter(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// The last lines of a log.
pub(crate) fn tail(path: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    };
    match read() {
        Ok(text) if text.is_empty() => "(empty)".to_owned(),
        Ok(text) => text,
        Err(error) => format!("({error})"),
    }
}

/// Looks again and again until `done` or the deadline.
pub(crate) fn wait_until(deadline: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}
