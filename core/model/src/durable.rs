//! Durable Objects: which classes of which Workers there are objects of. What the objects keep is no part of the log:
//! `services/workers` has it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    AccountId, DurableNamespaceId, Entity, Invalid, Key, Kind, NodeName, Timestamp, WorkerName, excerpt,
    limits, name::text_name,
};

/// What a class of Durable Objects is called: what a Worker exports it as, an identifier of JavaScript.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DurableClass(String);

impl DurableClass {
    /// Parses a class's name.
    ///
    /// # Errors
    /// What code could not export.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let is_of_it = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '$');
        if !(1..=limits::DURABLE_CLASS_OCTETS_MAX).contains(&text.len())
            || !text.chars().all(is_of_it)
            || text.starts_with(char::is_numeric)
        {
            return Err(Invalid::new(
                "class_name",
                format!("{} is not a class's name", excerpt(text)),
                "give what the Worker exports it as: at most 255 octets of letters, digits, _ and $",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_name!(DurableClass);

/// Objects of one class of one Worker. A migration makes, renames, moves or deletes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurableNamespace {
    /// Whose it is.
    pub account: AccountId,
    /// Its id: what its objects lie under. Never given twice.
    pub id: DurableNamespaceId,
    /// The Worker whose code the objects run.
    pub worker: WorkerName,
    /// Their class in it: no other namespace has the same of both.
    pub class: DurableClass,
    /// Whether the objects were made with SQLite (`new_sqlite_classes`); the others keep keys and values alone.
    pub has_sql: bool,
    /// The servers that its objects are spread over, as the network was when it was made: at least one, and at most
    /// [`limits::DURABLE_HOMES_MAX`]. What an object keeps lies on one of them, so that no server that comes or goes later changes
    /// where an object is.
    pub homes: Vec<NodeName>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Entity for DurableNamespace {
    const KIND: Kind = Kind::DurableNamespace;
    type Id = (AccountId, DurableNamespaceId);

    fn key(&self) -> Key {
        Self::key_of(&(self.account, self.id))
    }

    fn key_of((account, id): &Self::Id) -> Key {
        Key::new(Self::KIND, &[account, id])
    }
}

/// How many namespaces of Durable Objects an account has. Written with each of them that is made, changed or deleted, so that
/// two writers of one account never count, nor take one class, at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurableUsage {
    /// Whose.
    pub account: AccountId,
    /// How many; at most [`limits::DURABLE_NAMESPACES_PER_ACCOUNT_MAX`].
    pub namespaces: usize,
}

impl Entity for DurableUsage {
    const KIND: Kind = Kind::DurableUsage;
    type Id = AccountId;

    fn key(&self) -> Key {
        Self::key_of(&self.account)
    }

    fn key_of(account: &AccountId) -> Key {
        Key::new(Self::KIND, &[account])
    }
}

/// Which object of a namespace: 32 octets, written as 64 hexadecimal digits, as Workers write them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DurableObjectId([u8; 32]);

impl DurableObjectId {
    /// The id of these octets.
    pub const fn from_bytes(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// The octets.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for DurableObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 64];
        hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for DurableObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableObjectId({self})")
    }
}

impl FromStr for DurableObjectId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut octets = [0; 32];
        hex::decode_to_slice(text, &mut octets).map_err(|_| {
            let problem = format!("{} is not a Durable Object's id", excerpt(text));
            Invalid::new("id", problem, "give 64 hexadecimal digits")
        })?;
        Ok(Self(octets))
    }
}

impl Serialize for DurableObjectId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DurableObjectId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
