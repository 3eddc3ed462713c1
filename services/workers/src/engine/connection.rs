//! A connection to a process of the engine: one request at a time.
//!
//! ```text
//!  Head, body ─▶ Upload ─▶ Wire ─▶ the process
//!  whoever waits for the answer's head ◀─ ResponseParser ◀─┐ buffer ◀─ Wire
//!  whoever pulls its body (answer.rs) ◀──── PulledBody ◀───┘ read to its end: kept for the next request
//! ```
//!
//! Invariants: no task and no queue stands between a request and the process; who waits for the head sends the request, whoever pulls the
//! body reads the socket, and goes on sending where the answer came early: an upload stands still while nobody does, as one to an origin
//! does. Who goes away closes the connection, which tells the engine that nobody waits. What comes behind an answer belongs to nothing:
//! such a connection is not used again.

use std::{
    io,
    path::Path,
    pin::Pin,
    sync::{Arc, atomic::AtomicU64},
    task::{Context, Poll, ready},
};

use http::Method;
use proxima_http1::{
    Http1Error, INFORMATIONAL_MAX, Limits, ReadBuffer, ResponseHead, ResponseParser, Upload, UploadError,
};
use proxima_pipeline::BodyError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{held::Line, wire::Wire};
use crate::local::LocalStream;

/// What an answer of a Worker may be: many cookies, and then some.
pub(super) const LIMITS: Limits =
    Limits { head_bytes_max: 400 << 10, head_fields_max: 256, ..Limits::DEFAULT };

/// See the module.
pub(crate) struct Connection {
    wire: Wire,
    /// What was read and not consumed yet.
    pub(super) buffer: ReadBuffer,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The process is gone, or does not want to hear more.
    #[error("the connection ended before an answer: {0}")]
    Closed(#[from] io::Error),
    /// It is there and well, and what it says is not taken.
    #[error("the answer cannot be read: {0}")]
    Unreadable(&'static str),
    /// The request was cut off.
    #[error("the request's body ended early: {0}")]
    Unasked(BodyError),
}

impl Connection {
    /// A new one, which counts in `progress`.
    pub(super) async fn open(socket: &Path, progress: Arc<AtomicU64>) -> io::Result<Self> {
        let stream = LocalStream::connect(socket).await?;
        Ok(Self { wire: Wire::new(stream, progress), buffer: ReadBuffer::default() })
    }

    /// By which others see what was read of it.
    pub(super) fn line(&self) -> &Arc<Line> {
        self.wire.line()
    }

    /// Whether it can be used again: the process has neither closed it nor said anything unasked.
    pub(super) fn is_quiet(&self) -> bool {
        self.wire.is_quiet()
    }

    /// Sends a request and reads the head of its answer, which may come before all was sent.
    pub(super) async fn ask(&mut self, method: &Method, upload: &mut Upload) -> Result<ResponseHead, Broken> {
        let (mut parser, mut interims) = (ResponseParser::default(), 0);
        std::future::poll_fn(|context| {
            self.poll_send(upload, context)?;
            loop {
                let read = &mut self.buffer.octets;
                if !read.is_empty()
                    && let Some(head) = parser.parse(read, method, &LIMITS).map_err(unreadable)?
                {
                    if !head.is_interim() {
                        return Poll::Ready(Ok(head));
                    }
                    interims += 1;
                    if interims > INFORMATIONAL_MAX {
                        return Poll::Ready(Err(Broken::Unreadable("informational answers have no end")));
                    }
                    continue;
                }
                if ready!(self.poll_more(context, None))? == 0 {
                    return Poll::Ready(Err(Broken::Closed(io::ErrorKind::UnexpectedEof.into())));
                }
            }
        })
        .await
    }

    /// Goes on sending. A process that takes no more may still be answering.
    pub(super) fn poll_send(&mut self, upload: &mut Upload, context: &mut Context<'_>) -> Result<(), Broken> {
        if upload.is_over() {
            return Ok(());
        }
        match upload.poll_send(&mut self.wire, context) {
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
            Poll::Ready(Err(UploadError::Peer(error))) if is_of_the_peer(&error) => {
                upload.give_up();
                Ok(())
            }
            Poll::Ready(Err(UploadError::Peer(error))) => Err(Broken::Closed(error)),
            Poll::Ready(Err(UploadError::Body(error))) => Err(Broken::Unasked(error)),
        }
    }

    /// Reads what is there, at least one octet; 0 at the end. `announced`: how much is still to come, if known.
    pub(super) fn poll_more(
        &mut self,
        context: &mut Context<'_>,
        announced: Option<u64>,
    ) -> Poll<io::Result<usize>> {
        self.buffer.poll_more(&mut self.wire, context, announced)
    }

    /// An answer was read to its end: the connection, if nothing came behind it.
    pub(super) fn ended(self) -> Option<Self> {
        let Self { wire, buffer } = self;
        Some(Self { wire, buffer: buffer.ended()? })
    }
}

/// More than is taken is named by what it is of.
const fn unreadable(error: Http1Error) -> Broken {
    Broken::Unreadable(match error {
        Http1Error::HeadTooLarge => "the fields of its answer are too long",
        Http1Error::TooManyFields => "its answer has too many fields",
        other => other.describe(),
    })
}

/// Whether a process that takes no more says so, and not the node's own system.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// One that has left HTTP. What came right behind the head is read first.
impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { wire, buffer } = &mut *self;
        buffer.poll_left(wire, context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;
    use proxima_http1::Framing;
    use proxima_pipeline::Body;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{UnixListener, UnixStream as Theirs},
    };

    use super::*;

    const HEAD: &str = "GET http://a.example/ HTTP/1.1\r\n\r\n";

    async fn connected() -> (Connection, Theirs) {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let connection = Connection::open(&socket, Arc::default()).await.expect("it listens");
        let (theirs, _) = listener.accept().await.expect("it is there");
        (connection, theirs)
    }

    fn bodiless() -> Upload {
        Upload::new(HEAD.into(), Body::empty(), Framing::None)
    }

    /// What is made of these octets as an answer.
    async fn answered(octets: &[u8]) -> (Connection, Result<ResponseHead, Broken>) {
        let (mut connection, mut theirs) = connected().await;
        let answering = async {
            let mut request = vec![0; HEAD.len()];
            theirs.read_exact(&mut request).await.expect("it is asked");
            theirs.write_all(octets).await.expect("it is there");
            drop(theirs);
        };
        let mut upload = bodiless();
        let (head, ()) = tokio::join!(connection.ask(&Method::GET, &mut upload), answering);
        (connection, head)
    }

    #[tokio::test]
    async fn heads_are_read_and_what_is_none_is_told_apart_from_a_process_that_is_gone() {
        let (connection, head) =
            answered(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nab")
                .await;
        let head = head.expect("an answer");
        assert_eq!((head.status, head.framing), (StatusCode::CREATED, Framing::Length(2)));
        assert_eq!(&connection.buffer.octets[..], b"ab");
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(LIMITS.head_fields_max + 1));
        let hints = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(INFORMATIONAL_MAX + 1);
        for (octets, expected) in [
            (many.as_str(), "its answer has too many fields"),
            (hints.as_str(), "informational answers have no end"),
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", Http1Error::LengthInvalid.describe()),
        ] {
            let (_, head) = answered(octets.as_bytes()).await;
            assert!(matches!(head, Err(Broken::Unreadable(why)) if why == expected), "{head:?}");
        }
        for octets in ["", "HTTP/1.1 200 OK\r\n"] {
            let (_, head) = answered(octets.as_bytes()).await;
            assert!(matches!(head, Err(Broken::Closed(_))), "{head:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_may_come_before_all_of_the_request_was_sent_which_goes_on() {
        let (mut connection, mut theirs) = connected().await;
        let whole = Bytes::from(vec![b'x'; 4 << 20]);
        let framing = Framing::Length(whole.len() as u64);
        let mut upload = Upload::new(HEAD.into(), Body::full(whole.clone()), framing);
        theirs.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab").await.expect("it is there");
        let head = connection.ask(&Method::PUT, &mut upload).await.expect("an answer");
        assert_eq!(head.framing, Framing::Length(2));
        assert!(!upload.is_sent(), "the kernel does not keep so much");
        let mut request = vec![0; HEAD.len() + whole.len()];
        let sending = std::future::poll_fn(|context| {
            connection.poll_send(&mut upload, context)?;
            if upload.is_sent() { Poll::Ready(Ok::<_, Broken>(())) } else { Poll::Pending }
        });
        let (read, sent) = tokio::join!(theirs.read_exact(&mut request), sending);
        assert_eq!(read.expect("it is there"), HEAD.len() + whole.len());
        sent.expect("it is sent");
    }

    #[tokio::test]
    async fn trailers_are_left_out_and_who_sends_too_little_is_told_apart() {
        let (mut connection, mut theirs) = connected().await;
        let (mut sender, body) = Body::channel(2, None);
        sender.send("abc".into()).await.expect("there is room");
        let trailers = [(http::header::ETAG, http::HeaderValue::from_static("x"))].into_iter().collect();
        sender.send_trailers(trailers).await.expect("there is room");
        drop(sender);
        let mut upload = Upload::new(HEAD.into(), body, Framing::Chunked).without_trailers();
        theirs.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("it is there");
        connection.ask(&Method::PUT, &mut upload).await.expect("an answer");
        assert!(upload.is_sent());
        drop(connection);
        let mut request = Vec::new();
        theirs.read_to_end(&mut request).await.expect("it is there");
        assert_eq!(request, [HEAD.as_bytes(), b"3\r\nabc\r\n0\r\n\r\n"].concat());

        let (mut connection, _theirs) = connected().await;
        let mut upload = Upload::new(HEAD.into(), Body::full("abc"), Framing::Length(4));
        let head = connection.ask(&Method::PUT, &mut upload).await;
        assert!(matches!(head, Err(Broken::Unasked(BodyError::WrongLength))), "{head:?}");
    }

    #[tokio::test]
    async fn a_connection_is_kept_while_nothing_came_behind_an_answer_and_nobody_closed_it() {
        let (connection, mut theirs) = connected().await;
        assert!(connection.is_quiet());
        theirs.write_all(b"x").await.expect("it is there");
        assert!(!connection.is_quiet());
        let (connection, theirs) = connected().await;
        assert!(connection.is_quiet());
        drop(theirs);
        assert!(!connection.is_quiet());
        let (connection, head) = answered(b"HTTP/1.1 204 No Content\r\n\r\nbehind").await;
        assert_eq!(head.expect("an answer").framing, Framing::None);
        assert!(connection.ended().is_none());
        let (connection, _) = answered(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        assert!(connection.ended().is_some());
    }
}
