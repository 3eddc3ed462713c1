//! Pages from the nearest PoP: the time to the first byte, against going to the origin.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use proxima_lab::traffic;

use super::{HOST, Tour, tell::ms};

/// Pages asked for by each client.
const SAMPLE: usize = 30;

/// Medians over a sample of pages.
struct Medians {
    direct: Duration,
    miss: Duration,
    hit: Duration,
    misses: usize,
    hits: usize,
}

pub(super) fn measure(tour: &mut Tour) -> anyhow::Result<()> {
    tour.tell.step(
        "Pages come from the nearest PoP: first a MISS, then a HIT; against going to the origin directly",
    );
    let anycast = SocketAddr::new(tour.anycast()?, 80);
    let origin = SocketAddr::from((tour.lab.plan().host("origin")?.address4, 80));
    let url = format!("http://{HOST}{}", tour.pages[0]);
    let resolve = format!("{HOST}:80:{}", anycast.ip());
    tour.show("boston", &["curl", "-sS", "--resolve", &resolve, "-o", "/dev/null", "-D", "-", &url])?;
    tour.tell.say("the time to the first byte, from the origin and from the PoP:");
    for address in [origin.ip(), anycast.ip()] {
        let resolve = format!("{HOST}:80:{address}");
        let first_byte = ["curl", "-sS", "-o", "/dev/null", "-w", "%{time_starttransfer} s\\n"];
        tour.show("boston", &[&first_byte[..], &["--resolve", &resolve, &url]].concat())?;
    }
    let clients = tour.clients();
    // Pages of its own for each client, so that none warms another's PoP; the first page was asked for before.
    let step = (tour.pages.len() / (SAMPLE * clients.len())).max(1);
    tour.tell.say(&format!(
        "{:10} {:>12} {:>12} {:>12}   (medians of {SAMPLE} pages, time to first byte)",
        "", "origin", "MISS", "HIT"
    ));
    for (index, client) in clients.iter().enumerate() {
        let offset = index * SAMPLE * step;
        let pages: Vec<String> =
            tour.pages.iter().skip(1 + offset).step_by(step).take(SAMPLE).cloned().collect();
        let medians = tour.lab.within(client, || Ok(sample(anycast, origin, &pages)))??;
        tour.tell.say(&format!(
            "{client:10} {:>12} {:>12} {:>12}",
            ms(medians.direct),
            ms(medians.miss),
            ms(medians.hit)
        ));
        tour.tell.must(
            &format!("{client}: first requests that were a MISS"),
            format!("{} of {}", medians.misses, pages.len()),
            medians.misses == pages.len(),
        );
        tour.tell.must(
            &format!("{client}: later requests that were a HIT"),
            format!("{} of {}", medians.hits, pages.len()),
            medians.hits == pages.len(),
        );
        if client != "paris" {
            tour.tell.must(
                &format!("{client}: a HIT is faster than the origin"),
                ms(medians.hit),
                medians.hit < medians.direct,
            );
        }
    }
    Ok(())
}

fn sample(anycast: SocketAddr, origin: SocketAddr, pages: &[String]) -> anyhow::Result<Medians> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut direct, mut miss, mut hit) = (Vec::new(), Vec::new(), Vec::new());
        let (mut misses, mut hits) = (0, 0);
        for page in pages {
            let request = traffic::request(HOST, page);
            direct.push(timed(origin, &request).await?.0);
            let first = timed(anycast, &request).await?;
            misses += usize::from(says(&first.1, "miss"));
            miss.push(first.0);
            // The answer's head came before its body was stored: ask until the cache says HIT, at most some times.
            let mut answer = timed(anycast, &request).await?;
            for _ in 0..20 {
                if says(&answer.1, "hit") {
                    break;
                }
                answer = timed(anycast, &request).await?;
            }
            hits += usize::from(says(&answer.1, "hit"));
            hit.push(answer.0);
        }
        Ok(Medians { direct: median(direct), miss: median(miss), hit: median(hit), misses, hits })
    })
}

/// Whether the cache said so in an answer's head.
fn says(head: &str, status: &str) -> bool {
    head.to_ascii_lowercase().contains(&format!("cf-cache-status: {status}"))
}

async fn timed(address: SocketAddr, request: &str) -> anyhow::Result<(Duration, String)> {
    let begun = Instant::now();
    let head = tokio::time::timeout(Duration::from_secs(5), traffic::head(address, request)).await??;
    Ok((begun.elapsed(), head))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
