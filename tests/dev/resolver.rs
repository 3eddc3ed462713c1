//! The resolver behind the edge, in a node of its own: JSON and messages over HTTPS, asked by curl, kdig and dnspython; a
//! location's token, and that nothing tells it.
//!
//! What is asked for are records of a policy's own, so that no name server is needed.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use serde_json::Value;

use crate::{
    dev::{DEADLINE, PROXIMA},
    http3::python,
    process::{free_for_both, output},
    running::Running,
};

const NAME: &str = "dns.proxima.test";
const TOKEN: &str = "k7qm2xv9ed4tw8rz";
/// An anchor that nothing is checked with here.
const ANCHOR: &str = ". DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\n";

/// The token's digest, made as `docs/operating/resolver.md` says.
fn digest() -> String {
    let (_, text) = output(Command::new("sh").args(["-c", &format!("printf %s {TOKEN} | sha256sum")]));
    text.split_whitespace().next().unwrap().to_owned()
}

struct Resolver {
    _process: Running,
    folder: tempfile::TempDir,
    https: SocketAddr,
    api: SocketAddr,
    admin: SocketAddr,
}

impl Resolver {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [https, dns, api, admin] = [(); 4].map(|()| free_for_both());
        let at = |name: &str| folder.path().join(name);
        for (name, text) in [
            ("key", "11".repeat(32)),
            ("hints", ". NS ns.\nns. A 127.0.0.1\n".to_owned()),
            ("anchors", ANCHOR.to_owned()),
            ("block", "blocked.test\n".to_owned()),
        ] {
            std::fs::write(at(name), text).unwrap();
        }
        let config = format!(
            "[node]\nname = \"one\"\npop = \"FRA\"\nregion = \"local\"\ndata_dir = \"data\"\nkey_file = \"key\"\n\
             admin = \"{admin}\"\ndrain_seconds = 1\n\
             [network]\nanycast_addresses = [\"{}\"]\nname_servers = [\"ns1.proxima.test\"]\n\
             [edge]\nhttps = [\"{https}\"]\n[edge.request_log]\npath = \"requests\"\nquery = true\n\
             [control]\nlisten = [\"{api}\"]\nactivation = \"trust\"\n\
             [dns]\nlisten = [\"{dns}\"]\nhttps = true\n\
             [dns.resolver]\nnames = [\"{NAME}\"]\nhttps = true\nhints_file = \"hints\"\nanchors_file = \"anchors\"\n\
             [[dns.resolver.policies]]\nname = \"home\"\nrecords = [\"printer.test A 192.0.2.7\"]\n\
             [[dns.resolver.policies]]\nname = \"school\"\nblock = [\"block\"]\n\
             records = [\"printer.test A 192.0.2.8\"]\n\
             [[dns.resolver.locations]]\nname = \"school\"\npolicy = \"school\"\ntokens = [\"{}\"]\n",
            https.ip(),
            digest(),
        );
        std::fs::write(at("node.toml"), config).unwrap();
        let log = std::fs::File::create(at("log")).unwrap();
        let mut command = Command::new(PROXIMA);
        command.arg("node").arg("--config").arg(at("node.toml")).stdin(Stdio::null()).stderr(log);
        let mut process = Running::start(command.stdout(Stdio::piped()));
        let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
        let is_ready = lines.by_ref().map_while(Result::ok).any(|line| line == "ready");
        assert!(is_ready, "{}", std::fs::read_to_string(at("log")).unwrap());
        std::thread::spawn(move || lines.for_each(drop));
        let resolver = Self { _process: process, folder, https, api, admin };
        resolver.proxima(&["zones", "add", "proxima.test"]);
        resolver
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn authority(&self) -> PathBuf {
        self.at("data/ca.pem")
    }

    /// A command of the client; what it printed, once it succeeds.
    fn proxima(&self, args: &[&str]) -> String {
        let begun = Instant::now();
        loop {
            let token = std::fs::read_to_string(self.at("data/token")).unwrap_or_default();
            let mut command = Command::new(PROXIMA);
            command.args(args).env("PROXIMA_API", format!("http://{}", self.api));
            let (succeeded, text) = output(command.env("PROXIMA_TOKEN", token.trim()));
            if succeeded {
                return text;
            }
            assert!(begun.elapsed() < DEADLINE, "proxima {args:?}: {text}");
        }
    }

    fn url(&self, target: &str) -> String {
        format!("https://{NAME}:{}{target}", self.https.port())
    }

    /// What curl gets, and the status behind it.
    fn curl(&self, target: &str) -> String {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--connect-to", &format!("::{}:", self.https.ip()), "--max-time", "20"])
            .args(["-w", "\n%{http_code}", "--cacert"])
            .arg(self.authority())
            .arg(self.url(target));
        output(&mut curl).1
    }

    fn curl_until(&self, target: &str, wanted: &str) -> String {
        let begun = Instant::now();
        loop {
            let answer = self.curl(target);
            if answer.contains(wanted) {
                return answer;
            }
            let log = std::fs::read_to_string(self.at("log")).unwrap();
            assert!(begun.elapsed() < DEADLINE, "no answer with {wanted:?}; the last one: {answer}\n{log}");
        }
    }

    fn kdig(&self, path: &str, asked: &[&str]) -> String {
        let mut kdig = Command::new("kdig");
        kdig.args([&format!("@{}", self.https.ip()), "-p", &self.https.port().to_string()])
            .args([&format!("+https={NAME}{path}"), &format!("+tls-hostname={NAME}")])
            .arg(format!("+tls-ca={}", self.authority().display()))
            .args(asked);
        output(&mut kdig).1
    }
}

fn json(answer: &str) -> Value {
    let (body, status) = answer.rsplit_once('\n').unwrap();
    assert_eq!(status, "200", "{body}");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

#[test]
fn the_resolver_is_asked_over_https_by_curl_kdig_and_dnspython_and_no_token_is_told() {
    let resolver = Resolver::start();
    let with_token = format!("/dns-query/{TOKEN}");
    // Once its zone has a certificate.
    let said = json(&resolver.curl_until("/dns-query?name=printer.test", "192.0.2.7"));
    assert_eq!((&said["Status"], &said["RA"]), (&0.into(), &true.into()), "{said}");
    let said = json(&resolver.curl(&format!("{with_token}?name=printer.test&type=A")));
    assert_eq!(said["Answer"][0]["data"], "192.0.2.8", "{said}");
    let said = json(&resolver.curl(&format!("{with_token}?name=www.blocked.test")));
    assert_eq!((&said["Status"], &said["Comment"]), (&3.into(), &"EDE 15 (Blocked)".into()), "{said}");
    for (target, status) in [
        ("/dns-query/k7qm2xv9ed4tw8ry?name=printer.test", "403"),
        ("/dns-query?name=a..b", "400"),
        ("/dns-query?dns=AAA=", "400"),
        ("/dns-query?name=printer.test&type=x", "400"),
        ("/dns-query", "400"),
    ] {
        let answer = resolver.curl(target);
        assert!(answer.ends_with(&format!("\n{status}")), "{target}: {answer}");
    }
    for method in ["+https-get", "+nohttps-get"] {
        let answer = resolver.kdig("/dns-query", &[method, "printer.test", "A"]);
        assert!(answer.contains("192.0.2.7") && answer.contains("HTTP/2"), "{answer}");
        let answer = resolver.kdig(&with_token, &[method, "+edns", "www.blocked.test", "A"]);
        assert!(answer.contains("status: NXDOMAIN") && answer.contains("EDE: 15"), "{answer}");
    }
    let mut by_http3 = Command::new(python());
    by_http3
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients/resolver_over_https.py"))
        .args([&resolver.https.ip().to_string(), &resolver.url("/dns-query"), &resolver.url(&with_token)])
        .arg(resolver.authority());
    assert_eq!(output(&mut by_http3), (true, "answered\n".to_owned()));

    let explained =
        resolver.proxima(&["explain", &resolver.url(&format!("{with_token}?name=a.blocked.test"))]);
    assert!(explained.contains("location school, policy school: blocked"), "{explained}");
    let (_, metrics) =
        output(Command::new("curl").args(["-sS", &format!("http://{}/metrics", resolver.admin)]));
    let counted = "proxima_dns_resolver_locations_total{location=\"school\",outcome=\"decided\"}";
    assert!(metrics.contains(counted), "{metrics}");
    let logged = || std::fs::read_to_string(resolver.at("requests")).unwrap();
    let begun = Instant::now();
    while !logged().contains("name=www.blocked.test") {
        assert!(begun.elapsed() < DEADLINE, "the request log has no line: {}", logged());
    }
    let log = std::fs::read_to_string(resolver.at("log")).unwrap();
    for (what, told) in [("metrics", &metrics), ("requests", &logged()), ("log", &log)] {
        assert!(!told.contains(TOKEN) && !told.contains(&digest()), "{what}: {told}");
    }
}
