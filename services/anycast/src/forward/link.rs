//! A connection between two servers: TLS with both sides verified, one message a frame, a deadline on every step, a bound
//! on what waits.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{BufMut as _, BytesMut};
use futures_util::StreamExt as _;
use proxima_chassis::Identity;
use proxima_ledger::certificate_name;
use tokio::{
    io::{AsyncWriteExt as _, ReadHalf, WriteHalf},
    net::TcpStream,
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use super::{
    ForwardError,
    limits::{BATCH_OCTETS, BEAT_EVERY, QUEUE_OCTETS_MAX, QUEUE_PACKETS_MAX, SILENCE_MAX, STEP_WITHIN},
    message::{MESSAGE_OCTETS_MAX, Message},
    side::LinkId,
};

/// An open connection on which nothing is forwarded yet.
pub(super) struct Connection {
    reading: FramedRead<ReadHalf<TlsStream<TcpStream>>, LengthDelimitedCodec>,
    writing: WriteHalf<TlsStream<TcpStream>>,
    /// The peer's name, from its certificate.
    pub(super) name: Arc<str>,
}

impl Connection {
    /// Takes a connection that a peer has opened.
    pub(super) async fn accept(stream: TcpStream, tls: &TlsAcceptor) -> Result<Self, ForwardError> {
        stream.set_nodelay(true).map_err(system("setting socket options"))?;
        let stream = within(STEP_WITHIN, "the TLS handshake", tls.accept(stream)).await?;
        Ok(Self::new(stream.into()))
    }

    /// Opens a connection to a peer.
    pub(super) async fn open(address: SocketAddr, tls: &TlsConnector) -> Result<Self, ForwardError> {
        let stream = within(STEP_WITHIN, "connecting", TcpStream::connect(address)).await?;
        stream.set_nodelay(true).map_err(system("setting socket options"))?;
        let handshake = tls.connect(Identity::server_name(), stream);
        let stream = within(STEP_WITHIN, "the TLS handshake", handshake).await?;
        Ok(Self::new(stream.into()))
    }

    fn new(stream: TlsStream<TcpStream>) -> Self {
        let certificates = stream.get_ref().1.peer_certificates();
        let name = certificates.and_then(|chain| certificate_name(chain.first()?));
        let name = name.unwrap_or_else(|| "a peer without a name".to_owned()).into();
        let (reading, writing) = tokio::io::split(stream);
        let codec = LengthDelimitedCodec::builder().max_frame_length(MESSAGE_OCTETS_MAX).new_codec();
        Self { reading: FramedRead::new(reading, codec), writing, name }
    }

    /// Says one thing, before anything is forwarded.
    pub(super) async fn say(&mut self, message: &Message) -> Result<(), ForwardError> {
        let mut out = BytesMut::new();
        put_frame(&mut out, &message.encode());
        write(&mut self.writing, &mut out).await
    }

    /// Hears one thing, before anything is forwarded.
    pub(super) async fn hear(&mut self) -> Result<Message, ForwardError> {
        hear(&mut self.reading, STEP_WITHIN, "waiting for a word from it").await
    }

    /// Writes what is queued and beats; gives what comes, unless it is a beat, to `heard`, until that takes no more or
    /// either side ends or falls silent. Returns why.
    pub(super) async fn carry<F: Future<Output = Result<(), ForwardError>>>(
        self,
        queued: Queued,
        mut heard: impl FnMut(Message) -> F,
    ) -> ForwardError {
        let Self { mut reading, writing, .. } = self;
        let read = async {
            loop {
                match hear(&mut reading, SILENCE_MAX, "hearing from it").await {
                    Ok(Message::Beat) => {}
                    Ok(message) => {
                        if let Err(error) = heard(message).await {
                            return error;
                        }
                    }
                    Err(error) => return error,
                }
            }
        };
        tokio::select! {
            error = read => error,
            error = queued.write_to(writing) => error,
        }
    }
}

/// The end of a connection at which messages are queued. There is one, and the connection ends with it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    /// The peer's name.
    pub(crate) name: Arc<str>,
    /// Whether it was the peer that connected. Of those there is one at a time.
    pub(crate) theirs: bool,
    frames: mpsc::Sender<Vec<u8>>,
    octets: Arc<AtomicUsize>,
}

/// The other end: what is queued.
pub(super) struct Queued {
    frames: mpsc::Receiver<Vec<u8>>,
    octets: Arc<AtomicUsize>,
}

impl Link {
    pub(super) fn new(id: LinkId, name: Arc<str>, theirs: bool) -> (Self, Queued) {
        let (sender, frames) = mpsc::channel(QUEUE_PACKETS_MAX);
        let octets = Arc::<AtomicUsize>::default();
        (Self { id, name, theirs, frames: sender, octets: Arc::clone(&octets) }, Queued { frames, octets })
    }

    /// Queues a message; false if there is no room, or nobody who would send it.
    pub(crate) fn send(&self, message: &Message) -> bool {
        let frame = message.encode();
        let octets = frame.len();
        if self.octets.fetch_add(octets, Ordering::Relaxed) + octets <= QUEUE_OCTETS_MAX
            && self.frames.try_send(frame).is_ok()
        {
            return true;
        }
        self.octets.fetch_sub(octets, Ordering::Relaxed);
        false
    }
}

impl Queued {
    /// Whether nobody is there any more who would queue something, and nothing is queued.
    #[cfg(test)]
    pub(super) fn is_over(&mut self) -> bool {
        self.frames.try_recv() == Err(mpsc::error::TryRecvError::Disconnected)
    }

    /// Writes what is queued, and a beat when nothing is, until that fails or no more can come.
    async fn write_to(mut self, mut stream: WriteHalf<TlsStream<TcpStream>>) -> ForwardError {
        let mut out = BytesMut::with_capacity(BATCH_OCTETS);
        loop {
            match timeout(BEAT_EVERY, self.frames.recv()).await {
                Ok(Some(frame)) => self.put(&mut out, &frame),
                Ok(None) => return ForwardError::Ending,
                Err(_) => put_frame(&mut out, &Message::Beat.encode()),
            }
            while out.len() < BATCH_OCTETS
                && let Ok(frame) = self.frames.try_recv()
            {
                self.put(&mut out, &frame);
            }
            if let Err(error) = write(&mut stream, &mut out).await {
                return error;
            }
        }
    }

    fn put(&self, out: &mut BytesMut, frame: &[u8]) {
        self.octets.fetch_sub(frame.len(), Ordering::Relaxed);
        put_frame(out, frame);
    }
}

fn put_frame(out: &mut BytesMut, frame: &[u8]) {
    out.put_u32(u32::try_from(frame.len()).expect("a message is shorter than 4 GiB"));
    out.put_slice(frame);
}

async fn write(stream: &mut WriteHalf<TlsStream<TcpStream>>, out: &mut BytesMut) -> Result<(), ForwardError> {
    let written = async {
        stream.write_all(out).await?;
        stream.flush().await
    };
    within(SILENCE_MAX, "writing to it", written).await?;
    out.clear();
    Ok(())
}

async fn hear(
    reading: &mut FramedRead<ReadHalf<TlsStream<TcpStream>>, LengthDelimitedCodec>,
    limit: Duration,
    doing: &'static str,
) -> Result<Message, ForwardError> {
    match timeout_at(Instant::now() + limit, reading.next()).await {
        Ok(Some(Ok(frame))) => Ok(Message::decode(&frame)?),
        // As a process that ends does.
        Ok(Some(Err(source))) if source.kind() == io::ErrorKind::UnexpectedEof => Err(ForwardError::Closed),
        Ok(Some(Err(source))) => Err(ForwardError::System { doing: "reading from it", source }),
        Ok(None) => Err(ForwardError::Closed),
        Err(_) => Err(ForwardError::Late { doing, limit }),
    }
}

async fn within<T>(
    limit: Duration,
    doing: &'static str,
    step: impl Future<Output = io::Result<T>>,
) -> Result<T, ForwardError> {
    match timeout(limit, step).await {
        Ok(done) => done.map_err(system(doing)),
        Err(_) => Err(ForwardError::Late { doing, limit }),
    }
}

fn system(doing: &'static str) -> impl FnOnce(io::Error) -> ForwardError {
    move |source| ForwardError::System { doing, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_takes_packets_up_to_its_bounds_and_has_room_again_when_they_are_written() {
        let message = |octets: usize| Message::Stray(vec![0; octets]);
        let (link, mut queued) = Link::new(LinkId(1), "a peer".into(), true);
        let taken = (0..).take_while(|_| link.send(&message(1))).count();
        assert_eq!(taken, QUEUE_PACKETS_MAX);
        let mut out = BytesMut::new();
        while let Ok(frame) = queued.frames.try_recv() {
            queued.put(&mut out, &frame);
        }
        let large = 65_000;
        let taken = (0..).take_while(|_| link.send(&message(large))).count();
        assert_eq!(taken, QUEUE_OCTETS_MAX / (large + 1));
        drop(queued);
        assert!(!link.send(&message(1)), "nobody would write it");
    }
}
