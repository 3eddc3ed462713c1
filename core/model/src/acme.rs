//! What is remembered of an ACME certificate authority (RFC 8555): the network's account there, and how each zone's order
//! goes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{DnsName, Entity, Key, Kind, Timestamp, ZoneId, ZoneName};

/// The label under which an authority looks for the answers to its challenges (RFC 8555, 8.4).
const CHALLENGE_LABEL: &str = "_acme-challenge";

/// Which kind of key a certificate is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyAlgorithm {
    /// ECDSA on P-256: small and fast, and every client of today takes it.
    #[default]
    Ecdsa,
    /// RSA with 2,048 bits, for clients that take nothing else.
    Rsa,
}

/// The network's account at a certificate authority.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeAccount {
    /// The directory of the authority.
    pub directory: String,
    /// The account's URL and its private key, as the ACME client writes them.
    pub credentials: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl fmt::Debug for AcmeAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcmeAccount").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Entity for AcmeAccount {
    const KIND: Kind = Kind::AcmeAccount;
    type Id = ();

    fn key(&self) -> Key {
        Self::key_of(&())
    }

    fn key_of((): &()) -> Key {
        Key::new(Self::KIND, &[])
    }
}

/// How far an order has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AcmeStage {
    /// None is under way.
    #[default]
    Idle,
    /// It has been begun; the authority has still to see that the zone is ours.
    Validating,
    /// The authority has seen that, and is to sign.
    Issuing,
}

/// Why an order failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeFailure {
    /// When.
    pub at: Timestamp,
    /// In words for the zone's owner: the authority's own, where it had some.
    pub message: String,
}

/// A zone's order at the certificate authority: there is one while it is under way and after it failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcmeOrder {
    /// Whose it is.
    pub zone: ZoneId,
    /// How far it has come.
    pub stage: AcmeStage,
    /// The texts that every server answers at [`Self::challenge_name`], beside the owner's own.
    #[serde(default)]
    pub challenges: Vec<String>,
    /// When the last one was begun.
    pub begun_at: Option<Timestamp>,
    /// How many in a row failed by the zone's fault.
    pub failures: u32,
    /// Why the last one failed.
    pub failure: Option<AcmeFailure>,
    /// Before when none is begun.
    pub next_at: Option<Timestamp>,
}

impl AcmeOrder {
    /// Of a zone for which nothing has been done.
    pub const fn new(zone: ZoneId) -> Self {
        Self {
            zone,
            stage: AcmeStage::Idle,
            challenges: Vec::new(),
            begun_at: None,
            failures: 0,
            failure: None,
            next_at: None,
        }
    }

    /// The name at which an authority asks for the texts; `None` if the zone's name leaves no room for it.
    pub fn challenge_name(zone: &ZoneName) -> Option<DnsName> {
        DnsName::parse(&format!("{CHALLENGE_LABEL}.{zone}")).ok()
    }
}

impl Entity for AcmeOrder {
    const KIND: Kind = Kind::AcmeOrder;
    type Id = ZoneId;

    fn key(&self) -> Key {
        Self::key_of(&self.zone)
    }

    fn key_of(zone: &ZoneId) -> Key {
        Key::new(Self::KIND, &[zone])
    }
}
