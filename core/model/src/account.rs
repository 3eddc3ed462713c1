//! Accounts.

use serde::{Deserialize, Serialize};

use crate::{AccountId, Entity, Key, Kind, Timestamp};

/// The owner of zones and tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// What people call it.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Entity for Account {
    const KIND: Kind = Kind::Account;
    type Id = AccountId;

    fn key(&self) -> Key {
        Self::key_of(&self.id)
    }

    fn key_of(id: &AccountId) -> Key {
        Key::new(Self::KIND, &[id])
    }
}
