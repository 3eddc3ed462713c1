//! What the cache has on disk outlives the process, however that ends; what was purged does not come back. A disk that is full,
//! or whose folder is not to be had, costs hits: clients are answered in whole, and when it is well again, it is used again.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Instant};

use crate::{
    HOST,
    dev::{DEADLINE, Dev},
    observed::{metric, until_metric},
    origin::{Origin, TEXT, large},
    set_up_site, with_site,
};

/// Waits until so many objects lie on the disk.
fn until_on_disk(dev: &Dev, objects: usize) {
    let wanted = format!("\nproxima_cache_disk_objects {objects}\n");
    dev.curl_until(&["-sS", &format!("http://{}/metrics", dev.admin())], &wanted);
}

fn get(dev: &Dev, path: &str) -> String {
    dev.curl(&["-sSi", &dev.http_url(HOST, path)])
}

#[test]
fn the_cache_outlives_its_process_and_purges_do_too() {
    let origin = Origin::start();
    let mut dev = with_site(&origin);
    for path in ["/text", "/tagged/a", "/tagged/b"] {
        get(&dev, path);
        // Only what is asked for again is written.
        let hit = get(&dev, path);
        assert!(hit.contains("cf-cache-status: HIT"), "{hit}");
    }
    until_on_disk(&dev, 3);
    for killed in [true, false] {
        if killed {
            dev.kill();
        } else {
            dev.terminate();
        }
        dev.start_again();
        until_on_disk(&dev, 3);
        let hit = get(&dev, "/text");
        assert!(hit.contains("cf-cache-status: HIT") && hit.ends_with(&TEXT.repeat(1_000)), "{hit:.500}");
    }
    dev.proxima(&["purge", "example.com", "--tag", "a"]);
    dev.kill();
    dev.start_again();
    until_on_disk(&dev, 3);
    assert!(get(&dev, "/tagged/b").contains("cf-cache-status: HIT"));
    assert!(get(&dev, "/tagged/a").contains("cf-cache-status: MISS"));
    assert_eq!((origin.requests("/tagged/a"), origin.requests("/tagged/b")), (2, 1));

    // The next process waits for the disk, and then has it; not the old answer, and the new one not yet.
    dev.restart_gracefully();
    until_on_disk(&dev, 2);
    assert!(get(&dev, "/text").contains("cf-cache-status: HIT"));
    assert_eq!(origin.requests("/text"), 1);
}

/// One of the disk's counters.
fn counted(dev: &Dev, name: &str) -> f64 {
    metric(dev, &format!("proxima_cache_disk_{name}_total ")).unwrap()
}

/// Waits until the log has a failure of the disk, and this reason.
fn until_told(dev: &Dev, reason: &str) {
    let begun = Instant::now();
    loop {
        let log = dev.log();
        if log.contains(TOLD) && log.contains(reason) {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "{reason:?} is not told: {log}");
        std::thread::yield_now();
    }
}

/// Large objects, each of which is asked for twice, so that it is written.
struct Large<'a> {
    dev: &'a Dev,
    asked: usize,
}

impl<'a> Large<'a> {
    fn of(dev: &'a Dev) -> Self {
        Self { dev, asked: 0 }
    }

    /// The next one comes in whole, from the origin and from memory, whatever the disk does; its path.
    fn next(&mut self) -> String {
        self.asked += 1;
        let path = format!("/large/{}", self.asked);
        for status in ["MISS", "HIT"] {
            self.comes(&path, status);
        }
        path
    }

    fn comes(&self, path: &str, status: &str) {
        let answer = get(self.dev, path);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:.500}"));
        assert!(head.contains(&format!("cf-cache-status: {status}")), "{head}");
        assert!(body == large(path), "{path} is not whole: {} octets", body.len());
    }

    /// Asks for others until the disk has counted one more of something.
    fn until_counted(&mut self, name: &str) -> String {
        let (before, begun) = (counted(self.dev, name), Instant::now());
        loop {
            let last = self.next();
            if counted(self.dev, name) > before {
                return last;
            }
            assert!(begun.elapsed() < DEADLINE, "{name} stays at {before}: {}", self.dev.log());
        }
    }
}

/// The line with which a failure of the disk is told.
const TOLD: &str = "the disk cannot be written: no more is written for 5 s; what lies there is served";

#[test]
fn a_disk_that_the_cache_itself_has_filled_lets_the_oldest_go_and_takes_more() {
    let origin = Origin::start();
    // One segment of 16 MiB, and half of the next.
    let mut dev = Dev::start_on_a_disk_of(24 << 20);
    set_up_site(&dev, &origin);
    let mut large = Large::of(&dev);
    large.until_counted("write_failures");
    // The older of two segments.
    until_metric(&dev, "proxima_cache_disk_evictions_total ", |evictions| evictions == 1.0);
    until_told(&dev, "No space left");
    // There is room now: it is used as soon as the disk is tried again.
    large.until_counted("writes");
    let written = large.next();
    let asked = large.asked;
    // Who takes over has it from the disk alone.
    dev.restart_gracefully();
    until_metric(&dev, "proxima_cache_disk_objects ", |objects| objects > 0.0);
    Large { dev: &dev, asked }.comes(&written, "HIT");
    assert_eq!(origin.requests(&written), 1);
}

#[test]
fn a_disk_that_others_have_filled_is_used_again_when_they_have_made_room() {
    let origin = Origin::start();
    // Five objects and a MiB more; a segment is larger, so the one that is being written is not full. Four may be written
    // before others fill the disk: the fifth has its room when they have gone.
    let dev = Dev::start_on_a_disk_of(15_872 << 10);
    set_up_site(&dev, &origin);
    let mut large = Large::of(&dev);
    let first = large.until_counted("writes");
    let ballast = dev.cache_folder().join("ballast");
    let (mut file, piece) = (fs::File::create(&ballast).unwrap(), vec![0; 64 << 10]);
    while std::io::Write::write_all(&mut file, &piece).is_ok() {}
    // As long as it is open, it takes its room.
    drop(file);

    large.until_counted("write_failures");
    until_told(&dev, "No space left");
    assert_eq!(counted(&dev, "evictions"), 0.0, "what is being written does not go");
    large.comes(&first, "HIT");
    fs::remove_file(&ballast).unwrap();
    large.until_counted("writes");
}

#[test]
fn a_folder_that_becomes_unreadable_or_is_removed_is_used_again_when_it_is_back() {
    let origin = Origin::start();
    let dev = Dev::start_without_root_with_small_segments();
    set_up_site(&dev, &origin);
    let folder = dev.cache_folder();
    let permit = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
    let mut large = Large::of(&dev);
    large.until_counted("writes");
    // A segment that is open goes on; the next one cannot be begun.
    permit(0o000);
    large.until_counted("write_failures");
    until_told(&dev, "Permission denied");
    permit(0o700);
    large.until_counted("writes");

    let away = folder.with_extension("away");
    fs::rename(&folder, &away).unwrap();
    fs::remove_dir_all(&away).unwrap();
    large.until_counted("write_failures");
    until_told(&dev, "No such file or directory");
    let user = fs::metadata(dev.data()).unwrap();
    fs::create_dir(&folder).unwrap();
    let (uid, gid) = (std::os::unix::fs::MetadataExt::uid(&user), std::os::unix::fs::MetadataExt::gid(&user));
    std::os::unix::fs::chown(&folder, Some(uid), Some(gid)).unwrap();
    large.until_counted("writes");
}
