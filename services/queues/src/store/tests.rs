use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use proxima_pipeline::QueueContentType;
use proxima_store::{Commit as _, StoreId};

use super::*;
use crate::{
    message::Lease,
    wire::{Numbered, OPERATIONS_MAX, Operation},
};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const QUEUE: QueueId = QueueId::from_bytes([1; 16]);
const OTHER: QueueId = QueueId::from_bytes([2; 16]);
const MUCH: u64 = 1 << 30;

fn ams() -> NodeName {
    NodeName::parse("ams1").expect("a name")
}

fn open(folder: &tempfile::TempDir) -> Store {
    Store::open(&folder.path().join("queues"), 64 << 20, Space::endless()).expect("it opens")
}

/// A message that is due so many milliseconds from now.
fn message(text: &str, due_in_ms: i64) -> Message {
    Message {
        id: MessageId::new(NOW),
        state: State { due_ms: NOW.as_millis() + due_in_ms, attempts: 0 },
        content_type: QueueContentType::Text,
        body: text.to_owned().into(),
    }
}

fn do_one(store: &Store, job: Job) -> Result<Done, StoreError> {
    store.commit(&[job], NOW).pop().expect("one outcome")
}

fn put_of(messages: Vec<Message>) -> Job {
    Job::Put(Put { queue: QUEUE, messages, other: Some(ams()), octets_max: MUCH })
}

fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|it| String::from_utf8(it.body.to_vec()).expect("text")).collect()
}

fn ready_at(store: &Store, in_ms: i64) -> Vec<String> {
    let now = Timestamp::from_millis(NOW.as_millis() + in_ms);
    texts(&store.ready(QUEUE, now, 100, &HashSet::new()).expect("readable"))
}

fn ack(id: MessageId, attempts: u32) -> Job {
    let settle = Settle { lease: Lease { id, attempts }, change: Change::Delete };
    Job::Settle { queue: QUEUE, settles: vec![settle], other: Some(ams()) }
}

/// Everything that another server is to be told.
fn told(store: &Store) -> Vec<Numbered> {
    store.to_tell(&ams(), 0).expect("readable").map_or_else(Vec::new, |(operations, _)| operations)
}

#[test]
fn messages_come_in_the_order_in_which_they_are_due_and_survive() {
    let folder = tempfile::tempdir().expect("a folder");
    {
        let store = open(&folder);
        do_one(&store, put_of(vec![message("later", 10), message("now", 0), message("latest", 20)]))
            .expect("there is room");
    }
    let store = open(&folder);
    assert_eq!(ready_at(&store, 0), ["now"]);
    assert_eq!(ready_at(&store, 20), ["now", "later", "latest"]);
    let backlog = store.backlog(QUEUE).expect("readable");
    assert_eq!((backlog.messages, backlog.octets, backlog.oldest), (3, 14, Some(NOW)));
    assert_eq!(store.backlog(OTHER).expect("readable"), QueueBacklog::default());
    let now = store.ready(QUEUE, NOW, 1, &HashSet::new()).expect("readable");
    let except = HashSet::from([now[0].id]);
    assert_eq!(store.next_due(QUEUE, &except).expect("readable"), Some(NOW.as_millis() + 10));
}

#[test]
fn what_is_acknowledged_is_gone_and_not_by_a_lease_that_has_run_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&folder);
    let (one, two) = (message("one", 0), message("two", 0));
    do_one(&store, put_of(vec![one.clone(), two.clone()])).expect("there is room");
    let lease = Job::Lease { queue: QUEUE, count: 10, until_ms: NOW.as_millis() + 1_000, other: Some(ams()) };
    let leased = do_one(&store, lease.clone()).expect("readable").leased;
    assert!(leased.iter().all(|message| message.state.attempts == 1));
    assert_eq!(ready_at(&store, 999), Vec::<String>::new(), "nobody else gets them meanwhile");
    assert_eq!(do_one(&store, ack(one.id, 1)).expect("written").counts.acked, 1);
    assert_eq!(do_one(&store, ack(one.id, 1)).expect("written").counts.stale, 1, "it is gone");
    assert_eq!(ready_at(&store, 1_000), ["two"]);
    let later = Timestamp::from_millis(NOW.as_millis() + 1_000);
    store.commit(&[lease], later).pop().expect("one outcome").expect("readable");
    assert_eq!(do_one(&store, ack(two.id, 1)).expect("written").counts.stale, 1, "somebody else has it");
    assert_eq!(do_one(&store, ack(two.id, 2)).expect("written").counts.acked, 1);
    assert_eq!(store.queues().expect("readable"), []);
}

#[test]
fn another_store_that_is_told_has_the_same_and_does_nothing_twice() {
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let [store, other] = [&folders[0], &folders[1]].map(open);
    let (one, two) = (message("one", 0), message("two", 5));
    do_one(&store, put_of(vec![one.clone(), two])).expect("there is room");
    let take = |operations| Job::Take { from: ams(), store: store.id(), operations };
    let first = told(&store);
    do_one(&other, take(first.clone())).expect("there is room");
    do_one(&store, ack(one.id, 0)).expect("written");
    let all = told(&store);
    // The message of the first operation is gone: it is not told any more.
    assert_eq!(all.len(), 2);
    do_one(&other, take(all.clone())).expect("there is room");
    assert_eq!(ready_at(&other, 10), ["two"]);
    // What was late on its way comes once more.
    do_one(&other, take(first)).expect("there is room");
    assert_eq!(ready_at(&other, 10), ["two"], "nothing that was deleted comes back");
    let last = all.last().expect("some").number;
    assert_eq!(other.taken(&ams(), store.id()).expect("readable"), Some(last));
    assert_eq!(
        other.taken(&ams(), other.id()).expect("readable"),
        None,
        "of another store nothing was taken"
    );
    assert_eq!(store.untold(&ams()).expect("readable"), (last, 3));
    do_one(&store, Job::Confirmed { server: ams(), up_to: last }).expect("written");
    assert_eq!((told(&store), store.untold(&ams()).expect("readable")), (vec![], (0, 0)));
    assert_eq!(store.to_tell(&ams(), 0).expect("readable"), Some((vec![], last)), "by whichever process");
    assert_eq!(store.to_tell(&ams(), last).expect("readable"), None);
    do_one(&store, put_of(vec![message("three", 0)])).expect("there is room");
    assert_eq!(told(&store)[0].number, last + 1, "numbers go on");
}

#[test]
fn a_server_that_lost_its_store_or_has_no_room_is_told_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&folder);
    do_one(&store, put_of(vec![message("one", 0)])).expect("there is room");
    let is_told = || store.is_told(QUEUE, &ams()).expect("readable");
    let met = |store: u8| Job::Met { server: ams(), store: StoreId::from_octets([store; 16]) };
    let tell_anew = Job::TellAnew { queue: QUEUE, other: ams(), after: None, count: 100 };
    do_one(&store, met(1)).expect("written");
    assert!(is_told(), "it was not known before");
    do_one(&store, met(1)).expect("written");
    assert!(is_told(), "it is the same");
    do_one(&store, met(2)).expect("written");
    assert!(!is_told(), "what it had is lost");
    do_one(&store, tell_anew.clone()).expect("written");
    assert!(is_told());
    do_one(&store, Job::Untaken { server: ams(), queues: HashSet::from([OTHER]) }).expect("written");
    assert!(is_told(), "another queue was not taken");
    do_one(&store, Job::Untaken { server: ams(), queues: HashSet::from([QUEUE]) }).expect("written");
    assert!(!is_told());
    do_one(&store, tell_anew.clone()).expect("written");
    // What is told in parts may turn out meanwhile not to be taken.
    let part = |after| Job::TellAnew { queue: QUEUE, other: ams(), after, count: 1 };
    let last = do_one(&store, part(None)).expect("written").last;
    assert!(!is_told(), "not all of it");
    do_one(&store, Job::Untaken { server: ams(), queues: HashSet::from([QUEUE]) }).expect("written");
    do_one(&store, part(last)).expect("written");
    assert!(!is_told(), "not all was taken");
    do_one(&store, tell_anew).expect("written");
    assert!(is_told());
    let take = Job::Take { from: ams(), store: StoreId::from_octets([3; 16]), operations: Vec::new() };
    do_one(&store, take).expect("written");
    assert!(!is_told(), "it says by itself that its store is another one");
}

#[test]
fn what_is_told_at_once_has_a_bound() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&folder);
    for _ in 0..12 {
        do_one(&store, put_of(vec![message(&"x".repeat(100_000), 0)])).expect("there is room");
    }
    let (operations, up_to) = store.to_tell(&ams(), 0).expect("readable").expect("some");
    assert_eq!((operations.len(), up_to), (10, 10));
    let (rest, up_to) = store.to_tell(&ams(), up_to).expect("readable").expect("some");
    assert_eq!((rest.len(), up_to), (2, 12));
    let many = (0..=OPERATIONS_MAX).map(|_| message("", 0)).collect();
    do_one(&store, put_of(many)).expect("there is room");
    assert_eq!(store.to_tell(&ams(), 12).expect("readable").expect("some").0.len(), OPERATIONS_MAX);
    store.forget_others(&[]).expect("written");
    assert_eq!(told(&store).len(), OPERATIONS_MAX.min(1_013 - 1_000), "of a server that is gone, in bounds");
}

#[test]
fn what_servers_are_to_be_told_that_are_gone_is_forgotten_and_nothing_of_the_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&folder);
    let names = ["ams1", "fra1", "fra10", "fra2", "sin1"];
    let servers = names.map(|name| NodeName::parse(name).expect("a name"));
    for server in &servers {
        let put = Put {
            queue: QUEUE,
            messages: vec![message("x", 0)],
            other: Some(server.clone()),
            octets_max: MUCH,
        };
        do_one(&store, Job::Put(put)).expect("there is room");
    }
    let left = || {
        let has_some = |server: &&NodeName| store.untold(server).expect("readable").1 > 0;
        servers.iter().filter(has_some).map(NodeName::as_str).collect::<Vec<_>>()
    };
    {
        // Where there is nothing to forget, no writer is waited for.
        let _writer = store.env.write_txn().expect("nobody else writes");
        store.forget_others(&servers).expect("readable");
    }
    assert_eq!(left(), names);
    // In any order.
    store.forget_others(&[3, 1].map(|index| servers[index].clone())).expect("written");
    assert_eq!(left(), ["fra1", "fra2"], "before, between and behind them");
    store.forget_others(&[]).expect("written");
    assert_eq!(left(), Vec::<&str>::new());
}

#[test]
fn a_store_that_is_full_says_so_and_takes_acknowledgements_all_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path(), 4 << 20, Space::endless()).expect("it opens");
    let large = || message(&"x".repeat(128_000), 0);
    let mut ids = Vec::new();
    let refused = loop {
        let message = large();
        ids.push(message.id);
        match do_one(&store, put_of(vec![message])) {
            Ok(_) => assert!(ids.len() < 40, "4 MiB have no room for so many"),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(&refused, StoreError::Full(why) if why.contains("store_bytes_max")), "{refused:?}");
    let take = Numbered { number: 1, operation: Operation::Put(*QUEUE.as_bytes(), large()) };
    let done = do_one(&store, Job::Take { from: ams(), store: store.id(), operations: vec![take] });
    assert!(done.expect("it is answered").lacked_room);
    ids.pop();
    for id in ids {
        assert_eq!(do_one(&store, ack(id, 0)).expect("an acknowledgement has room").counts.acked, 1);
    }
    do_one(&store, put_of(vec![large()])).expect("there is room again");
}

#[test]
fn a_full_disk_refuses_messages_before_leases_and_takes_acknowledgements_all_the_same() {
    const MIN: u64 = 100 << 20;
    let (folder, left) = (tempfile::tempdir().expect("a folder"), Arc::new(AtomicU64::new(u64::MAX)));
    let of_disk = Arc::clone(&left);
    let space = Space::with(Arc::new(move || Ok(of_disk.load(Ordering::Relaxed))), MIN);
    let store = Store::open(folder.path(), 64 << 20, space).expect("it opens");
    let large = |text: &str| message(&text.repeat(128_000), 0);
    for _ in 0..30 {
        do_one(&store, put_of(vec![large("x")])).expect("there is room");
    }
    left.store(MIN - 1, Ordering::Relaxed);
    // The file has some room that LMDB has freed.
    let refused = (0..30).find_map(|_| do_one(&store, put_of(vec![large("y")])).err());
    assert!(matches!(&refused, Some(StoreError::Full(why)) if why.contains("free_bytes_min")), "{refused:?}");
    let lease = Job::Lease { queue: QUEUE, count: 2, until_ms: NOW.as_millis(), other: Some(ams()) };
    assert_eq!(do_one(&store, lease.clone()).expect("half of it is for these").leased.len(), 2);
    left.store(MIN / 2 - 1, Ordering::Relaxed);
    assert!(matches!(do_one(&store, lease.clone()), Err(StoreError::Full(_))));
    left.store(0, Ordering::Relaxed);
    let ready = store.ready(QUEUE, NOW, 25, &HashSet::new()).expect("readable");
    for message in &ready {
        do_one(&store, ack(message.id, u32::MAX)).expect("an acknowledgement has room");
    }
    assert!(!ready.is_empty());
    while let [message, ..] = &store.ready(QUEUE, NOW, 1, &HashSet::new()).expect("readable")[..] {
        do_one(&store, ack(message.id, u32::MAX)).expect("an acknowledgement has room");
    }
    do_one(&store, put_of(vec![large("z")])).expect("the file has room");
    assert!(store.space().shortage().is_some());
}

/// The number of the last transaction.
fn last_transaction(store: &Store) -> usize {
    store.env.info().last_txn_id
}

#[test]
fn what_comes_in_one_moment_is_written_by_one_transaction_though_a_queue_among_it_is_full() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&folder);
    let put = |queue, octets: usize| {
        let messages = vec![message(&"x".repeat(octets), 0)];
        Job::Put(Put { queue, messages, other: None, octets_max: 100 })
    };
    let before = last_transaction(&store);
    let jobs = [put(QUEUE, 100), put(QUEUE, 1), put(OTHER, 100), put(OTHER, 1)];
    let done: Vec<_> = store.commit(&jobs, NOW).into_iter().map(|done| done.is_ok()).collect();
    assert_eq!(done, [true, false, true, false]);
    assert_eq!(last_transaction(&store), before + 1);
}

#[test]
fn leases_and_retries_leave_room_for_what_is_done_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path(), 4 << 20, Space::endless()).expect("it opens");
    // Nobody confirms what is told: the other server is away.
    while do_one(&store, put_of((0..100).map(|_| message("", 0)).collect())).is_ok() {}
    let lease = Job::Lease { queue: QUEUE, count: 100, until_ms: NOW.as_millis(), other: Some(ams()) };
    let mut leased = 0;
    let refused = loop {
        match do_one(&store, lease.clone()) {
            Ok(done) => leased += done.leased.len(),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(&refused, StoreError::Full(why) if why.contains("store_bytes_max")), "{refused:?}");
    assert!(leased >= 1_000, "{leased}");
    let ready = store.ready(QUEUE, NOW, usize::MAX, &HashSet::new()).expect("readable");
    let (first, rest) = ready.split_first().expect("some");
    let again = Change::Again(State { due_ms: NOW.as_millis() + 1, attempts: first.state.attempts });
    let settles = vec![
        Settle { lease: first.lease(), change: again },
        Settle { lease: rest[0].lease(), change: Change::Delete },
    ];
    let done = do_one(&store, Job::Settle { queue: QUEUE, settles, other: Some(ams()) }).expect("in part");
    assert_eq!((done.counts.acked, done.counts.retried, done.lacked_room), (1, 0, true));
    assert_eq!(store.ready(QUEUE, NOW, 1, &HashSet::new()).expect("readable")[0].state, first.state);
    for part in rest[1..].chunks(500) {
        let gone = |message: &Message| Settle { lease: message.lease(), change: Change::Delete };
        let settles = part.iter().map(gone).collect();
        let done = do_one(&store, Job::Settle { queue: QUEUE, settles, other: Some(ams()) });
        assert_eq!(done.expect("it has room").counts.acked, part.len());
    }
    assert_eq!(do_one(&store, lease).expect("there is room again").leased.len(), 1);
}

#[test]
fn who_told_what_had_no_room_hears_of_it_though_the_first_answer_was_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path(), 4 << 20, Space::endless()).expect("it opens");
    let from = StoreId::from_octets([7; 16]);
    let take = |number| {
        let operation = Operation::Put(*QUEUE.as_bytes(), message(&"x".repeat(128_000), 0));
        Job::Take { from: ams(), store: from, operations: vec![Numbered { number, operation }] }
    };
    let lacked = (1..40).find(|number| do_one(&store, take(*number)).expect("answered").lacked_room);
    let lacked = lacked.expect("4 MiB have no room for so many");
    assert!(do_one(&store, take(lacked)).expect("answered").lacked_room, "it comes again");
    let delete = Operation::Delete(*OTHER.as_bytes(), message("", 0).id);
    let later = Numbered { number: lacked + 1, operation: delete };
    let later = Job::Take { from: ams(), store: from, operations: vec![later] };
    for _ in 0..2 {
        assert!(!do_one(&store, later.clone()).expect("answered").lacked_room, "that had room");
    }
}

#[test]
fn one_queue_has_a_bound_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&folder);
    let put = |octets: usize| {
        let messages = vec![message(&"x".repeat(octets), 0)];
        do_one(&store, Job::Put(Put { queue: QUEUE, messages, other: None, octets_max: 100 }))
    };
    put(100).expect("as many as may be");
    assert!(matches!(put(1), Err(StoreError::Full(why)) if why.contains("100 octets")));
}

#[test]
fn what_is_swept_and_purged_is_what_was_sent_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&folder);
    let mut old = message("old", 0);
    old.id = MessageId::new(Timestamp::from_millis(NOW.as_millis() - 1));
    do_one(&store, put_of(vec![old, message("new", 0)])).expect("there is room");
    assert_eq!(store.sweep(QUEUE, Some(MessageId::first_of(NOW))).expect("written"), 1);
    assert_eq!(ready_at(&store, 0), ["new"]);
    assert_eq!(store.sweep(QUEUE, Some(MessageId::first_of(NOW))).expect("written"), 0);
    let purge = Job::Purge {
        queue: QUEUE,
        before: MessageId::first_of(Timestamp::from_millis(NOW.as_millis() + 1)),
        count: 10,
        other: Some(ams()),
    };
    assert_eq!(do_one(&store, purge).expect("written").messages, 1);
    assert!(matches!(told(&store).last().expect("some").operation, Operation::Delete(..)));
    do_one(&store, put_of(vec![message("again", 0)])).expect("there is room");
    assert_eq!(store.sweep(QUEUE, None).expect("written"), 1, "of a queue that is gone all goes");
}
