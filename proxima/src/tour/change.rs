//! A record changes: how long until every server answers with it.

use std::{
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use proxima_lab::Lab;
use reqwest::Method;
use serde_json::json;

use super::{Tour, ZONE, tell::ms};

/// Changes that are measured.
const CHANGES: usize = 20;
/// A server that has not answered by then never will.
const SEEN_WITHIN: Duration = Duration::from_secs(10);
/// What a change may cost beyond the way there.
const BEYOND_THE_WAY: Duration = Duration::from_millis(100);

pub(super) fn measure(tour: &mut Tour) -> anyhow::Result<()> {
    tour.tell.step("A record is changed through the API: how long until every server answers with it");
    let path = record_path(tour)?;
    let log = tour.lab.topology().network.log.clone();
    let answer = tour.patch(&log, &path, r#"{"content":"by-hand"}"#)?;
    tour.tell.must("the change is taken", "", answer.contains(r#""success":true"#));
    tour.tell.say(&format!(
        "{CHANGES} times the same, while every server's DNS is asked until the new text comes"
    ));
    let mut seen: Vec<(String, Vec<Duration>)> = Vec::new();
    for number in 1..=CHANGES {
        for (server, after) in change_once(tour, &format!("change-{number}"))? {
            match seen.iter_mut().find(|(known, _)| *known == server) {
                Some((_, times)) => times.push(after),
                None => seen.push((server, vec![after])),
            }
        }
    }
    let (at, name) = (format!("@{}", tour.anycast()?), format!("version.{ZONE}"));
    let last = format!("\"change-{CHANGES}\"");
    for client in tour.clients() {
        let answer = tour.show(&client, &["dig", "+short", &at, &name, "TXT"])?;
        tour.tell.must(&format!("{client} sees the last change"), "", answer.trim() == last);
    }
    let servers = seen.len();
    tell_by_server(tour, seen, |server| format!("record changed → {server} answers with it"))?;
    tour.tell.must(
        "servers that answered with every change",
        servers.to_string(),
        servers == tour.lab.plan().servers().count(),
    );
    Ok(())
}

/// Tells how long it took at each server until it knew, and compares the slowest of its times with the way there.
pub(super) fn tell_by_server(
    tour: &mut Tour,
    seen: Vec<(String, Vec<Duration>)>,
    what: impl Fn(&str) -> String,
) -> anyhow::Result<()> {
    let log = tour.lab.topology().network.log.clone();
    for (server, mut times) in seen {
        times.sort_unstable();
        let (p50, last) = (times[times.len() / 2], times[times.len() - 1]);
        let way = one_way(&tour.lab, &log, &server)?;
        tour.tell.say(&format!("{server:8} p50 {:>9}   one way from the log {}", ms(p50), ms(way)));
        let what = format!("{}, slowest of {}", what(&server), times.len());
        tour.tell.figure(&what, last, way + BEYOND_THE_WAY);
    }
    Ok(())
}

/// Changes the record `version` to `text` at the log's node, and waits for every server; when each answered with it.
pub(super) fn change_once(tour: &Tour, text: &str) -> anyhow::Result<Vec<(String, Duration)>> {
    let anycast = SocketAddr::new(tour.anycast()?, 53);
    let servers: Vec<String> = tour.lab.plan().servers().map(|server| server.name.clone()).collect();
    let path = record_path(tour)?;
    let begun = Instant::now();
    std::thread::scope(|threads| {
        let waiting: Vec<_> = servers
            .iter()
            .map(|server| {
                let lab = &tour.lab;
                (
                    server,
                    threads.spawn(move || lab.within(server, || Ok(until_answered(anycast, text, begun)))),
                )
            })
            .collect();
        set_version(tour, &path, text)?;
        waiting
            .into_iter()
            .map(|(server, thread)| {
                let seen = thread.join().map_err(|_| anyhow::anyhow!("asking {server} failed"))??;
                Ok((server.clone(), seen.with_context(|| format!("{server} did not answer with {text}"))?))
            })
            .collect()
    })
}

/// Changes the record through the API of the log's node.
fn set_version(tour: &Tour, path: &str, text: &str) -> anyhow::Result<()> {
    tour.with_api(|api| async move {
        api.call(Method::PATCH, path, Some(&json!({ "content": format!("\"{text}\"") }))).await?;
        Ok(())
    })
}

/// The path of the record `version` in the API.
fn record_path(tour: &Tour) -> anyhow::Result<String> {
    tour.with_api(|api| async move {
        let zone = api.zone(ZONE).await?;
        let found = api.all(&format!("/zones/{zone}/dns_records?type=TXT")).await?;
        let id =
            found.first().and_then(|record| record["id"].as_str()).context("the zone has no TXT record")?;
        Ok(format!("/zones/{zone}/dns_records/{id}"))
    })
}

/// Asks this host's own name server until the text comes.
fn until_answered(server: SocketAddr, text: &str, begun: Instant) -> anyhow::Result<Duration> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let query = query(&format!("version.{ZONE}"));
    let wanted: Vec<u8> = [&[u8::try_from(text.len())?], text.as_bytes()].concat();
    let mut answer = [0; 1232];
    while begun.elapsed() < SEEN_WITHIN {
        socket.send_to(&query, server)?;
        if let Ok(length) = socket.recv(&mut answer)
            && answer[..length].windows(wanted.len()).any(|window| window == wanted)
        {
            return Ok(begun.elapsed());
        }
        // A pace that does not load the machine that is measured.
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("not within {} s", SEEN_WITHIN.as_secs())
}

/// A question for TXT (RFC 1035, 4.1).
fn query(name: &str) -> Vec<u8> {
    let mut query = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap_or(0));
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 16, 0, 1]);
    query
}

/// Half of a round trip between two servers, by the time that a connection takes.
fn one_way(lab: &Lab, from: &str, to: &str) -> anyhow::Result<Duration> {
    let address = lab.plan().server(to)?.api();
    let connect = || {
        let begun = Instant::now();
        std::net::TcpStream::connect_timeout(&address, Duration::from_secs(2)).map(|_| begun.elapsed() / 2)
    };
    Ok(lab.within(from, || Ok(connect()))??)
}
