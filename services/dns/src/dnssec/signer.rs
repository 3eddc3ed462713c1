//! A zone's keys, and what they sign (RFC 4034, 3.1.8.1 and 6).

use std::fmt;

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use proxima_model::{
    SIGNING_KEY_FLAGS, SigningAlgorithm, SigningKey, SigningState, ZoneSigning, key_tag, limits,
};

use super::nsec3;
use crate::{
    rrset::{RrSet, Set},
    wire::{class, rtype},
};

/// How long others may remember a zone's keys and what its parent is to say of them, in seconds.
const KEY_TTL: u32 = limits::KEY_TTL_SECONDS;
/// SHA-256 as the digest of a DS record (RFC 4509).
const DIGEST_TYPE: u8 = 2;
/// What asks the parent to take its DS away (RFC 8078, 4): a CDS, and a CDNSKEY.
const CDS_DELETE: [u8; 5] = [0; 5];
const CDNSKEY_DELETE: [u8; 5] = [0, 0, 3, 0, 0];

/// What signs a zone.
pub(crate) struct Signer {
    /// Those that sign: one, or two in the middle of a roll-over.
    pub(super) keys: Vec<SigningPair>,
    dnskey: RrSet,
    /// What the parent is asked to say; none where there is nothing to ask.
    cds: Option<RrSet>,
    cdnskey: Option<RrSet>,
    /// What the parent is to say if it lies here; none of a zone that leaves, but for keys of others that stay.
    ds: Option<RrSet>,
    /// How names are hashed, if what does not exist is denied by NSEC3.
    nsec3: Option<RrSet>,
    /// Whether the parent is to name keys of others beside ours.
    multi_signer: bool,
    /// Whether the parent is asked to name none at all, which stands by itself (RFC 8078, 4).
    deletes: bool,
}

/// A key that signs.
pub(super) struct SigningPair {
    algorithm: SigningAlgorithm,
    tag: u16,
    pub(super) public: Vec<u8>,
    pair: Pair,
}

/// Both halves of a key.
enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    /// For the zone whose name on the wire is `apex`.
    ///
    /// # Errors
    /// Why it cannot be signed.
    pub(crate) fn new(signing: &ZoneSigning, apex: &[u8]) -> Result<Self, &'static str> {
        let keys = signing.keys().filter(|key| key.role.signs());
        let keys = keys.map(SigningPair::new).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err("none of its keys signs");
        }
        let set = |rtype, data: Vec<Vec<u8>>| RrSet::of(rtype, KEY_TTL, data);
        let ds: Vec<Vec<u8>> = signing.trusted().map(|key| ds(key, apex)).collect();
        let trusted: Vec<Vec<u8>> = signing.trusted().map(SigningKey::dnskey).collect();
        let published = signing.keys().filter(|key| key.role.is_published());
        // To take all away is for nobody to ask for where others sign too.
        let deletes = signing.state == SigningState::Leaving && !signing.multi_signer;
        let or_delete = |data, delete: [u8; 5]| if deletes { vec![delete.to_vec()] } else { data };
        Ok(Self {
            keys,
            dnskey: set(rtype::DNSKEY, published.map(SigningKey::dnskey).collect())
                .ok_or("none of its keys is published")?,
            cds: set(rtype::CDS, or_delete(ds.clone(), CDS_DELETE)),
            cdnskey: set(rtype::CDNSKEY, or_delete(trusted, CDNSKEY_DELETE)),
            ds: set(rtype::DS, ds),
            multi_signer: signing.multi_signer,
            deletes,
            nsec3: (signing.nsec3 && nsec3::fits(apex)).then(|| nsec3::parameters(KEY_TTL)),
        })
    }

    /// Has the parent asked to name keys of others beside ours (RFC 8901, 2.1.2 and 8): those that the zone's owner names by CDS
    /// and CDNSKEY records, and where others sign the zone too, those of their DNSKEY records at which trust enters. Both kinds
    /// of asking name the same keys (RFC 7344, 4), as far as a key is known here whole.
    ///
    /// If the zone leaves, the others' are all that is asked for: those of ours go, and others stay. With none that is known
    /// here nothing is asked for, and its owner is who tells the parent. Where no others sign, it is asked to name none at all,
    /// whatever its owner's records say.
    pub(crate) fn join(&mut self, apex: &[u8], of_owner: impl Fn(u16) -> Option<RrSet>) {
        if self.deletes {
            return;
        }
        let data = |rtype| -> Vec<Vec<u8>> {
            of_owner(rtype).map(|set| set.records().map(<[u8]>::to_vec).collect()).unwrap_or_default()
        };
        let (dnskeys, asked, asked_whole) = (data(rtype::DNSKEY), data(rtype::CDS), data(rtype::CDNSKEY));
        let ours: Vec<Vec<u8>> = self.dnskey.records().map(<[u8]>::to_vec).collect();
        // Flags 257: a zone key, at which trust enters (RFC 4034, 2.1.1), and not one that is revoked.
        let is_entry = |key: &[u8]| key.starts_with(&SIGNING_KEY_FLAGS.to_be_bytes());
        for key in dnskeys.iter().chain(&asked_whole).filter(|key| !ours.contains(key)) {
            let ds = ds_of(key, apex);
            let is_asked = asked_whole.contains(key) || asked.contains(&ds);
            if is_asked || self.multi_signer && is_entry(key) {
                add(&mut self.ds, rtype::DS, ds.clone());
                add(&mut self.cds, rtype::CDS, ds);
                add(&mut self.cdnskey, rtype::CDNSKEY, key.clone());
            }
        }
        for ds in asked {
            add(&mut self.ds, rtype::DS, ds.clone());
            add(&mut self.cds, rtype::CDS, ds);
        }
    }

    /// Whether what its owner has of a type stands beside what the zone has because it is signed.
    pub(crate) const fn stands_beside(&self, rtype: u16) -> bool {
        !(self.deletes && matches!(rtype, rtype::CDS | rtype::CDNSKEY))
    }

    /// What the apex has because the zone is signed.
    pub(crate) fn apex_sets(&self) -> impl Iterator<Item = &RrSet> {
        [Some(&self.dnskey), self.cds.as_ref(), self.cdnskey.as_ref(), self.nsec3.as_ref()]
            .into_iter()
            .flatten()
    }

    /// Whether what does not exist is denied by NSEC3.
    pub(crate) fn hashes_names(&self) -> bool {
        self.nsec3.is_some()
    }

    /// What the zone above is to say, if it lies here too.
    pub(crate) fn ds(&self) -> Option<&RrSet> {
        self.ds.as_ref()
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| key.tag)).finish()
    }
}

impl SigningPair {
    fn new(key: &SigningKey) -> Result<Self, &'static str> {
        let unreadable = |_| "a key cannot be read";
        let (pair, is_published) = match key.algorithm {
            SigningAlgorithm::EcdsaP256 => {
                let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair = EcdsaKeyPair::from_private_key_der(signing, &key.private).map_err(unreadable)?;
                // Uncompressed: an octet that says so, then both coordinates.
                let is_published = pair.public_key().as_ref().get(1..) == Some(&key.public[..]);
                (Pair::P256(pair), is_published)
            }
            SigningAlgorithm::Ed25519 => {
                let pair = Ed25519KeyPair::from_pkcs8(&key.private).map_err(unreadable)?;
                let is_published = pair.public_key().as_ref() == key.public;
                (Pair::Ed25519(pair), is_published)
            }
        };
        if !is_published {
            return Err("a key is not the one that is published");
        }
        Ok(Self { algorithm: key.algorithm, tag: key.tag(), public: key.public.clone(), pair })
    }

    /// The signature as it stands in an RRSIG record, of 64 octets with either algorithm (RFC 6605, 4; RFC 8080, 4);
    /// `None` if the cryptographic library fails.
    pub(super) fn sign(&self, random: &SystemRandom, octets: &[u8]) -> Option<[u8; SIGNATURE_OCTETS]> {
        let signature = match &self.pair {
            Pair::P256(pair) => pair.sign(random, octets).ok()?,
            Pair::Ed25519(pair) => pair.sign(octets),
        };
        signature.as_ref().try_into().ok()
    }

    /// What it signs of a set but for its records, up to its signer's name.
    pub(super) fn begin(&self, owner: &[u8], set: Set<'_>, validity: Validity) -> Begin {
        begin(owner, set, (self.algorithm.code(), self.tag), validity)
    }

    /// What it signs of a set.
    pub(super) fn signed_octets(
        &self,
        apex: &[u8],
        owner: &[u8],
        set: Set<'_>,
        validity: Validity,
    ) -> Vec<u8> {
        signed_octets(apex, owner, set, self.begin(owner, set, validity))
    }
}

/// Adds a record about a key to a set, which there may not be yet.
fn add(set: &mut Option<RrSet>, rtype: u16, data: Vec<u8>) {
    match set {
        Some(set) => set.add(KEY_TTL, data),
        None => *set = Some(RrSet::of_one(rtype, KEY_TTL, data)),
    }
}

/// The data of the DS record that names a key (RFC 4034, 5.1).
fn ds(key: &SigningKey, apex: &[u8]) -> Vec<u8> {
    ds_of(&key.dnskey(), apex)
}

/// The same of the key whose DNSKEY record has this data.
fn ds_of(dnskey: &[u8], apex: &[u8]) -> Vec<u8> {
    let digest = digest(&SHA256, &[apex, dnskey].concat());
    let algorithm = dnskey.get(3).copied().unwrap_or_default();
    [&key_tag(dnskey).to_be_bytes()[..], &[algorithm, DIGEST_TYPE], digest.as_ref()].concat()
}

/// From when until when a signature is good, in seconds since 1970 modulo 2^32 (RFC 4034, 3.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) inception: u32,
    pub(super) expiration: u32,
}

/// Octets of a signature.
pub(super) const SIGNATURE_OCTETS: usize = 64;

/// Where in what is signed the [`Validity`] stands.
const VALIDITY_AT: usize = 8;

/// An RRSIG record's data up to its signer's name (RFC 4034, 3.1).
pub(super) type Begin = [u8; 18];

fn begin(owner: &[u8], set: Set<'_>, (algorithm, tag): (u8, u16), validity: Validity) -> Begin {
    let mut out = Begin::default();
    out[..2].copy_from_slice(&set.rtype.to_be_bytes());
    out[2..4].copy_from_slice(&[algorithm, labels(owner)]);
    out[4..8].copy_from_slice(&set.ttl.to_be_bytes());
    put_validity(&mut out, validity);
    out[16..].copy_from_slice(&tag.to_be_bytes());
    out
}

/// What a key signs of a set: the RRSIG record's data without the signature, and the records in their canonical form and
/// order. Names in data were made in lower case ([`crate::rrset`]).
fn signed_octets(apex: &[u8], owner: &[u8], set: Set<'_>, begin: Begin) -> Vec<u8> {
    let mut data: Vec<&[u8]> = set.records.collect();
    data.sort_unstable();
    data.dedup();
    let octets: usize = data.iter().map(|data| owner.len() + 10 + data.len()).sum();
    let mut out = Vec::with_capacity(begin.len() + apex.len() + octets);
    out.extend_from_slice(&begin);
    out.extend_from_slice(apex);
    for data in data {
        out.extend_from_slice(owner);
        out.extend_from_slice(&set.rtype.to_be_bytes());
        out.extend_from_slice(&class::IN.to_be_bytes());
        out.extend_from_slice(&set.ttl.to_be_bytes());
        let length = u16::try_from(data.len()).expect("a record's data is far below 64 KiB");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(data);
    }
    out
}

/// Writes a validity into what begins with [`Begin`].
pub(super) fn put_validity(octets: &mut [u8], validity: Validity) {
    let (expiration, inception) = octets[VALIDITY_AT..VALIDITY_AT + 8].split_at_mut(4);
    expiration.copy_from_slice(&validity.expiration.to_be_bytes());
    inception.copy_from_slice(&validity.inception.to_be_bytes());
}

/// The labels of a name without the root, and without the asterisk of a wildcard (RFC 4034, 3.1.3). What a wildcard
/// stands for is signed as the name that it is answered as (RFC 9824, 3.3), so that nothing else has to be proven.
fn labels(owner: &[u8]) -> u8 {
    let (mut at, mut labels) = (0, 0);
    while owner[at] != 0 {
        labels += u8::from(!(at == 0 && owner.starts_with(b"\x01*")));
        at += 1 + usize::from(owner[at]);
    }
    labels
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use proxima_model::{KeyRole, Timestamp};

    use super::*;
    use crate::name::encode;

    /// The key of RFC 6605, 6.1.
    fn published() -> SigningKey {
        let public = "1a88c88615d437fbb8bf9e1942a1929f28562706ae6c2bd399e7b1bfb6d1e9e7\
                      5b92b4aa42917ae1c61b701ef035c3fe7be3009cbafe5a2f71316c902dcf0d00";
        SigningKey {
            algorithm: SigningAlgorithm::EcdsaP256,
            public: octets(public),
            private: Vec::new(),
            role: KeyRole::Active,
            created_at: Timestamp::default(),
        }
    }

    fn octets(hex: &str) -> Vec<u8> {
        let digit = |octet: u8| char::from(octet).to_digit(16).expect("a digit");
        let octet = |pair: &[u8]| u8::try_from(digit(pair[0]) << 4 | digit(pair[1])).expect("an octet");
        hex.as_bytes().chunks(2).map(octet).collect()
    }

    #[test]
    fn the_ds_of_a_key_is_the_one_of_rfc_6605() {
        let expected = "d9600d02b4c8c1fe2e7477127b27115656ad6256f424625bf5c1e2770ce6d6e37df61d17";
        assert_eq!(ds(&published(), &encode("example.net")), octets(expected));
    }

    #[test]
    fn what_is_signed_is_what_rfc_6605_signed() {
        let set = RrSet::of_one(rtype::A, 3_600, vec![192, 0, 2, 1]);
        // 2010-08-12 10:04:39 to 2010-09-09 10:04:39.
        let validity = Validity { inception: 1_281_607_479, expiration: 1_284_026_679 };
        let (apex, owner) = (encode("example.net"), encode("www.example.net"));
        let begin = begin(&owner, set.view(), (13, 55_648), validity);
        let signed = signed_octets(&apex, &owner, set.view(), begin);
        assert_eq!(signed[..4], [0, 1, 13, 3]);
        assert_eq!(signed[16..18 + apex.len()], [&[0xd9, 0x60][..], &apex].concat());
        let signature = octets(
            "ab1eb02d8aa687e97da0229337aa8873e6f0eb26be289f28333d183f5d3b7a95\
             c0c869adfb748daee3c5286eed6682c12e5533186baced9c26c167a9ebae950b",
        );
        let public = [&[4][..], &published().public].concat();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public);
        key.verify(&signed, &signature).expect("the signature of the RFC's own example");
    }

    #[test]
    fn what_ed25519_signs_is_what_rfc_8080_signed() {
        // 6.1: the private key as PKCS #8, the public key, and the signature, which is the same each time.
        let private = "302e020100300506032b657004220420\
                       3832323630333834363238303830313232363435313930323034313432323632";
        let public = "974d96a22d224bc01adb915091477d44ccd91c9a41a11430010117d52c59240e";
        let signature = "a0bf64ac9ba7ef17c138859c1878bb99a839fe1759aca5b0d798cf1ab1e98d07\
                         9102f4ddb3368f0fe40bb377f1f00e0cddedb799167d56b6e932783072ba8d02";
        let key = SigningKey {
            algorithm: SigningAlgorithm::Ed25519,
            public: octets(public),
            private: octets(private),
            ..published()
        };
        let ds_expected = "0e1d0f023aa5ab37efce57f737fc1627013fee07bdf241bd10f3b1964ab55c78e79a304b";
        assert_eq!(ds(&key, &encode("example.com")), octets(ds_expected));
        let pair = SigningPair::new(&key).expect("a key");
        let set = RrSet::of_one(rtype::MX, 3_600, [&[0, 10][..], &encode("mail.example.com")].concat());
        // 2015-07-29 22:00:00 to 2015-08-19 22:00:00.
        let validity = Validity { inception: 1_438_207_200, expiration: 1_440_021_600 };
        let name = encode("example.com");
        let signed = pair.signed_octets(&name, &name, set.view(), validity);
        let made = pair.sign(&SystemRandom::new(), &signed).expect("a signature");
        assert_eq!(made[..], octets(signature));
        let other = SigningKey { public: vec![7; 32], ..key };
        assert!(SigningPair::new(&other).is_err(), "not the key that is published");
    }

    #[test]
    fn records_are_signed_once_each_and_in_canonical_order() {
        let data = [&b"\x02bb"[..], b"\x01z", b"\x02ba", b"\x01z"];
        let set = RrSet::of(rtype::TXT, 60, data).expect("four records");
        let validity = Validity { inception: 1, expiration: 2 };
        let (apex, owner) = (b"\x00", b"\x01a\x00");
        let begin = begin(owner, set.view(), (13, 7), validity);
        let mut signed = signed_octets(apex, owner, set.view(), begin);
        let record = |data: &[u8]| {
            let length = u8::try_from(data.len()).expect("short");
            [&b"\x01a\x00\x00\x10\x00\x01\x00\x00\x00\x3c\x00"[..], &[length], data].concat()
        };
        assert_eq!(
            signed[begin.len() + apex.len()..],
            [record(b"\x01z"), record(b"\x02ba"), record(b"\x02bb")].concat()
        );
        assert_eq!(signed[8..16], [0, 0, 0, 2, 0, 0, 0, 1]);
        put_validity(&mut signed, Validity { inception: 3, expiration: 4 });
        assert_eq!(signed[8..16], [0, 0, 0, 4, 0, 0, 0, 3]);
    }

    #[test]
    fn the_asterisk_of_a_wildcard_is_no_label() {
        for (name, expected) in
            [(".", 0), ("example.com", 2), ("*.example.com", 2), ("a.*.example.com", 4), ("*", 0)]
        {
            assert_eq!(labels(&encode(name)), expected, "{name}");
        }
    }
}
