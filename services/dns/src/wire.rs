//! The numbers of the protocol that only answers need; the others are those of all who speak it (`proxima_wire`).

pub(crate) use proxima_wire::{HEADER_OCTETS, LENGTH_OCTETS, MESSAGE_OCTETS_MAX, class, flag, rtype};

/// Octets of the largest message over UDP to who does not speak EDNS (RFC 1035, 4.2.1).
pub(crate) const UDP_OCTETS_CLASSIC: u16 = 512;

/// What an answer says of itself (RFC 1035, 4.1.1; RFC 6891, 9; RFC 8945, 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rcode {
    /// No error: the answer, or that there is no data of this type.
    NoError,
    /// The query is malformed.
    FormErr,
    /// The server failed.
    ServFail,
    /// The name does not exist.
    NxDomain,
    /// Not implemented.
    NotImp,
    /// Not answered here.
    Refused,
    /// The name to which the one that was asked for leads is too long (RFC 6672, 2.2).
    YxDomain,
    /// Signed, with a key that is not known here.
    NotAuth,
    /// An EDNS version that is not spoken here.
    BadVers,
    /// Without a good cookie of a server (RFC 7873, 5.2).
    BadCookie,
}

impl Rcode {
    /// All of them.
    pub(crate) const ALL: [Self; 10] = [
        Self::NoError,
        Self::FormErr,
        Self::ServFail,
        Self::NxDomain,
        Self::NotImp,
        Self::Refused,
        Self::YxDomain,
        Self::NotAuth,
        Self::BadVers,
        Self::BadCookie,
    ];

    /// Its number; above 15 the upper bits stand in the OPT record (RFC 6891, 6.1.3).
    pub const fn code(self) -> u16 {
        match self {
            Self::NoError => 0,
            Self::FormErr => 1,
            Self::ServFail => 2,
            Self::NxDomain => 3,
            Self::NotImp => 4,
            Self::Refused => 5,
            Self::YxDomain => 6,
            Self::NotAuth => 9,
            Self::BadVers => 16,
            Self::BadCookie => 23,
        }
    }

    /// Its mnemonic.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoError => "NOERROR",
            Self::FormErr => "FORMERR",
            Self::ServFail => "SERVFAIL",
            Self::NxDomain => "NXDOMAIN",
            Self::NotImp => "NOTIMP",
            Self::Refused => "REFUSED",
            Self::YxDomain => "YXDOMAIN",
            Self::NotAuth => "NOTAUTH",
            Self::BadVers => "BADVERS",
            Self::BadCookie => "BADCOOKIE",
        }
    }
}

/// Why an answer is an error, for people (RFC 8914).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExtendedError {
    /// The registered code.
    pub(crate) code: u16,
    /// What to know and to do; empty where the code says it all.
    pub(crate) text: &'static str,
}

impl ExtendedError {
    /// Not authoritative (code 20): no zone here has the name.
    pub(crate) const NOT_AUTHORITATIVE: Self = Self { code: 20, text: "" };
    /// Not supported (code 21): a transfer (RFC 5936, 4.2) by another way than TCP or TLS.
    pub(crate) const TRANSFER: Self = Self { code: 21, text: "zones are transferred over TCP and TLS" };
    /// Prohibited (code 18): a transfer to who is not listed as the zone's peer.
    pub(crate) const NO_PEER: Self = Self { code: 18, text: "not a peer of this zone, or not by its key" };
    /// Other (code 0): as many transfers as may be are under way.
    pub(crate) const TRANSFERS: Self = Self { code: 0, text: "too many transfers at a time; ask again" };
    /// Not supported (code 21): a class that nothing here is in.
    pub(crate) const CLASS: Self = Self { code: 21, text: "nothing of this class" };
    /// Not ready (code 14): the replica cannot be read.
    pub(crate) const NOT_READY: Self = Self { code: 14, text: "the zone's data cannot be read here now" };
    /// Not supported (code 21): an alias that has to be flattened leads out of the zones of this network, and nobody resolves
    /// for it here.
    pub(crate) const OUTSIDE: Self = Self {
        code: 21,
        text: "alias flattened here leads outside this network: proxy it, or give addresses",
    };
    /// Not ready (code 14): what an alias that has to be flattened leads to is being looked up.
    pub(crate) const SOUGHT: Self =
        Self { code: 14, text: "alias flattened here leads outside, where it is being looked up; ask again" };
    /// No reachable authority (code 22): what an alias that has to be flattened leads to cannot be looked up.
    pub(crate) const UNRESOLVED: Self =
        Self { code: 22, text: "alias flattened here leads outside to a name that does not resolve" };
    /// Stale answer (code 3): it could be looked up once.
    pub(crate) const STALE: Self =
        Self { code: 3, text: "alias flattened here leads outside to a name that does not resolve now" };
    /// Invalid data (code 24): an alias that has to be flattened leads to itself, or through too many others.
    pub(crate) const ENDLESS: Self = Self { code: 24, text: "alias does not end at an address" };
    /// Invalid query type (code 30): a type that only says in a denial that a name does not exist (RFC 9824, 3.5).
    pub(crate) const INVALID_TYPE: Self = Self { code: 30, text: "" };
    /// Other (code 0): the cryptographic library failed.
    pub(crate) const UNSIGNED: Self = Self { code: 0, text: "the answer could not be signed" };
    /// Invalid data (code 24): a secondary zone of which no primary was heard for too long, or ever.
    pub(crate) const EXPIRED: Self =
        Self { code: 24, text: "the zone has expired or has not come from its primary yet" };
    /// Invalid data (code 24): a record set that no message can carry.
    pub(crate) const TOO_LARGE: Self = Self { code: 24, text: "record set is larger than a DNS message" };
}
