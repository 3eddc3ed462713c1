//! The host that a request is for.

use std::net::Ipv6Addr;

use bytes::Bytes;

use super::error::Http1Error;
use super::limits::HOST_BYTES_MAX;

/// `uri-host [ ":" port ]` as it stands in `Host`, `:authority` or an absolute target: a DNS name or an address, never
/// user information, percent-encoding or an empty port, none of which any client sends in good faith.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// Lower case, without port and without a last dot; ASCII.
    name: Bytes,
    port: Option<u16>,
}

impl Host {
    /// Parses the text. Upper case is folded and a last dot dropped, since DNS tells neither apart.
    pub fn parse(text: &Bytes) -> Result<Self, Http1Error> {
        let (name_end, port) = split_port(text)?;
        let mut name = text.slice(..name_end);
        if name.first() == Some(&b'[') {
            let inner = name.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
            let inner = inner.and_then(|inner| std::str::from_utf8(inner).ok());
            inner.and_then(|inner| inner.parse::<Ipv6Addr>().ok()).ok_or(Http1Error::HostInvalid)?;
        } else {
            if name.last() == Some(&b'.') {
                name.truncate(name_end - 1);
            }
            let good = |&octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_');
            let labels_filled = name.first() != Some(&b'.') && memchr::memmem::find(&name, b"..").is_none();
            if name.is_empty()
                || name.len() > HOST_BYTES_MAX
                || name.last() == Some(&b'.')
                || !labels_filled
                || !name.iter().all(good)
            {
                return Err(Http1Error::HostInvalid);
            }
        }
        if name.iter().any(u8::is_ascii_uppercase) {
            name = Bytes::from(name.to_ascii_lowercase());
        }
        Ok(Self { name, port })
    }

    /// The name or address in lower case; an IPv6 address keeps its brackets.
    pub fn name(&self) -> &str {
        std::str::from_utf8(&self.name).expect("parse lets only ASCII through")
    }

    /// The port, if one was named.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether both name the same place when a missing port means `port_default`.
    pub fn same_place(&self, other: &Self, port_default: u16) -> bool {
        self.name == other.name && self.port.unwrap_or(port_default) == other.port.unwrap_or(port_default)
    }
}

/// Where the name ends, and the port behind it.
fn split_port(text: &[u8]) -> Result<(usize, Option<u16>), Http1Error> {
    let from = match text.first() {
        Some(b'[') => memchr::memchr(b']', text).ok_or(Http1Error::HostInvalid)? + 1,
        _ => 0,
    };
    let Some(colon) = memchr::memchr(b':', &text[from..]).map(|at| from + at) else {
        return Ok((text.len(), None));
    };
    let digits = &text[colon + 1..];
    if digits.is_empty() || digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Http1Error::HostInvalid);
    }
    let port = digits.iter().fold(0u32, |port, digit| port * 10 + u32::from(digit - b'0'));
    match u16::try_from(port) {
        Ok(port) if port != 0 => Ok((colon, Some(port))),
        _ => Err(Http1Error::HostInvalid),
    }
}
