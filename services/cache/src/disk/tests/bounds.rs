//! A disk that is full, that fails, or that another process has.

use super::{super::segment::faults::Faults, *};

#[tokio::test]
async fn the_oldest_gives_way_but_what_is_in_use() {
    let folder = folder();
    let world = World::open(folder.path(), beginning(1, vec![])).await;
    let piece = content(1 << 20);
    let mut in_use = Vec::new();
    for n in 0..200 {
        world.put(&format!("/{n}"), &piece);
        world.disk().settle().await;
        if n == 3 {
            in_use = piece.clone();
        }
        if n > 3 {
            assert_eq!(world.get("/3").await.as_ref(), Some(&in_use), "after {n}");
        }
    }
    assert!(world.get("/4").await.is_none());
    assert!(world.get("/199").await.is_some());
    assert!(world.metrics.disk.kept.get() > 0 && world.metrics.disk.evictions.get() > 0);
    let octets = std::fs::read_dir(folder.path()).expect("a folder").filter_map(Result::ok);
    let octets: u64 = octets.map(|entry| entry.metadata().expect("a file").len()).sum();
    assert!(octets <= DISK_BYTES_MIN, "{octets}");
    let objects = world.disk().0.index.len();
    world.close().await;
    let again = World::open(folder.path(), beginning(1, vec![])).await;
    assert_eq!(again.disk().0.index.len(), objects, "a start finds what was there");
    assert!(again.get("/3").await.is_some());
}

#[tokio::test]
async fn what_memory_keeps_is_written_again_when_its_segment_has_gone() {
    let folder = folder();
    let world = World::open(folder.path(), beginning(1, vec![])).await;
    let response = fields(&[("cache-control", "max-age=600")]);
    let hot = world.object("/hot", &response, &HeaderMap::new(), b"hot");
    world.store.insert(&key("/hot"), &HeaderMap::new(), hot.clone());
    let piece = content(1 << 20);
    for n in 0..150 {
        // As a hit from memory does: the index hears nothing of it.
        world.store.used(&key("/hot"), &hot);
        world.put(&format!("/{n}"), &piece);
        world.disk().settle().await;
    }
    assert!(world.metrics.disk.evictions.get() > 0);
    world.store.used(&key("/hot"), &hot);
    assert_eq!(world.get("/hot").await.as_deref(), Some(&b"hot"[..]));
}

#[tokio::test]
async fn the_file_of_a_removed_segment_is_let_go() {
    let folder = folder();
    let world = World::open(folder.path(), beginning(1, vec![])).await;
    world.put("/large", &content(3 << 20));
    let large = world.get_with("/large", &HeaderMap::new()).await.expect("on the disk");
    let piece = content(1 << 20);
    for n in 0..150 {
        world.put(&format!("/{n}"), &piece);
        world.disk().settle().await;
    }
    assert!(large.content.is_spoiled());
    assert!(world.store.find(&key("/large"), &HeaderMap::new()).object.is_none());
}

#[tokio::test]
async fn what_was_forgotten_while_it_was_written_does_not_come_back() {
    let folder = folder();
    let world = World::open(folder.path(), beginning(1, vec![])).await;
    for n in 0..200 {
        let path = format!("/{n}");
        world.put(&path, b"old");
        // Before, while or after the writer has it.
        if n % 3 == 0 {
            tokio::task::yield_now().await;
        }
        world.store.forget(&key(&path));
    }
    world.disk().settle().await;
    world.close().await;
    let again = World::open(folder.path(), beginning(1, vec![])).await;
    for n in 0..200 {
        assert!(again.get(&format!("/{n}")).await.is_none(), "{n}");
    }
}

#[tokio::test]
async fn a_folder_is_one_process_s_at_a_time() {
    let folder = folder();
    let world = World::open(folder.path(), beginning(1, vec![])).await;
    world.put("/a", b"x");
    world.put("/forgotten", b"x");
    world.disk().settle().await;
    let next = World::start(folder.path(), NOW, 0);
    next.disk().begin(beginning(1, vec![]));
    // Nothing is found yet, but what is forgotten is remembered.
    assert!(next.disk().look_up(&key("/a"), &HeaderMap::new()).is_none());
    next.store.forget(&key("/forgotten"));
    // The former one has come further in the log: the next waits until it has come as far.
    world.disk().applied(5);
    world.disk().close().await;
    next.disk().applied(5);
    assert!(next.get("/a").await.is_some());
    assert!(next.get("/forgotten").await.is_none());
    // The former goes on to serve what it knew.
    assert!(world.disk().look_up(&key("/a"), &HeaderMap::new()).is_some());
}

#[tokio::test]
async fn nothing_is_found_before_the_log_was_heard_and_all_is_in_force_that_it_had() {
    let folder = folder();
    let world = World::open(folder.path(), beginning(1, vec![])).await;
    let tagged = fields(&[("cache-control", "max-age=600"), ("cache-tag", "news")]);
    world.put_with("/tagged", &tagged, &HeaderMap::new(), b"x");
    world.put("/stays", b"x");
    world.disk().close().await;

    // Meanwhile there was a purge, of which the state with which it starts again does not tell.
    let seen = Arc::new(Mutex::new(None));
    let (looks, looked) = mpsc::sync_channel(0);
    let log_seen = {
        let seen = seen.clone();
        Box::new(move || {
            looks.send(()).ok();
            *seen.lock().expect("not poisoned")
        })
    };
    let next = World::start_while(folder.path(), NOW, 0, log_seen);
    next.disk().begin(beginning(1, vec![]));
    let look = || (0..3).for_each(|_| looked.recv().expect("it looks until it is open"));
    look();
    assert!(!next.disk().is_open(), "the log was not heard");
    *seen.lock().expect("not poisoned") = Some(3);
    look();
    assert!(!next.disk().is_open(), "what the log has is not in force");
    next.store.purge_names(zone(), &[Mark::tag(&CacheTag::parse("news").expect("a tag"))]);
    next.disk().applied(3);
    drop(looked);
    next.disk().settle().await;
    assert!(next.get("/stays").await.is_some());
    assert!(next.get("/tagged").await.is_none());
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_costs_misses() {
    let folder = folder();
    let world = World::open(folder.path(), beginning(1, vec![])).await;
    std::fs::remove_dir_all(folder.path()).expect("removed");
    world.put("/a", b"x");
    assert!(world.get("/a").await.is_none());
    assert_eq!(world.metrics.disk.failures.get(), 1);
    world.put("/b", b"x");
    assert!(world.get("/b").await.is_none());
    assert_eq!(world.metrics.disk.failures.get(), 1, "it is left alone for a while");
}

#[tokio::test]
async fn a_disk_that_fills_lets_its_oldest_go_and_serves_what_is_left() {
    let folder = folder();
    let world = World::open(folder.path(), beginning(1, vec![])).await;
    // Two segments and a half.
    Faults::of(folder.path()).leave_room(40 << 20);
    let piece = content(1 << 20);
    let mut written = 0;
    while world.metrics.disk.failures.get() == 0 {
        assert!(written < 60, "it does not fill");
        world.put(&format!("/{written}"), &piece);
        world.disk().settle().await;
        written += 1;
    }
    let (failed, last) = (format!("/{}", written - 1), format!("/{}", written - 2));
    assert_eq!((world.metrics.disk.failures.get(), world.metrics.disk.evictions.get()), (1, 1));
    assert!(world.get("/0").await.is_none(), "the oldest made room");
    assert!(world.get(&failed).await.is_none(), "it was written by half");
    assert_eq!(world.get(&last).await.as_ref(), Some(&piece));

    // The power goes before anything is put in order. The next process finds the same, and room.
    world.disk().die().await;
    let again = World::open(folder.path(), beginning(1, vec![])).await;
    assert!(again.get("/0").await.is_none() && again.get(&failed).await.is_none());
    assert_eq!(again.get(&last).await.as_ref(), Some(&piece));
    again.put("/after", &piece);
    assert_eq!(again.get("/after").await.as_ref(), Some(&piece));
    again.close().await;
    let third = World::open(folder.path(), beginning(1, vec![])).await;
    assert_eq!(third.get(&last).await.as_ref(), Some(&piece));
    assert_eq!(third.get("/after").await.as_ref(), Some(&piece));
}

#[tokio::test]
async fn what_cannot_be_read_is_a_miss_or_a_broken_answer_and_is_forgotten() {
    let folder = folder();
    let world = World::open(folder.path(), beginning(1, vec![])).await;
    world.put("/small", b"x");
    world.put("/large", &content(3 << 20));
    world.put("/well", b"x");
    let large = world.get_with("/large", &HeaderMap::new()).await.expect("on the disk");
    let faults = Faults::of(folder.path());
    faults.be_unreadable(true);
    assert!(read(large.content.body(0, None).expect("whole")).await.is_none(), "it ends visibly");
    assert!(large.content.is_spoiled());
    assert!(world.get("/small").await.is_none());
    assert_eq!(world.metrics.disk.reads(Read::Failed), 2);
    faults.be_unreadable(false);
    assert!(world.get("/small").await.is_none(), "it is not tried again");
    assert!(world.get("/well").await.is_some());
}
