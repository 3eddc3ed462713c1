//! A client of HTTP/2 whose frames are written by hand.

use bytes::Buf;

use super::*;
use crate::fields::Section;
use crate::http2::{
    Code, Decoder, FRAME_HEAD_BYTES, FrameHead, PREFACE, flag, frame_type, write_reset, write_window_update,
};

/// A connection whose frames are written by hand.
pub(super) struct Wire<IO = TcpStream> {
    pub(super) io: IO,
    pub(super) buffer: BytesMut,
    pub(super) decoder: Decoder,
}

/// A frame that came.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) head: FrameHead,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    pub(super) fn code(&self) -> Code {
        let octets =
            if self.head.kind == frame_type::GOAWAY { &self.payload[4..8] } else { &self.payload[..] };
        Code(u32::from_be_bytes(octets.try_into().unwrap()))
    }
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A section of literals.
pub(super) fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = BytesMut::new();
    for (name, value) in fields {
        out.extend_from_slice(&[0]);
        crate::fields::write_string(name.as_bytes(), 7, 0, &mut out);
        crate::fields::write_string(value.as_bytes(), 7, 0, &mut out);
    }
    out.to_vec()
}

pub(super) const WHOLE: u8 = flag::END_HEADERS | flag::END_STREAM;

pub(super) fn request(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", path)];
    section(&[&pseudo[..], more].concat())
}

pub(super) fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(frame_type::HEADERS, WHOLE, stream, &request(path, &[]))
}

/// Settings of one.
pub(super) fn setting(id: u8, value: u32) -> Vec<u8> {
    frame(frame_type::SETTINGS, 0, 0, &[&[0, id][..], &value.to_be_bytes()].concat())
}

pub(super) fn reset(stream: u32) -> Vec<u8> {
    let mut out = BytesMut::new();
    write_reset(stream, Code::CANCEL, &mut out);
    out.to_vec()
}

pub(super) fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    let mut out = BytesMut::new();
    write_window_update(stream, bytes, &mut out);
    out.to_vec()
}

impl Wire {
    pub(super) async fn connect(server: &Server) -> Self {
        Self::over(TcpStream::connect(server.address).await.unwrap()).await
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Wire<IO> {
    pub(super) async fn over(io: IO) -> Self {
        let mut wire = Self { io, buffer: BytesMut::new(), decoder: Decoder::default() };
        wire.send(&[PREFACE, &frame(frame_type::SETTINGS, 0, 0, &[])].concat()).await;
        wire
    }

    pub(super) async fn send(&mut self, octets: &[u8]) {
        // The server may have ended the connection already.
        within(self.io.write_all(octets)).await.ok();
    }

    /// The next frame; `None` at the connection's end.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(head) = FrameHead::read(&self.buffer).unwrap()
                && self.buffer.len() >= FRAME_HEAD_BYTES + head.length
            {
                self.buffer.advance(FRAME_HEAD_BYTES);
                return Some(Frame { head, payload: self.buffer.split_to(head.length).to_vec() });
            }
            if !matches!(within(self.io.read_buf(&mut self.buffer)).await, Ok(1..)) {
                return None;
            }
        }
    }

    /// The next frame of a kind.
    pub(super) async fn until(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await.unwrap_or_else(|| panic!("there is no frame of kind {kind}"));
            if frame.head.kind == kind {
                return frame;
            }
        }
    }

    /// How the connection ends.
    pub(super) async fn end(&mut self) -> Code {
        let code = self.until(frame_type::GOAWAY).await.code();
        while self.next().await.is_some() {}
        code
    }

    /// The status of the next answer.
    pub(super) async fn status(&mut self) -> u16 {
        let frame = self.until(frame_type::HEADERS).await;
        let mut status = 0;
        let bounds = Section { bytes_max: 1 << 20, fields_max: 100 };
        let read = self.decoder.decode(&frame.payload, bounds, |name, value| {
            if name == b":status" {
                status = std::str::from_utf8(value).unwrap().parse().unwrap();
            }
            Ok(())
        });
        read.unwrap();
        status
    }
}
