//! Every server serves the API: a follower reads its own replica and forwards what is written.

use std::{net::TcpListener, path::Path};

use proxima_chassis::ClusterAuthority;
use proxima_model::NodeName;
use serde_json::json;

use crate::harness::{Node, Options};

/// A port that was free a moment ago; the ledger's peers must know it before it is bound.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn identity(authority: &ClusterAuthority, folder: &Path, name: &str) -> String {
    let issued = authority.issue(&NodeName::parse(name).unwrap(), &folder.join(name)).unwrap();
    format!(
        "[identity]\nca = {:?}\ncertificate = {:?}\nkey = {:?}\n",
        issued.ca, issued.certificate, issued.key
    )
}

#[tokio::test]
async fn a_follower_forwards_writes_and_serves_reads_when_the_log_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let authority = ClusterAuthority::create(&folder.path().join("ca")).unwrap();
    let port = free_port();
    let log = Node::with(Options {
        control: "activation = \"trust\"".to_owned(),
        tables: format!(
            "[ledger]\nlisten = \"127.0.0.1:{port}\"\n{}",
            identity(&authority, folder.path(), "log")
        ),
        ..Options::default()
    })
    .await;
    let follower = Node::with(Options {
        tables: format!(
            "[ledger]\nlog = \"127.0.0.1:{port}\"\nupstreams = [\"127.0.0.1:{port}\"]\n{}",
            identity(&authority, folder.path(), "follower")
        ),
        control: "activation = \"trust\"".to_owned(),
        token: Some(log.token.clone()),
        ..Options::default()
    })
    .await;
    assert!(follower.context.replica.wait_for(log.context.replica.seq(), crate::harness::PATIENCE).await);

    let zone = follower.zone("example.com").await;
    let written = follower
        .request(reqwest::Method::POST, &format!("/zones/{zone}/dns_records"))
        .bearer_auth(&follower.token)
        .json(&json!({"type": "A", "name": "www", "content": "192.0.2.1"}))
        .send()
        .await
        .unwrap();
    let seq = written.headers()["proxima-seq"].to_str().unwrap().to_owned();
    let read = |node: &Node| {
        let (base, token) = (node.base.clone(), node.token.clone());
        let path = format!("{base}/zones/{zone}/dns_records?wait={seq}");
        async move {
            reqwest::Client::new().get(path).bearer_auth(token).send().await.unwrap().text().await.unwrap()
        }
    };
    assert!(read(&log).await.contains("www.example.com"));
    assert!(read(&follower).await.contains("www.example.com"));
    let far = follower.refused("GET", "/zones?wait=999999999", None).await;
    assert_eq!(far, (504, 10016), "a state that does not come is said not to come");

    drop(log);
    assert!(read(&follower).await.contains("www.example.com"), "reads go on without the log");
    let write = follower
        .request(reqwest::Method::POST, &format!("/zones/{zone}/dns_records"))
        .bearer_auth(&follower.token)
        .json(&json!({"type": "A", "name": "late", "content": "192.0.2.1"}))
        .send()
        .await
        .unwrap();
    assert_eq!(write.status().as_u16(), 503);
    assert_eq!(write.headers()["retry-after"], "5");
    let envelope: serde_json::Value = write.json().await.unwrap();
    assert_eq!(envelope["errors"][0]["code"], 10017, "{envelope}");
}
