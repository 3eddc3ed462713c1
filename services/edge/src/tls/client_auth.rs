//! Certificates that clients present.
//!
//! ```text
//!  ClientHello ──SNI──▶ does the host ask for certificates? ──no──▶ a handshake as any other
//!                        │ yes
//!                        ├─▶ CertificateRequest, with the names of the host's authorities
//!                        │     none presented ─▶ the handshake goes on
//!                        │     presented ──────▶ the client proves that it has the key; nothing else is asked yet
//!                        └─▶ tickets are sealed for this host's authorities, and open for the same ones only
//!  each request ──host──▶ HostAuthorities: does the certificate hold for the host asked for, now?
//! ```
//!
//! The handshake proves possession of the key and no more: as in the v4 API, a certificate that does not hold is no
//! failure, but something that rules can ask for. Invariants:
//! * **Nothing verified is carried over.** A session, also one that is resumed, holds the chain that was presented, never
//!   a verdict. Whether it holds is decided for the host of each request by the authorities that the host has then; so
//!   neither another zone nor a host whose authority was removed ever honours it.
//! * **A session is resumed for the same authorities only.** A ticket from before a host asked for certificates, or from
//!   when it trusted others, does not open: its client is asked, in a full handshake.
//!
//! Limits: what a chain may have is bounded by the 64 KiB of a handshake's message; a session whose chain makes a ticket
//! larger than [`Tickets`] open is not resumed. Revocation is not looked up.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{SHA256, digest};
use proxima_pipeline::ClientCertificate;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ProducesTickets;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use proxima_tls::{HostAuthorities, Tickets};

/// What a session's client presented.
pub(crate) fn presented(chain: Option<&[CertificateDer<'_>]>) -> Option<Arc<ClientCertificate>> {
    let chain = chain?;
    let fingerprint = hex::encode(digest(&SHA256, chain.first()?).as_ref());
    let chain = chain.iter().map(|certificate| certificate.to_vec()).collect();
    Some(Arc::new(ClientCertificate::new(chain, fingerprint)))
}

/// Asks for a certificate in one handshake, if the host whose handshake it turns out to be does.
#[derive(Debug)]
pub(super) struct Asking {
    algorithms: WebPkiSupportedAlgorithms,
    host: OnceLock<Arc<HostAuthorities>>,
}

impl Asking {
    pub(super) fn new(provider: &CryptoProvider) -> Self {
        Self { algorithms: provider.signature_verification_algorithms, host: OnceLock::new() }
    }

    /// From now on, a certificate of these authorities is asked for.
    pub(super) fn ask_for(&self, authorities: Arc<HostAuthorities>) {
        // The host of a handshake does not change; a second hello is of the same one (RFC 8446, 4.1.2).
        self.host.set(authorities).ok();
    }

    /// What tickets of this handshake's session are bound to.
    pub(super) fn ticket_context(&self) -> &[u8] {
        self.host.get().map_or(&[], |host| host.digest())
    }
}

impl ClientCertVerifier for Asking {
    fn offer_client_auth(&self) -> bool {
        self.host.get().is_some()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.host.get().map_or(&[], |host| host.hints())
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // Not here: see the head of this file.
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The network's tickets, bound to what one handshake asks for.
#[derive(Debug)]
pub(super) struct BoundTickets {
    pub(super) tickets: Arc<Tickets>,
    pub(super) asking: Arc<Asking>,
}

impl ProducesTickets for BoundTickets {
    fn enabled(&self) -> bool {
        self.tickets.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.tickets.lifetime()
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        self.tickets.seal_for(self.asking.ticket_context(), session)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.tickets.open_for(self.asking.ticket_context(), ticket)
    }
}
