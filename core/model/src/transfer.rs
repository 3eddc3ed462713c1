//! Zone transfers: who a zone's other servers are, by which keys they are known, and what goes to them.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    AccountId, DnsName, Entity, Invalid, Key, Kind, Timestamp, TransferAclId, TransferPeerId, TsigKeyId,
    ZoneId, excerpt, limits,
};

/// With what a transaction is signed (RFC 8945, 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TsigAlgorithm {
    /// For peers that know nothing better.
    HmacSha1,
    /// What every peer knows.
    HmacSha256,
    /// Of SHA-2 with 384 bits.
    HmacSha384,
    /// Of SHA-2 with 512 bits.
    HmacSha512,
}

impl TsigAlgorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::HmacSha1, Self::HmacSha256, Self::HmacSha384, Self::HmacSha512];

    /// Its name on the wire and in the API, without the last dot.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HmacSha1 => "hmac-sha1",
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }

    /// The one of this name, in any case, with or without the last dot.
    ///
    /// # Errors
    /// There is none.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            Invalid::new(
                "algo",
                format!("{} is not an algorithm that is known here", excerpt(text)),
                "give hmac-sha256., hmac-sha384., hmac-sha512. or, for old peers, hmac-sha1.",
            )
        })
    }
}

/// A key that a peer and an account's zones have in common.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TsigKey {
    /// Its id.
    pub id: TsigKeyId,
    /// Whose it is.
    pub account: AccountId,
    /// What both sides call it.
    pub name: DnsName,
    /// With what is signed.
    pub algorithm: TsigAlgorithm,
    /// The secret.
    #[serde(with = "hex::serde")]
    pub secret: Vec<u8>,
    /// When it was put.
    pub modified_at: Timestamp,
}

impl TsigKey {
    /// Checks a secret.
    ///
    /// # Errors
    /// It is too short to be one, or too long.
    pub fn check_secret(secret: &[u8]) -> Result<(), Invalid> {
        if (limits::TSIG_SECRET_OCTETS_MIN..=limits::TSIG_SECRET_OCTETS_MAX).contains(&secret.len()) {
            return Ok(());
        }
        Err(Invalid::new(
            "secret",
            format!("the secret has {} octets", secret.len()),
            "give 8 to 128 octets in base 64, such as `tsig-keygen` draws",
        ))
    }
}

/// Without the secret.
impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TsigKey").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Addresses from which an account's zones are asked for, or told of changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferAcl {
    /// Its id.
    pub id: TransferAclId,
    /// Whose it is.
    pub account: AccountId,
    /// What its owner calls it.
    pub name: String,
    /// The addresses.
    pub range: IpNet,
    /// When it was put.
    pub modified_at: Timestamp,
}

impl TransferAcl {
    /// Checks that it is not half of the internet.
    ///
    /// # Errors
    /// It is wider than an account can have good reason for.
    pub fn check_range(range: IpNet) -> Result<(), Invalid> {
        let shortest = match range {
            IpNet::V4(_) => limits::TRANSFER_ACL_PREFIX_V4_MIN,
            IpNet::V6(_) => limits::TRANSFER_ACL_PREFIX_V6_MIN,
        };
        if range.prefix_len() >= shortest {
            return Ok(());
        }
        Err(Invalid::new(
            "ip_range",
            format!("{range} is wider than /{shortest}"),
            "give an IPv4 range of /24 or an IPv6 range of /64 at the widest",
        ))
    }
}

/// Another server of an account's zones: one that has them from here, or from which they come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferPeer {
    /// Its id.
    pub id: TransferPeerId,
    /// Whose it is.
    pub account: AccountId,
    /// What its owner calls it.
    pub name: String,
    /// Where it is: told of changes, asked for zones, and let transfer them.
    pub address: Option<IpAddr>,
    /// Its port.
    pub port: u16,
    /// Whether it is asked for differences (RFC 1995) before it is asked for everything.
    pub ixfr: bool,
    /// The key by which both sides know each other.
    pub tsig: Option<TsigKeyId>,
    /// When it was put.
    pub modified_at: Timestamp,
}

impl TransferPeer {
    /// Where it is, with its port.
    pub fn socket(&self) -> Option<SocketAddr> {
        self.address.map(|address| SocketAddr::new(address, self.port))
    }
}

/// To whom a zone is transferred. A zone without one is transferred to nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutgoingTransfers {
    /// The zone.
    pub zone: ZoneId,
    /// Its other servers.
    pub peers: Vec<TransferPeerId>,
    /// Whether they are served and told of changes.
    pub enabled: bool,
    /// When they were first put.
    pub created_at: Timestamp,
    /// When they were last put.
    pub modified_at: Timestamp,
    /// When its owner last asked that the peers be told, changed or not.
    #[serde(default)]
    pub forced_at: Option<Timestamp>,
}

/// What a zone's peers were told of it (RFC 1996).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferNotices {
    /// The zone.
    pub zone: ZoneId,
    /// The last of each peer.
    pub peers: Vec<PeerNotice>,
}

/// What one peer was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerNotice {
    /// The peer.
    pub peer: TransferPeerId,
    /// The serial that the zone had.
    pub serial: u32,
    /// When it answered, or was given up.
    pub at: Timestamp,
    /// What the zone's owner had asked for by then ([`OutgoingTransfers::forced_at`]).
    #[serde(default)]
    pub forced_at: Option<Timestamp>,
    /// Why it was given up.
    pub failure: Option<String>,
}

impl Entity for TransferNotices {
    const KIND: Kind = Kind::TransferNotices;
    type Id = ZoneId;

    fn key(&self) -> Key {
        Self::key_of(&self.zone)
    }

    fn key_of(zone: &ZoneId) -> Key {
        Key::new(Self::KIND, &[zone])
    }
}

impl Entity for TsigKey {
    const KIND: Kind = Kind::Tsig;
    type Id = (AccountId, TsigKeyId);

    fn key(&self) -> Key {
        Self::key_of(&(self.account, self.id))
    }

    fn key_of((account, id): &(AccountId, TsigKeyId)) -> Key {
        Key::new(Self::KIND, &[account, id])
    }
}

impl Entity for TransferAcl {
    const KIND: Kind = Kind::TransferAcl;
    type Id = (AccountId, TransferAclId);

    fn key(&self) -> Key {
        Self::key_of(&(self.account, self.id))
    }

    fn key_of((account, id): &(AccountId, TransferAclId)) -> Key {
        Key::new(Self::KIND, &[account, id])
    }
}

impl Entity for TransferPeer {
    const KIND: Kind = Kind::TransferPeer;
    type Id = (AccountId, TransferPeerId);

    fn key(&self) -> Key {
        Self::key_of(&(self.account, self.id))
    }

    fn key_of((account, id): &(AccountId, TransferPeerId)) -> Key {
        Key::new(Self::KIND, &[account, id])
    }
}

impl Entity for OutgoingTransfers {
    const KIND: Kind = Kind::TransferOut;
    type Id = ZoneId;

    fn key(&self) -> Key {
        Self::key_of(&self.zone)
    }

    fn key_of(zone: &ZoneId) -> Key {
        Key::new(Self::KIND, &[zone])
    }
}
