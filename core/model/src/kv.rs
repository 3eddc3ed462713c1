//! Keys and values: what their namespaces are, and what a key is. The values themselves are no part of the log: `services/kv`
//! has them.

use serde::{Deserialize, Serialize};

use crate::{AccountId, Entity, Invalid, Key, Kind, KvNamespaceId, Timestamp, excerpt, limits};

/// A namespace of keys and values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvNamespace {
    /// Whose it is.
    pub account: AccountId,
    /// Its id: what its values lie under. Never given twice, so that nothing of a former namespace shows in another one.
    pub id: KvNamespaceId,
    /// What people call it: 1 to [`limits::KV_TITLE_OCTETS_MAX`] octets, one of its account.
    pub title: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl KvNamespace {
    /// Checks what people want to call a namespace.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_title(title: &str) -> Result<(), Invalid> {
        if (1..=limits::KV_TITLE_OCTETS_MAX).contains(&title.len()) && !title.chars().any(char::is_control) {
            return Ok(());
        }
        Err(Invalid::new(
            "title",
            format!("{} is not a title", excerpt(title)),
            "give 1 to 512 octets without control characters",
        ))
    }
}

impl Entity for KvNamespace {
    const KIND: Kind = Kind::KvNamespace;
    type Id = (AccountId, KvNamespaceId);

    fn key(&self) -> Key {
        Self::key_of(&(self.account, self.id))
    }

    fn key_of((account, id): &Self::Id) -> Key {
        Key::new(Self::KIND, &[account, id])
    }
}

/// How many namespaces an account has. Written with each of them that is made, renamed or deleted, so that two writers of one
/// account never count, nor take one title, at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvUsage {
    /// Whose.
    pub account: AccountId,
    /// How many; at most [`limits::KV_NAMESPACES_PER_ACCOUNT_MAX`].
    pub namespaces: usize,
}

impl Entity for KvUsage {
    const KIND: Kind = Kind::KvUsage;
    type Id = AccountId;

    fn key(&self) -> Key {
        Self::key_of(&self.account)
    }

    fn key_of(account: &AccountId) -> Key {
        Key::new(Self::KIND, &[account])
    }
}

/// A key: 1 to [`limits::KV_KEY_OCTETS_MAX`] octets of UTF-8, neither `.` nor `..`, which URLs cannot say. Keys are ordered by
/// their octets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KvKey(Box<str>);

impl KvKey {
    /// Parses a key.
    ///
    /// # Errors
    /// What is not one.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let refuse = |problem: String, remedy: &'static str| Err(Invalid::new("key", problem, remedy));
        match text {
            "" => refuse("a key is empty".to_owned(), "give one of 1 to 512 octets"),
            "." | ".." => refuse(format!("{text} cannot be a key"), "give another one"),
            _ if text.len() > limits::KV_KEY_OCTETS_MAX => refuse(
                format!("a key has {} octets ({})", text.len(), excerpt(text)),
                "give one of 1 to 512 octets",
            ),
            _ => Ok(Self(text.into())),
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for KvKey {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<KvKey> for String {
    fn from(KvKey(text): KvKey) -> Self {
        text.into()
    }
}
