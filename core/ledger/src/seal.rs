//! Secrets at rest: AES-256-GCM (NIST SP 800-38D) with a key that every node of the network has in its configuration.

use std::{fmt, sync::Arc};

use aes_gcm::{
    Aes256Gcm, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use zeroize::Zeroizing;

use crate::KeyError;

/// Octets of the key.
const KEY_OCTETS: usize = 32;
/// Octets of the nonce, drawn at random for each value: safe for 2^32 values under one key (SP 800-38D, 8.3).
const NONCE_OCTETS: usize = 12;
/// First octet of a sealed value: which cipher, so that another may follow.
const AES_256_GCM: u8 = 1;

/// Seals and opens values. The key of a value is bound in as associated data, so that a sealed value cannot be moved
/// to another place. Cheap to clone; never shown.
#[derive(Clone)]
pub struct Sealer(Arc<Aes256Gcm>);

impl Sealer {
    /// The sealer of this key: 64 hexadecimal digits; space around them is left out.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let mut key = Zeroizing::new([0_u8; KEY_OCTETS]);
        hex::decode_to_slice(text.trim(), key.as_mut_slice()).map_err(|_| KeyError)?;
        Ok(Self::from_key(&key))
    }

    /// A sealer with a new random key, and the key in hexadecimal.
    pub fn generate() -> (Self, String) {
        let mut key = Zeroizing::new([0_u8; KEY_OCTETS]);
        rand::fill(key.as_mut_slice());
        (Self::from_key(&key), hex::encode(key.as_slice()))
    }

    fn from_key(key: &[u8; KEY_OCTETS]) -> Self {
        Self(Arc::new(Aes256Gcm::new(key.into())))
    }

    /// `plain` sealed for the place `key`.
    pub(crate) fn seal(&self, key: &str, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_OCTETS];
        rand::fill(&mut nonce);
        let sealed = self
            .0
            .encrypt(&Nonce::from(nonce), Payload { msg: plain, aad: key.as_bytes() })
            .expect("AES-GCM seals anything shorter than 64 GiB");
        let mut value = Vec::with_capacity(1 + NONCE_OCTETS + sealed.len());
        value.push(AES_256_GCM);
        value.extend_from_slice(&nonce);
        value.extend_from_slice(&sealed);
        value
    }

    /// What was sealed for the place `key`; `None` if it was not, or not with this key.
    pub(crate) fn open(&self, key: &str, value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (&cipher, rest) = value.split_first()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_OCTETS>()?;
        if cipher != AES_256_GCM {
            return None;
        }
        let payload = Payload { msg: sealed, aad: key.as_bytes() };
        self.0.decrypt(&Nonce::from(*nonce), payload).ok().map(Zeroizing::new)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_in_its_place_and_with_its_key() {
        let (sealer, hex) = Sealer::generate();
        let sealed = sealer.seal("token/a", b"secret");
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(sealer.open("token/a", &sealed).expect("opens").as_slice(), b"secret");
        assert_eq!(
            Sealer::from_hex(&hex).unwrap().open("token/a", &sealed).expect("opens").as_slice(),
            b"secret"
        );
        assert!(sealer.open("token/b", &sealed).is_none());
        assert!(Sealer::generate().0.open("token/a", &sealed).is_none());
        assert!(sealer.open("token/a", &sealed[..sealed.len() - 1]).is_none());
        assert!(sealer.open("token/a", &[]).is_none());
    }

    #[test]
    fn the_same_value_is_sealed_differently_each_time() {
        let (sealer, _) = Sealer::generate();
        assert_ne!(sealer.seal("token/a", b"secret"), sealer.seal("token/a", b"secret"));
    }

    #[test]
    fn a_key_that_is_not_64_digits_is_refused() {
        for text in ["", "00", &"0".repeat(63), &"0".repeat(66), &"g".repeat(64)] {
            assert!(Sealer::from_hex(text).is_err(), "{text}");
        }
        assert!(Sealer::from_hex(&format!("{}\n", "0".repeat(64))).is_ok());
    }
}
