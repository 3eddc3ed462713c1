//! How a zone is signed (DNSSEC): its keys, and how far its parent trusts them.
//!
//! A key is a combined signing key: it signs every record set, itself among them, and the parent's DS names it. A
//! roll-over to another one leaves no gap ([`roll`]).

pub(crate) mod roll;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Entity, Key, Kind, Timestamp, ZoneId, limits};
use roll::KeyRoll;

/// With what a key signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SigningAlgorithm {
    /// ECDSA on P-256 with SHA-256 (RFC 6605): every validator of today knows it.
    #[default]
    EcdsaP256,
    /// Ed25519 (RFC 8080): made and checked faster, with keys of half the size; some old validators take what it signs
    /// for not signed.
    Ed25519,
}

impl SigningAlgorithm {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::EcdsaP256, Self::Ed25519];

    /// Its number in the registry of DNSSEC.
    pub const fn code(self) -> u8 {
        match self {
            Self::EcdsaP256 => 13,
            Self::Ed25519 => 15,
        }
    }

    /// Its mnemonic there.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ECDSAP256SHA256",
            Self::Ed25519 => "ED25519",
        }
    }

    /// By its number or its mnemonic.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|known| known.code().to_string() == text || known.name().eq_ignore_ascii_case(text))
    }
}

/// The flags of a DNSKEY record (RFC 4034, 2.1.1): it signs the zone, and is where trust enters it.
pub const SIGNING_KEY_FLAGS: u16 = 257;
/// The protocol of a DNSKEY record (RFC 4034, 2.1.2).
const PROTOCOL: u8 = 3;

/// What a key is for at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyRole {
    /// It is published and the parent is to trust it, but it does not sign yet.
    Published,
    /// It signs, and the parent is to trust it.
    Active,
    /// It is published for what it has signed, and the parent need not trust it any more.
    Retired,
    /// It is published and signs, and the parent is not to name it: the other key of a roll-over.
    Companion,
    /// It signs and is not published: the other key of a roll-over between algorithms.
    Hidden,
}

impl KeyRole {
    /// Whether the parent's DS is to name it.
    pub const fn is_trusted(self) -> bool {
        matches!(self, Self::Published | Self::Active)
    }

    /// Whether it signs.
    pub const fn signs(self) -> bool {
        matches!(self, Self::Active | Self::Companion | Self::Hidden)
    }

    /// Whether the zone's DNSKEY set has it.
    pub const fn is_published(self) -> bool {
        !matches!(self, Self::Hidden)
    }
}

/// A key that signs a zone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// With what it signs.
    #[serde(default)]
    pub algorithm: SigningAlgorithm,
    /// As it stands in its DNSKEY record: of P-256 the point, `x | y`, in 64 octets (RFC 6605, 4); of Ed25519 32 octets
    /// (RFC 8080, 3).
    #[serde(with = "hex::serde")]
    pub public: Vec<u8>,
    /// The private key, PKCS #8 in DER.
    #[serde(with = "hex::serde")]
    pub private: Vec<u8>,
    /// What it is for.
    pub role: KeyRole,
    /// When it was made.
    pub created_at: Timestamp,
}

impl SigningKey {
    /// The data of its DNSKEY record (RFC 4034, 2.1).
    pub fn dnskey(&self) -> Vec<u8> {
        [&SIGNING_KEY_FLAGS.to_be_bytes()[..], &[PROTOCOL, self.algorithm.code()], &self.public].concat()
    }

    /// Its tag (RFC 4034, appendix B): by it a signature says which key to try; others may have the same.
    pub fn tag(&self) -> u16 {
        key_tag(&self.dnskey())
    }

    /// What a DS record's digest is taken of (RFC 4034, 5.1.4), for a zone whose name on the wire is this.
    pub fn digested(&self, zone: &[u8]) -> Vec<u8> {
        [zone, &self.dnskey()].concat()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("tag", &self.tag())
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// The tag of a DNSKEY record's data: the sum of its 16-bit words, with the carry added once.
pub fn key_tag(data: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    // A record has 65,535 octets at most, so the sum has 31 bits.
    let sum: u32 = data.chunks(2).map(word).sum();
    let [_, _, high, low] = (sum + (sum >> 16)).to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// Whether its owner wants a zone signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SigningState {
    /// It is to be signed.
    On,
    /// It is to be signed no longer, and still is because the parent may trust its keys.
    Leaving,
}

/// What is known of the parent's DS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParentDs {
    /// It never named a key of the zone.
    Unseen,
    /// It names one.
    Seen,
    /// It named one, and has not since then.
    Gone(Timestamp),
}

/// How a zone is signed. A zone without one is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneSigning {
    /// The zone.
    pub zone: ZoneId,
    /// Whether its owner wants it.
    pub state: SigningState,
    /// What is known of the parent's DS.
    pub parent: ParentDs,
    /// The keys.
    pub keys: Vec<SigningKey>,
    /// Whether what does not exist is denied by hashed names (NSEC3, RFC 5155) instead of by one name (RFC 9824).
    #[serde(default)]
    pub nsec3: bool,
    /// Whether others sign the zone too, each with keys of their own (RFC 8901, 2.1.2): what the parent is asked to name
    /// are their keys too, as far as the zone has DNSKEY records of them.
    #[serde(default)]
    pub multi_signer: bool,
    /// The roll-over of its key that is under way.
    #[serde(default)]
    pub roll: Option<KeyRoll>,
    /// After how many days a key is rolled over unasked; 0 is never.
    #[serde(default)]
    pub roll_days: u32,
    /// When it last changed.
    pub modified_at: Timestamp,
}

impl ZoneSigning {
    /// A zone that is signed from now on with these keys, and about which nothing else was chosen or is known.
    pub const fn new(zone: ZoneId, keys: Vec<SigningKey>, now: Timestamp) -> Self {
        Self {
            zone,
            state: SigningState::On,
            parent: ParentDs::Unseen,
            keys,
            nsec3: false,
            multi_signer: false,
            roll: None,
            roll_days: 0,
            modified_at: now,
        }
    }

    /// The keys, as many as are used.
    pub fn keys(&self) -> impl Iterator<Item = &SigningKey> {
        self.keys.iter().take(limits::SIGNING_KEYS_PER_ZONE_MAX)
    }

    /// The keys that the parent's DS is to name: none of a zone that leaves.
    pub fn trusted(&self) -> impl Iterator<Item = &SigningKey> {
        let on = self.state == SigningState::On;
        self.keys().filter(move |key| on && key.role.is_trusted())
    }
}

impl Entity for ZoneSigning {
    const KIND: Kind = Kind::Dnssec;
    type Id = ZoneId;

    fn key(&self) -> Key {
        Self::key_of(&self.zone)
    }

    fn key_of(zone: &ZoneId) -> Key {
        Key::new(Self::KIND, &[zone])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_a_key_is_what_the_rfcs_say() {
        // RFC 4509, 2.3: an odd number of octets, and a carry.
        let dskey = "0100030501039e8a247418e318903b215a848acfd5f37f026bd4062db26c774c690968d5d56df8bfda91e6f36d9a2798\
                     88f41333357c5e6029990d10fdf5663062a512763326980a615ddbf17a05ddfcce7e5fb3abcca05a31b0957452d4521e\
                     83870789063115bf97f6c308ccf57cdc9ce7fe10f6ed1bd0cc0660038c50dcdb0feb963c2f17";
        assert_eq!(key_tag(&hex::decode(dskey).unwrap()), 60_485);
        // RFC 6605, 6.1.
        let public = "1a88c88615d437fbb8bf9e1942a1929f28562706ae6c2bd399e7b1bfb6d1e9e7\
                      5b92b4aa42917ae1c61b701ef035c3fe7be3009cbafe5a2f71316c902dcf0d00";
        let key = SigningKey {
            algorithm: SigningAlgorithm::EcdsaP256,
            public: hex::decode(public).unwrap(),
            private: b"secret".to_vec(),
            role: KeyRole::Active,
            created_at: Timestamp::default(),
        };
        assert_eq!((key.tag(), key.dnskey().len()), (55_648, 68));
        assert_eq!(key.digested(b"\x00")[..5], [0, 1, 1, 3, 13]);
        assert_eq!(format!("{key:?}"), "SigningKey { tag: 55648, role: Active, .. }");
        // RFC 8080, 6.1.
        let public = hex::decode("974d96a22d224bc01adb915091477d44ccd91c9a41a11430010117d52c59240e").unwrap();
        let key = SigningKey { algorithm: SigningAlgorithm::Ed25519, public, ..key };
        assert_eq!((key.tag(), key.dnskey().len()), (3_613, 36));
    }

    #[test]
    fn an_algorithm_is_known_by_its_number_and_its_mnemonic() {
        for algorithm in SigningAlgorithm::ALL {
            assert_eq!(SigningAlgorithm::parse(&algorithm.code().to_string()), Some(algorithm));
            assert_eq!(SigningAlgorithm::parse(&algorithm.name().to_lowercase()), Some(algorithm));
        }
        assert_eq!((SigningAlgorithm::parse("8"), SigningAlgorithm::parse("")), (None, None));
    }

    #[test]
    fn the_parent_is_to_trust_what_signs_or_will_sign_of_a_zone_that_stays_signed() {
        let key = |number, role| SigningKey {
            algorithm: SigningAlgorithm::EcdsaP256,
            public: vec![number; 64],
            private: Vec::new(),
            role,
            created_at: Timestamp::default(),
        };
        let roles = [KeyRole::Active, KeyRole::Published, KeyRole::Retired];
        let keys = (0..9).map(|number| key(number, roles[usize::from(number % 3)])).collect();
        let mut signing = ZoneSigning::new(ZoneId::from_bytes([1; 16]), keys, Timestamp::default());
        signing.parent = ParentDs::Gone(Timestamp::from_millis(5));
        let trusted: Vec<u8> = signing.trusted().map(|key| key.public[0]).collect();
        assert_eq!((trusted, signing.keys().count()), (vec![0, 1, 3], limits::SIGNING_KEYS_PER_ZONE_MAX));
        let text = serde_json::to_string(&signing).unwrap();
        assert_eq!(serde_json::from_str::<ZoneSigning>(&text).unwrap(), signing);
        let before = text.replace("\"algorithm\":\"ecdsa_p256\",", "");
        assert_ne!(before, text, "keys of before there was a choice");
        assert_eq!(serde_json::from_str::<ZoneSigning>(&before).unwrap(), signing);
        signing.state = SigningState::Leaving;
        assert_eq!(signing.trusted().count(), 0);
    }
}
