//! Nodes know each other by the cluster's authority, and by nothing else.

#![allow(clippy::unwrap_used, reason = "in a test, what should be there and is not ends it")]

use std::{net::SocketAddr, path::Path, sync::Arc};

use proxima_chassis::{ClusterAuthority, Identity, IdentityConfig, NODE_DOMAIN};
use proxima_model::NodeName;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

fn issue(authority: &ClusterAuthority, name: &str, folder: &Path) -> Identity {
    let config = authority.issue(&NodeName::parse(name).unwrap(), &folder.join(name)).unwrap();
    Identity::load(&config).unwrap()
}

/// One octet there and back; says whether both sides were content.
async fn meet(server: &Identity, client: &Identity) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::clone(&server.server));
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await?;
        let mut stream = acceptor.accept(stream).await?;
        let octet = stream.read_u8().await?;
        stream.write_u8(octet).await?;
        stream.flush().await
    });
    let asking = async {
        let stream = TcpStream::connect(address).await?;
        let mut stream =
            TlsConnector::from(Arc::clone(&client.client)).connect(Identity::server_name(), stream).await?;
        stream.write_u8(7).await?;
        stream.read_u8().await
    };
    let answered = asking.await;
    let served = serving.await.unwrap();
    answered.is_ok() && served.is_ok()
}

#[tokio::test]
async fn nodes_of_one_cluster_trust_each_other() {
    let folder = tempfile::tempdir().unwrap();
    ClusterAuthority::create(folder.path()).unwrap();
    let authority = ClusterAuthority::load(folder.path()).unwrap();
    let (one, two) = (issue(&authority, "one", folder.path()), issue(&authority, "two", folder.path()));
    assert!(meet(&one, &two).await);
    assert!(meet(&two, &one).await);
}

#[tokio::test]
async fn a_node_of_another_authority_is_refused_on_both_sides() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = issue(&ClusterAuthority::create(ours.path()).unwrap(), "one", ours.path());
    let stranger = issue(&ClusterAuthority::create(theirs.path()).unwrap(), "one", theirs.path());
    assert!(!meet(&one, &stranger).await);
    assert!(!meet(&stranger, &one).await);
}

/// Issues an identity by hand, with what a [`ClusterAuthority`] never gives.
fn forge(folder: &Path, change: impl FnOnce(&mut rcgen::CertificateParams)) -> Identity {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let key = rcgen::KeyPair::from_pem(&read("ca.key")).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&read("ca.pem"), key).unwrap();
    let names = vec![format!("two.{NODE_DOMAIN}"), NODE_DOMAIN.to_owned()];
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    change(&mut params);
    let key = rcgen::KeyPair::generate().unwrap();
    let (certificate, key_file) = (folder.join("forged.pem"), folder.join("forged.key"));
    std::fs::write(&certificate, params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    Identity::load(&IdentityConfig { ca: folder.join("ca.pem"), certificate, key: key_file }).unwrap()
}

#[tokio::test]
async fn an_expired_certificate_and_one_of_the_future_are_refused_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let authority = ClusterAuthority::create(folder.path()).unwrap();
    let one = issue(&authority, "one", folder.path());
    let (past, future) = (rcgen::date_time_ymd(2001, 1, 1), rcgen::date_time_ymd(4001, 1, 1));
    let well = forge(folder.path(), |_| {});
    assert!(meet(&one, &well).await && meet(&well, &one).await, "only its dates are wrong");
    let expired = forge(folder.path(), |params| params.not_after = past);
    let early = forge(folder.path(), |params| params.not_before = future);
    for wrong in [expired, early] {
        assert!(!meet(&one, &wrong).await, "as a client");
        assert!(!meet(&wrong, &one).await, "as a server");
    }
}

#[tokio::test]
async fn whoever_shows_no_certificate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let authority = ClusterAuthority::create(folder.path()).unwrap();
    let one = issue(&authority, "one", folder.path());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.path().join("ca.pem")).unwrap()).unwrap();
    let nameless = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let nobody = Identity { client: Arc::new(nameless), ..one.clone() };
    assert!(!meet(&one, &nobody).await);
}

#[test]
fn an_authority_is_never_overwritten_and_its_key_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    ClusterAuthority::create(folder.path()).unwrap();
    assert!(ClusterAuthority::create(folder.path()).unwrap_err().to_string().contains("not overwritten"));
    let mode = std::fs::metadata(folder.path().join("ca.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_missing_or_broken_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = ClusterAuthority::create(folder.path())
        .unwrap()
        .issue(&NodeName::parse("one").unwrap(), folder.path())
        .unwrap();
    std::fs::write(folder.path().join("empty.pem"), "").unwrap();
    config.ca = folder.path().join("empty.pem");
    assert!(
        Identity::load(&config).unwrap_err().to_string().contains("empty.pem: there is no certificate in it")
    );
    config.ca = folder.path().join("absent.pem");
    assert!(Identity::load(&config).unwrap_err().to_string().contains("absent.pem"));
}
