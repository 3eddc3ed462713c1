//! Scenarios in the lab: the real binary on every server of a small internet, and what its users notice.
//!
//! The guided tour is the largest of them; the others are what it does not walk through.

#![allow(clippy::unwrap_used, reason = "in a test, what should be there and is not ends it")]

mod api;
mod forwarding;
mod http;
mod names;
mod purge;
mod secure;
mod stored;
mod tiers;
mod two_pops;
mod visitors;
mod withdrawal;
mod workers;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use proxima_lab::Fault;
use two_pops::{HOST, TwoPops, at_home};

/// Where the set-up has put the Node packages.
fn packages() -> PathBuf {
    let named = std::env::var_os("PROXIMA_WORKERS_PACKAGES").map(PathBuf::from);
    let of_named = named.as_deref().and_then(|modules| modules.parent()?.parent());
    of_named.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), Path::to_owned)
}

#[test]
fn lab_the_guided_tour_holds() {
    let status = Command::new(env!("CARGO_BIN_EXE_proxima"))
        .args(["tour", "--once", "--name", "test-tour", "--examples"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples"))
        .arg("--packages")
        .arg(packages())
        .status()
        .expect("the binary runs");
    assert!(status.success(), "the tour found something broken: see above");
}

#[test]
fn lab_a_frozen_node_is_withdrawn_and_comes_back_when_it_thaws() {
    let lab = TwoPops::up("frozen");
    let traffic = lab.traffic();
    lab.fault(&Fault::Stop { server: "aaa-1".to_owned() });
    lab.until("the client lands at the other PoP", |status| {
        status.client("near-a").is_some_and(|client| client.colo.as_deref() == Some("BBB"))
    });
    lab.fault(&Fault::Continue { server: "aaa-1".to_owned() });
    lab.until("the client is at home again", |status| {
        status.client("near-a").is_some_and(|client| client.colo.as_deref() == Some("AAA"))
    });
    let told = traffic.stop().unwrap();
    for client in &told {
        let (failed, outage) = (client.failed().count(), client.outage());
        println!("{}: {failed} of {} failed, for {outage:?}", client.client, client.outcomes.len());
        let allowed = if client.client == "near-a" { Duration::from_secs(5) } else { Duration::ZERO };
        assert!(outage <= allowed, "{}: new connections failed for {outage:?}", client.client);
    }
}

#[test]
fn lab_draining_and_restarting_a_node_loses_nothing() {
    let lab = TwoPops::up("drain");
    let traffic = lab.traffic();
    lab.fault(&Fault::Restart { server: "aaa-1".to_owned() });
    lab.until("the client is at home again", |status| at_home(status, "near-a"));
    TwoPops::nothing_was_lost(traffic);
}

#[test]
fn lab_a_graceful_restart_loses_nothing_and_withdraws_nothing() {
    let lab = TwoPops::up("restart");
    let traffic = lab.traffic();
    let before = lab.admin_pid("aaa-1");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(before), nix::sys::signal::Signal::SIGUSR2).unwrap();
    lab.until("the next process serves", |_| ![before, 0].contains(&lab.admin_pid("aaa-1")));
    for client in TwoPops::nothing_was_lost(traffic) {
        let home = if client.client == "near-a" { "AAA" } else { "BBB" };
        let elsewhere: Vec<_> = client.pops().into_iter().filter(|(pop, _)| pop != home).collect();
        assert_eq!(elsewhere, [], "{}: the announcement was withdrawn", client.client);
    }
}

#[test]
fn lab_a_follower_that_lost_everything_catches_up_by_itself() {
    let lab = TwoPops::up("follower");
    lab.fault(&Fault::Kill { server: "bbb-1".to_owned() });
    std::fs::remove_dir_all(lab.data_dir("bbb-1")).unwrap();
    lab.proxima("near-a", &["dns", "add", "example.com", "TXT", "meanwhile", "\"while you were away\""]);
    lab.fault(&Fault::Restart { server: "bbb-1".to_owned() });
    let begun = Instant::now();
    loop {
        let answer = lab.run("bbb-1", "dig", &["+short", "@198.18.0.1", "meanwhile.example.com", "TXT"]);
        if answer.contains("while you were away") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "the last answer: {answer}");
    }
}

#[test]
fn lab_without_the_log_writes_are_refused_and_nothing_else_is_noticed() {
    let lab = TwoPops::up("centre");
    lab.fault(&Fault::SilenceLog);
    let begun = Instant::now();
    let refused = lab.proxima_fails("near-b", &["dns", "add", "example.com", "TXT", "lost", "\"lost\""]);
    assert!(refused.contains("503"), "{refused}");
    assert!(begun.elapsed() < Duration::from_secs(30), "a write that cannot be made must not hang");
    let address: SocketAddr = "198.18.0.1:80".parse().unwrap();
    let url = format!("http://{HOST}/");
    let resolve = format!("{HOST}:80:{}", address.ip());
    assert!(lab.run("near-b", "curl", &["-sSi", "--resolve", &resolve, &url]).starts_with("HTTP/1.1 200"));
    lab.fault(&Fault::UnsilenceLog);
    lab.until("a write is taken again", |_| {
        lab.try_proxima("near-b", &["dns", "add", "example.com", "TXT", "again", "\"again\""]).0
    });
}
