//! A store in a folder of its own; the tests say what time it is.

mod disk;
mod upkeep;

use std::collections::BTreeMap;

use proptest::prelude::*;
use proxima_model::limits;
use proxima_pipeline::KvListing;
use proxima_store::Commit as _;

use super::{commit::Done, *};
use crate::room::ROOM_OCTETS;

const MIB: u64 = 1 << 20;
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn open(&self) -> Store {
        self.open_with(256 * MIB)
    }

    fn open_with(&self, octets: u64) -> Store {
        Store::open(self.0.path(), octets, Space::endless(), &node("a")).expect("a store")
    }
}

fn node(name: &str) -> NodeName {
    NodeName::parse(name).expect("a name")
}

fn namespace(number: u8) -> KvNamespaceId {
    KvNamespaceId::from_bytes([number; 16])
}

fn key(text: &str) -> KvKey {
    KvKey::parse(text).expect("a key")
}

fn value(octets: impl Into<Octets>) -> KvValue {
    KvValue { value: octets.into(), metadata: None, expires: None }
}

fn later(ms: i64) -> Timestamp {
    Timestamp::from_millis(NOW.as_millis() + ms)
}

impl Store {
    /// Holds up all who write, until it is dropped.
    pub(crate) fn hold(&self) -> heed::RwTxn<'_> {
        self.env.write_txn().expect("writable")
    }

    /// Damages what numbers are given by.
    pub(crate) fn damage(&self) -> Result<(), StoreError> {
        let mut txn = self.env.write_txn()?;
        self.meta.put(&mut txn, commit::NEXT, b"x")?;
        Ok(txn.commit()?)
    }

    fn put(&self, text: &str, value: Option<KvValue>, now: Timestamp) -> Result<Done, StoreError> {
        self.commit(&[Job::Write(namespace(1), vec![(key(text), value)])], now).remove(0)
    }

    fn value_of(&self, text: &str, now: Timestamp) -> Option<KvValue> {
        let found = self.get((namespace(1), &key(text)), now, &Room::new(ROOM_OCTETS)).expect("readable");
        found.map(|(value, _)| value)
    }

    fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> (Vec<String>, bool) {
        let asked = KvListing { prefix: prefix.to_owned(), after: after.map(key), limit };
        let part = self.list(namespace(1), &asked, NOW).expect("readable");
        let Part::Page(page) = part else { panic!("{part:?}") };
        (page.keys.into_iter().map(|listed| listed.key.into()).collect(), page.has_more)
    }

    /// Rows, pieces, and entries of the indexes.
    fn counts(&self) -> [u64; 4] {
        let txn = self.env.read_txn().expect("readable");
        let len = |db: &Db| db.len(&txn).expect("readable");
        let keys = len(&self.keys.heads) + len(&self.keys.tails);
        [
            len(&self.rows),
            len(&self.pieces),
            keys + len(&self.gone.heads) + len(&self.gone.tails),
            len(&self.due),
        ]
    }
}

#[test]
fn what_was_written_is_there_when_the_store_is_opened_again_without_having_been_closed_in_order() {
    let folder = Folder::new();
    let store = folder.open();
    let long = vec![7; 100_000];
    let full =
        KvValue { value: long.into(), metadata: Some("{\"a\":1}".into()), expires: Some(later(60_000)) };
    store.put("long", Some(full.clone()), NOW).expect("written");
    store.put("gone", Some(value("x")), NOW).expect("written");
    store.put("gone", None, NOW).expect("written");
    let id = store.id();
    drop(store);
    let store = folder.open();
    assert_eq!(store.id(), id);
    assert_eq!(store.value_of("long", NOW), Some(full));
    assert_eq!(store.value_of("gone", NOW), None);
    let before = store.put("a", Some(value("1")), NOW).expect("written").stamps;
    drop(store);
    let after = folder.open().put("a", Some(value("2")), later(-5_000)).expect("written").stamps;
    assert!(after > before, "the clock is the store's: it does not go back with the machine's");
}

#[test]
fn of_what_is_written_at_once_each_is_whole_or_not_at_all() {
    let folder = Folder::new();
    let store = folder.open_with(8 * MIB);
    let large = |octets| Some(value(vec![1; octets]));
    let jobs = [
        Job::Write(namespace(1), vec![(key("a"), large(2_000_000))]),
        Job::Write(namespace(1), vec![(key("b"), large(10)), (key("c"), large(20_000_000))]),
        Job::Write(namespace(1), vec![(key("d"), large(10))]),
    ];
    let outcome = store.commit(&jobs, NOW);
    assert!(outcome[0].is_ok() && outcome[2].is_ok());
    assert!(matches!(outcome[1], Err(StoreError::Full(_))), "{outcome:?}");
    assert!(store.value_of("a", NOW).is_some() && store.value_of("d", NOW).is_some());
    assert_eq!((store.value_of("b", NOW), store.value_of("c", NOW)), (None, None));
    let [rows, pieces, ..] = store.counts();
    assert_eq!((rows, pieces), (2, 2_000_000_u64.div_ceil(row::PIECE_OCTETS as u64)));
}

#[test]
fn a_full_store_takes_deletions_and_then_values_again() {
    let folder = Folder::new();
    let store = folder.open_with(8 * MIB);
    let mut written = 0;
    let refused = loop {
        match store.put(&format!("{written}"), Some(value(vec![0; 300_000])), NOW) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StoreError::Full(_)) && written > 10, "{refused} {written}");
    assert!(matches!(store.put("x", Some(value(vec![0; 300_000])), NOW), Err(StoreError::Full(_))));
    for number in 0..written {
        store.put(&format!("{number}"), None, NOW).expect("deleted");
    }
    store.put("x", Some(value(vec![0; 300_000])), NOW).expect("written");
    assert!(store.value_of("x", NOW).is_some());
}

#[test]
fn a_value_of_any_length_is_read_as_it_was_written_and_leaves_nothing_when_it_goes() {
    let folder = Folder::new();
    let store = folder.open();
    let (short, piece) = (row::SHORT_OCTETS_MAX, row::PIECE_OCTETS);
    for length in [0, 1, short, short + 1, piece, piece + 1, 3 * piece, limits::KV_VALUE_OCTETS_MAX] {
        let octets: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).expect("small")).collect();
        store.put("k", Some(value(octets.clone())), NOW).expect("written");
        assert_eq!(store.value_of("k", NOW), Some(value(octets)), "{length}");
        let pieces = if length > short { length.div_ceil(piece) as u64 } else { 0 };
        assert_eq!(store.counts(), [1, pieces, 1, 0], "{length}");
    }
    store.put("k", None, NOW).expect("deleted");
    assert_eq!(store.counts(), [1, 0, 1, 1]);
}

#[test]
fn who_has_no_room_for_a_value_is_told_so() {
    let folder = Folder::new();
    let store = folder.open();
    store.put("k", Some(value(vec![0; 50_000])), NOW).expect("written");
    let room = Room::new(80_000);
    let get = || store.get((namespace(1), &key("k")), NOW, &room);
    let first = get().expect("there is room");
    assert_eq!(get().err(), Some(StoreError::Busy));
    drop(first);
    assert!(get().is_ok());
}

#[test]
fn keys_are_listed_in_the_order_of_their_octets_page_by_page_whatever_their_length() {
    let folder = Folder::new();
    let store = folder.open();
    let stem = "s".repeat(494);
    let mut all: Vec<String> = ["a", "a/1", "a/2", "a\0", "b", "é", "z"].map(str::to_owned).into();
    for end in ["", "\0", "\0\0", "a", "ab", "b", "é", "zzzzzzzzzzzzzzzzzz"] {
        all.push(format!("{stem}{end}"));
    }
    all.push(format!("{}é", "t".repeat(510)));
    for text in &all {
        store.put(text, Some(value(text.clone())), NOW).expect("written");
    }
    store.commit(&[Job::Write(namespace(2), vec![(key("a/other"), Some(value("")))])], NOW)[0]
        .as_ref()
        .expect("written");
    all.sort();
    for text in &all {
        assert_eq!(store.value_of(text, NOW), Some(value(text.clone())));
    }
    for limit in [1, 2, 3, 1_000] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let (page, has_more) = store.page("", after.as_deref(), limit);
            assert!(page.len() <= limit && has_more == (seen.len() + page.len() < all.len()));
            after = page.last().cloned().or(after);
            seen.extend(page);
            if !has_more {
                break;
            }
        }
        assert_eq!(seen, all, "{limit}");
    }
    assert_eq!(store.page("a/", None, 10).0, ["a/1", "a/2"]);
    assert_eq!(store.page("a/", Some("a/1"), 10).0, ["a/2"]);
    assert_eq!(store.page("a/", Some("A"), 10).0, ["a/1", "a/2"], "a cursor before the prefix");
    assert_eq!(store.page("a/", Some("b"), 10).0, Vec::<String>::new());
    assert_eq!(store.page("", None, 0), (Vec::new(), false), "there is no cursor to what would be more");
    let long = format!("{stem}a");
    assert_eq!(store.page(&long, None, 10).0, [long.clone(), format!("{stem}ab")]);
    assert_eq!(store.page(&long, Some(&long), 10).0, [format!("{stem}ab")]);
    assert_eq!(store.page(&long, Some("A"), 10).0, [long.clone(), format!("{stem}ab")]);
    assert_eq!(store.page(&format!("{stem}z"), Some(&long), 10).0, [format!("{stem}zzzzzzzzzzzzzzzzzz")]);
    for text in &all {
        store.put(text, None, NOW).expect("deleted");
    }
    assert_eq!(store.page("", None, 10), (Vec::new(), false));
}

#[test]
fn a_feed_tells_each_key_once_under_its_last_number_and_goes_on_where_it_ended() {
    let folder = Folder::new();
    let store = folder.open();
    for text in ["a", "b", "a", "c"] {
        store.put(text, Some(value(text)), NOW).expect("written");
    }
    store.commit(&[Job::Write(namespace(2), vec![(key("d"), None)])], NOW)[0].as_ref().expect("written");
    let first = store.changes(Number::default(), 2, |_| true).expect("readable");
    let keys =
        |feed: &Feed| feed.changes.iter().map(|change| change.key.as_str().to_owned()).collect::<Vec<_>>();
    assert_eq!((keys(&first), first.has_more), (vec!["b".to_owned(), "a".to_owned()], true));
    let rest = store.changes(first.up_to, 2, |wanted| wanted == namespace(2)).expect("readable");
    assert_eq!((keys(&rest), rest.has_more), (vec!["d".to_owned()], false));
    let nothing = store.changes(rest.up_to, 2, |_| true).expect("readable");
    assert_eq!(nothing, Feed { up_to: rest.up_to, ..Feed::default() });
    assert_eq!(store.missing(&first.changes), Ok(Vec::new()));
    let other = Folder::new();
    let other = other.open();
    let numbers = other.missing(&first.changes).expect("readable");
    assert_eq!(numbers.len(), 2);
    let room = Room::new(ROOM_OCTETS);
    let (versions, done, _) = store.versions(&numbers, [1, 9], &room).expect("readable");
    assert_eq!((versions.len(), done), (1, 1), "one at least, and no more than was asked for");
    let (versions, done, _) = store.versions(&numbers, [1_000, 0], &room).expect("readable");
    assert_eq!((versions.len(), done), (0, 2), "what is larger than is asked for is passed over");
    store.put("a", None, NOW).expect("deleted");
    let (versions, done, _) = store.versions(&numbers, [1_000; 2], &room).expect("readable");
    assert_eq!((versions.len(), done), (1, 2), "what was overwritten is told under its new number");
    let cursor = Cursor { store: store.id(), up_to: Number(7) };
    for (before, taken) in [(Cursor::default(), 1), (Cursor::default(), 0), (cursor, 1)] {
        let job = Job::Cursor("a".to_owned(), [before, cursor]);
        assert_eq!(other.commit(&[job], NOW)[0].as_ref().map(|done| done.taken), Ok(taken));
    }
    assert_eq!((other.cursor("a"), other.cursor("b")), (Ok(cursor), Ok(Cursor::default())));
}

#[test]
fn a_write_from_far_ahead_is_refused_and_none_of_its_message_is_written() {
    let folder = Folder::new();
    let store = folder.open();
    let version = |text, at_ms| Version {
        namespace: namespace(1),
        key: key(text),
        stamp: at(at_ms, "b"),
        value: Some(value("x")),
    };
    let jobs = [Job::Merge(vec![version("a", 0), version("b", crate::stamp::AHEAD_MS_MAX + 1)])];
    assert!(matches!(store.commit(&jobs, NOW)[0], Err(StoreError::Ahead(_))));
    assert_eq!(store.counts(), [0; 4]);
}

#[test]
fn a_file_that_was_cut_short_is_told_and_not_touched() {
    let folder = Folder::new();
    folder.open().put("k", Some(value(vec![0; 500_000])), NOW).expect("written");
    let file = std::fs::File::options().write(true).open(folder.0.path().join("data.mdb")).expect("a file");
    file.set_len(100_000).expect("cut");
    let opened = Store::open(folder.0.path(), 256 * MIB, Space::endless(), &node("a"));
    assert!(matches!(opened.err(), Some(StoreError::Broken(_))));
}

fn at(ms: i64, by: &str) -> Stamp {
    Stamp { at_ms: NOW.as_millis() + ms, count: 0, by: node(by) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_order_and_repetition_of_deliveries_leads_to_the_same_values(
        writes in proptest::collection::vec((0_u8..4, 0_i64..6, 0_u8..3, proptest::option::of(0_usize..3_000)), 1..14),
        orders in proptest::collection::vec(proptest::collection::vec(any::<proptest::sample::Index>(), 0..30), 2..4),
    ) {
        // One writer gives a stamp once.
        let mut versions = BTreeMap::new();
        for (at_key, ms, by, length) in writes {
            let stamp = at(ms, ["a", "b", "c"][usize::from(by)]);
            let value = length.map(|length| value(vec![by; length]));
            let version = Version { namespace: namespace(1), key: key(&format!("k{at_key}")), stamp: stamp.clone(), value };
            versions.entry(stamp).or_insert(version);
        }
        let versions: Vec<_> = versions.into_values().collect();
        let mut wanted = BTreeMap::new();
        for version in &versions {
            wanted.insert(version.key.clone(), version.value.clone());
        }
        for order in orders {
            let folder = Folder::new();
            let store = folder.open();
            // Some of them, in some order, some of them again and again; and then all of them.
            let some = order.iter().map(|index| index.get(&versions).clone());
            for version in some.chain(versions.iter().rev().cloned()) {
                let done = store.commit(&[Job::Merge(vec![version])], NOW).remove(0);
                prop_assert!(done.is_ok());
            }
            for (key, value) in &wanted {
                prop_assert_eq!(&store.value_of(key.as_str(), NOW), value);
            }
            let [rows, _, entries, _] = store.counts();
            prop_assert_eq!((rows, entries), (wanted.len() as u64, wanted.len() as u64), "one row for each key");
        }
    }
}
