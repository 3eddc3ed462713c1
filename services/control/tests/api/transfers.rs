//! Peers, their keys and ranges, and what is transferred to them.

use proxima_control::FIRST_ACCOUNT;
use serde_json::json;

use crate::harness::Node;

#[tokio::test]
async fn keys_peers_and_ranges_are_made_replaced_and_deleted_when_nothing_needs_them() {
    let node = Node::start().await;
    let of = |kind: &str| format!("/accounts/{FIRST_ACCOUNT}/secondary_dns/{kind}");
    let (acls, peers, tsigs) = (of("acls"), of("peers"), of("tsigs"));
    let secret = "c2l4dGVlbiBvY3RldHMhIQ==";
    let key = json!({"name": "Peer.Key.", "algo": "hmac-sha512.", "secret": secret});
    let key = node.ok("POST", &tsigs, Some(key)).await;
    assert_eq!(
        (&key["name"], &key["algo"], &key["secret"]),
        (&json!("peer.key."), &json!("hmac-sha512."), &json!(secret))
    );
    let again = json!({"name": "peer.key", "algo": "hmac-sha1", "secret": secret});
    assert_eq!(node.refused("POST", &tsigs, Some(again)).await, (400, 81101), "names tell keys apart");

    // As clients of v4 make a peer: by its name, then the rest of it.
    let peer = node.ok("POST", &peers, Some(json!({"name": "one"}))).await;
    let shown = json!({"id": peer["id"], "name": "one", "ip": null, "port": 53, "ixfr_enable": false, "tsig_id": null});
    assert_eq!(peer, shown);
    let one = format!("{peers}/{}", peer["id"].as_str().unwrap());
    let body =
        json!({"name": "one", "ip": "192.0.2.53", "port": 5353.0, "ixfr_enable": true, "tsig_id": key["id"]});
    let peer = node.ok("PUT", &one, Some(body)).await;
    assert_eq!((&peer["ip"], &peer["port"]), (&json!("192.0.2.53"), &json!(5353)));
    assert_eq!(node.ok("GET", &one, None).await, peer);
    assert_eq!(node.ok("GET", &peers, None).await, json!([peer]));

    let acl = node.ok("POST", &acls, Some(json!({"name": "all", "ip_range": "192.0.2.9/28"}))).await;
    assert_eq!(acl["ip_range"], "192.0.2.0/28");
    for (path, body) in [
        (&acls, json!({"name": "wide", "ip_range": "192.0.2.0/23"})),
        (&acls, json!({"name": "wide", "ip_range": "2001:db8::/63"})),
        (&acls, json!({"name": "none", "ip_range": "example.com"})),
        (&acls, json!({"name": "", "ip_range": "192.0.2.1"})),
        (&peers, json!({"name": "port", "port": 0})),
        (&peers, json!({"name": "port", "port": 53.5})),
        (&peers, json!({"name": "ip", "ip": "ns.example.com"})),
        (&peers, json!({"name": "key", "tsig_id": "00000000000000000000000000000000"})),
        (&tsigs, json!({"name": "a b", "algo": "hmac-sha256", "secret": secret})),
        (&tsigs, json!({"name": ".", "algo": "hmac-sha256", "secret": secret})),
        (&tsigs, json!({"name": "other", "algo": "hmac-md5", "secret": secret})),
        (&tsigs, json!({"name": "other", "algo": "hmac-sha256", "secret": "?"})),
        (&tsigs, json!({"name": "other", "algo": "hmac-sha256", "secret": "c2hvcnQ="})),
    ] {
        assert_eq!(node.refused("POST", path, Some(body.clone())).await, (400, 81101), "{body}");
    }

    let of_key = format!("{tsigs}/{}", key["id"].as_str().unwrap());
    assert_eq!(node.refused("DELETE", &of_key, None).await, (400, 81101), "a peer has it");
    node.ok("DELETE", &one, None).await;
    node.ok("DELETE", &of_key, None).await;
    node.ok("DELETE", &format!("{acls}/{}", acl["id"].as_str().unwrap()), None).await;
    assert_eq!(node.refused("GET", &of_key, None).await, (404, 81100));
    assert_eq!(node.refused("PUT", &one, Some(json!({"name": "one"}))).await, (404, 81100));
}

#[tokio::test]
async fn a_peer_from_which_a_zone_comes_is_not_deleted() {
    let node = Node::start().await;
    let peers = format!("/accounts/{FIRST_ACCOUNT}/secondary_dns/peers");
    let peer = node.ok("POST", &peers, Some(json!({"name": "primary", "ip": "192.0.2.53"}))).await;
    let zone = json!({"name": "example.com", "account": {"id": FIRST_ACCOUNT}, "type": "secondary"});
    let zone = node.ok("POST", "/zones", Some(zone)).await;
    let incoming = format!("/zones/{}/secondary_dns/incoming", zone["id"].as_str().unwrap());
    let body = json!({"name": "example.com", "peers": [peer["id"]], "auto_refresh_seconds": 300.0});
    for wrong in [json!(299), json!(604_801), json!(300.5), json!(-1)] {
        let wrong = json!({"name": "example.com", "peers": [peer["id"]], "auto_refresh_seconds": wrong});
        assert_eq!(node.refused("POST", &incoming, Some(wrong.clone())).await, (400, 81101), "{wrong}");
    }
    assert_eq!(node.ok("POST", &incoming, Some(body)).await["auto_refresh_seconds"], json!(300));
    let one = format!("{peers}/{}", peer["id"].as_str().unwrap());
    assert_eq!(node.refused("DELETE", &one, None).await, (400, 81101), "a zone comes from it");
    // In the order in which they are asked, each once.
    let mut ids = vec![peer["id"].clone()];
    for name in ["second", "third", "fourth"] {
        let made = node.ok("POST", &peers, Some(json!({"name": name, "ip": "192.0.2.54"}))).await;
        ids.push(made["id"].clone());
    }
    ids.sort_by_key(|id| std::cmp::Reverse(id.as_str().unwrap().to_owned()));
    let twice = [&ids[..], &ids[1..2]].concat();
    let body = json!({"name": "example.com", "peers": twice});
    assert_eq!(node.ok("PUT", &incoming, Some(body)).await["peers"], json!(ids));
    node.ok("DELETE", &incoming, None).await;
    node.ok("DELETE", &one, None).await;
}

#[tokio::test]
async fn a_zones_outgoing_transfers_name_peers_and_are_switched_on_and_off() {
    let node = Node::start().await;
    let peers = format!("/accounts/{FIRST_ACCOUNT}/secondary_dns/peers");
    let outgoing = format!("/zones/{}/secondary_dns/outgoing", node.zone("example.com").await);
    assert_eq!(node.refused("GET", &outgoing, None).await, (404, 81100));
    let peer = node.ok("POST", &peers, Some(json!({"name": "one", "ip": "192.0.2.53"}))).await;
    let body = json!({"name": "example.com.", "peers": [peer["id"]]});
    for wrong in [
        json!({"name": "example.org.", "peers": [peer["id"]]}),
        json!({"name": "example.com", "peers": ["00000000000000000000000000000000"]}),
        json!({"name": "example.com", "peers": (0..17).map(|n| format!("{n:032x}")).collect::<Vec<_>>()}),
    ] {
        assert_eq!(node.refused("POST", &outgoing, Some(wrong.clone())).await, (400, 81101), "{wrong}");
    }
    assert_eq!(node.refused("PUT", &outgoing, Some(body.clone())).await, (404, 81100));
    let made = node.ok("POST", &outgoing, Some(body.clone())).await;
    assert_eq!((&made["name"], &made["peers"]), (&json!("example.com."), &json!([peer["id"]])));
    assert!(made["soa_serial"].as_u64().unwrap() > 0, "{made}");
    assert_eq!(node.refused("POST", &outgoing, Some(body)).await, (400, 81101), "there is one");
    let status = format!("{outgoing}/status");
    assert_eq!(node.ok("GET", &status, None).await, json!("Enabled"));
    assert_eq!(node.ok("POST", &format!("{outgoing}/disable"), None).await, json!("Disabled"));
    assert_eq!(node.ok("GET", &status, None).await, json!("Disabled"));
    assert_eq!(node.ok("POST", &format!("{outgoing}/enable"), None).await, json!("Enabled"));
    let one = format!("{peers}/{}", peer["id"].as_str().unwrap());
    assert_eq!(node.refused("DELETE", &one, None).await, (400, 81101), "a zone has it");
    let none = json!({"name": "example.com", "peers": []});
    assert_eq!(node.ok("PUT", &outgoing, Some(none)).await["peers"], json!([]));
    node.ok("DELETE", &one, None).await;
    node.ok("DELETE", &outgoing, None).await;
    assert_eq!(node.refused("GET", &outgoing, None).await, (404, 81100));
}
