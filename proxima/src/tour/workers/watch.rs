//! Asks every server's own address until it answers with what was deployed, or written.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use proxima_lab::traffic::request;

use super::super::Tour;

/// A server that has not answered so by then, after the change was made, never will.
const SEEN_WITHIN: Duration = Duration::from_secs(10);
/// Between two questions to one server: fine beside what is measured, and no load.
const ASKED_EVERY: Duration = Duration::from_millis(20);
/// One question: a server may have to start a process of the engine, on a busy machine.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// Octets of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// A host and a path, such as `("www.example.com", "/")`.
pub(super) type Page<'a> = (&'a str, &'a str);

/// Runs `change` while all servers are asked for a page; what it gave, and when each server first answered with `wanted`.
pub(super) fn until_all_answer<T>(
    tour: &Tour,
    page: Page<'_>,
    wanted: &str,
    change: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Vec<(String, Instant)>)> {
    let anycast = SocketAddr::new(tour.anycast()?, 80);
    let servers: Vec<String> = tour.lab.plan().servers().map(|server| server.name.clone()).collect();
    let ended = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let waiting: Vec<_> = servers
            .iter()
            .map(|server| {
                let (lab, ended) = (&tour.lab, &ended);
                let ask = move || Ok(until_answered(anycast, page, wanted, ended));
                (server, threads.spawn(move || lab.within(server, ask)))
            })
            .collect();
        let changed = change();
        // Whatever came of it: those who ask give up some time after.
        ended.store(true, Ordering::Relaxed);
        let mut seen = Vec::new();
        for (server, thread) in waiting {
            let when = thread.join().map_err(|_| anyhow::anyhow!("asking {server} failed"))?;
            if changed.is_ok() {
                let when = when?.with_context(|| format!("{server} did not answer with `{wanted}`"))?;
                seen.push((server.clone(), when));
            }
        }
        Ok((changed?, seen))
    })
}

/// Asks this host's own server until what it answers has `wanted`.
fn until_answered(
    server: SocketAddr,
    page: Page<'_>,
    wanted: &str,
    ended: &AtomicBool,
) -> anyhow::Result<Instant> {
    let mut since_ended = None;
    loop {
        let last = ask(server, page);
        if last.as_ref().is_ok_and(|answer| answer.contains(wanted)) {
            return Ok(Instant::now());
        }
        if ended.load(Ordering::Relaxed) {
            let since = *since_ended.get_or_insert_with(Instant::now);
            if since.elapsed() > SEEN_WITHIN {
                bail!("not within {} s; the last answer was {last:?}", SEEN_WITHIN.as_secs());
            }
        }
        // A pace that does not load the machine that is measured.
        std::thread::sleep(ASKED_EVERY);
    }
}

/// The whole answer, head and all.
fn ask(server: SocketAddr, (host, path): Page<'_>) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, ANSWERED_WITHIN)?;
    stream.set_read_timeout(Some(ANSWERED_WITHIN))?;
    stream.write_all(request(host, path).as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
