//! TLS within QUIC (RFC 9001): the same certificates and tickets, TLS 1.3 and `h3` only; early data where a zone wants it
//! ([`super::early`]).
//!
//! rustls takes early data only while its ticketer says that it is not enabled. The ticketer of a handshake learns from
//! the certificate that is asked for, which comes before all that concerns sessions, which of the two kinds it deals in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proxima_tls::{Certificates, Tickets, server_config};
use quinn::crypto::rustls::QuicServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert, StoresServerSessions};
use rustls::sign::CertifiedKey;
use rustls::version;

use super::Greeting;
use super::client_auth::{Asking, BoundTickets};
use super::early::EarlySessions;
use crate::EdgeError;

/// What was seen of a handshake that quinn does not tell of.
#[derive(Debug, Default)]
pub(crate) struct Noticed {
    resumed: AtomicBool,
    early: AtomicBool,
    nameless: AtomicBool,
}

impl Noticed {
    /// Whether a ticket of ours was opened.
    pub(crate) fn resumed(&self) -> bool {
        self.resumed.load(Ordering::Relaxed)
    }

    /// Whether the session is one that may begin with early data.
    pub(crate) fn early(&self) -> bool {
        self.early.load(Ordering::Relaxed)
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
    early: Arc<EarlySessions>,
    /// Who is told of clients that come.
    pub(crate) greeting: Greeting,
}

/// What QUIC has to allow (RFC 9001, 4.6.1); its own flow control is what bounds early data.
const EARLY_DATA: u32 = u32::MAX;

impl QuicTls {
    /// Over these certificates and ticket keys.
    pub(crate) fn new(certificates: Arc<Certificates>, tickets: Arc<Tickets>) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Self { provider, certificates, tickets, early: Arc::default(), greeting: Greeting::default() }
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
            early: Arc::clone(&self.early),
            deals_in_early: AtomicBool::new(false),
            noticed: Arc::clone(noticed),
            greeting: self.greeting.clone(),
        });
        let mut config = server_config(
            &self.provider,
            Arc::<Watched>::clone(&watched),
            Arc::<Watched>::clone(&watched),
            asking,
            &[&version::TLS13],
            &[b"h3"],
        )?;
        config.max_early_data_size = EARLY_DATA;
        config.session_storage = watched;
        Ok(QuicServerConfig::try_from(config)?)
    }
}

/// Certificates and tickets, watched in one handshake.
#[derive(Debug)]
struct Watched {
    certificates: Arc<Certificates>,
    tickets: BoundTickets,
    early: Arc<EarlySessions>,
    /// Whether this handshake's sessions are those that may begin with early data, and not tickets.
    deals_in_early: AtomicBool,
    noticed: Arc<Noticed>,
    greeting: Greeting,
}

impl ResolvesServerCert for Watched {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // The host is known only now, and what is asked of clients is said after this (RFC 8446, 4.3.2).
        // Where certificates are asked for nobody is answered before it is known who asks.
        let early = match self.certificates.client_authorities(hello.server_name()) {
            Some(authorities) => {
                self.tickets.asking.ask_for(authorities);
                false
            }
            None => self.certificates.takes_early_data(hello.server_name()),
        };
        self.deals_in_early.store(early, Ordering::Relaxed);
        if self.certificates.asks_for(&hello).is_some() {
            self.greeting.greet(hello.server_name());
        }
        let key = self.certificates.resolve(hello);
        self.noticed.nameless.store(key.is_none(), Ordering::Relaxed);
        key
    }
}

impl ProducesTickets for Watched {
    fn enabled(&self) -> bool {
        !self.deals_in_early.load(Ordering::Relaxed) && self.tickets.enabled()
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

/// Asked only while no tickets are dealt in.
impl StoresServerSessions for Watched {
    fn put(&self, id: Vec<u8>, session: Vec<u8>) -> bool {
        self.deals_in_early.load(Ordering::Relaxed) && self.early.put(id, session)
    }

    /// Sessions are for one use.
    fn get(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, id: &[u8]) -> Option<Vec<u8>> {
        let session = self.deals_in_early.load(Ordering::Relaxed).then(|| self.early.take(id))??;
        self.noticed.early.store(true, Ordering::Relaxed);
        self.noticed.resumed.store(true, Ordering::Relaxed);
        Some(session)
    }

    fn can_cache(&self) -> bool {
        true
    }
}
