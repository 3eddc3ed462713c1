//! What becomes of objects whose octets lie in an engine, when that fails, loses or changes something.

use std::time::{Duration, Instant};

use super::{
    super::{
        blobs::Pending,
        engine::{PATIENCE, WRITTEN_BY_ONE_MAX, Writing},
    },
    engine_server::Fault,
    *,
};

/// How long anything here may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// Octets of more than one piece.
const PIECES: usize = 9 << 20;

impl Fixture {
    fn test_engine(&self) -> &TestEngine {
        self.engine.as_ref().unwrap()
    }

    /// Puts again and again, until it is taken.
    async fn put_in_the_end(&self, name: &str, octets: Vec<u8>) {
        let began = Instant::now();
        while let Err(error) = self.put(name, octets.clone()).await {
            assert!(began.elapsed() < DEADLINE, "{error}");
            tokio::task::yield_now().await;
        }
    }

    /// A blob of one octet, which is written and whose row is not.
    async fn unnamed(&self) -> Pending {
        let mut writing = self.writing().await;
        writing.write(b"x");
        writing.finish().await.unwrap()
    }

    async fn writing(&self) -> Writing {
        self.writing_of(1).await.unwrap()
    }

    /// Of one of some accounts.
    async fn writing_of(&self, account: u8) -> Result<Writing, ObjectError> {
        let account = AccountId::from_bytes([account; 16]);
        Writing::begin(self.store.blobs.engine().unwrap(), &self.store.blobs, account).await
    }

    /// The same blobs, as another process has them.
    fn blobs_with_engine(&self) -> Blobs {
        let engine = self.store.blobs.engine().cloned();
        let space = Space::endless();
        Blobs::open(&self.folder.path().join("blobs"), space, engine).unwrap()
    }
}

fn is_away<T: std::fmt::Debug>(outcome: &Result<T, ObjectError>) -> bool {
    matches!(outcome, Err(ObjectError::Unreachable(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_of_many_pieces_is_read_across_them() {
    let fixture = Fixture::in_an_engine().await;
    let all = octets(PIECES, 1);
    fixture.put("k", all.clone()).await.unwrap();
    assert_eq!((fixture.files(), fixture.test_engine().objects().len()), (1, 3));
    assert!(fixture.read("k", None).await.unwrap() == all);
    let piece = 63 * (64 << 10);
    let block = 64 << 10;
    for (first, last) in [
        (0, 0),
        (piece - 1, piece),
        (piece, piece),
        (piece - 1, piece - 1),
        (piece - block - 1, piece + block),
        (5, 2 * piece + 7),
        (2 * piece, PIECES - 1),
    ] {
        let range = ObjectRange::From(first as u64, Some(last as u64));
        assert!(fixture.read("k", Some(range)).await.unwrap() == all[first..=last], "{first} to {last}");
    }
    let (bucket, store) = (&fixture.bucket, &fixture.store);
    store.copy((bucket, &key("k")), (bucket, &key("copy")), ObjectCopy::default()).await.unwrap();
    assert!(fixture.read("copy", None).await.unwrap() == all);
    let both = ["k", "copy"].map(|name| ObjectDelete { key: key(name), conditions: Default::default() });
    store.delete(bucket, both.to_vec()).await.unwrap();
    fixture.later(301);
    store.collect().await.unwrap();
    assert!(fixture.test_engine().objects().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_engine_is_away_small_objects_go_on_and_all_is_well_when_it_is_back() {
    let fixture = Fixture::in_an_engine().await;
    let (store, engine) = (&fixture.store, fixture.test_engine());
    fixture.put("k", octets(LARGE, 1)).await.unwrap();
    store.probe_engine().await;
    assert_eq!(store.engine_fault(), None);
    engine.stop().await;
    let began = Instant::now();
    assert!(is_away(&fixture.put("k", octets(LARGE, 2)).await));
    assert!(is_away(&fixture.read("k", None).await), "before anything is sent");
    let (bucket, from, to) = (&fixture.bucket, key("k"), key("c"));
    assert!(is_away(&store.copy((bucket, &from), (bucket, &to), ObjectCopy::default()).await));
    assert!(began.elapsed() < PATIENCE);
    fixture.put("small", octets(100, 1)).await.unwrap();
    assert_eq!(fixture.read("small", None).await.unwrap(), octets(100, 1));
    assert!(store.engine_fault().is_some());
    assert_eq!((store.metrics.engine_away.get(), store.fault()), (1, None));
    assert!(store.metrics.engine_failures.get() > 0);
    engine.listen().await;
    let began = Instant::now();
    // Nobody else asks it.
    while store.engine_fault().is_some() {
        assert!(began.elapsed() < DEADLINE);
        store.probe_engine().await;
    }
    assert_eq!(store.metrics.engine_away.get(), 0);
    assert_eq!(fixture.read("k", None).await.unwrap(), octets(LARGE, 1));
    fixture.put("k", octets(LARGE, 3)).await.unwrap();
    assert_eq!(fixture.read("k", None).await.unwrap(), octets(LARGE, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_says_nothing_keeps_few_waiting_and_none_for_long() {
    let fixture = Fixture::in_an_engine().await;
    fixture.put("k", octets(LARGE, 1)).await.unwrap();
    fixture.test_engine().set_fault(Some(Fault::Stall));
    let began = Instant::now();
    assert!(is_away(&fixture.put("k", octets(LARGE, 2)).await));
    assert!(is_away(&fixture.read("k", None).await));
    assert!(began.elapsed() < 3 * PATIENCE, "{:?}", began.elapsed());
    // From here on one at a time waits, and all others do not.
    let began = Instant::now();
    let puts = (0..50).map(|_| {
        let (store, bucket) = (fixture.store.clone(), fixture.bucket.clone());
        let body = Body::full(octets(LARGE, 2));
        tokio::spawn(async move { store.put(&bucket, &key("k"), ObjectPut::default(), body).await })
    });
    for put in puts.collect::<Vec<_>>() {
        assert!(is_away(&put.await.unwrap()));
    }
    assert!(began.elapsed() < 3 * PATIENCE, "{:?}", began.elapsed());
    fixture.test_engine().set_fault(None);
    fixture.put_in_the_end("k", octets(LARGE, 3)).await;
    assert_eq!(fixture.read("k", None).await.unwrap(), octets(LARGE, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_the_engine_cuts_is_tried_again_and_leaves_nothing_if_that_does_not_help() {
    let fixture = Fixture::in_an_engine().await;
    fixture.put("k", octets(LARGE, 1)).await.unwrap();
    fixture.test_engine().set_fault(Some(Fault::Cut(1)));
    fixture.put("k", octets(LARGE, 2)).await.unwrap();
    assert_eq!(fixture.read("k", None).await.unwrap(), octets(LARGE, 2));
    for fault in [Fault::Cut(usize::MAX), Fault::Refuse] {
        fixture.test_engine().set_fault(Some(fault));
        assert!(is_away(&fixture.put("k", octets(LARGE, 3)).await), "{fault:?}");
        fixture.test_engine().set_fault(None);
        fixture.put_in_the_end("other", octets(LARGE, 4)).await;
        assert_eq!(fixture.read("k", None).await.unwrap(), octets(LARGE, 2), "{fault:?}");
    }
    fixture.later(301);
    fixture.store.collect().await.unwrap();
    fixture.store.remove_strays().await.unwrap();
    assert_eq!(fixture.files(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_the_engine_cuts_is_gone_on_with_and_not_ended_if_that_does_not_help() {
    let fixture = Fixture::in_an_engine().await;
    fixture.put("k", octets(PIECES, 1)).await.unwrap();
    fixture.test_engine().set_fault(Some(Fault::Cut(1)));
    assert!(fixture.read("k", None).await.unwrap() == octets(PIECES, 1));
    fixture.test_engine().set_fault(Some(Fault::Cut(usize::MAX)));
    let range = Some(ObjectRange::From(0, Some(1 << 20)));
    assert!(fixture.read("k", range).await.is_err(), "half of it is not taken for all");
    fixture.test_engine().set_fault(None);
    fixture.put_in_the_end("other", octets(LARGE, 4)).await;
    assert!(fixture.read("k", None).await.unwrap() == octets(PIECES, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_engine_changed_or_lost_is_found_and_not_passed_on() {
    let fixture = Fixture::in_an_engine().await;
    let metrics = &fixture.store.metrics;
    fixture.put("k", octets(LARGE, 1)).await.unwrap();
    fixture.store.scrub().await.unwrap();
    assert_eq!((metrics.rotten.get(), metrics.scrubbed.get()), (0, 1));
    fixture.test_engine().rot(70_000);
    fixture.store.scrub().await.unwrap();
    assert_eq!(metrics.rotten.get(), 1);
    assert!(fixture.read("k", None).await.is_err());
    for (first, last, is_whole) in [(65_536, 65_536, false), (0, 65_535, true), (140_000, 299_999, true)] {
        let read = fixture.read("k", Some(ObjectRange::From(first, Some(last)))).await;
        assert_eq!(read.is_ok(), is_whole, "{first} to {last}");
    }
    let cut = |octets: &mut Bytes| *octets = octets.slice(..octets.len() - 1);
    fixture.test_engine().objects().values_mut().for_each(cut);
    assert!(fixture.read("k", Some(ObjectRange::Last(1))).await.is_err(), "cut short");
    fixture.test_engine().objects().clear();
    fixture.store.scrub().await.unwrap();
    assert_eq!(metrics.rotten.get(), 2);
    let lost = fixture.read("k", None).await;
    assert!(matches!(lost, Err(ObjectError::Broken(_))), "{lost:?}");
    // The engine itself is well.
    assert_eq!((fixture.store.engine_fault(), metrics.unreadable.get()), (None, 4));
    assert!(fixture.put("k", octets(LARGE, 2)).await.is_ok());
    fixture.test_engine().stop().await;
    fixture.store.scrub().await.unwrap();
    assert_eq!((metrics.rotten.get(), metrics.obstacles.get() > 0), (2, true), "to be away is no rot");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_left_in_the_engine_goes_and_what_is_another_servers_stays() {
    let mut fixture = Fixture::in_an_engine().await;
    fixture.put("k", octets(LARGE, 1)).await.unwrap();
    let others = ["some/where/a-0123456789abcdef", "some/where/b-0123456789abcdef", "some"];
    let others = others.map(|begin| format!("{begin}/{}.0000", "0".repeat(32)));
    for name in &others {
        fixture.test_engine().objects().insert(name.clone(), Bytes::from("x"));
    }
    let others_are_there =
        |fixture: &Fixture| others.iter().all(|name| fixture.test_engine().objects().contains_key(name));
    // A crash after the blob was whole, and before its row was; and one while another was written.
    let mut whole = fixture.unnamed().await;
    whole.named();
    drop(whole);
    std::mem::forget(fixture.unnamed().await);
    assert_eq!(fixture.files(), 6);
    assert_eq!(fixture.store.remove_strays().await, Ok(1), "the other one may still get its row");
    // The next process of a graceful restart beside this one.
    let next = fixture.blobs_with_engine();
    let next = Store { blobs: next, ..fixture.store.clone() };
    assert_eq!(next.remove_strays().await, Ok(0));
    drop(next);
    let processes = fixture.folder.path().join("blobs/processes");
    for entry in fs::read_dir(&processes).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    fixture = fixture.restart();
    assert_eq!(fixture.store.remove_strays().await, Ok(1));
    assert_eq!(fixture.store.remove_strays().await, Ok(0));
    assert_eq!(fixture.read("k", None).await.unwrap(), octets(LARGE, 1));
    assert!(others_are_there(&fixture));
    assert_eq!(fixture.files(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_is_broken_off_leaves_nothing_in_the_engine() {
    let fixture = Fixture::in_an_engine().await;
    let (mut sender, body) = Body::channel(1, None);
    let (store, bucket) = (fixture.store.clone(), fixture.bucket.clone());
    let putting =
        tokio::spawn(async move { store.put(&bucket, &key("k"), ObjectPut::default(), body).await });
    let began = Instant::now();
    // Until a piece of it is there.
    while fixture.test_engine().blobs() == 0 {
        assert!(began.elapsed() < DEADLINE);
        sender.send(octets(256 << 10, 1).into()).await.unwrap();
    }
    putting.abort();
    assert!(putting.await.unwrap_err().is_cancelled());
    // A piece that was under way may come after it was looked for.
    while fixture.files() > 0 {
        assert!(began.elapsed() < DEADLINE);
        fixture.store.remove_strays().await.unwrap();
    }
    assert_eq!(fixture.read("k", None).await, Err(ObjectError::NoSuchKey));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_from_before_the_engine_stay_what_they_are() {
    let Fixture { folder, clock, there, store, bucket, .. } = Fixture::new();
    store.put(&bucket, &key("old"), ObjectPut::default(), Body::full(octets(LARGE, 1))).await.unwrap();
    store.close_wholly();
    let engine = TestEngine::start().await;
    let store = open_with(folder.path(), bounds(0), clock.clone(), there.clone(), Some(&engine)).unwrap();
    let fixture = Fixture { folder, clock, there, store, bucket, engine: Some(engine) };
    fixture.put("new", octets(LARGE, 2)).await.unwrap();
    let (store, bucket) = (&fixture.store, &fixture.bucket);
    for (from, to) in [("old", "old copy"), ("new", "new copy")] {
        store.copy((bucket, &key(from)), (bucket, &key(to)), ObjectCopy::default()).await.unwrap();
    }
    store.scrub().await.unwrap();
    assert_eq!((store.metrics.scrubbed.get(), store.metrics.rotten.get()), (4, 0));
    assert_eq!((fixture.files(), fixture.test_engine().blobs()), (4, 2));
    for (name, seed) in [("old", 1), ("old copy", 1), ("new", 2), ("new copy", 2)] {
        assert_eq!(fixture.read(name, None).await.unwrap(), octets(LARGE, seed), "{name}");
    }
    // Without the engine it would not have what it says.
    let Fixture { folder, clock, there, store, .. } = fixture;
    store.close_wholly();
    let refused = open_with(folder.path(), bounds(0), clock, there, None);
    assert!(refused.is_err_and(|error| error.to_string().contains("[r2.blobs]")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_thrown_away_of_an_engine_that_is_given_up_holds_up_no_files() {
    let fixture = Fixture::in_an_engine().await;
    fixture.put("in the engine", octets(LARGE, 1)).await.unwrap();
    let Fixture { folder, clock, there, store, bucket, .. } = fixture;
    store.close_wholly();
    fs::remove_file(folder.path().join("engine")).unwrap();
    let store = open_with(folder.path(), bounds(0), clock.clone(), there.clone(), None).unwrap();
    let fixture = Fixture { folder, clock, there, store, bucket, engine: None };
    fixture.put("in a file", octets(LARGE, 2)).await.unwrap();
    for name in ["in the engine", "in a file"] {
        let delete = ObjectDelete { key: key(name), conditions: Default::default() };
        fixture.store.delete(&fixture.bucket, vec![delete]).await.unwrap();
        fixture.later(600);
        fixture.store.collect().await.unwrap();
    }
    assert_eq!((fixture.files(), fixture.store.metrics.collected.get()), (0, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_account_leaves_places_for_others_to_write() {
    let fixture = Fixture::in_an_engine().await;
    let mut written = Vec::new();
    for _ in 0..WRITTEN_BY_ONE_MAX {
        written.push(fixture.writing_of(1).await.unwrap());
    }
    assert_eq!(fixture.writing_of(1).await.err(), Some(ObjectError::Busy));
    let another = fixture.writing_of(2).await.unwrap();
    written.pop();
    written.push(fixture.writing_of(1).await.unwrap());
    drop((written, another));
}
