//! A disk that is full.

use std::{collections::BTreeSet, sync::atomic::AtomicU64};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::*;

#[tokio::test]
async fn a_full_disk_is_told_and_leaves_what_is_there() {
    let fixture = Fixture::new();
    fixture.put("k", octets(LARGE, 1)).await.unwrap();
    let full = Store { blobs: fixture.blobs(|| 0), ..fixture.store.clone() };
    let put = full.put(&fixture.bucket, &key("k"), ObjectPut::default(), Body::full(octets(LARGE, 2))).await;
    assert!(matches!(put, Err(ObjectError::Full(_))), "{put:?}");
    assert_eq!(fixture.read("k", None).await.unwrap(), octets(LARGE, 1));
}

#[tokio::test]
async fn a_disk_that_fills_while_octets_come_is_told_and_they_go() {
    let fixture = Fixture::new();
    fixture.put("k", octets(LARGE, 1)).await.unwrap();
    // As if others wrote as much, each time that somebody looks.
    let left = Arc::new(AtomicU64::new(2 << 20));
    let of_disk = left.clone();
    let blobs = fixture.blobs(move || of_disk.fetch_sub(512 << 10, Ordering::Relaxed));
    let full = Store { blobs, ..fixture.store.clone() };
    let (mut sender, body) = Body::channel(1, None);
    let sending = async {
        // Nobody reads to the end.
        while sender.send(octets(100_000, 2).into()).await.is_ok() {}
    };
    let key = key("k");
    let (put, ()) = tokio::join!(full.put(&fixture.bucket, &key, ObjectPut::default(), body), sending);
    assert!(matches!(put, Err(ObjectError::Full(_))), "{put:?}");
    full.blobs.settle();
    assert_eq!(fixture.files(), 1);
    assert_eq!(fixture.read("k", None).await.unwrap(), octets(LARGE, 1));
}

#[tokio::test]
async fn what_is_announced_and_has_no_room_is_refused_before_it_comes() {
    let fixture = Fixture::new();
    let full = Store { blobs: fixture.blobs(|| 1 << 20), ..fixture.store.clone() };
    let expected = Expected { octets: Some((1 << 20) + 1), ..Expected::default() };
    let put = ObjectPut { expected, ..ObjectPut::default() };
    // It never comes.
    let (_sender, body) = Body::channel(1, None);
    let put = full.put(&fixture.bucket, &key("k"), put, body).await;
    assert!(matches!(put, Err(ObjectError::Full(_))), "{put:?}");
}

/// A small file system of its own; gone when dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(octets: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={octets}");
        let mounted =
            mount(Some("tmpfs"), folder.path(), Some("tmpfs"), MsFlags::empty(), Some(size.as_str()));
        mounted.ok().map(|()| Self(folder))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

/// Puts objects of this size, several at a time, until each is refused; those that were acknowledged.
async fn fill(store: &Store, size: usize, names: &str) -> BTreeSet<String> {
    let mut acknowledged = BTreeSet::new();
    for round in 0.. {
        let puts = (0..8).map(|at| {
            let (store, name) = (store.clone(), format!("{names}{round}/{at}"));
            tokio::spawn(async move {
                let body = Body::full(octets(size, at));
                let put = store.put(&bucket(), &key(&name), ObjectPut::default(), body).await;
                (name, put)
            })
        });
        let before = acknowledged.len();
        for put in puts.collect::<Vec<_>>() {
            match put.await.unwrap() {
                (name, Ok(_)) => drop(acknowledged.insert(name)),
                (_, Err(error)) => assert!(matches!(error, ObjectError::Full(_)), "{error:?}"),
            }
        }
        if acknowledged.len() == before {
            break;
        }
    }
    acknowledged
}

async fn check(fixture: &Fixture, size: usize, acknowledged: &BTreeSet<String>) {
    for name in acknowledged {
        let seed = name.rsplit('/').next().unwrap().parse().unwrap();
        assert_eq!(fixture.read(name, None).await.unwrap(), octets(size, seed), "{name}");
    }
}

#[tokio::test]
async fn a_disk_is_filled_up_to_what_is_left_free_and_has_room_again_when_something_is_deleted() {
    let Some(disk) = Disk::mount(24 << 20) else {
        eprintln!("not run: mounting a small file system needs root");
        return;
    };
    for free_octets_min in [4 << 20, 0] {
        let fixture = Fixture::on(disk.0.path(), free_octets_min);
        let large = fill(&fixture.store, LARGE, "large").await;
        assert!(large.len() > 20, "{}", large.len());
        let small = fill(&fixture.store, 10_000, "small").await;
        // With nothing left free, whether some still fit is a matter of the last pages.
        assert!(
            free_octets_min == 0 || small.len() > 50,
            "rows have half of what is left free: {}",
            small.len()
        );
        check(&fixture, LARGE, &large).await;
        check(&fixture, 10_000, &small).await;
        assert_eq!(fixture.files(), large.len(), "nothing is left of what was refused");
        if free_octets_min > 0 {
            let metrics = &fixture.store.metrics;
            let told = async || {
                fixture.store.measure().await.unwrap();
                (fixture.store.shortage().is_some(), metrics.unwritable.get(), metrics.objects.get())
            };
            let kept = i64::try_from(large.len() + small.len()).unwrap();
            assert_eq!(told().await, (true, 1, kept));
            let all_octets = i64::try_from(large.len() * LARGE + small.len() * 10_000).unwrap();
            assert_eq!(metrics.object_octets.get(), all_octets);
            let all =
                large.iter().map(|name| ObjectDelete { key: key(name), conditions: Default::default() });
            let deleted = fixture.store.delete(&fixture.bucket, all.collect()).await.unwrap();
            assert!(deleted.iter().all(Result::is_ok));
            fixture.later(301);
            fixture.store.collect().await.unwrap();
            assert!(fixture.put("again", octets(LARGE, 1)).await.is_ok());
            assert_eq!(told().await, (false, 0, i64::try_from(small.len()).unwrap() + 1));
        }
    }
}
