//! Why a stream or a connection ends.

use std::fmt;

use crate::fields::FieldError;

/// The error codes of HTTP/3 (RFC 9114, 8.1) and QPACK (RFC 9204, 6).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u32);

impl Code {
    /// Nothing is wrong.
    pub const NO_ERROR: Self = Self(0x100);
    /// We failed.
    pub const INTERNAL_ERROR: Self = Self(0x102);
    /// A stream of this type may not be opened.
    pub const STREAM_CREATION_ERROR: Self = Self(0x103);
    /// A stream was closed that the connection needs.
    pub const CLOSED_CRITICAL_STREAM: Self = Self(0x104);
    /// A frame where it may not be.
    pub const FRAME_UNEXPECTED: Self = Self(0x105);
    /// A frame whose layout or length is wrong.
    pub const FRAME_ERROR: Self = Self(0x106);
    /// The other side makes too much work.
    pub const EXCESSIVE_LOAD: Self = Self(0x107);
    /// An id that went backwards, or names what is not there.
    pub const ID_ERROR: Self = Self(0x108);
    /// Settings that contradict the RFC.
    pub const SETTINGS_ERROR: Self = Self(0x109);
    /// No settings at the beginning of the control stream.
    pub const MISSING_SETTINGS: Self = Self(0x10a);
    /// Not looked at: it may be tried again.
    pub const REQUEST_REJECTED: Self = Self(0x10b);
    /// No longer wanted, or no longer waited for.
    pub const REQUEST_CANCELLED: Self = Self(0x10c);
    /// A stream that ended before its request did.
    pub const REQUEST_INCOMPLETE: Self = Self(0x10d);
    /// A malformed message.
    pub const MESSAGE_ERROR: Self = Self(0x10e);
    /// A field section that cannot be decoded.
    pub const QPACK_DECOMPRESSION_FAILED: Self = Self(0x200);
    /// An instruction for a dynamic table that there is not.
    pub const QPACK_ENCODER_STREAM_ERROR: Self = Self(0x201);
    /// An acknowledgement of what was never sent.
    pub const QPACK_DECODER_STREAM_ERROR: Self = Self(0x202);

    /// Its name for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NO_ERROR => "no_error",
            Self::INTERNAL_ERROR => "internal_error",
            Self::STREAM_CREATION_ERROR => "stream_creation_error",
            Self::CLOSED_CRITICAL_STREAM => "closed_critical_stream",
            Self::FRAME_UNEXPECTED => "frame_unexpected",
            Self::FRAME_ERROR => "frame_error",
            Self::EXCESSIVE_LOAD => "excessive_load",
            Self::ID_ERROR => "id_error",
            Self::SETTINGS_ERROR => "settings_error",
            Self::MISSING_SETTINGS => "missing_settings",
            Self::REQUEST_REJECTED => "request_rejected",
            Self::REQUEST_CANCELLED => "request_cancelled",
            Self::REQUEST_INCOMPLETE => "request_incomplete",
            Self::MESSAGE_ERROR => "message_error",
            Self::QPACK_DECOMPRESSION_FAILED => "qpack_decompression_failed",
            Self::QPACK_ENCODER_STREAM_ERROR => "qpack_encoder_stream_error",
            Self::QPACK_DECODER_STREAM_ERROR => "qpack_decoder_stream_error",
            _ => "other",
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:#x})", self.name(), self.0)
    }
}

/// What is wrong with what was read, and what it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The connection ends: nothing that follows could be trusted.
    #[error("the connection breaks HTTP/3: {0:?}")]
    Connection(Code),
    /// The stream ends.
    #[error("the stream breaks HTTP/3: {0:?}")]
    Stream(Code),
    /// The field section is over its bounds: an answer says so.
    #[error("the field section is longer than is allowed")]
    TooLarge,
}

impl Broken {
    /// A malformed message (RFC 9114, 4.1.2).
    pub(super) const MALFORMED: Self = Self::Stream(Code::MESSAGE_ERROR);
    /// A field section that cannot be decoded.
    pub(super) const SECTION: Self = Self::Connection(Code::QPACK_DECOMPRESSION_FAILED);
}

impl From<FieldError> for Broken {
    fn from(error: FieldError) -> Self {
        match error {
            FieldError::Undecodable => Self::SECTION,
            FieldError::Malformed => Self::MALFORMED,
            FieldError::TooLarge => Self::TooLarge,
        }
    }
}
