//! Coming up, and leaving nothing behind.

use std::process::Command;
use std::time::Duration;

use proxima_lab::{Lab, LabError, ProcessState};

use crate::{TestLab, eventually, options};

/// The namespaces that `ip` knows, and the processes that run one of the lab's programs.
fn remains(prefix: &str) -> (Vec<String>, Vec<String>) {
    let output = Command::new("ip").args(["netns", "list"]).output().expect("ip runs");
    let namespaces = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect::<Vec<_>>();
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten().filter_map(|entry| {
        let command = std::fs::read(entry.path().join("cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        command.contains(prefix).then_some(command)
    });
    (namespaces.into_iter().filter(|line| line.starts_with("px-")).collect(), processes.collect())
}

#[test]
fn lab_comes_up_serves_every_client_from_its_nearest_pop_and_leaves_nothing_behind() {
    let before = remains("\u{1}").0;
    let state_root;
    {
        let lab = TestLab::up("t-life");
        state_root = lab.state().dir().display().to_string();
        let status = lab.status().expect("a status");
        assert!(status.servers.iter().all(|server| server.state == ProcessState::Running), "{status}");
        assert!(status.servers.iter().all(|server| server.announces.len() == 2), "{status}");
        // One echo tells how long it takes, to which the machine may add.
        let round = || {
            let status = lab.status().expect("a status");
            let (paris, boston) = (status.client("paris").unwrap(), status.client("boston").unwrap());
            assert_eq!(
                (paris.colo.as_deref(), boston.colo.as_deref()),
                (Some("FRA"), Some("IAD")),
                "{status}"
            );
            assert_eq!(paris.path, ["eu-transit", "fra-router", "fra-1 | fra-2"]);
            let rtt = paris.rtt_ms.expect("an echo came back");
            assert!(rtt >= 42.0, "two times 20 + 1 ms, not {rtt}");
            rtt < 60.0
        };
        assert!((0..5).any(|_| round()), "an echo takes two times 20 + 1 ms, and no more, in no round");
        serde_json::to_string(&status).expect("it is JSON too");

        // Both families, all hosts, the origin.
        for target in ["198.18.0.1", "fd00:198:18::1", "10.2.1.2", "fd00:10:2:1::2", "172.16.3.2"] {
            let ping = lab.command("paris", "ping").unwrap().args(["-c1", "-W2", target]).output().unwrap();
            assert!(ping.status.success(), "{target}: {}", String::from_utf8_lossy(&ping.stdout));
        }
        let again = Lab::up(&lab.options, &mut |_| {}).expect_err("it is up already");
        assert!(matches!(again, LabError::AlreadyUp(_)), "{again}");
        assert!(!remains(&state_root).1.is_empty(), "the check below sees the lab's processes");
    }
    let (namespaces, processes) = remains(&state_root);
    assert_eq!(namespaces, before);
    assert_eq!(processes, Vec::<String>::new());
    assert!(!std::path::Path::new(&state_root).exists());
}

#[test]
fn lab_dies_with_its_daemon_and_down_removes_the_rest() {
    let lab = TestLab::up("t-crash");
    let (before, state) = (remains("\u{1}").0, lab.state().clone());
    assert!(!before.is_empty());
    let pid = std::fs::read_to_string(state.dir().join("daemon.lock")).unwrap();
    let killed = Command::new("kill").args(["-9", pid.trim()]).status().unwrap();
    assert!(killed.success());
    let dir = state.dir().display().to_string();
    eventually("routers, nodes and origins die with the daemon", Duration::from_secs(5), || {
        remains(&dir).1.is_empty()
    });
    // A process that dies gives its memory back, with its command line, before its sockets.
    eventually("the lab is known not to be up", Duration::from_secs(5), || {
        matches!(lab.status(), Err(LabError::NotUp { .. }))
    });

    Lab::remove("t-crash", &lab.options.state_root).expect("down after a crash");
    assert!(!remains("\u{1}").0.iter().any(|line| line.starts_with("px-t-crash.")));
    assert!(!state.dir().exists());
    Lab::remove("t-crash", &lab.options.state_root).expect("down twice does no harm");

    // What a crash left does not keep the next lab from coming up.
    Lab::up(&lab.options, &mut |_| {}).expect("up again");
}

#[test]
fn lab_tells_what_failed_when_a_node_does_not_come_up_and_leaves_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    let node = root.path().join("node");
    std::fs::write(&node, "#!/bin/sh\necho 'no such zone: example' >&2\nexit 3\n").unwrap();
    let made = Command::new("chmod").args(["+x"]).arg(&node).status().unwrap();
    assert!(made.success());
    let options = proxima_lab::UpOptions { proxima: Some(node), ..options("t-fail", root.path()) };
    let error = Lab::up(&options, &mut |_| {}).expect_err("no node comes up").to_string();
    assert!(error.contains("on fra-1 ended before it was ready (exit status: 3)"), "{error}");
    assert!(error.contains("no such zone: example"), "{error}");
    assert!(!remains("\u{1}").0.iter().any(|line| line.starts_with("px-t-fail.")));
    assert!(!options.state_root.exists());
}

#[test]
fn lab_refuses_to_delete_a_folder_that_no_lab_made() {
    let root = tempfile::tempdir().unwrap();
    let precious = root.path().join("home/precious");
    std::fs::create_dir_all(&precious).unwrap();
    let error = Lab::remove("home", root.path()).expect_err("not a lab's folder").to_string();
    assert!(error.contains("no lab made it"), "{error}");
    assert!(precious.exists());
}
