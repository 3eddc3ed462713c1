//! A connection to a peer: TLS with both sides verified, one message a frame, a deadline on every step.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::BytesMut;
use futures_util::{FutureExt as _, StreamExt as _};
use rustls::pki_types::{CertificateDer, ServerName};
use socket2::SockRef;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use crate::{
    codec::{DecodeError, Write as _},
    limits::{CONNECT_DEADLINE, FRAME_OCTETS_MAX, HANDSHAKE_DEADLINE, UNACKNOWLEDGED_MAX, WRITE_DEADLINE},
    message::{Message, Pulse, VERSION},
    store::LogId,
};

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    #[error("{doing}: {source}")]
    Io { doing: &'static str, source: io::Error },
    #[error("{doing} took longer than {limit:?}")]
    Late { doing: &'static str, limit: Duration },
    #[error("it sent something that is not a message: {0}")]
    Garbage(#[from] DecodeError),
    #[error("it sent {0}")]
    Unexpected(&'static str),
    #[error("it closed the connection")]
    Closed,
    #[error("it showed no certificate; both sides of a connection between nodes have one")]
    NoCertificate,
    #[error("it speaks version {theirs} of the protocol, this node version {VERSION}")]
    Version { theirs: u16 },
    #[error("it said: {0}")]
    Refused(String),
}

/// An open connection.
pub(crate) struct Connection {
    frames: FramedRead<TlsStream<TcpStream>, LengthDelimitedCodec>,
    /// The peer's name, from its certificate.
    pub(crate) name: Arc<str>,
}

impl Connection {
    fn new(stream: TlsStream<TcpStream>) -> Result<Self, PeerError> {
        let certificates = stream.get_ref().1.peer_certificates();
        let leaf = certificates.and_then(|chain| chain.first()).ok_or(PeerError::NoCertificate)?;
        let name = certificate_name(leaf).unwrap_or_else(|| "a peer without a name".to_owned()).into();
        let codec = LengthDelimitedCodec::builder().max_frame_length(FRAME_OCTETS_MAX).new_codec();
        Ok(Self { frames: FramedRead::new(stream, codec), name })
    }

    /// Takes a connection that a client opened.
    pub(crate) async fn accept(stream: TcpStream, tls: &TlsAcceptor) -> Result<Self, PeerError> {
        tune(&stream)?;
        let handshake = within(HANDSHAKE_DEADLINE, "the TLS handshake", tls.accept(stream));
        Self::new(handshake.await?.into())
    }

    /// Writes a message, and waits until it is handed to the system. Must not be dropped before it is done, or the
    /// connection is of no more use.
    pub(crate) async fn send(&mut self, message: &Message) -> Result<(), PeerError> {
        self.send_contents(&message.encode()).await
    }

    /// As [`Self::send`], for a message in its encoded form.
    pub(crate) async fn send_contents(&mut self, contents: &[u8]) -> Result<(), PeerError> {
        let mut out = Vec::with_capacity(4 + contents.len());
        out.put_octets(contents);
        self.write(&out).await
    }

    /// As [`Self::send`], for several messages at once.
    pub(crate) async fn send_all(
        &mut self,
        messages: impl Iterator<Item = Message>,
    ) -> Result<(), PeerError> {
        let mut out = Vec::new();
        messages.for_each(|message| out.put_octets(&message.encode()));
        self.write(&out).await
    }

    async fn write(&mut self, octets: &[u8]) -> Result<(), PeerError> {
        let stream = self.frames.get_mut();
        let written = async {
            stream.write_all(octets).await?;
            stream.flush().await
        };
        within(WRITE_DEADLINE, "writing to it", written).await
    }

    /// The next message. Dropping the future loses nothing.
    pub(crate) async fn receive(&mut self) -> Result<Message, PeerError> {
        decode(self.frames.next().await)
    }

    /// The next message, if it comes in time.
    pub(crate) async fn receive_within(&mut self, limit: Duration) -> Result<Message, PeerError> {
        let late = PeerError::Late { doing: "waiting for a word from it", limit };
        timeout(limit, self.receive()).await.unwrap_or(Err(late))
    }

    /// The next message, if it is there already.
    pub(crate) fn receive_now(&mut self) -> Option<Result<Message, PeerError>> {
        self.frames.next().now_or_never().map(decode)
    }
}

fn decode(frame: Option<io::Result<BytesMut>>) -> Result<Message, PeerError> {
    match frame {
        None => Err(PeerError::Closed),
        Some(Err(source)) => Err(PeerError::Io { doing: "reading from it", source }),
        Some(Ok(frame)) => Ok(Message::decode(&frame)?),
    }
}

/// What the server said when it was greeted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Welcome {
    pub(crate) log: Option<LogId>,
    pub(crate) keeps_log: bool,
    pub(crate) pulse: Pulse,
}

/// Opens connections. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Dialer {
    tls: TlsConnector,
    /// The name that every node's certificate holds.
    name: ServerName<'static>,
}

impl Dialer {
    pub(crate) fn new(tls: Arc<rustls::ClientConfig>, name: ServerName<'static>) -> Self {
        Self { tls: TlsConnector::from(tls), name }
    }

    /// Connects and greets.
    pub(crate) async fn dial(
        &self,
        address: SocketAddr,
        log: Option<LogId>,
    ) -> Result<(Connection, Welcome), PeerError> {
        let stream = within(CONNECT_DEADLINE, "connecting", TcpStream::connect(address)).await?;
        tune(&stream)?;
        let connected = self.tls.connect(self.name.clone(), stream);
        let handshake = within(HANDSHAKE_DEADLINE, "the TLS handshake", connected);
        let mut connection = Connection::new(handshake.await?.into())?;
        connection.send(&Message::Hello { version: VERSION, log }).await?;
        match connection.receive_within(HANDSHAKE_DEADLINE).await? {
            Message::Welcome { version: VERSION, log, keeps_log, pulse } => {
                Ok((connection, Welcome { log, keeps_log, pulse }))
            }
            Message::Welcome { version: theirs, .. } => Err(PeerError::Version { theirs }),
            Message::Failed(failure) => {
                Err(PeerError::Refused(failure.into_error(crate::Seq::ZERO).to_string()))
            }
            _ => Err(PeerError::Unexpected("no welcome")),
        }
    }
}

/// Small messages go at once, and a vanished peer is noticed.
fn tune(stream: &TcpStream) -> Result<(), PeerError> {
    let tuned = stream
        .set_nodelay(true)
        .and_then(|()| SockRef::from(stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX)));
    tuned.map_err(|source| PeerError::Io { doing: "setting socket options", source })
}

async fn within<T>(
    limit: Duration,
    doing: &'static str,
    step: impl Future<Output = io::Result<T>>,
) -> Result<T, PeerError> {
    match timeout(limit, step).await {
        Ok(done) => done.map_err(|source| PeerError::Io { doing, source }),
        Err(_) => Err(PeerError::Late { doing, limit }),
    }
}

/// The name that a node's certificate gives: its common name, or else its first DNS name (RFC 5280, 4.2.1.6).
pub fn certificate_name(certificate: &CertificateDer<'_>) -> Option<String> {
    use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let common = certificate.subject().iter_common_name().find_map(|name| name.as_str().ok());
    let alternative = || {
        let names = certificate.subject_alternative_name().ok().flatten()?;
        names.value.general_names.iter().find_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            _ => None,
        })
    };
    common.or_else(alternative).map(|name| name.chars().take(256).collect())
}
