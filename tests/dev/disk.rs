//! What the cache has on disk outlives the process, however that ends; what was purged does not come back.

use crate::{
    HOST,
    dev::Dev,
    origin::{Origin, TEXT},
    with_site,
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
