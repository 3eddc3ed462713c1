//! As much of HTTP/1.1 as a load needs: a request, and an answer with `content-length`.

use std::io::{Read, Write};

use anyhow::{Context, Result, ensure};

/// Octets that are read at once, and that a head may have.
const BUFFER_BYTES: usize = 64 * 1024;

/// A connection, over whatever carries it.
pub(super) struct Connection<IO> {
    io: IO,
    buffer: Box<[u8]>,
}

impl<IO: Read + Write> Connection<IO> {
    pub(super) fn new(io: IO) -> Self {
        Self { io, buffer: vec![0; BUFFER_BYTES].into() }
    }

    /// Asks, and reads the whole answer.
    ///
    /// # Errors
    /// The connection broke, or the answer is not a whole 200.
    pub(super) fn get(&mut self, host: &str, path: &str) -> Result<()> {
        write!(self.io, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").context("asking")?;
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
        while left > 0 {
            let most = left.min(self.buffer.len());
            let read = self.io.read(&mut self.buffer[..most]).context("reading a body")?;
            ensure!(read > 0, "the connection ended within a body");
            left -= read;
        }
        Ok(())
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

    #[test]
    fn a_head_is_read_once_it_is_whole_and_must_be_of_a_200() {
        assert_eq!(read_head(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n").unwrap(), None);
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc";
        assert_eq!(read_head(whole).unwrap(), Some((38, 5)));
        assert!(read_head(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").is_err());
        assert!(read_head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }
}
