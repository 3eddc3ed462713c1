//! How entries lie in the store and travel between peers: a pure, bounded encoding. Integers are big-endian, octet
//! strings carry their length before them, and decoding never trusts either.
//!
//! Encoding is canonical: an entry has one form, so that the chain of digests ([`Digest`]) is the same everywhere.

use proxima_model::{Key, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::{
    Append, Change, Entry, Fingerprint, IdempotencyKey, Precondition, Seq,
    limits::{
        APPEND_OCTETS_MAX, CHANGES_PER_APPEND_MAX, KEY_OCTETS_MAX, NAME_OCTETS_MAX,
        PRECONDITIONS_PER_APPEND_MAX, VALUE_OCTETS_MAX,
    },
};

/// The digest of a log up to an entry: SHA-256 over the digest before it and its encoding. Two logs that agree in it
/// agree in every entry so far.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest(pub(crate) [u8; 32]);

impl Digest {
    /// The digest after the entry of this encoding.
    pub(crate) fn chain(self, entry: &[u8]) -> Self {
        Self(Sha256::new().chain_update(self.0).chain_update(entry).finalize().into())
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(&self.0[..8]))
    }
}

/// What was read is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It ends too early.
    #[error("it ends too early")]
    Short,
    /// It goes on after its end.
    #[error("it goes on after its end")]
    Trailing,
    /// Something is longer than it may be.
    #[error("{0} is longer than allowed")]
    Long(&'static str),
    /// A tag has no meaning.
    #[error("{0} has an unknown tag")]
    Tag(&'static str),
    /// A text is not UTF-8.
    #[error("{0} is not UTF-8")]
    Text(&'static str),
    /// A key is none.
    #[error("a key is not one")]
    Key,
}

/// Reads an encoding from its beginning.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[octet]| octet)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn seq(&mut self) -> Result<Seq, DecodeError> {
        self.u64().map(Seq)
    }

    /// A count of things, each of which takes an octet at least: no more is promised than can be there.
    pub(crate) fn count(&mut self, what: &'static str, max: usize) -> Result<usize, DecodeError> {
        let count = self.u32()? as usize;
        if count > max {
            return Err(DecodeError::Long(what));
        }
        if count > self.0.len() {
            return Err(DecodeError::Short);
        }
        Ok(count)
    }

    pub(crate) fn octets(&mut self, what: &'static str, max: usize) -> Result<&'a [u8], DecodeError> {
        let length = self.u32()? as usize;
        if length > max { Err(DecodeError::Long(what)) } else { self.take(length) }
    }

    pub(crate) fn text(&mut self, what: &'static str, max: usize) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.octets(what, max)?).map_err(|_| DecodeError::Text(what))
    }

    pub(crate) fn key(&mut self) -> Result<Key, DecodeError> {
        let text = self.text("a key", KEY_OCTETS_MAX)?;
        if text.is_empty() {
            return Err(DecodeError::Key);
        }
        Ok(any_key(text))
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) const fn end(self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }
}

/// A key, also of a kind that this version does not know: during an upgrade the newer nodes' nouns pass through the
/// older ones unharmed.
pub(crate) fn any_key(text: &str) -> Key {
    use serde::Deserialize as _;
    Key::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(text))
        .expect("a key is a text and deserialises from any")
}

/// Writes an encoding.
pub(crate) trait Write {
    fn put_u8(&mut self, value: u8);
    fn put_u32(&mut self, value: u32);
    fn put_u64(&mut self, value: u64);
    fn put_octets(&mut self, octets: &[u8]);
    fn put_count(&mut self, count: usize);
}

impl Write for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_octets(&mut self, octets: &[u8]) {
        self.put_count(octets.len());
        self.extend_from_slice(octets);
    }

    fn put_count(&mut self, count: usize) {
        self.put_u32(u32::try_from(count).expect("every length here is bounded below 4 GiB"));
    }
}

const PUT: u8 = 1;
const DELETE: u8 = 2;
const ABSENT: u8 = 1;
const PRESENT: u8 = 2;
const REVISION: u8 = 3;

/// Writes an append. The fingerprint comes last and only if there is one, so that entries from before there were
/// fingerprints keep their one form.
pub(crate) fn encode_append(append: &Append, out: &mut Vec<u8>) {
    out.put_octets(append.idempotency_key.0.as_bytes());
    out.put_octets(append.author.as_bytes());
    out.put_count(append.preconditions.len());
    append.preconditions.iter().for_each(|precondition| encode_precondition(precondition, out));
    out.put_count(append.changes.len());
    for change in &append.changes {
        match change {
            Change::Put { key, value } => {
                out.put_u8(PUT);
                out.put_octets(key.as_str().as_bytes());
                out.put_octets(value);
            }
            Change::Delete { key } => {
                out.put_u8(DELETE);
                out.put_octets(key.as_str().as_bytes());
            }
        }
    }
    if let Some(fingerprint) = &append.fingerprint {
        out.extend_from_slice(&fingerprint.0);
    }
}

/// Reads an append, which goes on to the end.
pub(crate) fn decode_append(reader: &mut Reader<'_>) -> Result<Append, DecodeError> {
    let idempotency_key = IdempotencyKey(reader.text("an idempotency key", NAME_OCTETS_MAX)?.to_owned());
    let author = reader.text("an author", NAME_OCTETS_MAX)?.to_owned();
    let count = reader.count("the list of preconditions", PRECONDITIONS_PER_APPEND_MAX)?;
    let preconditions = (0..count).map(|_| decode_precondition(reader)).collect::<Result<_, _>>()?;
    let count = reader.count("the list of changes", CHANGES_PER_APPEND_MAX)?;
    let mut octets = 0;
    let mut changes = Vec::with_capacity(count);
    for _ in 0..count {
        let tag = reader.u8()?;
        let key = reader.key()?;
        let change = match tag {
            PUT => Change::Put { key, value: reader.octets("a value", VALUE_OCTETS_MAX)?.to_vec() },
            DELETE => Change::Delete { key },
            _ => return Err(DecodeError::Tag("a change")),
        };
        octets += change.octets();
        changes.push(change);
    }
    if octets > APPEND_OCTETS_MAX {
        return Err(DecodeError::Long("an append"));
    }
    let fingerprint = if reader.is_empty() { None } else { Some(Fingerprint(reader.array()?)) };
    Ok(Append { changes, preconditions, idempotency_key, fingerprint, author })
}

/// Writes a precondition.
pub(crate) fn encode_precondition(precondition: &Precondition, out: &mut Vec<u8>) {
    out.put_u8(match precondition {
        Precondition::Absent(_) => ABSENT,
        Precondition::Present(_) => PRESENT,
        Precondition::Revision(..) => REVISION,
    });
    out.put_octets(precondition.key().as_str().as_bytes());
    if let Precondition::Revision(_, seq) = precondition {
        out.put_u64(seq.0);
    }
}

/// Reads a precondition.
pub(crate) fn decode_precondition(reader: &mut Reader<'_>) -> Result<Precondition, DecodeError> {
    match reader.u8()? {
        ABSENT => Ok(Precondition::Absent(reader.key()?)),
        PRESENT => Ok(Precondition::Present(reader.key()?)),
        REVISION => Ok(Precondition::Revision(reader.key()?, reader.seq()?)),
        _ => Err(DecodeError::Tag("a precondition")),
    }
}

/// The one encoding of an entry.
pub(crate) fn encode_entry(entry: &Entry) -> Vec<u8> {
    let octets: usize = entry.append.changes.iter().map(Change::octets).sum();
    let mut out = Vec::with_capacity(octets + 16 * entry.append.changes.len() + 128);
    out.put_u64(entry.seq.0);
    out.extend_from_slice(&entry.at.as_millis().to_be_bytes());
    encode_append(&entry.append, &mut out);
    out
}

/// An entry from its encoding.
pub(crate) fn decode_entry(octets: &[u8]) -> Result<Entry, DecodeError> {
    let mut reader = Reader::new(octets);
    let seq = reader.seq()?;
    let at = Timestamp::from_millis(i64::from_be_bytes(reader.array()?));
    let append = decode_append(&mut reader)?;
    reader.end()?;
    Ok(Entry { seq, at, append })
}
