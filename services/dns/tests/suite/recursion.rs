//! The role that resolves: in a small internet on BIND, asked over every transport by those who may and those who may not.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::join_all;
use http::{HeaderMap, Method, StatusCode};
use proxima_model::PopCode;
use proxima_pipeline::{
    Body, Client, Decision, Exchange, Fault, Flow, Protocol, RayId, Request, Response, Scheme, Stage, Trace,
};
use proxima_resolver::{AnchorState, Followed, Sockets};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    encrypted::{Authority, ask_by_quic, connect_by_quic, without_id},
    resolving::{PATIENCE, RESOLVER, Resolving, is_aged, question, received, with_resolver},
    sockets::{framed, read_answer, with_node_asking},
    support::{NOW, describe},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_resolved_and_validated_over_udp_and_tcp() -> Result<()> {
    with_resolver("", async |resolving| {
        for transport in ["", "+tcp "] {
            let ask = |question: &str| {
                let arguments = format!("{transport}+dnssec {question}");
                async move { resolving.dig("dig", &arguments).await }
            };
            let answer = ask("www.signed.test A").await?;
            ensure!(answer.contains("flags: qr rd ra ad;") && answer.contains("A\t192.0.2.80"), "{answer}");
            ensure!(answer.contains("RRSIG\tA 13 3 300 "), "{answer}");
            let answer = ask("no.signed.test A").await?;
            ensure!(answer.contains("status: NXDOMAIN") && answer.contains("ra ad;"), "{answer}");
            let answer = ask("www.plain.test A").await?;
            ensure!(answer.contains("flags: qr rd ra;") && answer.contains("A\t192.0.2.90"), "{answer}");
            let answer = ask("www.bogus.test A").await?;
            ensure!(answer.contains("status: SERVFAIL") && answer.contains("EDE: 9 "), "{answer}");
            let answer = ask("+cdflag www.bogus.test A").await?;
            ensure!(answer.contains("status: NOERROR") && answer.contains("A\t192.0.2.80"), "{answer}");
            let answer = ask("+norecurse www.signed.test A").await?;
            ensure!(answer.contains("status: REFUSED") && answer.contains("EDE: 20 "), "{answer}");
        }
        let large = resolving.dig("dig", "+ignore large.plain.test TXT").await?;
        ensure!(large.contains("flags: qr tc rd ra;") && large.contains("ANSWER: 0"), "{large}");
        let large = resolving.dig("dig", "large.plain.test TXT").await?;
        ensure!(large.contains("retrying in TCP mode") && large.contains("ANSWER: 20"), "{large}");
        let version = resolving.dig("dig", "+edns=1 +noednsnegotiation www.plain.test A").await?;
        ensure!(version.contains("status: BADVERS"), "{version}");
        // The other role is as it was, and the zones here are not resolved by it.
        let own = resolving.running.dig("dig", "+norecurse www.example.com A").await?;
        ensure!(own.contains("flags: qr aa;") && own.contains("192.0.2.1"), "{own}");
        let elsewhere = resolving.running.dig("dig", "www.signed.test A").await?;
        ensure!(elsewhere.contains("status: REFUSED"), "{elsewhere}");
        resolving.counts("proxima_dns_resolver_answers_total{transport=\"udp\",rcode=\"SERVFAIL\"} 1")?;
        resolving.counts("proxima_dns_resolver_refused_total{why=\"recursion\"} 2")?;
        // A place is free a moment after its answer.
        resolving.until_counts("proxima_dns_resolver_pending 0").await?;
        // Once checked, and once not: two answers that are kept.
        resolving.counts("proxima_resolver_answers_total{by=\"bogus\"} 2")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_ask_is_refused_over_every_transport() -> Result<()> {
    with_resolver("allow = [\"192.0.2.0/24\"]", async |resolving| {
        for arguments in ["", "+tcp "] {
            let answer = resolving.dig("dig", &format!("{arguments}www.signed.test A")).await?;
            ensure!(
                answer.contains("status: REFUSED") && answer.contains("EDE: 18 (Prohibited)"),
                "{answer}"
            );
        }
        let answer = resolving.running.dig_at(resolving.tls(), "kdig", "+tls www.signed.test A").await?;
        ensure!(answer.contains("status: REFUSED"), "{answer}");
        resolving.counts("proxima_dns_resolver_refused_total{why=\"client\"} 3")?;
        let stranger = https(resolving, "198.51.100.1", "/dns-query?name=www.signed.test").await?;
        ensure!(matches!(stranger, Err(Fault::Forbidden(_))), "{stranger:?}");
        let friend = https(resolving, "192.0.2.7", "/dns-query?name=www.signed.test").await?;
        ensure!(friend.is_ok(), "{friend:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_resolved_encrypted_with_the_resolvers_own_certificate() -> Result<()> {
    with_resolver("", async |resolving| {
        let authority = Authority::new()?;
        let replica = &resolving.running.node.replica;
        resolving.running.change(vec![replica.put(&authority.certify(1, RESOLVER)?)]).await?;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, &authority.pem)?;
        let checked = format!("+tls-ca={} +tls-hostname={RESOLVER}", file.display());
        let asked = format!("{checked} +edns +padding=64 +keepopen www.signed.test A www.plain.test A");
        let asked_first = Instant::now();
        let answer = resolving.running.dig_at(resolving.tls(), "kdig", &asked).await?;
        ensure!(answer.contains("192.0.2.80") && answer.contains("192.0.2.90"), "{answer}");
        ensure!(answer.contains("Received 468 B") && answer.contains("PADDING"), "{answer}");
        let at = resolving.running.addresses.resolver.as_ref().context("it resolves")?.quic[0];
        let (_endpoint, connection) = connect_by_quic(at, RESOLVER, &authority).await?;
        // One that has to be waited for holds up none of the others.
        let held = without_id(&question("a.held.plain.test", 1));
        let held = ask_by_quic(&connection, &held);
        let others = async {
            resolving.until_held(1).await?;
            let known = without_id(&question("www.signed.test", 1));
            for answer in join_all((0..50).map(|_| ask_by_quic(&connection, &known))).await {
                is_aged(&answer?[1], "www.signed.test. 300 IN A 192.0.2.80", asked_first)?;
            }
            resolving.let_go();
            anyhow::Ok(())
        };
        let (held, others) = tokio::join!(held, others);
        others?;
        ensure!(held?[1].ends_with("A 192.0.2.91"));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_on_a_connection_come_when_they_are_there() -> Result<()> {
    with_resolver("", async |resolving| {
        let mut stream = TcpStream::connect(resolving.at()).await?;
        stream.write_all(&framed(&question("a.held.plain.test", 1))).await?;
        resolving.until_held(1).await?;
        let behind =
            [framed(&question("www.plain.test", 1)), framed(&question("www.signed.test", 1))].concat();
        stream.write_all(&behind).await?;
        let mut first = [read_answer(&mut stream).await?, read_answer(&mut stream).await?].concat();
        first.retain(|line| line.starts_with("answer"));
        first.sort();
        ensure!(first[0].ends_with("192.0.2.80") || first[1].ends_with("192.0.2.80"), "{first:?}");
        ensure!(!first.iter().any(|line| line.contains("held")), "{first:?}");
        // Who ends its side of the connection still gets what it asked for.
        stream.shutdown().await?;
        resolving.let_go();
        let last = read_answer(&mut stream).await?;
        ensure!(last[1].ends_with("A 192.0.2.91"), "{last:?}");
        ensure!(read_answer(&mut stream).await.is_err(), "the connection stays open");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_questions_that_may_wait_only_what_is_known_is_answered() -> Result<()> {
    with_resolver("pending_per_client_max = 2", async |resolving| {
        let socket = resolving.udp().await?;
        socket.send(&question("www.signed.test", 1).encode()).await?;
        ensure!(received(&socket).await?[1].ends_with("192.0.2.80"));
        // Its place is free a moment after its answer has come.
        resolving.until_counts("proxima_dns_resolver_pending 0").await?;
        let mut held = Vec::new();
        for number in 1..=2 {
            let mut stream = TcpStream::connect(resolving.at()).await?;
            stream.write_all(&framed(&question(&format!("n{number}.held.plain.test"), 1))).await?;
            resolving.until_held(number).await?;
            held.push(stream);
        }
        resolving.counts("proxima_dns_resolver_pending 2")?;
        let mut stream = TcpStream::connect(resolving.at()).await?;
        stream.write_all(&framed(&question("www.plain.test", 1))).await?;
        let busy = read_answer(&mut stream).await?;
        ensure!(
            busy[0].starts_with("SERVFAIL") && busy.last().is_some_and(|opt| opt.contains("ede=0")),
            "{busy:?}"
        );
        socket.send(&question("www.signed.test", 1).encode()).await?;
        ensure!(received(&socket).await?[1].ends_with("192.0.2.80"));
        resolving.counts("proxima_dns_resolver_refused_total{why=\"busy\"} 1")?;
        resolving.let_go();
        for stream in &mut held {
            ensure!(read_answer(stream).await?[1].ends_with("192.0.2.91"));
        }
        resolving.until_counts("proxima_dns_resolver_pending 0").await?;
        socket.send(&question("www.plain.test", 1).encode()).await?;
        ensure!(received(&socket).await?[1].ends_with("192.0.2.90"));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_waits_for_what_was_asked() -> Result<()> {
    with_resolver("", async |resolving| {
        let socket = resolving.udp().await?;
        socket.send(&question("udp.held.plain.test", 1).encode()).await?;
        resolving.until_held(1).await?;
        let mut stream = TcpStream::connect(resolving.at()).await?;
        stream.write_all(&framed(&question("tcp.held.plain.test", 1))).await?;
        resolving.until_held(2).await?;
        resolving.running.node.shutdown.begin_drain();
        resolving.let_go();
        let answer = received(&socket).await?;
        ensure!(answer[1].ends_with("A 192.0.2.91"), "{answer:?}");
        let answer = read_answer(&mut stream).await?;
        ensure!(answer[1].ends_with("A 192.0.2.91"), "{answer:?}");
        ensure!(read_answer(&mut stream).await.is_err(), "the connection stays open");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_resolver_gives_one_network_its_rate_over_udp() -> Result<()> {
    with_resolver("allow = [\"0.0.0.0/0\"]\nrate_limit_per_second = 1", async |resolving| {
        let mut stream = TcpStream::connect(resolving.at()).await?;
        stream.write_all(&framed(&question("www.plain.test", 1))).await?;
        read_answer(&mut stream).await?;
        let socket = resolving.udp().await?;
        let asked = question("www.plain.test", 1).encode();
        for _ in 0..2 {
            socket.send(&asked).await?;
            ensure!(received(&socket).await?.len() == 3);
        }
        // The next is dropped, and the one after that asks to come again: unless a second has passed, which gives one more.
        let slipped = loop {
            socket.send(&asked).await?;
            socket.send(&asked).await?;
            let answer = received(&socket).await?;
            if answer[0] != "NOERROR rd ra" {
                break answer;
            }
        };
        ensure!(slipped[0] == "NOERROR tc rd ra" && slipped.len() == 2, "{slipped:?}");
        stream.write_all(&framed(&question("www.plain.test", 1))).await?;
        ensure!(read_answer(&mut stream).await?.len() == 3);
        let dropped = resolving.count("proxima_dns_resolver_rate_limited_total{action=\"dropped\"}")?;
        let slipped = resolving.count("proxima_dns_resolver_rate_limited_total{action=\"slipped\"}")?;
        ensure!(slipped >= 1 && (slipped..=slipped + 1).contains(&dropped), "{dropped} {slipped}");
        Ok(())
    })
    .await
}

/// What the stage of DNS over HTTPS answers to a GET by this client.
pub(crate) async fn https(
    resolving: &Resolving<'_>,
    client: &str,
    target: &str,
) -> Result<Result<Response, Fault>> {
    Ok(https_at(resolving, RESOLVER, client, target).await?.0)
}

/// As [`https`], at this host; and what has become of the exchange.
pub(crate) async fn https_at(
    resolving: &Resolving<'_>,
    host: &str,
    client: &str,
    target: &str,
) -> Result<(Result<Response, Fault>, Exchange)> {
    match flow_at(resolving, Scheme::Https, host, client, target).await? {
        (Flow::Respond(response), exchange) => Ok((Ok(response), exchange)),
        (Flow::Fail(fault), exchange) => Ok((Err(fault), exchange)),
        (Flow::Continue, _) => bail!("it goes on"),
    }
}

/// What the edge's stage makes of a request of either scheme, and what has become of the exchange.
pub(crate) async fn flow_at(
    resolving: &Resolving<'_>,
    scheme: Scheme,
    host: &str,
    client: &str,
    target: &str,
) -> Result<(Flow, Exchange)> {
    let request = Request {
        method: Method::GET,
        scheme,
        host: host.into(),
        port: None,
        target: target.parse()?,
        headers: HeaderMap::new(),
        upgrade: None,
    };
    flow_of(resolving, client, request, Body::empty()).await
}

/// What the edge's stage makes of any request, and what has become of the exchange.
pub(crate) async fn flow_of(
    resolving: &Resolving<'_>,
    client: &str,
    request: Request,
    body: Body,
) -> Result<(Flow, Exchange)> {
    let client = Client {
        address: SocketAddr::new(client.parse()?, 40_000),
        local: "198.51.100.1:443".parse()?,
        protocol: Protocol::Http2,
        tls: None,
    };
    let mut exchange = Exchange::new(RayId::new(PopCode::parse("FRA")?), client, request, body, NOW);
    exchange.trace = Trace::kept();
    let stage = resolving.running.service.over_https();
    let flow = match stage.on_request(&mut exchange) {
        Decision::Now(flow) => flow,
        Decision::Later(later) => later.await,
    };
    Ok((flow, exchange))
}

async fn json(resolving: &Resolving<'_>, target: &str) -> Result<serde_json::Value> {
    let response =
        https(resolving, "127.0.0.1", target).await?.map_err(|fault| anyhow::anyhow!("{fault}"))?;
    ensure!(response.status == StatusCode::OK);
    ensure!(response.headers["content-type"] == "application/dns-json", "{:?}", response.headers);
    let body = response.body.collect(1 << 20).await?;
    Ok(serde_json::from_slice(&body)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_resolved_within_https_on_the_wire_and_as_json() -> Result<()> {
    with_resolver("", async |resolving| {
        let begun = Instant::now();
        let said = json(resolving, "/dns-query?name=www.signed.test").await?;
        ensure!(said["Status"] == 0 && said["AD"] == true && said["CD"] == false, "{said}");
        ensure!(
            said["Question"][0]["name"] == "www.signed.test." && said["Question"][0]["type"] == 1,
            "{said}"
        );
        let line = format!("answer - {} IN A {}", said["Answer"][0]["TTL"], said["Answer"][0]["data"]);
        is_aged(&line, "- 300 IN A \"192.0.2.80\"", begun)?;
        let said = json(resolving, "/dns-query?name=www.signed.test&type=A&do=1").await?;
        let signature = said["Answer"][1]["data"].as_str().context("a signature")?;
        ensure!(signature.starts_with("A 13 3 300 ") && signature.contains(" signed.test. "), "{said}");
        let said = json(resolving, "/dns-query?name=no.signed.test&type=aaaa").await?;
        ensure!(said["Status"] == 3 && said["Authority"][0]["type"] == 6, "{said}");
        let said = json(resolving, "/dns-query?name=www.bogus.test").await?;
        ensure!(said["Status"] == 2 && said["Comment"] == "EDE 9 (DNSKEY Missing)", "{said}");
        let said = json(resolving, "/dns-query?name=www.bogus.test&cd=1").await?;
        ensure!(said["Status"] == 0 && said["CD"] == true && said["AD"] == false, "{said}");
        for target in
            ["/dns-query?name=a..b", "/dns-query?name=a&type=none", "/dns-query", "/dns-query?dns=AAAA"]
        {
            let refused = https(resolving, "127.0.0.1", target).await?;
            ensure!(matches!(refused, Err(Fault::BadRequest(_))), "{target}: {refused:?}");
        }
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let query = URL_SAFE_NO_PAD.encode(question("www.plain.test", 1).encode());
        let response = https(resolving, "127.0.0.1", &format!("/dns-query?dns={query}")).await?;
        let response = response.map_err(|fault| anyhow::anyhow!("{fault}"))?;
        let fresh = response.headers["cache-control"].to_str()?.to_owned();
        let answer = describe(&response.body.collect(1 << 16).await?)?;
        is_aged(&answer[1], "www.plain.test. 300 IN A 192.0.2.90", begun)?;
        let left = answer[1].split(' ').nth(2).context("a TTL")?;
        ensure!(fresh == format!("max-age={left}"), "{fresh} of {left}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_roots_servers_and_keys_are_found_at_the_start_and_the_keys_kept_in_the_nodes_folder()
-> Result<()> {
    with_resolver("follow_root_keys = true", async |resolving| {
        resolving.until_counts("proxima_dns_root_anchors{state=\"valid\"} 1").await?;
        resolving.until_counts("proxima_resolver_priming_total{outcome=\"done\"} 1").await?;
        let file = resolving.running.node.config.node.data_dir.join("root-anchors");
        let written = async {
            while !file.exists() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, written).await?;
        let kept = Followed::parse(&std::fs::read_to_string(file)?)?;
        ensure!(kept.count(AnchorState::Valid) == 1, "{kept:?}");
        let answer = resolving.dig("dig", "+dnssec www.signed.test A").await?;
        ensure!(answer.contains("flags: qr rd ra ad;"), "{answer}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_resolver_has_no_anchor_does_not_start() -> Result<()> {
    let config = "[dns.resolver]\nlisten = [\"127.0.0.1:0\"]\nhints_file = \"/nowhere/root.hints\"\n";
    let error = with_node_asking(config, Arc::new(Sockets { port: 53 }), async |_| Ok(())).await.unwrap_err();
    let text = format!("{error:#}");
    ensure!(text.contains("resolver.hints_file") && text.contains("dns-root-data"), "{text}");
    Ok(())
}
