//! TLS within QUIC (RFC 9001): the same certificates and tickets, TLS 1.3 and `h3` only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quinn::crypto::rustls::QuicServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version;

use super::client_auth::{Asking, BoundTickets};
use super::{Certificates, Tickets, server_config};
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
    provider: Arc<CryptoProvider>,
    certificates: Arc<Certificates>,
    tickets: Arc<Tickets>,
}

impl QuicTls {
    /// Over these certificates and ticket keys.
    pub(crate) fn new(certificates: Arc<Certificates>, tickets: Arc<Tickets>) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Self { provider, certificates, tickets }
    }

    /// The configuration of one connection, whose handshake is noticed.
    ///
    /// # Errors
    /// If the cryptography lacks what QUIC needs.
    pub(crate) fn config(&self, noticed: &Arc<Noticed>) -> Result<QuicServerConfig, EdgeError> {
        let asking = Arc::new(Asking::new(&self.provider));
        let watched = Arc::new(Watched {
            certificates: Arc::clone(&self.certificates),
            tickets: BoundTickets { tickets: Arc::clone(&self.tickets), asking: Arc::clone(&asking) },
            noticed: Arc::clone(noticed),
        });
        let mut config = server_config(
            &self.provider,
            Arc::<Watched>::clone(&watched),
            watched,
            asking,
            &[&version::TLS13],
        )?;
        config.alpn_protocols = vec![b"h3".to_vec()];
        Ok(QuicServerConfig::try_from(config)?)
    }
}

/// Certificates and tickets, watched in one handshake.
#[derive(Debug)]
struct Watched {
    certificates: Arc<Certificates>,
    tickets: BoundTickets,
    noticed: Arc<Noticed>,
}

impl ResolvesServerCert for Watched {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // The host is known only now, and what is asked of clients is said after this (RFC 8446, 4.3.2).
        if let Some(authorities) = self.certificates.client_authorities(hello.server_name()) {
            self.tickets.asking.ask_for(authorities);
        }
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
