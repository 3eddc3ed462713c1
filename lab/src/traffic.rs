//! Steady traffic from a lab's clients, and what became of every request.
//!
//! Each client opens a new connection for every request, at an even pace that does not wait for answers: what a fault does
//! to new users is seen, not hidden by a connection that survived it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::Lab;
use crate::error::{Doing, Result};

/// A request that has no complete head of an answer by then has failed.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// An answer's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Requests that one client may have under way; beyond, a request counts as failed at once.
const UNDER_WAY_MAX: usize = 4_096;

/// What each client asks for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Where.
    pub address: SocketAddr,
    /// The site.
    pub host: String,
    /// The path.
    pub path: String,
    /// Requests a second, of each client.
    pub per_second: u32,
}

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// When it was begun.
    pub begun: Instant,
    /// Until the answer's first bytes, or until it failed.
    pub took: Duration,
    /// The PoP that answered, from `cf-ray`; `Err` with the reason if nothing good came.
    pub answered_by: std::result::Result<String, String>,
}

/// All requests of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTraffic {
    /// The client.
    pub client: String,
    /// In the order in which they were begun.
    pub outcomes: Vec<Outcome>,
}

/// Traffic under way.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<Result<ClientTraffic>>>,
}

impl Traffic {
    /// Starts it from these clients.
    ///
    /// # Errors
    /// There is no such client, or no thread can be had.
    pub fn start(lab: &Lab, clients: &[&str], ask: &Ask) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for client in clients {
            lab.plan().host(client)?;
            let (lab, stop, ask, client) =
                (lab.clone(), Arc::clone(&stop), ask.clone(), (*client).to_owned());
            let thread = std::thread::Builder::new().name(format!("traffic-{client}")).spawn(move || {
                let outcomes = lab.within(&client, || drive(&ask, &stop))?;
                Ok(ClientTraffic { client: client.clone(), outcomes })
            });
            threads.push(thread.doing(|| "starting a thread".to_owned())?);
        }
        Ok(Self { stop, threads })
    }

    /// Ends it, waits for the last answers, and tells what became of every request.
    ///
    /// # Errors
    /// A client's traffic could not be made.
    ///
    /// # Panics
    /// If a client's thread did.
    pub fn stop(self) -> Result<Vec<ClientTraffic>> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads
            .into_iter()
            .map(|thread| thread.join().expect("the traffic's thread does not panic"))
            .collect()
    }
}

/// A GET for one page, after which the connection is closed.
#[must_use]
pub fn request(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
}

fn drive(ask: &Ask, stop: &AtomicBool) -> Result<Vec<Outcome>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .doing(|| "starting a client's runtime".to_owned())?;
    let request: Arc<str> = request(&ask.host, &ask.path).into();
    runtime.block_on(async {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / ask.per_second.max(1));
        let mut under_way = tokio::task::JoinSet::new();
        let mut outcomes = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            tokio::select! {
                _ = ticks.tick() => {
                    if under_way.len() < UNDER_WAY_MAX {
                        under_way.spawn(one(ask.address, Arc::clone(&request)));
                    }
                }
                Some(done) = under_way.join_next() => outcomes.extend(done.ok()),
            }
        }
        while let Some(done) = under_way.join_next().await {
            outcomes.extend(done.ok());
        }
        outcomes.sort_by_key(|outcome| outcome.begun);
        Ok(outcomes)
    })
}

async fn one(address: SocketAddr, request: Arc<str>) -> Outcome {
    let begun = Instant::now();
    let asked = tokio::time::timeout(ANSWER_WITHIN, head(address, &request)).await;
    let answered_by = match asked {
        Ok(Ok(head)) => answered_by(&head),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    };
    Outcome { begun, took: begun.elapsed(), answered_by }
}

/// Sends one request over a new connection and reads the answer's head, status line and fields as they came.
///
/// # Errors
/// The connection failed, or what came is no head of an answer.
pub async fn head(address: SocketAddr, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            head.truncate(end);
            return Ok(String::from_utf8_lossy(&head).into_owned());
        }
        if head.len() > HEAD_BYTES_MAX {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
    }
}

fn answered_by(head: &str) -> std::result::Result<String, String> {
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    if status != "200" {
        return Err(format!("status {status}"));
    }
    let ray =
        lines.find_map(|line| line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("cf-ray")));
    let pop = ray.and_then(|(_, ray)| ray.trim().rsplit_once('-')).map(|(_, pop)| pop.to_owned());
    pop.ok_or_else(|| "the answer has no cf-ray".to_owned())
}

impl ClientTraffic {
    /// Requests that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| outcome.answered_by.is_err())
    }

    /// From the first request that failed to the first begun after the last failure: how long new connections failed.
    #[must_use]
    pub fn outage(&self) -> Duration {
        let Some(first) = self.failed().next() else { return Duration::ZERO };
        let last = self.failed().last().unwrap_or(first);
        let well = self.outcomes.iter().find(|outcome| outcome.begun > last.begun);
        well.map_or(last.begun, |outcome| outcome.begun).saturating_duration_since(first.begun)
    }

    /// The PoPs that answered, in order of appearance, each with how many requests.
    #[must_use]
    pub fn pops(&self) -> Vec<(String, usize)> {
        let mut pops: Vec<(String, usize)> = Vec::new();
        for pop in self.outcomes.iter().filter_map(|outcome| outcome.answered_by.as_ref().ok()) {
            match pops.iter_mut().find(|(known, _)| known == pop) {
                Some((_, count)) => *count += 1,
                None => pops.push((pop.clone(), 1)),
            }
        }
        pops
    }

    /// From `fault` until the first answer by another PoP than `from` to a request begun after it.
    #[must_use]
    pub fn moved_after(&self, fault: Instant, from: &str) -> Option<Duration> {
        let after = self.outcomes.iter().filter(|outcome| outcome.begun >= fault);
        let by_others = after.filter(|outcome| outcome.answered_by.as_ref().is_ok_and(|pop| pop != from));
        by_others.map(|outcome| (outcome.begun + outcome.took).saturating_duration_since(fault)).min()
    }

    /// The quickest answer by another PoP than `from`: what the way there costs by itself.
    #[must_use]
    pub fn quickest_elsewhere(&self, from: &str) -> Option<Duration> {
        let elsewhere = |outcome: &&Outcome| outcome.answered_by.as_ref().is_ok_and(|pop| pop != from);
        self.outcomes.iter().filter(elsewhere).map(|outcome| outcome.took).min()
    }

    /// The time to the first byte that this share of the good answers did not exceed.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let mut good: Vec<Duration> = self
            .outcomes
            .iter()
            .filter(|outcome| outcome.answered_by.is_ok())
            .map(|outcome| outcome.took)
            .collect();
        good.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a length is an index"
        )]
        #[expect(clippy::cast_precision_loss, reason = "far fewer requests than 2^52")]
        let index = (share.clamp(0.0, 1.0) * good.len() as f64).ceil() as usize;
        good.get(index.saturating_sub(1)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(answers: &[std::result::Result<&str, &str>]) -> (Instant, ClientTraffic) {
        let start = Instant::now();
        let outcomes = answers.iter().zip(0_u32..).map(|(answer, number)| Outcome {
            begun: start + Duration::from_millis(10) * number,
            took: Duration::from_millis(3),
            answered_by: answer.map(str::to_owned).map_err(str::to_owned),
        });
        (start, ClientTraffic { client: "paris".to_owned(), outcomes: outcomes.collect() })
    }

    #[test]
    fn an_outage_lasts_from_the_first_failure_to_the_first_request_after_the_last() {
        let (start, traffic) = traffic(&[Ok("FRA"), Err("x"), Ok("FRA"), Err("x"), Ok("IAD"), Ok("IAD")]);
        assert_eq!(traffic.outage(), Duration::from_millis(30));
        assert_eq!(traffic.failed().count(), 2);
        assert_eq!(traffic.pops(), [("FRA".to_owned(), 2), ("IAD".to_owned(), 2)]);
        assert_eq!(traffic.moved_after(start, "FRA"), Some(Duration::from_millis(43)));
        assert_eq!(traffic.quantile(0.5), Some(Duration::from_millis(3)));
    }

    #[test]
    fn no_failure_is_no_outage() {
        assert_eq!(traffic(&[Ok("FRA"), Ok("FRA")]).1.outage(), Duration::ZERO);
    }

    #[test]
    fn the_pop_is_read_from_the_ray() {
        assert_eq!(answered_by("HTTP/1.1 200 OK\r\nCF-Ray: 0123-SIN").as_deref(), Ok("SIN"));
        assert!(answered_by("HTTP/1.1 521 x\r\ncf-ray: 0123-SIN").is_err());
        assert!(answered_by("HTTP/1.1 200 OK").is_err());
    }
}
