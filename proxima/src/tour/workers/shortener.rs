//! A URL shortener on KV: a link that is made in one region sends people on in every other one; and its cron trigger, which
//! exports the links to R2.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::{
    super::{Tour, quoted, tell::ms},
    deploy, objects,
    watch::until_all_answer,
    wrangler::Project,
};

const SHORTENER: &str = "go.python-docs.example";
/// The bucket of its exports.
const EXPORTS: &str = "shortener-exports";
/// Links that are made.
const LINKS: usize = 10;
/// Until Workers of every region read what was written.
const READ_EVERYWHERE: Duration = Duration::from_secs(1);
/// Until an object on the other side of the world has counted.
const COUNTED_WITHIN: Duration = Duration::from_secs(10);
/// The next minute comes within one, and the trigger has time to run.
const EXPORTED_WITHIN: Duration = Duration::from_secs(120);

pub(super) fn walk(tour: &mut Tour) -> anyhow::Result<()> {
    tour.tell.step(
        "A URL shortener keeps its links in KV: made in Boston, how long until they lead on from every server",
    );
    let shortener = Project::copy(tour, "shortener")?;
    // Its links are exported at night; who takes the tour will not wait so long.
    let deployment = ["deploy", "--domain", SHORTENER, "--triggers", "* * * * *"];
    deploy(
        tour,
        &shortener,
        &deployment,
        "links",
        "a shortener, with the namespace and the bucket that it asks for",
    )?;
    tour.tell.say(&format!(
        "{LINKS} times, while every server is asked for the link, and so has in its cache that there is none:"
    ));
    let (mut times, mut servers) = (Vec::new(), 0);
    for number in 1..=LINKS {
        let (path, long) = (format!("/link-{number}"), format!("https://www.python-docs.example/{number}"));
        let resolve = format!("{SHORTENER}:80:{}", tour.anycast()?);
        let url = format!("http://{SHORTENER}/?slug=link-{number}");
        let words = ["curl", "-sS", "--resolve", &resolve, "--data", &long, &url];
        if number == 1 {
            let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            tour.tell.command_line(&format!("proxima lab exec boston -- {}", quoted.join(" ")));
        }
        let (begun, seen) = until_all_answer(tour, (SHORTENER, &path), &long, || {
            let begun = Instant::now();
            let said = tour.lab.command("boston", words[0])?.args(&words[1..]).output();
            let said = said.context("running curl in Boston")?;
            let text = String::from_utf8_lossy(&said.stdout);
            if !text.contains(&path) {
                bail!("the link was not made: {text}{}", String::from_utf8_lossy(&said.stderr));
            }
            Ok(begun)
        })?;
        servers = seen.len();
        let last = seen.iter().map(|(_, when)| *when).max().unwrap_or(begun);
        times.push(last.saturating_duration_since(begun));
    }
    times.sort_unstable();
    let all = servers == tour.lab.plan().servers().count();
    tour.tell.must("servers from which every link leads on", servers.to_string(), all);
    tour.tell.say(&format!("slowest of {LINKS}: {}", ms(times[times.len() - 1])));
    let what = format!("written to KV in Boston → read by Workers on every server, p50 of {LINKS}");
    tour.tell.figure(&what, times[times.len() / 2], READ_EVERYWHERE);
    clicked(tour)
}

/// Follows a link from every region, and looks how often it was followed.
fn clicked(tour: &mut Tour) -> anyhow::Result<()> {
    tour.tell
        .step("How often a link was followed: one Durable Object counts it for the whole network, in SQL");
    let resolve = format!("{SHORTENER}:80:{}", tour.anycast()?);
    let (link, clicks) = (format!("http://{SHORTENER}/link-1"), format!("http://{SHORTENER}/link-1/clicks"));
    let clients = tour.clients();
    let count = |tour: &Tour, client: &str| {
        let said = tour.lab.command(client, "curl")?.args(["-sS", "--resolve", &resolve, &clicks]).output();
        let said = said.context("running curl")?.stdout;
        let days: Vec<serde_json::Value> = serde_json::from_slice(&said)
            .with_context(|| format!("the clicks are `{}`", String::from_utf8_lossy(&said)))?;
        Ok::<_, anyhow::Error>(days.iter().filter_map(|day| day["count"].as_u64()).sum::<u64>())
    };
    let before = count(tour, &clients[0])?;
    for client in &clients {
        tour.show(client, &["curl", "-sS", "-o", "/dev/null", "--resolve", &resolve, &link])?;
    }
    let (least, begun) = (before + clients.len() as u64, Instant::now());
    // Who follows a link does not wait until it is counted.
    let seen = loop {
        let counts = clients.iter().map(|client| count(tour, client));
        let seen =
            counts.collect::<anyhow::Result<Vec<_>>>()?.into_iter().filter(|count| *count >= least).count();
        if seen == clients.len() || begun.elapsed() > COUNTED_WITHIN {
            break seen;
        }
    };
    tour.show("bangkok", &["curl", "-sS", "--resolve", &resolve, &clicks])?;
    tour.tell.must("regions that see the clicks of all regions", seen.to_string(), seen == clients.len());
    Ok(())
}

/// Waits until the cron trigger has exported all of them.
pub(super) fn exported(tour: &mut Tour) -> anyhow::Result<()> {
    tour.tell.step("The shortener's cron trigger has exported its links to R2; Bangkok reads them by S3");
    let script = format!(
        "{} s3 cp --recursive --quiet s3://{EXPORTS} exports && cat \"$(ls exports/* | tail -n 1)\"",
        objects::aws(tour)?
    );
    let begun = Instant::now();
    let links = loop {
        // Until the bucket has something, there is nothing to show.
        let (_, exported) = objects::run(tour, "bangkok", &script)?;
        let links = exported.lines().filter(|line| line.starts_with("link-")).count();
        if links == LINKS || begun.elapsed() > EXPORTED_WITHIN {
            break links;
        }
        // A pace that does not load the machine: it may take most of a minute.
        thread::sleep(Duration::from_secs(1));
    };
    objects::show(tour, "bangkok", &script)?;
    tour.tell.must("links in the export", links.to_string(), links == LINKS);
    Ok(())
}
