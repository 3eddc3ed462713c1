//! What the kernel itself bounds: a control group (cgroups(7), version 2) for each process.
//!
//! ```text
//!  base                      the operator's: `[workers] cgroup`, or what systemd has delegated
//!    node/                   the node itself, if it was in `base`: processes are only in leaves
//!    workers-PID/            of one run of the node
//!      0/ 1/ …               of one process each: memory.max, pids.max, cpu.weight
//! ```
//!
//! The watch ([`watch`](super::watch)) looks twenty times a second, and tells whose fault it was; the group holds what happens in
//! between, and what the watch does not see: threads, and who gets the processor. Where there is none, the watch alone does its
//! part, as before.
//!
//! A process enters its group by itself, before it has anything: all that the engine takes is counted there.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::libc;

use super::{isolation::Isolation, spawner::Spawner};
use crate::{WorkersConfig, WorkersError, config::IsolationLevel};

/// What a run's group is called; the node's process id follows.
const PREFIX: &str = "workers-";
/// The group of the node itself: as systemd calls it by `DelegateSubgroup=node`.
const NODE: &str = "node";
/// How long what was killed with a former node's group may take to be gone, and how often that is looked at: by a thread that may wait.
const EMPTIED_WITHIN: Duration = Duration::from_secs(2);
const EMPTIED_EVERY: Duration = Duration::from_millis(10);
/// The group that is made to find out whether one can be: processes are numbered.
const TRIAL: &str = "trial";
/// Octets beyond what the watch ends a process for, from which on the kernel slows it down: so that the watch has the time to see
/// who it was. Its own measure has less in it: no page tables, no sockets.
const SLOWED_BEYOND: u64 = 64 << 20;
/// And from which on the kernel ends it.
const ENDED_BEYOND: u64 = 192 << 20;
/// Threads of a process: the engine has two, and some for each processor.
const THREADS_MAX: u32 = 256;
/// The share of the processor of who was convicted, beside 100 of each other one.
const OFFENDER_WEIGHT: u32 = 10;
/// What is asked of the kernel, in its words.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// What is bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Controllers {
    pub(crate) memory: bool,
    pub(crate) pids: bool,
    pub(crate) cpu: bool,
}

/// The group of a run.
#[derive(Debug)]
pub(crate) struct Groups {
    path: PathBuf,
    controllers: Controllers,
}

/// The group of a process; gone when it is dropped, which must be after the process is.
#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
}

impl Groups {
    /// Those of this run, tried by a start; `None` where there are none. Says in the log what is in force.
    ///
    /// # Errors
    /// The group that is configured cannot be used.
    pub(crate) async fn find(
        config: &WorkersConfig,
        isolation: &Isolation,
        spawner: &Spawner,
    ) -> Result<Option<Self>, WorkersError> {
        let named = config.cgroup.clone();
        let problem = match Self::attempt(named.clone(), config.memory_bytes_max, isolation, spawner).await {
            Ok(groups) => {
                groups.tell();
                return Ok(Some(groups));
            }
            Err(problem) => problem.to_string(),
        };
        if let Some(path) = named {
            return Err(WorkersError::Group { path, problem });
        }
        // Who asked for whatever there is needs no warning.
        if config.isolation == IsolationLevel::Full {
            tracing::warn!(
                problem,
                "no control groups: what Workers take is watched, and not bounded by the kernel"
            );
        } else {
            tracing::info!(
                problem,
                "no control groups: what Workers take is watched, and not bounded by the kernel"
            );
        }
        Ok(None)
    }

    /// What is bounded by them.
    pub(crate) const fn controllers(&self) -> Controllers {
        self.controllers
    }

    /// A group for the process of this number, whose memory the watch bounds by `memory`. To be called by a thread that may wait.
    pub(crate) fn group(&self, number: u64, memory: u64, is_offender: bool) -> io::Result<Group> {
        self.named(&number.to_string(), memory, is_offender)
    }

    async fn attempt(
        base: Option<PathBuf>,
        memory: u64,
        isolation: &Isolation,
        spawner: &Spawner,
    ) -> io::Result<Self> {
        let made = tokio::task::spawn_blocking(move || {
            let groups = Self::below(&base.map_or_else(find_delegated, Ok)?)?;
            let trial = groups.named(TRIAL, memory, true)?;
            Ok::<_, io::Error>((groups, trial))
        });
        let (groups, trial) = made.await.map_err(io::Error::other)??;
        isolation.attempt(spawner, Some(trial.path())).await.map_err(io::Error::other)?;
        Ok(groups)
    }

    /// Makes it below `base`, and removes those of nodes that are gone.
    fn below(base: &Path) -> io::Result<Self> {
        let base = base.canonicalize().map_err(|error| doing("looking at", base, &error))?;
        let known = read(&base.join("cgroup.controllers"))?;
        let has = |name| known.split_whitespace().any(|known| known == name);
        let controllers = Controllers { memory: has("memory"), pids: has("pids"), cpu: has("cpu") };
        clear(&base)?;
        move_node(&base)?;
        let path = base.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&path).map_err(|error| doing("making", &path, &error))?;
        let groups = Self { path, controllers };
        let on = controllers.switched_on();
        if !on.is_empty() {
            write(&base.join("cgroup.subtree_control"), &on)?;
            write(&groups.path.join("cgroup.subtree_control"), &on)?;
        }
        Ok(groups)
    }

    fn named(&self, name: &str, memory: u64, is_offender: bool) -> io::Result<Group> {
        let group = Group { path: self.path.join(name) };
        fs::create_dir(&group.path).map_err(|error| doing("making", &group.path, &error))?;
        let write = |file: &str, value: String| write(&group.path.join(file), &value);
        if self.controllers.memory {
            write("memory.high", (memory + SLOWED_BEYOND).to_string())?;
            write("memory.max", (memory + ENDED_BEYOND).to_string())?;
            write("memory.oom.group", "1".to_owned())?;
            // Not there on machines that never swap.
            if group.path.join("memory.swap.max").exists() {
                write("memory.swap.max", "0".to_owned())?;
            }
        }
        if self.controllers.pids {
            write("pids.max", THREADS_MAX.to_string())?;
        }
        if self.controllers.cpu && is_offender {
            write("cpu.weight", OFFENDER_WEIGHT.to_string())?;
        }
        Ok(group)
    }

    fn tell(&self) {
        let (group, Controllers { memory, pids, cpu }) = (self.path.display(), self.controllers);
        if memory && pids && cpu {
            tracing::info!(%group, "the kernel bounds what each process of Workers takes");
        } else {
            tracing::warn!(
                %group, memory, pids, cpu,
                "the kernel does not bound all that a process of Workers takes: these controllers are there, or not"
            );
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        remove(&self.path, Duration::ZERO);
    }
}

impl Controllers {
    /// What a group is told that its children are to have.
    fn switched_on(self) -> String {
        let are = [self.memory, self.pids, self.cpu];
        let on = CONTROLLERS.iter().zip(are).filter(|(_, is)| *is).map(|(name, _)| format!("+{name}"));
        on.collect::<Vec<_>>().join(" ")
    }
}

impl Group {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the kernel ended something in it because it had reached its own bound of memory. What was ended because the machine had
    /// no more, or a group above, counts as killed here, and its bound as reached there.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        let has = |name: &str| {
            let count = events.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            count.and_then(|count| count.parse::<u64>().ok()).is_some_and(|count| count > 0)
        };
        has("oom") && has("oom_kill")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        remove(&self.path, Duration::ZERO);
    }
}

/// Removes a group, with the kernel's files in it, as soon as what is left in it has ended. One that stays costs some memory, and goes
/// when a node starts.
fn remove(path: &Path, within: Duration) {
    let by = Instant::now() + within;
    while let Err(error) = fs::remove_dir(path) {
        if error.kind() != io::ErrorKind::ResourceBusy || Instant::now() >= by {
            tracing::debug!(path = %path.display(), %error, "a control group of the engine cannot be removed");
            return;
        }
        thread::sleep(EMPTIED_EVERY);
    }
}

/// Removes groups of nodes that are gone, and ends what is left in them.
fn clear(base: &Path) -> io::Result<()> {
    let own = std::process::id().to_string();
    let by = Instant::now() + EMPTIED_WITHIN;
    let left = || by.saturating_duration_since(Instant::now());
    for entry in fs::read_dir(base).map_err(|error| doing("looking into", base, &error))? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(node) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        // Whoever had this process's id before is gone, too.
        if node == own || !Path::new("/proc").join(node).exists() {
            // Not there before Linux 5.14; processes die with their node anyway.
            fs::write(entry.path().join("cgroup.kill"), "1").ok();
            for group in fs::read_dir(entry.path())?.flatten().filter(|group| group.path().is_dir()) {
                remove(&group.path(), left());
            }
            remove(&entry.path(), left());
        }
    }
    Ok(())
}

/// Moves the node, with what it has started, into a group of its own, if it is in `base`: a group that divides memory among others
/// has no processes itself. If it is not, what is there is not the node's, and stays.
fn move_node(base: &Path) -> io::Result<()> {
    // The root of the hierarchy has no such file, and may have processes.
    if !base.join("cgroup.type").exists() {
        return Ok(());
    }
    let processes = read(&base.join("cgroup.procs"))?;
    let own = std::process::id().to_string();
    if !processes.lines().any(|process| process == own) {
        return Ok(());
    }
    let node = base.join(NODE);
    fs::create_dir_all(&node).map_err(|error| doing("making", &node, &error))?;
    for process in processes.lines() {
        match fs::write(node.join("cgroup.procs"), process) {
            // It has ended meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            moved => moved.map_err(|error| doing("moving the node into", &node, &error))?,
        }
    }
    Ok(())
}

fn find_delegated() -> io::Result<PathBuf> {
    let (mounts, own) = (read(Path::new("/proc/self/mountinfo"))?, read(Path::new("/proc/self/cgroup"))?);
    delegated(&mounts, &own).ok_or_else(|| {
        io::Error::other("none was delegated to the node (Delegate=, DelegateSubgroup=node), and [workers] cgroup names none")
    })
}

/// What systemd has delegated to the node, which is in a group of its own below: the group above that.
fn delegated(mounts: &str, own: &str) -> Option<PathBuf> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?.strip_suffix(&format!("/{NODE}"))?;
    let root = mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ").then(|| mount.split(' ').nth(4)).flatten()
    })?;
    Some(Path::new(root).join(own))
}

fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map_err(|error| doing("reading", path, &error))
}

fn write(path: &Path, value: &str) -> io::Result<()> {
    fs::write(path, value).map_err(|error| doing(&format!("writing {value} to"), path, &error))
}

fn doing(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Controllers = Controllers { memory: true, pids: true, cpu: true };

    /// A folder that has a group's files, as far as they are read; the kernel makes and removes them with the folder.
    fn base(controllers: &str, processes: &str) -> tempfile::TempDir {
        let base = tempfile::tempdir().expect("a folder");
        for (file, text) in
            [("cgroup.controllers", controllers), ("cgroup.procs", processes), ("cgroup.type", "domain\n")]
        {
            fs::write(base.path().join(file), text).expect("a file");
        }
        base
    }

    fn told(path: &Path, file: &str) -> Option<String> {
        fs::read_to_string(path.join(file)).ok()
    }

    #[test]
    fn what_systemd_delegates_is_above_the_group_of_the_node() {
        let mounts = "24 1 0:22 / /sys rw - sysfs sysfs rw\n\
                      29 24 0:25 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                      30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = |own| delegated(mounts, own);
        let expected = Some(PathBuf::from("/sys/fs/cgroup/system.slice/proxima.service"));
        assert_eq!(found("4:memory:/x\n0::/system.slice/proxima.service/node\n"), expected);
        assert_eq!(found("0::/system.slice/proxima.service\n"), None, "it may be the whole session's");
        assert_eq!(found("0::/\n"), None);
        assert_eq!(found("4:memory:/a/node\n"), None, "of version 1");
        assert_eq!(delegated("", "0::/a/node\n"), None);
    }

    #[test]
    fn a_process_is_bounded_by_what_the_kernel_can_bound() {
        let base = base("cpuset cpu io memory pids\n", "");
        let groups = Groups::below(base.path()).expect("groups");
        assert_eq!(groups.controllers(), ALL);
        for path in [base.path(), &groups.path] {
            assert_eq!(told(path, "cgroup.subtree_control").as_deref(), Some("+memory +pids +cpu"));
        }
        let group = groups.group(7, 1 << 30, true).expect("a group");
        for (file, value) in [
            ("memory.high", "1140850688"),
            ("memory.max", "1275068416"),
            ("memory.oom.group", "1"),
            ("pids.max", "256"),
            ("cpu.weight", "10"),
        ] {
            assert_eq!(told(group.path(), file).as_deref(), Some(value), "{file}");
        }
        assert_eq!(told(group.path(), "memory.swap.max"), None, "this machine never swaps");
        let other = groups.group(8, 1 << 30, false).expect("a group");
        assert_eq!(told(other.path(), "cpu.weight"), None, "it has its share as everybody has");
        assert!(groups.group(8, 1 << 30, false).is_err(), "it is another process's");
    }

    #[test]
    fn what_the_kernel_cannot_bound_is_not_asked_for() {
        for (known, expected, on) in [
            ("hugetlb\n", Controllers::default(), None),
            ("pids hugetlb\n", Controllers { pids: true, ..Controllers::default() }, Some("+pids")),
            ("memory cpu\n", Controllers { pids: false, ..ALL }, Some("+memory +cpu")),
        ] {
            let base = base(known, "");
            let groups = Groups::below(base.path()).expect("groups");
            assert_eq!(groups.controllers(), expected, "{known}");
            assert_eq!(told(base.path(), "cgroup.subtree_control").as_deref(), on, "{known}");
            let group = groups.group(0, 1 << 30, true).expect("a group");
            assert_eq!(told(group.path(), "memory.max").is_some(), expected.memory, "{known}");
            assert_eq!(told(group.path(), "pids.max").is_some(), expected.pids, "{known}");
            assert_eq!(told(group.path(), "cpu.weight").is_some(), expected.cpu, "{known}");
        }
    }

    #[test]
    fn a_folder_that_is_no_group_is_told_to_be_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = Groups::below(folder.path()).expect_err("it is none").to_string();
        assert!(error.contains("cgroup.controllers"), "{error}");
        let error = Groups::below(&folder.path().join("gone")).expect_err("it is not there").to_string();
        assert!(error.contains("gone"), "{error}");
    }

    #[test]
    fn the_node_leaves_a_group_that_it_divides_and_takes_nobody_elses_processes_along() {
        let own = std::process::id();
        let alone = base("pids\n", &format!("{own}\n"));
        Groups::below(alone.path()).expect("groups");
        assert_eq!(told(&alone.path().join(NODE), "cgroup.procs"), Some(own.to_string()));
        let others = base("pids\n", "1\n");
        Groups::below(others.path()).expect("groups");
        assert!(!others.path().join(NODE).exists(), "they are not the node's");
    }

    #[test]
    fn memory_that_ran_out_is_told_by_the_kernel() {
        let base = base("memory\n", "");
        let group = Groups::below(base.path()).expect("groups").group(0, 1 << 30, false).expect("a group");
        assert!(!group.ran_out_of_memory());
        for (events, expected) in [
            ("low 0\noom 1\noom_kill 0\n", false),
            ("low 0\noom 1\noom_kill 2\noom_group_kill 1\n", true),
            ("low 0\noom 0\noom_kill 1\n", false),
            ("oom_kill \n", false),
        ] {
            fs::write(group.path().join("memory.events"), events).expect("a file");
            assert_eq!(group.ran_out_of_memory(), expected, "{events}");
        }
    }

    #[test]
    fn groups_of_nodes_that_are_gone_are_removed() {
        let base = base("pids\n", "");
        // Process ids end at 2²²; and of the former process of this one's id something was left.
        let gone = [4_194_305, std::process::id()].map(|id| base.path().join(format!("{PREFIX}{id}")));
        let here = base.path().join(format!("{PREFIX}1"));
        for group in gone.iter().chain([&here]) {
            fs::create_dir_all(group.join("3")).expect("a folder");
        }
        clear(base.path()).expect("it is cleared");
        assert!(gone.iter().all(|gone| !gone.join("3").exists()));
        assert!(here.join("3").exists(), "that of a node that runs");
    }
}
