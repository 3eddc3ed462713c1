//! The API with TLS, under the node's own certificate.

use std::{path::Path, sync::Arc, time::Duration};

use proxima_chassis::ClusterAuthority;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    followers::identity,
    harness::{Node, Options},
};

/// Trusts this authority, or nobody.
fn connector(authority: Option<&Path>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    if let Some(path) = authority {
        roots.add(CertificateDer::from_pem_file(path).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn the_api_is_served_with_tls_to_clients_that_trust_the_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let authority = ClusterAuthority::create(&folder.path().join("ca")).unwrap();
    let node = Node::with(Options {
        control: "https = [\"127.0.0.1:0\"]".to_owned(),
        tables: identity(&authority, folder.path(), "test-1"),
        ..Options::default()
    })
    .await;
    let connect = async |trusted: bool, name: &'static str| {
        let stream = TcpStream::connect(node.bound[1]).await.unwrap();
        let authority = trusted.then(|| folder.path().join("ca/ca.pem"));
        connector(authority.as_deref()).connect(ServerName::try_from(name).unwrap(), stream).await
    };
    let mut stream = connect(true, "test-1.node.internal").await.unwrap();
    let request = format!(
        "GET /client/v4/user/tokens/verify HTTP/1.1\r\nhost: test-1.node.internal\r\n\
         authorization: Bearer {}\r\nconnection: close\r\n\r\n",
        node.token
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Whether the connection's end is announced is the server's affair.
    stream.read_to_end(&mut answer).await.ok();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"success\":true"), "{answer}");
    assert!(connect(true, "other.node.internal").await.is_err(), "another name");
    assert!(connect(false, "test-1.node.internal").await.is_err(), "another authority");
}

/// Less than a connection may take to say something: room that it takes is not given back by then.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn who_fills_the_public_listener_takes_no_room_of_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let authority = ClusterAuthority::create(&folder.path().join("ca")).unwrap();
    let node = Node::with(Options {
        control: "https = [\"127.0.0.1:0\"]\nconnections_max = 2\nrequests_max = 1".to_owned(),
        tables: identity(&authority, folder.path(), "test-1"),
        ..Options::default()
    })
    .await;
    let asks = async || {
        let request = node.request(reqwest::Method::GET, "/user/tokens/verify").bearer_auth(&node.token);
        // Each over a connection of its own.
        let asked = request.header("connection", "close").send();
        tokio::time::timeout(SOON, asked).await.expect("it has room of its own").unwrap().status().as_u16()
    };
    // A request whose content does not come is the only one that may be worked on …
    let stream = TcpStream::connect(node.bound[1]).await.unwrap();
    let name = ServerName::try_from("test-1.node.internal").unwrap();
    let connector = connector(Some(&folder.path().join("ca/ca.pem")));
    let mut slow = connector.connect(name, stream).await.unwrap();
    let request = format!(
        "POST /client/v4/zones HTTP/1.1\r\nhost: test-1.node.internal\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n",
        node.token
    );
    slow.write_all(request.as_bytes()).await.unwrap();
    let mut begun = [0; 12];
    slow.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 100", "it is being read");
    assert_eq!(asks().await, 200);
    // … and with one that says nothing at all, there is no room for a third.
    let silent = TcpStream::connect(node.bound[1]).await.unwrap();
    let waiting = TcpStream::connect(node.bound[1]).await.unwrap();
    assert_eq!(asks().await, 200);
    drop((slow, silent, waiting));
}
