//! Control groups, as the kernel has them: where this machine has none of version 2, or does not let who runs this make any, the tests
//! say that they are skipped.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use proxima_chassis::{Health, Service as _};

use crate::harness::{Code, DEADLINE, OWN, Running, processes, with_engine};

/// A group of this test, which has no processes of its own.
struct Base(PathBuf);

impl Base {
    /// `None`, with a word of why, where there cannot be one.
    fn make(name: &str) -> Option<Self> {
        let made = (|| {
            let mounts = fs::read_to_string("/proc/self/mountinfo")?;
            let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "));
            let root = mount.and_then(|line| line.split(' ').nth(4));
            let root = root.ok_or_else(|| io::Error::other("no hierarchy of version 2 is mounted"))?;
            let path = Path::new(root).join(format!("proxima-test-{name}-{}", std::process::id()));
            fs::create_dir(&path)?;
            Ok::<_, io::Error>(Self(path))
        })();
        made.inspect_err(|error| eprintln!("skipped: this machine has no control groups for it: {error}"))
            .ok()
    }

    fn config(&self) -> String {
        format!("cgroup = {:?}", self.0)
    }

    fn has(&self, controller: &str) -> bool {
        let known = fs::read_to_string(self.0.join("cgroup.controllers")).unwrap();
        known.split_whitespace().any(|known| known == controller)
    }

    /// The group of a process, which is in this one.
    fn of(&self, process: Pid) -> PathBuf {
        let told = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap();
        let own = told.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
        let (_, below) = own.split_once(self.0.file_name().unwrap().to_str().unwrap()).unwrap();
        self.0.join(below.trim_start_matches('/'))
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        // The node's processes end with it, and the kernel tells nobody when they have.
        fs::write(self.0.join("cgroup.kill"), "1").ok();
        let begun = Instant::now();
        while self.0.exists() && begun.elapsed() < DEADLINE {
            remove(&self.0);
            std::thread::yield_now();
        }
    }
}

/// Removes a group with those below, as far as nobody is in them.
fn remove(group: &Path) {
    for below in fs::read_dir(group).into_iter().flatten().flatten().filter(|below| below.path().is_dir()) {
        remove(&below.path());
    }
    fs::remove_dir(group).ok();
}

async fn until(mut does: impl FnMut() -> bool) {
    let mut due = tokio::time::interval(Duration::from_millis(5));
    while !does() {
        due.tick().await;
    }
}

/// Whether a wall stands around each process, as the node counts it.
fn wall(running: &Running, name: &str) -> bool {
    let text = running.node.metrics.encode();
    let line = format!("proxima_workers_walls{{wall=\"{name}\"}} ");
    text.lines().find_map(|found| found.strip_prefix(&line)).unwrap_or_else(|| panic!("{name} in {text}"))
        == "1"
}

#[test]
fn each_process_is_in_a_control_group_of_its_own_which_goes_with_it() {
    let Some(base) = Base::make("own") else { return };
    with_engine(&base.config(), async |running| {
        running.upload(OWN, "app", Code::fetch("return new Response('fine')")).await;
        assert!(running.get(OWN, "app", "/").await.is(200, "fine"));
        let [process] = processes()[..] else { panic!("one process") };
        let group = base.of(process);
        let run = base.0.join(format!("workers-{}", std::process::id()));
        assert_eq!(group.parent(), Some(&*run));
        assert_eq!(fs::read_to_string(group.join("cgroup.procs")).unwrap(), format!("{process}\n"));
        for (name, controller) in [("Memory", "memory"), ("Threads", "pids"), ("Processor", "cpu")] {
            assert_eq!(wall(&running, name), base.has(controller), "{name}");
        }
        kill(process, Signal::SIGKILL).unwrap();
        until(|| !group.exists()).await;
        assert!(running.get(OWN, "app", "/").await.is(200, "fine"));
        let [another] = processes()[..] else { panic!("one process") };
        assert_ne!(base.of(another), group);
    });
}

#[test]
fn the_kernel_holds_a_worker_that_grows_faster_than_it_is_looked_at() {
    let Some(base) = Base::make("memory") else { return };
    if !base.has("memory") {
        eprintln!("skipped: this machine's control groups do not bound memory");
        return;
    }
    with_engine(
        &format!("{}\nmemory_bytes_max = 268435456\ncpu_ms_max = 20000", base.config()),
        async |running| {
            let hog = "const all = []; for (;;) all.push(new Uint8Array(1 << 26).fill(1));";
            running.upload(OWN, "app", Code::fetch("return new Response('fine')")).await;
            running.upload(OWN, "hog", Code::fetch(hog)).await;
            assert!(running.get(OWN, "app", "/").await.is(200, "fine"));
            let [process] = processes()[..] else { panic!("one process") };
            let most = fs::read_to_string(base.of(process).join("memory.max")).unwrap();
            assert_eq!(most.trim(), (268_435_456_u64 + (192 << 20)).to_string());
            let answer = running.get(OWN, "hog", "/").await;
            assert!(answer.is_error(503, 1102) && answer.text.contains("more memory"), "{answer:?}");
            assert!(running.get(OWN, "app", "/").await.is(200, "fine"));
        },
    );
}

#[test]
fn a_node_that_is_told_a_control_group_which_is_none_runs_no_workers_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    with_engine(&format!("cgroup = {:?}", folder.path()), async |running| {
        let health = running.service.health();
        assert!(matches!(&health, Health::Degraded(why) if why.contains("cgroup.controllers")), "{health:?}");
    });
}

#[test]
fn without_control_groups_workers_run_as_before_and_it_is_told() {
    with_engine("", async |running| {
        running.upload(OWN, "app", Code::fetch("return new Response('fine')")).await;
        assert!(running.get(OWN, "app", "/").await.is(200, "fine"));
        assert!(!wall(&running, "Memory") && wall(&running, "Filter"));
    });
}
