//! The resolver against BIND: a signed root, a TLD with NSEC3, zones that are signed, unsigned and signed by others' keys,
//! all on one server, so that no referral shows where one ends.

#![allow(clippy::unwrap_used, reason = "helpers of a test")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpListener, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use prometheus_client::registry::Registry;
use proxima_resolver::{Metrics, Query, Read, Resolver, Settings, Sockets, parse_anchors};

struct Named(Child);

impl Drop for Named {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn run(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Writes a zone, signs it, and says its DS records.
fn signed(folder: &Path, zone: &str, records: &str, nsec3: &[&str]) -> String {
    let file = format!("zone{zone}");
    let key = ["-a", "ECDSAP256SHA256", "-f", "KSK", zone];
    let key = run(folder, "dnssec-keygen", &key);
    let keys = fs::read_to_string(folder.join(format!("{key}.key"))).unwrap();
    let head = "$TTL 300\n@ SOA ns hostmaster 1 300 300 3000 300\n@ NS ns\nns A 127.0.0.1\n";
    fs::write(folder.join(&file), format!("{head}{records}\n{keys}")).unwrap();
    let fixed = ["-z", "-o", zone, "-f", &format!("{file}.signed")].map(str::to_owned);
    let arguments: Vec<&str> =
        fixed.iter().map(String::as_str).chain(nsec3.iter().copied()).chain([&*file]).collect();
    run(folder, "dnssec-signzone", &arguments);
    run(folder, "dnssec-dsfromkey", &["-2", &key])
}

fn start(folder: &Path) -> (Named, u16, String) {
    let www = "www A 192.0.2.80\n*.wild A 192.0.2.81";
    let signed_ds = signed(folder, "signed.test.", www, &[]);
    let bogus_ds = signed(folder, "bogus.test.", www, &[]);
    let (last, rest) = bogus_ds.split_at(bogus_ds.len() - 1);
    let other_ds = format!("{last}{}", if rest == "0" { "1" } else { "0" });
    fs::write(
        folder.join("zoneplain.test..signed"),
        "$TTL 300\n@ SOA ns hostmaster 1 300 300 3000 300\n@ NS ns\nns A 127.0.0.1\nwww A 192.0.2.90\n",
    )
    .unwrap();
    let delegated = ["signed", "bogus", "plain"]
        .map(|child| format!("{child} NS ns.{child}\nns.{child} A 127.0.0.1\n"))
        .concat();
    let test = format!("{delegated}{signed_ds}\n{other_ds}\n");
    let test_ds = signed(folder, "test.", &test, &["-3", "-", "-H", "0"]);
    let anchor = signed(folder, ".", &format!("test NS ns.test\nns.test A 127.0.0.1\n{test_ds}\n"), &[]);
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = tcp.local_addr().unwrap().port();
    UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    drop(tcp);
    let zones = [".", "test.", "signed.test.", "bogus.test.", "plain.test."]
        .map(|zone| format!("zone \"{zone}\" {{ type primary; file \"zone{zone}.signed\"; }};\n"))
        .concat();
    let options = format!(
        "options {{ directory \"{}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; \
         pid-file none; session-keyfile none; dnssec-validation no; }};\ncontrols {{ }};\n",
        folder.display()
    );
    fs::write(folder.join("named.conf"), format!("{options}{zones}")).unwrap();
    let mut named = Command::new("named");
    named.args(["-g", "-n", "1", "-c"]).arg(folder.join("named.conf")).stderr(Stdio::piped());
    let mut named = Named(named.spawn().unwrap());
    let mut lines = BufReader::new(named.0.stderr.take().unwrap()).lines();
    let mut said = Vec::new();
    let is_up = lines.by_ref().map_while(Result::ok).any(|line| {
        let is_up = line.ends_with(" running");
        said.push(line);
        is_up
    });
    assert!(is_up, "{}", said.join("\n"));
    std::thread::spawn(move || lines.for_each(drop));
    (named, port, anchor)
}

#[tokio::test]
async fn names_that_bind_serves_are_resolved_and_validated() {
    let folder = tempfile::tempdir().unwrap();
    let (_named, port, anchor) = start(folder.path());
    let now = || u64::try_from(millis()).unwrap();
    let settings = Settings {
        hints: vec![Ipv4Addr::LOCALHOST.into()],
        anchors: parse_anchors(&anchor).unwrap(),
        allow_private_servers: true,
        cache_octets: 16 << 20,
        clock: Arc::new(now),
        stale_after: Duration::from_millis(1_800),
        stale_for: Duration::ZERO,
    };
    let resolver = Resolver::new(Sockets { port }, settings, Metrics::register(&mut Registry::default()));
    for (name, kind, code, secure, answers) in [
        ("www.signed.test", 1, 0, true, 1),
        ("x.wild.signed.test", 1, 0, true, 1),
        ("no.signed.test", 1, 3, true, 0),
        ("www.signed.test", 28, 0, true, 0),
        ("nowhere.test", 1, 3, true, 0),
        ("test", 48, 0, true, 1),
        ("nowhere", 1, 3, true, 0),
        ("www.plain.test", 1, 0, false, 1),
        ("plain.test", 43, 0, true, 0),
        ("www.bogus.test", 1, 2, false, 0),
    ] {
        let mut octets = [7_u16, 0x0120, 1, 0, 0, 0].map(u16::to_be_bytes).concat();
        for label in name.split('.') {
            octets.push(u8::try_from(label.len()).unwrap());
            octets.extend_from_slice(label.as_bytes());
        }
        octets.extend([0, 0, kind, 0, 1]);
        let Read::Query(query) = Query::read(&octets) else { panic!("{name}") };
        let mut answer = Vec::new();
        resolver.answer(&query, usize::from(u16::MAX), &mut answer).await;
        let said = (answer[3] & 0xF, answer[3] & 0x20 != 0, answer[7]);
        assert_eq!(said, (code, secure, answers), "{name} {kind}");
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the test's clock")]
fn millis() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()
}
