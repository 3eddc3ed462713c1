//! A site's owner signs a zone on the command line, and validators take it: `delv`, and `unbound` as a resolver.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    time::Instant,
};

use crate::{
    dev::{DEADLINE, Dev},
    process::{free_for_both, output},
    running::Running,
};

/// What `delv` makes of a question, with the zone's own key as what it trusts.
fn delv(dev: &Dev, anchor: &str, args: &[&str]) -> String {
    let mut delv = Command::new("delv");
    delv.arg(format!("@{}", dev.dns().ip())).args(["-p", &dev.dns().port().to_string()]);
    let (_, told) = output(delv.args(["-a", anchor, "+root=example.com", "+nomultiline"]).args(args));
    told
}

/// Something of every kind.
fn add_zone(dev: &Dev) {
    dev.proxima(&["zones", "add", "example.com"]);
    for record in [
        ["A", "www", "192.0.2.1"],
        ["CNAME", "alias", "www.example.com"],
        ["TXT", "*.wild", "\"anything\""],
        ["MX", "@", "10 mail.example.com"],
        ["NS", "sub", "ns.elsewhere.example"],
    ] {
        let [kind, name, content] = record;
        dev.proxima(&["dns", "add", "example.com", kind, name, content]);
    }
    dev.proxima(&["dns", "add", "example.com", "A", "shop", "192.0.2.2", "--proxied"]);
}

/// Asks for one thing of each kind, and has the answers validated.
fn validates_everything(dev: &Dev, anchor: &str, digest: &str) {
    for (question, validated) in [
        ("www.example.com A", "192.0.2.1"),
        ("shop.example.com A", "RRSIG"),
        ("shop.example.com HTTPS", "RRSIG"),
        ("alias.example.com A", "192.0.2.1"),
        ("x.y.wild.example.com TXT", "anything"),
        ("example.com MX", "mail.example.com"),
        ("example.com SOA", "RRSIG"),
        ("example.com NS", "RRSIG"),
        ("example.com DNSKEY", "RRSIG"),
        ("example.com CDS", &digest[..40]),
        ("www.example.com MX", "; negative response"),
        ("nothing.example.com A", "; negative response"),
        ("wild.example.com A", "; negative response"),
        ("sub.example.com DS", "; negative response"),
    ] {
        let args: Vec<&str> = question.split(' ').collect();
        let answer = delv(dev, anchor, &args);
        assert!(answer.contains("fully validated") && answer.contains(validated), "{question}: {answer}");
    }
}

#[test]
fn a_zone_that_its_owner_signs_is_validated_whatever_is_asked_of_it() {
    let dev = Dev::start();
    add_zone(&dev);
    assert!(dev.proxima(&["zones", "dnssec", "example.com"]).contains("example.com is disabled"));
    assert!(dev.dig(&["+dnssec", "www.example.com", "A"]).contains("ANSWER: 1"));
    let told = dev.proxima(&["zones", "dnssec", "example.com", "on"]);
    assert!(told.contains("example.com is active"), "{told}");
    let of = |name: &str| {
        told.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).expect(name).to_owned()
    };

    let folder = tempfile::tempdir().unwrap();
    let anchor = folder.path().join("anchor");
    let key = format!("trust-anchors {{ example.com. static-key 257 3 13 \"{}\"; }};", of("public key"));
    std::fs::write(&anchor, key).unwrap();
    let anchor = anchor.display().to_string();
    validates_everything(&dev, &anchor, &of("digest"));

    // Another key is not this zone's.
    let other = folder.path().join("other");
    let wrong =
        format!("trust-anchors {{ example.com. static-ds {} 13 2 \"{}\"; }};", of("key tag"), "0".repeat(64));
    std::fs::write(&other, wrong).unwrap();
    let refused = delv(&dev, &other.display().to_string(), &["www.example.com", "A"]);
    assert!(!refused.contains("fully validated"), "{refused}");
    let by_ds = folder.path().join("ds");
    let right =
        format!("trust-anchors {{ example.com. static-ds {} 13 2 \"{}\"; }};", of("key tag"), of("digest"));
    std::fs::write(&by_ds, right).unwrap();
    let answer = delv(&dev, &by_ds.display().to_string(), &["www.example.com", "A"]);
    assert!(answer.contains("fully validated"), "{answer}");

    // Whoever does not ask for signatures sees no difference.
    let plain = dev.dig(&["nothing.example.com", "A"]);
    assert!(plain.contains("status: NXDOMAIN") && !plain.contains("RRSIG"), "{plain}");
    let compact = dev.dig(&["+dnssec", "nothing.example.com", "A"]);
    assert!(
        compact.contains("status: NOERROR") && compact.contains("NSEC\t\\000.nothing.example.com."),
        "{compact}"
    );
    let off = dev.proxima(&["zones", "dnssec", "example.com", "off"]);
    assert!(off.contains("example.com is disabled"), "{off}");
    assert!(dev.dig(&["+dnssec", "www.example.com", "A"]).contains("ANSWER: 1"));
}

#[test]
fn a_zone_that_is_signed_with_ed25519_is_validated() {
    let dev = Dev::start();
    add_zone(&dev);
    let told = dev.proxima(&["zones", "dnssec", "example.com", "on", "--algorithm", "15"]);
    let of = |name: &str| told.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).expect(name);
    assert_eq!(of("algorithm"), "15");
    let folder = tempfile::tempdir().unwrap();
    let anchor = folder.path().join("anchor");
    let ds =
        format!("trust-anchors {{ example.com. static-ds {} 15 2 \"{}\"; }};", of("key tag"), of("digest"));
    std::fs::write(&anchor, ds).unwrap();
    validates_everything(&dev, &anchor.display().to_string(), of("digest"));
    let other = dev.proxima_fails(&["zones", "dnssec", "example.com", "on", "--algorithm", "13"]);
    assert!(other.contains("signed with another one"), "{other}");
}

#[test]
fn a_zone_with_nsec3_is_validated_and_tells_nobody_its_names() {
    let dev = Dev::start();
    add_zone(&dev);
    dev.proxima(&["dns", "add", "example.com", "A", "deep.between", "192.0.2.3"]);
    let told = dev.proxima(&["zones", "dnssec", "example.com", "on", "--nsec3"]);
    let of = |name: &str| told.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).expect(name);
    let folder = tempfile::tempdir().unwrap();
    let anchor = folder.path().join("anchor");
    let key = format!("trust-anchors {{ example.com. static-key 257 3 13 \"{}\"; }};", of("public key"));
    std::fs::write(&anchor, key).unwrap();
    validates_everything(&dev, &anchor.display().to_string(), of("digest"));

    let denied = dev.dig(&["+dnssec", "a.b.nothing.example.com", "A"]);
    assert!(denied.contains("status: NXDOMAIN") && denied.matches(" IN NSEC3 ").count() == 3, "{denied}");
    let ds = told.lines().find(|line| line.contains(" IN DS ")).expect(&told);
    let unbound = Unbound::start(&[("example.com", dev.dns())], ds);
    for (question, status, records) in [
        ("www.example.com A", "NOERROR", 2),
        ("nothing.example.com A", "NXDOMAIN", 0),
        ("a.b.nothing.example.com A", "NXDOMAIN", 0),
        ("x.www.example.com TXT", "NXDOMAIN", 0),
        ("www.example.com MX", "NOERROR", 0),
        ("between.example.com A", "NOERROR", 0),
        ("x.between.example.com A", "NXDOMAIN", 0),
        ("x.wild.example.com TXT", "NOERROR", 2),
        ("x.wild.example.com A", "NOERROR", 0),
        ("y.x.wild.example.com TXT", "NOERROR", 2),
        ("wild.example.com TXT", "NOERROR", 0),
        ("sub.example.com DS", "NOERROR", 0),
        ("example.com NSEC3PARAM", "NOERROR", 2),
        ("example.com MX", "NOERROR", 2),
        // What was denied before denies nothing else.
        ("deep.between.example.com A", "NOERROR", 2),
    ] {
        let (name, kind) = question.split_once(' ').unwrap();
        let answer = unbound.ask(name, kind);
        assert!(answer.contains(&format!("status: {status}")), "{question}: {answer}");
        assert!(answer.contains(&format!("ANSWER: {records},")), "{question}: {answer}");
        assert!(answer.contains(" ad;"), "{question}: {answer}");
    }
    let plain = dev.proxima(&["zones", "dnssec", "example.com", "on", "--nsec3", "false"]);
    assert!(plain.contains("example.com is active"), "{plain}");
    let compact = dev.dig(&["+dnssec", "nothing.example.com", "A"]);
    assert!(compact.contains("NSEC\t\\000.nothing.example.com."), "{compact}");
}

/// A resolver that validates, and knows where zones are, and of the first one by DS records, a line each, that it can be trusted.
pub(crate) struct Unbound {
    _process: Running,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Unbound {
    /// One that stands several times is at several addresses.
    pub(crate) fn start(zones: &[(&str, SocketAddr)], ds: &str) -> Self {
        let (folder, address) = (tempfile::tempdir().unwrap(), free_for_both());
        let (ip, port) = (address.ip(), address.port());
        let mut text = format!(
            "server:\n interface: {ip}@{port}\n port: {port}\n chroot: \"\"\n username: \"\"\n directory: {:?}\n \
             pidfile: \"\"\n use-syslog: no\n do-daemonize: no\n do-not-query-localhost: no\n \
             module-config: \"validator iterator\"\n aggressive-nsec: yes\n",
            folder.path(),
        );
        text.extend(ds.lines().map(|ds| format!(" trust-anchor: \"{ds}\"\n")));
        text.push_str("remote-control:\n control-enable: no\n");
        let mut former = "";
        for (zone, at) in zones {
            if former != *zone {
                text.push_str(&format!("stub-zone:\n name: \"{zone}\"\n"));
            }
            text.push_str(&format!(" stub-addr: {}@{}\n", at.ip(), at.port()));
            former = zone;
        }
        let file = folder.path().join("unbound.conf");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("unbound");
        command.args(["-d", "-c"]).arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let unbound = Self { _process: Running::start(&mut command), address, _folder: folder };
        let begun = Instant::now();
        while !unbound.ask(zones[0].0, "SOA").contains("status: NOERROR") {
            assert!(begun.elapsed() < DEADLINE, "unbound did not start");
        }
        unbound
    }

    pub(crate) fn ask(&self, name: &str, kind: &str) -> String {
        let mut dig = Command::new("dig");
        dig.arg(format!("@{}", self.address.ip())).args(["-p", &self.address.port().to_string()]);
        output(dig.args(["+dnssec", "+time=5", "+tries=1", name, kind])).1
    }
}

#[test]
fn a_validating_resolver_takes_a_signed_zone_and_the_zones_beneath_it() {
    let dev = Dev::start();
    for zone in ["example.com", "signed.example.com", "bare.example.com"] {
        dev.proxima(&["zones", "add", zone]);
        dev.proxima(&["dns", "add", zone, "A", "www", "192.0.2.1"]);
    }
    dev.proxima(&["dns", "add", "example.com", "TXT", "*.wild", "\"anything\""]);
    let told = dev.proxima(&["zones", "dnssec", "example.com", "on"]);
    dev.proxima(&["zones", "dnssec", "signed.example.com", "on"]);
    let ds = told.lines().find(|line| line.contains(" IN DS ")).expect(&told);
    let unbound = Unbound::start(&[("example.com", dev.dns())], ds);
    for (question, status, records, authentic) in [
        ("www.example.com A", "NOERROR", 2, true),
        ("x.wild.example.com TXT", "NOERROR", 2, true),
        ("nothing.example.com A", "NOERROR", 0, true),
        ("www.example.com MX", "NOERROR", 0, true),
        // What was denied before denies nothing else.
        ("www.example.com A", "NOERROR", 2, true),
        ("signed.example.com DS", "NOERROR", 2, true),
        ("www.signed.example.com A", "NOERROR", 2, true),
        ("nothing.signed.example.com A", "NOERROR", 0, true),
        // A zone that is not signed, and is proven not to be.
        ("www.bare.example.com A", "NOERROR", 1, false),
        ("nothing.bare.example.com A", "NXDOMAIN", 0, false),
    ] {
        let (name, kind) = question.split_once(' ').unwrap();
        let answer = unbound.ask(name, kind);
        assert!(answer.contains(&format!("status: {status}")), "{question}: {answer}");
        assert!(answer.contains(&format!("ANSWER: {records},")), "{question}: {answer}");
        assert_eq!(answer.contains(" ad;"), authentic, "{question}: {answer}");
    }
}

#[test]
fn a_zone_that_is_delegated_to_others_and_signed_by_them_is_validated_by_its_ds_record() {
    let (dev, others) = (Dev::start(), Dev::start());
    dev.proxima(&["zones", "add", "example.com"]);
    let told = dev.proxima(&["zones", "dnssec", "example.com", "on"]);
    let anchor = told.lines().find(|line| line.contains(" IN DS ")).expect(&told);
    let ds_of = |zone: &str| {
        others.proxima(&["zones", "add", zone]);
        others.proxima(&["dns", "add", zone, "A", "www", "192.0.2.1"]);
        let told = others.proxima(&["zones", "dnssec", zone, "on"]);
        told.split_once(" IN DS ").expect(&told).1.lines().next().unwrap().to_owned()
    };
    let (safe, other) = (ds_of("safe.example.com"), ds_of("wrong.example.com"));
    let early = dev.proxima_fails(&["dns", "add", "example.com", "DS", "safe", &safe]);
    assert!(early.contains("no NS record") && early.contains("make its NS records first"), "{early}");
    for name in ["safe", "wrong", "bare"] {
        dev.proxima(&["dns", "add", "example.com", "NS", name, &format!("ns.{name}.example.com")]);
    }
    dev.proxima(&["dns", "add", "example.com", "DS", "safe", &safe]);
    dev.proxima(&["dns", "add", "example.com", "DS", "wrong", &safe]);
    assert_ne!(safe, other);

    let referral = dev.dig(&["+dnssec", "+norecurse", "www.safe.example.com", "A"]);
    assert!(referral.contains("IN\tDS") && referral.contains("RRSIG\tDS"), "{referral}");
    let referral = dev.dig(&["+dnssec", "+norecurse", "www.bare.example.com", "A"]);
    assert!(referral.contains("RRSIG\tNSEC") && !referral.contains("IN\tDS"), "{referral}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("anchor");
    let of = |name: &str| told.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).expect(name);
    let key = format!("trust-anchors {{ example.com. static-key 257 3 13 \"{}\"; }};", of("public key"));
    std::fs::write(&file, key).unwrap();
    for (question, validated) in [
        (["safe.example.com", "DS"], "fully validated"),
        (["bare.example.com", "DS"], "negative response, fully validated"),
    ] {
        let answer = delv(&dev, &file.display().to_string(), &question);
        assert!(answer.contains(validated), "{question:?}: {answer}");
    }

    let beneath = ["safe.example.com", "wrong.example.com"].map(|zone| (zone, others.dns()));
    let zones = [&[("example.com", dev.dns())], &beneath[..]].concat();
    let unbound = Unbound::start(&zones, anchor);
    let answer = unbound.ask("www.safe.example.com", "A");
    assert!(answer.contains(" ad;") && answer.contains("192.0.2.1"), "{answer}");
    let answer = unbound.ask("www.wrong.example.com", "A");
    assert!(answer.contains("status: SERVFAIL"), "a zone that is signed by other keys: {answer}");
}
