//! The configuration of TLS that all services have in common.

use std::sync::Arc;

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::CryptoProvider,
    server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert, danger::ClientCertVerifier},
};

/// TLS with these certificates, tickets and demands on clients, in these versions and for these protocols.
///
/// # Errors
/// The cryptography cannot do it.
pub fn server_config(
    provider: &Arc<CryptoProvider>,
    certificates: Arc<dyn ResolvesServerCert>,
    tickets: Arc<dyn ProducesTickets>,
    clients: Arc<dyn ClientCertVerifier>,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(certificates);
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.ticketer = tickets;
    // A session must be resumable at every server, so nothing is kept at this one.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}
