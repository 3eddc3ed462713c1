//! TLS towards clients: one `ServerConfig` for all TCP listeners and one for those zones that ask for TLS 1.3, and one for
//! each handshake by QUIC or with a host that asks for client certificates. Certificates and ticket keys come from the
//! replica.
//!
//! ```text
//!  ClientHello ──SNI──▶ Certificates ──▶ zone's certificates (compiled, cached) ──▶ CertifiedKey
//!       │ none, or a name that we have nothing for: alert unrecognized_name
//!       │ TLS 1.2, and the zone asks for 1.3: alert protocol_version
//!       │ the host asks for client certificates: see `client_auth`
//!       └─ ticket ──▶ Tickets: any of the network's keys opens, the newest seals
//! ```

mod client_auth;
mod early;
mod quic;

use std::fmt;
use std::sync::{Arc, OnceLock};

use proxima_model::MinTlsVersion;
use proxima_pipeline::{Prewarm, TlsFacts};
use proxima_tls::{Certificates, HostAuthorities, Tickets, server_config};
use rustls::crypto::CryptoProvider;
use rustls::server::{Acceptor, WebPkiClientVerifier};
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig, SupportedProtocolVersion, version};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

pub(crate) use self::quic::{Noticed, QuicTls};
pub(crate) use client_auth::presented;

use self::client_auth::{Asking, BoundTickets};
use crate::EdgeError;

/// Handshakes that may go on at once: each costs a signature, and a flood of them must not starve what is served
/// already. Further ones wait within the time that a handshake has. A server of two cores ends some thousands a second,
/// so that honest clients do not meet the bound.
pub const HANDSHAKES_MAX: usize = 1024;

/// The protocol that a client chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// `h2`.
    Http2,
    /// `http/1.1`, or nothing.
    Http1,
}

/// What is spoken over TCP, the better one first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];
const ALL_VERSIONS: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
const ONLY_1_3: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// A record that carries the fatal alert `unrecognized_name` (RFC 8446, 6.2; RFC 6066, 3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Why there is no TLS session.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// We have no certificate for the name asked for, or none was asked for.
    #[error("no certificate for the name asked for")]
    UnknownName,
    /// Either side gave up.
    #[error("the handshake failed: {0}")]
    Failed(#[from] std::io::Error),
}

/// Takes TLS sessions.
pub struct TlsAcceptor {
    config: Arc<ServerConfig>,
    /// For zones that ask for TLS 1.3.
    config_1_3: Arc<ServerConfig>,
    provider: Arc<CryptoProvider>,
    certificates: Arc<Certificates>,
    tickets: Arc<Tickets>,
    handshakes: Semaphore,
    /// Who is told of clients that come.
    pub(crate) greeting: Greeting,
}

/// Who is told for which host a client comes, once somebody is to be.
#[derive(Clone, Default)]
pub(crate) struct Greeting(Arc<OnceLock<Arc<dyn Prewarm>>>);

impl Greeting {
    /// From now on.
    pub(crate) fn by(&self, prewarm: Arc<dyn Prewarm>) {
        self.0.set(prewarm).ok();
    }

    /// A client has said for which host it comes, and there is a certificate for it.
    fn greet(&self, host: Option<&str>) {
        if let (Some(prewarm), Some(host)) = (self.0.get(), host) {
            prewarm.greeted(host);
        }
    }
}

impl fmt::Debug for Greeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Greeting").finish_non_exhaustive()
    }
}

/// A session, and what was settled in its handshake.
pub struct Session<IO> {
    /// The stream.
    pub stream: TlsStream<IO>,
    /// What the stages are told.
    pub facts: TlsFacts,
    /// What is spoken on it.
    pub alpn: Alpn,
}

impl TlsAcceptor {
    /// An acceptor over these certificates and ticket keys.
    ///
    /// # Errors
    /// If the cryptography cannot be set up.
    pub fn new(certificates: Arc<Certificates>, tickets: Arc<Tickets>) -> Result<Self, EdgeError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = |versions| {
            let (certificates, tickets) = (Arc::clone(&certificates), Arc::clone(&tickets));
            let nobody = WebPkiClientVerifier::no_client_auth();
            server_config(&provider, certificates, tickets, nobody, versions, &ALPN).map(Arc::new)
        };
        Ok(Self {
            config: config(ALL_VERSIONS)?,
            config_1_3: config(ONLY_1_3)?,
            provider,
            certificates,
            tickets,
            handshakes: Semaphore::new(HANDSHAKES_MAX),
            greeting: Greeting::default(),
        })
    }

    /// Shakes hands.
    ///
    /// # Errors
    /// [`HandshakeError`]; the client has been sent the alert that says why, as far as it could be.
    pub async fn accept<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        io: IO,
    ) -> Result<Session<IO>, HandshakeError> {
        let mut start = LazyConfigAcceptor::new(Acceptor::default(), io).await?;
        // Only now: connections that say nothing take no place from those that do.
        let _going_on = self.handshakes.acquire().await.expect("never closed");
        // rustls would refuse this with `access_denied`, which no client explains to its user.
        let hello = start.client_hello();
        let (version, authorities) =
            (self.certificates.asks_for(&hello), self.certificates.client_authorities(hello.server_name()));
        if version.is_some() {
            self.greeting.greet(hello.server_name());
        }
        let config = match (version, authorities) {
            (Some(version), Some(authorities)) => self.config_asking(version, authorities)?,
            (Some(MinTlsVersion::V1_2), None) => Arc::clone(&self.config),
            (Some(MinTlsVersion::V1_3), None) => Arc::clone(&self.config_1_3),
            (None, _) => {
                start.io.write_all(&UNRECOGNIZED_NAME).await?;
                start.io.shutdown().await?;
                return Err(HandshakeError::UnknownName);
            }
        };
        let stream = start.into_stream(config).await?;
        let session = stream.get_ref().1;
        let facts = TlsFacts {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "TLSv1.2",
            },
            server_name: session.server_name().map(|name| Arc::from(name.to_ascii_lowercase())),
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
            client_certificate: presented(session.peer_certificates()),
        };
        let alpn = if session.alpn_protocol() == Some(b"h2") { Alpn::Http2 } else { Alpn::Http1 };
        Ok(Session { stream, facts, alpn })
    }

    /// For one handshake, in which a certificate of these authorities is asked for.
    fn config_asking(
        &self,
        version: MinTlsVersion,
        authorities: Arc<HostAuthorities>,
    ) -> Result<Arc<ServerConfig>, HandshakeError> {
        let asking = Arc::new(Asking::new(&self.provider));
        asking.ask_for(authorities);
        let tickets = BoundTickets { tickets: Arc::clone(&self.tickets), asking: Arc::clone(&asking) };
        let certificates = Arc::clone(&self.certificates);
        let versions = match version {
            MinTlsVersion::V1_2 => ALL_VERSIONS,
            MinTlsVersion::V1_3 => ONLY_1_3,
        };
        let config = server_config(&self.provider, certificates, Arc::new(tickets), asking, versions, &ALPN);
        Ok(Arc::new(config.map_err(std::io::Error::other)?))
    }
}

#[cfg(test)]
pub(crate) mod tests;
