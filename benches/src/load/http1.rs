//! As much of HTTP/1.1 as a load needs: a request, and an answer with `content-length`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// Octets that are read at once, and that a head may have.
const BUFFER_BYTES: usize = 64 * 1024;

/// A connection, over whatever carries it.
pub(crate) struct Connection<IO> {
    io: IO,
    buffer: Box<[u8]>,
}

impl Connection<TcpStream> {
    /// Connects in clear; an answer that takes longer than `timeout` is an error.
    pub(crate) fn open(address: SocketAddr, timeout: Duration) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true).context("setting TCP_NODELAY")?;
        stream.set_read_timeout(Some(timeout)).context("setting a timeout")?;
        Ok(Self::new(stream))
    }
}

impl<IO: Read + Write> Connection<IO> {
    pub(super) fn new(io: IO) -> Self {
        Self { io, buffer: vec![0; BUFFER_BYTES].into() }
    }

    /// Asks, and reads the whole answer.
    ///
    /// # Errors
    /// The connection broke, or the answer is not a whole 200.
    pub(crate) fn get(&mut self, host: &str, path: &str) -> Result<()> {
        self.exchange(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"), &[], None).map(drop)
    }

    /// Sends a head, which ends with its empty line, and a body; reads the whole answer, and keeps its body where somebody
    /// wants it. How many octets the body had.
    ///
    /// # Errors
    /// The connection broke, or the answer is not a whole 200.
    pub(crate) fn exchange(
        &mut self,
        head: &str,
        body: &[u8],
        mut kept: Option<&mut Vec<u8>>,
    ) -> Result<usize> {
        self.io.write_all(head.as_bytes()).context("asking")?;
        self.io.write_all(body).context("sending a body")?;
        let mut filled = 0;
        let (head, length) = loop {
            let read = self.io.read(&mut self.buffer[filled..]).context("reading a head")?;
            ensure!(read > 0, "the connection ended within a head");
            filled += read;
            if let Some(found) = read_head(&self.buffer[..filled])? {
                break found;
            }
        };
        let mut left = (head + length).checked_sub(filled).context("more came than was announced")?;
        if let Some(kept) = &mut kept {
            kept.extend_from_slice(&self.buffer[head..filled]);
        }
        while left > 0 {
            let most = left.min(self.buffer.len());
            let read = self.io.read(&mut self.buffer[..most]).context("reading a body")?;
            ensure!(read > 0, "the connection ended within a body");
            if let Some(kept) = &mut kept {
                kept.extend_from_slice(&self.buffer[..read]);
            }
            left -= read;
        }
        Ok(length)
    }
}

/// Octets of the head and of the body that follows, once the head is whole.
fn read_head(octets: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(end) = octets.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&octets[..end]).context("the head is not text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    ensure!(status == Some("200"), "the answer is no 200: {head}");
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    Ok(Some((end + 4, length.with_context(|| format!("the answer has no content-length: {head}"))?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written to it, and what it answers.
    struct Peer {
        told: Vec<u8>,
        answer: &'static [u8],
    }

    impl Read for Peer {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            // Octet by octet, as a network may.
            let most = buffer.len().min(1);
            self.answer.read(&mut buffer[..most])
        }
    }

    impl Write for Peer {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            self.told.write(octets)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_body_is_sent_behind_its_head_and_that_of_the_answer_is_kept_whole() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbodyHTTP/1.1";
        let mut connection = Connection::new(Peer { told: Vec::new(), answer });
        let mut kept = Vec::new();
        assert_eq!(connection.exchange("PUT / HTTP/1.1\r\n\r\n", b"sent", Some(&mut kept)).unwrap(), 4);
        assert_eq!(
            (connection.io.told.as_slice(), kept.as_slice()),
            (&b"PUT / HTTP/1.1\r\n\r\nsent"[..], &b"body"[..])
        );
        assert!(connection.exchange("GET / HTTP/1.1\r\n\r\n", &[], None).is_err(), "it ended within a head");
    }

    #[test]
    fn a_head_is_read_once_it_is_whole_and_must_be_of_a_200() {
        assert_eq!(read_head(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n").unwrap(), None);
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc";
        assert_eq!(read_head(whole).unwrap(), Some((38, 5)));
        assert!(read_head(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").is_err());
        assert!(read_head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }
}
