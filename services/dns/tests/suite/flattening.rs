//! Aliases that are flattened and lead outside: into an internet on one BIND, at first and when it is known, held up and away.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use proxima_ledger::Change;
use proxima_model::{KeyRole, Record, RecordId, SigningAlgorithm};
use proxima_resolver::{Sockets, Transport, Upstream};
use tokio::{net::UdpSocket, sync::watch};

use crate::{
    rolls::are_validated,
    sockets::{Running, with_node_asking},
    support::{Question, describe, new_key_of, record, signing, zone},
    transfers::{listed, peer},
    tree::{self, Tree},
};

/// What answers outside.
struct Internet {
    sockets: Sockets,
    /// Whether names below `held.plain.test` are answered.
    open: watch::Sender<bool>,
    held: watch::Sender<usize>,
    is_away: AtomicBool,
    asked: AtomicUsize,
}

#[async_trait::async_trait]
impl Upstream for Internet {
    async fn exchange(&self, server: IpAddr, query: &[u8], transport: Transport) -> std::io::Result<Vec<u8>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.is_away.load(Ordering::SeqCst) {
            return Err(std::io::ErrorKind::NetworkUnreachable.into());
        }
        if query.to_ascii_lowercase().windows(16).any(|octets| octets == b"\x04held\x05plain\x04test") {
            self.held.send_modify(|held| *held += 1);
            self.open.subscribe().wait_for(|open| *open).await.ok();
        }
        self.sockets.exchange(server, query, transport).await
    }
}

/// Names of example.com, each an alias beside a text.
const ALIASES: [(&str, &str); 7] = [
    ("plain", "www.plain.test"),
    ("signed", "www.signed.test"),
    ("wild", "x.wild.signed.test"),
    ("gone", "no.signed.test"),
    ("bogus", "www.bogus.test"),
    ("held", "a.held.plain.test"),
    ("near", "www.example.com"),
];

/// Runs a node whose zone has these aliases, and a test against it.
async fn with_aliases(
    flattening: &str,
    test: impl AsyncFnOnce(&Running, &Internet) -> Result<()>,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Tree { port, anchor, .. } = &tree::start(folder.path());
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("hints"), ". NS ns.\nns. A 127.0.0.1\n")?;
    std::fs::write(at("anchor"), anchor)?;
    let internet = Arc::new(Internet {
        sockets: Sockets { port: *port },
        open: watch::Sender::new(false),
        held: watch::Sender::new(0),
        is_away: AtomicBool::new(false),
        asked: AtomicUsize::new(0),
    });
    let config = format!(
        "[dns.flattening]\n{flattening}\n[dns.resolver]\nhints_file = {:?}\nanchors_file = {:?}\nallow_private_name_servers = true",
        at("hints"),
        at("anchor"),
    );
    with_node_asking(&config, internet.clone(), async |running| {
        let zone = zone("example.com");
        let mut changes: Vec<Change> = Vec::new();
        for (number, (name, target)) in ALIASES.iter().enumerate() {
            for (kind, line) in
                [format!("{name} 200 CNAME {target}"), format!("{name} 300 TXT beside")].iter().enumerate()
            {
                let id = RecordId::from_bytes([u8::try_from(100 + 2 * number + kind)?; 16]);
                changes.push(running.node.replica.put(&Record { id, ..record(&zone, line)? }));
            }
        }
        running.change(changes).await?;
        test(running, &internet).await
    })
    .await
}

fn count(running: &Running, line: &str) -> Result<u64> {
    let metrics = running.node.metrics.encode();
    let found =
        metrics.lines().find_map(|found| found.strip_prefix(&format!("proxima_dns_flattening_{line} ")));
    found.with_context(|| format!("no {line} in\n{metrics}"))?.parse().context("a number")
}

/// Seconds for which the one address may be remembered.
fn ttl_of(answer: &str, address: &str) -> Option<u32> {
    let line = answer.lines().find(|line| line.ends_with(&format!("\tA\t{address}")))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_alias_leads_to_outside_is_looked_up_once_and_is_known_then() -> Result<()> {
    with_aliases("outside = true", async |running, internet| {
        let first = running.dig("dig", "+norecurse plain.example.com A").await?;
        ensure!(first.contains("flags: qr aa;") && first.contains("ANSWER: 1"), "{first}");
        ensure!(ttl_of(&first, "192.0.2.90").is_some_and(|ttl| (190..=200).contains(&ttl)), "{first}");
        let asked = internet.asked.load(Ordering::SeqCst);
        for _ in 0..5 {
            let again = running.dig("dig", "+norecurse +tcp plain.example.com A").await?;
            ensure!(ttl_of(&again, "192.0.2.90").is_some(), "{again}");
        }
        ensure!(internet.asked.load(Ordering::SeqCst) == asked, "it is known");
        let counts = [
            "answers_total{by=\"waited\"}",
            "answers_total{by=\"fresh\"}",
            "resolutions_total{outcome=\"found\"}",
        ];
        let counted: Vec<u64> = counts.iter().map(|line| count(running, line)).collect::<Result<_>>()?;
        ensure!(counted == [1, 5, 1], "{counted:?}");
        let wild = running.dig("dig", "wild.example.com A").await?;
        ensure!(ttl_of(&wild, "192.0.2.81").is_some(), "{wild}");
        let beside = running.dig("dig", "wild.example.com TXT").await?;
        ensure!(beside.contains("\"beside\""), "{beside}");
        // None of the type, no such name: the alias's own name has no addresses.
        for question in ["plain.example.com AAAA", "gone.example.com A"] {
            let answer = running.dig("dig", question).await?;
            ensure!(
                answer.contains("status: NOERROR") && answer.contains("ANSWER: 0, AUTHORITY: 1"),
                "{answer}"
            );
        }
        let bogus = running.dig("dig", "bogus.example.com A").await?;
        ensure!(bogus.contains("status: SERVFAIL") && bogus.contains("EDE: 22 "), "{bogus}");
        ensure!(
            count(running, "targets")? == 5 && count(running, "resolutions_total{outcome=\"nothing\"}")? == 2
        );
        let told = running.dig("dig", "CH TXT www.plain.test.outside.server").await?;
        ensure!(
            told.contains("\"A: 192.0.2.90, for ") && told.contains("\"AAAA: no addresses, for "),
            "{told}"
        );
        let told = running.dig("dig", "CH TXT www.bogus.test.outside.server").await?;
        ensure!(told.contains("\"A: never resolved; failed 1 times"), "{told}");
        let told = running.dig("dig", "CH TXT other.test.outside.server").await?;
        ensure!(told.contains("\"nobody has asked for it here lately\""), "{told}");
        // Inside the network nothing is looked up.
        let near = running.dig("dig", "near.example.com A").await?;
        ensure!(ttl_of(&near, "192.0.2.1").is_some() && count(running, "targets")? == 5, "{near}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_what_is_looked_up_holds_nobody_up_and_not_for_long() -> Result<()> {
    with_aliases("outside = true", async |running, internet| {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.connect(running.address).await?;
        let ask = async |name: &str, id: u8| {
            let mut question = Question::new(name, 1);
            question.edns();
            let mut octets = question.encode();
            octets[1] = id;
            socket.send(&octets).await
        };
        let received = async || {
            let mut buffer = [0; 2_048];
            let length = socket.recv(&mut buffer).await?;
            Ok::<_, anyhow::Error>((buffer[1], describe(&buffer[..length])?))
        };
        ask("held.example.com", 1).await?;
        internet.held.subscribe().wait_for(|held| *held > 0).await?;
        ask("held.example.com", 2).await?;
        ask("www.example.com", 3).await?;
        let (id, answer) = received().await?;
        ensure!(id == 3 && answer[0] == "NOERROR aa", "{id} {answer:?}");
        // They are told before resolvers lose their patience.
        let begun = std::time::Instant::now();
        for _ in 0..2 {
            let (_, answer) = received().await?;
            let is_told = ["ede=14", "ede=22"].iter().any(|why| answer[1].contains(why));
            ensure!(answer[0] == "SERVFAIL" && is_told, "{answer:?}");
        }
        ensure!(begun.elapsed() < Duration::from_secs(5));
        ask("held.example.com", 4).await?;
        let (id, answer) = received().await?;
        ensure!(id == 4 && answer[1].contains("ede=22"), "nobody waits for it any more: {answer:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_wait_together_are_answered_together_over_every_transport() -> Result<()> {
    with_aliases("outside = true", async |running, internet| {
        let ask = |arguments: &'static str| running.dig("dig", arguments);
        let (udp, tcp, let_go) = tokio::join!(
            ask("+tries=1 +timeout=9 held.example.com A"),
            ask("+tries=1 +timeout=9 +tcp held.example.com A"),
            async {
                internet.held.subscribe().wait_for(|held| *held > 0).await?;
                internet.open.send_replace(true);
                Ok::<_, anyhow::Error>(())
            }
        );
        let_go?;
        for answer in [udp?, tcp?] {
            ensure!(ttl_of(&answer, "192.0.2.91").is_some(), "{answer}");
        }
        ensure!(count(running, "resolutions_total{outcome=\"found\"}")? == 1, "one look-up for both");
        let by = |by| count(running, &format!("answers_total{{by=\"{by}\"}}"));
        ensure!(by("waited")? >= 1 && by("waited")? + by("fresh")? == 2);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nothing_outside_can_be_reached_that_is_said_at_once_and_seldom_tried() -> Result<()> {
    with_aliases("outside = true", async |running, internet| {
        internet.is_away.store(true, Ordering::SeqCst);
        let first = running.dig("dig", "plain.example.com A").await?;
        ensure!(first.contains("status: SERVFAIL") && first.contains("EDE: 22 "), "{first}");
        let asked = internet.asked.load(Ordering::SeqCst);
        let again = running.dig("dig", "plain.example.com A").await?;
        ensure!(
            again.contains("status: SERVFAIL") && internet.asked.load(Ordering::SeqCst) == asked,
            "{again}"
        );
        ensure!(count(running, "answers_total{by=\"failed\"}")? == 2);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_from_outside_are_signed_as_others_and_go_out_with_their_zone() -> Result<()> {
    with_aliases("outside = true", async |running, internet| {
        internet.open.send_replace(true);
        running.change(listed(running, &peer(Some("127.0.0.1"), false), true)).await?;
        let transferred = running.dig("dig", "+tcp example.com AXFR").await?;
        for line in
            ["plain.example.com.\t200\tIN\tA\t192.0.2.90", "signed.example.com.\t200\tIN\tA\t192.0.2.80"]
        {
            ensure!(transferred.contains(line), "{transferred}");
        }
        ensure!(!transferred.contains("CNAME\twww.plain.test"), "{transferred}");
        let key = new_key_of(SigningAlgorithm::EcdsaP256, KeyRole::Active);
        running
            .change(vec![running.node.replica.put(&signing(&zone("example.com"), vec![key.clone()]))])
            .await?;
        let questions = ["plain.example.com A", "plain.example.com AAAA", "gone.example.com A"];
        ensure!(are_validated(running, &key, &questions).await?);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switched_off_nothing_is_looked_up() -> Result<()> {
    with_aliases("outside = false", async |running, internet| {
        let answer = running.dig("dig", "plain.example.com A").await?;
        ensure!(answer.contains("status: SERVFAIL") && answer.contains("EDE: 21 "), "{answer}");
        ensure!(internet.asked.load(Ordering::SeqCst) == 0);
        Ok(())
    })
    .await
}
