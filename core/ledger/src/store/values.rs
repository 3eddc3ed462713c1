//! What lies in the databases of a store, each with its checksum.

use proxima_model::Timestamp;

use super::StoreError;
use crate::{
    Fingerprint, Seq,
    codec::{Digest, Reader, Write as _},
};

/// A value of the state with its revision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored<'t> {
    pub(crate) revision: Seq,
    pub(crate) value: &'t [u8],
}

impl<'t> Stored<'t> {
    fn checksum(key: &[u8], revision: Seq, value: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(key);
        hasher.update(&revision.0.to_be_bytes());
        hasher.update(value);
        hasher.finalize()
    }

    pub(crate) fn encode(key: &[u8], revision: Seq, value: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(12 + value.len());
        out.put_u64(revision.0);
        out.put_u32(Self::checksum(key, revision, value));
        out.extend_from_slice(value);
        out
    }

    pub(crate) fn decode(key: &[u8], octets: &'t [u8]) -> Result<Self, StoreError> {
        let mut reader = Reader::new(octets);
        let revision = reader.seq()?;
        let checksum = reader.u32()?;
        let value = reader.rest();
        if Self::checksum(key, revision, value) != checksum {
            return Err(StoreError::Corrupt(format!(
                "the checksum of {} is wrong",
                String::from_utf8_lossy(key)
            )));
        }
        Ok(Self { revision, value })
    }
}

/// The use of an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The entry that it was used for.
    pub(crate) seq: Seq,
    /// When.
    pub(crate) at: Timestamp,
    /// What for; not known of keys that an older version remembered, or whose writer did not say.
    pub(crate) fingerprint: Option<Fingerprint>,
}

impl Seen {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        out.put_u64(self.seq.0);
        out.extend_from_slice(&self.at.as_millis().to_be_bytes());
        if let Some(fingerprint) = &self.fingerprint {
            out.extend_from_slice(&fingerprint.0);
        }
        out
    }

    pub(crate) fn decode(octets: &[u8]) -> Result<Self, StoreError> {
        let mut reader = Reader::new(octets);
        let (seq, at) = (reader.seq()?, Timestamp::from_millis(i64::from_be_bytes(reader.array()?)));
        let fingerprint = if reader.is_empty() { None } else { Some(Fingerprint(reader.array()?)) };
        reader.end()?;
        Ok(Self { seq, at, fingerprint })
    }
}

/// An entry as it is kept.
#[derive(Clone, Copy)]
pub(crate) struct Record<'t> {
    pub(crate) digest: Digest,
    /// The entry's encoding.
    pub(crate) entry: &'t [u8],
    /// What its changes replaced, as [`encode_replaced`] wrote it.
    pub(crate) replaced: &'t [u8],
}

impl<'t> Record<'t> {
    pub(crate) fn encode(seq: Seq, digest: Digest, entry: &[u8], replaced: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(40 + entry.len() + replaced.len());
        out.put_u32(0);
        out.extend_from_slice(&digest.0);
        out.put_octets(entry);
        out.extend_from_slice(replaced);
        Self::seal(seq, &mut out);
        out
    }

    /// Puts the checksum in its place before what it is of.
    pub(crate) fn seal(seq: Seq, octets: &mut [u8]) {
        let (crc, body) = octets.split_at_mut(4);
        crc.copy_from_slice(&Self::checksum(seq, body).to_be_bytes());
    }

    fn checksum(seq: Seq, body: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&seq.0.to_be_bytes());
        hasher.update(body);
        hasher.finalize()
    }

    pub(crate) fn decode(seq: Seq, octets: &'t [u8]) -> Result<Self, StoreError> {
        let mut reader = Reader::new(octets);
        let crc = reader.u32()?;
        let body = reader.rest();
        if Self::checksum(seq, body) != crc {
            return Err(StoreError::Corrupt(format!("the checksum of entry {seq} is wrong")));
        }
        let mut reader = Reader::new(body);
        let digest = Digest(reader.array()?);
        let entry = reader.octets("an entry", body.len())?;
        Ok(Self { digest, entry, replaced: reader.rest() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_use_of_a_key_that_an_older_version_remembered_is_read() {
        let at = Timestamp::from_millis(9);
        let old = [7_u64.to_be_bytes(), 9_i64.to_be_bytes()].concat();
        assert_eq!(Seen::decode(&old).unwrap(), Seen { seq: Seq(7), at, fingerprint: None });
        let seen = Seen { seq: Seq(7), at, fingerprint: Some(Fingerprint([3; 32])) };
        assert_eq!(Seen::decode(&seen.encode()).unwrap(), seen);
        assert!(Seen::decode(&old[..15]).is_err() && Seen::decode(&[&old[..], &[1]].concat()).is_err());
    }
}
