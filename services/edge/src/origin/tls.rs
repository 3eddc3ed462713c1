//! TLS towards origins: verified (`ssl: strict`) or not (`ssl: full`).

use std::{io, path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use proxima_pipeline::Fault;

use super::OriginConfigError;

/// Sessions that are kept for resumption, of all origins together.
const SESSIONS_MAX: usize = 4096;

/// Both ways to speak TLS to an origin.
#[derive(Clone)]
pub(super) struct OriginTls {
    verifying: TlsConnector,
    trusting: TlsConnector,
    /// The same two, for who can speak HTTP/2.
    http2: [TlsConnector; 2],
}

impl OriginTls {
    /// With the machine's authorities and those of the file `further`.
    pub(super) fn new(further: Option<&Path>) -> Result<Self, OriginConfigError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = roots(further)?;
        let builder =
            || ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let verifying = builder()?.with_root_certificates(roots).with_no_client_auth();
        let trusting = builder()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider.clone())))
            .with_no_client_auth();
        let both: &[&[u8]] = &[b"h2", b"http/1.1"];
        let http2 = [connector(trusting.clone(), both), connector(verifying.clone(), both)];
        let only: &[&[u8]] = &[b"http/1.1"];
        Ok(Self { verifying: connector(verifying, only), trusting: connector(trusting, only), http2 })
    }

    /// The handshake. `name` is asked for and, with `verify`, must be in a certificate of a trusted authority.
    pub(super) async fn connect(
        &self,
        tcp: TcpStream,
        name: &str,
        verify: bool,
    ) -> Result<TlsStream<TcpStream>, Fault> {
        let connector = if verify { &self.verifying } else { &self.trusting };
        shake(connector, tcp, name).await
    }

    /// The same, where the origin may choose HTTP/2.
    pub(super) async fn connect_http2(
        &self,
        tcp: TcpStream,
        name: &str,
        verify: bool,
    ) -> Result<TlsStream<TcpStream>, Fault> {
        shake(&self.http2[usize::from(verify)], tcp, name).await
    }
}

async fn shake(connector: &TlsConnector, tcp: TcpStream, name: &str) -> Result<TlsStream<TcpStream>, Fault> {
    // An address in brackets is an address all the same; it is verified, but not asked for (RFC 6066, 3).
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let name = ServerName::try_from(bare.to_owned()).map_err(|_| Fault::OriginTls)?;
    connector.connect(name, tcp).await.map_err(|error| fault(&error))
}

fn connector(mut config: ClientConfig, protocols: &[&[u8]]) -> TlsConnector {
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
    TlsConnector::from(Arc::new(config))
}

/// The machine's authorities (of which none need be there), and those of the file.
fn roots(further: Option<&Path>) -> Result<RootCertStore, OriginConfigError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "some of the machine's certificate authorities cannot be read");
    }
    roots.add_parsable_certificates(native.certs);
    if let Some(path) = further {
        let wrong = |why: String| OriginConfigError::Authorities { path: path.to_owned(), why };
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
        let before = roots.len();
        for certificate in certificates {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
        if roots.len() == before {
            return Err(wrong("there is no certificate in it".to_owned()));
        }
    }
    Ok(roots)
}

/// What a failed handshake says about the origin.
fn fault(error: &io::Error) -> Fault {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Fault::OriginCertificate
        }
        _ => Fault::OriginTls,
    }
}

/// Takes any certificate, as `ssl: full` says; that the peer has its key is verified all the same.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
