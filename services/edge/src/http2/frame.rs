//! Frames (RFC 9113, 4 and 6).

use super::code::{Broken, Code};

/// Octets of a frame's head.
pub const FRAME_HEAD_BYTES: usize = 9;
/// Octets of a frame's payload: the least that must be taken (RFC 9113, 4.2), and the most that we take and send, so that
/// streams take short turns.
pub const FRAME_BYTES_MAX: usize = 16 * 1024;

/// What frames are for.
pub mod frame_type {
    /// Content.
    pub const DATA: u8 = 0;
    /// A field section, or its beginning.
    pub const HEADERS: u8 = 1;
    /// A priority as in RFC 7540, which nobody heeds any more.
    pub const PRIORITY: u8 = 2;
    /// The end of a stream.
    pub const RST_STREAM: u8 = 3;
    /// What the other side is like.
    pub const SETTINGS: u8 = 4;
    /// A push: clients may not.
    pub const PUSH_PROMISE: u8 = 5;
    /// A question for a sign of life.
    pub const PING: u8 = 6;
    /// The end of the connection.
    pub const GOAWAY: u8 = 7;
    /// Leave to send more.
    pub const WINDOW_UPDATE: u8 = 8;
    /// The rest of a field section.
    pub const CONTINUATION: u8 = 9;
    /// A priority (RFC 9218, 7.1).
    pub const PRIORITY_UPDATE: u8 = 16;
}

/// Flags of frames.
pub mod flag {
    /// Of SETTINGS and PING: it is an answer.
    pub const ACK: u8 = 0x1;
    /// Of DATA and HEADERS: nothing follows on the stream.
    pub const END_STREAM: u8 = 0x1;
    /// Of HEADERS and CONTINUATION: the section is whole.
    pub const END_HEADERS: u8 = 0x4;
    /// Of DATA and HEADERS: padding follows the content.
    pub const PADDED: u8 = 0x8;
    /// Of HEADERS: a priority as in RFC 7540 precedes the section.
    pub const PRIORITY: u8 = 0x20;
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Octets of the payload.
    pub length: usize,
    /// One of [`frame_type`], or unknown.
    pub kind: u8,
    /// Of [`flag`].
    pub flags: u8,
    /// The stream; 0 is the connection.
    pub stream: u32,
}

impl FrameHead {
    /// The head at the beginning of `octets`; `None` if it is not whole yet.
    ///
    /// # Errors
    /// The frame is larger than allowed.
    pub fn read(octets: &[u8]) -> Result<Option<Self>, Code> {
        let Some(&[a, b, c, kind, flags, s0, s1, s2, s3]) = octets.first_chunk::<FRAME_HEAD_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(Code::FRAME_SIZE_ERROR);
        }
        let stream = u32::from_be_bytes([s0, s1, s2, s3]) & super::LARGEST;
        Ok(Some(Self { length, kind, flags, stream }))
    }

    /// Whether a flag is set.
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// What of a payload is between the length of its padding and the padding; for HEADERS also without its old priority.
///
/// # Errors
/// There is more padding than payload, or too little of the rest.
pub fn unpadded(head: FrameHead, payload: &[u8]) -> Result<std::ops::Range<usize>, Broken> {
    let (mut start, mut end) = (0, payload.len());
    if head.has(flag::PADDED) {
        let &padding = payload.first().ok_or(Broken::Connection(Code::FRAME_SIZE_ERROR))?;
        start = 1;
        end = end.saturating_sub(usize::from(padding));
    }
    if head.kind == frame_type::HEADERS && head.has(flag::PRIORITY) {
        start += 5;
    }
    if start > end {
        return Err(Broken::Connection(Code::PROTOCOL_ERROR));
    }
    Ok(start..end)
}
