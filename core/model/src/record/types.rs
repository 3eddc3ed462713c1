//! The types of record.

use std::{borrow::Cow, fmt};

use super::schema::{self, Row};
use crate::{Invalid, excerpt};

/// A type of record that a zone's owner can have. Eight have a name of their own in the code, since the network looks
/// into what they say; all others are told apart by their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// Any other.
    Other(OtherType),
}

/// A type of record that is none of those that [`RecordType`] names, and that a zone's owner can have; in what comes from
/// the log, any type ([`RecordData::is_offered`](super::RecordData::is_offered)).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OtherType(u16);

impl OtherType {
    /// RFC 1035, 3.3.12.
    pub const PTR: Self = Self(12);
    /// RFC 1876.
    pub const LOC: Self = Self(29);
    /// RFC 6672: one for a name at the most, and not where the zone ends.
    pub const DNAME: Self = Self(39);
    /// RFC 4034, 5: only at a name that is delegated.
    pub const DS: Self = Self(43);
    /// RFC 4034, 2: only at a zone's apex, for keys of others who sign it too (RFC 8901).
    pub const DNSKEY: Self = Self(48);
    /// RFC 7344, 3.1: only at a zone's apex, for keys of others that the parent is to name.
    pub const CDS: Self = Self(59);
    /// RFC 7344, 3.2: as CDS.
    pub const CDNSKEY: Self = Self(60);
    /// RFC 6698.
    pub const TLSA: Self = Self(52);
    /// RFC 7929.
    pub const OPENPGPKEY: Self = Self(61);
    /// RFC 7553.
    pub const URI: Self = Self(256);

    /// The type of this number in the log, whichever it is.
    pub(super) const fn of_log(code: u16) -> Self {
        Self(code)
    }

    /// Its number in the registry of types.
    pub const fn code(self) -> u16 {
        self.0
    }

    /// How its data is built, if that is known here.
    pub(super) fn row(self) -> Option<&'static Row> {
        schema::row_of(self.0)
    }
}

impl RecordType {
    /// All that are known by a name.
    pub fn all() -> impl Iterator<Item = Self> {
        schema::ROWS.iter().map(|row| Self::of_known(row.code))
    }

    /// Its number in the registry of types.
    pub const fn code(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
            Self::Cname => 5,
            Self::Mx => 15,
            Self::Txt => 16,
            Self::Ns => 2,
            Self::Srv => 33,
            Self::Caa => 257,
            Self::Other(other) => other.0,
        }
    }

    const fn of_known(code: u16) -> Self {
        match code {
            1 => Self::A,
            28 => Self::Aaaa,
            5 => Self::Cname,
            15 => Self::Mx,
            16 => Self::Txt,
            2 => Self::Ns,
            33 => Self::Srv,
            257 => Self::Caa,
            other => Self::Other(OtherType(other)),
        }
    }

    /// The type of this number.
    ///
    /// # Errors
    /// No owner of a zone can have records of it, and why.
    pub fn by_code(code: u16) -> Result<Self, Invalid> {
        match schema::refusal(code) {
            None => Ok(Self::of_known(code)),
            Some((problem, remedy)) => {
                let name = schema::name_of_refused(code).map_or_else(|| format!("TYPE{code}"), str::to_owned);
                Err(Invalid::new("type", format!("{name} {problem}"), remedy))
            }
        }
    }

    /// Its name: its mnemonic, or `TYPE` and its number (RFC 3597, 5).
    pub fn name(self) -> Cow<'static, str> {
        match schema::row_of(self.code()) {
            Some(row) => Cow::Borrowed(row.name),
            None => Cow::Owned(format!("TYPE{}", self.code())),
        }
    }

    /// The type of this name, in any case; `TYPE12345` for any number (RFC 3597, 5).
    pub fn by_name(name: &str) -> Result<Self, Invalid> {
        if let Some(row) = schema::ROWS.iter().find(|row| row.name.eq_ignore_ascii_case(name)) {
            return Ok(Self::of_known(row.code));
        }
        if let Some(code) = schema::code_of_refused(name) {
            return Self::by_code(code);
        }
        let digits = name.get(..4).filter(|start| start.eq_ignore_ascii_case("TYPE")).map(|_| &name[4..]);
        match digits.filter(|digits| digits.bytes().all(|octet| octet.is_ascii_digit())).map(str::parse) {
            Some(Ok(code)) => Self::by_code(code),
            _ => Err(Invalid::new(
                "type",
                format!("{} is not a record type that exists here", excerpt(name)),
                "use one such as A, AAAA, CNAME, MX or TXT, or TYPE and a number, such as TYPE65280",
            )),
        }
    }

    /// Whether records of this type can be proxied: those that say where a host is.
    pub const fn can_be_proxied(self) -> bool {
        matches!(self, Self::A | Self::Aaaa | Self::Cname)
    }

    /// Which words of its presentation form are names, that a zone file may give relative to its origin.
    pub fn names_at(self) -> impl Iterator<Item = usize> {
        let fields = schema::row_of(self.code()).map_or(&[][..], |row| row.fields);
        fields.iter().enumerate().filter(|(_, field)| field.kind == schema::FieldKind::Name).map(|(at, _)| at)
    }
}

/// The number of a type that may be asked for, by its name in any case, or `TYPE` and a number (RFC 3597, 5): those of
/// [`RecordType::by_name`], and those that only servers make.
pub fn type_code(name: &str) -> Option<u16> {
    let numbered = || name.get(..4).filter(|start| start.eq_ignore_ascii_case("TYPE")).map(|_| &name[4..]);
    RecordType::by_name(name).ok().map(RecordType::code).or_else(|| schema::code_of_refused(name)).or_else(
        || {
            let digits = numbered().filter(|digits| digits.bytes().all(|octet| octet.is_ascii_digit()))?;
            digits.parse().ok()
        },
    )
}

/// The name of a type of any number.
pub fn type_name(code: u16) -> Cow<'static, str> {
    schema::name_of_refused(code).map_or_else(|| RecordType::of_known(code).name(), Cow::Borrowed)
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

impl fmt::Debug for OtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&RecordType::Other(*self).name())
    }
}
