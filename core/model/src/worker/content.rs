//! What Workers are made of: the octets of their modules and assets, and their secrets.

use std::{collections::BTreeMap, fmt, str::FromStr};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{BindingName, ContentRef, WorkerName, WorkerVersionId};
use crate::{AccountId, Entity, Invalid, Key, Kind, excerpt, limits};

/// SHA-256 of a content's octets, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The hash that was computed.
    pub const fn from_bytes(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The 32 octets.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

impl FromStr for ContentHash {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut digest = [0; 32];
        hex::decode_to_slice(text, &mut digest).map_err(|_| {
            Invalid::new("hash", format!("{} is not a SHA-256", excerpt(text)), "give 64 hexadecimal digits")
        })?;
        Ok(Self(digest))
    }
}

impl TryFrom<String> for ContentHash {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<ContentHash> for String {
    fn from(hash: ContentHash) -> Self {
        hash.to_string()
    }
}

/// A piece of a content: what of it fits into one value of the log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerContent {
    /// Whose it is.
    pub account: AccountId,
    /// The hash of the whole content.
    pub hash: ContentHash,
    /// Which piece, from 0.
    pub piece: u16,
    /// Its octets: [`limits::WORKER_PIECE_OCTETS`] of every piece but the last.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub octets: Vec<u8>,
}

impl WorkerContent {
    /// A content in pieces, of which even an empty one has one.
    pub fn pieces(account: AccountId, hash: ContentHash, octets: &[u8]) -> impl Iterator<Item = Self> {
        (0..Self::count(octets.len())).map(move |piece| {
            let rest = &octets[usize::from(piece) * limits::WORKER_PIECE_OCTETS..];
            let octets = rest[..rest.len().min(limits::WORKER_PIECE_OCTETS)].to_vec();
            Self { account, hash, piece, octets }
        })
    }

    /// A content, of its pieces in their order; nothing, if it is not whole.
    ///
    /// # Errors
    /// What reading a piece fails with.
    pub fn join<E>(
        content: ContentRef,
        pieces: impl Iterator<Item = Result<Self, E>>,
    ) -> Result<Option<Vec<u8>>, E> {
        let mut octets = Vec::with_capacity(content.octets as usize);
        for piece in pieces {
            octets.extend_from_slice(&piece?.octets);
        }
        Ok((octets.len() == content.octets as usize).then_some(octets))
    }

    /// How many pieces a content of so many octets has.
    pub fn count(octets: usize) -> u16 {
        u16::try_from(octets.div_ceil(limits::WORKER_PIECE_OCTETS).max(1))
            .expect("an upload is bounded far below so many pieces")
    }
}

/// Code is not shown: it is its owner's, and large.
impl fmt::Debug for WorkerContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkerContent({}, piece {}, {} octets)", self.hash, self.piece, self.octets.len())
    }
}

impl Entity for WorkerContent {
    const KIND: Kind = Kind::WorkerContent;
    type Id = (AccountId, ContentHash, u16);

    fn key(&self) -> Key {
        Self::key_of(&(self.account, self.hash, self.piece))
    }

    /// Pieces have as many digits each, so that they are scanned in their order.
    fn key_of((account, hash, piece): &Self::Id) -> Key {
        Key::new(Self::KIND, &[account, hash, &format_args!("{piece:05}")])
    }
}

/// How many versions, assets and sessions of uploads name a content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerContentUse {
    /// Whose it is.
    pub account: AccountId,
    /// The content.
    pub hash: ContentHash,
    /// How many octets it has.
    pub octets: u32,
    /// The versions of any Worker of the account, its assets and sessions; never none.
    pub versions: u32,
}

impl Entity for WorkerContentUse {
    const KIND: Kind = Kind::WorkerContentUse;
    type Id = (AccountId, ContentHash);

    fn key(&self) -> Key {
        Self::key_of(&(self.account, self.hash))
    }

    fn key_of((account, hash): &Self::Id) -> Key {
        Key::new(Self::KIND, &[account, hash])
    }
}

/// What the Workers of an account take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerUsage {
    /// Whose they are.
    pub account: AccountId,
    /// Octets of contents, each counted once.
    pub octets: u64,
    /// Whether a version that had assets went since they were last swept.
    #[serde(default)]
    pub assets_unnamed: bool,
}

impl Entity for WorkerUsage {
    const KIND: Kind = Kind::WorkerUsage;
    type Id = AccountId;

    fn key(&self) -> Key {
        Self::key_of(&self.account)
    }

    fn key_of(account: &AccountId) -> Key {
        Key::new(Self::KIND, &[account])
    }
}

/// The secrets of a version: what its bindings [`BindingValue::SecretText`](super::BindingValue::SecretText) give to the code.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSecrets {
    /// Whose the Worker is.
    pub account: AccountId,
    /// The Worker.
    pub worker: WorkerName,
    /// The version.
    pub version: WorkerVersionId,
    /// The texts, by the names of their bindings.
    pub texts: BTreeMap<BindingName, String>,
}

impl fmt::Debug for WorkerSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerSecrets")
            .field("worker", &self.worker)
            .field("version", &self.version)
            .field("names", &self.texts.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Entity for WorkerSecrets {
    const KIND: Kind = Kind::WorkerSecrets;
    type Id = (AccountId, WorkerName, WorkerVersionId);

    fn key(&self) -> Key {
        Key::new(Self::KIND, &[&self.account, &self.worker, &self.version])
    }

    fn key_of((account, worker, version): &Self::Id) -> Key {
        Key::new(Self::KIND, &[account, worker, version])
    }
}

fn to_base64<S: Serializer>(octets: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(octets))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
    BASE64_STANDARD.decode(text.as_bytes()).map_err(de::Error::custom)
}
