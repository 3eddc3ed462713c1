//! Upgrades: another program in the place of the one that runs, and what a supervisor is told of it.

use std::{os::unix::net::UnixDatagram, path::PathBuf, time::Instant};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::dev::{DEADLINE, Dev};

#[test]
fn a_program_that_was_renamed_over_the_running_one_takes_over_from_it() {
    let mut dev = Dev::start_copy();
    let (former, program) = (dev.pid(), dev.program().to_owned());
    dev.replace_program();
    assert_ne!(executable(former), program, "Linux says of the former one that it was deleted");
    dev.restart_gracefully();
    let next = dev.pid();
    assert_ne!(next, former);
    assert_eq!(executable(next), program);
    // Once more: who took over must know as well where the program lies.
    dev.replace_program();
    send(next, Signal::SIGUSR2);
    let begun = Instant::now();
    let last = loop {
        match dev.pid() {
            pid if pid == next => assert!(begun.elapsed() < DEADLINE, "nobody takes over"),
            pid => break pid,
        }
    };
    assert_eq!(executable(last), program);
}

/// The file that a process runs, as the system names it now.
fn executable(pid: u64) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/exe")).unwrap()
}

pub(crate) fn send(pid: u64, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

/// A service manager's socket.
struct Supervisor {
    folder: tempfile::TempDir,
    socket: UnixDatagram,
}

impl Supervisor {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { folder, socket }
    }

    /// The next message: its lines.
    fn told(&self) -> Vec<String> {
        let mut octets = [0; 512];
        let length = self.socket.recv(&mut octets).expect("the supervisor is told");
        String::from_utf8_lossy(&octets[..length]).lines().map(str::to_owned).collect()
    }

    /// The next message says that this process serves.
    fn told_ready(&self, pid: u64) {
        let told = self.told();
        assert!(told.contains(&"READY=1".to_owned()) && told.contains(&format!("MAINPID={pid}")), "{told:?}");
    }
}

#[test]
fn a_supervisor_is_told_who_serves_also_after_a_restart_and_that_the_node_ends() {
    let supervisor = Supervisor::new();
    let mut dev = Dev::start_supervised(&supervisor.folder.path().join("notify"));
    supervisor.told_ready(dev.pid());
    dev.restart_gracefully();
    let next = dev.pid();
    // Nothing between: that a former process ends is not the service's end.
    supervisor.told_ready(next);
    send(next, Signal::SIGTERM);
    assert!(supervisor.told().contains(&"STOPPING=1".to_owned()));
}
