//! The API with TLS, under the node's own certificate.

use std::sync::Arc;

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
    let connector = |trusted: bool| {
        let mut roots = RootCertStore::empty();
        if trusted {
            roots.add(CertificateDer::from_pem_file(folder.path().join("ca/ca.pem")).unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    };
    let connect = async |trusted: bool, name: &'static str| {
        let stream = TcpStream::connect(node.bound[1]).await.unwrap();
        connector(trusted).connect(ServerName::try_from(name).unwrap(), stream).await
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
