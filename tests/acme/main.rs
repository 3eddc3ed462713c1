//! Certificates ordered from pebble, an ACME authority that Let's Encrypt makes for tests: the real binary, whose own DNS
//! pebble asks, and `curl` that trusts pebble's root alone.

#![allow(clippy::unwrap_used, reason = "in a test, what should be there and is not ends it")]

mod pebble;
#[path = "../dev/process.rs"]
#[allow(dead_code, reason = "the harness of another suite, which uses more of it")]
mod process;
mod server;

use pebble::{Authority, Pebble};
use serde_json::{Value, json};
use server::Server;

const ZONE: &str = "shop.example";

/// The challenge's texts, as DNS answers them.
fn challenges(server: &Server) -> Vec<String> {
    let answer = server.dig(&["+short", &format!("_acme-challenge.{ZONE}"), "TXT"]);
    answer.lines().map(str::to_owned).collect()
}

fn pack(server: &Server, zone: &str) -> Value {
    server.api("GET", &format!("/zones/{zone}/ssl/certificate_packs?status=all"), None)["result"][0].clone()
}

/// What the pack's first error says; empty if there is none.
fn told(pack: &Value) -> &str {
    pack["validation_errors"][0]["message"].as_str().unwrap_or_default()
}

#[test]
fn a_zone_gets_certificates_that_browsers_trust_and_renews_them() {
    let authority = Authority::new();
    let server = Server::new();
    // Certificates live for a minute and are renewed when nine tenths of it are left.
    let pebble = Pebble::start(&authority, server.dns(), json!({ "certificateValidityPeriod": 60 }));
    let server = server.start(&authority.config("rsa = true\nrenew_left_percent = 90\npropagation_ms = 0\n"));
    let zone = server.add_zone(ZONE);
    let root = pebble.root();

    let ecdsa = server.until("a certificate of the public authority", || {
        server
            .handshake(&root, &format!("https://{ZONE}"), &[])
            .filter(|chain| chain.contains("id-ecPublicKey"))
    });
    assert!(ecdsa.contains("Pebble Intermediate"), "{ecdsa}");
    assert!(server.handshake(&root, &format!("https://www.{ZONE}"), &[]).is_some(), "the wildcard");

    // Who takes nothing but RSA gets that.
    let only_rsa = ["--tls-max", "1.2", "--ciphers", "ECDHE-RSA-AES128-GCM-SHA256"];
    let rsa = server
        .until("a certificate for RSA", || server.handshake(&root, &format!("https://{ZONE}"), &only_rsa));
    assert!(rsa.contains("rsaEncryption"), "{rsa}");

    let serial = |chain: &str| {
        let line = chain.lines().find_map(|line| line.split_once("Serial Number:"));
        line.map(|(_, serial)| serial.trim().to_owned()).unwrap()
    };
    server.until("another certificate", || {
        let chain = server.handshake(&root, &format!("https://{ZONE}"), &[])?;
        (serial(&chain) != serial(&ecdsa)).then_some(())
    });

    // Pebble refuses some requests at random, of renewals too: that is told until the next try.
    let pack = server.until("nothing is in the way", || {
        let pack = pack(&server, &zone);
        (told(&pack).is_empty() && pack["validation_errors"] == json!([])).then_some(pack)
    });
    assert_eq!((&pack["status"], &pack["type"]), (&json!("active"), &json!("universal")), "{pack}");
    assert_eq!(pack["hosts"], json!([ZONE, format!("*.{ZONE}")]));
    assert_eq!(pack["certificates"].as_array().unwrap().len(), 2, "{pack}");
    let text = server.metrics();
    assert!(text.contains("proxima_control_acme_orders_total{result=\"issued\"}"), "{text}");
    let log = server.log();
    assert!(!log.contains("PRIVATE KEY"), "{log}");

    // Who wants none has none at once.
    let settings = format!("/zones/{zone}/ssl/universal/settings");
    server.api("PATCH", &settings, Some(json!({ "enabled": false })));
    server.until("no certificate", || {
        server.handshake(&root, &format!("https://{ZONE}"), &[]).is_none().then_some(())
    });
    assert_eq!(server.api("GET", &settings, None)["result"]["enabled"], false);
    server.until("nothing left of its orders", || challenges(&server).is_empty().then_some(()));
}

#[test]
fn an_order_that_is_refused_is_told_and_leaves_nothing_behind() {
    let authority = Authority::new();
    let server = Server::new();
    // Pebble asks for the challenges where nobody answers.
    let _pebble = Pebble::start(&authority, process::free_for_both(), json!({}));
    let server = server.start(&authority.config("propagation_ms = 10000\n"));
    let zone = server.add_zone(ZONE);

    // The zone's name and the wildcard have a text each, at the same name.
    server.until("two challenges", || (challenges(&server).len() == 2).then_some(()));
    let records = server.api("GET", &format!("/zones/{zone}/dns_records"), None);
    assert_eq!(records["result"], json!([]), "challenges are no records");
    let pending = pack(&server, &zone);
    assert_eq!(pending["status"], "pending_validation", "{pending}");
    assert_eq!(pending["validation_records"].as_array().unwrap().len(), 2, "{pending}");
    let verification = server.api("GET", &format!("/zones/{zone}/ssl/verification"), None);
    assert_eq!(verification["result"][0]["certificate_status"], "authorizing", "{verification}");
    let active = server.api("GET", &format!("/zones/{zone}/ssl/certificate_packs"), None);
    assert_eq!(active["result"], json!([]), "only active ones unless asked");

    let refused = server.until("the refusal", || {
        let pack = pack(&server, &zone);
        told(&pack).contains("urn:ietf:params:acme:error:").then_some(pack)
    });
    assert!(told(&refused).contains(ZONE), "{refused}");
    assert_eq!(
        (&refused["status"], &refused["validation_records"]),
        (&json!("pending_validation"), &json!([]))
    );
    assert_eq!(challenges(&server), Vec::<String>::new());
    assert!(server.metrics().contains("proxima_control_acme_orders_total{result=\"refused\"} 1"));
    // Meanwhile the network's own authority serves.
    let own = refused["certificates"][0]["issuer"].as_str().unwrap();
    assert!(own.contains("Proxima Edge Authority"), "{refused}");

    // What stands in the way in the zone itself is told without asking anybody.
    let alias =
        json!({ "type": "CNAME", "name": format!("_acme-challenge.{ZONE}"), "content": "dcv.example.net" });
    server.api("POST", &format!("/zones/{zone}/dns_records"), Some(alias));
    let pack = pack(&server, &zone);
    let errors = pack["validation_errors"].to_string();
    assert!(errors.contains("alias (CNAME) of dcv.example.net"), "{errors}");
}

#[test]
fn an_authority_that_is_out_of_reach_or_forgets_and_a_crash_in_the_middle_are_survived() {
    let mut authority = Authority::new();
    authority.bind("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W");
    let server = Server::new();
    let dns = server.dns();
    let mut server = server.start(&authority.config("propagation_ms = 60000\n"));
    let zone = server.add_zone(ZONE);
    let told_so = server.until("that the authority is out of reach", || {
        let pack = pack(&server, &zone);
        told(&pack).contains("the certificate authority at https://").then(|| pack.clone())
    });
    assert_eq!(told_so["status"], "pending_validation", "{told_so}");
    assert!(server.metrics().contains("result=\"authority_failed\"}"));

    let binding = json!({
        "externalAccountBindingRequired": true,
        "externalAccountMACKeys": { "kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W" },
    });
    let pebble = Pebble::start(&authority, dns, binding.clone());
    server.until("two challenges", || (challenges(&server).len() == 2).then_some(()));
    server.kill();
    // It keeps accounts in memory alone: the next process finds that ours is not known any more.
    drop(pebble);
    let pebble = Pebble::start(&authority, dns, binding);
    server.start_again(&authority.config("propagation_ms = 0\n"));
    // What the former process left in the log is taken back, and the order begun anew.
    let root = pebble.root();
    server.until("a certificate", || server.handshake(&root, &format!("https://{ZONE}"), &[]));
    server.until("no challenges", || challenges(&server).is_empty().then_some(()));
    assert_eq!(pack(&server, &zone)["status"], "active");

    // Without an authority nothing is ordered any more, and what was ordered serves on.
    server.kill();
    server.start_again("");
    assert!(server.handshake(&root, &format!("https://{ZONE}"), &[]).is_some());
    assert_eq!(pack(&server, &zone)["status"], "active");
    assert!(server.log().contains(ZONE), "zones are named in the log by their names");
}
