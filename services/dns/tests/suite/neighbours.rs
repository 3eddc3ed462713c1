//! Two servers of one PoP, of which the second is home of all names: what the first one's clients ask.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::BoxFuture;
use proxima_pipeline::{AnswersNeighbours, NeighbourAnswer, Neighbours, NoAnswer, Taken};

use crate::{
    recursion::https_at,
    resolving::{Internet, RESOLVER, Resolving, question, received},
};

/// The way from one to the other, without a network.
struct Direct {
    there: Arc<dyn AnswersNeighbours>,
    asked: AtomicUsize,
    /// Whether who takes a question is lost before it answers.
    is_lost: AtomicBool,
}

impl Neighbours for Direct {
    fn home(&self, _: &[u8]) -> Option<usize> {
        Some(0)
    }

    fn name(&self, _: usize) -> String {
        "two".to_owned()
    }

    fn put(&self, _: usize, question: Vec<u8>) -> BoxFuture<'_, Result<NeighbourAnswer, NoAnswer>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let is_lost = self.is_lost.load(Ordering::Relaxed);
        let taken: Result<NeighbourAnswer, NoAnswer> = match self.there.take(0, &question) {
            Taken::Now(octets) => Ok(Box::pin(std::future::ready(Ok(octets.into())))),
            Taken::Later(later) => Ok(Box::pin(async move {
                if is_lost {
                    return Err(NoAnswer::Lost);
                }
                later.await.map(Into::into).ok_or(NoAnswer::Busy)
            })),
            Taken::Declined | Taken::Malformed => Err(NoAnswer::Declined),
        };
        Box::pin(std::future::ready(taken))
    }
}

/// Runs both, the first with this table, and a test.
async fn with_two(
    table: &str,
    test: impl AsyncFnOnce(&Internet, [&Resolving<'_>; 2], &Direct) -> Result<()>,
) -> Result<()> {
    let internet = Internet::begin()?;
    internet
        .with_resolver("", async |two| {
            internet
                .with_resolver(table, async |one| {
                    let none = Arc::new(Direct {
                        there: Arc::new(Nobody),
                        asked: AtomicUsize::new(0),
                        is_lost: AtomicBool::new(false),
                    });
                    // The second one thinks that the first is home: it resolves what it is asked nevertheless.
                    let there = two.running.service.share(none).context("it shares")?;
                    let (asked, is_lost) = (AtomicUsize::new(0), AtomicBool::new(false));
                    let direct = Arc::new(Direct { there, asked, is_lost });
                    one.running.service.share(direct.clone()).context("it shares")?;
                    test(&internet, [one, two], &direct).await
                })
                .await
        })
        .await
}

/// Takes no question.
struct Nobody;

impl AnswersNeighbours for Nobody {
    fn take(&self, _: usize, _: &[u8]) -> Taken {
        Taken::Declined
    }
}

async fn address(resolving: &Resolving<'_>, name: &str) -> Result<String> {
    let socket = resolving.udp().await?;
    socket.send(&question(name, 1).encode()).await?;
    let answer = received(&socket).await?;
    let found = answer.get(1).and_then(|line| line.rsplit_once(" A "));
    found.map(|(_, address)| address.to_owned()).with_context(|| answer.join("\n"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pop_asks_name_servers_once_for_what_clients_of_two_servers_ask() -> Result<()> {
    with_two("", async |internet, [one, two], direct| {
        internet.let_go();
        for name in ["a.held.plain.test", "b.held.plain.test"] {
            ensure!(address(one, name).await? == "192.0.2.91");
            let before = internet.held();
            ensure!(before > 0 && address(two, name).await? == "192.0.2.91");
            ensure!(address(one, name).await? == "192.0.2.91" && internet.held() == before, "{name}");
        }
        ensure!(direct.asked.load(Ordering::Relaxed) == 2);
        // As validated as where it was found, and with why it fails.
        let answer = one.dig("dig", "+dnssec www.signed.test A").await?;
        ensure!(answer.contains("flags: qr rd ra ad;") && answer.contains("RRSIG\tA 13 3 300 "), "{answer}");
        let answer = one.dig("dig", "+dnssec no.signed.test A").await?;
        ensure!(answer.contains("status: NXDOMAIN") && answer.contains("ra ad;"), "{answer}");
        let answer = one.dig("dig", "www.bogus.test A").await?;
        ensure!(answer.contains("status: SERVFAIL") && answer.contains("EDE: 9 "), "{answer}");
        let large = one.dig("dig", "large.plain.test TXT").await?;
        ensure!(large.contains("retrying in TCP mode") && large.contains("ANSWER: 20"), "{large}");
        one.counts("proxima_resolver_homes_total{outcome=\"resolution\"} 6")?;
        one.counts("proxima_resolver_homes_total{outcome=\"malformed\"} 0")?;
        two.counts("proxima_dns_resolver_neighbours_total{outcome=\"resolution\"} 6")?;
        two.counts("proxima_resolver_homes_total{outcome=\"declined\"} 0")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_home_that_is_lost_while_it_resolves_costs_no_client_its_answer() -> Result<()> {
    with_two("", async |internet, [one, _], direct| {
        internet.let_go();
        direct.is_lost.store(true, Ordering::Relaxed);
        ensure!(address(one, "a.held.plain.test").await? == "192.0.2.91");
        one.counts("proxima_resolver_homes_total{outcome=\"lost\"} 1")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_policy_decides_no_neighbour_learns() -> Result<()> {
    let table = "[[dns.resolver.policies]]\nname = \"ours\"\nnetworks = [\"127.0.0.0/8\"]\n\
                 records = [\"printer.test A 192.0.2.7\"]\n";
    with_two(table, async |internet, [one, two], direct| {
        internet.let_go();
        ensure!(address(one, "printer.test").await? == "192.0.2.7");
        ensure!(direct.asked.load(Ordering::Relaxed) == 0);
        ensure!(address(one, "www.plain.test").await? == "192.0.2.90");
        ensure!(direct.asked.load(Ordering::Relaxed) == 1);
        ensure!(address(two, "printer.test").await.is_err(), "it is the first one's alone");
        let (_, exchange) = https_at(one, RESOLVER, "127.0.0.1", "/dns-query?name=far.plain.test").await?;
        let told = "policy ours: resolved, by its home two unless known";
        let entries = exchange.trace.entries();
        ensure!(entries.iter().any(|entry| entry.decision.ends_with(told)), "{entries:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_share_asks_and_answers_nobody() -> Result<()> {
    Internet::begin()?
        .with_resolver("share_in_pop = false", async |alone| {
            let (asked, is_lost) = (AtomicUsize::new(0), AtomicBool::new(false));
            let nobody = Direct { there: Arc::new(Nobody), asked, is_lost };
            let nobody = Arc::new(nobody);
            ensure!(alone.running.service.share(nobody.clone()).is_none());
            ensure!(address(alone, "www.plain.test").await? == "192.0.2.90");
            ensure!(nobody.asked.load(Ordering::Relaxed) == 0);
            Ok(())
        })
        .await
}
