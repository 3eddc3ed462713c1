//! What a record says: its type and data, from the presentation form and back.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::{
    rdata::{self, Rdata},
    schema,
    text::{CaaTag, TxtData, quote, unquote},
    types::{OtherType, RecordType},
};
use crate::{DnsName, Invalid, excerpt, limits, presigned::is_of_signing};

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "UPPERCASE")]
pub enum RecordData {
    /// An IPv4 address.
    A {
        /// The address.
        address: Ipv4Addr,
    },
    /// An IPv6 address.
    Aaaa {
        /// The address.
        address: Ipv6Addr,
    },
    /// An alias; at a zone's apex it is flattened.
    Cname {
        /// What it stands for.
        target: DnsName,
    },
    /// A mail exchange; the root as `exchange` says that there is none (RFC 7505).
    Mx {
        /// Lower is tried first.
        priority: u16,
        /// The host.
        exchange: DnsName,
    },
    /// Text.
    Txt(TxtData),
    /// A delegation, or at the apex one more name server.
    Ns {
        /// The server.
        host: DnsName,
    },
    /// A service's location.
    Srv {
        /// Lower is tried first.
        priority: u16,
        /// Share among equals.
        weight: u16,
        /// The port.
        port: u16,
        /// The host; the root says that the service is not there.
        target: DnsName,
    },
    /// Who may issue certificates.
    Caa {
        /// Bit 7 is `critical`.
        flags: u8,
        /// The property.
        tag: CaaTag,
        /// Its value.
        value: String,
    },
    /// Any other type.
    Other(Rdata),
}

impl RecordData {
    /// Its type.
    pub const fn record_type(&self) -> RecordType {
        match self {
            Self::A { .. } => RecordType::A,
            Self::Aaaa { .. } => RecordType::Aaaa,
            Self::Cname { .. } => RecordType::Cname,
            Self::Mx { .. } => RecordType::Mx,
            Self::Txt(_) => RecordType::Txt,
            Self::Ns { .. } => RecordType::Ns,
            Self::Srv { .. } => RecordType::Srv,
            Self::Caa { .. } => RecordType::Caa,
            Self::Other(rdata) => RecordType::Other(rdata.record_type()),
        }
    }

    /// Whether it is of a type that a zone's owner can have here, in the form that this type has here. What another version
    /// put into the log may not be: it is kept and shown, but is not to be answered, as nobody here has checked its shape.
    pub fn is_offered(&self) -> bool {
        match self {
            Self::Other(rdata) => {
                matches!(RecordType::by_code(rdata.record_type().code()), Ok(RecordType::Other(_)))
            }
            _ => true,
        }
    }

    /// Parses the presentation form (RFC 1035, 5.1) that the API calls `content`: an address, a name, text, and for
    /// all other types their fields in the order of a zone file (`10 mail.example.com`). Names are absolute. The form of
    /// RFC 3597 (`\# 4 c0000201`) is taken too, but for TXT, whose content may be any text.
    pub fn parse(record_type: RecordType, content: &str) -> Result<Self, Invalid> {
        let may_be_generic = !matches!(record_type, RecordType::Txt | RecordType::Other(_));
        if may_be_generic && rdata::is_generic(content) {
            return Self::parse_generic(record_type, content);
        }
        let fields: Vec<&str> = content.split_whitespace().collect();
        let shape = |remedy| {
            Invalid::new("content", format!("{} is not {record_type} content", excerpt(content)), remedy)
        };
        Ok(match (record_type, fields.as_slice()) {
            (RecordType::A, [address]) => Self::A {
                address: address.parse().map_err(|_| shape("give an IPv4 address such as 192.0.2.1"))?,
            },
            (RecordType::Aaaa, [address]) => Self::Aaaa {
                address: address.parse().map_err(|_| shape("give an IPv6 address such as 2001:db8::1"))?,
            },
            (RecordType::Cname, [target]) => Self::Cname { target: target_name(target)? },
            (RecordType::Ns, [host]) => Self::Ns { host: target_name(host)? },
            (RecordType::Mx, [priority, exchange]) => {
                Self::Mx { priority: number("priority", priority)?, exchange: target_or_root(exchange)? }
            }
            (RecordType::Srv, [priority, weight, port, target]) => Self::Srv {
                priority: number("priority", priority)?,
                weight: number("data.weight", weight)?,
                port: number("data.port", port)?,
                target: target_or_root(target)?,
            },
            (RecordType::Caa, [flags, tag, _, ..]) => {
                let value = content.trim_start()[flags.len()..].trim_start()[tag.len()..].trim();
                let flags = flags.parse().map_err(|_| shape("give flags of 0 or 128 first"))?;
                let value = if value.starts_with('"') {
                    unquote(value).ok_or_else(|| shape("close the quote"))?
                } else {
                    value.to_owned()
                };
                Self::caa(flags, tag, &value)?
            }
            (RecordType::Txt, _) => Self::Txt(TxtData::parse(content)?),
            (RecordType::A, _) => return Err(shape("give one IPv4 address")),
            (RecordType::Aaaa, _) => return Err(shape("give one IPv6 address")),
            (RecordType::Cname | RecordType::Ns, _) => return Err(shape("give one name")),
            (RecordType::Mx, _) => {
                return Err(shape("give a priority and a name, such as 10 mail.example.com"));
            }
            (RecordType::Srv, _) => return Err(shape("give priority, weight, port and target")),
            (RecordType::Caa, _) => {
                return Err(shape("give flags, tag and value, such as 0 issue \"ca.example\""));
            }
            (RecordType::Other(other), _) => Self::Other(Rdata::parse(other, content)?),
        })
    }

    /// Data that came from a primary that signed it, octet by octet: of a type that nobody here looks into, or that a zone has
    /// because it is signed. `None` of other types, and of more octets than data may have.
    pub fn of_primary(code: u16, octets: &[u8]) -> Option<Self> {
        let is_kept = is_of_signing(code) || matches!(RecordType::by_code(code), Ok(RecordType::Other(_)));
        is_kept.then(|| Rdata::of_octets(code, octets)).flatten().map(Self::Other)
    }

    /// The data of these octets on the wire as an owner could have it; `None` if nobody could.
    pub fn of_wire(code: u16, octets: &[u8]) -> Option<Self> {
        match RecordType::by_code(code).ok()? {
            RecordType::Txt => TxtData::of_octets(octets).ok().map(Self::Txt),
            known => Self::parse_generic(known, &rdata::generic(octets)).ok(),
        }
    }

    /// Parses the form of RFC 3597, that data of every type has in a zone file.
    pub fn parse_generic(record_type: RecordType, content: &str) -> Result<Self, Invalid> {
        match schema::row_of(record_type.code()) {
            Some(row) if !matches!(record_type, RecordType::Other(_)) => {
                Self::parse(record_type, &rdata::usual_form(row, content)?)
            }
            _ => Self::parse(record_type, content),
        }
    }

    /// A CAA record of these parts.
    pub fn caa(flags: u8, tag: &str, value: &str) -> Result<Self, Invalid> {
        if value.len() > limits::CAA_VALUE_OCTETS_MAX
            || !value.bytes().all(|octet| (b' '..=b'~').contains(&octet))
        {
            return Err(Invalid::new(
                "data.value",
                "the value is too long or not printable ASCII",
                "give at most 1024 printable characters",
            ));
        }
        Ok(Self::Caa { flags, tag: CaaTag::parse(tag)?, value: value.to_owned() })
    }

    /// Octets of it on the wire, with names as long as they are.
    pub fn wire_octets(&self) -> usize {
        // A name has a length before its first label, and the root behind its last.
        let name = |name: &DnsName| name.wire().len();
        match self {
            Self::A { .. } => 4,
            Self::Aaaa { .. } => 16,
            Self::Cname { target: host } | Self::Ns { host } => name(host),
            Self::Mx { exchange, .. } => 2 + name(exchange),
            Self::Srv { target, .. } => 6 + name(target),
            Self::Caa { tag, value, .. } => 2 + tag.as_str().len() + value.len(),
            Self::Txt(text) => text.octets().len(),
            Self::Other(rdata) => rdata.octets().len(),
        }
    }

    /// The presentation form, as in `content` and in a zone file; texts quoted, names without the last dot, but for those
    /// of types without a variant here, which clients of v4 expect to be absolute.
    pub fn content(&self) -> String {
        match self {
            Self::A { address } => address.to_string(),
            Self::Aaaa { address } => address.to_string(),
            Self::Cname { target } => target.to_string(),
            Self::Ns { host } => host.to_string(),
            Self::Mx { priority, exchange } => format!("{priority} {exchange}"),
            Self::Srv { priority, weight, port, target } => format!("{priority} {weight} {port} {target}"),
            Self::Caa { flags, tag, value } => format!("{flags} {tag} {}", quote(value.as_bytes())),
            Self::Txt(text) => text.content(),
            // Clients know the name of PTR as they know those of CNAME and NS.
            Self::Other(rdata) if rdata.record_type() == OtherType::PTR => {
                let mut name = rdata.content();
                name.truncate(name.len() - usize::from(name.len() > 1 && name.ends_with('.')));
                name
            }
            Self::Other(rdata) => rdata.content(),
        }
    }
}

fn number(field: &'static str, text: &str) -> Result<u16, Invalid> {
    text.parse()
        .map_err(|_| Invalid::new(field, format!("{} is not a number", excerpt(text)), "give 0 to 65535"))
}

fn target_or_root(text: &str) -> Result<DnsName, Invalid> {
    let name = DnsName::parse(text).map_err(|invalid| Invalid { field: "content", ..invalid })?;
    if name.is_wildcard() {
        return Err(Invalid::new(
            "content",
            format!("{} is a wildcard", excerpt(text)),
            "give the name of a host",
        ));
    }
    Ok(name)
}

fn target_name(text: &str) -> Result<DnsName, Invalid> {
    let name = target_or_root(text)?;
    if name.as_str() == "." {
        return Err(Invalid::new("content", "the root is not a host", "give the name of a host"));
    }
    Ok(name)
}
