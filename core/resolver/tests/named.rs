//! The resolver against BIND.

#![allow(clippy::unwrap_used, reason = "helpers of a test")]

mod tree;

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use proxima_resolver::{Metrics, Query, Read, Resolver, Settings, Sockets, parse_anchors};

#[tokio::test]
async fn names_that_bind_serves_are_resolved_and_validated() {
    let folder = tempfile::tempdir().unwrap();
    let tree = tree::start(folder.path());
    let now = || u64::try_from(millis()).unwrap();
    let settings = Settings {
        hints: vec![Ipv4Addr::LOCALHOST.into()],
        anchors: parse_anchors(&tree.anchor).unwrap(),
        allow_private_servers: true,
        cache_octets: 16 << 20,
        clock: Arc::new(now),
        stale_after: Duration::from_millis(1_800),
        stale_for: Duration::ZERO,
    };
    let resolver =
        Resolver::new(Sockets { port: tree.port }, settings, Metrics::register(&mut Registry::default()));
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
