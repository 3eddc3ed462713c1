//! What is kept, keys and values and objects, when a server that has it dies or is out of reach.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Instant,
};

use proxima_lab::Fault;
use serde_json::json;

use crate::{api::Api, http::PATIENCE, two_pops::TwoPops};

/// Who dies; the other one keeps the log.
const DIES: &str = "bbb-1";
const STAYS: &str = "aaa-1";
/// Writers at a time.
const WRITERS: usize = 4;
/// Writes that are acknowledged before the server dies, and after it.
const WRITES: usize = 200;
/// Namespaces that are made until one is at home where it should be: each is with a chance of a half.
const NAMESPACES: usize = 32;

/// Keys that a server took as their home.
fn taken(lab: &TwoPops, server: &str) -> f64 {
    lab.metric(server, "proxima_kv_writes_total").unwrap()
}

/// The path of the values of a namespace whose home is this server.
fn namespace_at(lab: &TwoPops, api: &Api<'_>, server: &str) -> String {
    // Before that, one is home in the other's place.
    lab.until("all are homes", |_| {
        [STAYS, DIES].iter().all(|server| lab.metric(server, "proxima_kv_unsettled") == Some(0.0))
    });
    for number in 0..NAMESPACES {
        let namespaces = format!("{}/storage/kv/namespaces", api.account());
        let title = json!({ "title": format!("n{number}") }).to_string();
        let made = api.result("POST", &namespaces, &title);
        let values = format!("{namespaces}/{}/values", made["id"].as_str().unwrap());
        let before = taken(lab, server);
        api.result("PUT", &format!("{values}/first"), "first");
        if taken(lab, server) > before {
            return values;
        }
    }
    panic!("none of {NAMESPACES} namespaces is at home at {server}");
}

#[test]
fn lab_nothing_that_kv_acknowledged_is_lost_when_its_home_dies_under_load() {
    let lab = TwoPops::up("kv-home");
    let api = Api::of(&lab, "near-a", STAYS);
    let values = namespace_at(&lab, &api, DIES);
    let value = |number: usize| format!("{number:0128}");
    let path = |number: usize| format!("{values}/key-{number}");
    let (next, acknowledged, over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let written: Vec<usize> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut written = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        // What is refused, or not answered, may be written or not: nobody was told that it is.
                        if api
                            .try_ask("PUT", &path(number), &value(number))
                            .is_ok_and(|(status, _)| status == 200)
                        {
                            written.push(number);
                            acknowledged.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    written
                })
            })
            .collect();
        let enough = |more: usize| {
            let wanted = acknowledged.load(Ordering::Relaxed) + more;
            let begun = Instant::now();
            while acknowledged.load(Ordering::Relaxed) < wanted && begun.elapsed() < PATIENCE * 2 {
                std::thread::yield_now();
            }
            acknowledged.load(Ordering::Relaxed) >= wanted
        };
        let before = enough(WRITES);
        let killed = lab.lab().fault(&Fault::Kill { server: DIES.to_owned() });
        let after = enough(WRITES);
        // Whatever came of it: those who write are told to end before this test does.
        over.store(true, Ordering::Relaxed);
        let written = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        println!("{}", killed.unwrap().effect);
        assert!(before && after, "writes were not acknowledged: {before} before, {after} after");
        written
    });
    println!("{} of {} writes were acknowledged", written.len(), next.load(Ordering::Relaxed));
    for number in &written {
        assert_eq!(api.ask("GET", &path(*number), ""), (200, value(*number)), "with one replica");
    }

    // It comes back, takes over what it missed, and is their home again: now the other one dies.
    lab.fault(&Fault::Restart { server: DIES.to_owned() });
    let back = Api::of(&lab, "near-b", DIES);
    let last = *written.last().unwrap();
    lab.until("it is back", |_| back.try_ask("GET", &path(last), "").is_ok_and(|(status, _)| status == 200));
    let before = taken(&lab, DIES);
    lab.until("it is the home again", |_| {
        api.ask("PUT", &format!("{values}/last"), "last");
        taken(&lab, DIES) > before
    });
    lab.fault(&Fault::Kill { server: STAYS.to_owned() });
    for number in &written {
        assert_eq!(back.ask("GET", &path(*number), ""), (200, value(*number)), "with the other replica");
    }
}

#[test]
fn lab_objects_whose_home_is_out_of_reach_are_said_to_be_and_are_there_when_it_is_back() {
    let lab = TwoPops::up("r2-home");
    // The server that is asked for a bucket is its home.
    let (home, other) = (Api::of(&lab, "near-b", DIES), Api::of(&lab, "near-a", STAYS));
    let buckets = format!("{}/r2/buckets", home.account());
    home.result("POST", &buckets, &json!({ "name": "photos" }).to_string());
    let object = format!("{buckets}/photos/objects/a/photo");
    lab.until("the other server has heard of the bucket, and reaches its home", |_| {
        other.ask("PUT", &object, "octets").0 == 200
    });
    assert_eq!(other.ask("GET", &object, ""), (200, "octets".to_owned()));

    lab.fault(&Fault::Silence { server: DIES.to_owned() });
    let begun = Instant::now();
    // What is refused so may have been written all the same: that is another object.
    for (method, path, body) in [("GET", object.clone(), ""), ("PUT", format!("{object}-2"), "octets")] {
        let (status, told) = other.ask(method, &path, body);
        assert!(status == 503 && told.contains(DIES), "{method}: {status} {told}");
    }
    println!("both were told after {:?}", begun.elapsed());
    assert!(begun.elapsed() < PATIENCE, "who asks must not wait for a home that is away");
    // What is not kept there is served as before.
    assert_eq!(other.ask("GET", &buckets, "").0, 200);

    lab.fault(&Fault::Unsilence { server: DIES.to_owned() });
    lab.until("the home is reached again", |_| other.ask("GET", &object, "").0 == 200);
    assert_eq!(other.ask("GET", &object, ""), (200, "octets".to_owned()));
}
