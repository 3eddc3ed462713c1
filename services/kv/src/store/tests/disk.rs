//! A disk that is full.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::*;

const FREE_MIN: u64 = 100 * MIB;
/// Octets of a large value.
const LARGE: usize = 1 << 20;

fn large(round: u8) -> Option<KvValue> {
    Some(value(vec![round; LARGE]))
}

#[test]
fn a_full_disk_takes_what_has_room_in_the_file_and_every_deletion_and_nothing_else() {
    let (folder, left) = (Folder::new(), Arc::new(AtomicU64::new(FREE_MIN + 30 * MIB)));
    let of_disk = Arc::clone(&left);
    let space = Space::with(Arc::new(move || Ok(of_disk.load(Ordering::Relaxed))), FREE_MIN);
    let store = Store::open(folder.0.path(), 256 * MIB, space, &node("a")).expect("a store");
    let name = |number: u8| format!("k{number}");
    for number in 0..20 {
        store.put(&name(number), large(number), NOW).expect("there is room");
    }
    left.store(FREE_MIN, Ordering::Relaxed);
    let refused = (20..30).map_while(|number| store.put(&name(number), large(number), NOW).err()).next();
    assert!(matches!(&refused, Some(StoreError::Full(why)) if why.contains("free_bytes_min")), "{refused:?}");
    let both = vec![(key("small"), Some(value("x"))), (key("large"), large(1))];
    let refused = store.commit(&[Job::Write(namespace(1), both)], NOW).remove(0);
    assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    assert_eq!(store.value_of("small", NOW), None, "whole or not at all");
    assert!(store.space().shortage().is_some());

    left.store(0, Ordering::Relaxed);
    assert_eq!(store.value_of("k3", NOW), large(3));
    for number in 0..15 {
        store.put(&name(number), None, later(1)).expect("deletions need no room");
    }
    // What one transaction frees is to be had in the one after the next.
    store.put("small", None, later(2)).expect("deletions need no room");
    for number in 0..10 {
        store.put(&name(number), large(number), later(3)).expect("the file has room");
    }
    let refused = (10..20).find_map(|number| store.put(&name(number), large(number), later(3)).err());
    assert!(matches!(refused, Some(StoreError::Full(_))), "the file does not grow");
    assert_eq!(store.value_of("k9", later(3)), large(9));

    left.store(FREE_MIN * 2, Ordering::Relaxed);
    store.space().look();
    assert_eq!(store.space().shortage(), None);
    store.put("k19", large(7), later(4)).expect("there is room again");
}

#[test]
fn one_transaction_does_not_count_on_what_it_frees_itself() {
    let folder = Folder::new();
    let left = Arc::new(AtomicU64::new(u64::MAX));
    let of_disk = Arc::clone(&left);
    let space = Space::with(Arc::new(move || Ok(of_disk.load(Ordering::Relaxed))), FREE_MIN);
    let store = Store::open(folder.0.path(), 256 * MIB, space, &node("a")).expect("a store");
    let all = |round| (0..20).map(|number| (key(&format!("k{number}")), large(round))).collect();
    store.commit(&[Job::Write(namespace(1), all(1))], NOW).remove(0).expect("there is room");
    left.store(FREE_MIN, Ordering::Relaxed);
    let file = || store.env.real_disk_size().expect("it is there");
    let before = file();
    let over = store.commit(&[Job::Write(namespace(1), all(2))], later(1)).remove(0);
    assert!(matches!(over, Err(StoreError::Full(_))), "{over:?}");
    assert_eq!(file(), before);
}

#[test]
fn what_is_refused_costs_those_beside_it_no_transaction_of_their_own() {
    let folder = Folder::new();
    let space = Space::with(Arc::new(|| Ok(FREE_MIN)), FREE_MIN);
    let store = Store::open(folder.0.path(), 256 * MIB, space, &node("a")).expect("a store");
    let before = store.env.info().last_txn_id;
    let name = |number: u8| key(&format!("k{number}"));
    let write = |writes| Job::Write(namespace(1), writes);
    let mut jobs: Vec<_> = (0..100).map(|number| write(vec![(name(number), large(number))])).collect();
    jobs.extend((100..200).map(|number| write(vec![(name(number), None), (name(number), large(number))])));
    jobs.extend((0..56).map(|number| write(vec![(name(number), None), (name(number + 56), None)])));
    let outcomes = store.commit(&jobs, NOW);
    assert_eq!(store.env.info().last_txn_id, before + 1);
    assert!(outcomes[..200].iter().all(|it| matches!(it, Err(StoreError::Full(_)))), "{outcomes:?}");
    assert!(outcomes[200..].iter().all(|it| it.as_ref().is_ok_and(|done| done.taken == 2)), "{outcomes:?}");
    assert_eq!(store.counts(), [112, 0, 112, 112], "of what was refused in the middle nothing is left");
}

#[test]
fn deletions_of_what_is_not_there_stop_before_the_end_of_the_disk_and_those_of_what_is_there_do_not() {
    let (folder, left) = (Folder::new(), Arc::new(AtomicU64::new(FREE_MIN)));
    let of_disk = Arc::clone(&left);
    let space = Space::with(Arc::new(move || Ok(of_disk.load(Ordering::Relaxed))), FREE_MIN);
    let store = Store::open(folder.0.path(), 256 * MIB, space, &node("a")).expect("a store");
    let deleted = |text: &str, ms| store.put(text, None, later(ms));
    left.store(u64::MAX, Ordering::Relaxed);
    for text in ["here", "also here"] {
        store.put(text, Some(value("x")), NOW).expect("there is room");
    }
    left.store(FREE_MIN / 2, Ordering::Relaxed);
    assert!(deleted("absent", 1).is_ok());
    left.store(FREE_MIN / 2 - 1, Ordering::Relaxed);
    assert!(matches!(deleted("another", 2), Err(StoreError::Full(_))));
    assert!(deleted("absent", 2).is_ok(), "it is noted already");
    left.store(0, Ordering::Relaxed);
    assert!(deleted("here", 3).is_ok());
    let forgotten = Version { namespace: namespace(1), key: key("old"), stamp: at(0, "b"), value: None };
    let much_later = later(sweep::DELETIONS_KEPT_MS);
    let done = store.commit(&[Job::Merge(vec![forgotten])], much_later).remove(0);
    assert_eq!(done, Ok(Done::default()), "what need not be noted needs no room");

    // Of one transaction, too: what it has written so far is not on the disk yet.
    left.store(FREE_MIN / 2 + MIB, Ordering::Relaxed);
    let long = |number: usize| key(&format!("{number:0>512}"));
    let jobs: Vec<_> =
        (0..8_000).map(|number| Job::Write(namespace(1), vec![(long(number), None)])).collect();
    let outcomes = store.commit(&jobs, later(4));
    let taken = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!((500..3_000).contains(&taken), "{taken}");
    assert!(deleted("also here", 5).is_ok());
}

#[test]
fn deletions_of_what_is_not_there_leave_room_in_a_full_store_for_those_of_what_is() {
    let folder = Folder::new();
    let store = folder.open_with(8 * MIB);
    store.put("here", Some(value("x")), NOW).expect("there is room");
    let all = |round: usize| {
        (0..100).map(|number| (key(&format!("{:0>512}", round * 100 + number)), None)).collect()
    };
    let refused =
        (0..300).find_map(|round| store.commit(&[Job::Write(namespace(1), all(round))], NOW).remove(0).err());
    assert!(
        matches!(&refused, Some(StoreError::Full(why)) if why.contains("store_bytes_max")),
        "{refused:?}"
    );
    store.put("here", None, later(1)).expect("deleted");
}

#[test]
fn of_what_another_server_has_written_what_has_room_is_kept_and_of_the_rest_what_was_there_before() {
    let (folder, left) = (Folder::new(), Arc::new(AtomicU64::new(u64::MAX)));
    let of_disk = Arc::clone(&left);
    let space = Space::with(Arc::new(move || Ok(of_disk.load(Ordering::Relaxed))), FREE_MIN);
    let store = Store::open(folder.0.path(), 256 * MIB, space, &node("a")).expect("a store");
    for text in ["stays", "goes"] {
        store.put(text, Some(value("x")), NOW).expect("there is room");
    }
    left.store(FREE_MIN, Ordering::Relaxed);
    let version = |text, value| Version { namespace: namespace(1), key: key(text), stamp: at(1, "b"), value };
    let versions = vec![
        version("new", large(1)),
        version("stays", Some(value("y".repeat(2_000)))),
        version("another", large(2)),
        version("goes", None),
    ];
    let before = store.env.info().last_txn_id;
    let done = store.commit(&[Job::Merge(versions)], later(1)).remove(0).expect("written in part");
    let lacked = done.lacked.expect("not all has room");
    assert!(matches!(lacked.why, StoreError::Full(_)) && lacked.octets == 2_000, "{lacked:?}");
    assert_eq!((done.taken, store.env.info().last_txn_id), (1, before + 1));
    assert_eq!((store.value_of("stays", NOW), store.value_of("goes", NOW)), (Some(value("x")), None));
    assert_eq!(store.counts(), [2, 0, 2, 1]);
    store.put("new", large(1), later(2)).expect_err("there is no room");
    assert_eq!(store.env.info().last_txn_id, before + 1, "for what is refused no disk is waited for");
}
