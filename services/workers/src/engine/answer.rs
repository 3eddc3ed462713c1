//! A Worker's answer on its way out of the engine.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::BytesMut;
use proxima_chassis::Deadline;
use proxima_http1::{Answering, PulledBody, ResponseHead, Upload};
use proxima_pipeline::{Body, BodyError};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{
    connection::{Connection, LIMITS},
    process::AtWork,
};

/// How long an answer may go on without anything coming: then its Worker is cut off. Longer than those are silent who send something
/// now and then so as to be kept (server-sent events).
const SILENT_MAX: Duration = Duration::from_secs(300);

/// A process's answer: while it comes, its Worker is at work.
struct Answered {
    at_work: AtWork,
    connection: Connection,
    /// By when something more must have come.
    deadline: Deadline,
}

/// The body of an answer whose head has come over this connection.
pub(super) fn body(head: &ResponseHead, at_work: AtWork, connection: Connection, upload: Upload) -> Body {
    let answered = Answered { at_work, connection, deadline: Deadline::default() };
    PulledBody::of(answered, head.framing, &LIMITS, upload, head.keep_alive)
}

impl Answering for Answered {
    fn buffer(&mut self) -> &mut BytesMut {
        &mut self.connection.buffer.octets
    }

    fn poll_send(&mut self, upload: &mut Upload, context: &mut Context<'_>) -> Result<(), BodyError> {
        self.connection.poll_send(upload, context).map_err(|_| BodyError::Aborted)
    }

    fn poll_more(&mut self, context: &mut Context<'_>, announced: Option<u64>) -> Poll<io::Result<usize>> {
        match ready!(self.connection.poll_more(context, announced))? {
            // It was ended, or has ended: its Worker did not say less than it had announced.
            0 if announced.is_some() => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            octets => {
                if octets > 0 {
                    self.deadline.clear();
                    self.at_work.progressed();
                }
                Poll::Ready(Ok(octets))
            }
        }
    }

    fn poll_silent(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.deadline.is_set() {
            self.deadline.set(Instant::now() + SILENT_MAX);
        }
        self.deadline.poll(context)
    }

    fn ended(self, is_kept: bool) {
        self.at_work.done(is_kept.then_some(self.connection));
    }
}

/// A connection that has left HTTP: a WebSocket whose other end is a Worker.
pub(crate) struct UpgradedWorker {
    io: Connection,
    at_work: AtWork,
    /// Whether it was told something of which nothing has come yet.
    is_told: bool,
}

impl UpgradedWorker {
    pub(crate) fn new(io: Connection, at_work: AtWork) -> Self {
        at_work.has_to_do(false);
        Self { io, at_work, is_told: false }
    }

    fn is_told(&mut self, is_told: bool) {
        if std::mem::replace(&mut self.is_told, is_told) != is_told {
            self.at_work.has_to_do(is_told);
        }
    }
}

impl Drop for UpgradedWorker {
    fn drop(&mut self) {
        if !self.is_told {
            self.at_work.rested();
        }
    }
}

impl AsyncRead for UpgradedWorker {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let worker = self.get_mut();
        let read = ready!(Pin::new(&mut worker.io).poll_read(context, buffer));
        worker.at_work.progressed();
        worker.is_told(false);
        Poll::Ready(read)
    }
}

impl AsyncWrite for UpgradedWorker {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let worker = self.get_mut();
        let written = ready!(Pin::new(&mut worker.io).poll_write(context, octets));
        worker.at_work.told();
        worker.is_told(true);
        Poll::Ready(written)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, sync::Arc};

    use http::Method;
    use proxima_http1::Framing;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::UnixStream,
    };

    use super::super::{place::Place, process::Process};
    use super::*;
    use crate::version::numbered as version;

    const HEAD: &str = "GET http://a.example/ HTTP/1.1\r\n\r\n";

    /// A process that a test is the other side of.
    struct Faked {
        process: Arc<Process>,
        listener: UnixListener,
        _folder: tempfile::TempDir,
    }

    /// An answer whose head has come.
    struct Begun {
        head: ResponseHead,
        at_work: AtWork,
        connection: Connection,
        upload: Upload,
        theirs: UnixStream,
    }

    fn faked() -> Faked {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).expect("a socket");
        listener.set_nonblocking(true).expect("it can be asked whether somebody has come");
        Faked { process: Process::new(socket, Place::Shared, "secret".into()), listener, _folder: folder }
    }

    impl Faked {
        async fn begin(&self, upload: Upload, answered: &[u8]) -> Begun {
            let at_work = self.process.enter(&version(1), true).expect("there is room");
            let mut connection = self.process.connection().await.expect("it listens");
            let mut theirs = self.came().expect("it has connected");
            theirs.write_all(answered).await.expect("it is taken");
            let mut upload = upload;
            let head = connection.ask(&Method::GET, &mut upload).await.expect("a head");
            Begun { head, at_work, connection, upload, theirs }
        }

        /// Whoever has connected.
        fn came(&self) -> io::Result<UnixStream> {
            let (theirs, _) = self.listener.accept()?;
            theirs.set_nonblocking(true)?;
            UnixStream::from_std(theirs)
        }
    }

    fn bodiless() -> Upload {
        Upload::new(HEAD.into(), Body::empty(), Framing::None)
    }

    #[tokio::test]
    async fn an_answer_is_read_to_its_end_and_its_connection_kept_where_that_is_certain() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (octets, read, is_kept) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc".to_owned(), Some("abc"), true),
            ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), Some(""), true),
            (format!("{chunked}3\r\nabc\r\n0\r\n\r\n"), Some("abc"), true),
            (
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc".to_owned(),
                Some("abc"),
                false,
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcbehind".to_owned(), Some("abc"), false),
            (format!("{chunked}3\r\nabc\r\n0\r\n\r\nbehind"), Some("abc"), false),
            (format!("{chunked}x\r\n"), None, false),
        ] {
            let faked = faked();
            let Begun { head, at_work, connection, upload, theirs } =
                faked.begin(bodiless(), octets.as_bytes()).await;
            let said = body(&head, at_work, connection, upload).collect(1 << 10).await;
            assert_eq!(said.ok().as_deref(), read.map(str::as_bytes), "{octets}");
            assert_eq!(faked.process.last().is_some(), read.is_some(), "{octets}");
            let again = faked.process.connection().await.expect("it listens");
            assert_eq!(faked.came().is_err(), is_kept, "{octets}");
            drop((again, theirs));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_cut_off_or_silent_fails_and_whatever_comes_gives_it_time_anew() {
        let cut = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na";
        let gone = faked();
        let Begun { head, at_work, connection, upload, theirs } =
            gone.begin(bodiless(), cut.as_bytes()).await;
        drop(theirs);
        let said = body(&head, at_work, connection, upload).collect(1 << 10).await;
        assert!(matches!(said, Err(BodyError::Aborted)), "{said:?}");
        assert_eq!(gone.process.last(), None);

        let silent = faked();
        let Begun { head, at_work, connection, upload, mut theirs } =
            silent.begin(bodiless(), cut.as_bytes()).await;
        let mut said = body(&head, at_work, connection, upload);
        let begun = Instant::now();
        assert!(said.next_frame().await.expect("it has begun").is_ok());
        assert!(tokio::time::timeout(SILENT_MAX / 2, said.next_frame()).await.is_err());
        theirs.write_all(b"b").await.expect("it is taken");
        assert!(said.next_frame().await.expect("it goes on").is_ok());
        let end = said.next_frame().await.expect("it has an end");
        assert!(matches!(end, Err(BodyError::TimedOut)), "{end:?}");
        assert!(begun.elapsed() >= SILENT_MAX / 2 + SILENT_MAX);
        assert_eq!(silent.process.last(), None);
    }

    #[tokio::test]
    async fn a_request_that_was_answered_early_goes_on_while_its_answer_is_pulled() {
        let faked = faked();
        let whole = vec![b'x'; 4 << 20];
        let upload = Upload::new(HEAD.into(), Body::full(whole.clone()), Framing::Length(whole.len() as u64));
        let begun = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let Begun { head, at_work, connection, upload, mut theirs } =
            faked.begin(upload, begun.as_bytes()).await;
        assert!(!upload.is_sent(), "the kernel does not keep so much");
        let answer = body(&head, at_work, connection, upload);
        let echo = async {
            let mut request = vec![0; HEAD.len() + whole.len()];
            theirs.read_exact(&mut request).await.expect("all of it comes");
            theirs.write_all(b"3\r\nabc\r\n0\r\n\r\n").await.expect("it is taken");
        };
        let (said, ()) = tokio::join!(answer.collect(1 << 10), echo);
        assert_eq!(said.expect("an answer"), "abc");
        assert!(faked.process.last().is_some());
    }

    #[tokio::test]
    async fn who_gets_an_answer_without_a_body_sends_no_more_and_keeps_no_connection() {
        let faked = faked();
        let upload = Upload::new(HEAD.into(), Body::full(vec![b'x'; 4 << 20]), Framing::Length(4 << 20));
        let Begun { head, at_work, connection, upload, mut theirs } =
            faked.begin(upload, b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n").await;
        assert!(body(&head, at_work, connection, upload).is_empty());
        assert!(faked.process.last().is_some(), "it is answered");
        let read = theirs.read_to_end(&mut Vec::new()).await;
        assert!(read.is_ok_and(|octets| octets < 4 << 20));
    }

    #[tokio::test]
    async fn what_comes_right_behind_a_switch_of_protocols_is_read_first() {
        let faked = faked();
        let switched =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nab";
        let Begun { at_work, connection, mut theirs, .. } =
            faked.begin(bodiless(), switched.as_bytes()).await;
        let mut socket = UpgradedWorker::new(connection, at_work);
        theirs.write_all(b"cd").await.expect("it is taken");
        let mut read = [0; 4];
        socket.read_exact(&mut read).await.expect("it is there");
        assert_eq!(&read, b"abcd");
        socket.write_all(b"ef").await.expect("it is taken");
        let mut request = vec![0; HEAD.len() + 2];
        theirs.read_exact(&mut request).await.expect("it is there");
        assert!(request.ends_with(b"ef"));
        assert_eq!(socket.io.buffer.octets.capacity(), 0, "it may be open for days");
    }
}
