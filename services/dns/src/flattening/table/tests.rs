//! What is told of targets over time.

use super::{super::target::STALE_MS, *};

const NOW: u64 = 1_800_000_000_000;
const A: u16 = 1;

fn account(number: u8) -> AccountId {
    AccountId::from_bytes([number; 16])
}

fn name(number: u16) -> Vec<u8> {
    let text = format!("n{number}");
    [&[u8::try_from(text.len()).unwrap()], text.as_bytes(), &[0]].concat()
}

fn found(last: u8, ttl: u32) -> Outcome {
    Outcome::Found { addresses: vec![[192, 0, 2, last].into()], ttl }
}

/// A look, in a word, and what is to be resolved.
fn look(table: &Table, of: u8, number: u16, now: u64) -> (String, Option<Arc<Target>>) {
    let (look, to_resolve) = table.look(account(of), (&name(number), A), now);
    let said = match look {
        Look::Fresh(found, seconds) => format!("{} for {seconds}", found.addresses[0][3]),
        Look::Stale(found) => format!("{} stale", found.addresses[0][3]),
        Look::Sought { before, .. } => {
            before.map_or("sought".to_owned(), |found| format!("sought after {}", found.addresses[0][3]))
        }
        Look::Failed => "failed".to_owned(),
    };
    (said, to_resolve)
}

#[test]
fn a_target_has_one_resolution_for_all_who_ask_and_is_fresh_for_its_time() {
    let table = Table::new(10, 10);
    let (said, target) = look(&table, 1, 1, NOW);
    let target = target.expect("it is new");
    assert_eq!(said, "sought");
    assert!(matches!(look(&table, 2, 1, NOW), (said, None) if said == "sought"), "of another account, too");
    assert_eq!(look(&table, 1, 1, NOW + WAIT_MS).0, "failed", "others have waited long enough");
    assert_eq!(table.ended(&target, found(7, 60), NOW + 100), Ended::Unremarkable);
    assert_eq!(*target.ended.borrow(), 1);
    assert_eq!(look(&table, 1, 1, NOW + 100).0, "7 for 60");
    assert_eq!(look(&table, 1, 1, NOW + 60_099).0, "7 for 1");
    let (said, again) = look(&table, 1, 1, NOW + 60_100);
    assert!(said == "sought after 7" && again.is_some(), "{said}");
}

#[test]
fn what_is_asked_for_is_resolved_again_before_its_time_ends_and_what_is_not_is_forgotten() {
    let table = Table::new(10, 10);
    let target = look(&table, 1, 1, NOW).1.unwrap();
    table.ended(&target, found(7, 100), NOW);
    assert_eq!(table.next_due(), Some(NOW + 90_000));
    assert!(table.take_due(NOW + 89_999).is_empty());
    assert_eq!(table.take_due(NOW + 90_000).len(), 1);
    assert!(table.take_due(NOW + 90_000).is_empty(), "it is under way");
    assert_eq!(look(&table, 1, 1, NOW + 95_000).0, "7 for 5", "nobody waits");
    table.ended(&target, found(8, 10_000), NOW + 95_000);
    assert_eq!(look(&table, 1, 1, NOW + 95_000).0, "8 for 10000");
    // Nobody asks for more than ten minutes: it is left alone, and after an hour forgotten.
    let due = table.next_due().unwrap();
    assert!(due == NOW + 95_000 + 9_000_000 && table.take_due(due).is_empty());
    assert_eq!((table.count(), table.next_due()), (0, None));
    let target = look(&table, 1, 1, NOW).1.unwrap();
    table.ended(&target, found(7, 1_000), NOW);
    assert!(table.take_due(NOW + 900_000).is_empty());
    assert_eq!((table.count(), table.next_due()), (1, Some(NOW + KNOWN_MS)));
}

#[test]
fn what_was_found_is_served_for_a_day_while_resolving_fails_which_is_tried_ever_less_often() {
    let table = Table::new(10, 10);
    let target = look(&table, 1, 1, NOW).1.unwrap();
    table.ended(&target, found(7, 60), NOW);
    let mut now = NOW + 54_000;
    let mut waits = Vec::new();
    for failure in 0..9 {
        assert_eq!(table.take_due(now).len(), 1, "{failure}");
        let ended = table.ended(&target, Outcome::Failed, now);
        assert_eq!(ended == Ended::Failing { has_former: true }, failure == 0);
        let due = table.next_due().unwrap();
        waits.push((due - now) / 1_000);
        now = due;
        let expected = if now < NOW + 60_000 { "7 for 2" } else { "7 stale" };
        assert_eq!(look(&table, 1, 1, now - 1).0, expected);
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
    // Asked for now and then, and never resolved.
    let last = NOW + 60_000 + STALE_MS;
    let (said, again) = look(&table, 1, 1, last - 1);
    assert_eq!(said, "7 stale");
    assert_eq!(look(&table, 1, 1, last - 1).0, "7 stale", "nobody waits for the next failure");
    table.ended(&again.unwrap(), Outcome::Failed, last);
    assert_eq!(look(&table, 1, 1, last).0, "failed");
    let (said, again) = look(&table, 1, 1, last + RETRY_MS_MAX);
    assert_eq!(said, "sought");
    assert_eq!(table.ended(&again.unwrap(), found(9, 60), last + RETRY_MS_MAX), Ended::Recovered);
    assert_eq!(look(&table, 1, 1, last + RETRY_MS_MAX).0, "9 for 60");
}

#[test]
fn no_ttl_has_a_name_resolved_in_a_loop_or_never_again() {
    let table = Table::new(10, 10);
    for (number, ttl, expected) in [(1, 0, 10), (2, u32::MAX, TTL_SECONDS_MAX)] {
        let target = look(&table, 1, number, NOW).1.unwrap();
        table.ended(&target, found(7, ttl), NOW);
        assert_eq!(look(&table, 1, number, NOW).0, format!("7 for {expected}"));
    }
}

#[test]
fn an_account_that_has_its_targets_gives_its_own_and_of_all_the_largest_does() {
    let table = Table::new(5, 3);
    for number in 0..3 {
        look(&table, 1, number, NOW + u64::from(number));
    }
    look(&table, 1, 0, NOW + 5);
    assert!(look(&table, 1, 9, NOW + 6).1.is_some());
    assert_eq!(table.count(), 3);
    let is_known = |number| look(&table, 1, number, NOW + 7).1.is_none();
    assert!(is_known(0) && is_known(2) && is_known(9), "the one that was not asked for longest went");
    for number in 20..22 {
        look(&table, 2, number, NOW);
    }
    assert_eq!(table.count(), 5);
    // A third one comes: the first account has most.
    look(&table, 3, 30, NOW);
    assert_eq!(table.count(), 5);
    let sizes: Vec<usize> = table.book().by_size.iter().map(|(size, _)| *size).collect();
    assert_eq!(sizes, [1, 2, 2]);
    assert_eq!(table.book().due.len(), 5, "each is looked at once");
}

#[test]
fn an_account_resolves_so_many_at_a_time_the_others_in_turn_and_no_more_than_may_wait() {
    let table = Table::new(5_000, 5_000);
    let most = u16::try_from(RESOLUTIONS_PER_ACCOUNT_MAX + QUEUED_PER_ACCOUNT_MAX).unwrap();
    let looks: Vec<_> = (0..=most).map(|number| look(&table, 1, number, NOW)).collect();
    assert_eq!(looks.iter().filter(|look| look.1.is_some()).count(), RESOLUTIONS_PER_ACCOUNT_MAX);
    assert!(looks[..usize::from(most)].iter().all(|look| look.0 == "sought"));
    assert_eq!(looks.last().unwrap().0, "failed", "one too many");
    assert!(look(&table, 2, 9_999, NOW).1.is_some(), "others do not wait");
    // One that waits is not begun a second time, however long it takes, and is waited for.
    assert!(matches!(look(&table, 1, 20, NOW + 120_000), (said, None) if said == "sought"));
    assert!(!table.take_due(NOW + 120_000).iter().any(|target| target.name == name(20).into()));
    let first = looks[0].1.clone().unwrap();
    table.ended(&first, found(7, 60), NOW);
    let mut names = Vec::new();
    while let Some(next) = table.next_queued(first.account, NOW) {
        names.push(next.name.clone());
        table.ended(&next, found(7, 60), NOW);
    }
    assert_eq!(names.len(), QUEUED_PER_ACCOUNT_MAX);
    assert_eq!(names[0], name(16).into(), "in the order in which they were asked for");
    assert_eq!(table.book().work[&first.account].running, RESOLUTIONS_PER_ACCOUNT_MAX - 1);
}

#[test]
fn a_resolution_that_is_lost_or_whose_target_was_forgotten_does_no_harm() {
    let table = Table::new(1, 1);
    let lost = look(&table, 1, 1, NOW).1.unwrap();
    let (said, again) = look(&table, 1, 1, NOW + RESOLVED_WITHIN_MS);
    assert!(said == "sought" && again.is_some(), "it is begun anew");
    look(&table, 1, 2, NOW + RESOLVED_WITHIN_MS);
    table.ended(&lost, found(7, 60), NOW + RESOLVED_WITHIN_MS);
    assert_eq!((table.count(), table.book().due.len()), (1, 1));
}
