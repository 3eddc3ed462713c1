//! The resolver against BIND.

#![allow(clippy::unwrap_used, reason = "helpers of a test")]

mod tree;

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use proxima_resolver::{
    AnchorState, Followed, Metrics, Query, Read, Resolver, Settings, Sockets, TrustAnchors, Unobserved,
    ZONE_ASKED_MAX, parse_anchors,
};

#[tokio::test]
async fn names_that_bind_serves_are_resolved_and_validated() {
    let folder = tempfile::tempdir().unwrap();
    let tree = tree::start(folder.path());
    let now = || u64::try_from(millis()).unwrap();
    let anchors = TrustAnchors::followed(parse_anchors(&tree.anchor).unwrap(), Followed::default());
    let settings = settings(anchors.clone(), now);
    let resolver =
        Resolver::new(Sockets { port: tree.port }, settings, Metrics::register(&mut Registry::default()));
    let observation = resolver.tend().await.keys.unwrap();
    assert_eq!(observation.outcome, Ok(()));
    assert_eq!(anchors.to_keep().count(AnchorState::Valid), 1, "the root's key, by its digest");
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
        let answer = ask(&resolver, name, kind).await;
        let said = (answer[3] & 0xF, answer[3] & 0x20 != 0, answer[7]);
        assert_eq!(said, (code, secure, answers), "{name} {kind}");
    }
}

#[tokio::test]
async fn a_key_of_the_root_that_binds_tools_have_revoked_is_an_anchor_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let run = |program: &str, arguments: &[&str]| tree::run(folder.path(), program, arguments);
    let [old, new] = [0, 1].map(|_| run("dnssec-keygen", &["-q", "-a", "ECDSAP256SHA256", "-f", "KSK", "."]));
    let [of_old, of_new] = [&old, &new].map(|key| run("dnssec-dsfromkey", &["-2", key]));
    let revoked = run("dnssec-revoke", &["-f", &old]);
    let read = |key: &str| std::fs::read_to_string(folder.path().join(format!("{key}.key"))).unwrap();
    let head =
        "$TTL 300\n@ SOA ns hostmaster 1 300 300 3000 300\n@ NS ns\nns A 127.0.0.1\nwww A 192.0.2.80\n";
    std::fs::write(folder.path().join("zone."), format!("{head}{}{}", read(&revoked), read(&new))).unwrap();
    run("dnssec-signzone", &["-z", "-o", ".", "-f", "zone..signed", "zone."]);
    let (port, _named) = tree::serve(folder.path(), &["."]);
    let now = || u64::try_from(millis()).unwrap();
    for (configured, outcome, secure) in [
        (format!("{of_old}\n{of_new}\n"), Ok(()), true),
        // Not even by the key that it has now, which nobody who is trusted has introduced.
        (format!("{of_old}\n"), Err(Unobserved::NoAnchor), false),
    ] {
        let anchors = TrustAnchors::followed(parse_anchors(&configured).unwrap(), Followed::default());
        let settings = settings(anchors.clone(), now);
        let resolver = Resolver::new(Sockets { port }, settings, Metrics::register(&mut Registry::default()));
        assert_eq!(resolver.tend().await.keys.unwrap().outcome, outcome);
        assert_eq!(anchors.to_keep().count(AnchorState::Revoked), 1);
        let answer = ask(&resolver, "www", 1).await;
        assert_eq!((answer[3] & 0xF == 0, answer[3] & 0x20 != 0), (secure, secure));
    }
}

fn settings(anchors: Arc<TrustAnchors>, now: fn() -> u64) -> Settings {
    Settings {
        hints: vec![Ipv4Addr::LOCALHOST.into()],
        anchors,
        allow_private_servers: true,
        cache_octets: 16 << 20,
        zone_asked_max: ZONE_ASKED_MAX,
        clock: Arc::new(now),
        stale_after: Duration::from_millis(1_800),
        stale_for: Duration::ZERO,
    }
}

async fn ask(resolver: &Arc<Resolver<Sockets>>, name: &str, kind: u8) -> Vec<u8> {
    let mut octets = [7_u16, 0x0120, 1, 0, 0, 0].map(u16::to_be_bytes).concat();
    for label in name.split('.') {
        octets.push(u8::try_from(label.len()).unwrap());
        octets.extend_from_slice(label.as_bytes());
    }
    octets.extend([0, 0, kind, 0, 1]);
    let Read::Query(query) = Query::read(&octets) else { panic!("{name}") };
    let mut answer = Vec::new();
    resolver.answer(&query, usize::from(u16::MAX), &mut answer).await;
    answer
}

#[allow(clippy::disallowed_methods, reason = "this is the test's clock")]
fn millis() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()
}
