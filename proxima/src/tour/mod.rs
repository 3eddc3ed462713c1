//! The guided tour: an internet on this machine, a real site put onto it, and what happens when parts of it die.
//!
//! ```text
//!  lab up ─▶ a zone, through the API ─▶ names, in each region ─▶ pages, from the nearest PoP ─▶ a record changes
//!                                                                                                     │
//!    what was reached ◀─ a request explained ◀─ the centre dies ◀─ links and routers die ◀─ servers and PoPs die
//! ```
//!
//! Every step says what it does, shows the command that does it, and what was measured. The tour asserts what must hold
//! on any machine ([`Tell::must`]) and reports figures beside what they are to reach ([`Tell::figure`]): on a busy machine
//! a figure may be missed, which is told and does not fail the tour.

mod centre;
mod change;
mod faults;
mod pages;
mod site;
mod tell;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use proxima_lab::{Lab, UpOptions};

use self::tell::Tell;

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
}

/// What the steps have in common.
struct Tour {
    lab: Lab,
    tell: Tell,
    pages: Vec<String>,
}

pub(crate) fn run(args: TourArgs) -> anyhow::Result<ExitCode> {
    let pages = site::pages(&args.pages)?;
    let mut tell = Tell::new(&args.name);
    tell.step("An internet: three PoPs on three continents, two servers each, BGP routers, delayed links");
    let options =
        UpOptions { name: args.name.clone(), origin_root: Some(args.pages), ..UpOptions::default() };
    tell.command_line(&format!("proxima lab up --name {}", args.name));
    // The tour's own lab, should a former tour have left it up.
    Lab::remove(&args.name, &options.state_root)?;
    let lab = Lab::up(&options, &mut |step| println!("  {step}"))?;
    println!("\n{}", lab.status()?);
    let mut tour = Tour { lab, tell, pages };
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
        pages::measure(self)?;
        change::measure(self)?;
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
        let quoted: Vec<String> = command
            .iter()
            .map(|word| if word.contains([' ', '{', '"']) { format!("'{word}'") } else { (*word).to_owned() })
            .collect();
        self.tell.command_line(&format!("proxima lab exec {host} -- {}", quoted.join(" ")));
        let this = std::env::current_exe()?;
        let program = if *program == "proxima" { this.as_os_str() } else { std::ffi::OsStr::new(program) };
        let output = self
            .lab
            .command(host, program)?
            .args(arguments)
            .output()
            .with_context(|| format!("running {} on {host}", program.display()))?;
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        for line in text.lines().take(tell::OUTPUT_LINES_MAX) {
            println!("    {line}");
        }
        Ok((output.status.success(), text))
    }

    /// The clients, one in each region.
    fn clients(&self) -> Vec<String> {
        self.lab.plan().clients().map(|client| client.name.clone()).collect()
    }

    /// The first anycast address.
    fn anycast(&self) -> anyhow::Result<std::net::IpAddr> {
        let first = self.lab.topology().network.anycast.first();
        Ok(first.context("the topology has an anycast address")?.address)
    }
}
