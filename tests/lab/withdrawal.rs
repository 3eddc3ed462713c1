//! A server that lives and cannot serve, or whose own announcer died: withdrawn, and back when it is well.

use std::{
    io::{Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use proxima_lab::{Fault, ProcessState};

use crate::two_pops::{TwoPops, at_home, parent_of};

/// Memory that an idle server may have for itself.
const OWN_KIB_MAX: u64 = 24 << 10;

/// The data file of a server's replica.
fn replica_file(data_dir: &Path) -> PathBuf {
    let ledger = data_dir.join("ledger");
    ledger.join(std::fs::read_to_string(ledger.join("CURRENT")).unwrap()).join("data.mdb")
}

/// Overwrites the beginning of every place where `text` lies in the file, as a failing disk may.
fn damage(file: &Path, text: &str) {
    let octets = std::fs::read(file).unwrap();
    let places = octets.windows(text.len()).enumerate().filter(|(_, window)| *window == text.as_bytes());
    let places: Vec<_> = places.map(|(place, _)| place as u64).collect();
    assert!(!places.is_empty(), "{text} is not in {}", file.display());
    let mut file = std::fs::File::options().write(true).open(file).unwrap();
    for place in places {
        file.seek(SeekFrom::Start(place)).unwrap();
        file.write_all(b"garbage").unwrap();
    }
}

#[test]
fn lab_a_corrupted_replica_is_never_served_withdrawn_meanwhile_and_rebuilt_from_upstream() {
    let lab = TwoPops::up("corrupt");
    lab.proxima("near-a", &["zones", "add", "fragile.example"]);
    lab.proxima("near-a", &["dns", "add", "fragile.example", "TXT", "here", "\"whole\""]);
    // By the API of `bbb-1`, which reads the replica and compiles no zone: the damaged one is read first when asked for.
    lab.until("the follower has the zone", |_| {
        lab.try_proxima("near-b", &["dns", "list", "fragile.example"]).1.contains("here.fragile.example")
    });
    // The log is the only upstream: while it is away, nothing is rebuilt, and what happens meanwhile can be seen.
    lab.fault(&Fault::SilenceLog);
    damage(&replica_file(&lab.data_dir("bbb-1")), "\"fragile.example\"");
    let question = ["+tries=1", "@198.18.0.1", "here.fragile.example", "TXT"];
    let answer = lab.run("bbb-1", "dig", &question);
    assert!(answer.contains("status: SERVFAIL") && !answer.contains("whole"), "{answer}");
    lab.until("the living server is withdrawn", |status| {
        status.server("bbb-1").is_some_and(|server| {
            server.state == ProcessState::Running && !server.silenced && server.announces.is_empty()
        })
    });
    assert_ne!(lab.admin_pid("bbb-1"), 0, "the node itself goes on");
    lab.fault(&Fault::UnsilenceLog);
    lab.until("both servers serve at home again", |status| {
        at_home(status, "near-a") && at_home(status, "near-b")
    });
    let answer = lab.run("near-b", "dig", &question);
    assert!(answer.contains("status: NOERROR") && answer.contains("whole"), "{answer}");
}

#[test]
fn lab_a_bird_and_a_watchdog_that_are_killed_are_replaced_and_announce_again() {
    let lab = TwoPops::up("announcers");
    let bird = || {
        let pid = std::fs::read_to_string(lab.run_dir("bbb-1").join("bird.pid")).ok()?;
        pid.trim().parse::<i32>().ok()
    };
    let watchdog = || parent_of(bird()?);
    let announcers: [(&str, &dyn Fn() -> Option<i32>); 2] = [("BIRD", &bird), ("the watchdog", &watchdog)];
    for (name, find) in announcers {
        let (killed, bird_before, node) = (find().unwrap(), bird(), lab.admin_pid("bbb-1"));
        kill(Pid::from_raw(killed), Signal::SIGKILL).unwrap();
        lab.until(&format!("{name} is replaced, and its announcements are back"), |status| {
            let replaced = find().is_some_and(|pid| pid != killed) && bird() != bird_before;
            let announced = status.server("bbb-1").is_some_and(|server| server.announces.len() == 2);
            replaced && announced && at_home(status, "near-b")
        });
        assert_eq!(lab.admin_pid("bbb-1"), node, "the node has not died of it");
    }
}

#[test]
fn lab_idle_servers_that_follow_and_announce_stay_small() {
    let lab = TwoPops::up("idle");
    for server in ["aaa-1", "bbb-1"] {
        let kib = lab.own_kib(server);
        println!("{server}: {kib} KiB of its own");
        assert!(kib <= OWN_KIB_MAX, "{server}, idle, has {kib} KiB of its own; the most is {OWN_KIB_MAX}");
    }
}
