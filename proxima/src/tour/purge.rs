//! A page is purged by its tag: how long until every server has forgotten it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use reqwest::Method;
use serde_json::json;

use super::{HOST, Tour, change::tell_by_server};

/// Purges that are measured.
const PURGES: usize = 40;
/// A server that shows the former page for so long will for ever.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(10);
/// What half of the purges may take until the last server has forgotten.
const LAST_SERVER_P50: Duration = Duration::from_millis(150);
/// The page; its origin tags it `page`, and writes into it when it was made.
const PAGE: &str = "/tagged/news";
/// Octets of its answer, head and all; it has a dozen fields.
const ANSWER_BYTES_MAX: usize = 8 * 1024;

pub(super) fn measure(tour: &mut Tour) -> anyhow::Result<()> {
    tour.tell.step("A page is purged by its tag: how long until every server has forgotten it");
    tour.show("paris", &["proxima", "purge", super::ZONE, "--tag", "page"])?;
    tour.tell.say(&format!("{PURGES} times the same, while every server is asked for the page"));
    let servers: Vec<String> = tour.lab.plan().servers().map(|server| server.name.clone()).collect();
    let path = format!("{}/purge_cache", tour.zone_path()?);
    let mut seen: Vec<(String, Vec<Duration>)> =
        servers.iter().map(|server| (server.clone(), Vec::new())).collect();
    let mut last = Vec::new();
    for _ in 0..PURGES {
        let times = purge_once(tour, &servers, &path)?;
        last.extend(times.iter().max());
        for ((_, all), time) in seen.iter_mut().zip(times) {
            all.push(time);
        }
    }
    tell_by_server(tour, seen, |server| format!("purged by tag → {server} has forgotten"))?;
    last.sort_unstable();
    tour.tell.figure("purged by tag → the last server, p50", last[last.len() / 2], LAST_SERVER_P50);
    Ok(())
}

/// Purges the page at the log's node, once all servers have it; after which time each of them, in their order, was asked
/// and had forgotten.
fn purge_once(tour: &Tour, servers: &[String], path: &str) -> anyhow::Result<Vec<Duration>> {
    let anycast = SocketAddr::new(tour.anycast()?, 80);
    let have = std::sync::Barrier::new(servers.len() + 1);
    std::thread::scope(|threads| {
        let waiting: Vec<_> = servers
            .iter()
            .map(|server| {
                let (lab, have) = (&tour.lab, &have);
                threads.spawn(move || lab.within(server, || Ok(until_forgotten(anycast, have))))
            })
            .collect();
        have.wait();
        // Those that ask have begun by this time, or a little before.
        tour.with_api(|api| async move {
            api.call(Method::POST, path, Some(&json!({ "tags": ["page"] }))).await?;
            Ok(())
        })?;
        let ended = waiting.into_iter().zip(servers).map(|(thread, server)| {
            let seen = thread.join().map_err(|_| anyhow::anyhow!("asking {server} failed"))??;
            seen.with_context(|| format!("{server} did not forget {PAGE}"))
        });
        ended.collect()
    })
}

/// Asks this host's own server for the page until it is another one. Counted is when it was asked: a page that is not
/// there any more comes from far away.
fn until_forgotten(server: SocketAddr, have: &std::sync::Barrier) -> anyhow::Result<Duration> {
    let mut stream = TcpStream::connect_timeout(&server, FORGOTTEN_WITHIN);
    let former = stream.as_mut().ok().map(ask);
    // Whatever came of it: the others wait.
    have.wait();
    let (mut stream, former) = (stream?, former.context("nothing was asked")??);
    let begun = Instant::now();
    while begun.elapsed() < FORGOTTEN_WITHIN {
        let asked = begun.elapsed();
        if ask(&mut stream)? != former {
            return Ok(asked);
        }
        // A pace that does not load the machine that is measured.
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("not within {} s", FORGOTTEN_WITHIN.as_secs())
}

/// What the page says now.
fn ask(stream: &mut TcpStream) -> anyhow::Result<String> {
    stream.set_read_timeout(Some(FORGOTTEN_WITHIN))?;
    stream.set_nodelay(true)?;
    stream.write_all(format!("GET {PAGE} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 2048];
    while answer.len() < ANSWER_BYTES_MAX {
        let read = stream.read(&mut piece)?;
        answer.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&answer);
        // A line that ends with its line feed, after the head.
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && body.ends_with('\n')
        {
            if !head.starts_with("HTTP/1.1 200") {
                bail!("{PAGE} was not answered: {head}");
            }
            return Ok(body.to_owned());
        }
        if read == 0 {
            bail!("the connection ended: {text}");
        }
    }
    bail!("{PAGE} is larger than it can be")
}
