//! TLS in front of S3: under the certificates of the network's zones, as the edge shows them, or under the node's own.

use std::sync::Arc;

use proxima_chassis::{Identity, NodeContext, ServiceError};
use proxima_tls::Certificates;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

/// By which certificate a client is answered.
#[derive(Debug)]
struct Shown {
    zones: Arc<Certificates>,
    /// For names of no zone here, and for who gives none. It is of the cluster's own authority.
    node: Option<Arc<dyn ResolvesServerCert>>,
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.zones.named(name, hello.signature_schemes()));
        named.or_else(|| self.node.as_ref()?.resolve(hello))
    }
}

/// TLS for the listeners of `https`.
pub(crate) fn acceptor(node: &NodeContext, zones: Arc<Certificates>) -> Result<TlsAcceptor, ServiceError> {
    let own = node.config.identity.as_ref().map(Identity::server_for_clients).transpose();
    let own = own.map_err(ServiceError::new)?.map(|config| config.cert_resolver);
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let mut config = builder
        .with_safe_default_protocol_versions()
        .map_err(ServiceError::new)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shown { zones, node: own }));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
