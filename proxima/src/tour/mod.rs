//! The guided tour: an internet on this machine, a real site put onto it, and what happens when parts of it die.
//!
//! ```text
//!  lab up ─▶ a zone, through the API ─▶ names, in each region ─▶ pages, from the nearest PoP ─▶ a record changes, a purge
//!                                                                                                     │
//!                                                       Workers: deployed, replaced, misbehaving ◀────┘
//!                                                                     │
//!    what was reached ◀─ a request explained ◀─ the centre dies ◀─ servers and PoPs, then links and routers die
//! ```
//!
//! Every step says what it does, shows the command that does it, and what was measured. The tour asserts what must hold
//! on any machine ([`Tell::must`]) and reports figures beside what they are to reach ([`Tell::figure`]): on a busy machine
//! a figure may be missed, which is told and does not fail the tour.

mod centre;
mod change;
mod faults;
mod pages;
mod purge;
mod reach;
mod site;
mod tell;
mod workers;

use std::{net::IpAddr, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use proxima_lab::{Lab, UpOptions, status::ClientStatus};

use self::tell::Tell;
use crate::client::Api;

/// The site's zone.
const ZONE: &str = "python-docs.example";
/// The site.
const HOST: &str = "www.python-docs.example";
/// Where Debian's package python3-doc puts thousands of real pages.
const PAGES: &str = "/usr/share/doc/python3.11/html";

/// Start the lab and walk through it.
#[derive(Debug, clap::Args)]
pub(crate) struct TourArgs {
    /// End after the tour, taking the lab down; the exit code says whether all that must hold did.
    #[arg(long)]
    once: bool,
    /// The lab's name.
    #[arg(long, default_value = "tour")]
    name: String,
    /// The site's files.
    #[arg(long, default_value = PAGES)]
    pages: PathBuf,
    /// The Workers that are deployed: the repository's folder.
    #[arg(long, default_value = "examples", value_name = "FOLDER")]
    examples: PathBuf,
    /// Where `cargo xtask setup` has put the Node packages that deploy and run them: the repository's folder.
    #[arg(long, default_value = "target", value_name = "FOLDER")]
    packages: PathBuf,
}

/// What the steps have in common.
struct Tour {
    lab: Lab,
    tell: Tell,
    pages: Vec<String>,
    sources: workers::Sources,
}

pub(crate) fn run(args: TourArgs) -> anyhow::Result<ExitCode> {
    let pages = site::pages(&args.pages)?;
    let sources = workers::Sources::find(&args.examples, &args.packages)?;
    let mut tell = Tell::new(&args.name);
    tell.step("An internet: three PoPs on three continents, two servers each, BGP routers, delayed links");
    let options = UpOptions {
        name: args.name.clone(),
        origin_root: Some(args.pages),
        workerd: Some(sources.workerd()),
        ..UpOptions::default()
    };
    tell.command_line(&format!("proxima lab up --name {}", args.name));
    // The tour's own lab, should a former tour have left it up.
    Lab::remove(&args.name, &options.state_root)?;
    let lab = Lab::up(&options, &mut |step| println!("  {step}"))?;
    println!("\n{}", lab.status()?);
    let mut tour = Tour { lab, tell, pages, sources };
    let walked = tour.walk();
    let held = tour.tell.summary();
    if args.once {
        tour.lab.down()?;
    } else {
        let name = &args.name;
        println!("\nThe lab stays up. Look around:");
        println!("  proxima lab status --name {name}");
        println!(
            "  proxima lab exec --name {name} paris -- curl -sI --resolve {HOST}:80:{} http://{HOST}/",
            tour.anycast()?
        );
        println!("  proxima lab fault --name {name} --help");
        println!("  proxima lab down --name {name}");
    }
    walked?;
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Tour {
    fn walk(&mut self) -> anyhow::Result<()> {
        site::put_on(self)?;
        site::resolve(self)?;
        reach::by_both_families(self)?;
        reach::by_tls(self)?;
        pages::measure(self)?;
        change::measure(self)?;
        purge::measure(self)?;
        workers::walk(self)?;
        faults::server_dies(self)?;
        faults::pop_dies(self)?;
        faults::path_dies(self)?;
        centre::dies(self)?;
        self.tell.step("One request, explained: what every stage decided, and why");
        let url = format!("http://{HOST}{}", self.pages[0]);
        self.show("boston", &["proxima", "explain", &url])?;
        Ok(())
    }

    /// Runs a command on a host, shown as one would type it; its output, or an error if it failed.
    fn show(&mut self, host: &str, command: &[&str]) -> anyhow::Result<String> {
        let (succeeded, output) = self.try_show(host, command)?;
        if !succeeded {
            bail!("`{}` failed on {host}", command.join(" "));
        }
        Ok(output)
    }

    /// Runs a command on a host that may fail; whether it succeeded, and its output.
    fn try_show(&mut self, host: &str, command: &[&str]) -> anyhow::Result<(bool, String)> {
        let (program, arguments) = command.split_first().context("a command has a program")?;
        let quoted: Vec<String> = command.iter().map(|word| quoted(word)).collect();
        self.tell.command_line(&format!("proxima lab exec {host} -- {}", quoted.join(" ")));
        let output = self
            .lab
            .command(host, program)?
            .args(arguments)
            .output()
            .with_context(|| format!("running {program} on {host}"))?;
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        self.tell.output(&text);
        Ok((output.status.success(), text))
    }

    /// As [`Self::show`], by a shell, so that the commands may use what `lab exec` sets: `$PROXIMA_API`, `$PROXIMA_TOKEN`.
    fn show_shell(&mut self, host: &str, script: &str) -> anyhow::Result<String> {
        self.show(host, &["sh", "-c", script])
    }

    /// Changes something below `/client/v4` with `curl`, as one would type it; the answer.
    fn patch(&mut self, host: &str, path: &str, body: &str) -> anyhow::Result<String> {
        let body = body.replace('"', "\\\"");
        self.show_shell(
            host,
            &format!(
                "curl -sS -X PATCH -H \"authorization: Bearer $PROXIMA_TOKEN\" -H \"content-type: application/json\" \
                 -d \"{body}\" $PROXIMA_API/client/v4{path}"
            ),
        )
    }

    /// Works with the API of the log's node, from within it.
    fn with_api<T, F>(&self, work: impl FnOnce(Api) -> F + Send) -> anyhow::Result<T>
    where
        T: Send,
        F: Future<Output = anyhow::Result<T>>,
    {
        let log = self.lab.topology().network.log.clone();
        let (url, token) = (self.lab.api_url(&log)?, self.lab.token()?);
        self.lab.within(&log, || {
            Ok((|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(work(Api::new(&url, &token)?))
            })())
        })?
    }

    /// The path of the site's zone in the API.
    fn zone_path(&self) -> anyhow::Result<String> {
        self.with_api(|api| async move { Ok(format!("/zones/{}", api.zone(ZONE).await?)) })
    }

    /// Whether all anycast addresses lead a client to a PoP of its own region.
    fn is_at_home(&self, client: &ClientStatus) -> bool {
        let near = self.lab.plan().servers().filter(|server| server.region == client.region);
        near.filter_map(|server| server.kind.pop()).any(|pop| client.lands_only_at(pop))
    }

    /// The clients, one in each region.
    fn clients(&self) -> Vec<String> {
        self.lab.plan().clients().map(|client| client.name.clone()).collect()
    }

    /// The anycast addresses, of both families.
    fn anycast_addresses(&self) -> Vec<IpAddr> {
        self.lab.topology().network.anycast.iter().map(|anycast| anycast.address).collect()
    }

    /// The first anycast address.
    fn anycast(&self) -> anyhow::Result<IpAddr> {
        let first = self.lab.topology().network.anycast.first();
        Ok(first.context("the topology has an anycast address")?.address)
    }
}

/// A word as a shell must be given it.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:@%+=,".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_the_very_words_that_are_shown() {
        for word in ["plain", "", "two words", "a\"b", "it's", "$HOME", "[fd00::1]", "%{time} s\\n", "*"] {
            let script = format!("printf %s {}", quoted(word));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), word, "{script}");
        }
    }
}
