//! Zones go to servers of other brands: knot, nsd and bind have them by transfers from here, signed by a key, and hear of
//! changes.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    dev::{DEADLINE, Dev},
    process::{free_for_both, output},
    running::Running,
};

pub(crate) const SECRET: &str = "WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=";
pub(crate) const KEY: &str = "peer.key";

/// A port that is free for UDP and TCP at the address that the loopback interface has: bind listens at no other.
pub(crate) fn free_at_loopback() -> SocketAddr {
    loop {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// A server of another brand.
pub(crate) struct Other {
    process: Running,
    pub(crate) address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Other {
    fn spawn(address: SocketAddr, folder: tempfile::TempDir, config: &str, command: &[&str]) -> Self {
        std::fs::write(folder.path().join("conf"), config).unwrap();
        let mut program = Command::new(command[0]);
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        program.args(&command[1..]).arg(folder.path().join("conf")).current_dir(folder.path());
        program.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self { process: Running::start(&mut program), address, folder }
    }

    /// knot, with this of its configuration beside server, keys and the database's place.
    pub(crate) fn knot(address: SocketAddr, rest: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().display();
        let config = format!(
            "server:\n  listen: {}@{}\n  rundir: {place}\nlog:\n  - target: stderr\n    any: info\n\
             database:\n  storage: {place}\nkey:\n  - id: {KEY}\n    algorithm: hmac-sha256\n    secret: {SECRET}\n{rest}",
            address.ip(),
            address.port(),
        );
        Self::spawn(address, folder, &config, &["knotd", "-c"])
    }

    /// knot with a zone from this file, which gives it to whoever has the key and tells this server of its changes; it has the
    /// zone, whose name servers are elsewhere.
    pub(crate) fn primary_knot(address: SocketAddr, dev: &Dev, zone: &str, file: &Path) -> Self {
        let knot = Self::knot(
            address,
            &format!(
                "remote:\n  - id: proxima\n    address: {}@{}\n    via: {}\n    key: {KEY}\nacl:\n  - id: transfer\n    \
                 action: transfer\n    key: {KEY}\nzone:\n  - domain: {zone}\n    file: {}\n    notify: proxima\n    \
                 acl: transfer\n    zonefile-load: difference\n    journal-content: changes\n",
                dev.dns().ip(),
                dev.dns().port(),
                address.ip(),
                file.display(),
            ),
        );
        knot.until(&[zone, "SOA"], "elsewhere");
        knot
    }

    pub(crate) fn nsd(address: SocketAddr, rest: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().display();
        let config = format!(
            "server:\n  ip-address: {}@{}\n  zonesdir: {place}\n  zonelistfile: {place}/list\n  pidfile: \"\"\n  \
             xfrdfile: {place}/xfrd\n  xfrdir: {place}\n  database: \"\"\n  username: \"\"\n  verbosity: 2\n  \
             server-count: 1\nremote-control:\n  control-enable: no\n\
             key:\n  name: {KEY}\n  algorithm: hmac-sha256\n  secret: \"{SECRET}\"\n{rest}",
            address.ip(),
            address.port(),
        );
        Self::spawn(address, folder, &config, &["nsd", "-d", "-c"])
    }

    pub(crate) fn bind(address: SocketAddr, rest: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().display();
        let config = format!(
            "options {{ directory \"{place}\"; pid-file none; session-keyfile none; listen-on port {} {{ {}; }}; \
             listen-on-v6 {{ none; }}; recursion no; notify no; dnssec-validation no; }};\n\
             controls {{ }};\nkey {KEY} {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n{rest}",
            address.port(),
            address.ip(),
        );
        Self::spawn(address, folder, &config, &["named", "-g", "-c"])
    }

    /// Has it read its files again.
    pub(crate) fn reload(&self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.process.0.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).unwrap();
    }

    /// Asks until the answer has this in it, by when it must.
    pub(crate) fn until(&self, question: &[&str], wanted: &str) -> String {
        let begun = Instant::now();
        loop {
            let mut dig = Command::new("dig");
            dig.arg(format!("@{}", self.address.ip())).args(["-p", &self.address.port().to_string()]);
            let (_, told) = output(dig.args(["+norecurse", "+time=1", "+tries=1"]).args(question));
            if told.contains(wanted) {
                return told;
            }
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(begun.elapsed() < DEADLINE, "{question:?} has no {wanted}: {told}\n{}", log());
        }
    }
}

pub(crate) fn ok(dev: &Dev, method: &str, path: &str, body: Value) -> Value {
    let (code, answer) = dev.api(method, path, Some(&body), None);
    assert_eq!(code, "200", "{method} {path}: {answer}");
    answer["result"].clone()
}

/// The account's path of this kind of thing.
pub(crate) fn of_account(dev: &Dev, kind: &str) -> String {
    let (_, answer) = dev.api("GET", "/accounts", None, None);
    format!("/accounts/{}/secondary_dns/{kind}", answer["result"][0]["id"].as_str().unwrap())
}

pub(crate) fn id(made: &Value) -> String {
    made["id"].as_str().unwrap().to_owned()
}

/// Peers at these addresses, known by the key.
pub(crate) fn peers(dev: &Dev, addresses: &[SocketAddr]) -> Vec<String> {
    let key = json!({ "name": KEY, "algo": "hmac-sha256.", "secret": SECRET });
    let key = id(&ok(dev, "POST", &of_account(dev, "tsigs"), key));
    let made = addresses.iter().map(|address| {
        let body = json!({ "name": "other", "ip": address.ip(), "port": address.port(), "tsig_id": key });
        id(&ok(dev, "POST", &of_account(dev, "peers"), body))
    });
    made.collect()
}

fn outgoing(dev: &Dev, peers: &[String]) -> String {
    let path = format!("/zones/{}/secondary_dns/outgoing", dev.zone("example.com"));
    ok(dev, "POST", &path, json!({ "name": "example.com.", "peers": peers }));
    path
}

#[test]
fn knot_nsd_and_bind_have_a_zone_from_here_and_hear_of_its_changes() {
    let dev = Dev::start();
    dev.proxima(&["zones", "add", "example.com"]);
    dev.proxima(&["dns", "add", "example.com", "A", "www", "192.0.2.1"]);
    dev.proxima(&["dns", "add", "example.com", "MX", "@", "10 mail.example.com"]);
    dev.proxima(&["dns", "add", "example.com", "CNAME", "@", "www.example.com"]);
    dev.proxima(&["dns", "add", "example.com", "A", "shop", "192.0.2.2", "--proxied"]);
    dev.proxima(&["dns", "add", "example.com", "TYPE65280", "odd", "\\# 3 abcdef"]);
    let at = [free_for_both(), free_for_both(), free_at_loopback()];
    let path = outgoing(&dev, &peers(&dev, &at));
    // The kernel has them come from there.
    let range = json!({ "name": "loopback", "ip_range": "127.0.0.0/24" });
    ok(&dev, "POST", &of_account(&dev, "acls"), range);
    let (ip, port) = (dev.dns().ip(), dev.dns().port());
    let knot = Other::knot(
        at[0],
        &format!(
            "remote:\n  - id: proxima\n    address: {ip}@{port}\n    key: {KEY}\nacl:\n  - id: notify\n    \
             action: notify\n    key: {KEY}\nzone:\n  - domain: example.com\n    master: proxima\n    acl: notify\n"
        ),
    );
    let nsd = Other::nsd(
        at[1],
        &format!(
            "zone:\n  name: example.com\n  zonefile: file\n  request-xfr: {ip}@{port} {KEY}\n  \
             allow-notify: 127.0.0.0/8 {KEY}\n"
        ),
    );
    let bind = Other::bind(
        at[2],
        &format!(
            "server {ip} {{ keys {{ {KEY}; }}; }};\nzone example.com {{ type secondary; file \"file\"; \
             masterfile-format text; primaries {{ {ip} port {port} key {KEY}; }}; \
             allow-notify {{ key {KEY}; }}; }};\n"
        ),
    );
    for other in [&knot, &nsd, &bind] {
        other.until(&["www.example.com", "A"], "192.0.2.1");
        // What is proxied or flattened here has addresses there.
        for (question, wanted) in [
            (["shop.example.com", "A"], "127.0.0.1"),
            (["example.com", "A"], "192.0.2.1"),
            (["example.com", "MX"], "mail.example.com"),
            (["odd.example.com", "TYPE65280"], "ABCDEF"),
            (["example.com", "NS"], "ns1.proxima.test"),
        ] {
            let told = other.until(&question, wanted);
            assert!(told.contains("flags: qr aa"), "{told}");
        }
    }
    // Sooner than any of their timers says.
    dev.proxima(&["dns", "add", "example.com", "TXT", "new", "\"a change\""]);
    for other in [&knot, &nsd, &bind] {
        other.until(&["new.example.com", "TXT"], "a change");
    }
    let begun = Instant::now();
    loop {
        let (_, answer) = dev.api("GET", &path, None, None);
        let told = answer["result"]["notifies"].as_array().unwrap().clone();
        let serial = &answer["result"]["soa_serial"];
        if told.len() == 3
            && told.iter().all(|notice| notice["status"] == "acknowledged" && notice["soa_serial"] == *serial)
        {
            break;
        }
        assert!(begun.elapsed() < DEADLINE, "{answer}");
    }
    let forced = ok(&dev, "POST", &format!("{path}/force_notify"), json!({}));
    assert_eq!(forced, "OK");
}

#[test]
fn who_has_another_secret_gets_nothing_and_a_peer_that_is_silent_is_given_up() {
    let dev = Dev::start();
    dev.proxima(&["zones", "add", "example.com"]);
    dev.proxima(&["dns", "add", "example.com", "A", "www", "192.0.2.1"]);
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = silent.local_addr().unwrap();
    outgoing(&dev, &peers(&dev, &[at]));
    let (ip, port) = (dev.dns().ip().to_string(), dev.dns().port().to_string());
    let axfr = |key: &str| {
        let mut kdig = Command::new("kdig");
        kdig.args([&format!("@{ip}"), "-p", &port, "-y", key, "example.com", "AXFR"]);
        output(&mut kdig).1
    };
    let right = axfr(&format!("hmac-sha256:{KEY}:{SECRET}"));
    assert!(right.contains("192.0.2.1") && right.matches("SOA").count() >= 2, "{right}");
    for wrong in [
        format!("hmac-sha256:{KEY}:AAAA{}", &SECRET[4..]),
        format!("hmac-sha512:{KEY}:{SECRET}"),
        format!("hmac-sha256:other.key:{SECRET}"),
    ] {
        let told = axfr(&wrong);
        assert!(!told.contains("192.0.2.1"), "{wrong}: {told}");
    }
    let python = crate::http3::python();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/clients/zone_transfer.py");
    let (succeeded, told) =
        output(Command::new(python).args([script, &ip, &port, "example.com", KEY, SECRET]));
    assert!(succeeded && told.contains("192.0.2.1"), "{told}");
    // It is told, with our signature, again and again.
    silent.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut buffer = [0; 1_232];
    for _ in 0..2 {
        let length = silent.recv(&mut buffer).unwrap();
        let flags = u16::from_be_bytes([buffer[2], buffer[3]]);
        assert_eq!((flags, buffer[11]), (4 << 11 | 1 << 10, 1), "{:?}", &buffer[..length]);
    }
}
