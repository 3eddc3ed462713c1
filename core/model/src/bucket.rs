//! Buckets of objects: what they are called, and where they are. The objects themselves are no part of the log: `services/r2`
//! has them.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    AccountId, BucketTag, DnsName, Entity, Invalid, Key, Kind, NodeName, RecordId, Timestamp, ZoneId,
    excerpt, limits, name::text_name,
};

/// What a bucket is called: 3 to 63 lower-case letters, digits and hyphens, which neither begin nor end it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BucketName(String);

impl BucketName {
    /// Parses a bucket's name.
    ///
    /// # Errors
    /// What is not one.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let is_of_it = |octet: u8| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if !limits::BUCKET_NAME_OCTETS.contains(&text.len())
            || !text.bytes().all(is_of_it)
            || text.starts_with('-')
            || text.ends_with('-')
        {
            return Err(Invalid::new(
                "bucket_name",
                format!("{} is not a bucket's name", excerpt(text)),
                "give 3 to 63 lower-case letters, digits and hyphens, neither beginning nor ending with a hyphen",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_name!(BucketName);

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $field:literal, $remedy:literal { $($(#[$of:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum $name {
            $($(#[$of])* $variant,)*
        }

        impl $name {
            /// Parses the word for it.
            ///
            /// # Errors
            /// What is none.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(Invalid::new($field, format!("{} is not known", excerpt(text)), $remedy)),
                }
            }

            /// The word for it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.as_str().to_owned()
            }
        }
    };
}

words! {
    /// Where the owner of a bucket would like it to be.
    LocationHint, "locationHint", "give apac, eeur, enam, oc, weur or wnam" {
        /// Asia and the Pacific.
        AsiaPacific = "apac",
        /// Eastern Europe.
        EasternEurope = "eeur",
        /// Eastern North America.
        EasternNorthAmerica = "enam",
        /// Oceania.
        Oceania = "oc",
        /// Western Europe.
        WesternEurope = "weur",
        /// Western North America.
        WesternNorthAmerica = "wnam",
    }
}

words! {
    /// Where the objects of a bucket must stay.
    Jurisdiction, "jurisdiction", "give eu or fedramp, or nothing" {
        /// The European Union.
        EuropeanUnion = "eu",
        /// What the United States' programme covers.
        Fedramp = "fedramp",
    }
}

words! {
    /// How an object is kept by default.
    StorageClass, "storageClass", "give Standard or InfrequentAccess" {
        /// To be read at any time.
        Standard = "Standard",
        /// To be read rarely. Kept no differently here; the word is kept.
        InfrequentAccess = "InfrequentAccess",
    }
}

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Whose it is.
    pub account: AccountId,
    /// What it is called.
    pub name: BucketName,
    /// Tells it from an earlier bucket of the same name: what its objects lie under.
    pub tag: BucketTag,
    /// When it was made.
    pub created_at: Timestamp,
    /// The server that decides what is in it: all that is read and written of it is asked there.
    pub home: NodeName,
    /// Where its owner would like it to be.
    #[serde(default)]
    pub location: Option<LocationHint>,
    /// Where its objects must stay.
    #[serde(default)]
    pub jurisdiction: Option<Jurisdiction>,
    /// How objects are kept of which nothing else is said.
    pub storage_class: StorageClass,
    /// Who may ask from other sites, as [`R2`'s API](https://developers.cloudflare.com/r2/) writes it; nothing: nobody.
    #[serde(default)]
    pub cors: Option<serde_json::Value>,
    /// What is deleted by itself, as that API writes it; nothing: aborted uploads, after seven days.
    #[serde(default)]
    pub lifecycle: Option<serde_json::Value>,
    /// Which queues are told of what happens to its objects, as that API writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notifications: Option<serde_json::Value>,
    /// Where everybody may read its objects; at most [`limits::BUCKET_DOMAINS_MAX`]. Those of a zone that was deleted may still
    /// be named.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub domains: BTreeSet<(ZoneId, DnsName)>,
}

impl Entity for Bucket {
    const KIND: Kind = Kind::Bucket;
    type Id = (AccountId, BucketName);

    fn key(&self) -> Key {
        Key::new(Self::KIND, &[&self.account, &self.name])
    }

    fn key_of((account, name): &Self::Id) -> Key {
        Key::new(Self::KIND, &[account, name])
    }
}

/// A host at which everybody may read a bucket's objects, as its zone has it: what makes the host unique, and what a request's
/// host is looked up in. It is put and deleted with [`Bucket::domains`], and with the DNS record that leads its clients here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketDomain {
    /// The zone in which the host lies.
    pub zone: ZoneId,
    /// The host: a name without `*` and `/`.
    pub hostname: DnsName,
    /// Whose the bucket is.
    pub account: AccountId,
    /// The bucket.
    pub bucket: BucketName,
    /// Tells it from an earlier bucket of the same name.
    pub tag: BucketTag,
    /// Whether it is asked; else the host answers that there is nothing.
    pub is_enabled: bool,
    /// The record of the host: proxied, and leading nowhere. It is changed by nobody else.
    pub record: RecordId,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Entity for BucketDomain {
    const KIND: Kind = Kind::BucketDomain;
    type Id = (ZoneId, DnsName);

    fn key(&self) -> Key {
        Key::new(Self::KIND, &[&self.zone, &self.hostname])
    }

    fn key_of((zone, hostname): &Self::Id) -> Key {
        Key::new(Self::KIND, &[zone, hostname])
    }
}

/// How many buckets an account has. Written with each of them that is made or deleted, so that two writers of one account never
/// count at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketUsage {
    /// Whose.
    pub account: AccountId,
    /// How many; at most [`limits::BUCKETS_PER_ACCOUNT_MAX`].
    pub buckets: usize,
}

impl Entity for BucketUsage {
    const KIND: Kind = Kind::BucketUsage;
    type Id = AccountId;

    fn key(&self) -> Key {
        Self::key_of(&self.account)
    }

    fn key_of(account: &AccountId) -> Key {
        Key::new(Self::KIND, &[account])
    }
}
