//! Servers, PoPs, routers and links die under steady traffic.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use proxima_lab::{
    Fault,
    traffic::{Ask, ClientTraffic, Traffic},
};

use super::{
    HOST, Tour,
    tell::{Tell, ms},
};

/// Requests a second of each client: 201 from three regions.
const PER_SECOND: u32 = 67;
/// Traffic before the fault, and after it.
const AROUND: Duration = Duration::from_secs(3);
/// How long new connections may fail in the region concerned.
const OUTAGE: Duration = Duration::from_secs(1);

pub(super) fn server_dies(tour: &mut Tour) -> anyhow::Result<()> {
    tour.tell.step("SIGKILL of a server under steady traffic from every region");
    let told = under(tour, &Fault::Kill { server: "iad-1".to_owned() })?;
    judge(tour, "server killed", &told, "boston", None, Tell::limit);
    mend(tour, &Fault::Restart { server: "iad-1".to_owned() })
}

pub(super) fn pop_dies(tour: &mut Tour) -> anyhow::Result<()> {
    tour.tell.step("SIGKILL of a whole PoP under steady traffic from every region");
    let told = under(tour, &Fault::KillPop { pop: "IAD".to_owned() })?;
    judge(tour, "PoP killed", &told, "boston", Some("IAD"), Tell::limit);
    mend(tour, &Fault::RestartPop { pop: "IAD".to_owned() })
}

pub(super) fn path_dies(tour: &mut Tour) -> anyhow::Result<()> {
    tour.tell.step("A router dies; a link goes silent: BFD moves the traffic");
    let told = under(tour, &Fault::KillRouter { router: "SIN".to_owned() })?;
    judge(tour, "router killed", &told, "bangkok", Some("SIN"), Tell::figure);
    mend(tour, &Fault::RestartRouter { router: "SIN".to_owned() })?;
    let (from, to) = ("SIN".to_owned(), "asia-transit".to_owned());
    let told = under(tour, &Fault::Lose { from: from.clone(), to: to.clone(), percent: 100.0 })?;
    judge(tour, "link silent", &told, "bangkok", Some("SIN"), Tell::figure);
    mend(tour, &Fault::Heal { from, to })
}

/// In which time traffic is to move when a router or a link dies, beyond what the new way itself takes.
const MOVED: Duration = Duration::from_millis(300);

/// What became of the traffic, and when the fault was.
struct Told {
    clients: Vec<ClientTraffic>,
    fault: Instant,
}

fn under(tour: &mut Tour, fault: &Fault) -> anyhow::Result<Told> {
    let clients = tour.clients();
    let names: Vec<&str> = clients.iter().map(String::as_str).collect();
    let ask = Ask {
        address: SocketAddr::new(tour.anycast()?, 80),
        host: HOST.to_owned(),
        path: tour.pages[0].clone(),
        per_second: PER_SECOND,
    };
    let traffic = Traffic::start(&tour.lab, &names, &ask)?;
    std::thread::sleep(AROUND);
    tour.tell.command_line(&format!("proxima lab fault {fault}"));
    let begun = Instant::now();
    let report = tour.lab.fault(fault)?;
    tour.tell.say(&format!("{}: {}", report.fault, report.effect));
    std::thread::sleep(AROUND);
    Ok(Told { clients: traffic.stop()?, fault: begun })
}

/// How the outage is held against [`OUTAGE`]: [`Tell::limit`] or [`Tell::figure`].
type Hold = fn(&mut Tell, &str, Duration, Duration);

fn judge(tour: &mut Tour, what: &str, told: &Told, concerned: &str, moved_from: Option<&str>, hold: Hold) {
    for client in &told.clients {
        let failed = client.failed().count();
        let pops: Vec<String> =
            client.pops().iter().map(|(pop, count)| format!("{count} by {pop}")).collect();
        tour.tell.say(&format!(
            "{:8} {} requests: {}; failed {failed}; p50 {}, p99 {}",
            client.client,
            client.outcomes.len(),
            pops.join(", "),
            ms(client.quantile(0.5).unwrap_or_default()),
            ms(client.quantile(0.99).unwrap_or_default())
        ));
        if client.client == concerned {
            let outage = format!("{what}: new connections failed in {concerned}'s region for");
            hold(&mut tour.tell, &outage, client.outage(), OUTAGE);
            let recovered = client.outcomes.last().is_some_and(|outcome| outcome.answered_by.is_ok());
            tour.tell.must(
                &format!("{what}: {concerned} is served again"),
                format!("{failed} failed"),
                recovered,
            );
            if let Some(pop) = moved_from {
                let moved = client.moved_after(told.fault, pop);
                tour.tell.must(&format!("{what}: {concerned} moved to another PoP"), "", moved.is_some());
                if let (Some(moved), Some(way)) = (moved, client.quickest_elsewhere(pop)) {
                    tour.tell.figure(
                        &format!("{what}: the first answer by another PoP, after"),
                        moved,
                        MOVED + way,
                    );
                }
            }
        } else {
            tour.tell.must(
                &format!("{what}: requests lost in {}'s region", client.client),
                failed.to_string(),
                failed == 0,
            );
        }
    }
}

/// Ends a fault, and waits until each region is at home again.
fn mend(tour: &mut Tour, fault: &Fault) -> anyhow::Result<()> {
    tour.tell.command_line(&format!("proxima lab fault {fault}"));
    let report = tour.lab.fault(fault)?;
    tour.tell.say(&format!("{}: {}", report.fault, report.effect));
    tour.tell.command_line("proxima lab status");
    let begun = Instant::now();
    loop {
        let status = tour.lab.status()?;
        let home = status.clients.iter().all(|client| tour.is_at_home(client));
        if home || begun.elapsed() > Duration::from_secs(30) {
            tour.tell.must("after it is mended, every region is at home again", ms(begun.elapsed()), home);
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
