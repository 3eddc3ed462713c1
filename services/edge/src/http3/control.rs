//! The streams of a connection that carry no request: control, and QPACK's two.

use bytes::{Buf, Bytes, BytesMut};

use super::code::{Broken, Code};
use super::frame::{FrameHead, frame_type};
use super::integer::read_varint;

/// Octets of a frame on the control stream that means something to us. Settings are some dozens of octets.
pub const CONTROL_FRAME_BYTES_MAX: u64 = 4 * 1024;
/// Settings that a client may send; there are some ten.
const SETTINGS_MAX: usize = 64;
/// The setting that bounds the field sections which the client takes (RFC 9114, 7.2.4.1).
const MAX_FIELD_SECTION_SIZE: u64 = 0x06;

/// What the client asks of us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The largest field section that it takes, if it said so.
    pub field_section_bytes_max: Option<u64>,
}

/// Reads the client's control stream (RFC 9114, 6.2.1).
#[derive(Debug, Default)]
pub struct ControlDecoder {
    head: FrameHead,
    /// The frame that is being read: its type, what is missing of it, and what has come of it, if that matters.
    frame: Option<(u64, u64, BytesMut)>,
    settings: Option<Settings>,
    /// Octets that are still to be skipped.
    skip: u64,
    push_id_max: Option<u64>,
    goaway: Option<u64>,
}

impl ControlDecoder {
    /// The client's settings, once they have come.
    pub const fn settings(&self) -> Option<Settings> {
        self.settings
    }

    /// Takes all of `input`.
    ///
    /// # Errors
    /// [`Broken::Connection`]; no other.
    pub fn decode(&mut self, mut input: Bytes) -> Result<(), Broken> {
        loop {
            if self.skip > 0 {
                let length = usize::try_from(self.skip).map_or(input.len(), |skip| skip.min(input.len()));
                input.advance(length);
                self.skip -= length as u64;
                if self.skip > 0 {
                    return Ok(());
                }
            }
            if let Some((kind, left, mut payload)) = self.frame.take() {
                let length = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                payload.extend_from_slice(&input.split_to(length));
                let left = left - length as u64;
                if left > 0 {
                    self.frame = Some((kind, left, payload));
                    return Ok(());
                }
                self.understand(kind, &payload)?;
            }
            match self.head.take(&mut input) {
                Some((kind, length)) => self.begin(kind, length)?,
                None => return Ok(()),
            }
        }
    }

    fn begin(&mut self, kind: u64, length: u64) -> Result<(), Broken> {
        use frame_type::{CANCEL_PUSH, DATA, GOAWAY, HEADERS, MAX_PUSH_ID, PUSH_PROMISE, SETTINGS};

        if self.settings.is_none() && kind != SETTINGS {
            return Err(Broken::Connection(Code::MISSING_SETTINGS));
        }
        match kind {
            DATA | HEADERS | PUSH_PROMISE => return Err(Broken::Connection(Code::FRAME_UNEXPECTED)),
            SETTINGS if self.settings.is_some() => {
                return Err(Broken::Connection(Code::FRAME_UNEXPECTED));
            }
            kind if frame_type::is_of_http2(kind) => {
                return Err(Broken::Connection(Code::FRAME_UNEXPECTED));
            }
            SETTINGS | CANCEL_PUSH | GOAWAY | MAX_PUSH_ID => {
                if length > CONTROL_FRAME_BYTES_MAX {
                    return Err(Broken::Connection(Code::EXCESSIVE_LOAD));
                }
                self.frame = Some((kind, length, BytesMut::new()));
            }
            _ => self.skip = length,
        }
        Ok(())
    }

    fn understand(&mut self, kind: u64, payload: &[u8]) -> Result<(), Broken> {
        if kind == frame_type::SETTINGS {
            self.settings = Some(settings(payload)?);
            return Ok(());
        }
        let wrong_id = Broken::Connection(Code::ID_ERROR);
        let (id, length) = read_varint(payload).ok_or(Broken::Connection(Code::FRAME_ERROR))?;
        if length != payload.len() {
            return Err(Broken::Connection(Code::FRAME_ERROR));
        }
        match kind {
            // Nothing is ever pushed, so there is nothing to cancel.
            frame_type::CANCEL_PUSH => Err(wrong_id),
            frame_type::MAX_PUSH_ID => match self.push_id_max.replace(id) {
                Some(before) if before > id => Err(wrong_id),
                _ => Ok(()),
            },
            _ => match self.goaway.replace(id) {
                Some(before) if before < id => Err(wrong_id),
                _ => Ok(()),
            },
        }
    }
}

fn settings(mut payload: &[u8]) -> Result<Settings, Broken> {
    let mut seen = Vec::new();
    let mut settings = Settings::default();
    while !payload.is_empty() {
        let broken = Broken::Connection(Code::FRAME_ERROR);
        let (id, taken) = read_varint(payload).ok_or(broken)?;
        payload = &payload[taken..];
        let (value, taken) = read_varint(payload).ok_or(broken)?;
        payload = &payload[taken..];
        // Those of HTTP/2 that have no meaning here are errors (RFC 9114, 7.2.4.1).
        if seen.contains(&id) || matches!(id, 0x02..=0x05) {
            return Err(Broken::Connection(Code::SETTINGS_ERROR));
        }
        if seen.len() == SETTINGS_MAX {
            return Err(Broken::Connection(Code::EXCESSIVE_LOAD));
        }
        seen.push(id);
        if id == MAX_FIELD_SECTION_SIZE {
            settings.field_section_bytes_max = Some(value);
        }
    }
    Ok(settings)
}

/// Reads the client's QPACK encoder stream: for a table that may hold nothing, it may only say so (RFC 9204, 4.3.1).
#[derive(Debug, Default)]
pub struct EncoderStream;

impl EncoderStream {
    /// Takes all of `input`.
    ///
    /// # Errors
    /// [`Broken::Connection`]; no other.
    pub fn decode(&mut self, input: &Bytes) -> Result<(), Broken> {
        const CAPACITY_ZERO: u8 = 0x20;
        if input.iter().all(|&octet| octet == CAPACITY_ZERO) {
            return Ok(());
        }
        Err(Broken::Connection(Code::QPACK_ENCODER_STREAM_ERROR))
    }
}

/// Reads the client's QPACK decoder stream: since we insert nothing, only streams can be cancelled on it (RFC 9204,
/// 4.4.2).
#[derive(Debug, Default)]
pub struct DecoderStream {
    /// Octets of a stream's id that have come, beyond the first.
    within: Option<u8>,
}

impl DecoderStream {
    /// Takes all of `input`.
    ///
    /// # Errors
    /// [`Broken::Connection`]; no other.
    pub fn decode(&mut self, input: &Bytes) -> Result<(), Broken> {
        /// More octets than an id of 62 bits has.
        const ID_OCTETS_MAX: u8 = 10;
        let broken = Err(Broken::Connection(Code::QPACK_DECODER_STREAM_ERROR));
        for &octet in input {
            self.within = match self.within {
                None if octet >> 6 != 0b01 => return broken,
                None => (octet & 0x3f == 0x3f).then_some(0),
                Some(ID_OCTETS_MAX) => return broken,
                Some(count) => (octet & 0x80 != 0).then_some(count + 1),
            };
        }
        Ok(())
    }
}
