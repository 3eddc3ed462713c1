//! The resolver's policies, by network and by location, asked over every transport; and who is not limited for what others
//! forge.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use proxima_pipeline::{Fault, Flow, Scheme};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    encrypted::{Authority, ask_by_quic, connect_by_quic, without_id},
    recursion::{flow_at, https, https_at},
    resolving::{RESOLVER, is_aged, question, received, with_resolver},
    sockets::{framed, read_answer},
};

const TOKEN: &str = "k7qm2xv9ed4tw8rz";
const OTHER: &str = "k7qm2xv9ed4tw8ry";

fn sha256(token: &str) -> String {
    digest(&SHA256, token.as_bytes()).as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A location with a token and a policy that blocks `www.plain.test`; who asks without one must come from 192.0.2.0/24.
fn office(list: &std::path::Path, more: &str) -> Result<String> {
    std::fs::write(list, "www.plain.test\n")?;
    Ok(format!(
        "{more}\n[[dns.resolver.policies]]\nname = \"school\"\nblock = [{list:?}]\nreason = \"filtered\"\n\
         [[dns.resolver.locations]]\nname = \"office\"\npolicy = \"school\"\ntokens = [\"{}\"]\n",
        sha256(TOKEN)
    ))
}

async fn body(response: proxima_pipeline::Response) -> Result<serde_json::Value> {
    Ok(serde_json::from_slice(&response.body.collect(1 << 20).await?)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_blocks_and_answers_in_the_place_of_what_there_is() -> Result<()> {
    let lists = tempfile::tempdir()?;
    let list = lists.path().join("ads");
    std::fs::write(&list, "signed.test\n0.0.0.0 only.bogus.test\n")?;
    let table = format!(
        "[[dns.resolver.policies]]\nname = \"others\"\nnetworks = [\"192.0.2.0/24\"]\n\
         [[dns.resolver.policies]]\nname = \"here\"\nblock = [{list:?}]\nblocked = \"zero\"\n\
         records = [\"printer.test A 192.0.2.7\", \"old.test CNAME www.plain.test\", \"gone.test CNAME no.plain.test\"]\n"
    );
    with_resolver(&table, async |resolving| {
        let ask = |question: &'static str| async move { resolving.dig("dig", question).await };
        let blocked = ask("+dnssec www.signed.test A").await?;
        ensure!(blocked.contains("status: NOERROR") && blocked.contains("A\t0.0.0.0"), "{blocked}");
        ensure!(blocked.contains("EDE: 15 (Blocked)") && !blocked.contains(" ad;"), "{blocked}");
        let blocked = ask("+short www.signed.test AAAA").await?;
        ensure!(blocked == "::\n", "{blocked}");
        let own = ask("printer.test A").await?;
        ensure!(own.contains("status: NOERROR") && own.contains("60\tIN\tA\t192.0.2.7"), "{own}");
        let own = ask("printer.test MX").await?;
        ensure!(own.contains("status: NOERROR") && own.contains("ANSWER: 0"), "{own}");
        let alias = ask("+dnssec old.test A").await?;
        ensure!(
            alias.contains("60\tIN\tCNAME\twww.plain.test.") && alias.contains("A\t192.0.2.90"),
            "{alias}"
        );
        let alias = ask("gone.test A").await?;
        ensure!(alias.contains("status: NXDOMAIN") && alias.contains("SOA\tns.plain.test."), "{alias}");
        let free = ask("www.plain.test A").await?;
        ensure!(free.contains("A\t192.0.2.90"), "{free}");
        let others = https(resolving, "192.0.2.7", "/dns-query?name=www.signed.test").await?;
        ensure!(matches!(others, Err(Fault::Forbidden(_))), "{others:?}");
        resolving.counts("proxima_dns_resolver_policies_total{action=\"blocked\"} 2")?;
        resolving.counts("proxima_dns_resolver_policies_total{action=\"local\"} 4")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_a_name_is_blocked_is_told_by_the_extended_error_of_the_policys_reason() -> Result<()> {
    let lists = tempfile::tempdir()?;
    let list = lists.path().join("list");
    std::fs::write(&list, "www.plain.test\n")?;
    let reasons = [
        ("blocked", "EDE 15 (Blocked)"),
        ("censored", "EDE 16 (Censored)"),
        ("filtered", "EDE 17 (Filtered)"),
    ];
    let client = |number: usize| format!("192.0.2.{}", number + 1);
    let mut table = "allow = [\"192.0.2.0/24\"]\n".to_owned();
    for (number, (reason, _)) in reasons.iter().enumerate() {
        table += &format!(
            "[[dns.resolver.policies]]\nname = \"{reason}\"\nnetworks = [\"{}/32\"]\nblock = [{list:?}]\n\
             reason = \"{reason}\"\n",
            client(number)
        );
    }
    with_resolver(&table, async |resolving| {
        for (number, (reason, told)) in reasons.iter().enumerate() {
            let answer = https(resolving, &client(number), "/dns-query?name=www.plain.test").await?;
            let answer = body(answer.map_err(|fault| anyhow::anyhow!("{fault}"))?).await?;
            ensure!(answer["Status"] == 3 && answer["Comment"] == *told, "{reason}: {answer}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_in_the_url_lets_in_from_anywhere_and_has_its_locations_policy() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let table = office(&folder.path().join("list"), "allow = [\"192.0.2.0/24\"]")?;
    with_resolver(&table, async |resolving| {
        let own_host = format!("{TOKEN}.{RESOLVER}");
        for (host, path) in [(RESOLVER, format!("/dns-query/{TOKEN}")), (&own_host, "/dns-query".to_owned())]
        {
            let ask = |name: &str| {
                let target = format!("{path}?name={name}");
                async move { https_at(resolving, host, "198.51.100.1", &target).await }
            };
            let (blocked, exchange) = ask("www.plain.test").await?;
            let blocked = body(blocked.map_err(|fault| anyhow::anyhow!("{fault}"))?).await?;
            ensure!(blocked["Status"] == 3 && blocked["Comment"] == "EDE 17 (Filtered)", "{blocked}");
            // It tells where the question fell to, and no token.
            let told: Vec<&str> = exchange.trace.entries().iter().map(|entry| &*entry.decision).collect();
            ensure!(told[0] == "location office, policy school: blocked", "{told:?}");
            let shown = exchange.request.url();
            ensure!(shown == format!("https://{RESOLVER}/dns-query?name=www.plain.test"), "{shown}");
            let (free, _) = ask("www.signed.test").await?;
            let free = body(free.map_err(|fault| anyhow::anyhow!("{fault}"))?).await?;
            ensure!(free["Answer"][0]["data"] == "192.0.2.80" && free["AD"] == true, "{free}");
        }
        let other_host = format!("{OTHER}.{RESOLVER}");
        let with_other = format!("/dns-query/{OTHER}?name=www.plain.test");
        for (host, client, target) in [
            (RESOLVER, "198.51.100.1", &*with_other),
            // Also who could ask without one.
            (RESOLVER, "192.0.2.7", &with_other),
            (&other_host, "192.0.2.7", "/dns-query?name=www.plain.test"),
            (RESOLVER, "192.0.2.7", "/dns-query/?name=www.plain.test"),
            (RESOLVER, "198.51.100.1", "/dns-query?name=www.plain.test"),
        ] {
            let (refused, _) = https_at(resolving, host, client, target).await?;
            ensure!(matches!(refused, Err(Fault::Forbidden(_))), "{host}{target}: {refused:?}");
        }
        // The policy is its location's alone.
        let friend = https(resolving, "192.0.2.7", "/dns-query?name=www.plain.test").await?;
        let friend = body(friend.map_err(|fault| anyhow::anyhow!("{fault}"))?).await?;
        ensure!(friend["Answer"][0]["data"] == "192.0.2.90", "{friend}");
        for beside in ["/dns-queryx?name=a.test", "/dns-queries/x"] {
            ensure!(https(resolving, "192.0.2.7", beside).await.is_err(), "{beside} is somebody else's");
        }
        let counted = "proxima_dns_resolver_locations_total{location=\"office\",outcome=";
        resolving.counts(&format!("{counted}\"decided\"}} 2"))?;
        resolving.counts(&format!("{counted}\"resolved\"}} 2"))?;
        resolving.counts("proxima_dns_resolver_refused_total{why=\"token\"} 4")?;
        resolving.counts("proxima_dns_resolver_refused_total{why=\"client\"} 1")?;
        let metrics = resolving.running.node.metrics.encode();
        ensure!(!metrics.contains(TOKEN) && !metrics.contains(&sha256(TOKEN)));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stage_behind_is_told_a_token_whatever_is_asked_for() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let table = office(&folder.path().join("list"), "allow = [\"192.0.2.0/24\"]")?;
    with_resolver(&table, async |resolving| {
        let (own, other) = (format!("{TOKEN}.{RESOLVER}"), format!("{OTHER}.{RESOLVER}"));
        let below = format!("www.{RESOLVER}");
        let (path, wrong) = (format!("/dns-query/{TOKEN}?name=a.test"), format!("/dns-query/{OTHER}"));
        for (scheme, host, target, expected) in [
            (Scheme::Http, RESOLVER, &*path, "on"),
            (Scheme::Http, RESOLVER, &wrong, "on"),
            (Scheme::Https, RESOLVER, &wrong, "403"),
            (Scheme::Http, RESOLVER, &format!("/%64ns-query/{TOKEN}"), "on"),
            (Scheme::Http, RESOLVER, &format!("/dns-query%2f{TOKEN}"), "on"),
            (Scheme::Http, RESOLVER, &format!("/dns%252dquery/{TOKEN}?a=b"), "on"),
            (Scheme::Http, RESOLVER, &format!("//dns-query/./{TOKEN}"), "on"),
            (Scheme::Http, RESOLVER, &format!("/x/../dns-query//{TOKEN}"), "on"),
            (Scheme::Http, RESOLVER, &format!("/dns%2Dquery/{TOKEN}/%FF"), "on"),
            (Scheme::Https, RESOLVER, &format!("/DNS-Query/{TOKEN}"), "on"),
            (Scheme::Https, RESOLVER, &format!("/dns-query/%35f1c/{TOKEN}"), "403"),
            (Scheme::Https, RESOLVER, &format!("/dns%2Dquery/{OTHER}"), "403"),
            (Scheme::Http, &own, "/dns-query?name=a.test", "404"),
            (Scheme::Http, &other, "/dns-query?name=a.test", "403"),
            (Scheme::Https, &own, "/dns-query/", "404"),
            (Scheme::Https, &own, &path, "404"),
            (Scheme::Https, &own, "/", "404"),
            (Scheme::Https, &own, "/favicon.ico", "404"),
            (Scheme::Https, &own, "/cdn-cgi/trace", "404"),
            (Scheme::Https, &other, "/", "403"),
            (Scheme::Https, &other, "/dns-query", "403"),
        ] {
            let (flow, exchange) = flow_at(resolving, scheme, host, "198.51.100.1", target).await?;
            ensure!(kind(&flow) == expected, "{scheme:?} {host}{target}: {}", kind(&flow));
            // Both begin so.
            let left = format!("{:?}", exchange.request);
            ensure!(!left.contains(&TOKEN[..8]), "{left}");
            ensure!(&*exchange.request.host == RESOLVER && exchange.request.target.path() == "/dns-query");
        }
        // What has no token in it is left as it is.
        for (scheme, host, target) in [
            (Scheme::Http, RESOLVER, "/dns-query?name=a.test"),
            (Scheme::Https, RESOLVER, "/"),
            (Scheme::Https, RESOLVER, "/cdn-cgi/trace"),
            (Scheme::Https, RESOLVER, "/%64ns/query"),
            (Scheme::Http, RESOLVER, "//x/%2e%2e/a%FF"),
            (Scheme::Https, &below, "/index.html?a=b"),
            (Scheme::Https, "www.example.com", "/dns-query/x"),
        ] {
            let (flow, exchange) = flow_at(resolving, scheme, host, "198.51.100.1", target).await?;
            ensure!(kind(&flow) == "on", "{scheme:?} {host}{target}: {}", kind(&flow));
            let url = exchange.request.url();
            ensure!(url.ends_with(&format!("://{host}{target}")), "{url}");
        }
        Ok(())
    })
    .await
}

/// What became of a request.
fn kind(flow: &Flow) -> &'static str {
    match flow {
        Flow::Continue => "on",
        Flow::Fail(Fault::Forbidden(_)) => "403",
        Flow::Respond(response) if response.status == 404 => "404",
        Flow::Respond(_) | Flow::Fail(_) => "another answer",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_in_the_servers_name_does_the_same_over_tls_and_quic() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // Even who may ask without one, as everybody here, is refused with a token that is not known.
    let table = office(&folder.path().join("list"), "allow = [\"0.0.0.0/0\", \"::/0\"]")?;
    with_resolver(&table, async |resolving| {
        let authority = Authority::new()?;
        let replica = &resolving.running.node.replica;
        let certificate = authority.certify(1, &format!("*.{RESOLVER}"))?;
        resolving.running.change(vec![replica.put(&certificate)]).await?;
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, &authority.pem)?;
        for (token, expected) in [(TOKEN, "EDE: 17"), (OTHER, "EDE: 18 (Prohibited)")] {
            let host = format!("{token}.{RESOLVER}");
            let checked = format!("+tls-ca={} +tls-hostname={host} +tls-sni={host} +edns", file.display());
            let asked = format!("{checked} www.plain.test A");
            let answer = resolving.running.dig_at(resolving.tls(), "kdig", &asked).await?;
            ensure!(answer.contains(expected), "{answer}");
            let (_endpoint, connection) = connect_by_quic(resolving.quic(), &host, &authority).await?;
            let answer = ask_by_quic(&connection, &without_id(&question("www.plain.test", 1))).await?;
            let code =
                if token == TOKEN { ("NXDOMAIN rd ra", "ede=17") } else { ("REFUSED rd ra", "ede=18") };
            let opt = answer.last().context("an OPT record")?;
            ensure!(answer[0] == code.0 && opt.contains(code.1), "{answer:?}");
        }
        let plain = resolving.running.dig_at(resolving.tls(), "kdig", "+tls +edns www.plain.test A").await?;
        ensure!(plain.contains("192.0.2.90"), "{plain}");
        resolving.counts("proxima_dns_resolver_refused_total{why=\"token\"} 2")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_asks_more_than_it_may_is_refused_and_nobody_else_is() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let table = office(&folder.path().join("list"), "")? + "queries_per_second_max = 1\n";
    with_resolver(&table, async |resolving| {
        let target = format!("/dns-query/{TOKEN}?name=www.plain.test");
        let mut refused = false;
        // Faster than one a second, whatever the machine.
        for _ in 0..200 {
            let said = https(resolving, "198.51.100.1", &target).await?;
            let said = body(said.map_err(|fault| anyhow::anyhow!("{fault}"))?).await?;
            refused |= said["Status"] == 5 && said["Comment"] == "EDE 0 (Other Error)";
            if refused {
                break;
            }
        }
        ensure!(refused, "a token has no limit");
        let own = https(resolving, "127.0.0.1", "/dns-query?name=www.plain.test").await?;
        ensure!(own.is_ok_and(|response| response.status == 200));
        resolving.counts("proxima_dns_resolver_refused_total{why=\"rate\"} 1")?;
        resolving.counts("proxima_dns_resolver_locations_total{location=\"office\",outcome=\"refused\"} 1")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_led_to_a_blocked_name_by_an_alias() -> Result<()> {
    let lists = tempfile::tempdir()?;
    let (block, allow) = (lists.path().join("block"), lists.path().join("allow"));
    std::fs::write(&block, "www.plain.test\n")?;
    std::fs::write(&allow, "middle.plain.test\n")?;
    let table = format!(
        "[[dns.resolver.policies]]\nname = \"strict\"\nnetworks = [\"127.0.0.0/8\"]\nblock = [{block:?}]\n\
         records = [\"own.test CNAME far.plain.test\"]\n\
         [[dns.resolver.policies]]\nname = \"mild\"\nnetworks = [\"192.0.2.0/25\"]\nblock = [{block:?}]\nallow = [{allow:?}]\n"
    );
    let table = format!("allow = [\"127.0.0.0/8\", \"192.0.2.0/24\"]\n{table}");
    with_resolver(&table, async |resolving| {
        let ask = async |client: &str, name: &str| {
            let said = https(resolving, client, &format!("/dns-query?name={name}")).await?;
            body(said.map_err(|fault| anyhow::anyhow!("{fault}"))?).await
        };
        // Whoever comes first: what was found is kept for all, and looked at for each.
        for _ in 0..2 {
            let free = ask("192.0.2.200", "far.plain.test").await?;
            ensure!(free["Answer"][2]["data"] == "192.0.2.90", "{free}");
            for name in ["far.plain.test", "own.test", "middle.plain.test"] {
                let blocked = ask("127.0.0.1", name).await?;
                ensure!(
                    blocked["Status"] == 3 && blocked["Comment"] == "EDE 15 (Blocked)",
                    "{name}: {blocked}"
                );
                ensure!(blocked["Answer"].is_null(), "{blocked}");
            }
            // Never blocked is what is asked for by that name, and not what leads to it.
            let never = ask("192.0.2.7", "middle.plain.test").await?;
            ensure!(never["Answer"][1]["data"] == "192.0.2.90", "{never}");
            ensure!(ask("192.0.2.7", "far.plain.test").await?["Status"] == 3);
        }
        let blocked = resolving.dig("dig", "+dnssec far.plain.test A").await?;
        ensure!(blocked.contains("status: NXDOMAIN") && blocked.contains("EDE: 15"), "{blocked}");
        resolving.counts("proxima_dns_resolver_policies_total{action=\"blocked\"} 9")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_of_ones_own_is_answered_within_itself() -> Result<()> {
    let table = "[[dns.resolver.policies]]\nname = \"here\"\nzones = [\"corp.test\"]\n\
                 records = [\"www.corp.test CNAME web.corp.test\", \"web.corp.test A 192.0.2.7\", \
                 \"out.corp.test CNAME www.plain.test\"]\n";
    with_resolver(table, async |resolving| {
        let ask = |question: &'static str| async move { resolving.dig("dig", question).await };
        let own = ask("www.corp.test A").await?;
        ensure!(own.contains("60\tIN\tCNAME\tweb.corp.test.") && own.contains("A\t192.0.2.7"), "{own}");
        let own = ask("www.corp.test MX").await?;
        ensure!(own.contains("status: NOERROR") && own.contains("ANSWER: 1,"), "{own}");
        let nothing = ask("nobody.corp.test A").await?;
        ensure!(nothing.contains("status: NXDOMAIN") && !nothing.contains("EDE"), "{nothing}");
        let out = ask("out.corp.test A").await?;
        ensure!(out.contains("CNAME\twww.plain.test.") && out.contains("A\t192.0.2.90"), "{out}");
        resolving.counts("proxima_dns_resolver_policies_total{action=\"local\"} 4")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_shows_a_good_cookie_is_not_limited_for_what_others_forge() -> Result<()> {
    with_resolver("allow = [\"0.0.0.0/0\"]\nrate_limit_per_second = 1", async |resolving| {
        let socket = resolving.udp().await?;
        let with_cookie = |cookie: &[u8]| {
            let mut asked = question("www.plain.test", 1);
            let length = u8::try_from(cookie.len()).expect("it is short");
            asked.edns().options = [&[0, 10, 0, length], cookie].concat();
            asked.encode()
        };
        let cookie_in = |answer: &[String]| {
            let opt = answer.last().context("an OPT record")?;
            let hex = opt.split("cookie=").nth(1).context("a cookie")?.split(' ').next().unwrap_or_default();
            let octets = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
            anyhow::Ok(octets.collect::<Result<Vec<u8>, _>>()?)
        };
        let begun = Instant::now();
        socket.send(&with_cookie(&[7; 8])).await?;
        let first = received(&socket).await?;
        let cookie = cookie_in(&first)?;
        ensure!(cookie.len() == 24 && cookie[..8] == [7; 8], "{first:?}");
        // Until the network has used up its rate: each second one beyond it is told to come again.
        let mut again = Vec::new();
        for _ in 0..200 {
            socket.send(&with_cookie(&[7; 8])).await?;
            socket.send(&with_cookie(&[7; 8])).await?;
            again = received(&socket).await?;
            if again[0].starts_with("BADCOOKIE") {
                break;
            }
        }
        ensure!(again[0] == "BADCOOKIE rd ra" && again.len() == 2, "{again:?}");
        let good = cookie_in(&again)?;
        let other = resolving.udp().await?;
        for _ in 0..20 {
            other.send(&with_cookie(&good)).await?;
            let answer = received(&other).await?;
            is_aged(&answer[1], "www.plain.test. 300 IN A 192.0.2.90", begun)?;
        }
        // A cookie that nobody made helps nobody; one that is no cookie is told so.
        let mut forged = good.clone();
        forged[20] ^= 1;
        let third = resolving.udp().await?;
        let mut is_limited = false;
        for _ in 0..200 {
            third.send(&with_cookie(&forged)).await?;
            third.send(&with_cookie(&forged)).await?;
            is_limited = received(&third).await?[0].starts_with("BADCOOKIE");
            if is_limited {
                break;
            }
        }
        ensure!(is_limited, "a forged cookie is as good as another");
        let fourth = resolving.udp().await?;
        fourth.send(&with_cookie(&[7; 7])).await?;
        let malformed = received(&fourth).await?;
        ensure!(malformed == ["FORMERR rd ra", "opt 1232"], "{malformed:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_the_resolver_for_nothing_but_a_cookie_gets_one() -> Result<()> {
    with_resolver("", async |resolving| {
        let socket = resolving.udp().await?;
        let mut bare = [7_u16, 0x0100, 0, 0, 0, 1].map(u16::to_be_bytes).concat();
        bare.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 12, 0, 10, 0, 8, 7, 7, 7, 7, 7, 7, 7, 7]);
        socket.send(&bare).await?;
        let answer = received(&socket).await?;
        ensure!(answer.len() == 2 && answer[0] == "NOERROR rd ra", "{answer:?}");
        ensure!(answer[1].starts_with("opt 1232 cookie=0707070707070707"), "{answer:?}");
        ensure!(answer[1].len() == "opt 1232 cookie=".len() + 48, "{answer:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_long_a_connection_may_be_silent_is_told_over_tcp_and_not_over_udp() -> Result<()> {
    with_resolver("", async |resolving| {
        let mut asked = question("www.plain.test", 1);
        asked.edns().options = vec![0, 11, 0, 0];
        let mut stream = TcpStream::connect(resolving.at()).await?;
        // When it is found, and when it is known.
        for _ in 0..2 {
            stream.write_all(&framed(&asked)).await?;
            let answer = read_answer(&mut stream).await?;
            ensure!(answer.last().is_some_and(|opt| opt == "opt 1232 keepalive=100"), "{answer:?}");
        }
        let socket = resolving.udp().await?;
        socket.send(&asked.encode()).await?;
        let answer = received(&socket).await?;
        ensure!(answer.last().is_some_and(|opt| opt == "opt 1232"), "{answer:?}");
        Ok(())
    })
    .await
}
