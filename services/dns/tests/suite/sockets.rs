//! The service in a node of its own, over real sockets: its bounds, its end, and what dig and kdig make of it.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use proxima_chassis::{NodeConfig, NodeContext, Service, random_id, run_node};
use proxima_dns::{DnsAddresses, DnsService};
use proxima_ledger::{Append, Change, IdempotencyKey};
use proxima_model::{Entity as _, KeyRole, Record, RecordId, ZoneIndex, ZoneSigning};
use proxima_resolver::{Sockets, Upstream};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use crate::support::{
    ANYCAST, Heard, Question, SERVER, describe, new_key, record, signing, ticket_keys, zone,
};

/// The network's name server.
pub(crate) const NAME_SERVER: &str = "ns1.example.com";
/// How long a test may take on a busy machine, of whose steps each has its own patience: nextest ends it after two minutes.
const DEADLINE: Duration = Duration::from_secs(100);

pub(crate) struct Running {
    pub(crate) node: NodeContext,
    pub(crate) service: Arc<DnsService>,
    /// Where it answers over UDP and TCP.
    pub(crate) address: SocketAddr,
    pub(crate) addresses: DnsAddresses,
    pub(crate) notices: Arc<Heard>,
}

/// Runs a node with this table `[dns]` and the zone example.com, and a test against it.
pub(crate) async fn with_node(dns: &str, test: impl AsyncFnOnce(&Running) -> Result<()>) -> Result<()> {
    with_node_asking(dns, Arc::new(Sockets { port: 53 }), test).await
}

/// As [`with_node`]; where it resolves, name servers are asked by `upstream`.
pub(crate) async fn with_node_asking(
    dns: &str,
    upstream: Arc<dyn Upstream>,
    test: impl AsyncFnOnce(&Running) -> Result<()>,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("key"), "11".repeat(32))?;
    let config = format!(
        "[node]\nname = \"{SERVER}\"\npop = \"FRA\"\nregion = \"europe\"\ndata_dir = {:?}\nkey_file = {:?}\n\
         admin = \"127.0.0.1:0\"\ndrain_seconds = 10\n[network]\nanycast_addresses = {ANYCAST:?}\nname_servers = [{NAME_SERVER:?}]\n\
         [dns]\nlisten = [\"127.0.0.1:0\"]\nudp_threads = 2\n{dns}\n",
        folder.path().join("data"),
        folder.path().join("key"),
    );
    let made: Arc<Mutex<Option<Arc<DnsService>>>> = Arc::default();
    let notices: Arc<Heard> = Arc::default();
    let make = {
        let (made, notices) = (made.clone(), notices.clone());
        move |node: &NodeContext| -> Result<Vec<Arc<dyn Service>>, Box<dyn std::error::Error + Send + Sync>> {
            let service = DnsService::with_upstream(node, upstream.clone())?;
            service.tell_notices(notices.clone());
            *made.lock().expect("a lock") = Some(service.clone());
            Ok(vec![service])
        }
    };
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let known = BTreeSet::from(["dns"]);
    let run = run_node(NodeConfig::parse(&config)?, &known, &make, |node| {
        ready.send(node.clone()).ok();
    });
    let body = async {
        let node = is_ready.await?;
        let service = made.lock().expect("a lock").clone().context("a service")?;
        let addresses = service.addresses();
        let running = Running { node, service, address: addresses.clear[0], addresses, notices };
        running.fill().await?;
        test(&running).await
    };
    let (mut run, mut body) = (pin!(run), pin!(timeout(DEADLINE, body)));
    tokio::select! {
        // A test may end the node itself, and look at what happens then.
        ended = &mut run => {
            let outcome = body.await.context("the test took too long")?;
            outcome.with_context(|| format!("the node ended: {ended:?}"))
        }
        outcome = &mut body => match outcome.context("the test took too long")? {
            Err(error) if error.is::<tokio::sync::oneshot::error::RecvError>() => {
                let ended = run.await;
                Err(error).with_context(|| format!("the node ended: {ended:?}"))
            }
            outcome => outcome,
        },
    }
}

impl Running {
    async fn fill(&self) -> Result<()> {
        let zone = zone("example.com");
        let mut lines = vec![
            "www 300 A 192.0.2.1".to_owned(),
            "shop 300 proxied A 192.0.2.2".to_owned(),
            "alias 300 CNAME www.example.com".to_owned(),
            "*.wild 300 TXT wildcard".to_owned(),
            "sub 300 NS ns.sub.example.com".to_owned(),
            "ns.sub 300 A 192.0.2.53".to_owned(),
        ];
        lines.extend((0..20).map(|number| format!("large 300 TXT {number}{}", "x".repeat(200))));
        let mut changes = vec![
            self.node.replica.put(&zone),
            self.node.replica.put(&ZoneIndex { name: zone.name.clone(), zone: zone.id }),
        ];
        for (number, line) in lines.iter().enumerate() {
            let id = RecordId::from_bytes([u8::try_from(number)?; 16]);
            changes.push(self.node.replica.put(&Record { id, ..record(&zone, line)? }));
        }
        self.change(changes).await
    }

    /// Makes changes and waits until they are in force.
    pub(crate) async fn change(&self, changes: Vec<Change>) -> Result<()> {
        let idempotency_key = IdempotencyKey(format!("{:x?}", random_id()));
        let append = Append {
            changes,
            preconditions: Vec::new(),
            idempotency_key,
            fingerprint: None,
            author: "test".to_owned(),
        };
        let appended = self.node.log.append(append).await?;
        self.node.in_force.clone().wait_for(|seq| *seq >= appended.seq).await?;
        Ok(())
    }

    pub(crate) async fn ask(&self, question: &Question) -> Result<Vec<String>> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.connect(self.address).await?;
        socket.send(&question.encode()).await?;
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).await?;
        describe(&buffer[..length])
    }

    pub(crate) async fn connect(&self) -> Result<TcpStream> {
        Ok(TcpStream::connect(self.address).await?)
    }

    pub(crate) async fn dig(&self, program: &str, arguments: &str) -> Result<String> {
        self.dig_at(self.address, program, arguments).await
    }

    pub(crate) async fn dig_at(&self, at: SocketAddr, program: &str, arguments: &str) -> Result<String> {
        let output = tokio::process::Command::new(program)
            .args([&format!("@{}", at.ip()), "-p", &at.port().to_string()])
            .args(arguments.split_whitespace())
            .output()
            .await
            .with_context(|| format!("running {program}; `cargo xtask setup` installs it"))?;
        ensure!(output.status.success(), "{program} {arguments}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }
}

pub(crate) fn framed(question: &Question) -> Vec<u8> {
    let message = question.encode();
    [&u16::try_from(message.len()).expect("a message").to_be_bytes()[..], &message].concat()
}

pub(crate) async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<String>> {
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    describe(&answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dig_and_kdig_read_the_answers() -> Result<()> {
    with_node("", async |running| {
        let answer = running.dig("dig", "+norecurse www.example.com A").await?;
        ensure!(answer.contains("status: NOERROR") && answer.contains("flags: qr aa;"), "{answer}");
        ensure!(
            answer.contains("192.0.2.1") && answer.contains("EDNS: version: 0, flags:; udp: 1232"),
            "{answer}"
        );
        let answer = running.dig("dig", "+norecurse nothing.example.com A").await?;
        ensure!(
            answer.contains("status: NXDOMAIN") && answer.contains("hostmaster.example.com. 7"),
            "{answer}"
        );
        // Too large for a datagram: dig comes again over TCP by itself.
        let answer = running.dig("dig", "+norecurse large.example.com TXT").await?;
        ensure!(
            answer.contains("Truncated, retrying in TCP mode") && answer.contains("ANSWER: 20"),
            "{answer}"
        );
        let answer = running.dig("dig", "+norecurse +ignore large.example.com TXT").await?;
        ensure!(answer.contains("flags: qr aa tc;") && answer.contains("ANSWER: 0"), "{answer}");
        let answer =
            running.dig("dig", "+norecurse +nsid +edns=1 +noednsnegotiation example.com SOA").await?;
        ensure!(answer.contains("status: BADVERS"), "{answer}");
        let answer = running.dig("dig", "+short alias.example.com A").await?;
        ensure!(answer == "www.example.com.\n192.0.2.1\n", "{answer}");
        let answer = running.dig("dig", "+short shop.example.com AAAA").await?;
        ensure!(answer == "fd00:198:18::1\n", "{answer}");
        let answer = running.dig("dig", "+short CH TXT id.server").await?;
        ensure!(answer == "\"fra-1\"\n", "{answer}");
        let answer = running.dig("dig", "example.com AXFR").await?;
        ensure!(answer.contains("Transfer failed"), "{answer}");
        let answer = running.dig("kdig", "+norec +nsid a.b.wild.example.com TXT").await?;
        ensure!(answer.contains("\"wildcard\"") && answer.contains("NSID: 6672612D31"), "{answer}");
        let answer =
            running.dig("kdig", "+norec +edns +tcp +keepopen www.sub.example.com A example.org A").await?;
        ensure!(answer.contains("ns.sub.example.com.") && answer.contains("status: REFUSED"), "{answer}");
        ensure!(answer.contains("EDE: 20 (Not Authoritative)"), "{answer}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dig_and_kdig_get_the_options_that_they_ask_for() -> Result<()> {
    with_node("udp_cookies_required = true", async |running| {
        // dig comes again by itself with the cookie that BADCOOKIE brought.
        let answer = running.dig("dig", "+norecurse +cookie www.example.com A").await?;
        ensure!(answer.contains("192.0.2.1") && answer.contains("(good)"), "{answer}");
        let answer = running.dig("dig", "+norecurse +cookie +nobadcookie www.example.com A").await?;
        ensure!(answer.contains("status: BADCOOKIE") && answer.contains("ANSWER: 0"), "{answer}");
        let cookie = answer.lines().find_map(|line| line.strip_prefix("; COOKIE: ")).context("a cookie")?;
        let cookie = cookie.split_whitespace().next().context("a cookie")?.to_owned();
        ensure!(cookie.len() == 48, "{cookie}");
        // The network's keys come later than the server, and are its own until then.
        let with_it = format!("+nocmd +norecurse +nobadcookie +cookie={cookie} www.example.com A");
        let answer = running.dig("dig", &with_it).await?;
        ensure!(answer.contains("192.0.2.1") && answer.contains(&cookie), "{answer}");
        running.change(vec![running.node.replica.put(&ticket_keys())]).await?;
        let answer = running.dig("dig", &with_it).await?;
        ensure!(answer.contains("status: BADCOOKIE") && !answer.contains(&cookie), "{answer}");
        let answer = running.dig("dig", "+norecurse +header-only +cookie").await?;
        ensure!(answer.contains("QUERY: 0, ANSWER: 0") && answer.contains("(good)"), "{answer}");
        let answer = running.dig("kdig", "+norec +cookie +badcookie www.example.com A").await?;
        ensure!(answer.contains("192.0.2.1"), "{answer}");
        let answer =
            running.dig("dig", "+norecurse +nocookie +subnet=198.51.100.0/24 www.example.com A").await?;
        ensure!(answer.contains("CLIENT-SUBNET: 198.51.100.0/24/0"), "{answer}");
        let answer = running.dig("dig", "+norecurse +nocookie +subnet=0 www.example.com A").await?;
        ensure!(answer.contains("CLIENT-SUBNET: 0.0.0.0/0/0") && answer.contains("NOERROR"), "{answer}");
        let answer = running.dig("dig", "+norecurse +tcp +keepalive www.example.com A").await?;
        ensure!(answer.contains("TCP KEEPALIVE: 10.0 secs"), "{answer}");
        let answer = running.dig("dig", "+norecurse +nocookie +padding=128 www.example.com A").await?;
        ensure!(answer.contains("192.0.2.1") && !answer.contains("; PAD"), "{answer}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_answered_once_it_is_in_force() -> Result<()> {
    with_node("", async |running| {
        let question = Question::new("www.example.com", 1);
        let before = running.ask(&question).await?;
        ensure!(before[1] == "answer www.example.com. 300 IN A 192.0.2.1", "{before:?}");
        let zone = zone("example.com");
        let record = Record { id: RecordId::from_bytes([0; 16]), ..record(&zone, "www 60 A 192.0.2.77")? };
        running.change(vec![running.node.replica.put(&record)]).await?;
        let after = running.ask(&question).await?;
        ensure!(after[1] == "answer www.example.com. 60 IN A 192.0.2.77", "{after:?}");
        running.change(vec![Change::delete::<Record>(&(zone.id, record.id))]).await?;
        let removed = running.ask(&question).await?;
        ensure!(removed[0] == "NXDOMAIN aa", "{removed:?}");
        running
            .change(vec![Change::delete::<ZoneIndex>(&zone.name), Change::Delete { key: zone.key() }])
            .await?;
        let gone = running.ask(&question).await?;
        ensure!(gone == ["REFUSED"], "{gone:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_is_signed_once_its_keys_are_in_force_and_what_is_too_large_comes_by_tcp() -> Result<()> {
    with_node("", async |running| {
        let before = running.dig("dig", "+norecurse +dnssec www.example.com A").await?;
        ensure!(before.contains("ANSWER: 1,") && before.contains("flags: do;"), "{before}");
        let zone = zone("example.com");
        let keys = [KeyRole::Active, KeyRole::Active, KeyRole::Published, KeyRole::Retired].map(new_key);
        running.change(vec![running.node.replica.put(&signing(&zone, keys.to_vec()))]).await?;
        let after = running.dig("dig", "+norecurse +dnssec www.example.com A").await?;
        ensure!(after.contains("ANSWER: 3,") && after.contains("RRSIG\tA 13 3 300 "), "{after}");
        // Two keys sign; the set and its signatures are more than is taken.
        let large = running.dig("dig", "+norecurse +dnssec +bufsize=512 example.com DNSKEY").await?;
        ensure!(large.contains("Truncated, retrying in TCP mode") && large.contains("ANSWER: 6,"), "{large}");
        let denied = running.dig("kdig", "+norec +dnssec nothing.example.com A").await?;
        ensure!(
            denied.contains("status: NOERROR") && denied.contains("\\000.nothing.example.com."),
            "{denied}"
        );
        ensure!(denied.contains("RRSIG NSEC TYPE128"), "{denied}");
        // Many signatures on one connection: each answer in its turn, none lost.
        let mut stream = running.connect().await?;
        let names = (0..40).map(|number| format!("n{number}.example.com"));
        let questions: Vec<u8> = names
            .flat_map(|name| {
                let mut question = Question::new(&name, 1);
                question.edns().flags = 0x8000;
                framed(&question)
            })
            .collect();
        stream.write_all(&questions).await?;
        for number in 0..40 {
            let answer = read_answer(&mut stream).await?.join("\n");
            ensure!(answer.contains(&format!("authority n{number}.example.com. 300 IN NSEC")), "{answer}");
        }
        running.change(vec![Change::delete::<ZoneSigning>(&zone.id)]).await?;
        let again = running.dig("dig", "+norecurse +dnssec www.example.com A").await?;
        ensure!(again.contains("ANSWER: 1,"), "{again}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_that_come_together_on_a_connection_are_answered_in_order() -> Result<()> {
    with_node("", async |running| {
        let mut stream = running.connect().await?;
        let large = Question::new("large.example.com", 16);
        let small = Question::new("www.example.com", 1);
        // More answers than may wait at a time, and a query cut in two.
        let mut queries = [framed(&large), framed(&small)].concat().repeat(100);
        let rest = queries.split_off(queries.len() - 10);
        stream.write_all(&queries).await?;
        let (mut reader, mut writer) = stream.into_split();
        let finish = async {
            writer.write_all(&rest).await?;
            anyhow::Ok(writer)
        };
        let read = async {
            for number in 0..200 {
                let mut length = [0; 2];
                reader.read_exact(&mut length).await.with_context(|| format!("answer {number}"))?;
                let mut answer = vec![0; u16::from_be_bytes(length).into()];
                reader.read_exact(&mut answer).await?;
                let lines = describe(&answer)?;
                let expected = if number % 2 == 0 { 21 } else { 2 };
                ensure!(lines.len() == expected, "answer {number}: {lines:?}");
            }
            anyhow::Ok(())
        };
        tokio::try_join!(finish, read)?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_closed_for_silence_garbage_and_too_many_queries() -> Result<()> {
    with_node("tcp_idle_seconds = 3\ntcp_queries_max = 2", async |running| {
        // Half a query, and then nothing.
        let mut silent = running.connect().await?;
        silent.write_all(&framed(&Question::new("www.example.com", 1))[..7]).await?;
        // An answer instead of a query.
        let mut garbage = running.connect().await?;
        let mut answer = Question::new("www.example.com", 1);
        answer.flags = 0x8000;
        garbage.write_all(&framed(&answer)).await?;
        ensure!(garbage.read(&mut [0; 16]).await? == 0, "a connection with garbage stays open");
        let mut endless = running.connect().await?;
        endless.write_all(&[0xff, 0xff]).await?;
        ensure!(endless.read(&mut [0; 16]).await? == 0, "a connection with an endless query stays open");
        let mut busy = running.connect().await?;
        busy.write_all(&framed(&Question::new("www.example.com", 1)).repeat(3)).await?;
        ensure!(read_answer(&mut busy).await?.len() == 2);
        ensure!(read_answer(&mut busy).await?.len() == 2);
        ensure!(busy.read_u16().await.is_err(), "a third query is answered");
        ensure!(silent.read(&mut [0; 16]).await? == 0, "a silent connection stays open");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_has_its_connections_is_refused_further_ones() -> Result<()> {
    with_node("tcp_connections_per_client_max = 1", async |running| {
        let mut first = running.connect().await?;
        first.write_all(&framed(&Question::new("www.example.com", 1))).await?;
        read_answer(&mut first).await?;
        let mut second = running.connect().await?;
        ensure!(!matches!(second.read(&mut [0; 1]).await, Ok(1..)), "the second connection is served");
        first.write_all(&framed(&Question::new("www.example.com", 1))).await?;
        read_answer(&mut first).await?;
        drop(first);
        // The place is free once the server has seen the end of the connection.
        loop {
            let mut third = running.connect().await?;
            third.write_all(&framed(&Question::new("www.example.com", 1))).await.ok();
            if read_answer(&mut third).await.is_ok() {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_ends_what_was_begun_and_begins_nothing() -> Result<()> {
    with_node("", async |running| {
        let query = framed(&Question::new("www.example.com", 1));
        let mut idle = running.connect().await?;
        idle.write_all(&query).await?;
        read_answer(&mut idle).await?;
        let mut begun = running.connect().await?;
        begun.write_all(&query).await?;
        read_answer(&mut begun).await?;
        let (first, rest) = query.split_at(9);
        begun.write_all(first).await?;
        running.node.shutdown.begin_drain();
        ensure!(idle.read(&mut [0; 1]).await? == 0, "an idle connection stays open");
        begun.write_all(rest).await?;
        ensure!(read_answer(&mut begun).await?.len() == 2, "a query that was begun is not answered");
        ensure!(begun.read(&mut [0; 1]).await? == 0, "the connection stays open");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_wait_when_draining_begins_are_answered() -> Result<()> {
    with_node("", async |running| {
        let query = framed(&Question::new("www.example.com", 1));
        let mut waiting = Vec::new();
        for _ in 0..50 {
            let mut stream = running.connect().await?;
            stream.write_all(&query).await?;
            waiting.push(stream);
        }
        running.node.shutdown.begin_drain();
        for (number, stream) in waiting.iter_mut().enumerate() {
            let answer = read_answer(stream).await.with_context(|| format!("connection {number}"))?;
            ensure!(answer.len() == 2, "{answer:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_and_answered_is_counted_by_fixed_labels() -> Result<()> {
    with_node("", async |running| {
        running.ask(&Question::new("www.example.com", 1)).await?;
        running.ask(&Question::new("nothing.example.com", 65_000)).await?;
        let metrics = running.node.metrics.encode();
        for line in [
            "proxima_dns_queries_total{transport=\"udp\",type=\"A\"} 1",
            "proxima_dns_queries_total{transport=\"udp\",type=\"other\"} 1",
            "proxima_dns_answers_total{transport=\"udp\",rcode=\"NXDOMAIN\"} 1",
            "proxima_dns_answers_total{transport=\"tcp\",rcode=\"NOERROR\"} 0",
            "proxima_dns_answer_seconds_count 1",
        ] {
            ensure!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
        }
        Ok(())
    })
    .await
}

#[test]
fn a_table_with_mistakes_says_where_they_are() {
    for (table, expected) in [
        ("listen = [\"0.0.0.0:53\"]", "[dns] listen: 0.0.0.0:53 is a wildcard"),
        ("udp_payload_bytes_max = 100", "[dns] udp_payload_bytes_max: give 512 to 4096"),
        ("zones_bytes_max = 1000", "[dns] zones_bytes_max: give 16777216 or more"),
        ("rate_limit_per_second = 10001", "[dns] rate_limit_per_second: give 1 to 10000"),
        ("rate_limit_slip = 11", "[dns] rate_limit_slip: give 0 to 10"),
        ("rate_limit_exempt = [\"192.0.2.1\"]", "rate_limit_exempt[0]"),
        ("lisen = []", "unknown field `lisen`"),
        ("resolver.listen = [\"[::]:53\"]", "[dns] resolver.listen: [::]:53 is a wildcard"),
        (
            "listen = [\"127.0.0.1:53\"]\nresolver.listen = [\"127.0.0.1:53\"]",
            "[dns] resolver.listen: 127.0.0.1:53 is one of [dns]",
        ),
        ("resolver.allow = [\"128.0.0.0/1\"]", "[dns] resolver.allow: 128.0.0.0/1 is nearly everybody"),
        ("resolver.https = true", "[dns] resolver.names: none"),
        ("resolver.pending_max = 0", "[dns] resolver.pending_max: give 1 or more"),
        ("resolver.cache_bytes_max = 5", "[dns] resolver.cache_bytes_max: give 1048576"),
        ("resolver.rate_limit_per_second = 10001", "[dns] resolver.rate_limit_per_second: give 1 to 10000"),
    ] {
        let config = format!(
            "[node]\nname = \"n\"\npop = \"FRA\"\nregion = \"r\"\ndata_dir = \"d\"\nkey_file = \"k\"\n[dns]\n{table}\n"
        );
        let config = NodeConfig::parse(&config).expect("a configuration");
        let error = proxima_dns::DnsConfig::of(&config).expect_err(table).to_string();
        assert!(error.contains(expected), "{error}");
    }
}
