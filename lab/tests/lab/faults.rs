//! Faults: each takes effect, is seen, and ends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use proxima_lab::{Fault, LabError, ProcessState};

use crate::{TestLab, eventually};

/// The server that answers a new connection of the client, within half a second.
fn answered_by(lab: &TestLab, client: &str) -> Option<String> {
    let address: SocketAddr = "198.18.0.1:80".parse().unwrap();
    let ask = || {
        let mut answer = String::new();
        let deadline = Duration::from_millis(500);
        let done = TcpStream::connect_timeout(&address, deadline).and_then(|mut stream| {
            stream.set_read_timeout(Some(deadline))?;
            stream.write_all(b"GET /cdn-cgi/trace HTTP/1.0\r\n\r\n")?;
            stream.read_to_string(&mut answer)
        });
        Ok(done
            .ok()
            .and_then(|_| answer.lines().find_map(|line| line.strip_prefix("node=").map(str::to_owned))))
    };
    lab.within(client, ask).unwrap()
}

fn fault(lab: &TestLab, fault: Fault) -> String {
    let report = lab.fault(&fault).unwrap_or_else(|error| panic!("{fault}: {error}"));
    println!("{}: {} ({:.0} ms)", report.fault, report.effect, report.took_ms);
    report.effect
}

fn name(name: &str) -> String {
    name.to_owned()
}

#[test]
fn lab_faults_take_effect_and_end() {
    let lab = TestLab::up("t-fault");
    nodes(&lab);
    silence(&lab);
    links(&lab);
    routers(&lab);
    impossible(&lab);
}

fn nodes(lab: &TestLab) {
    fault(lab, Fault::Kill { server: name("fra-1") });
    eventually("paris is served by the other server", Duration::from_secs(2), || {
        answered_by(lab, "paris").as_deref() == Some("fra-2")
    });
    fault(lab, Fault::Restart { server: name("fra-1") });
    // ECMP: new connections come to both.
    for server in ["fra-1", "fra-2"] {
        eventually("both servers get connections", Duration::from_secs(5), || {
            answered_by(lab, "paris").as_deref() == Some(server)
        });
    }
    fault(lab, Fault::Stop { server: name("iad-1") });
    let stopped = lab.status().unwrap();
    assert_eq!(stopped.server("iad-1").unwrap().state, ProcessState::Stopped);
    assert_eq!(
        stopped.client("boston").unwrap().colo,
        None,
        "a stopped node holds its announcement and is silent"
    );
    fault(lab, Fault::Continue { server: name("iad-1") });
    eventually("boston is served again", Duration::from_secs(5), || answered_by(lab, "boston").is_some());

    fault(lab, Fault::KillPop { pop: name("FRA") });
    let took = eventually("paris is served across the ocean", Duration::from_secs(3), || {
        answered_by(lab, "paris").as_deref() == Some("iad-1")
    });
    println!("the next PoP answered after {took:?}");
    fault(lab, Fault::RestartPop { pop: name("FRA") });
    eventually("paris is served at home again", Duration::from_secs(5), || {
        answered_by(lab, "paris").is_some_and(|server| server.starts_with("fra-"))
    });
}

fn silence(lab: &TestLab) {
    fault(lab, Fault::Silence { server: name("iad-1") });
    let took = eventually("BFD finds the silent server", Duration::from_secs(3), || {
        answered_by(lab, "boston").is_some_and(|server| server.starts_with("fra-"))
    });
    println!("silence moved after {took:?}");
    // Each family has a session of its own.
    eventually("it is silenced, runs, and announces nothing", Duration::from_secs(15), || {
        let status = lab.status().unwrap();
        let server = status.server("iad-1").unwrap();
        server.silenced && server.state == ProcessState::Running && server.announces.is_empty()
    });
    fault(lab, Fault::Unsilence { server: name("iad-1") });
    eventually("it announces again", Duration::from_secs(15), || {
        answered_by(lab, "boston").as_deref() == Some("iad-1")
    });
    fault(lab, Fault::SilenceLog);
    assert!(lab.status().unwrap().server("fra-1").unwrap().silenced);
    fault(lab, Fault::UnsilenceLog);
}

fn links(lab: &TestLab) {
    let (from, to) = (name("eu-transit"), name("us-transit"));
    // One echo tells it, to whose time the machine may add, and from which it takes nothing.
    let takes = || {
        let slow = Fault::Slow { from: from.clone(), to: to.clone(), delay_ms: 120.0, jitter_ms: 0.0 };
        let effect = fault(lab, slow);
        let takes = effect.split("takes ").nth(1).and_then(|rest| rest.split(' ').next());
        let takes: f64 = takes.and_then(|takes| takes.parse().ok()).unwrap_or_else(|| panic!("{effect}"));
        assert!(takes >= 240.0, "two times 120 ms: {effect}");
        takes
    };
    assert!((0..5).any(|_| takes() < 250.0), "two times 120 ms, and no more, in no round");
    fault(lab, Fault::Lose { from: from.clone(), to: to.clone(), percent: 30.0 });
    fault(lab, Fault::Lose { from: from.clone(), to: to.clone(), percent: 100.0 });
    fault(lab, Fault::Heal { from, to });
    for to in ["eu-transit", "fra-2"] {
        fault(lab, Fault::Cut { from: name("FRA"), to: name(to) });
        let status = lab.status().unwrap();
        assert!(status.links.iter().any(|link| link.cut && (link.a == to || link.b == to)), "{status}");
        fault(lab, Fault::Heal { from: name("FRA"), to: name(to) });
    }
    eventually("paris is served at home again", Duration::from_secs(15), || {
        answered_by(lab, "paris").is_some_and(|server| server.starts_with("fra-"))
    });
}

fn routers(lab: &TestLab) {
    fault(lab, Fault::KillRouter { router: name("IAD") });
    eventually("boston is served across the ocean", Duration::from_secs(3), || {
        answered_by(lab, "boston").is_some_and(|server| server.starts_with("fra-"))
    });
    fault(lab, Fault::RestartRouter { router: name("IAD") });
    eventually("boston is served at home again", Duration::from_secs(15), || {
        answered_by(lab, "boston").as_deref() == Some("iad-1")
    });
}

fn impossible(lab: &TestLab) {
    let refused = |fault: Fault, why: &str| {
        let error = lab.fault(&fault).expect_err("not possible");
        assert!(matches!(error, LabError::Daemon(_)) && error.to_string().contains(why), "{fault}: {error}");
    };
    refused(Fault::Kill { server: name("nobody") }, "no server `nobody`; it has: fra-1, fra-2, iad-1");
    refused(Fault::KillPop { pop: name("XXX") }, "no PoP `XXX`; it has: FRA, IAD");
    refused(Fault::Unsilence { server: name("fra-2") }, "not silenced");
    refused(Fault::RestartRouter { router: name("FRA") }, "its BIRD runs");
    refused(Fault::Cut { from: name("FRA"), to: name("IAD") }, "no link joins");
    let lose = |percent| Fault::Lose { from: name("paris"), to: name("eu-transit"), percent };
    refused(lose(101.0), "0 to 100");
    let slow =
        |delay_ms| Fault::Slow { from: name("paris"), to: name("eu-transit"), delay_ms, jitter_ms: 0.0 };
    refused(slow(-1.0), "0 to 2000 ms");
    let wire = Fault::Lose { from: name("FRA"), to: name("fra-1"), percent: 1.0 };
    refused(wire, "wires within a PoP");
}
