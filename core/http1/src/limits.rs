//! Bounds of the HTTP/1.1 core.

/// What one message may cost to read. Every bound is met with an error that names it, never with a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of a whole head: start line, field lines and the empty line.
    pub head_bytes_max: usize,
    /// Field lines of a head.
    pub head_fields_max: usize,
    /// Octets of a request target.
    pub target_bytes_max: usize,
    /// Octets of a trailer section.
    pub trailer_bytes_max: usize,
    /// Field lines of a trailer section.
    pub trailer_fields_max: usize,
    /// Octets of the line that carries a chunk's size, extensions included.
    pub chunk_line_bytes_max: usize,
    /// Octets of all chunk extensions of one message. They carry nothing that anyone reads, so a sender who spends
    /// more on them than on data is spending our time (CVE-2023-39326).
    pub chunk_extension_bytes_max: usize,
}

impl Limits {
    /// What is in force where nothing else is configured.
    pub const DEFAULT: Self = Self {
        head_bytes_max: 64 * 1024,
        head_fields_max: 128,
        target_bytes_max: 16 * 1024,
        trailer_bytes_max: 8 * 1024,
        trailer_fields_max: 32,
        chunk_line_bytes_max: 1024,
        chunk_extension_bytes_max: 16 * 1024,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Octets of a method token. The longest registered one (`UPDATEREDIRECTREF`) has 17.
pub const METHOD_BYTES_MAX: usize = 32;
/// Octets of a host name in `Host` or an absolute target: what DNS can carry (RFC 1035, 2.3.4).
pub const HOST_BYTES_MAX: usize = 253;
/// Digits of a `Content-Length`: 19 always fit into 64 bits.
pub const LENGTH_DIGITS_MAX: usize = 19;
/// Hexadecimal digits of a chunk size: 15 always fit into 64 bits with room to add.
pub const CHUNK_SIZE_DIGITS_MAX: usize = 15;
/// Informational answers (1xx) that a client should bear before one final answer.
pub const INFORMATIONAL_MAX: usize = 8;
