//! How the data of each type is built: one table, from which records are read, written and shown.
//!
//! ```text
//!  presentation form ─▶ words ─┐                         ┌─▶ presentation form
//!  (zone file, `content`)      ├─▶ octets (rdata.rs) ────┤
//!  fields of the API (`data`) ─┘   checked by the row    └─▶ fields of the API
//! ```

use super::check;
use crate::Invalid;

/// A type, and how its data is built.
pub(super) struct Row {
    pub(super) code: u16,
    pub(super) name: &'static str,
    pub(super) fields: &'static [Field],
    /// What to give, for who gave something else.
    pub(super) remedy: &'static str,
    /// What holds beyond the fields by themselves; gets their octets.
    pub(super) check: Check,
}

type Check = fn(&[&[u8]]) -> Result<(), Invalid>;

/// A field of a type's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// What it is called in errors: `data.` and its name in the API, or `content`.
    pub name: &'static str,
    /// What it holds.
    pub kind: FieldKind,
}

impl Field {
    /// Its name in the API's `data`.
    pub fn key(&self) -> &'static str {
        self.name.strip_prefix("data.").unwrap_or(self.name)
    }
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// A number of one octet.
    U8,
    /// A number of two octets.
    U16,
    /// A kind of certificate: a number of two octets that may have a name.
    CertType,
    /// An algorithm of DNSSEC: a number of one octet that may have a name.
    Algorithm,
    /// A digest of a key: a number of one octet that may have a name.
    Digest,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// A name, uncompressed.
    Name,
    /// A character string (RFC 1035, 3.3).
    Text,
    /// A character string of letters and digits, written without quotes.
    Tag,
    /// Character strings to the end.
    Texts,
    /// Octets to the end, written as one text in quotes.
    Rest,
    /// Octets to the end, written in base 16.
    Hex,
    /// Octets to the end, written in base 64.
    Base64,
    /// Parameters of a service to the end (RFC 9460, 2.2).
    Params,
    /// A place on Earth to the end (RFC 1876).
    Location,
}

impl FieldKind {
    /// Whether it takes all words that are left.
    pub(super) const fn takes_the_rest(self) -> bool {
        matches!(self, Self::Texts | Self::Hex | Self::Base64 | Self::Params | Self::Location)
    }
}

macro_rules! rows {
    ($($code:literal $name:literal { $($field:literal: $kind:ident),* } $check:expr, $remedy:literal;)*) => {
        /// Every type that is known by a name.
        pub(super) static ROWS: &[Row] = &[$(Row {
            code: $code,
            name: $name,
            fields: &[$(Field { name: $field, kind: FieldKind::$kind }),*],
            remedy: $remedy,
            check: $check,
        }),*];
    };
}

rows! {
    1 "A" { "content": Ipv4 } check::none, "give one IPv4 address";
    28 "AAAA" { "content": Ipv6 } check::none, "give one IPv6 address";
    5 "CNAME" { "content": Name } check::none, "give one name";
    15 "MX" { "priority": U16, "content": Name } check::none,
        "give a priority and a name, such as 10 mail.example.com";
    16 "TXT" { "content": Texts } check::none, "give text, or quoted strings";
    2 "NS" { "content": Name } check::none, "give one name";
    33 "SRV" { "priority": U16, "data.weight": U16, "data.port": U16, "data.target": Name } check::none,
        "give priority, weight, port and target";
    257 "CAA" { "data.flags": U8, "data.tag": Tag, "data.value": Rest } check::none,
        "give flags, tag and value, such as 0 issue \"ca.example\"";
    12 "PTR" { "content": Name } check::host, "give one name";
    37 "CERT" { "data.type": CertType, "data.key_tag": U16, "data.algorithm": Algorithm, "data.certificate": Base64 }
        check::not_empty, "give type, key tag, algorithm and the certificate in base 64, such as 1 0 0 MIIC…";
    43 "DS" { "data.key_tag": U16, "data.algorithm": Algorithm, "data.digest_type": Digest, "data.digest": Hex }
        check::ds, "give key tag, algorithm, digest type and digest, as the delegated zone's operator says them";
    48 "DNSKEY" { "data.flags": U16, "data.protocol": U8, "data.algorithm": Algorithm, "data.public_key": Base64 }
        check::dnskey, "give flags, protocol (3), algorithm and the public key in base 64";
    59 "CDS" { "data.key_tag": U16, "data.algorithm": Algorithm, "data.digest_type": Digest, "data.digest": Hex }
        check::cds, "give key tag, algorithm, digest type and digest of the key that the parent is to name";
    60 "CDNSKEY" { "data.flags": U16, "data.protocol": U8, "data.algorithm": Algorithm, "data.public_key": Base64 }
        check::cdnskey, "give flags, protocol (3), algorithm and the public key in base 64";
    65 "HTTPS" { "data.priority": U16, "data.target": Name, "data.value": Params }
        check::service, "give priority, target and parameters, such as 1 . alpn=\"h2\"";
    29 "LOC" { "content": Location } check::none,
        "give latitude, longitude, altitude and precision, such as 51 30 12.748 N 0 7 39.611 W 0m 1m 10000m 10m";
    35 "NAPTR" { "data.order": U16, "data.preference": U16, "data.flags": Text, "data.service": Text,
        "data.regex": Text, "data.replacement": Name } check::naptr,
        "give order, preference, flags, service, regex and replacement, such as 10 20 \"S\" \"SIP+D2U\" \"\" _sip._udp.example.com";
    61 "OPENPGPKEY" { "content": Base64 } check::not_empty, "give the transferable public key in base 64";
    53 "SMIMEA" { "data.usage": U8, "data.selector": U8, "data.matching_type": U8, "data.certificate": Hex }
        check::association, "give usage, selector, matching type and the data in base 16, such as 3 1 1 and 64 digits";
    44 "SSHFP" { "data.algorithm": U8, "data.type": U8, "data.fingerprint": Hex } check::fingerprint,
        "give algorithm, type and fingerprint, as `ssh-keygen -r` says them";
    64 "SVCB" { "data.priority": U16, "data.target": Name, "data.value": Params } check::service,
        "give priority, target and parameters, such as 1 server.example.com alpn=\"h2\"";
    52 "TLSA" { "data.usage": U8, "data.selector": U8, "data.matching_type": U8, "data.certificate": Hex }
        check::association, "give usage, selector, matching type and the data in base 16, such as 3 1 1 and 64 digits";
    256 "URI" { "priority": U16, "data.weight": U16, "data.target": Rest } check::uri,
        "give priority, weight and the URI, such as 10 1 \"https://www.example.com/\"";
    // Types that v4 does not have and zone files do. Their names are compared by validators in lower case
    // (RFC 4034, 6.2), which only who knows where they stand can keep to.
    18 "AFSDB" { "data.subtype": U16, "data.hostname": Name } check::none, "give a subtype and a name";
    39 "DNAME" { "content": Name } check::none, "give one name, below which all names of this one are found";
    13 "HINFO" { "data.cpu": Text, "data.os": Text } check::none, "give two texts";
    36 "KX" { "data.preference": U16, "data.exchanger": Name } check::none, "give a preference and a name";
    7 "MB" { "content": Name } check::none, "give one name";
    8 "MG" { "content": Name } check::none, "give one name";
    14 "MINFO" { "data.rmailbx": Name, "data.emailbx": Name } check::none, "give two names";
    9 "MR" { "content": Name } check::none, "give one name";
    26 "PX" { "data.preference": U16, "data.map822": Name, "data.mapx400": Name } check::none,
        "give a preference and two names";
    17 "RP" { "data.mbox": Name, "data.txt": Name } check::none, "give two names";
    21 "RT" { "data.preference": U16, "data.host": Name } check::none, "give a preference and a name";
    99 "SPF" { "content": Texts } check::none, "give quoted strings";
}

/// How the data of a type is built, if it is known.
pub(super) fn row_of(code: u16) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.code == code)
}

const MADE_HERE: &str = "is made by the servers from the zone and its keys";
const SIGNING: &str = "leave it out; a zone is signed by its settings (dnssec)";
const OF_MESSAGES: &str = "is a type of questions or messages, not of a zone's records";
const OBSOLETE: &str = "is of a DNSSEC that nobody speaks any more (RFC 3755)";

/// Types that no owner of a zone can have: their number, their name, why not, and what to do instead.
const REFUSED: [(u16, &str, &str, &str); 22] = [
    (3, "MD", "is obsolete (RFC 973)", "use MX"),
    (4, "MF", "is obsolete (RFC 973)", "use MX"),
    (6, "SOA", MADE_HERE, "leave it out"),
    (10, "NULL", OF_MESSAGES, "use a private type, such as TYPE65280"),
    (24, "SIG", OBSOLETE, SIGNING),
    (25, "KEY", OBSOLETE, "use DNSKEY or CERT"),
    (30, "NXT", OBSOLETE, SIGNING),
    (41, "OPT", OF_MESSAGES, "use another type"),
    (46, "RRSIG", MADE_HERE, SIGNING),
    (47, "NSEC", MADE_HERE, SIGNING),
    (50, "NSEC3", MADE_HERE, SIGNING),
    (51, "NSEC3PARAM", MADE_HERE, SIGNING),
    (63, "ZONEMD", "is a digest of a zone that is made once, and ours are made as asked", "leave it out"),
    (128, "NXNAME", OF_MESSAGES, "leave it out"),
    (249, "TKEY", OF_MESSAGES, "use another type"),
    (250, "TSIG", OF_MESSAGES, "use another type"),
    (251, "IXFR", OF_MESSAGES, "use another type"),
    (252, "AXFR", OF_MESSAGES, "use another type"),
    (253, "MAILB", OF_MESSAGES, "use another type"),
    (254, "MAILA", OF_MESSAGES, "use another type"),
    (255, "ANY", OF_MESSAGES, "use another type"),
    (32769, "DLV", "is obsolete (RFC 8749)", "use DS"),
];

/// Why no owner of a zone can have records of a type, and what to do instead.
pub(super) fn refusal(code: u16) -> Option<(&'static str, &'static str)> {
    let named = REFUSED.iter().find(|refused| refused.0 == code).map(|refused| (refused.2, refused.3));
    // RFC 6895, 3.1: 128 to 255 are for questions and messages, 0 and 65,535 for nothing.
    let numbered = matches!(code, 0 | 128..=255 | u16::MAX).then_some((OF_MESSAGES, "use another type"));
    named.or(numbered)
}

/// The name of a type that no owner of a zone can have.
pub(super) fn name_of_refused(code: u16) -> Option<&'static str> {
    REFUSED.iter().find(|refused| refused.0 == code).map(|refused| refused.1)
}

/// The number of a type that no owner of a zone can have.
pub(super) fn code_of_refused(name: &str) -> Option<u16> {
    REFUSED.iter().find(|refused| refused.1.eq_ignore_ascii_case(name)).map(|refused| refused.0)
}
