//! A node that resolves, in a small internet on BIND, and that has authority for a zone beside that.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use proxima_resolver::{Sockets, Transport, Upstream};
use tokio::{net::UdpSocket, sync::watch};

use crate::{
    sockets::{Running, with_node_asking},
    support::{Question, describe},
    tree::{self, Tree},
};

pub(crate) const RESOLVER: &str = "dns.example.com";
const RD: u16 = 0x0100;
/// What no test waits beyond.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Asks the tree's server, but holds questions below `held.plain.test` until they are let go.
struct Gate {
    sockets: Sockets,
    open: watch::Sender<bool>,
    /// How many have been held.
    held: watch::Sender<usize>,
    /// How many are, just now.
    holding: Arc<AtomicUsize>,
}

/// One that is held, until it is given up.
struct Holding(Arc<AtomicUsize>);

impl Drop for Holding {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait::async_trait]
impl Upstream for Gate {
    async fn exchange(&self, server: IpAddr, query: &[u8], transport: Transport) -> std::io::Result<Vec<u8>> {
        if query.to_ascii_lowercase().windows(16).any(|octets| octets == b"\x04held\x05plain\x04test") {
            self.holding.fetch_add(1, Ordering::SeqCst);
            let _holding = Holding(self.holding.clone());
            self.held.send_modify(|held| *held += 1);
            self.open.subscribe().wait_for(|open| *open).await.ok();
        }
        self.sockets.exchange(server, query, transport).await
    }
}

/// A node that resolves in the tree, and what it asks through.
pub(crate) struct Resolving<'a> {
    pub(crate) running: &'a Running,
    gate: Arc<Gate>,
}

impl Resolving<'_> {
    pub(crate) fn at(&self) -> SocketAddr {
        self.running.addresses.resolver.as_ref().expect("it resolves").clear[0]
    }

    pub(crate) fn tls(&self) -> SocketAddr {
        self.running.addresses.resolver.as_ref().expect("it resolves").tls[0]
    }

    pub(crate) fn quic(&self) -> SocketAddr {
        self.running.addresses.resolver.as_ref().expect("it resolves").quic[0]
    }

    pub(crate) async fn dig(&self, program: &str, arguments: &str) -> Result<String> {
        self.running.dig_at(self.at(), program, arguments).await
    }

    pub(crate) async fn udp(&self) -> Result<UdpSocket> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.connect(self.at()).await?;
        Ok(socket)
    }

    /// Waits until so many questions are held.
    pub(crate) async fn until_held(&self, count: usize) -> Result<()> {
        self.gate.held.subscribe().wait_for(|held| *held >= count).await?;
        Ok(())
    }

    /// How many are held just now.
    pub(crate) fn holding(&self) -> usize {
        self.gate.holding.load(Ordering::SeqCst)
    }

    pub(crate) fn let_go(&self) {
        self.gate.open.send_replace(true);
    }

    /// Waits until a metric stands so.
    pub(crate) async fn until_counts(&self, line: &str) -> Result<()> {
        let counted = async {
            while self.counts(line).is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, counted).await.or_else(|_| self.counts(line))
    }

    /// What a metric stands at.
    pub(crate) fn count(&self, metric: &str) -> Result<u64> {
        let metrics = self.running.node.metrics.encode();
        let told = metrics.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        Ok(told.with_context(|| format!("{metric} is not in\n{metrics}"))?.parse()?)
    }

    pub(crate) fn counts(&self, line: &str) -> Result<()> {
        let metrics = self.running.node.metrics.encode();
        let about =
            || metrics.lines().filter(|line| line.contains("resolver")).collect::<Vec<_>>().join("\n");
        ensure!(metrics.lines().any(|found| found == line), "{line} is not in\n{}", about());
        Ok(())
    }
}

pub(crate) async fn received(socket: &UdpSocket) -> Result<Vec<String>> {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).await?;
    describe(&buffer[..length])
}

/// That a line is this answer, `NAME TTL IN TYPE DATA`, with what is left of its TTL if it came after `since`: a resolver counts in
/// whole seconds, of which one may end at any time.
pub(crate) fn is_aged(line: &str, answer: &str, since: Instant) -> Result<()> {
    let words = |text: &str| text.splitn(3, ' ').map(str::to_owned).collect::<Vec<_>>();
    let (found, wanted) = (words(line.strip_prefix("answer ").context("an answer")?), words(answer));
    let (left, ttl): (u64, u64) = (found[1].parse()?, wanted[1].parse()?);
    let aged_most = since.elapsed().as_secs() + 1;
    let is_it = (&found[0], &found[2]) == (&wanted[0], &wanted[2]);
    ensure!(is_it && left <= ttl && left + aged_most >= ttl, "{line} instead of {answer}, {aged_most} s old");
    Ok(())
}

/// A question as clients of resolvers ask, with EDNS.
pub(crate) fn question(name: &str, qtype: u16) -> Question {
    let mut question = Question::new(name, qtype);
    question.flags = RD;
    question.edns();
    question
}

/// A small internet: a tree on BIND, and the way to it.
pub(crate) struct Internet {
    // It ends before its files are gone.
    _tree: Tree,
    folder: tempfile::TempDir,
    gate: Arc<Gate>,
}

impl Internet {
    pub(crate) fn begin() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let tree = tree::start(folder.path());
        std::fs::write(folder.path().join("hints"), ". NS ns.\nns. A 127.0.0.1\n")?;
        std::fs::write(folder.path().join("anchor"), &tree.anchor)?;
        let (open, held) = (watch::Sender::new(false), watch::Sender::new(0));
        let gate =
            Arc::new(Gate { sockets: Sockets { port: tree.port }, open, held, holding: Arc::default() });
        Ok(Self { _tree: tree, folder, gate })
    }

    /// How many questions below `held.plain.test` have come.
    pub(crate) fn held(&self) -> usize {
        *self.gate.held.borrow()
    }

    pub(crate) fn let_go(&self) {
        self.gate.open.send_replace(true);
    }

    /// Runs a node with this table `[dns.resolver]` beside what it needs, and a test against it.
    pub(crate) async fn with_resolver(
        &self,
        table: &str,
        test: impl AsyncFnOnce(&Resolving<'_>) -> Result<()>,
    ) -> Result<()> {
        self.with_both_roles("", table, test).await
    }

    /// As [`Self::with_resolver`], with this in the table `[dns]` itself.
    async fn with_both_roles(
        &self,
        dns: &str,
        table: &str,
        test: impl AsyncFnOnce(&Resolving<'_>) -> Result<()>,
    ) -> Result<()> {
        let at = |name: &str| self.folder.path().join(name);
        let config = format!(
            "{dns}\n[dns.resolver]\nlisten = [\"127.0.0.1:0\"]\nlisten_tls = [\"127.0.0.1:0\"]\nlisten_quic = [\"127.0.0.1:0\"]\n\
             names = [{RESOLVER:?}]\nhttps = true\nhints_file = {:?}\nanchors_file = {:?}\n\
             allow_private_name_servers = true\n{table}",
            at("hints"),
            at("anchor"),
        );
        let gate = self.gate.clone();
        with_node_asking(&config, gate.clone(), async |running| test(&Resolving { running, gate }).await)
            .await
    }
}

/// Runs a node with this table `[dns.resolver]` in an internet of its own, and a test against it.
pub(crate) async fn with_resolver(
    table: &str,
    test: impl AsyncFnOnce(&Resolving<'_>) -> Result<()>,
) -> Result<()> {
    Internet::begin()?.with_resolver(table, test).await
}

/// As [`with_resolver`], with this in the table `[dns]` itself.
pub(crate) async fn with_both_roles(
    dns: &str,
    table: &str,
    test: impl AsyncFnOnce(&Resolving<'_>) -> Result<()>,
) -> Result<()> {
    Internet::begin()?.with_both_roles(dns, table, test).await
}
