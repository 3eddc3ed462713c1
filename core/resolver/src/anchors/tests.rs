//! The life of keys, by sections of RFC 5011, and what must not shorten or lengthen it. Each set is signed as it is made.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};

use super::*;
use crate::{keys::ede, message::rtype, name::Name};

const DAY: u64 = 86_400;
const BEGIN: u64 = 1_800_000_000;
const TTL: u32 = 172_800;

struct Unlimited;

impl Budget for Unlimited {
    fn take_check(&self) -> bool {
        true
    }
}

struct Exhausted;

impl Budget for Exhausted {
    fn take_check(&self) -> bool {
        false
    }
}

struct Ksk(EcdsaKeyPair);

/// A key as it stands in a set and signs it.
#[derive(Clone, Copy)]
enum In<'a> {
    /// It is there, and signs.
    Signing(&'a Ksk),
    /// It is there.
    There(&'a Ksk),
    /// It is there with the flag of a revoked one, and signs.
    Revoking(&'a Ksk),
    /// The same without a signature.
    Flagged(&'a Ksk),
}

impl Ksk {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn data(&self) -> Box<[u8]> {
        [&[1, 1, 3, 13], &self.0.public_key().as_ref()[1..]].concat().into()
    }

    fn ds(&self) -> Box<[u8]> {
        keys::digest_of_root(&self.data()).unwrap()
    }

    /// Signs a set, which begins an hour before and ends ten days after.
    fn sign(&self, set: &RrSet, as_key: &[u8], at: u64) -> Signature {
        let at = u32::try_from(at).unwrap();
        let mut rrsig = rtype::DNSKEY.to_be_bytes().to_vec();
        rrsig.extend([13, 0]);
        rrsig.extend([TTL, at + 864_000, at - 3_600].map(u32::to_be_bytes).concat());
        rrsig.extend(keys::tag(as_key).to_be_bytes());
        rrsig.push(0);
        let mut message = rrsig.clone();
        for data in &set.data {
            message.extend([&[0], &rtype::DNSKEY.to_be_bytes()[..], &[0, 1], &TTL.to_be_bytes()].concat());
            message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            message.extend_from_slice(data);
        }
        rrsig.extend(self.0.sign(&SystemRandom::new(), &message).unwrap().as_ref());
        Signature::parse(&rrsig).unwrap()
    }
}

/// The root's set at a time.
fn set(keys: &[In<'_>], at: u64) -> RrSet {
    let data = |key: &In<'_>| match key {
        In::Signing(key) | In::There(key) => key.data(),
        In::Revoking(key) | In::Flagged(key) => keys::with_revocation(&key.data()),
    };
    let mut all: Vec<Box<[u8]>> = keys.iter().map(data).collect();
    all.sort_unstable();
    let mut set =
        RrSet { owner: Name::root(), rtype: rtype::DNSKEY, ttl: TTL, data: all, signatures: Vec::new() };
    let signatures = keys.iter().filter_map(|key| match key {
        In::Signing(it) | In::Revoking(it) => Some(it.sign(&set, &data(key), at)),
        In::There(_) | In::Flagged(_) => None,
    });
    set.signatures = signatures.collect();
    set
}

fn anchors(configured: &[&Ksk]) -> Anchors {
    Anchors::new(configured.iter().map(|key| key.ds()).collect(), Followed::default())
}

impl Anchors {
    fn sees(&mut self, keys: &[In<'_>], at: u64) -> Result<(), Unobserved> {
        self.observe(&set(keys, at), at, &Unlimited).outcome
    }

    fn state(&self, key: &Ksk) -> Option<AnchorState> {
        self.followed.keys.iter().find(|it| it.data == key.data()).map(|it| it.state)
    }

    fn trusts(&self, key: &Ksk) -> bool {
        self.trusted().contains(&key.ds())
    }
}

#[test]
fn a_roll_over_goes_by_the_table_of_the_rfc() {
    use AnchorState::{Missing, Pending, Removed, Revoked, Valid};
    use In::{Revoking, Signing, There};
    let (old, new) = (&Ksk::new(), &Ksk::new());
    let mut anchors = anchors(&[old]);
    /// The section, the day, the set, and what both keys are then.
    type Step<'a> = (&'a str, u64, &'a [In<'a>], Option<AnchorState>, Option<AnchorState>);
    let steps: [Step<'_>; 14] = [
        ("the configured key is Valid as soon as it is seen (5)", 0, &[Signing(old)], Some(Valid), None),
        ("NewKey (4.1)", 1, &[Signing(old), There(new)], Some(Valid), Some(Pending)),
        ("not before the add time (2.4.1)", 30, &[Signing(old), There(new)], Some(Valid), Some(Pending)),
        ("AddTime (4.1)", 31, &[Signing(old), There(new)], Some(Valid), Some(Valid)),
        ("KeyRem of a Valid key (4.1)", 32, &[Signing(new)], Some(Missing), Some(Valid)),
        ("KeyPres (4.1)", 33, &[Signing(new), There(old)], Some(Valid), Some(Valid)),
        ("a Missing key is an anchor (4.2)", 34, &[Signing(old)], Some(Valid), Some(Missing)),
        ("and comes back by the other (4.2)", 35, &[Signing(old), Signing(new)], Some(Valid), Some(Valid)),
        ("RevBit (4.1)", 40, &[Revoking(old), Signing(new)], Some(Revoked), Some(Valid)),
        ("seen again, it waits anew (2.4.2)", 60, &[Revoking(old), Signing(new)], Some(Revoked), Some(Valid)),
        ("before the remove time (2.4.2)", 89, &[Signing(new)], Some(Revoked), Some(Valid)),
        ("RemTime (4.1)", 90, &[Signing(new)], Some(Removed), Some(Valid)),
        ("revoked is for ever (2.1)", 91, &[Signing(new), Signing(old)], Some(Removed), Some(Valid)),
        ("and so it stays (4.2)", 200, &[Signing(new), There(old)], Some(Removed), Some(Valid)),
    ];
    for (section, day, keys, of_old, of_new) in steps {
        let at = BEGIN + day * DAY;
        assert_eq!(anchors.sees(keys, at), Ok(()), "{section}");
        assert_eq!((anchors.state(old), anchors.state(new)), (of_old, of_new), "{section}");
        for (key, state) in [(old, of_old), (new, of_new)] {
            assert_eq!(anchors.trusts(key), state.is_some_and(AnchorState::is_trusted), "{section}");
        }
        // A restart changes nothing.
        let followed = Followed::parse(&anchors.followed.to_text()).unwrap();
        assert_eq!(followed, anchors.followed, "{section}");
        anchors = Anchors::new(vec![old.ds()], followed);
    }
    assert!(matches!(anchors.sees(&[In::Signing(old)], BEGIN + 201 * DAY), Err(Unobserved::Invalid(_))));
}

#[test]
fn changes_are_told_with_what_they_were_before() {
    let (old, new) = (&Ksk::new(), &Ksk::new());
    let mut anchors = anchors(&[old]);
    let changes = |anchors: &mut Anchors, keys: &[In<'_>], day: u64| {
        let at = BEGIN + day * DAY;
        let changes = anchors.observe(&set(keys, at), at, &Unlimited).changes;
        changes.into_iter().map(|it| (it.key_tag, it.from, it.to)).collect::<Vec<_>>()
    };
    let [of_old, of_new] = [old, new].map(|key| keys::tag(&key.data()));
    use AnchorState::{Pending, Revoked, Valid};
    assert_eq!(changes(&mut anchors, &[In::Signing(old)], 0), [(of_old, None, Some(Valid))]);
    let both = [In::Signing(old), In::There(new)];
    assert_eq!(changes(&mut anchors, &both, 1), [(of_new, None, Some(Pending))]);
    assert_eq!(changes(&mut anchors, &both, 2), []);
    assert_eq!(changes(&mut anchors, &[In::Signing(old)], 3), [(of_new, Some(Pending), None)]);
    let revoked = [In::Revoking(old)];
    assert_eq!(changes(&mut anchors, &revoked, 4), [(of_old, Some(Valid), Some(Revoked))]);
}

#[test]
fn a_key_that_vanishes_in_hold_down_begins_anew() {
    let (old, new) = (&Ksk::new(), &Ksk::new());
    let mut anchors = anchors(&[old]);
    let both = [In::Signing(old), In::There(new)];
    for (day, keys, expected) in [
        (0, &both[..], Some(AnchorState::Pending)),
        (29, &both[..1], None),
        (30, &both, Some(AnchorState::Pending)),
        (59, &both, Some(AnchorState::Pending)),
        (60, &both, Some(AnchorState::Valid)),
    ] {
        anchors.sees(keys, BEGIN + day * DAY).unwrap();
        assert_eq!(anchors.state(new), expected, "day {day}");
    }
}

#[test]
fn a_set_that_no_anchor_signs_changes_nothing() {
    let (old, evil) = (&Ksk::new(), &Ksk::new());
    let mut anchors = anchors(&[old]);
    anchors.sees(&[In::Signing(old)], BEGIN).unwrap();
    let before = anchors.followed.clone();
    let both = [In::There(old), In::Signing(evil)];
    assert_eq!(anchors.sees(&both, BEGIN + DAY), Err(Unobserved::Invalid(ede::RRSIGS_MISSING)));
    // One whose data was changed after it was signed.
    let mut forged = set(&[In::Signing(old)], BEGIN + DAY);
    forged.data.push(evil.data());
    forged.data.sort_unstable();
    let seen = anchors.observe(&forged, BEGIN + DAY, &Unlimited);
    assert_eq!(seen.outcome, Err(Unobserved::Invalid(ede::BOGUS)));
    // One whose time is over, and one whose checks nobody pays for.
    let true_one = set(&[In::Signing(old), In::There(evil)], BEGIN + DAY);
    let seen = anchors.observe(&true_one, BEGIN + 12 * DAY, &Unlimited);
    assert_eq!(seen.outcome, Err(Unobserved::Invalid(ede::EXPIRED)));
    assert!(anchors.observe(&true_one, BEGIN + DAY, &Exhausted).outcome.is_err());
    assert_eq!(anchors.followed, before);
}

#[test]
fn a_replayed_set_does_not_have_a_key_lose_what_it_has_waited() {
    let (old, new) = (&Ksk::new(), &Ksk::new());
    let mut anchors = anchors(&[old]);
    let replayed = set(&[In::Signing(old)], BEGIN);
    let both = [In::Signing(old), In::There(new)];
    anchors.sees(&both, BEGIN + DAY).unwrap();
    let seen = anchors.observe(&replayed, BEGIN + 2 * DAY, &Unlimited);
    assert_eq!((seen.changes, seen.outcome), (Vec::new(), Err(Unobserved::Old)));
    anchors.sees(&both, BEGIN + 31 * DAY).unwrap();
    assert_eq!(anchors.state(new), Some(AnchorState::Valid));
}

#[test]
fn a_key_is_revoked_by_itself_alone() {
    let (one, other) = (&Ksk::new(), &Ksk::new());
    let mut anchors = anchors(&[one, other]);
    anchors.sees(&[In::Signing(one), In::Signing(other)], BEGIN).unwrap();
    anchors.sees(&[In::Flagged(one), In::Signing(other)], BEGIN + DAY).unwrap();
    assert_eq!(anchors.state(one), Some(AnchorState::Missing), "without its signature");
    // With it, even where nothing else has a signature.
    let seen = anchors.sees(&[In::Revoking(one), In::There(other)], BEGIN + 2 * DAY);
    assert_eq!(seen, Err(Unobserved::Invalid(ede::RRSIGS_MISSING)));
    assert_eq!(anchors.state(one), Some(AnchorState::Revoked));
    assert!(!anchors.trusts(one) && anchors.trusts(other));
}

#[test]
fn when_all_anchors_are_revoked_nothing_is_trusted_until_others_are_configured() {
    let (old, new, pending) = (&Ksk::new(), &Ksk::new(), &Ksk::new());
    let mut anchors = anchors(&[old]);
    anchors.sees(&[In::Signing(old), In::There(pending)], BEGIN).unwrap();
    // One that was configured and never seen is revoked as well.
    assert_eq!(
        anchors.sees(&[In::Revoking(old), In::Signing(pending)], BEGIN + DAY),
        Err(Unobserved::NoAnchor)
    );
    assert!(anchors.trusted().is_empty());
    let again = Anchors::new(vec![old.ds()], anchors.followed.clone());
    assert!(again.trusted().is_empty(), "the old file does not bring it back");
    let configured = Anchors::new(vec![old.ds(), new.ds(), pending.ds()], anchors.followed.clone());
    assert!(configured.trusts(new) && configured.trusts(pending) && !configured.trusts(old));
    let mut unseen = self::anchors(&[old]);
    assert_eq!(unseen.sees(&[In::Revoking(old)], BEGIN), Err(Unobserved::NoAnchor));
}

#[test]
fn a_clock_that_goes_back_gives_a_key_nothing() {
    let (old, new) = (&Ksk::new(), &Ksk::new());
    let mut anchors = anchors(&[old]);
    let both = [In::Signing(old), In::There(new)];
    anchors.sees(&both, BEGIN + 100 * DAY).unwrap();
    // The signer's clock is right, and its sets of before are older ones.
    for day in [0, 29, 30, 129] {
        let at = BEGIN + day * DAY;
        let keys = set(&both, at);
        anchors.followed.inception = 0;
        assert_eq!(anchors.observe(&keys, at, &Unlimited).outcome, Ok(()));
        assert_eq!(anchors.state(new), Some(AnchorState::Pending), "day {day}");
    }
    anchors.sees(&both, BEGIN + 130 * DAY).unwrap();
    assert_eq!(anchors.state(new), Some(AnchorState::Valid));
    // Nor is a probe waited for that was to come long after.
    assert!(anchors.take_probe(BEGIN - 100 * DAY));
}

#[test]
fn a_clock_that_is_wrong_at_the_start_and_put_right_does_not_make_a_new_key_old() {
    let (old, new) = (&Ksk::new(), &Ksk::new());
    let both = [In::Signing(old), In::There(new)];
    for wrong in [7, BEGIN - 400 * DAY] {
        let mut anchors = anchors(&[old]);
        anchors.sees(&both, BEGIN).unwrap();
        let before = anchors.followed.clone();
        let seen = anchors.observe(&set(&both, BEGIN + DAY), wrong, &Unlimited);
        assert_eq!((seen.changes, seen.outcome), (Vec::new(), Err(Unobserved::Invalid(ede::NOT_YET_VALID))));
        assert_eq!(anchors.followed, before, "at {wrong}");
        for (day, state) in [(1, AnchorState::Pending), (29, AnchorState::Pending), (30, AnchorState::Valid)]
        {
            anchors.sees(&both, BEGIN + day * DAY).unwrap();
            assert_eq!(anchors.state(new), Some(state), "at {wrong}, then on day {day}");
        }
    }
}

#[test]
fn it_is_counted_how_often_it_was_changed_what_is_trusted() {
    let (old, new) = (&Ksk::new(), &Ksk::new());
    let sees = |anchors: &TrustAnchors, keys: &[In<'_>], day: u64| {
        let at = BEGIN + day * DAY;
        anchors.observe(&set(keys, at), at, &Unlimited);
        anchors.generation()
    };
    let one = TrustAnchors::followed(vec![old.ds()], Followed::default());
    let both = [In::Signing(old), In::There(new)];
    assert_eq!(sees(&one, &both[..1], 0), 0, "a configured key was trusted before it was seen");
    assert_eq!((sees(&one, &both, 1), sees(&one, &both, 31)), (0, 1), "a new one is when it has waited");
    assert_eq!(sees(&one, &[In::Signing(new)], 32), 1, "what is missing is trusted");
    assert_eq!(sees(&one, &[In::Revoking(old), In::Signing(new)], 33), 2);
    let two = TrustAnchors::followed(vec![old.ds(), new.ds()], Followed::default());
    assert_eq!(sees(&two, &[In::Revoking(old), In::Signing(new)], 0), 1, "it was trusted and never seen");
}

#[test]
fn the_root_is_asked_as_often_as_the_rfc_says() {
    let key = &Ksk::new();
    let mut anchors = anchors(&[key]);
    assert!(anchors.take_probe(BEGIN), "at the start");
    assert!(
        !anchors.take_probe(BEGIN + 3_599) && anchors.take_probe(BEGIN + 3_600),
        "an hour after it failed"
    );
    // Half of the TTL of two days, which is less than half of what the signature has left.
    anchors.sees(&[In::Signing(key)], BEGIN).unwrap();
    assert!(!anchors.take_probe(BEGIN + DAY - 1) && anchors.take_probe(BEGIN + DAY));
    // A tenth of it, when that failed.
    assert!(!anchors.take_probe(BEGIN + DAY + 17_279) && anchors.take_probe(BEGIN + DAY + 17_280));
    // Half of what the signature has left.
    let old = set(&[In::Signing(key)], BEGIN);
    anchors.observe(&old, BEGIN + 9 * DAY, &Unlimited).outcome.unwrap();
    assert!(!anchors.take_probe(BEGIN + 9 * DAY + DAY / 2 - 1));
    assert!(anchors.take_probe(BEGIN + 9 * DAY + DAY / 2));
}

#[test]
fn only_keys_that_sign_keys_and_can_be_checked_are_followed_and_not_too_many() {
    let key = &Ksk::new();
    let mut anchors = anchors(&[key]);
    let mut keys = vec![[&[1, 0, 3, 13][..], &[7; 64]].concat(), [&[1, 1, 3, 5][..], &[7; 64]].concat()];
    keys.push([&[1, 1, 3, 13][..], &[7; KEY_OCTETS_MAX]].concat());
    keys.extend((0..50).map(|number| [&[1, 1, 3, 13][..], &[number; 64]].concat()));
    let mut all = set(&[In::There(key)], BEGIN);
    all.data.extend(keys.iter().map(|data| data.clone().into()));
    all.data.sort_unstable();
    all.signatures = vec![key.sign(&all, &key.data(), BEGIN)];
    anchors.observe(&all, BEGIN, &Unlimited).outcome.unwrap();
    assert_eq!(anchors.followed.keys.len(), KEYS_MAX);
    let followed = |data: &Vec<u8>| anchors.followed.keys.iter().any(|it| *it.data == data[..]);
    assert!(!keys[..3].iter().any(followed));
    // What is revoked has room, however many there are.
    let other = &Ksk::new();
    let mut anchors = Anchors::new(vec![key.ds(), other.ds()], anchors.followed.clone());
    anchors.sees(&[In::Signing(key), In::Revoking(other)], BEGIN + DAY).unwrap();
    assert_eq!(anchors.state(other), Some(AnchorState::Revoked));
    assert!(anchors.followed.keys.len() <= KEYS_MAX);
    assert!(anchors.followed.to_text().len() <= text::OCTETS_MAX);
}

#[test]
fn what_was_kept_and_is_damaged_is_not_read() {
    let (old, new) = (&Ksk::new(), &Ksk::new());
    let mut anchors = anchors(&[old]);
    anchors.sees(&[In::Signing(old), In::There(new)], BEGIN).unwrap();
    let text = anchors.followed.to_text();
    assert_eq!(Followed::parse(&text).as_ref(), Ok(&anchors.followed));
    for length in 0..text.len() {
        assert!(Followed::parse(&text[..length]).is_err(), "cut off after {length} octets");
    }
    for at in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[at] ^= 1;
        assert!(Followed::parse(&String::from_utf8(changed).unwrap()).is_err(), "octet {at}");
    }
    assert_eq!(Followed::parse(&"x".repeat(text::OCTETS_MAX + 1)), Err(NotFollowed::TooLong));
}

#[test]
fn what_has_the_right_digest_and_is_not_as_it_is_written_is_not_read() {
    let text = Followed::default().to_text();
    let (body, _) = text.trim_end().rsplit_once('\n').unwrap();
    let key = Ksk::new().data();
    let (tag, key) =
        (keys::tag(&key), base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &key));
    for (lines, line) in [
        (format!("valid {tag} 7 {key}"), None),
        (format!("valid {tag} 7 {key}\nvalid {tag} 7 {key}"), Some(4)),
        (format!("valid {tag} 07 {key}"), Some(1)),
        (format!("valid {} 7 {key}", tag ^ 1), Some(1)),
        (format!("pending {tag} 7 {key}"), Some(3)),
        (format!("valid {tag} 7 8 {key}"), Some(3)),
        (format!("good {tag} 7 {key}"), Some(3)),
        (format!("valid {tag} 7 AQEDDQ=="), Some(3)),
        (String::new(), Some(1)),
    ] {
        let whole = sealed(format!("{body}\n{lines}\n"));
        let expected = line.map_or(Ok(()), |line| Err(NotFollowed::Line { line }));
        assert_eq!(Followed::parse(&whole).map(|_| ()), expected, "{lines}");
    }
}
