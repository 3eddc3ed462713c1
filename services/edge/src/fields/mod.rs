//! Fields of HTTP/2 and HTTP/3: what HPACK (RFC 7541) and QPACK (RFC 9204) have in common, and the way from the fields of a
//! section to a request's head. Pure.
//!
//! ```text
//!  field section ─▶ decoder of the protocol ─▶ name, value ─▶ RequestFields, TrailerFields ─▶ head, trailers
//!                    │ prefixed integers,          └─▶ FieldList ─▶ a plain request, or a head (HTTP/2)
//!                    │ strings, Huffman's code, Measure
//! ```
//!
//! Invariant: **malformed is malformed, by either protocol alike** (RFC 9113, 8.1.1; RFC 9114, 4.1.2): pseudo-header fields
//! that are missing, doubled, unknown or late, upper case, fields of a connection.

mod head;
mod huffman;
mod integer;
mod list;
mod plain;

pub(crate) use head::{ConnectProtocol, RequestFields, TrailerFields};
pub(crate) use integer::{take_prefixed, take_string, write_prefixed, write_string};
pub(crate) use list::FieldList;

use proxima_http1::Limits;

/// What is wrong with a field section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// It cannot be decoded, and nothing that follows can be.
    #[error("the field section cannot be decoded")]
    Undecodable,
    /// A message that has it is malformed.
    #[error("the message is malformed")]
    Malformed,
    /// It is over its bounds: an answer says so.
    #[error("the field section is longer than is allowed")]
    TooLarge,
}

/// What a field costs beside its octets when a section is measured (RFC 9113, 6.5.2; RFC 9114, 4.2.2).
pub(crate) const FIELD_OVERHEAD_BYTES: usize = 32;

/// Bounds of a decoded section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Octets of names and values, with 32 for each field.
    pub bytes_max: usize,
    /// Fields.
    pub fields_max: usize,
}

impl Section {
    /// Those of a head.
    pub(crate) const fn of_head(limits: &Limits) -> Self {
        Self { bytes_max: limits.head_bytes_max, fields_max: limits.head_fields_max }
    }

    /// Those of trailers.
    pub(crate) const fn of_trailers(limits: &Limits) -> Self {
        Self { bytes_max: limits.trailer_bytes_max, fields_max: limits.trailer_fields_max }
    }
}

/// A section that is being measured.
pub(crate) struct Measure {
    bounds: Section,
    bytes: usize,
    fields: usize,
    cookies: bool,
}

impl Measure {
    pub(crate) const fn of(bounds: Section) -> Self {
        Self { bounds, bytes: 0, fields: 0, cookies: false }
    }

    /// One more field. Cookies are one, in however many a client sends them (RFC 9113, 8.2.3): there may be hundreds.
    ///
    /// # Errors
    /// [`FieldError::TooLarge`].
    pub(crate) fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), FieldError> {
        self.bytes = self.bytes.saturating_add(name.len() + value.len() + FIELD_OVERHEAD_BYTES);
        let one_of_many = name == b"cookie" && std::mem::replace(&mut self.cookies, true);
        self.fields += usize::from(!one_of_many);
        let good = self.bytes <= self.bounds.bytes_max && self.fields <= self.bounds.fields_max;
        if good { Ok(()) } else { Err(FieldError::TooLarge) }
    }
}
