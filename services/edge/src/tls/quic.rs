//! TLS within QUIC (RFC 9001): the same certificates and tickets, TLS 1.3 and `h3` only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quinn::crypto::rustls::QuicServerConfig;
use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version;

use super::{Certificates, Tickets};
use crate::EdgeError;

/// What was seen of a handshake that quinn does not tell of.
#[derive(Debug, Default)]
pub(crate) struct Noticed {
    resumed: AtomicBool,
    nameless: AtomicBool,
}

impl Noticed {
    /// Whether a ticket of ours was opened.
    pub(crate) fn resumed(&self) -> bool {
        self.resumed.load(Ordering::Relaxed)
    }

    /// Whether there was no certificate for the name asked for.
    pub(crate) fn nameless(&self) -> bool {
        self.nameless.load(Ordering::Relaxed)
    }
}

/// What the connections of QUIC have in common.
pub(crate) struct QuicTls {
    config: ServerConfig,
    certificates: Arc<Certificates>,
    tickets: Arc<Tickets>,
}

impl QuicTls {
    /// Over these certificates and ticket keys.
    ///
    /// # Errors
    /// If the cryptography cannot be set up.
    pub(crate) fn new(certificates: Arc<Certificates>, tickets: Arc<Tickets>) -> Result<Self, EdgeError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let resolver = Arc::<Certificates>::clone(&certificates);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h3".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { config, certificates, tickets })
    }

    /// The configuration of one connection, whose handshake is noticed.
    ///
    /// # Errors
    /// If the cryptography lacks what QUIC needs.
    pub(crate) fn config(&self, noticed: &Arc<Noticed>) -> Result<QuicServerConfig, EdgeError> {
        let watched = Arc::new(Watched {
            certificates: Arc::clone(&self.certificates),
            tickets: Arc::clone(&self.tickets),
            noticed: Arc::clone(noticed),
        });
        let mut config = self.config.clone();
        config.cert_resolver = Arc::<Watched>::clone(&watched);
        config.ticketer = watched;
        Ok(QuicServerConfig::try_from(config)?)
    }
}

/// Certificates and tickets, watched in one handshake.
#[derive(Debug)]
struct Watched {
    certificates: Arc<Certificates>,
    tickets: Arc<Tickets>,
    noticed: Arc<Noticed>,
}

impl ResolvesServerCert for Watched {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let key = self.certificates.resolve(hello);
        self.noticed.nameless.store(key.is_none(), Ordering::Relaxed);
        key
    }
}

impl ProducesTickets for Watched {
    fn enabled(&self) -> bool {
        self.tickets.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.tickets.lifetime()
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        self.tickets.encrypt(session)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let session = self.tickets.decrypt(ticket);
        self.noticed.resumed.fetch_or(session.is_some(), Ordering::Relaxed);
        session
    }
}
