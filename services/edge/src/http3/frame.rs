//! The frames of a request stream (RFC 9114, 7).

use bytes::{Buf, Bytes, BytesMut};

use super::code::{Broken, Code};
use super::integer::{VARINT_BYTES_MAX, read_varint};

/// Frame types (RFC 9114, 7.2).
pub(super) mod frame_type {
    pub(in crate::http3) const DATA: u64 = 0x00;
    pub(in crate::http3) const HEADERS: u64 = 0x01;
    pub(in crate::http3) const CANCEL_PUSH: u64 = 0x03;
    pub(in crate::http3) const SETTINGS: u64 = 0x04;
    pub(in crate::http3) const PUSH_PROMISE: u64 = 0x05;
    pub(in crate::http3) const GOAWAY: u64 = 0x07;
    pub(in crate::http3) const MAX_PUSH_ID: u64 = 0x0d;

    /// Whether it was a frame of HTTP/2 that may not be sent here (RFC 9114, 7.2.8).
    pub(in crate::http3) const fn is_of_http2(kind: u64) -> bool {
        matches!(kind, 0x02 | 0x06 | 0x08 | 0x09)
    }
}

/// A frame's type and length, as their octets come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FrameHead {
    octets: [u8; 2 * VARINT_BYTES_MAX],
    length: usize,
}

impl FrameHead {
    /// Whether nothing of a frame has come.
    pub(super) const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Takes octets until type and length are there.
    pub(super) fn take(&mut self, input: &mut Bytes) -> Option<(u64, u64)> {
        // Two integers are whole within 16 octets, whatever they are.
        while let Some(&octet) = input.first() {
            input.advance(1);
            self.octets[self.length] = octet;
            self.length += 1;
            let octets = &self.octets[..self.length];
            if let Some((kind, taken)) = read_varint(octets)
                && let Some((length, _)) = read_varint(&octets[taken..])
            {
                self.length = 0;
                return Some((kind, length));
            }
        }
        None
    }
}

/// What a request stream carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The encoded field section of the request's head.
    Head(Bytes),
    /// Some of its body.
    Data(Bytes),
    /// The encoded field section of its trailers.
    Trailers(Bytes),
}

/// Which frame may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expects {
    Head,
    Body,
    Nothing,
}

#[derive(Debug)]
enum State {
    Between,
    Section { left: usize, gathered: BytesMut },
    Data { left: u64 },
    Skip { left: u64 },
}

/// Takes the frames of one request apart.
#[derive(Debug)]
pub struct MessageDecoder {
    expects: Expects,
    head: FrameHead,
    state: State,
    section_bytes_max: usize,
}

impl MessageDecoder {
    /// A request whose encoded field sections may have this many octets each.
    pub fn new(section_bytes_max: usize) -> Self {
        Self { expects: Expects::Head, head: FrameHead::default(), state: State::Between, section_bytes_max }
    }

    /// The next piece of `input`, which is taken off it; `None` when all of it was taken.
    ///
    /// # Errors
    /// [`Broken`]; then there is no way on.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Piece>, Broken> {
        loop {
            match &mut self.state {
                State::Between => match self.head.take(input) {
                    Some((kind, length)) => self.begin(kind, length)?,
                    None => return Ok(None),
                },
                State::Section { left, gathered } => {
                    if input.is_empty() && *left > 0 {
                        return Ok(None);
                    }
                    let some = input.split_to(input.len().min(*left));
                    *left -= some.len();
                    let whole = match (*left, gathered.is_empty()) {
                        (0, true) => some,
                        (0, false) => {
                            gathered.extend_from_slice(&some);
                            std::mem::take(gathered).freeze()
                        }
                        _ => {
                            gathered.extend_from_slice(&some);
                            continue;
                        }
                    };
                    self.state = State::Between;
                    return Ok(Some(self.section(whole)));
                }
                State::Data { left: 0 } | State::Skip { left: 0 } => self.state = State::Between,
                State::Data { left } | State::Skip { left } if !input.is_empty() => {
                    let length = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                    let some = input.split_to(length);
                    *left -= length as u64;
                    if matches!(self.state, State::Data { .. }) {
                        return Ok(Some(Piece::Data(some)));
                    }
                }
                State::Data { .. } | State::Skip { .. } => return Ok(None),
            }
        }
    }

    /// Whether the stream may end here.
    ///
    /// # Errors
    /// [`Broken`], if it ends within a frame or before there is a request.
    pub fn finish(&self) -> Result<(), Broken> {
        let between = match self.state {
            State::Between => self.head.is_empty(),
            State::Section { left, .. } => left == 0,
            State::Data { left } | State::Skip { left } => left == 0,
        };
        match (between, self.expects) {
            (false, _) => Err(Broken::Connection(Code::FRAME_ERROR)),
            (true, Expects::Head) => Err(Broken::Stream(Code::REQUEST_INCOMPLETE)),
            (true, _) => Ok(()),
        }
    }

    fn begin(&mut self, kind: u64, length: u64) -> Result<(), Broken> {
        use frame_type::{CANCEL_PUSH, DATA, GOAWAY, HEADERS, MAX_PUSH_ID, PUSH_PROMISE, SETTINGS};

        let unexpected = Err(Broken::Connection(Code::FRAME_UNEXPECTED));
        self.state = match kind {
            DATA if self.expects == Expects::Body => State::Data { left: length },
            HEADERS if self.expects != Expects::Nothing => {
                let left = usize::try_from(length).ok().filter(|length| *length <= self.section_bytes_max);
                State::Section { left: left.ok_or(Broken::TooLarge)?, gathered: BytesMut::new() }
            }
            DATA | HEADERS | CANCEL_PUSH | SETTINGS | PUSH_PROMISE | GOAWAY | MAX_PUSH_ID => {
                return unexpected;
            }
            kind if frame_type::is_of_http2(kind) => return unexpected,
            _ => State::Skip { left: length },
        };
        Ok(())
    }

    fn section(&mut self, section: Bytes) -> Piece {
        if self.expects == Expects::Head {
            self.expects = Expects::Body;
            Piece::Head(section)
        } else {
            self.expects = Expects::Nothing;
            Piece::Trailers(section)
        }
    }
}
