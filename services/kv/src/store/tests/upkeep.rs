//! What has run out, and what lies in namespaces that are gone.

use proxima_store::Commit as _;

use super::{Done, *};
use crate::store::sweep::{DELETIONS_KEPT_MS, NAMELESS_KEPT_MS, SWEPT_AT_ONCE};

#[test]
fn what_has_run_out_is_not_there_before_it_is_swept_nor_after_and_is_remembered_as_gone() {
    let folder = Folder::new();
    let store = folder.open();
    let expiring = KvValue { expires: Some(later(60_000)), ..value(vec![0; 5_000]) };
    let stamp = store.put("k", Some(expiring.clone()), NOW).expect("written").stamps.remove(0);
    store.put("stays", Some(value("x")), NOW).expect("written");
    assert_eq!(store.sweep_due(later(59_999)), Ok(0));
    assert_eq!(store.value_of("k", later(59_999)), Some(expiring));
    assert_eq!(store.value_of("k", later(60_000)), None);
    assert_eq!(store.sweep_due(later(60_000)), Ok(1));
    assert_eq!(store.counts(), [2, 0, 2, 1]);
    // What another server wrote before must not come back by it.
    let older = Version {
        namespace: namespace(1),
        key: key("k"),
        stamp: Stamp { at_ms: stamp.at_ms - 1, ..stamp },
        value: Some(value("older")),
    };
    assert_eq!(store.commit(&[Job::Merge(vec![older])], later(60_000)), [Ok(Done::default())]);
    assert_eq!(store.value_of("k", NOW), None);
    assert_eq!(store.sweep_due(later(60_000 + DELETIONS_KEPT_MS - 1)), Ok(0));
    assert_eq!(store.sweep_due(later(60_000 + DELETIONS_KEPT_MS)), Ok(1));
    assert_eq!(store.counts(), [1, 0, 1, 0]);
    assert_eq!(store.value_of("stays", NOW), Some(value("x")));
}

#[test]
fn a_deletion_that_nobody_remembers_any_more_does_not_come_back_from_who_does() {
    let folder = Folder::new();
    let store = folder.open();
    let deletion = Version { namespace: namespace(1), key: key("k"), stamp: at(1, "b"), value: None };
    let now = later(1 + DELETIONS_KEPT_MS);
    assert_eq!(store.commit(&[Job::Merge(vec![deletion.clone()])], now), [Ok(Done::default())]);
    assert_eq!(store.counts(), [0; 4]);
    // What it deletes goes, however old it is.
    let older = Version { stamp: at(0, "b"), value: Some(value("x")), ..deletion.clone() };
    store.commit(&[Job::Merge(vec![older])], now)[0].as_ref().expect("written");
    store.commit(&[Job::Merge(vec![deletion])], now)[0].as_ref().expect("written");
    assert_eq!(store.value_of("k", now), None);
    assert_eq!(store.counts(), [0; 4]);
}

#[test]
fn what_lies_in_a_namespace_that_the_log_does_not_name_goes_after_a_while_and_in_steps() {
    let folder = Folder::new();
    let store = folder.open();
    let writes =
        (0..SWEPT_AT_ONCE + 10).map(|number| (key(&format!("{number}")), Some(value("x")))).collect();
    store.commit(&[Job::Write(namespace(1), writes)], NOW)[0].as_ref().expect("written");
    store.commit(&[Job::Write(namespace(2), vec![(key("stays"), Some(value("x")))])], NOW)[0]
        .as_ref()
        .expect("written");
    let (both, one) = ([namespace(1), namespace(2)], [namespace(2)]);
    let (both, one) = (|id| both.contains(&id), |id| one.contains(&id));
    assert_eq!(store.sweep_nameless(one, NOW), Ok(0));
    // It is named again: the time begins anew.
    assert_eq!(store.sweep_nameless(both, later(NAMELESS_KEPT_MS)), Ok(0));
    assert_eq!(store.sweep_nameless(one, later(NAMELESS_KEPT_MS)), Ok(0));
    assert_eq!(store.sweep_nameless(one, later(2 * NAMELESS_KEPT_MS - 1)), Ok(0));
    let over = later(2 * NAMELESS_KEPT_MS);
    let swept: Vec<_> = (0..3).map(|_| store.sweep_nameless(one, over).expect("swept")).collect();
    assert_eq!(swept, [SWEPT_AT_ONCE, 10, 0]);
    assert_eq!(store.counts(), [1, 0, 1, 0]);
}

#[test]
fn a_process_sweeps_no_namespace_that_it_has_not_itself_missed_for_long() {
    let folder = Folder::new();
    let store = folder.open();
    store.put("a", Some(value("x")), NOW).expect("written");
    assert_eq!(store.sweep_nameless(|_| false, NOW), Ok(0));
    drop(store);
    let store = folder.open();
    assert_eq!(store.sweep_nameless(|_| false, later(2 * NAMELESS_KEPT_MS)), Ok(0));
    assert_eq!(store.sweep_nameless(|_| false, later(3 * NAMELESS_KEPT_MS - 1)), Ok(0));
    assert_eq!(store.sweep_nameless(|_| false, later(3 * NAMELESS_KEPT_MS)), Ok(1));
}

#[test]
fn a_namespace_that_is_named_while_it_is_about_to_be_swept_is_not() {
    let folder = Folder::new();
    let store = folder.open();
    store.put("a", Some(value("x")), NOW).expect("written");
    assert_eq!(store.sweep_nameless(|_| false, NOW), Ok(0));
    let asked = std::cell::Cell::new(0);
    let is_named = |_| asked.replace(asked.get() + 1) > 0;
    assert_eq!(store.sweep_nameless(is_named, later(NAMELESS_KEPT_MS)), Ok(0));
    assert_eq!(store.value_of("a", NOW), Some(value("x")));
}

#[test]
fn when_a_namespace_that_was_swept_is_named_again_all_is_to_be_taken_over_anew() {
    let folder = Folder::new();
    let store = folder.open();
    store.put("a", Some(value("x")), NOW).expect("written");
    let cursor = Cursor { store: store.id(), up_to: Number(7) };
    store.commit(&[Job::Cursor("b".to_owned(), [Cursor::default(), cursor])], NOW)[0]
        .as_ref()
        .expect("written");
    let over = later(NAMELESS_KEPT_MS);
    assert_eq!(store.sweep_nameless(|_| false, NOW), Ok(0));
    assert_eq!(store.revive(|_| true, NOW), Ok(false), "it was not swept");
    assert_eq!(store.sweep_nameless(|_| false, over), Ok(1));
    assert_eq!(store.revive(|_| false, over), Ok(false));
    assert_eq!(store.cursor("b"), Ok(cursor));
    drop(store);
    let store = folder.open();
    assert_eq!(store.revive(|id| id == namespace(1), over), Ok(true));
    assert_eq!(store.cursor("b"), Ok(Cursor::default()));
    assert_eq!(store.revive(|_| true, over), Ok(false), "once");
}

#[test]
fn that_a_namespace_was_swept_is_forgotten_when_nobody_can_have_it_any_more() {
    let folder = Folder::new();
    let store = folder.open();
    store.put("a", Some(value("x")), NOW).expect("written");
    assert_eq!(store.sweep_nameless(|_| false, NOW), Ok(0));
    assert_eq!(store.sweep_nameless(|_| false, later(NAMELESS_KEPT_MS)), Ok(1));
    let noted = || store.swept.len(&store.env.read_txn().expect("readable")).expect("readable");
    assert_eq!(store.revive(|_| false, later(NAMELESS_KEPT_MS + DELETIONS_KEPT_MS - 1)), Ok(false));
    assert_eq!(noted(), 1);
    assert_eq!(store.revive(|_| false, later(NAMELESS_KEPT_MS + DELETIONS_KEPT_MS)), Ok(false));
    assert_eq!(noted(), 0);
}

#[test]
fn what_is_due_and_damaged_is_dropped_and_holds_up_nothing() {
    let folder = Folder::new();
    let store = folder.open();
    let expiring = KvValue { expires: Some(later(60_000)), ..value("x") };
    for text in ["a", "b"] {
        store.put(text, Some(expiring.clone()), NOW).expect("written");
    }
    let mut txn = store.hold();
    // Cut short; of a row that is not there; of a row that cannot be read.
    store.due.put(&mut txn, &[0; 3], &[]).expect("written");
    store.due.put(&mut txn, &[0; 11], &[]).expect("written");
    store.due.put(&mut txn, &[0; 16], &[]).expect("written");
    store.rows.put(&mut txn, &Number(1).octets(), b"no row").expect("written");
    txn.commit().expect("written");
    assert_eq!(store.sweep_due(later(60_000)), Ok(5));
    assert_eq!(store.sweep_due(later(60_000)), Ok(0));
    // Of the row that could be read, what it has become is due later.
    assert_eq!(store.counts()[3], 1);
    assert_eq!(store.value_of("b", NOW), None);
}
