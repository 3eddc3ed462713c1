//! The centre dies: everything still serves, writes are refused clearly, and on its return all catch up.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use proxima_lab::{
    Fault,
    traffic::{Ask, Traffic},
};

use super::{HOST, Tour, ZONE, change, tell::ms};

pub(super) fn dies(tour: &mut Tour) -> anyhow::Result<()> {
    tour.tell.step(
        "The log's node dies: everything serves, writes get a clear error, and on its return all catch up",
    );
    let log = tour.lab.topology().network.log.clone();
    let kill = Fault::Kill { server: log.clone() };
    tour.tell.command_line(&format!("proxima lab fault {kill}"));
    tour.tell.say(&tour.lab.fault(&kill)?.effect);
    until_withdrawn(tour, &log)?;

    let clients = tour.clients();
    let names: Vec<&str> = clients.iter().map(String::as_str).collect();
    let ask = Ask {
        address: SocketAddr::new(tour.anycast()?, 80),
        host: HOST.to_owned(),
        path: tour.pages[0].clone(),
        per_second: 20,
    };
    let traffic = Traffic::start(&tour.lab, &names, &ask)?;
    let (succeeded, output) = tour.try_show(
        "boston",
        &["proxima", "dns", "add", ZONE, "TXT", "while-away", "\"written without the log\""],
    )?;
    tour.tell.must(
        "a write without the log is refused in words",
        output.trim().replace('\n', " "),
        !succeeded && output.contains("log"),
    );
    let at = format!("@{}", tour.anycast()?);
    tour.show("bangkok", &["dig", "+short", &at, HOST, "A"])?;
    for client in traffic.stop()? {
        let failed = client.failed().count();
        tour.tell.must(
            &format!("without the log: requests lost in {}'s region", client.client),
            format!("{failed} of {}", client.outcomes.len()),
            failed == 0,
        );
    }

    let restart = Fault::Restart { server: log };
    tour.tell.command_line(&format!("proxima lab fault {restart}"));
    let back = Instant::now();
    tour.tell.say(&tour.lab.fault(&restart)?.effect);
    let seen = change::change_once(tour, "back-again")?;
    let slowest = seen.iter().map(|(_, after)| *after).max().unwrap_or(Duration::ZERO);
    tour.tell.must(
        "after its return, servers that answer with a new change",
        seen.len().to_string(),
        seen.len() == tour.lab.plan().servers().count(),
    );
    tour.tell.say(&format!(
        "written again {} after the restart was ordered; the slowest server answered {} after the write",
        ms(back.elapsed()),
        ms(slowest)
    ));
    Ok(())
}

/// Waits until no router sends anything to a server that has died: what is measured then is life without the log, not the
/// death of a server, which had its own step.
fn until_withdrawn(tour: &Tour, server: &str) -> anyhow::Result<()> {
    let begun = Instant::now();
    while tour.lab.status()?.server(server).is_some_and(|server| !server.announces.is_empty()) {
        anyhow::ensure!(begun.elapsed() < Duration::from_secs(10), "{server} is dead and still announced");
    }
    Ok(())
}
