//! What goes from the server that hands objects over to the one that takes them: for each step of which hand-over it is, in a field;
//! and batches of pieces of files, with what the registry has of the objects that are complete with them.
//!
//! ```text
//!  batch: octets of its head (32 bits) · head: JSON, Batch · the pieces' octets, one after another
//! ```

use bytes::{Buf as _, Bytes};
use proxima_model::{AccountId, DurableNamespaceId, NodeName};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::files::{OfObject, Registered, parts};

/// The path of all steps.
pub(in crate::durable) const HAND_OVER: &str = "/hand-over";
/// Octets of a piece, and of all pieces of a batch: what both servers have in memory of it.
pub(super) const PIECE_OCTETS_MAX: usize = 1 << 20;
pub(super) const BATCH_OCTETS_MAX: usize = 4 << 20;
/// Pieces of a batch: files are synced by batches.
pub(super) const PIECES_MAX: usize = 1_024;
/// Objects of a batch: with names of their own of a KiB, six of JSON, each.
pub(super) const OBJECTS_MAX: usize = 256;
/// Octets of all of it.
pub(super) const BODY_OCTETS_MAX: usize = BATCH_OCTETS_MAX + (4 << 20);

/// A step of a hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::durable) struct Asking {
    pub(in crate::durable) account: AccountId,
    pub(super) namespace: DurableNamespaceId,
    pub(super) slot: NodeName,
    pub(super) turn: u32,
    pub(super) step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Step {
    /// How far it is; unless all came, it begins anew.
    Begin,
    /// The body is the batch of this number.
    Batch(u32),
    /// There are so many, and all came.
    End(u32),
}

/// How far it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::durable) enum Standing {
    Lacking,
    /// All that its objects keep is on that server's disk.
    Whole,
    /// Its objects run there.
    Taken,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Batch {
    pub(super) pieces: Vec<Piece>,
    pub(super) objects: Vec<Object>,
    #[serde(skip)]
    pub(super) octets: Vec<u8>,
}

/// A piece of a file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) name: String,
    pub(super) offset: u64,
    pub(super) octets: usize,
    /// SHA-256 of them.
    digest: String,
}

/// An object all of whose pieces have come with this batch or former ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Object {
    #[serde(flatten)]
    pub(super) registered: Registered,
    pub(super) files: Vec<OfObject>,
}

impl Batch {
    /// Whether a piece more of this length is one too many.
    pub(super) fn is_full_for(&self, octets: usize) -> bool {
        self.pieces.len() >= PIECES_MAX
            || self.objects.len() >= OBJECTS_MAX
            || self.octets.len() + octets > BATCH_OCTETS_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.objects.is_empty()
    }

    pub(super) fn add(&mut self, name: String, offset: u64, octets: &[u8]) {
        self.pieces.push(Piece { name, offset, octets: octets.len(), digest: digest(octets) });
        self.octets.extend_from_slice(octets);
    }

    pub(super) fn encode(&self) -> Option<Bytes> {
        let head = serde_json::to_vec(self).ok()?;
        let length = u32::try_from(head.len()).ok()?.to_be_bytes();
        Some([&length, head.as_slice(), &self.octets].concat().into())
    }

    /// Reads a batch; `None` of one that did not come as it was sent, or whose names are not those of objects' files.
    pub(super) fn decode(mut body: Bytes) -> Option<Self> {
        let length = usize::try_from(body.try_get_u32().ok()?).ok()?;
        let head = (length <= body.len()).then(|| body.split_to(length))?;
        let batch: Self = serde_json::from_slice(&head).ok()?;
        let mut rest = body.as_ref();
        for piece in &batch.pieces {
            let (octets, others) = rest.split_at_checked(piece.octets)?;
            parts(&piece.name)?;
            (digest(octets) == piece.digest).then_some(())?;
            rest = others;
        }
        for Object { registered, files } in &batch.objects {
            let names = files.iter().map(|(rest, _)| format!("{}{rest}", registered.file));
            names.map(|name| parts(&name).map(drop)).collect::<Option<()>>()?;
        }
        rest.is_empty().then(|| Self { octets: body.to_vec(), ..batch })
    }
}

fn digest(octets: &[u8]) -> String {
    hex::encode(Sha256::digest(octets))
}

#[cfg(test)]
mod tests {
    use proxima_model::DurableObjectId;

    use super::*;

    fn batch() -> Batch {
        let file = "ab".repeat(32);
        let mut batch = Batch::default();
        batch.add(format!("{file}.sqlite"), 0, b"first");
        batch.add(format!("{file}.sqlite-wal"), 7, b"");
        batch.add(format!("{file}.1.sqlite"), 1 << 20, b"second");
        let alarm = Some(serde_json::json!({ "at": 5, "name": "zürich" }));
        let registered = Registered { id: DurableObjectId::from_bytes([7; 32]), file, alarm };
        batch.objects.push(Object { registered, files: vec![(".sqlite".to_owned(), 5)] });
        batch
    }

    #[test]
    fn batches_come_as_they_were_sent_or_not_at_all() {
        let sent = batch().encode().expect("it can be written");
        assert_eq!(Batch::decode(sent.clone()), Some(batch()));
        for octet in 0..sent.len() {
            let mut damaged = sent.to_vec();
            damaged[octet] ^= 0x10;
            assert_ne!(Batch::decode(damaged.into()), Some(batch()), "octet {octet}");
        }
        for length in 0..sent.len() {
            assert_eq!(Batch::decode(sent.slice(..length)), None, "{length} octets of it");
        }
        assert_eq!(Batch::decode([&sent, b"x".as_slice()].concat().into()), None);
        for name in ["../../x", "passwd"] {
            let mut evil = batch();
            evil.pieces[0].name = name.to_owned();
            assert_eq!(Batch::decode(evil.encode().expect("it can be written")), None);
        }
        let mut evil = batch();
        evil.objects[0].registered.file = format!("/{}", "a".repeat(63));
        assert_eq!(Batch::decode(evil.encode().expect("it can be written")), None);
    }

    #[test]
    fn a_batch_is_full_by_its_pieces_or_their_octets() {
        let mut batch = Batch { octets: vec![0; BATCH_OCTETS_MAX - 5], ..Batch::default() };
        assert!(!batch.is_full_for(5) && batch.is_full_for(6));
        batch.octets.clear();
        (0..PIECES_MAX).for_each(|_| batch.add(String::new(), 0, b""));
        assert!(batch.is_full_for(0));
    }
}
