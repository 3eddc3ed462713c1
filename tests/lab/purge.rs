//! A purge by tag: at every PoP, and at a server that was cut off when it was ordered.

use std::time::Instant;

use proxima_lab::Fault;

use crate::two_pops::{HOST, TwoPops, at_home};

#[test]
fn lab_a_purge_by_tag_reaches_every_pop_and_a_server_that_was_cut_off_meanwhile() {
    let lab = TwoPops::up("purge");
    // What this host gets for a page that the origin has tagged `page` and with its own name.
    let ask = |host: &str, name: &str| {
        let resolve = format!("{HOST}:80:198.18.0.1");
        let url = format!("http://{HOST}/tagged/{name}");
        lab.run(host, "curl", &["-sSi", "--max-time", "5", "--resolve", &resolve, &url])
    };
    let is = |answer: &str, status: &str| answer.contains(&format!("cf-cache-status: {status}\r\n"));
    let until = |host: &str, name: &str, status: &str| {
        let begun = Instant::now();
        lab.until(&format!("{name} is a {status} at {host}"), |_| is(&ask(host, name), status));
        begun.elapsed()
    };
    let servers = ["aaa-1", "bbb-1"];
    for (server, pop) in servers.into_iter().zip(["-AAA\r\n", "-BBB\r\n"]) {
        for name in ["one", "two"] {
            until(server, name, "HIT");
            let answer = ask(server, name);
            assert!(answer.contains(pop), "a server asks itself: {answer}");
            assert!(!answer.to_ascii_lowercase().contains("cache-tag"), "tags are not for clients: {answer}");
        }
    }

    lab.proxima("near-a", &["purge", "example.com", "--tag", "One"]);
    for server in servers {
        println!("{server} had forgotten after {:?}", until(server, "one", "MISS"));
        assert!(is(&ask(server, "two"), "HIT"), "{server}: another tag's page is still there");
        until(server, "one", "HIT");
    }

    lab.fault(&Fault::Silence { server: "bbb-1".to_owned() });
    lab.proxima("near-a", &["purge", "example.com", "--tag", "one"]);
    until("aaa-1", "one", "MISS");
    assert!(is(&ask("bbb-1", "one"), "HIT"), "it cannot know yet");
    lab.fault(&Fault::Unsilence { server: "bbb-1".to_owned() });
    println!("bbb-1 had forgotten {:?} after it was back", until("bbb-1", "one", "MISS"));
    assert!(is(&ask("bbb-1", "two"), "HIT"), "it had seen all but that purge, and keeps the rest");
    lab.until("the client is at home again", |status| at_home(status, "near-b"));
    until("near-b", "one", "HIT");
}
