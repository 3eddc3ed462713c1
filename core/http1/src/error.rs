//! Why a message was refused.

use std::fmt;

use http::StatusCode;

/// A message that breaks RFC 9112 or a bound. After it nothing more can be read from that connection: where the next
/// message begins is no longer certain, so the connection must be closed once the answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Http1Error {
    /// The request line is not `method SP target SP version`.
    RequestLine,
    /// A request line without version: HTTP/0.9.
    VersionMissing,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    VersionUnsupported,
    /// The preface of HTTP/2 where only HTTP/1.1 is spoken.
    Http2Preface,
    /// The method is no token.
    Method,
    /// The method is longer than [`METHOD_BYTES_MAX`](super::METHOD_BYTES_MAX).
    MethodTooLong,
    /// `CONNECT`: nothing here opens tunnels to anywhere.
    Connect,
    /// An extended CONNECT (RFC 8441) by another protocol than `websocket`.
    ConnectProtocol,
    /// The target has none of the forms that its method may have (RFC 9112, 3.2) or an octet that no URI has.
    Target,
    /// The target, or the request line, is longer than the bound.
    TargetTooLong,
    /// A line ends in LF alone.
    BareLf,
    /// A CR that is not followed by LF.
    BareCr,
    /// A field line is continued on the next line (RFC 9112, 5.2), or the first one begins with white space.
    ObsFold,
    /// White space before the colon of a field line (RFC 9112, 5.1).
    SpaceBeforeColon,
    /// A field line without colon, without name, or with an octet in its name that is no token octet.
    FieldName,
    /// A field name that some origins read as one that frames the message (`Content_Length`).
    FieldNameAmbiguous,
    /// A control octet in a field value.
    FieldValue,
    /// The head is longer than [`Limits::head_bytes_max`](super::Limits::head_bytes_max).
    HeadTooLarge,
    /// The head has more field lines than [`Limits::head_fields_max`](super::Limits::head_fields_max).
    TooManyFields,
    /// No `Host`.
    HostMissing,
    /// More than one `Host`.
    HostDoubled,
    /// A `Host` that is no host with optional port.
    HostInvalid,
    /// An absolute target whose authority is not that of `Host`.
    HostMismatch,
    /// More than one `Content-Length`, be they equal or not.
    LengthDoubled,
    /// A `Content-Length` that is not one decimal number that fits.
    LengthInvalid,
    /// `Content-Length` together with `Transfer-Encoding`.
    LengthWithEncoding,
    /// `Transfer-Encoding` that is not exactly `chunked`, and not merely unknown.
    EncodingInvalid,
    /// A transfer coding other than `chunked`.
    EncodingUnsupported,
    /// `Transfer-Encoding` in an HTTP/1.0 message (RFC 9112, 6.1).
    EncodingInHttp10,
    /// A `Connection` header that is no list of tokens, or lists a field that frames or routes the message.
    ConnectionInvalid,
    /// An expectation other than `100-continue`.
    Expectation,
    /// A chunk size that is no hexadecimal number that fits.
    ChunkSize,
    /// A chunk extension with a control octet, or longer than its bound.
    ChunkExtension,
    /// Chunk data that is not followed by CRLF.
    ChunkEnd,
    /// A trailer section over its bounds.
    TrailersTooLarge,
    /// A trailer field that frames or routes the message (RFC 9110, 6.5.1).
    TrailerForbidden,
    /// The connection ended inside a message.
    Incomplete,
    /// The status line is not `version SP status SP [reason]`.
    StatusLine,
    /// A head that was to be written would not be read as what it is: a caller's mistake, refused before a byte is
    /// sent.
    Unwritable,
}

impl Http1Error {
    /// Every one there is.
    pub const ALL: [Self; 39] = [
        Self::RequestLine,
        Self::VersionMissing,
        Self::VersionUnsupported,
        Self::Http2Preface,
        Self::Method,
        Self::MethodTooLong,
        Self::Connect,
        Self::ConnectProtocol,
        Self::Target,
        Self::TargetTooLong,
        Self::BareLf,
        Self::BareCr,
        Self::ObsFold,
        Self::SpaceBeforeColon,
        Self::FieldName,
        Self::FieldNameAmbiguous,
        Self::FieldValue,
        Self::HeadTooLarge,
        Self::TooManyFields,
        Self::HostMissing,
        Self::HostDoubled,
        Self::HostInvalid,
        Self::HostMismatch,
        Self::LengthDoubled,
        Self::LengthInvalid,
        Self::LengthWithEncoding,
        Self::EncodingInvalid,
        Self::EncodingUnsupported,
        Self::EncodingInHttp10,
        Self::ConnectionInvalid,
        Self::Expectation,
        Self::ChunkSize,
        Self::ChunkExtension,
        Self::ChunkEnd,
        Self::TrailersTooLarge,
        Self::TrailerForbidden,
        Self::Incomplete,
        Self::StatusLine,
        Self::Unwritable,
    ];

    /// The answer that a client gets who sent such a request.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.facts().0).expect("every code of the table is a status")
    }

    /// A word for metrics and traces; never a customer's octets.
    pub const fn reason(self) -> &'static str {
        self.facts().1
    }

    /// What is wrong, in words for whoever sent it.
    pub const fn describe(self) -> &'static str {
        self.facts().2
    }

    /// Status, word and sentence of each.
    #[rustfmt::skip]
    const fn facts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::RequestLine => (400, "request_line", "the request line is malformed"),
            Self::VersionMissing => (400, "version_missing", "the request line has no HTTP version"),
            Self::VersionUnsupported => (505, "version_unsupported", "this HTTP version is not spoken here"),
            Self::Http2Preface => (505, "http2_preface", "HTTP/2 without negotiation is not spoken here"),
            Self::Method => (400, "method", "the method is not a token"),
            Self::MethodTooLong => (501, "method_too_long", "the method is unknown"),
            Self::Connect => (405, "connect", "CONNECT is not offered here"),
            Self::ConnectProtocol => (501, "connect_protocol", "of protocols to connect by, only websocket is offered here"),
            Self::Target => (400, "target", "the request target is malformed"),
            Self::TargetTooLong => (414, "target_too_long", "the request target is too long"),
            Self::BareLf => (400, "bare_lf", "a line ends in LF without CR"),
            Self::BareCr => (400, "bare_cr", "a CR stands without LF"),
            Self::ObsFold => (400, "obs_fold", "a header line begins with white space"),
            Self::SpaceBeforeColon => (400, "space_before_colon", "white space stands before the colon of a header line"),
            Self::FieldName => (400, "field_name", "the name of a header is malformed"),
            Self::FieldNameAmbiguous => (400, "field_name_ambiguous", "the name of a header can be mistaken for one that frames the message"),
            Self::FieldValue => (400, "field_value", "a header value holds a control character"),
            Self::HeadTooLarge => (431, "head_too_large", "the header block is too large"),
            Self::TooManyFields => (431, "too_many_fields", "there are too many header lines"),
            Self::HostMissing => (400, "host_missing", "the Host header is missing"),
            Self::HostDoubled => (400, "host_doubled", "the Host header is doubled"),
            Self::HostInvalid => (400, "host_invalid", "the Host header is malformed"),
            Self::HostMismatch => (400, "host_mismatch", "the request target and the Host header name different hosts"),
            Self::LengthDoubled => (400, "length_doubled", "the Content-Length header is doubled"),
            Self::LengthInvalid => (400, "length_invalid", "the Content-Length header is malformed"),
            Self::LengthWithEncoding => (400, "length_with_encoding", "Content-Length and Transfer-Encoding stand together"),
            Self::EncodingInvalid => (400, "encoding_invalid", "the Transfer-Encoding header is malformed"),
            Self::EncodingUnsupported => (501, "encoding_unsupported", "this transfer coding is not spoken here"),
            Self::EncodingInHttp10 => (400, "encoding_in_http10", "Transfer-Encoding stands in an HTTP/1.0 message"),
            Self::ConnectionInvalid => (400, "connection_invalid", "the Connection header is malformed"),
            Self::Expectation => (417, "expectation", "this expectation cannot be met"),
            Self::ChunkSize => (400, "chunk_size", "a chunk size is malformed"),
            Self::ChunkExtension => (400, "chunk_extension", "a chunk extension is malformed or too long"),
            Self::ChunkEnd => (400, "chunk_end", "chunk data is not followed by CRLF"),
            Self::TrailersTooLarge => (431, "trailers_too_large", "the trailer section is too large"),
            Self::TrailerForbidden => (400, "trailer_forbidden", "a trailer field is not allowed to be one"),
            Self::Incomplete => (400, "incomplete", "the connection ended inside a message"),
            Self::StatusLine => (400, "status_line", "the status line is malformed"),
            Self::Unwritable => (400, "unwritable", "the message cannot be written as HTTP/1.1"),
        }
    }
}

impl fmt::Display for Http1Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.describe())
    }
}

impl std::error::Error for Http1Error {}
