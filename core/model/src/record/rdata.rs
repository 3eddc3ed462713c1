//! Data of types that the network does not look into: kept as octets, read and written by the table of types
//! ([`schema`](super::schema)).
//!
//! Invariants:
//! * **What is kept is what was checked:** data is made from its presentation form only; octets that come otherwise
//!   (`\# 3 abcdef`, RFC 3597) are written and read again, unless nothing is known of their type.
//! * **What comes from the log is bounded and no more:** any type and any octets are read, since another version may have
//!   known or refused others than this one, and one record must not make a zone unreadable. What a type cannot have is shown
//!   in the form of RFC 3597. Types are refused where they come in: by the API and in zone files. Whoever uses data must not
//!   rely on its shape, and answers only what is offered here ([`RecordData::is_offered`](super::RecordData::is_offered)).
//! * **Names are in lower case,** the canonical form of RFC 4034, 6.2, and are never compressed (RFC 3597, 4).

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use super::{
    loc::{self, Location},
    schema::{Field, FieldKind, Row},
    svcb,
    text::{quote, unquote_word, words},
    types::{OtherType, RecordType},
};
use crate::{DnsName, Invalid, excerpt, limits};

/// What stands before data of any type in base 16 (RFC 3597, 5).
const GENERIC: &str = "\\#";
/// The most octets that a presentation form takes for one octet of data: an escape.
const WRITTEN_OCTETS: usize = 4;
/// Kinds of certificates by their names (RFC 4398, 2.1).
const CERT_TYPES: [(u16, &str); 10] = [
    (1, "PKIX"),
    (2, "SPKI"),
    (3, "PGP"),
    (4, "IPKIX"),
    (5, "ISPKI"),
    (6, "IPGP"),
    (7, "ACPKIX"),
    (8, "IACPKIX"),
    (253, "URI"),
    (254, "OID"),
];
/// Algorithms of DNSSEC by their names (RFC 8624, 3.1), also by those that BIND writes.
const ALGORITHMS: [(u16, &str); 19] = [
    (1, "RSAMD5"),
    (2, "DH"),
    (3, "DSA"),
    (5, "RSASHA1"),
    (6, "NSEC3DSA"),
    (6, "DSA-NSEC3-SHA1"),
    (7, "NSEC3RSASHA1"),
    (7, "RSASHA1-NSEC3-SHA1"),
    (8, "RSASHA256"),
    (10, "RSASHA512"),
    (12, "ECCGOST"),
    (12, "ECC-GOST"),
    (13, "ECDSAP256SHA256"),
    (14, "ECDSAP384SHA384"),
    (15, "ED25519"),
    (16, "ED448"),
    (252, "INDIRECT"),
    (253, "PRIVATEDNS"),
    (254, "PRIVATEOID"),
];
/// Digests of keys by their names (RFC 8624, 3.3), with and without the hyphen.
const DIGESTS: [(u16, &str); 7] =
    [(1, "SHA-1"), (1, "SHA1"), (2, "SHA-256"), (2, "SHA256"), (3, "GOST"), (4, "SHA-384"), (4, "SHA384")];

/// A type and its data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Kept", into = "Kept")]
pub struct Rdata {
    rtype: OtherType,
    octets: Box<[u8]>,
}

/// As it stands in the log.
#[derive(Serialize, Deserialize)]
struct Kept {
    code: u16,
    #[serde(with = "hex::serde")]
    rdata: Vec<u8>,
}

impl TryFrom<Kept> for Rdata {
    type Error = Invalid;

    fn try_from(Kept { code, rdata }: Kept) -> Result<Self, Invalid> {
        if rdata.len() > limits::RDATA_OCTETS_MAX {
            return Err(too_long());
        }
        Ok(Self { rtype: OtherType::of_log(code), octets: rdata.into() })
    }
}

impl From<Rdata> for Kept {
    fn from(rdata: Rdata) -> Self {
        Self { code: rdata.rtype.code(), rdata: rdata.octets.into() }
    }
}

/// A field's value, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldValue {
    /// A number.
    Number(u16),
    /// A text: a character string without its quotes, octets that are not UTF-8 replaced; or what the presentation form has.
    Text(String),
}

fn too_long() -> Invalid {
    Invalid::new("content", "the data is longer than 16384 octets", "give less")
}

impl Rdata {
    /// Parses the presentation form.
    pub(super) fn parse(rtype: OtherType, content: &str) -> Result<Self, Invalid> {
        if content.len() > limits::RDATA_OCTETS_MAX * WRITTEN_OCTETS {
            return Err(too_long());
        }
        let words = words(content).ok_or_else(|| {
            Invalid::new("content", "a quote or an escape is not finished", "close the quote")
        })?;
        if let [GENERIC, generic @ ..] = words.as_slice() {
            let octets = generic_octets(generic)?;
            let Some(row) = rtype.row() else { return Ok(Self { rtype, octets: octets.into() }) };
            return Self::parse(rtype, &row.print(&octets)?);
        }
        let row = rtype.row().ok_or_else(|| {
            Invalid::new(
                "content",
                format!("nothing is known of the data of {}", RecordType::Other(rtype)),
                "give a number of octets and as many in base 16, such as \\# 3 abcdef (RFC 3597)",
            )
        })?;
        let octets = row.read(&words)?;
        if octets.len() > limits::RDATA_OCTETS_MAX {
            return Err(too_long());
        }
        Ok(Self { rtype, octets: octets.into() })
    }

    /// These octets, whatever they are; `None` if they are too many.
    pub(super) fn of_octets(code: u16, octets: &[u8]) -> Option<Self> {
        let is_bounded = octets.len() <= limits::RDATA_OCTETS_MAX;
        is_bounded.then(|| Self { rtype: OtherType::of_log(code), octets: octets.into() })
    }

    /// Its type.
    pub const fn record_type(&self) -> OtherType {
        self.rtype
    }

    /// Its data on the wire, names uncompressed.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The presentation form; names with the last dot.
    pub fn content(&self) -> String {
        present(self.rtype.code(), &self.octets)
    }

    /// Its fields and their values; `None` if nothing is known of its type.
    pub fn fields(&self) -> Option<Vec<(&'static Field, FieldValue)>> {
        let row = self.rtype.row()?;
        let values = row.fields.iter().zip(row.split(&self.octets)?);
        values.map(|(field, octets)| Some((field, field.kind.value(octets)?))).collect()
    }

    /// The fields whose texts are not UTF-8: [`Self::fields`] shows them otherwise than they are.
    pub fn unshown(&self) -> Vec<&'static Field> {
        let Some(row) = self.rtype.row() else { return Vec::new() };
        let fields = row.fields.iter().zip(row.split(&self.octets).unwrap_or_default());
        let unshown = fields.filter(|(field, octets)| {
            field.kind.text(octets).is_some_and(|text| std::str::from_utf8(text).is_err())
        });
        unshown.map(|(field, _)| field).collect()
    }

    /// The place that a LOC record says.
    pub fn location(&self) -> Option<Location> {
        (self.rtype == OtherType::LOC).then(|| Location::of_octets(&self.octets)).flatten()
    }
}

impl OtherType {
    /// The fields of its data; none if nothing is known of it.
    pub fn fields(self) -> &'static [Field] {
        self.row().map_or(&[], |row| row.fields)
    }
}

/// The data of a type that [`super::RecordData`] has a variant for, from the form of RFC 3597, as it is usually written.
pub(super) fn usual_form(row: &Row, content: &str) -> Result<String, Invalid> {
    let words = words(content).unwrap_or_default();
    row.print(&generic_octets(words.get(1..).unwrap_or_default())?)
}

/// The presentation form of data of any type, as it stands on the wire without pointers; names with the last dot. What is not
/// known, or not as its type has it, is shown in the form of RFC 3597.
pub fn present(code: u16, octets: &[u8]) -> String {
    let known = super::schema::row_of(code).and_then(|row| row.print(octets).ok());
    known.unwrap_or_else(|| generic(octets))
}

/// Data of any type in the form of RFC 3597.
pub(super) fn generic(octets: &[u8]) -> String {
    match octets {
        [] => format!("{GENERIC} 0"),
        octets => format!("{GENERIC} {} {}", octets.len(), hex::encode(octets)),
    }
}

/// Whether data is in the form of RFC 3597, that any type has.
pub(super) fn is_generic(content: &str) -> bool {
    content.split_ascii_whitespace().next() == Some(GENERIC)
}

fn generic_octets(words: &[&str]) -> Result<Vec<u8>, Invalid> {
    let refuse = |problem| {
        Invalid::new(
            "content",
            problem,
            "give a number of octets and as many in base 16, such as \\# 3 abcdef",
        )
    };
    let [length, digits @ ..] = words else { return Err(refuse("the length is missing")) };
    let length: usize = length.parse().map_err(|_| refuse("the length is not a number"))?;
    if length > limits::RDATA_OCTETS_MAX {
        return Err(too_long());
    }
    let octets = hex::decode(digits.concat()).map_err(|_| refuse("the data is not in base 16"))?;
    if octets.len() != length {
        return Err(refuse("the data has not as many octets as are said"));
    }
    Ok(octets)
}

impl Row {
    /// Reads data from words.
    fn read(&self, words: &[&str]) -> Result<Vec<u8>, Invalid> {
        let (mut octets, mut rest) = (Vec::new(), words);
        for field in self.fields {
            if field.kind.takes_the_rest() {
                octets.extend(field.read_rest(rest, self.remedy)?);
                rest = &[];
                continue;
            }
            let (word, after) = rest.split_first().ok_or_else(|| {
                let problem = format!("the data of {} ends before its {}", self.name, field.key());
                Invalid::new("content", problem, self.remedy)
            })?;
            field.read(word, self.remedy, &mut octets)?;
            rest = after;
        }
        if let Some(word) = rest.first() {
            let problem = format!("{} stands behind the data of {}", excerpt(word), self.name);
            return Err(Invalid::new("content", problem, self.remedy));
        }
        let fields = self.split(&octets).expect("what was put together can be cut");
        (self.check)(&fields)?;
        Ok(octets)
    }

    /// Cuts data into fields; `None` if it is not of this type.
    fn split<'o>(&self, mut octets: &'o [u8]) -> Option<Vec<&'o [u8]>> {
        let mut fields = Vec::with_capacity(self.fields.len());
        for field in self.fields {
            let (value, rest) = octets.split_at_checked(field.kind.length(octets)?)?;
            fields.push(value);
            octets = rest;
        }
        octets.is_empty().then_some(fields)
    }

    /// Writes data; an error if it is not of this type.
    fn print(&self, octets: &[u8]) -> Result<String, Invalid> {
        let fields = self.split(octets).and_then(|values| {
            let written = self.fields.iter().zip(values).map(|(field, octets)| field.kind.print(octets));
            written.collect::<Option<Vec<String>>>()
        });
        let fields = fields.ok_or_else(|| {
            Invalid::new("content", format!("the octets are not {} data", self.name), self.remedy)
        })?;
        Ok(fields.into_iter().filter(|field| !field.is_empty()).collect::<Vec<_>>().join(" "))
    }
}

impl Field {
    fn read(&self, word: &str, remedy: &'static str, out: &mut Vec<u8>) -> Result<(), Invalid> {
        let refuse = |problem: String| Invalid::new(self.name, problem, remedy);
        let text = || unquote_word(word).ok_or_else(|| refuse(format!("{} is not a text", excerpt(word))));
        match self.kind {
            FieldKind::Name => {
                let name = DnsName::parse(word).map_err(|invalid| Invalid { field: self.name, ..invalid })?;
                out.extend_from_slice(&name.wire());
            }
            FieldKind::Text => {
                let text = text()?;
                let length = u8::try_from(text.len())
                    .map_err(|_| refuse("a text of this type has at most 255 octets".to_owned()))?;
                out.push(length);
                out.extend_from_slice(&text);
            }
            FieldKind::Rest => out.extend_from_slice(&text()?),
            kind => {
                let number = kind.number(word).ok_or_else(|| {
                    let limit = if kind.is_octet() { 255 } else { 65_535 };
                    refuse(format!("{} is not a number of 0 to {limit}", excerpt(word)))
                })?;
                let octets = number.to_be_bytes();
                out.extend_from_slice(if kind.is_octet() { &octets[1..] } else { &octets });
            }
        }
        Ok(())
    }

    fn read_rest(&self, words: &[&str], remedy: &'static str) -> Result<Vec<u8>, Invalid> {
        let refuse = |problem: &str| Invalid::new(self.name, problem, remedy);
        match self.kind {
            FieldKind::Hex => {
                hex::decode(words.concat()).map_err(|_| refuse("it is not in base 16, two digits an octet"))
            }
            FieldKind::Base64 => {
                BASE64_STANDARD.decode(words.concat()).map_err(|_| refuse("it is not in base 64"))
            }
            FieldKind::Params => svcb::parse(words),
            FieldKind::Location => loc::parse(words).map(Into::into),
            _ => {
                let mut octets = Vec::new();
                for word in words {
                    Self { kind: FieldKind::Text, ..*self }.read(word, remedy, &mut octets)?;
                }
                if octets.is_empty() { Err(refuse("there is no text")) } else { Ok(octets) }
            }
        }
    }
}

impl FieldKind {
    const fn is_octet(self) -> bool {
        matches!(self, Self::U8 | Self::Algorithm | Self::Digest)
    }

    /// Whether it holds a number.
    pub const fn is_number(self) -> bool {
        matches!(self, Self::U8 | Self::U16 | Self::Algorithm | Self::Digest | Self::CertType)
    }

    /// The text in the octets of one field; `None` if it holds something else.
    fn text(self, octets: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Text => octets.get(1..),
            Self::Rest => Some(octets),
            _ => None,
        }
    }

    /// The number that a word says, in digits or by a name that numbers of this kind have.
    fn number(self, word: &str) -> Option<u16> {
        let names = match self {
            Self::CertType => &CERT_TYPES[..],
            Self::Algorithm => &ALGORITHMS,
            Self::Digest => &DIGESTS,
            _ => &[],
        };
        if let Some(named) = names.iter().find(|named| named.1.eq_ignore_ascii_case(word)) {
            return Some(named.0);
        }
        let digits = word.bytes().all(|octet| octet.is_ascii_digit());
        let number = word.parse().ok().filter(|_| digits)?;
        (!self.is_octet() || number <= u16::from(u8::MAX)).then_some(number)
    }

    /// How many of these octets it takes; `None` if there are too few.
    fn length(self, octets: &[u8]) -> Option<usize> {
        match self {
            Self::U8 | Self::Algorithm | Self::Digest => Some(1),
            Self::U16 | Self::CertType => Some(2),
            Self::Ipv4 => Some(4),
            Self::Ipv6 => Some(16),
            Self::Location => Some(loc::OCTETS),
            Self::Text | Self::Tag => Some(1 + usize::from(*octets.first()?)),
            Self::Name => {
                let mut at = 0;
                loop {
                    match *octets.get(at)? {
                        0 => return Some(at + 1),
                        length @ 1..=63 => at += 1 + usize::from(length),
                        _ => return None,
                    }
                }
            }
            Self::Texts | Self::Rest | Self::Hex | Self::Base64 | Self::Params => Some(octets.len()),
        }
    }

    /// Writes the octets of one field; `None` if they are not what it holds.
    fn print(self, octets: &[u8]) -> Option<String> {
        Some(match self {
            Self::Text => quote(&octets[1..]),
            Self::Rest => quote(octets),
            Self::Texts => {
                let (mut texts, mut rest) = (Vec::new(), octets);
                while !rest.is_empty() {
                    let (text, after) = rest.split_at_checked(Self::Text.length(rest)?)?;
                    texts.push(quote(&text[1..]));
                    rest = after;
                }
                texts.join(" ")
            }
            _ => match self.value(octets)? {
                FieldValue::Number(number) => number.to_string(),
                FieldValue::Text(text) => text,
            },
        })
    }

    fn value(self, octets: &[u8]) -> Option<FieldValue> {
        Some(FieldValue::Text(match self {
            Self::U8 | Self::Algorithm | Self::Digest => {
                return Some(FieldValue::Number((*octets.first()?).into()));
            }
            Self::U16 | Self::CertType => {
                return Some(FieldValue::Number(u16::from_be_bytes(octets.try_into().ok()?)));
            }
            Self::Ipv4 => std::net::Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?).to_string(),
            Self::Ipv6 => std::net::Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?).to_string(),
            Self::Name => name(octets),
            Self::Text | Self::Rest => String::from_utf8_lossy(self.text(octets)?).into_owned(),
            Self::Tag => {
                let tag = octets.get(1..)?;
                let is_one = !tag.is_empty() && tag.iter().all(u8::is_ascii_alphanumeric);
                is_one.then(|| String::from_utf8_lossy(tag).into_owned())?
            }
            Self::Texts => self.print(octets)?,
            Self::Hex => hex::encode(octets),
            Self::Base64 => BASE64_STANDARD.encode(octets),
            Self::Params => svcb::print(octets)?,
            Self::Location => Location::of_octets(octets)?.print(),
        }))
    }
}

/// A name as text, absolute. Octets that no name of ours has are escaped, so that it is refused when it is read.
fn name(mut octets: &[u8]) -> String {
    let mut text = String::new();
    while let Some((length, rest)) = octets.split_first().filter(|(length, _)| **length > 0) {
        let (label, after) = rest.split_at(usize::from(*length).min(rest.len()));
        for octet in label {
            match octet {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'*' | b'/' => {
                    text.push(char::from(*octet))
                }
                other => text.push_str(&format!("\\{other:03}")),
            }
        }
        text.push('.');
        octets = after;
    }
    if text.is_empty() { ".".to_owned() } else { text }
}
