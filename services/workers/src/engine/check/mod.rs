//! A version is tried before it is kept: started in a process of its own, which is asked nothing and ends with that.
//!
//! ```text
//!  program ─▶ settings as of a version's own process (own/settings.rs), begun by check.js ─▶ a process, in its cage and group
//!                                                                                              │
//!      output: the dispatcher has begun ─▶ the Worker begins ─▶ what it is (check.js) ─▶ the process listens: it starts
//!      errors: why it does not                                       │
//!      looked at all the while: what it takes of a processor since the Worker began, and of memory
//! ```
//!
//! Nobody is at work in such a process, and the node answers it nothing (`answering.rs`). What the code says in our words it says of
//! itself: it can only have itself taken for one that starts.

mod said;

use std::{
    os::unix::{net::UnixListener, process::ExitStatusExt as _},
    process::ExitStatus,
    sync::{Arc, OnceLock, atomic::Ordering},
    time::Duration,
};

use nix::{libc::c_int, sys::signal::Signal};
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, ChildStderr, ChildStdout},
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use self::said::Said;
use super::{
    Engine,
    groups::Group,
    isolation::Start,
    own::{Files, OwnSettings},
    settings::DISPATCHER_SOURCE,
    shard::{Bound, Common, LISTENS},
    watch,
};

/// The module that such a process begins with, and what that tells the node with.
const CHECK: &str = include_str!("check.js");
const CHECK_NAME: &str = "proxima-check.js";
const TELLING: &str = include_str!("telling.js");
const TELLING_NAME: &str = "proxima-telling.js";
/// What the start of a Worker may take of a processor; what v4 has it take.
const CPU_MAX: Duration = Duration::from_secs(1);
/// How often it is looked at: a loop that takes memory takes some tens of megabytes meanwhile.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(10);
/// By when it listens, or has said why not: on a busy machine it waits for its turn.
const WITHIN: Duration = Duration::from_secs(10);
/// How long a process takes to end that has closed its output.
const ENDS_WITHIN: Duration = Duration::from_secs(2);
/// By how much it gives way to those that answer visitors (nice(2)): to a third of what they get of a processor.
const NICE: c_int = 5;
/// Octets of a line that are read at once.
const LINE_OCTETS_MAX: u64 = 64 << 10;
/// Octets of its errors that are kept: the last ones.
const ERRORS_OCTETS_MAX: usize = 64 << 10;
/// Letters of what a process says that is ours to look at.
const SAID_LETTERS_MAX: usize = 500;

/// In the words of v4.
const CPU_EXCEEDED: &str = "Script startup exceeded CPU time limit.";
const MEMORY_EXCEEDED: &str = "Script startup exceeded memory limit.";
const ENDED_IT: &str = "Script startup ended the process that it was run in.";

/// What is found out.
#[derive(Debug)]
pub(crate) enum Checked {
    Starts(Started),
    /// It does not start, for this reason.
    Fails(String),
    /// Nothing, for a reason that is not the Worker's.
    Unknown(String),
}

/// A Worker that has started.
#[derive(Debug, Default)]
pub(crate) struct Started {
    /// What that took of a processor.
    pub(crate) took: Duration,
    pub(crate) is: Is,
}

/// What it is, as it says.
#[derive(Debug, Deserialize)]
pub(crate) struct Is {
    /// Whether there is anything that it could be asked.
    pub(crate) handles: bool,
    /// The classes that it is to export, and does not.
    pub(crate) absent: Vec<String>,
}

impl Default for Is {
    fn default() -> Self {
        Self { handles: true, absent: Vec::new() }
    }
}

impl Engine {
    /// Starts a program, and ends it. To be waited for to its end: whoever goes away leaves the process to be ended by the kernel.
    pub(crate) async fn check(&self, program: Value) -> Checked {
        let unknown = |problem: String| Checked::Unknown(problem);
        let secret = format!("{:032x}", rand::random::<u128>());
        let number = self.common.started.fetch_add(1, Ordering::Relaxed);
        let files = Files::in_folder(&self.common, format!("check-{number}"));
        let known = secret.clone();
        let written = tokio::task::spawn_blocking(move || {
            let made = settings(&program, &known)?;
            // After its last statement the next one in the settings begins: the Worker.
            let dispatcher = format!("{DISPATCHER_SOURCE}\nconsole.log(\"{known}\");\n");
            files
                .write(made, &dispatcher)
                .map_err(|error| format!("its files cannot be written: {error}"))?;
            Ok::<_, String>(files)
        });
        let files = match written.await {
            Ok(Ok(written)) => written,
            Ok(Err(problem)) => return unknown(problem),
            Err(_) => return unknown("a defect of the node".to_owned()),
        };
        let trial = Trial::start(&self.common, number, &files.settings()).await;
        match trial {
            Ok(trial) => trial.end(&secret, files).await,
            Err(error) => unknown(format!("a process cannot be started: {error}")),
        }
    }
}

/// The settings of its process.
fn settings(program: &Value, secret: &str) -> Result<OwnSettings, String> {
    let made = || {
        let main = Value::from(OwnSettings::main(program)?).to_string();
        // The classes first: their names are letters and digits, and a module may be called whatever it likes.
        let check = CHECK.replace("CLASSES", &program["classes"].to_string()).replace("MAIN", &main);
        let telling = TELLING.replace("SECRET", secret);
        let modules = [(CHECK_NAME, check), (TELLING_NAME, telling)];
        OwnSettings::begun_by(&modules, program, secret)
    };
    made().map_err(|unfit| unfit.to_string())
}

/// A process that starts a Worker.
struct Trial {
    common: Arc<Common>,
    child: Child,
    errors: JoinHandle<Vec<u8>>,
    group: Option<Group>,
    _bound: Bound,
}

impl Trial {
    async fn start(common: &Arc<Common>, number: u64, settings: &str) -> std::io::Result<Self> {
        let name = format!("{number}.sock");
        // Nobody connects to it.
        let listener = UnixListener::bind(common.folder.socket(&name))?;
        let bound = Bound { common: Arc::clone(common), name };
        let group = common.group(number, false).await?;
        let path = group.as_ref().map(Group::path);
        let start = Start { settings, listener, nice: NICE, tells: true, keeps: None, group: path };
        let mut child = common.spawner.spawn(common.isolation.command(start)?).await?;
        let gone = || std::io::Error::other("it says nothing");
        let errors = tokio::spawn(last_of(child.stderr.take().ok_or_else(gone)?));
        Ok(Self { common: Arc::clone(common), child, errors, group, _bound: bound })
    }

    /// Waits until it has started or not, and ends it.
    async fn end(mut self, secret: &str, files: Files) -> Checked {
        let checked = self.watch(secret, files).await;
        self.child.start_kill().ok();
        if let Err(error) = self.child.wait().await {
            tracing::warn!(%error, "a process of the engine cannot be waited for");
        }
        let group = self.group.take();
        // The kernel may take its time.
        tokio::task::spawn_blocking(move || drop(group)).await.ok();
        checked
    }

    async fn watch(&mut self, secret: &str, files: Files) -> Checked {
        let Some((id, output)) = self.child.id().zip(self.child.stdout.take()) else {
            return Checked::Unknown("its process ended as it was started".to_owned());
        };
        let begun = OnceLock::new();
        let started = tokio::select! {
            started = starts(id, output, secret, &begun, files) => started,
            exceeded = exceeds(id, self.common.limits.memory, &begun) => return Checked::Fails(exceeded.to_owned()),
            () = self.common.ended.cancelled() => return Checked::Unknown("the node ends".to_owned()),
            () = sleep(WITHIN) => {
                return Checked::Unknown(format!("it has not started within {} s", WITHIN.as_secs()));
            }
        };
        match started {
            Some(started) => Checked::Starts(started),
            None => self.why(begun.get().is_some()).await,
        }
    }

    /// Why it has ended, whose output did; whether the Worker had `begun`.
    async fn why(&mut self, begun: bool) -> Checked {
        let status = timeout(ENDS_WITHIN, self.child.wait()).await.ok().and_then(Result::ok);
        if self.group.as_ref().is_some_and(Group::ran_out_of_memory) {
            return Checked::Fails(MEMORY_EXCEEDED.to_owned());
        }
        let errors =
            timeout(ENDS_WITHIN, &mut self.errors).await.ok().and_then(Result::ok).unwrap_or_default();
        let errors = String::from_utf8_lossy(&errors);
        match said::read(&errors) {
            Said::Why(why) => Checked::Fails(why),
            Said::OutOfMemory => Checked::Fails(MEMORY_EXCEEDED.to_owned()),
            // Operators end processes so, and kernels without memory.
            Said::Else
                if begun && status.and_then(|status| status.signal()) != Some(Signal::SIGKILL as i32) =>
            {
                tracing::warn!(?status, "a Worker that was tried ended its process");
                Checked::Fails(ENDED_IT.to_owned())
            }
            Said::Else => {
                Checked::Unknown(format!("its process ended ({}): {}", told(status), said_of(&errors)))
            }
        }
    }
}

/// Reads what the process says until it listens, or says no more. `begun`: what the process had taken when the Worker began. Its
/// `files`, with secrets among them, go as soon as it has read them.
async fn starts(
    id: u32,
    output: ChildStdout,
    secret: &str,
    begun: &OnceLock<Duration>,
    files: Files,
) -> Option<Started> {
    let (mut output, mut line) = (BufReader::new(output), Vec::new());
    let mut files = Some(files);
    let mut is = Is::default();
    loop {
        line.clear();
        let read = (&mut output).take(LINE_OCTETS_MAX).read_until(b'\n', &mut line).await;
        read.ok().filter(|octets| *octets > 0)?;
        if line.starts_with(LISTENS) {
            let ran = watch::ran(id)?;
            return Some(Started { took: ran.saturating_sub(*begun.get()?), is });
        }
        match line.strip_prefix(secret.as_bytes()) {
            Some(b"\n") => {
                drop(files.take());
                begun.set(watch::ran(id)?).ok().unwrap_or_default();
            }
            Some(told) => is = serde_json::from_slice(told).unwrap_or(is),
            // The code itself.
            None => {}
        }
    }
}

/// Looks at the process until it has taken too much.
async fn exceeds(id: u32, memory_max: u64, begun: &OnceLock<Duration>) -> &'static str {
    let mut due = interval(LOOKED_AT_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        if watch::memory(id).is_some_and(|memory| memory > memory_max) {
            return MEMORY_EXCEEDED;
        }
        let taken = begun.get().and_then(|begun| Some(watch::ran(id)?.saturating_sub(*begun)));
        if taken.is_some_and(|taken| taken > CPU_MAX) {
            return CPU_EXCEEDED;
        }
    }
}

/// The last of what comes, once nothing more does.
async fn last_of(mut stderr: ChildStderr) -> Vec<u8> {
    let (mut kept, mut read) = (Vec::new(), vec![0; 16 << 10]);
    while let Ok(octets @ 1..) = stderr.read(&mut read).await {
        kept.extend_from_slice(&read[..octets]);
        if kept.len() > 2 * ERRORS_OCTETS_MAX {
            kept.drain(..kept.len() - ERRORS_OCTETS_MAX);
        }
    }
    kept.drain(..kept.len().saturating_sub(ERRORS_OCTETS_MAX));
    kept
}

fn said_of(errors: &str) -> String {
    errors.trim().chars().take(SAID_LETTERS_MAX).collect()
}

fn told(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "it has not been seen".to_owned(), |status| status.to_string())
}
