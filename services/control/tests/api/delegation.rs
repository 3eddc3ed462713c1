//! Activation by delegation, asked of a real resolver: `unbound`, which holds what the parent zone would say.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::harness::{Node, Options};

const PATIENCE: Duration = Duration::from_secs(20);

/// A resolver that ends with the test.
pub(crate) struct Unbound {
    child: Child,
    pub(crate) address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Unbound {
    /// Answers with these records.
    pub(crate) fn start(records: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Unbound binds by itself, so the port is one that was free a moment ago: at an address that no other test binds,
        // which would be given it meanwhile, now and then.
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        let own = Ipv4Addr::new(127, high + 1, middle, low);
        let address = UdpSocket::bind((own, 0)).unwrap().local_addr().unwrap();
        let data: String = records.iter().map(|record| format!(" local-data: \"{record}\"\n")).collect();
        let text = format!(
            "server:\n interface: {}@{}\n port: {}\n chroot: \"\"\n username: \"\"\n directory: {:?}\n pidfile: \"\"\n \
             use-syslog: no\n do-daemonize: no\n local-zone: \"example.\" static\n{data}\
             remote-control:\n control-enable: no\n",
            address.ip(),
            address.port(),
            address.port(),
            folder.path(),
        );
        let file = folder.path().join("unbound.conf");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("unbound");
        command.args(["-d", "-c"]).arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        // SAFETY: the call is async-signal-safe and touches nothing of ours.
        unsafe {
            command.pre_exec(|| {
                nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).map_err(Into::into)
            });
        }
        let child = command.spawn().expect("unbound is installed: run `cargo xtask setup`");
        let mut unbound = Self { child, address, _folder: folder };
        assert!(unbound.answers(), "unbound did not start");
        unbound
    }

    /// Whether it answers, before it ends or the patience does.
    fn answers(&mut self) -> bool {
        let asker = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        asker.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        asker.connect(self.address).unwrap();
        // `example. SOA`, asked with recursion (RFC 1035, 4.1).
        let question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x00\x00\x06\x00\x01";
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && self.child.try_wait().unwrap().is_none() {
            let mut answer = [0; 512];
            if asker.send(question).is_ok() && asker.recv(&mut answer).is_ok() {
                return true;
            }
        }
        false
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test]
async fn a_zone_becomes_active_when_its_parent_delegates_it_to_our_name_servers() {
    let unbound = Unbound::start(&[
        "ours.example. 60 IN NS NS1.proxima.example.",
        "ours.example. 60 IN NS ns.elsewhere.example.",
        "theirs.example. 60 IN NS ns.elsewhere.example.",
    ]);
    let control = format!("resolvers = [\"{}\"]", unbound.address);
    let node = Node::with(Options { control, ..Options::default() }).await;

    let ours = node.zone("ours.example").await;
    let (_, envelope) = node.call("PUT", &format!("/zones/{ours}/activation_check"), None).await;
    assert_eq!(envelope["success"], true, "{envelope}");
    let zone = node.ok("GET", &format!("/zones/{ours}"), None).await;
    assert_eq!(zone["status"], json!("active"), "{envelope}");

    for (name, found) in [("theirs.example", "ns.elsewhere.example"), ("nobodys.example", "")] {
        let theirs = node.zone(name).await;
        let (_, envelope) = node.call("PUT", &format!("/zones/{theirs}/activation_check"), None).await;
        let said = envelope["messages"][0]["message"].as_str().unwrap_or_default();
        assert!(said.starts_with("still pending") && said.contains(found), "{envelope}");
        let zone = node.ok("GET", &format!("/zones/{theirs}"), None).await;
        assert_eq!(zone["status"], json!("pending"));
    }
}
