//! Workers: code that stock wrangler deploys answers on every server, is replaced under traffic, and misbehaves alone; files
//! beside it, or instead of it; and what it keeps: keys and values, and objects, which clients of S3 reach as well.

mod objects;
mod shortener;
mod site;
mod watch;
mod wrangler;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context;
use proxima_lab::traffic::{Ask, Traffic};
use reqwest::Method;
use serde_json::json;

pub(super) use self::wrangler::Sources;
use self::{watch::until_all_answer, wrangler::Project};
use super::{Tour, tell::ms};

/// What is deployed: folders of `examples`.
const EXAMPLES: [&str; 5] = ["hello", "hono", "limits", "shortener", "site"];
/// Where.
const HELLO: &str = "hello.python-docs.example";
const QUOTES: &str = "quotes.python-docs.example";
const LIMITS: &str = "limits.python-docs.example";
/// How the example greets, and how its next version does.
const GREETING: &str = "Hello, world!";
const NEXT_GREETING: &str = "Good evening, world!";
/// Until what is deployed answers on every server.
const EVERYWHERE: Duration = Duration::from_secs(2);
/// Deployments that are measured.
const DEPLOYMENTS: usize = 10;
/// Visits of each region to a Worker of two versions: that all of them get one is next to impossible.
const VISITS: usize = 40;
/// Requests a second of each client: enough to meet the moment of a change, few enough for a machine that also runs wrangler.
const PER_SECOND: u32 = 20;

pub(super) fn walk(tour: &mut Tour) -> anyhow::Result<()> {
    let hello = deployed(tour)?;
    replaced(tour, &hello)?;
    let versions = measured(tour)?;
    gradual(tour, &hello, &versions)?;
    framework(tour)?;
    site::walk(tour)?;
    shortener::walk(tour)?;
    objects::walk(tour)?;
    misbehaving(tour)?;
    // Last: its cron trigger has had time to come.
    shortener::exported(tour)
}

/// A first Worker, and its answer in each region.
fn deployed(tour: &mut Tour) -> anyhow::Result<Project> {
    tour.tell.step("The owner deploys a Worker with stock wrangler: it answers on every server of every PoP");
    let hello = Project::copy(tour, "hello")?;
    deploy(tour, &hello, &["deploy", "--domain", HELLO], GREETING, "first deployed")?;
    let resolve = format!("{HELLO}:80:{}", tour.anycast()?);
    let url = format!("http://{HELLO}/?name=traveller");
    let clients = tour.clients();
    let mut greeted = 0;
    for client in &clients {
        let answer = tour.show(client, &["curl", "-sS", "--resolve", &resolve, &url])?;
        greeted += usize::from(answer.starts_with("Hello, traveller!"));
    }
    tour.tell.must("regions in which the Worker answers", greeted.to_string(), greeted == clients.len());
    let explained = tour.show("boston", &["proxima", "explain", &format!("http://{HELLO}/")])?;
    tour.tell.must(
        "what led to the Worker is explained",
        "",
        explained.contains("a custom domain leads to Worker hello"),
    );
    Ok(hello)
}

/// Its next version, and the way back, under traffic.
fn replaced(tour: &mut Tour, hello: &Project) -> anyhow::Result<()> {
    tour.tell.step("It is deployed anew, and rolled back, under steady traffic from every region");
    let traffic = traffic(tour)?;
    let next = ["deploy", "--domain", HELLO, "--var", "GREETING:Good evening"];
    deploy(tour, hello, &next, NEXT_GREETING, "deployed anew")?;
    let back = ["rollback", "--yes", "--message", "too formal"];
    tour.tell.command_line(&hello.shown(&back));
    let begun = Instant::now();
    let (_, seen) = until_all_answer(tour, (HELLO, "/"), GREETING, || hello.run(&tour.lab, &back))?;
    let last = seen.iter().map(|(_, when)| *when).max().unwrap_or(begun);
    let servers = seen.len();
    tour.tell.must(
        "servers that answer with the former version after `wrangler rollback`",
        format!("{servers}, {} after it was typed", ms(last.duration_since(begun))),
        servers == tour.lab.plan().servers().count(),
    );
    no_errors(tour, traffic, "while it was deployed and rolled back")
}

/// How long a deployment takes by itself, without what wrangler does around it. The Worker's two versions: the next one, and the
/// former, which is deployed at the end.
fn measured(tour: &mut Tour) -> anyhow::Result<[String; 2]> {
    tour.tell
        .step("A deployment by the API alone: how long until every server answers with the other version");
    let script = format!("/accounts/{}/workers/scripts/hello", account(tour)?);
    let (path, versions) = tour.with_api(|api| async move {
        let listed = api.call(Method::GET, &format!("{script}/versions"), None).await?;
        let listed = listed["result"]["items"].as_array().context("no list of versions")?;
        let ids = listed.iter().filter_map(|version| version["id"].as_str()).map(str::to_owned);
        // The latest first.
        Ok((format!("{script}/deployments"), ids.take(2).collect::<Vec<_>>()))
    })?;
    let [next, former] = &versions[..] else { anyhow::bail!("the Worker has not two versions") };
    tour.tell.say(&format!(
        "{DEPLOYMENTS} times one of its two versions, as `wrangler versions deploy` asks for it"
    ));
    let (mut asked, mut acknowledged) = (Vec::new(), Vec::new());
    for number in 0..DEPLOYMENTS {
        let (version, wanted) = if number % 2 == 0 { (next, NEXT_GREETING) } else { (former, GREETING) };
        let body = json!({
            "strategy": "percentage", "versions": [{ "version_id": version, "percentage": 100 }],
        });
        let (path, body) = (path.as_str(), &body);
        let ((begun, taken), seen) = until_all_answer(tour, (HELLO, "/"), wanted, || {
            let begun = Instant::now();
            tour.with_api(|api| async move { api.call(Method::POST, path, Some(body)).await })?;
            Ok((begun, Instant::now()))
        })?;
        let last = seen.iter().map(|(_, when)| *when).max().unwrap_or(taken);
        asked.push(last.duration_since(begun));
        acknowledged.push(last.saturating_duration_since(taken));
    }
    for (since, mut times) in [("asked for", asked), ("acknowledged", acknowledged)] {
        times.sort_unstable();
        tour.tell.say(&format!("since it was {since}: p50 {}", ms(times[times.len() / 2])));
        let what = format!("deployment {since} → the last server answers with it, slowest of {DEPLOYMENTS}");
        tour.tell.figure(&what, times[times.len() - 1], EVERYWHERE);
    }
    Ok([next.clone(), former.clone()])
}

/// A part of the visitors gets the next version, in every region.
fn gradual(tour: &mut Tour, hello: &Project, [next, former]: &[String; 2]) -> anyhow::Result<()> {
    tour.tell.step("A gradual deployment: half of the visitors of every region get the next version");
    let (next_half, former_half) = (format!("{next}@50%"), format!("{former}@50%"));
    let halves = ["versions", "deploy", &next_half, &former_half, "--yes"];
    tour.tell.command_line(&hello.shown(&halves));
    until_all_answer(tour, (HELLO, "/"), NEXT_GREETING, || hello.run(&tour.lab, &halves))?;
    let resolve = format!("{HELLO}:80:{}", tour.anycast()?);
    let url = format!("http://{HELLO}/?name=[1-{VISITS}]");
    let (clients, mut both) = (tour.clients(), 0);
    for client in &clients {
        let said = tour.lab.command(client, "curl")?.args(["-sS", "--resolve", &resolve, &url]).output();
        let said = said.context("running curl")?.stdout;
        let said = String::from_utf8_lossy(&said);
        let (new, old) = (said.matches("Good evening").count(), said.matches("Hello").count());
        tour.tell.say(&format!("{client:8} {new} of {VISITS} by the next version, {old} by the former"));
        both += usize::from(new > 0 && old > 0 && new + old == VISITS);
    }
    tour.tell.must("regions in which both versions answer", both.to_string(), both == clients.len());
    let whole = format!("{former}@100%");
    let back = ["versions", "deploy", &whole, "--yes"];
    tour.tell.command_line(&hello.shown(&back));
    until_all_answer(tour, (HELLO, "/"), GREETING, || hello.run(&tour.lab, &back)).map(drop)
}

/// An application on a framework from npm.
fn framework(tour: &mut Tour) -> anyhow::Result<()> {
    tour.tell.step("An application on Hono, from npm as it is, bundled and deployed by wrangler");
    let hono = Project::copy(tour, "hono")?;
    deploy(tour, &hono, &["deploy", "--domain", QUOTES], "Hello Hono!", "an application on Hono")?;
    let resolve = format!("{QUOTES}:80:{}", tour.anycast()?);
    let url = format!("http://{QUOTES}/quotes/1");
    let answer = tour.show("bangkok", &["curl", "-sS", "--resolve", &resolve, &url])?;
    tour.tell.must("its routes answer in Bangkok", "", answer.contains("Grace Hopper"));
    Ok(())
}

/// A Worker that throws, and one that never ends, beside one that is well.
fn misbehaving(tour: &mut Tour) -> anyhow::Result<()> {
    tour.tell
        .step("A Worker throws, then computes without end in every region: its neighbour goes on answering");
    let limits = Project::copy(tour, "limits")?;
    deploy(tour, &limits, &["deploy", "--domain", LIMITS], "well behaved", "a Worker that misbehaves")?;
    let traffic = traffic(tour)?;
    let resolve = format!("{LIMITS}:80:{}", tour.anycast()?);
    let clients = tour.clients();
    for (path, error) in [("throw", "error 1101"), ("spin", "error 1102"), ("", "well behaved")] {
        let mut told = 0;
        for client in &clients {
            let url = format!("http://{LIMITS}/{path}");
            let answer = tour.show(client, &["curl", "-sS", "--resolve", &resolve, &url])?;
            told += usize::from(answer.contains(error));
        }
        let what = format!("regions in which /{path} of it answers `{error}`");
        tour.tell.must(&what, told.to_string(), told == clients.len());
    }
    no_errors(tour, traffic, "while its neighbour threw and span")
}

/// Deploys by wrangler, and tells how long it took until every server answered with `wanted`.
fn deploy(tour: &mut Tour, project: &Project, args: &[&str], wanted: &str, what: &str) -> anyhow::Result<()> {
    tour.tell.command_line(&project.shown(args));
    let host = args.iter().skip_while(|arg| **arg != "--domain").nth(1).context("a host is named")?;
    let (deployed, seen) = until_all_answer(tour, (host, "/"), wanted, || project.deploy(&tour.lab, args))?;
    for (server, when) in &seen {
        tour.tell.say(&format!(
            "{server:8} answers {} after the upload began, {} after wrangler called it done",
            ms(when.saturating_duration_since(deployed.begun)),
            ms(when.saturating_duration_since(deployed.acknowledged)),
        ));
    }
    let last = seen.iter().map(|(_, when)| *when).max().unwrap_or(deployed.begun);
    let servers = seen.len();
    let all = servers == tour.lab.plan().servers().count();
    tour.tell.must(&format!("{what}: servers that answer with it"), servers.to_string(), all);
    let since = last.saturating_duration_since(deployed.begun);
    tour.tell.figure(&format!("{what}: upload begun → the last server answers with it"), since, EVERYWHERE);
    Ok(())
}

/// The id of the account whose the token is.
fn account(tour: &Tour) -> anyhow::Result<String> {
    tour.with_api(|api| async move {
        let accounts = api.all("/accounts").await?;
        let first = accounts.first().and_then(|account| account["id"].as_str());
        Ok(first.context("the token sees no account")?.to_owned())
    })
}

/// Steady traffic to the Worker that is well.
fn traffic(tour: &Tour) -> anyhow::Result<Traffic> {
    let clients = tour.clients();
    let names: Vec<&str> = clients.iter().map(String::as_str).collect();
    let ask = Ask {
        address: SocketAddr::new(tour.anycast()?, 80),
        host: HELLO.to_owned(),
        path: "/".to_owned(),
        per_second: PER_SECOND,
    };
    Ok(Traffic::start(&tour.lab, &names, &ask)?)
}

/// Ends it: no server answered with an error. What the network lost by itself, as where this machine is so busy that BFD
/// moves routes, is told.
fn no_errors(tour: &mut Tour, traffic: Traffic, when: &str) -> anyhow::Result<()> {
    for client in traffic.stop()? {
        let failed: Vec<&str> = client
            .failed()
            .filter_map(|outcome| outcome.answered_by.as_ref().err())
            .map(String::as_str)
            .collect();
        let errors = failed.iter().filter(|why| why.starts_with("status ")).count();
        tour.tell.say(&format!(
            "{:8} {} requests, p50 {}, p99 {}; {} lost by the network{}",
            client.client,
            client.outcomes.len(),
            ms(client.quantile(0.5).unwrap_or_default()),
            ms(client.quantile(0.99).unwrap_or_default()),
            failed.len() - errors,
            failed.first().map(|why| format!("; the first failure: {why}")).unwrap_or_default(),
        ));
        let what = format!("requests of {} to the Worker answered with an error {when}", client.client);
        let served = errors == 0 && failed.len() < client.outcomes.len();
        tour.tell.must(&what, format!("{errors} of {}", client.outcomes.len()), served);
    }
    Ok(())
}
