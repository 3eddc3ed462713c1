use proptest::prelude::*;
use proxima_model::NodeName;

use super::*;

fn key() -> impl Strategy<Value = KvKey> {
    "[a-z/é]{1,40}".prop_map(|text| KvKey::parse(&text).expect("a key"))
}

fn value() -> impl Strategy<Value = KvValue> {
    let octets = proptest::collection::vec(any::<u8>(), 0..200);
    let metadata = proptest::option::of("[ -~]{0,60}");
    (octets, metadata, proptest::option::of(any::<i64>())).prop_map(|(value, metadata, expires)| KvValue {
        value: value.into(),
        metadata: metadata.map(String::into_boxed_str),
        expires: expires.map(Timestamp::from_millis),
    })
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (any::<i64>(), any::<u32>(), "[a-z]{1,10}").prop_map(|(at_ms, count, by)| Stamp {
        at_ms,
        count,
        by: NodeName::parse(&by).expect("a name"),
    })
}

fn namespace() -> impl Strategy<Value = KvNamespaceId> {
    any::<[u8; 16]>().prop_map(KvNamespaceId::from_bytes)
}

fn versions() -> impl Strategy<Value = Vec<Version>> {
    let version = (namespace(), key(), stamp(), proptest::option::of(value()))
        .prop_map(|(namespace, key, stamp, value)| Version { namespace, key, stamp, value });
    proptest::collection::vec(version, 0..6)
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same(
        namespace in namespace(),
        writes in proptest::collection::vec((key(), proptest::option::of(value())), 0..6),
        versions in versions(),
        age_ms in any::<u64>(),
    ) {
        let (key, value) = writes.first().cloned().unwrap_or((KvKey::parse("k").expect("a key"), None));
        let names = writes.iter().map(|(key, _)| (namespace, key.clone())).collect();
        let asked = KvListing { prefix: "a".to_owned(), after: Some(key.clone()), limit: 7 };
        for question in [
            Question::Read { namespace, key, near_ms: Some(age_ms) },
            Question::Write { namespace, writes },
            Question::List { namespace, asked },
            Question::Merge(versions.clone()),
            Question::Forget(names),
            Question::Nudge,
            Question::VersionsUpTo { store: StoreId::default(), numbers: vec![Number(age_ms)], value_octets_max: 9 },
        ] {
            prop_assert_eq!(Question::read(question.write()), Ok(question));
        }
        for answer in [
            Answer::Found { value, age_ms },
            Answer::Done,
            Answer::Versions(versions, 3),
            Answer::Refused(Refusal::Full("so".to_owned())),
        ] {
            prop_assert_eq!(Answer::read(answer.write()), Ok(answer));
        }
    }

    #[test]
    fn what_is_cut_short_or_goes_on_is_malformed(versions in versions(), cut in any::<proptest::sample::Index>()) {
        let whole = Question::Merge(versions).write();
        let cut = cut.index(whole.len());
        prop_assert_eq!(Question::read(whole.slice(..cut)), Err(Malformed));
        prop_assert_eq!(Question::read([&whole[..], b"x"].concat().into()), Err(Malformed));
    }
}

#[test]
fn as_many_items_as_may_be_are_read_and_one_more_is_not() {
    let names = |count: usize| {
        let key = |number| KvKey::parse(&format!("{number:0>512}")).expect("a key");
        (0..count).map(|number| (KvNamespaceId::from_bytes([1; 16]), key(number))).collect()
    };
    assert!(Question::read(Question::Forget(names(ITEMS_MAX)).write()).is_ok());
    assert_eq!(Question::read(Question::Forget(names(ITEMS_MAX + 1)).write()), Err(Malformed));
}

#[test]
fn a_value_of_the_longest_is_read_and_a_longer_one_is_not() {
    let found = |octets: usize, metadata: usize| {
        let metadata = Some("x".repeat(metadata).into_boxed_str());
        let value = KvValue { value: vec![7; octets].into(), metadata, expires: None };
        Answer::read(Answer::Found { value: Some(value), age_ms: 0 }.write())
    };
    let (octets, metadata) = (limits::KV_VALUE_OCTETS_MAX, limits::KV_METADATA_OCTETS_MAX);
    assert!(found(octets, metadata).is_ok());
    assert_eq!(found(octets + 1, metadata), Err(Malformed));
    assert_eq!(found(octets, metadata + 1), Err(Malformed));
}

#[test]
fn what_version_1_says_stays_as_it_was() {
    let head = |octets: &[u8]| {
        let length = u32::try_from(octets.len()).expect("short");
        Bytes::from([&length.to_be_bytes(), octets].concat())
    };
    let store = StoreId::default();
    let changes = Question::Changes { store, since: Number(300) };
    assert_eq!(changes.write(), head(&[&[4], &[0; 16][..], &[0xAC, 2]].concat()));
    assert_eq!(Question::Nudge.write(), head(&[7]));
    let feed = Answer::Feed(store, Feed { changes: Vec::new(), up_to: Number(300), has_more: true });
    assert_eq!(feed.write(), head(&[&[3], &[0; 16][..], &[0, 0xAC, 2, 1]].concat()));
    assert_eq!(Answer::Refused(Refusal::NotUnderstood).write(), head(&[5, 5]));
    // What comes after it is what that version says of what it does not know.
    assert_eq!(Question::read(head(&[200, 1])), Err(Malformed));
}

#[test]
fn a_list_of_as_many_servers_as_there_may_be_is_read_and_of_one_more_is_not() {
    let among = |count: usize| {
        let about = |number| ServerAbout {
            name: NodeName::parse(&format!("server-{number}")).expect("a name"),
            pop: PopCode::parse("FRA").expect("a code"),
            region: RegionName::parse("europe").expect("a region"),
        };
        let among = Among::Servers((0..count).map(about).collect());
        Question::ChangesAmong { store: StoreId::default(), since: Number(1), among }
    };
    let question = among(SERVERS_MAX);
    assert_eq!(Question::read(question.write()), Ok(question));
    assert_eq!(Question::read(among(SERVERS_MAX + 1).write()), Err(Malformed));
    let by_digest =
        Question::ChangesAmong { store: StoreId::default(), since: Number(1), among: Among::Digest(7) };
    assert_eq!(Question::read(by_digest.write()), Ok(by_digest));
}
