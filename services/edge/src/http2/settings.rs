//! What clients say of themselves (RFC 9113, 6.5).

use super::code::{Broken, Code};
use super::frame::FRAME_BYTES_MAX;
use super::{LARGEST, frame};

/// Octets of one setting.
const SETTING_BYTES: usize = 6;

/// A setting that we heed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Octets of the table that the client decodes with.
    HeaderTableSize(u32),
    /// Octets of a new stream's window.
    InitialWindowSize(u32),
}

/// The settings of a frame's payload that we heed, in their order.
///
/// # Errors
/// A wrong length, or a value that no setting of that name may have.
pub fn read_settings(payload: &[u8]) -> Result<impl Iterator<Item = Setting>, Broken> {
    let (settings, rest) = payload.as_chunks::<SETTING_BYTES>();
    if !rest.is_empty() {
        return Err(Broken::Connection(Code::FRAME_SIZE_ERROR));
    }
    let read = |&[i0, i1, v0, v1, v2, v3]: &[u8; SETTING_BYTES]| {
        (u16::from_be_bytes([i0, i1]), u32::from_be_bytes([v0, v1, v2, v3]))
    };
    for (id, value) in settings.iter().map(read) {
        let code = match (id, value) {
            (id::INITIAL_WINDOW_SIZE, value) if value > LARGEST => Code::FLOW_CONTROL_ERROR,
            (id::ENABLE_PUSH | id::ENABLE_CONNECT_PROTOCOL | id::NO_RFC7540_PRIORITIES, 2..) => {
                Code::PROTOCOL_ERROR
            }
            (id::MAX_FRAME_SIZE, value)
                if !(FRAME_BYTES_MAX..1 << 24).contains(&usize::try_from(value).unwrap_or(usize::MAX)) =>
            {
                Code::PROTOCOL_ERROR
            }
            _ => continue,
        };
        return Err(Broken::Connection(code));
    }
    Ok(settings.iter().map(read).filter_map(|(id, value)| match id {
        id::HEADER_TABLE_SIZE => Some(Setting::HeaderTableSize(value)),
        id::INITIAL_WINDOW_SIZE => Some(Setting::InitialWindowSize(value)),
        _ => None,
    }))
}

/// Numbers of settings.
pub(super) mod id {
    pub(in super::super) const HEADER_TABLE_SIZE: u16 = 1;
    pub(in super::super) const ENABLE_PUSH: u16 = 2;
    pub(in super::super) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(in super::super) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(in super::super) const MAX_FRAME_SIZE: u16 = 5;
    pub(in super::super) const MAX_HEADER_LIST_SIZE: u16 = 6;
    /// RFC 8441, 3.
    pub(in super::super) const ENABLE_CONNECT_PROTOCOL: u16 = 8;
    /// RFC 9218, 2.1.
    pub(in super::super) const NO_RFC7540_PRIORITIES: u16 = 9;
}

/// Octets of the frame that [`super::write_settings`] writes for so many settings.
pub(super) const fn frame_bytes(settings: usize) -> usize {
    frame::FRAME_HEAD_BYTES + settings * SETTING_BYTES
}
