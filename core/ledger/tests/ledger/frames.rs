//! Every octet that a peer sends passes through [`Message::decode`].

use std::time::Duration;

use proptest::{collection::vec, option, prelude::*};
use proxima_ledger::{
    Append, Change, Fingerprint, IdempotencyKey, Precondition, Seq,
    message::{Failure, Message, NoAnswer, Pulse, Refusal, SnapshotItem},
};
use proxima_model::{Key, Kind, Timestamp};

fn key() -> impl Strategy<Value = Key> {
    (0..Kind::ALL.len(), "[a-z0-9]{1,40}").prop_map(|(kind, name)| Key::new(Kind::ALL[kind], &[&name]))
}

fn seq() -> impl Strategy<Value = Seq> {
    any::<u64>().prop_map(Seq)
}

fn precondition() -> impl Strategy<Value = Precondition> {
    prop_oneof![
        key().prop_map(Precondition::Absent),
        key().prop_map(Precondition::Present),
        (key(), seq()).prop_map(|(key, seq)| Precondition::Revision(key, seq)),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (key(), vec(any::<u8>(), 0..200)).prop_map(|(key, value)| Change::Put { key, value }),
        key().prop_map(|key| Change::Delete { key }),
    ]
}

fn append() -> impl Strategy<Value = Append> {
    let names = ("\\PC{0,60}", "\\PC{0,60}");
    (vec(change(), 0..20), vec(precondition(), 0..5), names, fingerprint()).prop_map(
        |(changes, preconditions, (idempotency_key, author), fingerprint)| Append {
            changes,
            preconditions,
            idempotency_key: IdempotencyKey(idempotency_key),
            fingerprint,
            author,
        },
    )
}

fn fingerprint() -> impl Strategy<Value = Option<Fingerprint>> {
    option::of(any::<[u8; 32]>().prop_map(Fingerprint))
}

fn pulse() -> impl Strategy<Value = Pulse> {
    (seq(), seq(), option::of(any::<u32>())).prop_map(|(seq, log_last, heard)| Pulse {
        seq,
        log_last,
        log_heard: heard.map(|millis| Duration::from_millis(millis.into())),
    })
}

fn item() -> impl Strategy<Value = SnapshotItem> {
    let at = any::<i64>().prop_map(Timestamp::from_millis);
    prop_oneof![
        (key(), seq(), vec(any::<u8>(), 0..100)).prop_map(|(key, revision, value)| SnapshotItem::Value {
            key,
            revision,
            value
        }),
        ("\\PC{1,60}", seq(), at, fingerprint()).prop_map(|(key, seq, at, fingerprint)| SnapshotItem::Seen {
            key,
            seq,
            at,
            fingerprint
        }),
    ]
}

fn told() -> impl Strategy<Value = Result<Vec<u8>, NoAnswer>> {
    prop_oneof![
        vec(any::<u8>(), 0..300).prop_map(Ok),
        Just(Err(NoAnswer::TooLarge)),
        "\\PC{0,60}".prop_map(|topic| Err(NoAnswer::Nobody(topic))),
        "\\PC{0,60}".prop_map(|reason| Err(NoAnswer::Other(reason))),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![1 => vec(any::<u8>(), 0..300).prop_map(Message::Entry), 16 => checked()]
}

/// A message of which all is checked as it is decoded: all but an entry, which is passed on as it is, and checked when it is
/// applied.
fn checked() -> impl Strategy<Value = Message> {
    prop_oneof![
        any::<u16>().prop_map(|version| Message::Hello { version, log: None }),
        (any::<bool>(), pulse()).prop_map(|(keeps_log, pulse)| Message::Welcome {
            version: 1,
            log: None,
            keeps_log,
            pulse
        }),
        (any::<u64>(), append()).prop_map(|(id, append)| Message::Append { id, append }),
        (any::<u64>(), seq(), any::<bool>()).prop_map(|(id, seq, repeated)| Message::Appended {
            id,
            seq,
            repeated
        }),
        (any::<u64>(), precondition(), option::of(seq())).prop_map(|(id, failed, found)| Message::Refused {
            id,
            refusal: Refusal::Precondition(failed, found)
        }),
        (any::<u64>(), seq()).prop_map(|(id, seq)| Message::Refused { id, refusal: Refusal::KeyReused(seq) }),
        (any::<u64>(), "\\PC{0,100}")
            .prop_map(|(id, reason)| Message::Refused { id, refusal: Refusal::Full(reason) }),
        (any::<u64>(), "\\PC{0,60}", vec(any::<u8>(), 0..300))
            .prop_map(|(id, topic, question)| Message::Ask { id, topic, question }),
        (any::<u64>(), told()).prop_map(|(id, answer)| Message::Told { id, answer }),
        seq().prop_map(|from| Message::Subscribe { from, digest: None }),
        pulse().prop_map(Message::Heartbeat),
        Just(Message::SnapshotRequest),
        vec(item(), 0..10).prop_map(Message::SnapshotChunk),
        (any::<u64>(), any::<u32>()).prop_map(|(items, checksum)| Message::SnapshotEnd { items, checksum }),
        seq().prop_map(|seq| Message::Failed(Failure::Compacted(seq))),
        "\\PC{0,100}".prop_map(|reason| Message::Failed(Failure::Other(reason))),
    ]
}

proptest! {
    #[test]
    fn a_message_is_what_was_encoded(message in message()) {
        prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn arbitrary_octets_never_panic(octets in vec(any::<u8>(), 0..2_000)) {
        let _ = Message::decode(&octets);
    }

    #[test]
    fn a_damaged_message_never_panics_and_what_it_decodes_to_encodes_the_same(
        message in message(), place in any::<prop::sample::Index>(), octet in any::<u8>()
    ) {
        let mut octets = message.encode();
        let place = place.index(octets.len());
        octets[place] = octet;
        if let Ok(decoded) = Message::decode(&octets) {
            prop_assert_eq!(decoded.encode(), octets);
        }
    }

    /// But for one place: an append ends with its fingerprint or without, so one that is cut just before it is whole.
    /// That no peer cuts there is the frame's matter, which says its length.
    #[test]
    fn a_message_cut_short_is_refused(message in checked()) {
        let octets = message.encode();
        let without = match message {
            Message::Append { id, append } if append.fingerprint.is_some() => {
                Some(Message::Append { id, append: Append { fingerprint: None, ..append } })
            }
            _ => None,
        };
        for cut in 0..octets.len() {
            let decoded = Message::decode(&octets[..cut]);
            if without.is_some() && cut + size_of::<Fingerprint>() == octets.len() {
                prop_assert_eq!(decoded.ok(), without.clone());
            } else {
                prop_assert!(decoded.is_err(), "cut at {} of {}", cut, octets.len());
            }
        }
    }

    #[test]
    fn a_message_with_more_behind_it_is_refused(message in checked(), more in vec(any::<u8>(), 1..20)) {
        let mut octets = message.encode();
        octets.extend(more);
        prop_assert!(Message::decode(&octets).is_err());
    }
}

#[test]
fn a_promise_of_more_items_than_there_are_takes_no_memory() {
    // A chunk that claims 65,536 items in four octets.
    assert!(Message::decode(&[11, 0, 1, 0, 0, 1, 0, 0]).is_err());
    // An append that claims four billion changes.
    let mut append = vec![3];
    append.extend([0; 8]);
    append.extend([0; 4]);
    append.extend([0; 4]);
    append.extend([0; 4]);
    append.extend([0xff; 4]);
    assert!(Message::decode(&append).is_err());
}
