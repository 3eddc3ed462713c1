//! Chunks of a body as `aws-chunked` sends them: `s3s` gathers each in memory until it is whole, and takes one of 4 GiB.
//!
//! A chunk that has a signature cannot be parted, and is refused if it is larger than any client's. One without, which some clients
//! make of a whole object, is parted here.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};

/// Octets of a chunk that is signed: clients send 64 KiB to some MiB.
const SIGNED_OCTETS_MAX: u64 = 16 << 20;
/// Octets of the chunks that others are parted into.
const PARTED_OCTETS: u64 = 1 << 20;
/// Octets of a chunk's head; what `s3s` takes.
const HEAD_OCTETS_MAX: usize = 1_024;
/// Digits of a chunk's length; `s3s` reads no more, and passes over what follows them.
const DIGITS_MAX: usize = 8;
/// By these words it is known why such a body failed.
pub(super) const TOO_LARGE: &str = "a signed chunk of the body has more than 16 MiB";

/// A body whose chunks are followed, if it has any.
pub(super) struct Chunked<B> {
    pub(super) body: B,
    pub(super) chunks: Option<Chunks>,
}

/// Where a body is among its chunks.
pub(super) enum Chunks {
    /// Within a head, of which so much is here.
    Head(Vec<u8>),
    /// Within octets: how many of this chunk are to come, and how many of what was announced come in further ones.
    Octets(u64, u64),
    /// Within the end of the line behind them, of which so much is to come.
    End(usize),
    /// Behind the last one.
    Trailers,
}

impl Chunks {
    pub(super) const fn new() -> Self {
        Self::Head(Vec::new())
    }

    /// What is passed on of this.
    fn pass(&mut self, mut data: &[u8]) -> io::Result<Bytes> {
        let mut passed = BytesMut::with_capacity(data.len());
        while !data.is_empty() {
            match self {
                Self::Head(head) => {
                    let end = data.iter().position(|octet| *octet == b'\n').map(|at| at + 1);
                    let (more, rest) = data.split_at(end.unwrap_or(data.len()));
                    head.extend_from_slice(more);
                    data = rest;
                    if head.len() > HEAD_OCTETS_MAX {
                        return Err(io::Error::other("the head of a chunk is too long"));
                    }
                    if end.is_some() {
                        let head = std::mem::take(head);
                        *self = Self::begin(&head, &mut passed)?;
                    }
                }
                Self::Octets(left, further) => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(data.len());
                    let (more, rest) = data.split_at(count);
                    passed.extend_from_slice(more);
                    data = rest;
                    *left -= count as u64;
                    if *left == 0 && *further > 0 {
                        *left = PARTED_OCTETS.min(*further);
                        *further -= *left;
                        passed.extend_from_slice(format!("\r\n{left:x}\r\n").as_bytes());
                    } else if *left == 0 {
                        *self = Self::End(b"\r\n".len());
                    }
                }
                Self::End(left) => {
                    let (more, rest) = data.split_at((*left).min(data.len()));
                    passed.extend_from_slice(more);
                    data = rest;
                    *left -= more.len();
                    if *left == 0 {
                        *self = Self::new();
                    }
                }
                Self::Trailers => {
                    passed.extend_from_slice(data);
                    data = &[];
                }
            }
        }
        Ok(passed.freeze())
    }

    fn begin(head: &[u8], passed: &mut BytesMut) -> io::Result<Self> {
        let digits = head.split(|octet| matches!(octet, b';' | b'\r')).next().unwrap_or_default();
        let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() <= DIGITS_MAX);
        let octets = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let octets = octets.ok_or_else(|| io::Error::other("the head of a chunk is malformed"))?;
        let is_signed = head.contains(&b';');
        if is_signed && octets > SIGNED_OCTETS_MAX {
            return Err(io::Error::other(TOO_LARGE));
        }
        if !is_signed && octets > PARTED_OCTETS {
            passed.extend_from_slice(format!("{PARTED_OCTETS:x}\r\n").as_bytes());
            return Ok(Self::Octets(PARTED_OCTETS, octets - PARTED_OCTETS));
        }
        passed.extend_from_slice(head);
        Ok(if octets == 0 { Self::Trailers } else { Self::Octets(octets, 0) })
    }
}

impl<B> http_body::Body for Chunked<B>
where
    B: http_body::Body<Data = Bytes, Error = io::Error> + Unpin,
{
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Self { body, chunks } = &mut *self;
        let frame = ready!(Pin::new(body).poll_frame(context));
        Poll::Ready(frame.map(|frame| match (frame?.into_data(), chunks) {
            (Ok(data), Some(chunks)) => chunks.pass(&data).map(Frame::data),
            (Ok(data), None) => Ok(Frame::data(data)),
            (Err(trailers), _) => Ok(trailers),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    /// Parted, it has more octets than it came with.
    fn size_hint(&self) -> SizeHint {
        if self.chunks.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is passed on of a body that comes in frames of so many octets.
    fn passed(body: &[u8], frame: usize) -> Result<Vec<u8>, String> {
        let mut chunks = Chunks::new();
        let passed = body.chunks(frame).map(|frame| chunks.pass(frame));
        let passed: io::Result<Vec<_>> = passed.collect();
        passed.map(|passed| passed.concat()).map_err(|error| error.to_string())
    }

    #[test]
    fn no_chunk_is_passed_on_that_is_large() {
        let octets = vec![b'\n'; 5 << 19];
        let of = |head: &str, octets: &[u8]| [head.as_bytes(), octets, b"\r\n"].concat();
        let last = b"0\r\nx-amz-checksum-crc32:a\r\n\r\n".as_slice();
        let whole = [&of("280000\r\n", &octets), last].concat();
        let one = of("100000\r\n", &octets[..1 << 20]);
        let parted = [&one, &one, &of("80000\r\n", &octets[..1 << 19]), last].concat();
        let signed = [&of("280000;chunk-signature=s\r\n", &octets), last].concat();
        for frame in [1, 7, 1 << 20, usize::MAX] {
            assert!(passed(&whole, frame).as_ref() == Ok(&parted), "in frames of {frame}");
            assert!(passed(&signed, frame).as_ref() == Ok(&signed), "in frames of {frame}");
            let refused = passed(b"1000001;chunk-signature=s\r\n", frame);
            assert_eq!(refused.unwrap_err(), TOO_LARGE);
            for head in ["000000001\r\n", "x\r\n", "\r\n", "-1\r\n", &"0".repeat(1_025)] {
                assert!(passed(head.as_bytes(), frame).is_err(), "{head}");
            }
        }
        assert_eq!(passed(b"1000000;chunk-signature=s\r\n", 3).unwrap(), b"1000000;chunk-signature=s\r\n");
    }
}
