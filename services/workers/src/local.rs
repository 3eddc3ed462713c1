//! Connections over Unix sockets between the node and the engine.
//!
//! The kernel tells the writer each time the reader has taken something (unix(7) does not say so: `unix_write_space` in
//! net/unix/af_unix.c). Who waits for room to write all the time, as tokio's own streams do, is so woken once more for each request, and
//! on a processor that both sides share that is two switches between them for nothing. So here room to write is waited for only when
//! there is none.

use std::{
    io::{self, IoSlice, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
    path::Path,
    pin::Pin,
    task::{Context, Poll, ready},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd},
    task::coop,
};

/// One of them.
#[derive(Debug)]
pub(crate) struct LocalStream {
    stream: AsyncFd<UnixStream>,
    /// The same socket while room to write is waited for.
    full: Option<AsyncFd<UnixStream>>,
}

impl LocalStream {
    /// Connects.
    pub(crate) async fn connect(path: &Path) -> io::Result<Self> {
        tokio::net::UnixStream::connect(path).await?.try_into()
    }

    /// Whether nothing came of it that was not read, nor its end: asked of the kernel, since nobody else may have looked lately.
    pub(crate) fn is_quiet(&self) -> bool {
        let peeked = SockRef::from(self.stream.get_ref()).peek(&mut [MaybeUninit::uninit(); 1]);
        matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// What was written, or how much of it; waits for room where there is none.
    fn poll_written(
        &mut self,
        context: &mut Context<'_>,
        write: impl Fn(&mut &UnixStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let budget = ready!(coop::poll_proceed(context));
        loop {
            let room = match &self.full {
                Some(full) => Some(ready!(full.poll_write_ready(context))?),
                None => None,
            };
            match write(&mut self.stream.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match room {
                    Some(mut room) => room.clear_ready(),
                    None => {
                        self.full = Some(watched(self.stream.get_ref().try_clone()?, Interest::WRITABLE)?)
                    }
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => {
                    budget.made_progress();
                    self.full = None;
                    return Poll::Ready(written);
                }
            }
        }
    }
}

impl TryFrom<tokio::net::UnixStream> for LocalStream {
    type Error = io::Error;

    fn try_from(stream: tokio::net::UnixStream) -> io::Result<Self> {
        let stream = watched(stream.into_std()?, Interest::READABLE)?;
        Ok(Self { stream, full: None })
    }
}

/// A socket of which the kernel tells this.
fn watched(stream: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    // SAFETY: a `UnixStream` has one descriptor, which is open until it is dropped, and nobody takes it out of it.
    unsafe { AsyncFd::register_with_interest(stream, interest) }.map_err(io::Error::from)
}

impl AsRawFd for LocalStream {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

impl AsyncRead for LocalStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = &self.get_mut().stream;
        loop {
            let mut ready = ready!(stream.poll_read_ready(context))?;
            // SAFETY: what is there already stays as it is: the kernel writes octets, and nobody takes any out of it.
            let free = unsafe { into.unfilled_mut() };
            let wanted = free.len();
            match ready.try_io(|stream| SockRef::from(stream.get_ref()).recv(free)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(read) => {
                    let read = read?;
                    // Less than there was room for: what is there has been read, and the kernel tells of what comes.
                    if 0 < read && read < wanted {
                        ready.clear_ready();
                    }
                    // SAFETY: the kernel has written so many octets there.
                    unsafe { into.assume_init(read) };
                    into.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(_not_ready) => {}
            }
        }
    }
}

impl AsyncWrite for LocalStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_written(context, |stream| stream.write(octets))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut said = pieces.iter().filter(|piece| !piece.is_empty());
        match (said.next(), said.next()) {
            // Most requests are a head and nothing else: the kernel takes one piece with less ado.
            (Some(only), None) => self.poll_write(context, only),
            _ => self.get_mut().poll_written(context, |stream| stream.write_vectored(pieces)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.get_ref().shutdown(std::net::Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// More than the kernel keeps.
    const OCTETS: usize = 4 << 20;

    fn pair() -> (LocalStream, LocalStream) {
        let (ours, theirs) = tokio::net::UnixStream::pair().expect("a pair of sockets");
        (ours.try_into().expect("one of them"), theirs.try_into().expect("the other"))
    }

    #[tokio::test]
    async fn more_than_the_kernel_keeps_goes_through_both_ways_at_once_and_ends() {
        let sent: Vec<u8> = (0..=250).cycle().take(OCTETS).collect();
        let side = |mut stream: LocalStream, sent: Vec<u8>| async move {
            let (mut reader, mut writer) = tokio::io::split(&mut stream);
            let mut read = Vec::new();
            let writing = async {
                writer.write_all(&sent).await?;
                writer.shutdown().await
            };
            let (written, heard) = tokio::join!(writing, reader.read_to_end(&mut read));
            written.and(heard).map(|_| read == sent)
        };
        let (ours, theirs) = pair();
        let both = async { tokio::join!(side(ours, sent.clone()), side(theirs, sent.clone())) };
        let (first, second) =
            tokio::time::timeout(Duration::from_secs(60), both).await.expect("it does not hang");
        assert!(first.expect("it is carried") && second.expect("it is carried"));
    }

    #[tokio::test]
    async fn room_to_write_is_waited_for_only_while_there_is_none() {
        let (mut ours, mut theirs) = pair();
        ours.write_all(b"abc").await.expect("there is room");
        assert!(ours.full.is_none());
        let octets = vec![0; 64 << 10];
        let mut written = 3;
        while let Poll::Ready(more) =
            poll_fn(|context| Poll::Ready(Pin::new(&mut ours).poll_write(context, &octets))).await
        {
            written += more.expect("it is taken");
        }
        assert!(ours.full.is_some());
        let mut read = vec![0; written];
        theirs.read_exact(&mut read).await.expect("it is there");
        ours.write_all(b"abc").await.expect("there is room again");
        assert!(ours.full.is_none());
        drop(theirs);
        let error = ours.write_all(b"abc").await.expect_err("nobody is there");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
