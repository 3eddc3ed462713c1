//! What every implementation of the log does, run against each of them.

use std::sync::Arc;

use crate::common::*;
use futures_util::{StreamExt as _, future::join_all};
use proxima_ledger::{
    Append, AppendError, Appended, CHANGES_PER_APPEND_MAX, Change, EmbeddedLog, Fingerprint, FollowError,
    Log, Precondition, ReplicaOptions, Seq, Update, limits,
};

/// Runs each scenario on the embedded log, and on the same through a server.
macro_rules! suite {
    ($($name:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let folder = super::folder();
                let log = super::EmbeddedLog::open(folder.path(), super::sealer(), super::options()).unwrap();
                super::$name(std::sync::Arc::new(log)).await;
            })*
        }
        mod remote {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let (folders, authority) = ((super::folder(), super::folder()), super::Authority::new());
                let log = super::Running::start(super::log_config(), folders.0.path(), authority.node("log")).await;
                let config = super::follower_config(log.address(), &[]);
                let node = super::Running::start(config, folders.1.path(), authority.node("node")).await;
                super::$name(std::sync::Arc::clone(&node.ledger.log)).await;
                node.stop().await;
                log.stop().await;
            })*
        }
    };
}

suite![
    entries_have_consecutive_places_and_come_in_order,
    repeating_an_idempotency_key_changes_nothing_and_answers_the_same,
    an_idempotency_key_that_comes_again_for_something_else_is_refused,
    preconditions_are_checked_against_the_state_and_against_earlier_appends,
    of_many_writers_that_want_the_same_name_one_wins,
    changes_of_one_append_are_made_together_or_not_at_all,
    what_is_too_large_is_refused_by_name_and_changes_nothing,
    a_subscription_tells_old_entries_new_ones_and_that_it_lives,
    a_subscription_beyond_the_end_is_refused,
    the_largest_append_passes_whole,
];

fn options() -> ReplicaOptions {
    ReplicaOptions { map_octets: 256 << 20, ..ReplicaOptions::default() }
}

type AnyLog = Arc<dyn Log>;

async fn entries_have_consecutive_places_and_come_in_order(log: AnyLog) {
    for place in 1..=5 {
        let appended = log.append(append(vec![put_raw(&key("a"), place.to_string())])).await.unwrap();
        assert_eq!(appended, Appended { seq: Seq(place), repeated: false });
    }
    let mut updates = log.subscribe(Seq(2)).await.unwrap();
    let mut places = Vec::new();
    while places.len() < 3 {
        if let Update::Entry(entry) = updates.next().await.unwrap().unwrap() {
            assert_eq!(entry.append.author, "node/test");
            places.push(entry.seq.0);
        }
    }
    assert_eq!(places, [3, 4, 5]);
}

async fn repeating_an_idempotency_key_changes_nothing_and_answers_the_same(log: AnyLog) {
    let once = append_if(vec![Precondition::Absent(key("a"))], vec![put_raw(&key("a"), "1")]);
    let first = log.append(once.clone()).await.unwrap();
    log.append(append(vec![put_raw(&key("a"), "2")])).await.unwrap();
    // The precondition no longer holds; the append was made all the same.
    assert_eq!(log.append(once).await, Ok(Appended { seq: first.seq, repeated: true }));
    let next = log.append(append(vec![])).await.unwrap();
    assert_eq!(next.seq, Seq(3));
}

async fn an_idempotency_key_that_comes_again_for_something_else_is_refused(log: AnyLog) {
    let named = |name: u8| Some(Fingerprint([name; 32]));
    let first = Append { fingerprint: named(1), ..append(vec![put_raw(&key("a"), "1")]) };
    let Appended { seq, .. } = log.append(first.clone()).await.unwrap();
    let other = Append { fingerprint: named(2), ..first.clone() };
    assert_eq!(log.append(other).await, Err(AppendError::KeyReused { seq }));
    // What is decided anew about the same request may differ; and who does not say what for is believed.
    let decided_anew = Append { changes: vec![put_raw(&key("a"), "2")], ..first.clone() };
    let unsaid = Append { fingerprint: None, ..first };
    for repeated in [decided_anew, unsaid] {
        assert_eq!(log.append(repeated).await, Ok(Appended { seq, repeated: true }));
    }
    assert_eq!(log.append(append(vec![])).await.unwrap().seq, seq.next());
}

async fn preconditions_are_checked_against_the_state_and_against_earlier_appends(log: AnyLog) {
    let absent = Precondition::Absent(key("a"));
    let present = Precondition::Present(key("a"));
    let put = || vec![put_raw(&key("a"), "1")];
    let refused = log.append(append_if(vec![present.clone()], put())).await;
    assert_eq!(refused, Err(AppendError::Precondition { failed: present.clone(), found: None }));
    let first = log.append(append_if(vec![absent.clone()], put())).await.unwrap().seq;
    let refused = log.append(append_if(vec![absent.clone()], put())).await;
    assert_eq!(refused, Err(AppendError::Precondition { failed: absent, found: Some(first) }));
    let revision = Precondition::Revision(key("a"), first);
    let second = log.append(append_if(vec![present, revision.clone()], put())).await.unwrap().seq;
    let refused = log.append(append_if(vec![revision.clone()], put())).await;
    assert_eq!(refused, Err(AppendError::Precondition { failed: revision, found: Some(second) }));
}

async fn of_many_writers_that_want_the_same_name_one_wins(log: AnyLog) {
    let wanted = |writer: usize| {
        let change = put_raw(&key("name"), writer.to_string());
        log.append(append_if(vec![Precondition::Absent(key("name"))], vec![change]))
    };
    let outcomes = join_all((0..40).map(wanted)).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
}

async fn changes_of_one_append_are_made_together_or_not_at_all(log: AnyLog) {
    let two = vec![put_raw(&key("a"), "1"), put_raw(&key("b"), "1")];
    let refused = log.append(append_if(vec![Precondition::Present(key("c"))], two.clone())).await;
    assert!(matches!(refused, Err(AppendError::Precondition { .. })));
    // Neither was made.
    let absent = vec![Precondition::Absent(key("a")), Precondition::Absent(key("b"))];
    log.append(append_if(absent, two)).await.unwrap();
    let present = vec![Precondition::Present(key("a")), Precondition::Present(key("b"))];
    log.append(append_if(present, vec![])).await.unwrap();
}

async fn what_is_too_large_is_refused_by_name_and_changes_nothing(log: AnyLog) {
    let too_large = |outcome| matches!(outcome, Err(AppendError::TooLarge { .. }));
    let deletions = vec![Change::Delete { key: key("a") }; CHANGES_PER_APPEND_MAX + 1];
    assert!(too_large(log.append(append(deletions)).await));
    let value = vec![0; limits::VALUE_OCTETS_MAX + 1];
    assert!(too_large(log.append(append(vec![put_raw(&key("a"), value)])).await));
    let values = (0..3).map(|n| put_raw(&key(&n.to_string()), vec![0; limits::APPEND_OCTETS_MAX / 3]));
    assert!(too_large(log.append(append(values.collect())).await));
    let long = key(&"k".repeat(limits::KEY_OCTETS_MAX));
    assert!(too_large(log.append(append(vec![put_raw(&long, "1")])).await));
    let mut unnamed = append(vec![]);
    unnamed.idempotency_key.0.clear();
    assert!(matches!(log.append(unnamed).await, Err(AppendError::Invalid(_))));
    assert_eq!(log.append(append(vec![])).await.unwrap().seq, Seq(1));
}

async fn a_subscription_tells_old_entries_new_ones_and_that_it_lives(log: AnyLog) {
    log.append(append(vec![put_raw(&key("a"), "1")])).await.unwrap();
    let mut updates = log.subscribe(Seq::ZERO).await.unwrap();
    let mut next = async |wanted: fn(&Update) -> bool| loop {
        let update = tokio::time::timeout(PATIENCE, updates.next()).await.unwrap().unwrap().unwrap();
        if wanted(&update) {
            return update;
        }
    };
    let entry = |update: &Update| matches!(update, Update::Entry(_));
    assert!(matches!(next(entry).await, Update::Entry(entry) if entry.seq == Seq(1)));
    let appended = log.append(append(vec![put_raw(&key("b"), "1")])).await.unwrap();
    assert!(matches!(next(entry).await, Update::Entry(entry) if entry.seq == appended.seq));
    next(|update| matches!(update, Update::Heartbeat(Seq(2)))).await;
    assert_eq!(log.last(), Seq(2));
}

async fn a_subscription_beyond_the_end_is_refused(log: AnyLog) {
    let first = match log.subscribe(Seq(7)).await {
        Err(error) => error,
        Ok(_) => panic!("subscribed beyond the end"),
    };
    assert_eq!(first, FollowError::Ahead { from: Seq(7), last: Seq::ZERO });
}

async fn the_largest_append_passes_whole(log: AnyLog) {
    let octets = limits::APPEND_OCTETS_MAX / CHANGES_PER_APPEND_MAX - 16;
    let changes = |n| put_raw(&key(&format!("{n:05}")), vec![7; octets]);
    let largest = append((0..CHANGES_PER_APPEND_MAX).map(changes).collect());
    let appended = log.append(largest.clone()).await.unwrap();
    let mut updates = log.subscribe(Seq(appended.seq.0 - 1)).await.unwrap();
    loop {
        if let Update::Entry(entry) = updates.next().await.unwrap().unwrap() {
            assert_eq!(entry.append, largest);
            return;
        }
    }
}
