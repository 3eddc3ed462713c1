//! DNS records.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

use serde::{Deserialize, Serialize};

use crate::{DnsName, Entity, Invalid, Key, Kind, RecordId, Timestamp, Ttl, ZoneId, ZoneName, limits};

/// The types of record that exist here, by their names in the API and in zone files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordType {
    /// RFC 1035, 3.4.1.
    A,
    /// RFC 3596.
    Aaaa,
    /// RFC 1035, 3.3.1.
    Cname,
    /// RFC 1035, 3.3.9.
    Mx,
    /// RFC 1035, 3.3.14.
    Txt,
    /// RFC 1035, 3.3.11.
    Ns,
    /// RFC 2782.
    Srv,
    /// RFC 8659.
    Caa,
}

impl RecordType {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::A, Self::Aaaa, Self::Cname, Self::Mx, Self::Txt, Self::Ns, Self::Srv, Self::Caa];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Mx => "MX",
            Self::Txt => "TXT",
            Self::Ns => "NS",
            Self::Srv => "SRV",
            Self::Caa => "CAA",
        }
    }

    /// The type of this name, in any case.
    pub fn by_name(name: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            Invalid::new(
                "type",
                format!("{name:.20?} is not a record type that exists here"),
                "use A, AAAA, CNAME, MX, TXT, NS, SRV or CAA",
            )
        })
    }

    /// Whether records of this type can be proxied: those that say where a host is.
    pub const fn can_be_proxied(self) -> bool {
        matches!(self, Self::A | Self::Aaaa | Self::Cname)
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A TXT record's text, as octets; cut into character strings of at most 255 octets only on the wire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TxtData(String);

/// The tag of a CAA property (RFC 8659, 4.1.1): letters and digits, lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CaaTag(String);

impl TxtData {
    /// Takes content as the API gives it: quoted character strings (`"a" "b"`, RFC 1035, 5.1, with `\"`, `\\` and
    /// `\DDD`), or plain text, which is taken as it is.
    pub fn parse(content: &str) -> Result<Self, Invalid> {
        let refuse = |problem: &str| {
            Invalid::new("content", problem, "give text of at most 4096 octets, or quoted strings")
        };
        let trimmed = content.trim();
        let text = if trimmed.starts_with('"') {
            unquote(trimmed)
                .ok_or_else(|| refuse("a quote or an escape is not finished, or the text is not UTF-8"))?
        } else {
            content.to_owned()
        };
        Self::try_from(text)
    }

    /// The text, whole.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The character strings of at most 255 octets that go onto the wire; one empty string for an empty text.
    pub fn strings(&self) -> impl Iterator<Item = &[u8]> {
        let octets = self.0.as_bytes();
        let empty = octets.is_empty().then_some(octets);
        empty.into_iter().chain(octets.chunks(limits::TXT_STRING_OCTETS_MAX))
    }
}

/// The text of quoted character strings, joined; `None` where a quote or an escape is not finished, or where the octets
/// are not UTF-8. Octets are joined before they are read as text: a string may end, and be escaped, within a character.
fn unquote(text: &str) -> Option<String> {
    let mut joined = Vec::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        match octet {
            b' ' | b'\t' => {}
            b'"' => unquote_one(&mut octets, &mut joined)?,
            _ => return None,
        }
    }
    String::from_utf8(joined).ok()
}

/// The rest of one character string, up to and with its closing quote.
fn unquote_one(octets: &mut std::str::Bytes<'_>, joined: &mut Vec<u8>) -> Option<()> {
    loop {
        match octets.next()? {
            b'"' => return Some(()),
            b'\\' => match octets.next()? {
                first if first.is_ascii_digit() => {
                    let digits = [first, octets.next()?, octets.next()?];
                    joined.push(std::str::from_utf8(&digits).ok()?.parse().ok()?);
                }
                plain => joined.push(plain),
            },
            plain => joined.push(plain),
        }
    }
}

impl CaaTag {
    /// Parses a tag.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() || text.len() > 15 || !text.bytes().all(|octet| octet.is_ascii_alphanumeric()) {
            return Err(Invalid::new(
                "data.tag",
                format!("{text:.40?} is not a tag"),
                "use issue, issuewild or iodef",
            ));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// From the text itself, without the quotes and escapes of a zone file.
impl TryFrom<String> for TxtData {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        if text.len() > limits::TXT_OCTETS_MAX {
            return Err(Invalid::new(
                "content",
                "the text is longer than 4096 octets",
                "give a shorter text",
            ));
        }
        Ok(Self(text))
    }
}

impl From<TxtData> for String {
    fn from(text: TxtData) -> String {
        text.0
    }
}

crate::name::text_name!(CaaTag);

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
    Txt {
        /// The text.
        text: TxtData,
    },
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
}

impl RecordData {
    /// Its type.
    pub const fn record_type(&self) -> RecordType {
        match self {
            Self::A { .. } => RecordType::A,
            Self::Aaaa { .. } => RecordType::Aaaa,
            Self::Cname { .. } => RecordType::Cname,
            Self::Mx { .. } => RecordType::Mx,
            Self::Txt { .. } => RecordType::Txt,
            Self::Ns { .. } => RecordType::Ns,
            Self::Srv { .. } => RecordType::Srv,
            Self::Caa { .. } => RecordType::Caa,
        }
    }

    /// Parses the presentation form (RFC 1035, 5.1) that the API calls `content`: an address, a name, text, and for
    /// MX, SRV and CAA their fields in the order of a zone file (`10 mail.example.com`). Names are absolute.
    pub fn parse(record_type: RecordType, content: &str) -> Result<Self, Invalid> {
        let fields: Vec<&str> = content.split_whitespace().collect();
        let shape =
            |remedy| Invalid::new("content", format!("{content:.120?} is not {record_type} content"), remedy);
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
            (RecordType::Txt, _) => Self::Txt { text: TxtData::parse(content)? },
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
        })
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

    /// The presentation form, as in `content` and in a zone file; names without the last dot, texts quoted.
    pub fn content(&self) -> String {
        match self {
            Self::A { address } => address.to_string(),
            Self::Aaaa { address } => address.to_string(),
            Self::Cname { target } => target.to_string(),
            Self::Ns { host } => host.to_string(),
            Self::Mx { priority, exchange } => format!("{priority} {exchange}"),
            Self::Srv { priority, weight, port, target } => format!("{priority} {weight} {port} {target}"),
            Self::Caa { flags, tag, value } => format!("{flags} {tag} {}", quote(value.as_bytes())),
            Self::Txt { text } => text.strings().map(quote).collect::<Vec<_>>().join(" "),
        }
    }
}

/// A character string in quotes, with what RFC 1035, 5.1 wants escaped.
fn quote(octets: &[u8]) -> String {
    let mut text = String::from("\"");
    for part in octets.utf8_chunks() {
        for letter in part.valid().chars() {
            match letter {
                '"' | '\\' => text.extend(['\\', letter]),
                control if control.is_ascii_control() => {
                    text.push_str(&format!("\\{:03}", u32::from(control)))
                }
                plain => text.push(plain),
            }
        }
        for octet in part.invalid() {
            text.push_str(&format!("\\{octet:03}"));
        }
    }
    text.push('"');
    text
}

fn number(field: &'static str, text: &str) -> Result<u16, Invalid> {
    text.parse().map_err(|_| Invalid::new(field, format!("{text:.20?} is not a number"), "give 0 to 65535"))
}

fn target_or_root(text: &str) -> Result<DnsName, Invalid> {
    let name = DnsName::parse(text).map_err(|invalid| Invalid { field: "content", ..invalid })?;
    if name.is_wildcard() {
        return Err(Invalid::new("content", format!("{text:.80?} is a wildcard"), "give the name of a host"));
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

/// A DNS record of a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    pub id: RecordId,
    /// The zone whose it is.
    pub zone: ZoneId,
    /// The name that has it.
    pub name: DnsName,
    /// What it says.
    pub data: RecordData,
    /// How long others may remember it.
    pub ttl: Ttl,
    /// Whether the name answers our anycast addresses, and its traffic comes through us.
    pub proxied: bool,
    /// What its owner says of it.
    pub comment: Option<String>,
    /// Its owner's tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub modified_at: Timestamp,
}

impl Record {
    /// What holds for one record by itself: within its zone, proxied only if it can be, texts within limits.
    pub fn check(&self, zone: &ZoneName) -> Result<(), Invalid> {
        if !self.name.is_within(zone) {
            return Err(Invalid::new(
                "name",
                format!("{} is outside the zone {zone}", self.name),
                "give a name within the zone",
            ));
        }
        if self.proxied && !self.data.record_type().can_be_proxied() {
            return Err(Invalid::new(
                "proxied",
                format!("a {} record cannot be proxied", self.data.record_type()),
                "proxy A, AAAA and CNAME records only",
            ));
        }
        if matches!(&self.data, RecordData::Cname { target } if *target == self.name) {
            return Err(Invalid::new("content", "the alias points to itself", "give another name"));
        }
        let texts = self.comment.iter().chain(&self.tags);
        if self.tags.len() > limits::RECORD_TAGS_MAX
            || texts.into_iter().any(|text| text.chars().count() > limits::TEXT_CHARS_MAX)
        {
            return Err(Invalid::new(
                "comment",
                "the comment or tags are too long",
                "give at most 500 characters and 20 tags",
            ));
        }
        Ok(())
    }
}

/// Why `candidate` cannot stand beside `other` in `zone`, if it cannot: the same record twice, or an alias beside
/// anything (RFC 1034, 3.6.2). An alias that is flattened, at the apex or because it is proxied, is not an alias on the
/// wire: it clashes only with what also says where the host is.
pub fn conflict(candidate: &Record, other: &Record, zone: &ZoneName) -> Option<Invalid> {
    if candidate.id == other.id || candidate.name != other.name {
        return None;
    }
    let (ours, theirs) = (candidate.data.record_type(), other.data.record_type());
    if candidate.data == other.data {
        return Some(Invalid::new(
            "content",
            "an identical record already exists",
            "change the record that exists",
        ));
    }
    let alias =
        [candidate, other].into_iter().find(|record| record.data.record_type() == RecordType::Cname)?;
    let flattened = alias.proxied || candidate.name.as_str() == zone.as_str();
    if flattened && !(ours.can_be_proxied() && theirs.can_be_proxied()) {
        return None;
    }
    Some(Invalid::new(
        "name",
        format!("{} has a {theirs} record, beside which a {ours} record cannot stand", other.name),
        "delete the other record first",
    ))
}

impl Entity for Record {
    const KIND: Kind = Kind::Record;
    type Id = (ZoneId, RecordId);

    fn key(&self) -> Key {
        Self::key_of(&(self.zone, self.id))
    }

    fn key_of((zone, id): &(ZoneId, RecordId)) -> Key {
        Key::new(Self::KIND, &[zone, id])
    }
}
