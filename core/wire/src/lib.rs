//! DNS messages on the wire (RFC 1035, 4), as far as everybody here reads them alike: the protocol's numbers, names
//! ([`name`]), where records are and what is in them ([`record`]), and what OPT records are made of ([`edns`]).
//!
//! ```text
//!  services/dns (answers), core/transfer (zones' other servers), core/resolver (other name servers)
//!        └───────────────────────────┴──────────────┬──────────────┘
//!                                        numbers, names, records
//! ```
//!
//! What a message means is for who reads it. Nothing here does I/O, and no octet from outside panics: what is cut off, points
//! forward or is too long is [`Malformed`].
//!
//! Limits: those of DNS itself.

macro_rules! numbers {
    ($($(#[$doc:meta])* $module:ident { $($name:ident = $number:expr,)* })*) => {$(
        $(#[$doc])*
        #[expect(missing_docs, reason = "they are named as the registry names them")]
        pub mod $module {
            $(pub const $name: u16 = $number;)*
        }
    )*};
}

pub mod edns;
pub mod name;
pub mod record;

/// Octets of the length before each message of a stream (RFC 1035, 4.2.2).
pub const LENGTH_OCTETS: usize = 2;
/// Octets of a message's header (RFC 1035, 4.1.1).
pub const HEADER_OCTETS: usize = 12;
/// Octets of the largest message: on a stream its length is written in 16 bits (RFC 1035, 4.2.2).
pub const MESSAGE_OCTETS_MAX: usize = 65_535;

/// A message that cannot be read: cut off, or not DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message cannot be read")]
pub struct Malformed;

numbers! {
    /// Types of records and questions that decide something here, by their names in the IANA registry.
    rtype {
        A = 1,
        NS = 2,
        CNAME = 5,
        SOA = 6,
        HINFO = 13,
        MX = 15,
        TXT = 16,
        AAAA = 28,
        SRV = 33,
        NAPTR = 35,
        DNAME = 39,
        OPT = 41,
        DS = 43,
        RRSIG = 46,
        NSEC = 47,
        DNSKEY = 48,
        NSEC3 = 50,
        NSEC3PARAM = 51,
        CDS = 59,
        CDNSKEY = 60,
        SVCB = 64,
        HTTPS = 65,
        NXNAME = 128,
        TKEY = 249,
        TSIG = 250,
        IXFR = 251,
        AXFR = 252,
        MAILB = 253,
        MAILA = 254,
        ANY = 255,
        CAA = 257,
    }

    /// Classes (RFC 1035, 3.2.4).
    class {
        IN = 1,
        CH = 3,
        ANY = 255,
    }

    /// Bits of the second 16 bits of the header; NOTIFY is an opcode in its place (RFC 1996).
    flag {
        QR = 1 << 15,
        OPCODE = 0b1111 << 11,
        NOTIFY = 4 << 11,
        AA = 1 << 10,
        TC = 1 << 9,
        RD = 1 << 8,
        RA = 1 << 7,
        AD = 1 << 5,
        CD = 1 << 4,
    }
}
