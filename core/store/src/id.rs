//! Which store it is.

use heed::{Env, WithoutTls};
use serde::{Deserialize, Serialize};

use crate::Db;

/// Where it stands.
const KEY: &[u8] = b"id";

/// The name of a store, drawn when it was made: tells it from another one that takes its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreId([u8; 16]);

impl StoreId {
    /// The one of these octets.
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// The octets.
    pub const fn as_octets(&self) -> &[u8; 16] {
        &self.0
    }

    /// That of an environment, which stands in `meta`; drawn now, if there is none yet. `None`: what stands there is none.
    ///
    /// # Errors
    /// What LMDB says.
    pub fn settle(env: &Env<WithoutTls>, meta: Db) -> heed::Result<Option<Self>> {
        let mut txn = env.write_txn()?;
        if let Some(id) = meta.get(&txn, KEY)? {
            return Ok(id.try_into().ok().map(Self));
        }
        let id = Self(proxima_chassis::random_id());
        meta.put(&mut txn, KEY, &id.0)?;
        txn.commit()?;
        Ok(Some(id))
    }
}
