//! Domain names: what a zone may be called, and what a record may be called.

use serde::{Deserialize, Serialize};

use crate::{Invalid, excerpt, limits};

/// A DNS owner or target name (RFC 1035, 3.1): lower case, absolute, written without the last dot, IDNA in its ASCII
/// form. Labels may begin with `_` (RFC 8552), or say a block of addresses, as `0/25` does (RFC 2317); the first may be `*`
/// (RFC 4592). The root is written `.`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DnsName(String);

impl DnsName {
    /// Parses a name as people write it: any case, with or without the last dot, Unicode or ASCII.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Ok(Self(normalise("name", text)?))
    }

    /// The name of these octets on the wire, without pointers; `None` if it has others than hosts' and services' names have.
    pub fn of_wire(mut wire: &[u8]) -> Option<Self> {
        let mut text = String::new();
        while let Some((length, rest)) = wire.split_first().filter(|(length, _)| **length > 0) {
            let (label, after) = rest.split_at_checked(usize::from(*length))?;
            if label.contains(&b'.') || !label.is_ascii() {
                return None;
            }
            text.push_str(std::str::from_utf8(label).ok()?);
            text.push('.');
            wire = after;
        }
        Self::parse(&text).ok()
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name on the wire (RFC 1035, 3.1), in the canonical form of RFC 4034, 6.2.
    pub fn wire(&self) -> Vec<u8> {
        wire(&self.0)
    }

    /// Whether the first label is `*`.
    pub fn is_wildcard(&self) -> bool {
        self.0 == "*" || self.0.starts_with("*.")
    }

    /// Whether this name is `zone` itself or lies below it.
    pub fn is_within(&self, zone: &ZoneName) -> bool {
        is_within(&self.0, zone.as_str())
    }

    /// Whether a host may be called so, or hosts, of a wildcard: one that says a block of addresses (RFC 2317) is no URL's, nor a
    /// certificate's. An underscore is no host's either (RFC 1123, 2.1), but there are such, and they are asked for.
    pub fn is_of_host(&self) -> bool {
        !self.0.contains('/')
    }

    /// The name without its first label; `None` for a single label.
    pub fn parent(&self) -> Option<&str> {
        self.0.split_once('.').map(|(_, rest)| rest).filter(|rest| !rest.is_empty())
    }
}

/// What a zone is called: at least two labels, host labels only (RFC 1123, 2.1), no wildcard and no underscore.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ZoneName(String);

impl ZoneName {
    /// Parses a zone's name as people write it.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let name = normalise("name", text)?;
        if !name.contains('.') || name == "." {
            return Err(Invalid::new(
                "name",
                format!("{} has one label", excerpt(text)),
                "give a domain such as example.com",
            ));
        }
        // Nor `/`: a zone's name is part of a key of the ledger, whose parts it separates.
        if name.split('.').any(|label| label.contains(['*', '_', '/'])) {
            return Err(Invalid::new(
                "name",
                format!("{} has a label that is not a host's", excerpt(text)),
                "use letters, digits and hyphens",
            ));
        }
        Ok(Self(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name on the wire (RFC 1035, 3.1), in the canonical form of RFC 4034, 6.2.
    pub fn wire(&self) -> Vec<u8> {
        wire(&self.0)
    }

    /// The apex as a record's name.
    pub fn apex(&self) -> DnsName {
        DnsName(self.0.clone())
    }

    /// A record's name as the API and zone files give it: `@` is the apex, a name that ends in the zone's is taken as
    /// it is, anything else is relative to the zone.
    pub fn record_name(&self, text: &str) -> Result<DnsName, Invalid> {
        if text == "@" || text.is_empty() {
            return Ok(self.apex());
        }
        let name = normalise("name", text)?;
        if is_within(&name, &self.0) {
            return Ok(DnsName(name));
        }
        if text.ends_with('.') {
            return Err(Invalid::new(
                "name",
                format!("{} is outside the zone {self}", excerpt(text)),
                "give a name within the zone",
            ));
        }
        DnsName::parse(&format!("{name}.{self}"))
    }
}

/// A validated name on the wire.
fn wire(name: &str) -> Vec<u8> {
    let mut octets = Vec::with_capacity(name.len() + 2);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        octets.push(u8::try_from(label.len()).expect("a validated label has 63 octets at most"));
        octets.extend_from_slice(label.as_bytes());
    }
    octets.push(0);
    octets
}

/// Whether a label says a block of addresses: its first one's last number, and the length of its prefix (RFC 2317, 4).
fn is_block(label: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    label.split_once('/').is_some_and(|(first, length)| is_number(first) && is_number(length))
}

/// Whether `name` is `zone` itself or lies below it; both lower case, without the last dot.
fn is_within(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Brings a name to its one form and checks lengths and letters (RFC 1035, 2.3.4; RFC 5890 by way of UTS 46).
fn normalise(field: &'static str, text: &str) -> Result<String, Invalid> {
    let refuse = |problem: &str| {
        Invalid::new(
            field,
            format!("{} {problem}", excerpt(text)),
            "give a domain name such as www.example.com",
        )
    };
    if text == "." {
        return Ok(".".to_owned());
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() {
        return Err(refuse("is empty"));
    }
    // Four octets of UTF-8 a character at the most, so nothing that could still be valid is refused unread.
    if text.len() > limits::NAME_OCTETS_MAX * 4 {
        return Err(refuse("is longer than 253 octets"));
    }
    let name = if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        idna::domain_to_ascii(text).map_err(|_| refuse("is not a valid international name"))?
    };
    if name.len() > limits::NAME_OCTETS_MAX {
        return Err(refuse("is longer than 253 octets"));
    }
    for (position, label) in name.split('.').enumerate() {
        if label.is_empty() {
            return Err(refuse("has an empty label"));
        }
        if label.len() > limits::LABEL_OCTETS_MAX {
            return Err(refuse("has a label longer than 63 octets"));
        }
        if label == "*" && position == 0 {
            continue;
        }
        let is_usual = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
        if !label.bytes().all(is_usual) && !is_block(label) {
            return Err(refuse("has a character that names do not have"));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(refuse("has a label that begins or ends with a hyphen"));
        }
        if label.starts_with("xn--") && idna::domain_to_unicode(label).1.is_err() {
            return Err(refuse("has a label that is not valid punycode"));
        }
    }
    Ok(name)
}

macro_rules! text_name {
    ($name:ident) => {
        impl std::str::FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}
pub(crate) use text_name;

text_name!(DnsName);
text_name!(ZoneName);
