//! Workers that take what is everybody's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use proxima_pipeline::Body;
use tokio::time::interval;

use crate::harness::{Answer, Code, OTHER, OWN, Running, processes, stat, with_engine, with_node, workerd};

/// What is uploaded to a Worker that takes some milliseconds for each piece.
const PIECES: usize = 150;
const PIECE_OCTETS: usize = 32 << 10;

/// How many hundredths of a second a process has had of a processor (proc(5)).
fn cpu_ticks(process: Pid) -> u64 {
    let (_, fields) = stat(process.as_raw()).unwrap();
    fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// Asks a Worker that is to be answered until it is told to stop; says how often it was.
async fn keep_asking(running: Arc<Running>, stop: Arc<AtomicBool>) -> usize {
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        let answer = running.get(OTHER, "neighbour", "/").await;
        assert!(answer.is(200, "fine"), "after {answered} answers: {answer:?}");
        answered += 1;
    }
    answered
}

#[test]
fn a_worker_that_spins_answers_1102_and_a_neighbour_in_its_process_is_answered() {
    with_engine("cpu_ms_max = 200", async |running| {
        running.upload(OTHER, "neighbour", Code::fetch("return new Response('fine')")).await;
        running.upload(OWN, "spin", Code::fetch("for (;;) {}")).await;
        assert!(running.get(OTHER, "neighbour", "/").await.is(200, "fine"));
        let stop = Arc::<AtomicBool>::default();
        let neighbour = tokio::spawn(keep_asking(Arc::clone(&running), Arc::clone(&stop)));
        // Whoever is unlucky once, the second time it spins alone, and from then on it is known.
        let first = running.get(OWN, "spin", "/").await;
        assert!(first.is_error(503, 1102), "{first:?}");
        let again = running.get(OWN, "spin", "/").await;
        assert!(again.is_error(503, 1102), "{again:?}");
        // Now it is not even run, and everybody who asks is told why.
        assert!(again.text.contains("more time of a processor"), "{again:?}");
        let mut exchange = running.exchange(OWN, "spin", "/");
        let refused = Answer::read(running.run(&mut exchange).await).await;
        assert!(refused.is_error(503, 1102) && refused.text.contains("is not run for 1 s"), "{refused:?}");
        let noted =
            exchange.trace.entries().iter().any(|entry| entry.decision.contains("convicted lately (2)"));
        assert!(noted, "{:?}", exchange.trace.entries());
        let metrics = running.node.metrics.encode();
        assert!(metrics.contains("proxima_workers_convictions_total{why=\"Cpu\"} 2"), "{metrics}");
        stop.store(true, Ordering::Relaxed);
        assert!(neighbour.await.unwrap() > 0);
        running.upload(OWN, "spin", Code::fetch("return new Response('mended')")).await;
        assert!(running.get(OWN, "spin", "/").await.is(200, "mended"), "a new version begins without blame");
    });
}

#[test]
fn a_neighbour_does_not_wait_until_a_worker_that_spins_is_ended() {
    with_engine("cpu_ms_max = 8000", async |running| {
        running.upload(OTHER, "neighbour", Code::fetch("return new Response('fine')")).await;
        running.upload(OWN, "spin", Code::fetch("await fetch('http://begun.example/'); for (;;) {}")).await;
        assert!(running.get(OTHER, "neighbour", "/").await.is(200, "fine"));
        let mut exchange = running.exchange(OWN, "spin", "/");
        exchange.request.method = http::Method::POST;
        let neighbour = async {
            while running.fetched.lines.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
            running.get(OTHER, "neighbour", "/").await
        };
        tokio::select! {
            _ = running.run(&mut exchange) => panic!("it spins until it is ended, much later"),
            answer = neighbour => assert!(answer.is(200, "fine"), "{answer:?}"),
        }
    });
}

#[test]
fn neighbours_of_a_worker_that_computes_are_answered_by_the_next_process_before_anybody_is_suspected() {
    // It computes for longer than this test may take; an eighth of this, after which it is suspected, is as long as a deadline.
    let config = format!("workerd = {:?}\nshards = 2\nown_processes_max = 0\ncpu_ms_max = 600000", workerd());
    with_node(&config, async |running| {
        running
            .upload(OWN, "neighbour", Code::fetch("return new Response(await request.text() || 'fine')"))
            .await;
        running.upload(OWN, "spin", Code::fetch("for (;;) {}")).await;
        assert!(running.get(OWN, "neighbour", "/").await.is(200, "fine"));
        // One, and one that stands by.
        let (process, other) = loop {
            if let [process, other] = processes()[..] {
                break (process, other);
            }
            tokio::task::yield_now().await;
        };
        let taken = || cpu_ticks(process).max(cpu_ticks(other));
        let (before, mut spins) = (taken(), running.exchange(OWN, "spin", "/"));
        let neighbour = async {
            // By then it spins.
            while taken() < before + 50 {
                tokio::task::yield_now().await;
            }
            // What is written to the process stays there until that is found out; from then on others are asked elsewhere.
            let ask = async || {
                let mut exchange = running.exchange(OWN, "neighbour", "/");
                (exchange.request.method, exchange.request_body) = (http::Method::POST, Body::full("posted"));
                Answer::read(running.run(&mut exchange).await).await
            };
            let (mut asked, mut again) = (FuturesUnordered::new(), interval(Duration::from_millis(20)));
            loop {
                tokio::select! {
                    Some(answer) = asked.next() => {
                        let answer: Answer = answer;
                        assert!(answer.is(200, "posted"), "{answer:?}");
                        break;
                    }
                    _ = again.tick() => asked.push(ask()),
                }
            }
            assert!(!running.node.metrics.encode().contains("proxima_workers_relieved_total 0\n"));
        };
        tokio::select! {
            _ = running.run(&mut spins) => panic!("it spins until it is ended, much later"),
            () = neighbour => {}
        }
        assert_eq!(processes().len(), 2);
    });
}

#[test]
fn a_worker_whose_client_has_gone_is_not_spinning_at_the_cost_of_who_comes_next() {
    with_engine("cpu_ms_max = 300", async |running| {
        running.upload(OTHER, "neighbour", Code::fetch("return new Response('fine')")).await;
        running.upload(OWN, "spin", Code::fetch("await fetch('http://begun.example/'); for (;;) {}")).await;
        assert!(running.get(OTHER, "neighbour", "/").await.is(200, "fine"));
        let mut exchange = running.exchange(OWN, "spin", "/");
        let begun = async {
            while running.fetched.lines.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = running.run(&mut exchange) => panic!("it spins"),
            () = begun => {}
        }
        // Twice: it is neither convicted for the other's deed, nor locked out.
        for _ in 0..2 {
            assert!(running.get(OTHER, "neighbour", "/").await.is(200, "fine"));
        }
    });
}

#[test]
fn a_worker_that_waits_for_long_does_not_spin() {
    with_engine("cpu_ms_max = 100", async |running| {
        running
            .upload(OWN, "slow", Code::fetch("await scheduler.wait(1500); return new Response('slow')"))
            .await;
        assert!(running.get(OWN, "slow", "/").await.is(200, "slow"));
        assert_eq!(processes().len(), 1);
    });
}

#[test]
fn a_worker_that_works_for_long_on_what_it_reads_does_not_spin() {
    with_engine("cpu_ms_max = 100", async |running| {
        let code = Code::fetch(
            "let octets = 0, sum = 0;
             for await (const piece of request.body) {
               octets += piece.length;
               for (let times = 0; times < 20; times++) for (const octet of piece) sum = (sum * 31 + octet) | 0;
             }
             return new Response(`${octets} ${sum}`)",
        );
        running.upload(OWN, "sums", code).await;
        let (mut sender, body) = Body::channel(1, None);
        let mut exchange = running.exchange(OWN, "sums", "/");
        (exchange.request.method, exchange.request_body) = (http::Method::POST, body);
        let sent = async {
            for _ in 0..PIECES {
                sender.send(Bytes::from_static(&[7; PIECE_OCTETS])).await.unwrap();
            }
            sender.finish().await;
        };
        let (response, ()) = tokio::join!(running.run(&mut exchange), sent);
        let answer = Answer::read(response).await;
        let read = format!("{} ", PIECES * PIECE_OCTETS);
        assert!(answer.status == 200 && answer.text.starts_with(&read), "{answer:?}");
    });
}

#[test]
fn a_worker_that_fills_the_memory_answers_1102_and_a_neighbour_is_answered() {
    with_engine("memory_bytes_max = 268435456\ncpu_ms_max = 20000", async |running| {
        running.upload(OTHER, "neighbour", Code::fetch("return new Response('fine')")).await;
        let hog = Code::fetch(
            "const all = []; for (;;) { all.push(new Array(100000).fill(Math.random())); await scheduler.wait(0) }",
        );
        running.upload(OWN, "hog", hog).await;
        assert!(running.get(OTHER, "neighbour", "/").await.is(200, "fine"));
        let stop = Arc::<AtomicBool>::default();
        let neighbour = tokio::spawn(keep_asking(Arc::clone(&running), Arc::clone(&stop)));
        let answer = running.get(OWN, "hog", "/").await;
        assert!(answer.is_error(503, 1102), "{answer:?}");
        stop.store(true, Ordering::Relaxed);
        assert!(neighbour.await.unwrap() > 0);
    });
}

#[test]
fn a_process_that_is_killed_under_load_loses_no_request_that_may_be_sent_twice() {
    with_engine("", async |running| {
        let slow = "await scheduler.wait(20); return new Response('fine')";
        running.upload(OTHER, "neighbour", Code::fetch(slow)).await;
        assert!(running.get(OTHER, "neighbour", "/").await.is(200, "fine"));
        let [process] = processes()[..] else { panic!("one process") };
        let stop = Arc::<AtomicBool>::default();
        let asking: Vec<_> =
            (0..16).map(|_| tokio::spawn(keep_asking(Arc::clone(&running), Arc::clone(&stop)))).collect();
        // By then all of them have begun: an answer takes 20 ms.
        assert!(running.get(OTHER, "neighbour", "/").await.is(200, "fine"));
        kill(process, Signal::SIGKILL).unwrap();
        assert!(running.get(OTHER, "neighbour", "/").await.is(200, "fine"));
        let now = processes();
        assert!(now.len() == 1 && now != [process], "another one has taken its place: {now:?}");
        stop.store(true, Ordering::Relaxed);
        for asking in asking {
            asking.await.unwrap();
        }
    });
}

#[test]
fn a_request_that_must_not_be_sent_twice_is_told_that_it_was_lost() {
    with_engine("", async |running| {
        running
            .upload(OWN, "slow", Code::fetch("await scheduler.wait(60000); return new Response('late')"))
            .await;
        running.upload(OWN, "quick", Code::fetch("return new Response('quick')")).await;
        assert!(running.get(OWN, "quick", "/").await.is(200, "quick"));
        let [process] = processes()[..] else { panic!("one process") };
        let mut exchange = running.exchange(OWN, "slow", "/");
        exchange.request.method = http::Method::POST;
        let lost = async { Answer::read(running.run(&mut exchange).await).await };
        let killed = async {
            // By then it is at work: an answer that was asked for later has come.
            assert!(running.get(OWN, "quick", "/").await.is(200, "quick"));
            kill(process, Signal::SIGKILL).unwrap();
        };
        let (answer, ()) = tokio::join!(lost, killed);
        assert!(answer.is_error(502, 502), "{answer:?}");
    });
}

#[test]
fn processes_end_with_the_node() {
    with_engine("", async |running| {
        running.upload(OWN, "app", Code::fetch("return new Response('fine')")).await;
        assert!(running.get(OWN, "app", "/").await.is(200, "fine"));
        assert_eq!(processes().len(), 1);
        running.node.shutdown.begin_stop();
        // Nothing tells of it; the test has its deadline.
        while !processes().is_empty() {
            tokio::task::yield_now().await;
        }
    });
}
