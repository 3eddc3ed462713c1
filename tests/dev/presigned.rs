//! A zone that its primary signed comes from knot, and is answered with those signatures, by names and by hashes.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    dev::{DEADLINE, Dev},
    process::{free_for_both, output},
    secondaries::{ZONE, secondary, shows},
    transfers::{KEY, Other, SECRET, ok, peers},
};

/// A zone file of this serial.
fn file(serial: u32) -> String {
    format!(
        "$ORIGIN {ZONE}.\n$TTL 60\n@ SOA ns.elsewhere.test. mail.elsewhere.test. {serial} 3600 600 86400 60\n\
         @ NS ns.elsewhere.test.\nwww A 192.0.2.1\n*.wild TXT \"any\"\nold CNAME www\nsub NS ns.sub\nns.sub A 192.0.2.53\n\
         signed NS ns.sub\nsigned DS 2371 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n\
         svc HTTPS 1 Web.{ZONE}. alpn=h2\nweb A 192.0.2.2\n"
    )
}

/// A primary's folder, with a key of its own.
struct Signer {
    folder: tempfile::TempDir,
}

impl Signer {
    fn new() -> Self {
        let signer = Self { folder: tempfile::tempdir().unwrap() };
        signer.run("dnssec-keygen", &["-q", "-a", "ECDSAP256SHA256", "-f", "KSK", ZONE]);
        signer
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let done = Command::new(program).current_dir(self.folder.path()).args(arguments).output();
        let done = done.expect("it is installed: `cargo xtask setup`");
        assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Puts the zone of this serial where it is served from, signed in this way.
    fn sign(&self, serial: u32, way: &[&str]) {
        std::fs::write(self.path("unsigned"), file(serial)).unwrap();
        let fixed = ["-S", "-z", "-P", "-s", "now-1h", "-o", ZONE, "-f", "zone"];
        self.run("dnssec-signzone", &[&fixed[..], way, &["unsigned"]].concat());
    }

    /// What `delv` trusts.
    fn anchor(&self) -> PathBuf {
        let keys = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let key = keys.into_iter().find(|path| path.extension().is_some_and(|end| end == "key")).unwrap();
        let text = std::fs::read_to_string(key).unwrap();
        let key = text.lines().find_map(|line| line.split_once(" 257 3 13 ")).unwrap().1;
        let anchor = format!("trust-anchors {{ {ZONE}. static-key 257 3 13 \"{key}\"; }};");
        std::fs::write(self.path("anchor"), anchor).unwrap();
        self.path("anchor")
    }
}

fn validates_everything(dev: &Dev, anchor: &Path) {
    for (question, validated) in [
        ("www A", "192.0.2.1"),
        ("old A", "192.0.2.1"),
        ("x.y.wild TXT", "any"),
        ("svc HTTPS", "alpn"),
        ("@ SOA", "RRSIG"),
        ("@ DNSKEY", "RRSIG"),
        ("signed DS", "RRSIG"),
        ("www MX", "; negative response"),
        ("nothing A", "; negative response"),
        ("x.wild A", "; negative response"),
        ("sub DS", "; negative response"),
    ] {
        let (name, kind) = question.split_once(' ').unwrap();
        let name = if name == "@" { ZONE.to_owned() } else { format!("{name}.{ZONE}") };
        let mut delv = Command::new("delv");
        delv.arg(format!("@{}", dev.dns().ip())).args(["-p", &dev.dns().port().to_string(), "-a"]);
        delv.arg(anchor).arg(format!("+root={ZONE}")).args(["+nomultiline", &name, kind]);
        let (_, told) = output(&mut delv);
        assert!(told.contains("fully validated") && told.contains(validated), "{question}: {told}");
    }
}

/// A zone that comes from knot.
struct Came {
    dev: Dev,
    signer: Signer,
    knot: Other,
    primaries: Vec<String>,
    /// Its path in the API.
    path: String,
}

impl Came {
    /// Signed by names, and not to be answered so yet.
    fn new() -> Self {
        let (dev, at, signer) = (Dev::start(), free_for_both(), Signer::new());
        signer.sign(5, &[]);
        let knot = Other::primary_knot(at, &dev, ZONE, &signer.path("zone"));
        let primaries = peers(&dev, &[at]);
        secondary(&dev, &primaries);
        let path = format!("/zones/{}", dev.zone(ZONE));
        let came = Self { dev, signer, knot, primaries, path };
        came.until_serial(5);
        came
    }

    fn until_serial(&self, wanted: u32) {
        let path = format!("{}/secondary_dns/incoming", self.path);
        shows(&self.dev, &path, |shown| shown["soa_serial"] == wanted);
    }

    /// Waits until DNSSEC of it is shown so.
    fn shows(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        shows(&self.dev, &format!("{}/dnssec", self.path), wanted)
    }

    /// What `dig` tells, with one space between words.
    fn dig(&self, question: &[&str]) -> String {
        let told = self.dev.dig(&[&["+dnssec", "+norecurse"], question].concat());
        told.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
    }

    /// All records that a server has of it, in an order of their own.
    fn records(&self, at: SocketAddr) -> Vec<String> {
        let key = format!("hmac-sha256:{KEY}:{SECRET}");
        let mut dig = Command::new("dig");
        dig.arg(format!("@{}", at.ip())).args(["-p", &at.port().to_string(), "-y", &key, ZONE, "AXFR"]);
        // The peer is known by its address, too.
        let from = self.knot.address.ip().to_string();
        let (_, told) = output(dig.args(["-b", &from, "+noall", "+answer"]));
        let mut lines: Vec<String> = told
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with(';') && !line.contains("TSIG"))
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase())
            .collect();
        lines.sort_unstable();
        lines
    }

    fn is_answered_by_names(&self) {
        assert!(!self.dig(&["www.example.org", "A"]).contains("RRSIG"), "it is answered unsigned");
        let told = self.dev.proxima(&["zones", "dnssec", ZONE, "on", "--presigned"]);
        assert!(told.contains("has not come") || told.contains("is active"), "{told}");
        let shown = self.shows(|shown| shown["status"] == "active");
        let denial = &shown["presigned"]["denial"];
        assert_eq!(
            (&shown["ds"], &shown["dnssec_presigned"], &shown["dnssec_use_nsec3"], denial),
            (&json!(null), &json!(true), &json!(false), &json!("nsec")),
            "{shown}"
        );
        validates_everything(&self.dev, &self.signer.anchor());
        assert!(self.dig(&["www.example.org", "ANY"]).contains(" RRSIG A 13 "));
    }

    /// With opt-out, and by differences.
    fn is_answered_by_hashes(&self) {
        self.signer.sign(6, &["-3", "ab12", "-H", "1", "-A"]);
        self.knot.reload();
        let shown = self.shows(|shown| shown["presigned"]["denial"] == "nsec3");
        assert_eq!((&shown["status"], &shown["dnssec_use_nsec3"]), (&json!("active"), &json!(true)));
        for (question, wanted) in [
            (&["nothing.example.org", "A"][..], "status: NXDOMAIN"),
            (&["www.example.org", "MX"], " NSEC3 1 "),
            (&["www.example.org", "A"], " RRSIG A 13 3 60 "),
            (&["host.signed.example.org", "A"], " RRSIG DS 13 "),
            (&["example.org", "NSEC3PARAM"], "1 0 1 AB12"),
        ] {
            assert!(self.dig(question).contains(wanted), "{question:?}: {}", self.dig(question));
        }
        // No name of the zone.
        let told = self.dig(&["nothing.example.org", "A"]);
        let denial = told.lines().find(|line| line.contains(" IN NSEC3 ")).unwrap();
        let owner = denial.split(' ').next().unwrap();
        assert!(self.dig(&[owner, "NSEC3"]).contains("status: NXDOMAIN"), "{owner}");
    }

    fn goes_on_to_others_with_all_that_came(&self) {
        let outgoing = json!({ "name": format!("{ZONE}."), "peers": self.primaries });
        let path = format!("{}/secondary_dns/outgoing", self.path);
        ok(&self.dev, "POST", &path, outgoing);
        ok(&self.dev, "POST", &format!("{path}/enable"), json!({}));
        let begun = Instant::now();
        while self.records(self.dev.dns()).len() < 10 {
            assert!(begun.elapsed() < DEADLINE, "{:?}", self.records(self.dev.dns()));
        }
        assert_eq!(self.records(self.dev.dns()), self.records(self.knot.address));
    }

    fn is_served_as_it_comes_and_what_is_wrong_is_told(&self) {
        std::fs::write(self.signer.path("zone"), file(7)).unwrap();
        self.knot.reload();
        self.until_serial(7);
        let shown = self.shows(|shown| shown["status"] == "error");
        assert!(shown["presigned"]["problem"].as_str().unwrap().contains("without keys"), "{shown}");
        assert!(self.dig(&["www.example.org", "A"]).contains("192.0.2.1"));
        // By signatures that have ended.
        self.signer.sign(8, &["-s", "now-2d", "-e", "now-1d"]);
        self.knot.reload();
        self.until_serial(8);
        let shown = self.shows(|shown| shown["presigned"]["denial"] == "nsec");
        assert!(shown["presigned"]["problem"].as_str().unwrap().contains("ended at"), "{shown}");
        assert!(self.dig(&["www.example.org", "A"]).contains(" RRSIG A 13 "));
    }

    fn is_answered_unsigned_again(&self) {
        let told = self.dev.proxima(&["zones", "dnssec", ZONE, "off"]);
        assert!(told.contains("example.org is disabled"), "{told}");
        let begun = Instant::now();
        let is_signed = || self.dig(&["www.example.org", "A"]).contains("RRSIG");
        while is_signed() || self.dig(&[ZONE, "DNSKEY"]).contains(" DNSKEY 257 ") {
            assert!(begun.elapsed() < DEADLINE);
        }
    }
}

#[test]
fn a_zone_that_its_primary_signed_is_validated_and_what_is_wrong_with_it_is_told() {
    let came = Came::new();
    came.is_answered_by_names();
    came.is_answered_by_hashes();
    came.goes_on_to_others_with_all_that_came();
    came.is_served_as_it_comes_and_what_is_wrong_is_told();
    came.is_answered_unsigned_again();
}
