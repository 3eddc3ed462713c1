//! TLS for queries: over TCP (RFC 7858, ALPN `dot`) and within QUIC (RFC 9250, ALPN `doq`).
//!
//! ```text
//!  ClientHello ─▶ a name of the role's, or one label below it?     ─yes─▶ its certificate in the replica ─┐
//!                  │ no, or no name at all                               │ none                           ├─▶ handshake
//!                  └▶ the certificate of the first of them that has one ◀┘                                │
//!                       │ none                                                                            │
//!                       └▶ one that this process made for itself ─────────────────────────────────────────┘
//! ```
//!
//! Resolvers that encrypt without knowing whom they ask send no name and check no certificate (RFC 9539, 4.6.3), so
//! there is always one. Only the role's own names count: a customer's certificate shown here would let a session for its
//! site be led to this port.
//!
//! A label below a name of the resolver's is a location's token (`resolver/locations.rs`), so that a certificate for
//! `*.` and the name is what its clients need.
//!
//! Sessions are resumed at every server of the network, by the ticket keys that all have; their tickets open here only.
//!
//! A handshake over TCP holds a thread while it goes on, one of [`signers`], and nothing while it waits: a client that is
//! silent has its connection's place and [`HANDSHAKE_WITHIN`], and holds up nobody else.

use std::{fmt, future::poll_fn, io, mem, pin::pin, sync::Arc, task::Poll, thread, time::Duration};

use proxima_chassis::NodeContext;
use proxima_ledger::{ChangeSet, Snapshot, Unserved};
use proxima_model::{DnsName, TicketKeys};
use proxima_tls::{Certificates, QuicKeys, Tickets, server_config};
use quinn::crypto::rustls::QuicServerConfig;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{Acceptor, ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
    version,
};
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use crate::DnsError;

/// How long a handshake may take.
pub(crate) const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

/// What is needed where queries come encrypted.
pub(crate) struct Secure {
    certificates: Arc<Certificates>,
    tickets: Arc<Tickets>,
    /// Secrets of QUIC.
    pub(crate) quic_keys: Arc<QuicKeys>,
    /// For streams.
    pub(crate) stream: Arc<StreamTls>,
    /// For QUIC.
    pub(crate) quic: Arc<QuicServerConfig>,
}

impl Secure {
    /// Sets up TLS for a role that is known by these names, and whose tickets are bound to this.
    ///
    /// # Errors
    /// The cryptography cannot do it.
    pub(crate) fn new(
        node: &NodeContext,
        names: &[DnsName],
        tickets: &'static [u8],
    ) -> Result<Self, DnsError> {
        let certificates = Arc::new(Certificates::new(node.replica.clone(), node.clock.clone()));
        let tickets = Arc::new(Tickets::bound_to(tickets));
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let own_name = names.first().cloned().unwrap_or_else(|| node.name().to_string());
        let shown =
            Arc::new(Shown { certificates: certificates.clone(), names, own: own_certificate(own_name)? });
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = [&version::TLS13, &version::TLS12];
        let config = |versions, alpn| {
            let nobody = WebPkiClientVerifier::no_client_auth();
            server_config(&provider, shown.clone(), tickets.clone(), nobody, versions, &[alpn])
        };
        let stream = config(&versions, b"dot")?;
        let quic = config(&versions[..1], b"doq")?;
        let quic = QuicServerConfig::try_from(quic)?;
        Ok(Self {
            certificates,
            tickets,
            quic_keys: QuicKeys::new(),
            stream: Arc::new(StreamTls { config: Arc::new(stream), signing: Semaphore::new(signers()) }),
            quic: Arc::new(quic),
        })
    }

    /// Reads anew what is kept of the zones that changed; puts it in force when called.
    pub(crate) fn prepare_zones(
        &self,
        snapshot: &Snapshot,
        changed: &ChangeSet,
    ) -> impl FnOnce() + Send + use<> {
        self.certificates.prepare(snapshot, changed)
    }

    /// The first change of a zone's certificates that is not served yet though it is committed.
    pub(crate) fn unserved(&self) -> Unserved {
        self.certificates.unserved()
    }

    /// Makes ready secrets that all servers of the network have; puts them in force when called.
    pub(crate) fn prepare_keys(self: &Arc<Self>, keys: &TicketKeys) -> impl FnOnce() + Send + 'static {
        let (tickets, quic, secure) = (Tickets::prepare(keys), QuicKeys::prepare(keys), self.clone());
        move || {
            secure.tickets.swap(tickets);
            secure.quic_keys.swap(quic);
        }
    }
}

/// Takes TLS sessions over TCP.
pub(crate) struct StreamTls {
    config: Arc<ServerConfig>,
    /// Held while a thread is busy with a handshake, never while a client is waited for.
    signing: Semaphore,
}

impl StreamTls {
    /// Shakes hands.
    ///
    /// # Errors
    /// Either side gave up, or it took too long.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        timeout(HANDSHAKE_WITHIN, async {
            let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
            let mut turn = self.signing.acquire().await.map_err(io::Error::other)?;
            // The signature is made here, or in a later step if the client has to send another ClientHello first.
            let mut handshake = pin!(start.into_stream(self.config.clone()));
            loop {
                let step = poll_fn(|context| Poll::Ready(handshake.as_mut().poll(context))).await;
                drop(turn);
                if let Poll::Ready(ended) = step {
                    return ended;
                }
                woken().await;
                turn = self.signing.acquire().await.map_err(io::Error::other)?;
            }
        })
        .await?
    }
}

/// How many threads may be busy with handshakes at once: half of the cores, so that a flood of them leaves queries the
/// others. A core ends some thousands a second.
fn signers() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

/// Until the task is woken, by whatever it waits for.
async fn woken() {
    let mut waited = false;
    poll_fn(|_| if mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

/// Which certificate is shown.
struct Shown {
    certificates: Arc<Certificates>,
    /// Of the role: the network's name servers, or those of its resolver.
    names: Vec<String>,
    /// Where there is no other.
    own: Arc<CertifiedKey>,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("names", &self.names).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let asked = hello.server_name().map(str::to_ascii_lowercase);
        let is_ours = |asked: &String| {
            let above = asked.split_once('.').map(|(_, above)| above);
            self.names.iter().any(|name| name == asked || above == Some(name))
        };
        let asked = asked.filter(is_ours);
        let mut found =
            asked.iter().chain(&self.names).filter_map(|name| self.certificates.named(name, schemes));
        found.next().or_else(|| Some(self.own.clone()))
    }
}

/// A certificate that only says that the session is encrypted.
fn own_certificate(name: String) -> Result<Arc<CertifiedKey>, DnsError> {
    let made = rcgen::generate_simple_self_signed([name])?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
        .map_err(|why| rustls::Error::General(why.to_owned()))?;
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)?;
    let chain = vec![CertificateDer::from(made.cert.der().to_vec())];
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

#[cfg(test)]
mod tests {
    use rustls::{ClientConfig, ClientConnection, RootCertStore, pki_types::ServerName};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };
    use tokio_rustls::TlsConnector;

    use super::*;

    const NAME: &str = "ns1.example.com";

    /// A server with so many signers, and how its clients are configured.
    fn with_signers(signers: usize) -> (StreamTls, Arc<ClientConfig>) {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (StreamTls { config: Arc::new(server), signing: Semaphore::new(signers) }, Arc::new(client))
    }

    #[tokio::test]
    async fn a_client_that_falls_silent_in_its_handshake_holds_up_no_other() {
        let (tls, config) = with_signers(1);
        let name = ServerName::try_from(NAME).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut hello = Vec::new();
        ClientConnection::new(config.clone(), name.clone()).unwrap().write_tls(&mut hello).unwrap();
        let mut silent = TcpStream::connect(address).await.unwrap();
        silent.write_all(&hello).await.unwrap();
        let mut octet = [0];
        let mut waiting = pin!(tls.accept(listener.accept().await.unwrap().0));
        tokio::select! {
            _ = &mut waiting => panic!("the handshake has ended without the client"),
            read = silent.read(&mut octet) => assert_eq!(read.unwrap(), 1),
        }
        assert_eq!(tls.signing.available_permits(), 1);
        let client = async {
            let stream = TcpStream::connect(address).await.unwrap();
            TlsConnector::from(config).connect(name, stream).await
        };
        let server = async { tls.accept(listener.accept().await.unwrap().0).await };
        let (client, server) = tokio::join!(client, server);
        assert!(client.is_ok() && server.is_ok(), "{client:?}, {server:?}");
    }
}
