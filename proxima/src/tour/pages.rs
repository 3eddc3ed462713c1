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
    let clients = tour.clients();
    // Pages of its own for each client, so that none warms another's PoP.
    let step = (tour.pages.len() / (SAMPLE * clients.len())).max(1);
    tour.tell.say(&format!(
        "{:10} {:>12} {:>12} {:>12}   (medians of {SAMPLE} pages, time to first byte)",
        "", "origin", "MISS", "HIT"
    ));
    for (index, client) in clients.iter().enumerate() {
        let offset = index * SAMPLE * step;
        let pages: Vec<String> = tour.pages.iter().skip(offset).step_by(step).take(SAMPLE).cloned().collect();
        let medians = tour.lab.within(client, || Ok(sample(anycast, origin, &pages)))??;
        tour.tell.say(&format!(
            "{client:10} {:>12} {:>12} {:>12}",
            ms(medians.direct),
            ms(medians.miss),
            ms(medians.hit)
        ));
        tour.tell.must(
            &format!("{client}: second requests that were a HIT"),
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
        let (mut direct, mut miss, mut hit, mut hits) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for page in pages {
            let request = traffic::request(HOST, page);
            direct.push(timed(origin, &request).await?.0);
            miss.push(timed(anycast, &request).await?.0);
            // The answer's head came before its body was stored: ask until the cache says HIT, at most some times.
            let mut answer = timed(anycast, &request).await?;
            for _ in 0..20 {
                if answer.1.to_ascii_lowercase().contains("cf-cache-status: hit") {
                    break;
                }
                answer = timed(anycast, &request).await?;
            }
            hits += usize::from(answer.1.to_ascii_lowercase().contains("cf-cache-status: hit"));
            hit.push(answer.0);
        }
        Ok(Medians { direct: median(direct), miss: median(miss), hit: median(hit), hits })
    })
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
