//! API tokens: what may be done, by whoever holds the secret.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{AccountId, BucketName, Entity, Jurisdiction, Key, Kind, Timestamp, TokenId, ZoneId};

/// What a policy allows. Names are the v4 API's permission groups, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// See zones and their settings.
    ZoneRead,
    /// Make, change and delete zones and their settings.
    ZoneEdit,
    /// See records.
    DnsRead,
    /// Make, change and delete records.
    DnsEdit,
    /// Purge the cache.
    CachePurge,
    /// See rulesets.
    RulesRead,
    /// Change rulesets.
    RulesEdit,
    /// Upload and delete certificates.
    SslEdit,
    /// See the account.
    AccountRead,
    /// Ask for a request to be traced.
    TraceRead,
    /// See an account's Workers.
    WorkersRead,
    /// Make, change and delete an account's Workers.
    WorkersEdit,
    /// See which URLs of a zone Workers answer.
    WorkerRoutesRead,
    /// Say which URLs of a zone Workers answer.
    WorkerRoutesEdit,
    /// Read an account's namespaces of keys and values, and what is in them.
    KvRead,
    /// Make, change and delete them, and what is in them.
    KvEdit,
    /// Read an account's buckets, and the objects in them.
    R2Read,
    /// Make, change and delete them, and the objects in them.
    R2Edit,
    /// Read and list the objects in buckets, and nothing of what is set of these.
    R2ItemRead,
    /// Read, list, write and delete the objects in buckets.
    R2ItemEdit,
    /// See an account's queues.
    QueuesRead,
    /// Make, change and delete them, send to them, and take messages from them.
    QueuesEdit,
    /// Everything, on what the policy covers.
    All,
}

impl Permission {
    /// Whether holding `self` allows what needs `wanted`: editing includes reading, and buckets include what is in them.
    pub fn allows(self, wanted: Self) -> bool {
        self == wanted
            || match self {
                Self::All => true,
                Self::ZoneEdit => wanted == Self::ZoneRead,
                Self::DnsEdit => wanted == Self::DnsRead,
                Self::RulesEdit => wanted == Self::RulesRead,
                Self::WorkersEdit => wanted == Self::WorkersRead,
                Self::WorkerRoutesEdit => wanted == Self::WorkerRoutesRead,
                Self::KvEdit => wanted == Self::KvRead,
                Self::R2Edit => matches!(wanted, Self::R2Read | Self::R2ItemRead | Self::R2ItemEdit),
                Self::R2Read | Self::R2ItemEdit => wanted == Self::R2ItemRead,
                Self::QueuesEdit => wanted == Self::QueuesRead,
                _ => false,
            }
    }
}

/// What a policy covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenScope {
    /// Every account of the network: the operator's.
    Everything,
    /// One account and all its zones.
    Account(AccountId),
    /// One zone.
    Zone(ZoneId),
    /// One bucket, or a later one of the same name.
    Bucket {
        /// Whose it is.
        account: AccountId,
        /// Where its objects must stay.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        jurisdiction: Option<Jurisdiction>,
        /// What it is called.
        name: BucketName,
    },
}

impl TokenScope {
    /// Whether it covers all of an account.
    pub fn covers_account(&self, account: AccountId) -> bool {
        match self {
            Self::Everything => true,
            Self::Account(held) => *held == account,
            Self::Zone(_) | Self::Bucket { .. } => false,
        }
    }

    /// Whether it covers a zone of this account.
    pub fn covers_zone(&self, account: AccountId, zone: ZoneId) -> bool {
        self.covers_account(account) || matches!(self, Self::Zone(held) if *held == zone)
    }

    /// Whether it covers a bucket of this account, or what would be one.
    pub fn covers_bucket(
        &self,
        account: AccountId,
        jurisdiction: Option<Jurisdiction>,
        name: &BucketName,
    ) -> bool {
        match self {
            Self::Bucket { account: of, jurisdiction: held, name: called } => {
                (*of, *held, called) == (account, jurisdiction, name)
            }
            _ => self.covers_account(account),
        }
    }
}

/// A grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenPolicy {
    /// On what.
    pub scope: TokenScope,
    /// To do what.
    pub permissions: Vec<Permission>,
}

impl TokenPolicy {
    /// Whether it allows this where it covers something.
    pub fn allows(&self, wanted: Permission) -> bool {
        self.permissions.iter().any(|held| held.allows(wanted))
    }
}

/// Whether a token may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenStatus {
    /// It may.
    Active,
    /// Its owner switched it off.
    Disabled,
}

/// A token: its rights and the hash of its secret; the secret itself is shown once and kept nowhere. What a client
/// sends is `ID_SECRET`, so that the token is found by its id and only then compared.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiToken {
    /// Its id.
    pub id: TokenId,
    /// What people call it.
    pub name: String,
    /// SHA-256 of the secret. The secret has 256 random bits, so no slow hash is needed.
    #[serde(with = "hex::serde")]
    pub secret_hash: [u8; 32],
    /// SHA-256 of the whole token as clients send it, `ID_SECRET`: with [`Self::id`] as access key, what S3 clients sign with as
    /// secret key. A key that opens what the token opens, so values of this kind are sealed at rest. A token that was made before
    /// S3 was offered has none, until it is rolled.
    #[serde(default, with = "option_hex", skip_serializing_if = "Option::is_none")]
    pub s3_secret: Option<[u8; 32]>,
    /// What it allows.
    pub policies: Vec<TokenPolicy>,
    /// Whether it may be used.
    pub status: TokenStatus,
    /// From when it may be used.
    pub not_before: Option<Timestamp>,
    /// Until when it may be used.
    pub expires_on: Option<Timestamp>,
    /// When it was made.
    pub issued_on: Timestamp,
}

impl ApiToken {
    /// Why it may not be used now, if so.
    pub fn unusable(&self, now: Timestamp) -> Option<&'static str> {
        if self.status == TokenStatus::Disabled {
            return Some("the token is disabled");
        }
        if self.not_before.is_some_and(|from| now < from) {
            return Some("the token is not valid yet (not_before)");
        }
        if self.expires_on.is_some_and(|until| now >= until) {
            return Some("the token has expired (expires_on)");
        }
        None
    }
}

/// As `hex::serde` writes it, if there is one.
mod option_hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        value: &Option<[u8; 32]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(octets) => hex::serde::serialize(octets, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<[u8; 32]>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let mut octets = [0; 32];
        hex::decode_to_slice(text, &mut octets).map_err(D::Error::custom)?;
        Ok(Some(octets))
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiToken").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Entity for ApiToken {
    const KIND: Kind = Kind::Token;
    type Id = TokenId;

    fn key(&self) -> Key {
        Self::key_of(&self.id)
    }

    fn key_of(id: &TokenId) -> Key {
        Key::new(Self::KIND, &[id])
    }
}
