//! What is made of octets while they come: MD5, which becomes an entity tag; the checksum that is asked for; and CRC-64/NVME,
//! by which rot on the disk is found.

use base64::Engine as _;
use crc_fast::CrcAlgorithm;
use http::HeaderMap;
use md5::{Digest as _, Md5};
use proxima_pipeline::{ChecksumAlgorithm, ChecksumKind, Expected, ObjectChecksum, ObjectError};
use sha1::Sha1;
use sha2::Sha256;

/// A checksum while its octets come.
pub(super) enum Running {
    Crc(crc_fast::Digest, usize),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Running {
    pub(super) fn new(algorithm: ChecksumAlgorithm) -> Self {
        let crc = |which| Self::Crc(crc_fast::Digest::new(which), algorithm.octets());
        match algorithm {
            ChecksumAlgorithm::Crc32 => crc(CrcAlgorithm::Crc32IsoHdlc),
            ChecksumAlgorithm::Crc32c => crc(CrcAlgorithm::Crc32Iscsi),
            ChecksumAlgorithm::Crc64Nvme => crc(CrcAlgorithm::Crc64Nvme),
            ChecksumAlgorithm::Sha1 => Self::Sha1(Sha1::new()),
            ChecksumAlgorithm::Sha256 => Self::Sha256(Sha256::new()),
        }
    }

    pub(super) fn update(&mut self, octets: &[u8]) {
        match self {
            Self::Crc(digest, _) => digest.update(octets),
            Self::Sha1(digest) => digest.update(octets),
            Self::Sha256(digest) => digest.update(octets),
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        match self {
            Self::Crc(digest, octets) => {
                let value = digest.finalize().to_be_bytes();
                value[value.len() - octets..].to_vec()
            }
            Self::Sha1(digest) => digest.finalize().to_vec(),
            Self::Sha256(digest) => digest.finalize().to_vec(),
        }
    }
}

/// The checksum of what is here already.
pub(crate) fn checksum(algorithm: ChecksumAlgorithm, octets: &[u8]) -> Vec<u8> {
    let mut running = Running::new(algorithm);
    running.update(octets);
    running.finish()
}

/// The CRC of two runs of octets, one after the other, of which the second has so many.
pub(crate) fn combined(
    algorithm: ChecksumAlgorithm,
    first: &[u8],
    second: &[u8],
    octets: u64,
) -> Option<Vec<u8>> {
    let which = match algorithm {
        ChecksumAlgorithm::Crc32 => CrcAlgorithm::Crc32IsoHdlc,
        ChecksumAlgorithm::Crc32c => CrcAlgorithm::Crc32Iscsi,
        ChecksumAlgorithm::Crc64Nvme => CrcAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 => return None,
    };
    let number = |value: &[u8]| value.iter().fold(0, |number, octet| number << 8 | u64::from(*octet));
    let value = crc_fast::checksum_combine(which, number(first), number(second), octets).to_be_bytes();
    Some(value[value.len() - algorithm.octets()..].to_vec())
}

/// Everything that is made of octets as they come.
pub(crate) struct Hashes {
    octets: u64,
    md5: Md5,
    crc: crc_fast::Digest,
    asked: Option<(ChecksumAlgorithm, Running)>,
}

/// What was made of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hashed {
    pub(crate) octets: u64,
    pub(crate) md5: [u8; 16],
    /// CRC-64/NVME.
    pub(crate) crc: u64,
    pub(crate) checksum: ObjectChecksum,
}

impl Hashes {
    /// With the checksum of this algorithm.
    pub(crate) fn new(algorithm: Option<ChecksumAlgorithm>) -> Self {
        let asked = algorithm.filter(|algorithm| *algorithm != ChecksumAlgorithm::Crc64Nvme);
        Self {
            octets: 0,
            md5: Md5::new(),
            crc: crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme),
            asked: asked.map(|algorithm| (algorithm, Running::new(algorithm))),
        }
    }

    /// Adds what has come.
    pub(crate) fn update(&mut self, octets: &[u8]) {
        self.octets += octets.len() as u64;
        self.md5.update(octets);
        self.crc.update(octets);
        if let Some((_, running)) = &mut self.asked {
            running.update(octets);
        }
    }

    /// How many have come.
    pub(crate) const fn octets(&self) -> u64 {
        self.octets
    }

    /// All have come.
    pub(crate) fn finish(self) -> Hashed {
        let crc = self.crc.finalize();
        let (algorithm, value) = match self.asked {
            Some((algorithm, running)) => (algorithm, running.finish()),
            None => (ChecksumAlgorithm::Crc64Nvme, crc.to_be_bytes().to_vec()),
        };
        let checksum = ObjectChecksum { algorithm, kind: ChecksumKind::Full, value };
        Hashed { octets: self.octets, md5: self.md5.finalize().into(), crc, checksum }
    }
}

impl Hashed {
    /// Whether they are what was announced, in the head or behind the body.
    ///
    /// # Errors
    /// They are not.
    pub(crate) fn check(&self, expected: &Expected, trailers: Option<&HeaderMap>) -> Result<(), ObjectError> {
        if expected.octets.is_some_and(|octets| octets != self.octets) {
            return Err(ObjectError::Body("the body's length is not what its head said".to_owned()));
        }
        if expected.md5.is_some_and(|md5| md5 != self.md5) {
            return Err(ObjectError::BadDigest("Content-MD5".to_owned()));
        }
        let Some((algorithm, given)) = &expected.checksum else { return Ok(()) };
        let behind = trailers.and_then(|trailers| trailers.get(algorithm.field()));
        let behind = behind.map(|value| base64::engine::general_purpose::STANDARD.decode(value.as_bytes()));
        let is_so = |value: &[u8]| value == self.checksum.value;
        if given.as_deref().is_some_and(|value| !is_so(value))
            || behind.is_some_and(|value| !value.is_ok_and(|value| is_so(&value)))
        {
            return Err(ObjectError::BadDigest(algorithm.field().to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values of the catalogue of CRCs and of the standards of the hashes.
    #[test]
    fn checksums_are_what_the_catalogue_says() {
        for (algorithm, value) in [
            (ChecksumAlgorithm::Crc32, "cbf43926"),
            (ChecksumAlgorithm::Crc32c, "e3069283"),
            (ChecksumAlgorithm::Crc64Nvme, "ae8b14860a799888"),
            (ChecksumAlgorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (ChecksumAlgorithm::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
        ] {
            assert_eq!(hex::encode(checksum(algorithm, b"123456789")), value, "{algorithm:?}");
            let mut hashes = Hashes::new(Some(algorithm));
            hashes.update(b"12345");
            hashes.update(b"6789");
            let hashed = hashes.finish();
            assert_eq!(hex::encode(&hashed.checksum.value), value, "{algorithm:?}, in pieces");
            assert_eq!(hex::encode(hashed.md5), "25f9e794323b453885f5181f1b624d0b");
            let (first, second) = (checksum(algorithm, b"1234"), checksum(algorithm, b"56789"));
            let both = combined(algorithm, &first, &second, 5);
            let is_crc = algorithm.octets() <= 8;
            assert_eq!(both.map(hex::encode), is_crc.then(|| value.to_owned()), "{algorithm:?}, combined");
        }
    }
}
