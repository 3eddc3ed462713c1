//! Tiers of caches: the origin is asked once for the whole network, purges hold, and a server that is lost is missed by
//! nobody.

use std::{fs, path::Path, process::Child, time::Instant};

use proxima_lab::Fault;

use crate::two_pops::{HOST, TwoPops};

const SERVERS: [&str; 4] = ["aaa-1", "aaa-2", "bbb-1", "bbb-2"];

/// Two PoPs of two servers each, of which the first is the upper one.
fn topology() -> String {
    let rack = include_str!("rack.toml");
    let text = rack
        .replace("region = \"a\"\nservers = 2", "region = \"a\"\nservers = 2\nupper_tier = true")
        .replace("region = \"b\"\nservers = 1", "region = \"b\"\nservers = 2");
    assert!(text.contains("upper_tier") && !text.contains("servers = 1"));
    text
}

/// What a server answers when it asks itself.
fn ask(lab: &TwoPops, server: &str, path: &str) -> String {
    let (resolve, url) = (format!("{HOST}:80:198.18.0.1"), format!("http://{HOST}{path}"));
    lab.run(server, "curl", &["-sSi", "--max-time", "10", "--resolve", &resolve, &url])
}

fn content(answer: &str) -> &str {
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer.split_once("\r\n\r\n").map_or(answer, |(_, content)| content)
}

/// How often the origin was asked for a path.
fn fetches(lab: &TwoPops, path: &str) -> usize {
    lab.fetched().iter().filter(|fetched| *fetched == path).count()
}

/// Waits until every server has a connection to all that it may have to ask.
fn until_connected(lab: &TwoPops) {
    for (server, peers) in SERVERS.into_iter().zip([1, 1, 3, 3]) {
        let wanted = format!("\nproxima_tiers_peers_up {peers}\n");
        let metrics = || lab.run(server, "curl", &["-sS", "http://127.0.0.1:9090/metrics"]);
        lab.until(&format!("{server} can ask {peers} others"), |_| metrics().contains(&wanted));
    }
}

#[test]
fn lab_the_origin_is_asked_once_for_the_whole_network() {
    let lab = TwoPops::up_with("tiers", ("tiers.toml", &topology()));
    until_connected(&lab);
    for n in 0..12 {
        let path = format!("/tagged/page-{n}");
        let (first, others) = SERVERS.split_at(1 + n % 3);
        let made = content(&ask(&lab, first[n % first.len()], &path)).to_owned();
        for server in others.iter().chain(first) {
            assert_eq!(content(&ask(&lab, server, &path)), made, "{server}");
        }
        assert_eq!(fetches(&lab, &path), 1, "{path}");
    }

    purges_hold(&lab);
    a_home_that_dies_while_it_answers_deceives_nobody(&lab);
    a_lost_home_is_missed_by_nobody(&lab);
}

/// What one server has purged does not come back to it from another that has not heard of it yet.
fn purges_hold(lab: &TwoPops) {
    let path = "/tagged/purged";
    for round in 1..4 {
        let old: Vec<String> =
            SERVERS.iter().map(|server| content(&ask(lab, server, path)).to_owned()).collect();
        assert!(old.iter().all(|content| *content == old[0]), "{old:?}");
        lab.proxima("near-b", &["purge", "example.com", "--tag", "purged"]);
        let begun = Instant::now();
        for server in SERVERS {
            let now = || content(&ask(lab, server, path)).to_owned();
            lab.until(&format!("{server} has forgotten"), |_| now() != old[0]);
            // Once new, it stays new.
            let seen: Vec<String> = (0..5).map(|_| now()).collect();
            assert!(seen.iter().all(|content| *content != old[0]), "round {round}, {server}: {seen:?}");
        }
        println!("round {round}: new at all four servers {:?} after the purge", begun.elapsed());
    }
}

/// Downloads under way at once: each URL has one of two servers as its home, so of a dozen some have the one that dies.
const DOWNLOADS: usize = 12;
/// Octets of each: together less than the memory for what is being fetched.
const LARGE_OCTETS: usize = 1 << 20;

/// Content of a URL, unlike that of any other.
fn large(n: usize) -> Vec<u8> {
    (0..LARGE_OCTETS).map(|at| u8::try_from((at * 31 + at / 251 + n) % 256).unwrap()).collect()
}

/// Begins to download into a file.
fn download(lab: &TwoPops, n: usize, file: &Path) -> Child {
    let (resolve, url) = (format!("{HOST}:80:198.18.0.1"), format!("http://{HOST}/slow/{n}"));
    let mut curl = lab.lab().command("bbb-1", "curl").unwrap();
    curl.args(["-sSN", "--fail", "--max-time", "60", "--resolve", &resolve, &url, "-o"]).arg(file);
    curl.spawn().unwrap()
}

/// The second server of the lower PoP dies while it answers the first: who reads gets the whole, or an end that is no end.
fn a_home_that_dies_while_it_answers_deceives_nobody(lab: &TwoPops) {
    let slow = lab.data_dir("origin").join("slow");
    fs::create_dir_all(&slow).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |n: usize| folder.path().join(n.to_string());
    let mut downloads = Vec::new();
    for n in 0..DOWNLOADS {
        fs::write(slow.join(n.to_string()), large(n)).unwrap();
        downloads.push(download(lab, n, &file(n)));
    }
    let begun = |n: usize| fs::metadata(file(n)).is_ok_and(|file| file.len() > 0);
    lab.until("all downloads have begun", |_| (0..DOWNLOADS).all(begun));
    lab.fault(&Fault::Kill { server: "bbb-2".to_owned() });
    let mut cut = 0;
    for (n, mut curl) in downloads.into_iter().enumerate() {
        let whole = curl.wait().unwrap().success();
        let (got, content) = (fs::read(file(n)).unwrap(), large(n));
        assert!(content.starts_with(&got), "{n}: other content");
        assert_eq!(
            got.len() == LARGE_OCTETS,
            whole,
            "{n}: {} octets, and curl says whole: {whole}",
            got.len()
        );
        cut += usize::from(!whole);
    }
    assert!(cut > 0, "the home died of none of them");
    for n in 0..DOWNLOADS {
        assert!(download(lab, n, &file(n)).wait().unwrap().success(), "{n}");
        assert!(fs::read(file(n)).unwrap() == large(n), "{n}: what broke off was kept");
    }
    println!("{cut} of {DOWNLOADS} downloads were cut, and came whole afterwards");
}

/// The second server of the lower PoP is dead, and then the upper PoP dies.
fn a_lost_home_is_missed_by_nobody(lab: &TwoPops) {
    for n in 0..12 {
        let answer = ask(lab, "bbb-1", &format!("/tagged/without-home-{n}"));
        assert!(content(&answer).starts_with("without-home"), "{answer}");
    }
    lab.fault(&Fault::KillPop { pop: "AAA".to_owned() });
    for n in 0..12 {
        let answer = ask(lab, "bbb-1", &format!("/tagged/without-upper-{n}"));
        assert!(content(&answer).starts_with("without-upper"), "{answer}");
    }
}
