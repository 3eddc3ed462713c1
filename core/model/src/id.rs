//! Typed ids: sixteen bytes, written as 32 lower-case hexadecimal digits, as the v4 API writes them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Invalid, excerpt};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The id made of these bytes; callers draw them at random (128 bits).
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The sixteen bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0; 32];
                hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
                f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                let mut bytes = [0; 16];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| {
                    Invalid::new("id", format!("{} is not an identifier", excerpt(text)), "give 32 hexadecimal digits")
                })?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// An account: the owner of zones and tokens.
    AccountId,
    /// A zone.
    ZoneId,
    /// A DNS record.
    RecordId,
    /// An API token (not its secret).
    TokenId,
    /// A ruleset of a zone.
    RulesetId,
    /// A rule within a ruleset.
    RuleId,
    /// A certificate served at the edge.
    CertificateId,
    /// An authority of client certificates.
    ClientAuthorityId,
    /// A purge of the cache.
    PurgeId,
    /// A TLS session ticket key.
    TicketKeyId,
    /// A key of transactions with a peer.
    TsigKeyId,
    /// A range of addresses of an account's peers.
    TransferAclId,
    /// A peer: another server of an account's zones.
    TransferPeerId,
    /// A Worker, however it is called.
    WorkerTag,
    /// A route to a Worker.
    WorkerRouteId,
    /// A custom domain of a Worker.
    WorkerDomainId,
    /// A namespace of keys and values.
    KvNamespaceId,
    /// A bucket, however it is called.
    BucketTag,
    /// A queue.
    QueueId,
    /// Who takes the messages of a queue.
    QueueConsumerId,
    /// A namespace of Durable Objects: those of one class.
    DurableNamespaceId,
}
