//! Programs that a benchmark starts, pins to a core, measures and ends.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike as _;
use nix::unistd::Pid;

/// Where what is measured runs, alone.
pub(crate) const SUBJECT_CORE: usize = 0;
/// Where the load runs, and all else.
pub(crate) const LOAD_CORE: usize = 1;
/// Starting takes well under a second, except varnish, which compiles its configuration with a C compiler.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks at something that cannot be waited for.
const POLL: Duration = Duration::from_millis(20);
/// `USER_HZ`, in which the kernel counts processor time for user space: 100 on all that Linux runs on today.
const TICKS_PER_SECOND: f64 = 100.0;

/// A program and all that it started; ended when dropped.
pub(crate) struct Server {
    child: Child,
    what: &'static str,
}

impl Server {
    /// Starts `command` on one core; its output goes to `log`.
    pub(crate) fn start(what: &'static str, core: usize, command: &Command, log: &Path) -> Result<Self> {
        let log = fs::File::create(log).with_context(|| format!("making {}", log.display()))?;
        // Should we be killed, it is told to end too.
        let pinned = pinned(core, command);
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM"])
            .arg(pinned.get_program())
            .args(pinned.get_args())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {what}"))?;
        Ok(Self { child, what })
    }

    /// Waits until it takes connections at `address`.
    pub(crate) fn wait_until_listening(&mut self, address: SocketAddr) -> Result<()> {
        let what = self.what;
        self.wait_until(&format!("{what} listens at {address}"), || TcpStream::connect(address).is_ok())
    }

    /// Polls `done` until it is true; fails when the program has ended, or after [`START_TIMEOUT`].
    pub(crate) fn wait_until(&mut self, hope: &str, done: impl FnMut() -> bool) -> Result<()> {
        self.wait_within(START_TIMEOUT, hope, done)
    }

    /// The same, for what may take longer or shorter.
    pub(crate) fn wait_within(
        &mut self,
        timeout: Duration,
        hope: &str,
        mut done: impl FnMut() -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + timeout;
        while !done() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}) before {hope}", self.what);
            }
            if Instant::now() > deadline {
                bail!("waited {timeout:?} in vain until {hope}");
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Processor time that it and its children have used so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let mut ticks = 0;
        for pid in tree(self.child.id())? {
            // A process may end between the look at the tree and this one.
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            ticks +=
                parse_ticks(&stat).with_context(|| format!("reading the processor time of {}", self.what))?;
        }
        Ok(Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND))
    }

    /// Memory that it and its children hold, in MiB; `field` is one of `/proc/PID/status`: `VmRSS`, `RssAnon`.
    pub(crate) fn memory_mib(&self, field: &str) -> Result<f64> {
        self.sum_mib("status", field)
    }

    /// Memory that it and its children hold together, in MiB, where a page that several of them share counts once; `field`
    /// is one of `/proc/PID/smaps_rollup`: `Pss_Anon`, `Pss_File`.
    pub(crate) fn shared_mib(&self, field: &str) -> Result<f64> {
        self.sum_mib("smaps_rollup", field)
    }

    /// How many of them run the program of this name, and the memory that those hold together, in MiB; `field` is one of
    /// `/proc/PID/smaps_rollup`.
    pub(crate) fn of_program(&self, name: &str, field: &str) -> Result<(usize, f64)> {
        let (mut processes, mut kib) = (0, 0);
        for pid in tree(self.child.id())? {
            let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
            if read("comm").is_ok_and(|comm| comm.trim_end() == name) {
                processes += 1;
                kib += parse_kib(&read("smaps_rollup").unwrap_or_default(), field).unwrap_or(0);
            }
        }
        Ok((processes, kib as f64 / 1024.0))
    }

    /// A field of a file in `/proc/PID`, of all of them together.
    fn sum_mib(&self, file: &str, field: &str) -> Result<f64> {
        let mut kib = 0;
        for pid in tree(self.child.id())? {
            let Ok(text) = fs::read_to_string(format!("/proc/{pid}/{file}")) else { continue };
            kib += parse_kib(&text, field).unwrap_or(0);
        }
        Ok(kib as f64 / 1024.0)
    }
}

/// Processor time of all programs that this process has waited for until they ended: loads, and what looks whether servers serve.
pub(crate) fn waited_for_cpu() -> Result<Duration> {
    let used = getrusage(UsageWho::RUSAGE_CHILDREN).context("asking for the time of children")?;
    let time = used.user_time() + used.system_time();
    Ok(Duration::from_micros(time.num_microseconds().unsigned_abs()))
}

/// Memory that this process itself holds, in MiB; `field` as for [`Server::memory_mib`].
pub(crate) fn own_memory_mib(field: &str) -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let kib = parse_kib(&status, field).with_context(|| format!("/proc/self/status has no {field}"))?;
    Ok(kib as f64 / 1024.0)
}

impl Drop for Server {
    fn drop(&mut self) {
        // Stopped first, so that it cannot replace the children that are killed.
        let root = self.child.id();
        send(Signal::SIGSTOP, root);
        for pid in tree(root).unwrap_or_else(|_| vec![root]).into_iter().rev() {
            send(Signal::SIGKILL, pid);
        }
        let _ = self.child.wait();
    }
}

/// Whether it arrived does not matter: a process that is gone already is what we want.
fn send(signal: Signal, pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// `command`, to be run on one core alone.
pub(crate) fn pinned(core: usize, command: &Command) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["--cpu-list", &core.to_string()]).arg(command.get_program()).args(command.get_args());
    pinned
}

/// What `command` printed, run on one core; its failure is an error with what it said.
pub(crate) fn output(core: usize, command: &Command) -> Result<String> {
    let what = command.get_program().to_string_lossy().into_owned();
    let output =
        pinned(core, command).stdin(Stdio::null()).output().with_context(|| format!("starting {what}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{what} failed ({}): {}{text}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}

/// The same with what it printed in a file, which may be much.
pub(crate) fn output_to(core: usize, command: &Command, file: &Path) -> Result<()> {
    let what = command.get_program().to_string_lossy().into_owned();
    let printed = fs::File::create(file).with_context(|| format!("making {}", file.display()))?;
    let status = pinned(core, command).stdin(Stdio::null()).stdout(printed).status();
    let status = status.with_context(|| format!("starting {what}"))?;
    if !status.success() {
        bail!("{what} failed ({status})");
    }
    Ok(())
}

/// Writes a file.
pub(crate) fn write(file: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}

/// A loopback address that nobody listens at now.
pub(crate) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("asking for a free port")?;
    Ok(listener.local_addr()?)
}

/// A process and its descendants, parents before children.
fn tree(root: u32) -> Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").context("reading /proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if let Some(parent) = field(&stat, 1).and_then(|parent| parent.parse::<u32>().ok()) {
            parents.push((pid, parent));
        }
    }
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(&parent) = tree.get(next) {
        tree.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    Ok(tree)
}

/// A field of `/proc/PID/stat`, counted from the state, which follows the name in parentheses (proc(5)).
fn field(stat: &str, index: usize) -> Option<&str> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(index)
}

/// utime + stime.
fn parse_ticks(stat: &str) -> Option<u64> {
    Some(field(stat, 11)?.parse::<u64>().ok()? + field(stat, 12)?.parse::<u64>().ok()?)
}

fn parse_kib(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_a_name_with_blanks_and_parentheses() {
        let stat = "42 (a (b) c) S 7 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0";
        assert_eq!(field(stat, 1), Some("7"));
        assert_eq!(parse_ticks(stat), Some(200));
    }

    #[test]
    fn memory_is_read_by_its_field() {
        assert_eq!(parse_kib("Name:\tx\nVmRSS:\t   2048 kB\nRssAnon:\t 512 kB\n", "RssAnon"), Some(512));
        assert_eq!(parse_kib("Name:\tx\n", "VmRSS"), None);
    }

    #[test]
    fn a_process_tree_begins_with_its_root() {
        let own = std::process::id();
        assert_eq!(tree(own).unwrap()[0], own);
    }

    #[test]
    fn a_dropped_server_is_gone_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", "tail -f /dev/null & wait"]);
        let mut server = Server::start("a shell", 0, &shell, &folder.path().join("log")).unwrap();
        let root = server.child.id();
        server.wait_until("it has a child", || tree(root).unwrap().len() == 2).unwrap();
        let pids = tree(root).unwrap();
        drop(server);
        // The kernel ends them in its own time.
        let deadline = Instant::now() + START_TIMEOUT;
        for pid in pids {
            let gone = || match fs::read_to_string(format!("/proc/{pid}/stat")) {
                Ok(stat) => field(&stat, 0) == Some("Z"),
                Err(_) => true,
            };
            while !gone() {
                assert!(Instant::now() < deadline, "process {pid} is alive");
                thread::yield_now();
            }
        }
    }
}
