//! Why a stream or a connection ends.

use std::fmt;

use crate::fields::FieldError;

/// The error codes of HTTP/2 (RFC 9113, 7).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u32);

impl Code {
    /// Nothing is wrong.
    pub const NO_ERROR: Self = Self(0);
    /// The other side breaks the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// We failed.
    pub const INTERNAL_ERROR: Self = Self(2);
    /// More was sent than a window allows.
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    /// A frame for a stream that the sender has ended.
    pub const STREAM_CLOSED: Self = Self(5);
    /// A frame whose length is wrong.
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    /// Not looked at: it may be tried again.
    pub const REFUSED_STREAM: Self = Self(7);
    /// No longer wanted.
    pub const CANCEL: Self = Self(8);
    /// A field section that cannot be decoded.
    pub const COMPRESSION_ERROR: Self = Self(9);
    /// The other side makes too much work.
    pub const ENHANCE_YOUR_CALM: Self = Self(11);

    /// Its name for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NO_ERROR => "no_error",
            Self::PROTOCOL_ERROR => "protocol_error",
            Self::INTERNAL_ERROR => "internal_error",
            Self::FLOW_CONTROL_ERROR => "flow_control_error",
            Self::STREAM_CLOSED => "stream_closed",
            Self::FRAME_SIZE_ERROR => "frame_size_error",
            Self::REFUSED_STREAM => "refused_stream",
            Self::CANCEL => "cancel",
            Self::COMPRESSION_ERROR => "compression_error",
            Self::ENHANCE_YOUR_CALM => "enhance_your_calm",
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
    #[error("the connection breaks HTTP/2: {0:?}")]
    Connection(Code),
    /// The stream ends.
    #[error("the stream breaks HTTP/2: {0:?}")]
    Stream(Code),
    /// The field section is over its bounds: an answer says so.
    #[error("the field section is longer than is allowed")]
    TooLarge,
}

impl From<FieldError> for Broken {
    fn from(error: FieldError) -> Self {
        match error {
            FieldError::Undecodable => Self::Connection(Code::COMPRESSION_ERROR),
            FieldError::Malformed => Self::Stream(Code::PROTOCOL_ERROR),
            FieldError::TooLarge => Self::TooLarge,
        }
    }
}
