//! What answers take from the heap: nothing, in a thread of UDP that has answered from the zone before, signed or not, but for
//! the name that an alias leads to, and for what is denied with a signature.
//!
//! All threads of the process that answer over UDP are counted: each test is a process of its own (nextest).

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use proxima_model::KeyRole;
use tokio::net::UdpSocket;

use crate::{
    sockets::{Running, with_node},
    support::{Question, describe, new_key, signing, zone},
};

/// Threads that are counted; more share the last place.
const THREADS: usize = 512;
/// Queries that warm up, and that are counted. The kernel takes both threads in turns, by the asker's port.
const ASKERS: usize = 16;
const ROUNDS: usize = 40;
/// Allocations of one denial with two signatures that are kept.
const DENIED_MAX: u64 = 16;

/// The system's allocator, which counts what each thread asks of it.
struct Counting;

static ASKED: [AtomicU64; THREADS] = [const { AtomicU64::new(0) }; THREADS];
static PLACES: [AtomicUsize; THREADS] = [const { AtomicUsize::new(0) }; THREADS];
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// This thread's place, once it has asked for something.
    static PLACE: Cell<Option<usize>> = const { Cell::new(None) };
}

fn count() {
    // A thread that is ending counts no more.
    let place = PLACE.try_with(|known| match known.get() {
        Some(place) => place,
        None => {
            let place = NEXT.fetch_add(1, Ordering::Relaxed).min(THREADS - 1);
            let thread = usize::try_from(nix::unistd::gettid().as_raw()).unwrap_or_default();
            PLACES[place].store(thread, Ordering::Relaxed);
            known.set(Some(place));
            place
        }
    });
    if let Ok(place) = place {
        ASKED[place].fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: everything is done by the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: what the caller promises is what is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What the threads that answer over UDP have asked for until now, all together.
fn asked_by_udp() -> u64 {
    let mut asked = 0;
    for place in 0..NEXT.load(Ordering::Relaxed).min(THREADS) {
        let thread = PLACES[place].load(Ordering::Relaxed);
        let name = std::fs::read_to_string(format!("/proc/self/task/{thread}/comm")).unwrap_or_default();
        if name.contains("udp") {
            asked += ASKED[place].load(Ordering::Relaxed);
        }
    }
    asked
}

/// Asks from several ports, one question behind the other; what the last one was answered, and what the threads asked of the
/// heap for the second half of the answers.
async fn asked_for(running: &Running, question: &Question) -> Result<(Vec<String>, u64)> {
    let mut askers = Vec::new();
    for _ in 0..ASKERS {
        let asker = UdpSocket::bind("127.0.0.1:0").await?;
        asker.connect(running.address).await?;
        askers.push(asker);
    }
    let (message, mut buffer, mut length, mut before) = (question.encode(), [0; 4_096], 0, 0);
    for round in 0..2 * ROUNDS {
        if round == ROUNDS {
            before = asked_by_udp();
        }
        for asker in &askers {
            asker.send(&message).await?;
            length = asker.recv(&mut buffer).await?;
        }
    }
    Ok((describe(&buffer[..length])?, asked_by_udp() - before))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_from_a_zone_that_is_kept_asks_nothing_of_the_heap() -> Result<()> {
    with_node("rate_limit_per_second = 0", async |running| {
        let (a, aaaa, mx, soa, https) = (1, 28, 15, 6, 65);
        let mut allocating = Vec::new();
        for (name, qtype, said) in [
            ("www.example.com", a, "answer www.example.com. 300 IN A 192.0.2.1"),
            ("WWW.Example.com", a, "answer"),
            ("shop.example.com", aaaa, "answer shop.example.com. 300 IN AAAA"),
            ("shop.example.com", https, "answer shop.example.com. 300 IN HTTPS"),
            ("alias.example.com", a, "answer www.example.com."),
            ("a.b.wild.example.com", 16, "answer a.b.wild.example.com."),
            ("www.sub.example.com", a, "additional ns.sub.example.com."),
            ("example.com", soa, "answer example.com."),
            ("www.example.com", mx, "authority example.com."),
            ("nothing.example.com", a, "NXDOMAIN"),
            ("www.example.org", a, "REFUSED"),
        ] {
            let mut question = Question::new(name, qtype);
            question.edns();
            let (answer, asked) = asked_for(running, &question).await?;
            ensure!(answer.iter().any(|line| line.starts_with(said)), "{name} {qtype}: {answer:?}");
            if asked != 0 {
                allocating.push((name, asked / u64::try_from(ROUNDS * ASKERS)?));
            }
        }
        // The name that an alias leads to is put together in octets of its own: by this it is seen that threads are counted.
        ensure!(allocating == [("alias.example.com", 1)], "{allocating:?}");
        let zone = zone("example.com");
        running
            .change(vec![running.node.replica.put(&signing(&zone, vec![new_key(KeyRole::Active)]))])
            .await?;
        for (name, qtype, said, allocations) in [
            ("www.example.com", a, "answer www.example.com. 300 IN RRSIG A", 0..=0),
            ("example.com", soa, "answer example.com. 1800 IN RRSIG SOA", 0..=0),
            ("example.com", 48, "answer example.com. 3600 IN RRSIG DNSKEY", 0..=0),
            ("nothing.example.com", a, "authority nothing.example.com. 300 IN RRSIG NSEC", 1..=DENIED_MAX),
        ] {
            let mut question = Question::new(name, qtype);
            question.edns().flags = 0x8000;
            let (answer, asked) = asked_for(running, &question).await?;
            ensure!(answer.iter().any(|line| line.starts_with(said)), "{answer:?}");
            let each = asked / u64::try_from(ROUNDS * ASKERS)?;
            ensure!(allocations.contains(&each), "{name}: {each} each");
        }
        Ok(())
    })
    .await
    .context("counting")
}
