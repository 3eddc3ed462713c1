//! A signed root, a TLD with NSEC3, zones that are signed, unsigned and signed by others' keys, all on one BIND, so that no
//! referral shows where one ends. Tests of more than one crate resolve in it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpListener, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
};

/// A running BIND.
pub(crate) struct Named(Child);

impl Drop for Named {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

pub(crate) fn run(folder: &Path, program: &str, arguments: &[&str]) -> String {
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

/// A small internet on one server.
pub(crate) struct Tree {
    /// Where its server listens on 127.0.0.1, as root and as all else.
    pub(crate) port: u16,
    /// The root's DS record, as a zone file.
    pub(crate) anchor: String,
    _named: Named,
}

/// Makes it, and starts its server.
pub(crate) fn start(folder: &Path) -> Tree {
    let www = "www A 192.0.2.80\n*.wild A 192.0.2.81";
    let signed_ds = signed(folder, "signed.test.", www, &[]);
    let bogus_ds = signed(folder, "bogus.test.", www, &[]);
    let (last, rest) = bogus_ds.split_at(bogus_ds.len() - 1);
    let other_ds = format!("{last}{}", if rest == "0" { "1" } else { "0" });
    let large: String = (0..20).map(|number| format!("large TXT {number}{}\n", "x".repeat(200))).collect();
    let head = "$TTL 300\n@ SOA ns hostmaster 1 300 300 3000 300\n@ NS ns\nns A 127.0.0.1\n";
    let aliases = "far CNAME middle\nmiddle CNAME www\n";
    let plain = format!("{head}www A 192.0.2.90\n*.held A 192.0.2.91\n{aliases}{large}");
    fs::write(folder.join("zoneplain.test..signed"), plain).unwrap();
    let delegated = ["signed", "bogus", "plain"]
        .map(|child| format!("{child} NS ns.{child}\nns.{child} A 127.0.0.1\n"))
        .concat();
    let test = format!("{delegated}{signed_ds}\n{other_ds}\n");
    let test_ds = signed(folder, "test.", &test, &["-3", "-", "-H", "0"]);
    let anchor = signed(folder, ".", &format!("test NS ns.test\nns.test A 127.0.0.1\n{test_ds}\n"), &[]);
    let (port, named) = serve(folder, &[".", "test.", "signed.test.", "bogus.test.", "plain.test."]);
    Tree { port, anchor, _named: named }
}

/// How often a port may be somebody else's by the time BIND binds it.
const TRIES: usize = 10;

/// Serves zones of which there are signed files; at which port of 127.0.0.1.
pub(crate) fn serve(folder: &Path, zones: &[&str]) -> (u16, Named) {
    let served = (0..TRIES).find_map(|_| serve_at(free_port()?, folder, zones));
    served.expect("a port stays free for as long as BIND takes to start")
}

/// A port that was free a moment ago, for both transports.
fn free_port() -> Option<u16> {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = tcp.local_addr().unwrap().port();
    UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok().map(|_| port)
}

/// None if the port is not free any more.
fn serve_at(port: u16, folder: &Path, zones: &[&str]) -> Option<(u16, Named)> {
    let zone = |zone: &&str| format!("zone \"{zone}\" {{ type primary; file \"zone{zone}.signed\"; }};\n");
    let zones: String = zones.iter().map(zone).collect();
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
    std::thread::spawn(move || lines.for_each(drop));
    // It runs on although it listens nowhere.
    if said.iter().any(|line| line.contains("address in use")) {
        return None;
    }
    assert!(is_up, "{}", said.join("\n"));
    Some((port, named))
}
