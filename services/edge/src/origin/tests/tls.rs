//! Origins by TLS.

use std::sync::Arc;

use http::StatusCode;
use proxima_model::SslMode;
use proxima_pipeline::{Fault, Scheme};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Mutex,
};
use tokio_rustls::TlsAcceptor;

use super::harness::{Edge, FakeOrigin, patient, read_head, short, text};
use crate::origin::{OriginConfig, OriginTimeouts};

pub(super) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    pub(super) fn server(&self, name: &str) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Arc::new(config)
    }
}

/// Answers every request of every connection by TLS; tells which name was asked for.
async fn tls_origin(config: Arc<ServerConfig>) -> (FakeOrigin, Arc<Mutex<Vec<Option<String>>>>) {
    let names = Arc::new(Mutex::new(Vec::new()));
    let record = names.clone();
    let origin = FakeOrigin::start(move |socket, _| {
        let (acceptor, record) = (TlsAcceptor::from(config.clone()), record.clone());
        async move {
            let Ok(mut tls) = acceptor.accept(socket).await else { return };
            record.lock().await.push(tls.get_ref().1.server_name().map(ToOwned::to_owned));
            while !read_head(&mut tls).await.is_empty() {
                tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret").await.ok();
                tls.flush().await.ok();
            }
        }
    })
    .await;
    (origin, names)
}

pub(super) fn edge(ssl: SslMode, authority: Option<&Authority>) -> Edge {
    edge_with(ssl, authority, patient())
}

fn edge_with(ssl: SslMode, authority: Option<&Authority>, timeouts: OriginTimeouts) -> Edge {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), authority.map_or("", |authority| &authority.pem)).unwrap();
    let origin_ca = authority.map(|_| file.path().to_owned());
    let config = OriginConfig { origin_ca, timeouts, ..OriginConfig::default() };
    Edge::with(config, |zone| zone.settings.ssl = ssl)
}

#[tokio::test]
async fn strict_verifies_the_certificate_and_full_does_not() {
    let authority = Authority::new();
    for (ssl, trusted, certificate_name, expected) in [
        (SslMode::Full, false, "elsewhere.example", None),
        (SslMode::Strict, true, "www.example.com", None),
        (SslMode::Strict, true, "elsewhere.example", Some(Fault::OriginCertificate)),
        (SslMode::Strict, false, "www.example.com", Some(Fault::OriginCertificate)),
    ] {
        let (origin, names) = tls_origin(authority.server(certificate_name)).await;
        let edge = edge(ssl, trusted.then_some(&authority));
        let mut answers = Vec::new();
        for _ in 0..2 {
            answers.push(edge.fetch(&mut edge.request_by("https", origin.address, "/")).await);
        }
        match expected {
            None => {
                for answer in answers {
                    assert_eq!(text(answer.unwrap()).await.unwrap(), "secret");
                }
                assert_eq!(origin.accepted(), 1, "the connection is used again");
                assert_eq!(*names.lock().await, [Some("www.example.com".to_owned())]);
            }
            Some(fault) => assert_eq!(answers.remove(0).unwrap_err(), fault, "{ssl:?} {certificate_name}"),
        }
    }
}

#[tokio::test]
async fn the_name_asked_for_is_the_host_that_the_origin_sees() {
    let authority = Authority::new();
    let (origin, names) = tls_origin(authority.server("inner.example")).await;
    let edge = edge(SslMode::Strict, Some(&authority));
    let mut exchange = edge.request_by("https", origin.address, "/");
    exchange.origin.host_header = Some("inner.example:8443".into());
    assert_eq!(edge.fetch(&mut exchange).await.unwrap().status, StatusCode::OK);
    assert_eq!(*names.lock().await, [Some("inner.example".to_owned())]);
}

#[tokio::test]
async fn a_handshake_that_fails_or_hangs_is_named() {
    let clear = FakeOrigin::start(|mut socket, _| async move {
        socket.read_u8().await.ok();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok();
    })
    .await;
    let hanging = FakeOrigin::start(|mut socket, _| async move {
        socket.read_to_end(&mut Vec::new()).await.ok();
    })
    .await;
    for origin in [clear, hanging] {
        let edge =
            edge_with(SslMode::Full, None, OriginTimeouts { handshake: short().handshake, ..patient() });
        let fault = edge.fetch(&mut edge.request_by("https", origin.address, "/")).await.unwrap_err();
        assert_eq!((fault.status().as_u16(), &fault), (525, &Fault::OriginTls));
    }
}

#[tokio::test]
async fn the_scheme_follows_the_zones_setting_and_the_visitors() {
    let origin = FakeOrigin::persistent("HTTP/1.1 204 No Content\r\n\r\n").await;
    for (ssl, scheme) in [
        (SslMode::Off, Scheme::Http),
        (SslMode::Flexible, Scheme::Http),
        (SslMode::Flexible, Scheme::Https),
        (SslMode::Full, Scheme::Http),
        (SslMode::Strict, Scheme::Http),
    ] {
        let edge = edge(ssl, None);
        let mut exchange = edge.request_by(scheme.name(), origin.address, "/");
        let status = edge.fetch(&mut exchange).await.map(|response| response.status);
        assert_eq!(status, Ok(StatusCode::NO_CONTENT), "{ssl:?} {scheme:?} is clear");
    }
}

#[test]
fn a_file_of_authorities_that_holds_none_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let origin_ca = Some(file.path().to_owned());
    let config = OriginConfig { origin_ca, ..OriginConfig::default() };
    let sites = Arc::new(crate::stages::tests::fixtures::FixedSites::default());
    let made = crate::origin::Origins::new(&config, sites, &proxima_chassis::Metrics::default());
    assert!(made.is_err_and(|error| error.to_string().contains("no certificate")));
}
