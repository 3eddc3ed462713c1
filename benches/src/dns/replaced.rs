//! A zone of a million records that comes from its primary and is replaced while it is served: how long that takes, what of
//! memory, and that nobody who asks meanwhile notices more than that answers change.
//!
//! ```text
//!   knot ── AXFR ──▶ proxima ◀── a question each ten milliseconds, of all over the zone
//!    ▲
//!    └ the zone's file, in which every record is another one
//! ```
//!
//! Every host's address says of which serial it is. So each answer is one of the former state or of the new one, and after
//! the first of the new state none of the former may come: the measurement fails if one does, or if a question is not
//! answered.
//!
//! The log's node is asked here, which does most: it fetches, writes 400 changes of 5,000 records to its log, applies them,
//! and compiles the zone. It takes minutes and is therefore measured only when it is asked for by its name.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::{Options, question};
use crate::api::Client;
use crate::dev::Dev;
use crate::process::{self, LOAD_CORE, Server, free_address};
use crate::report::{PROXIMA, Report};
use crate::statistics::percentile;

/// The case, by which alone it is measured.
pub(super) const CASE: &str = "replaced";
/// The zone.
const ZONE: &str = "replaced.example";
/// Between two questions: fewer than are limited.
const EVERY: Duration = Duration::from_millis(10);
/// An answer that has not come by then is lost.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long the zone may take to come.
const COMES_WITHIN: Duration = Duration::from_secs(1_200);

/// Measures it.
pub(super) fn run(options: &Options) -> Result<Report> {
    let records = options.replaced_records;
    fs::create_dir_all(&options.place.results).context("making the folder for the results")?;
    let folder = tempfile::tempdir_in(&options.place.results).context("making a folder for the servers")?;
    let home = folder.path().join(PROXIMA);
    fs::create_dir_all(&home).context("making the folder of the node")?;
    let dev = Dev::start(&options.place.proxima, &home, &[])?;
    let primary = Primary::start(folder.path(), dev.dns, records)?;
    let mut report = Report::new("dns-replaced");

    let client = Client::new(dev.api, &dev.token);
    let account = client.account()?;
    let made = json!({"name": "knot", "ip": primary.address.ip(), "port": primary.address.port()});
    let peer = client.make(&format!("accounts/{account}/secondary_dns/peers"), &made)?;
    let made = json!({"name": ZONE, "account": {"id": account}, "type": "secondary"});
    let zone = client.make("zones", &made)?;
    let begun = Instant::now();
    let made = json!({"name": ZONE, "peers": [peer]});
    client.make(&format!("zones/{zone}/secondary_dns/incoming"), &made)?;
    let asker = Asker::of(dev.dns)?;
    until(|| Ok(asker.ask(records / 2)? == Some(1)))?;
    report.add(CASE, PROXIMA, "first_seconds", begun.elapsed().as_secs_f64());
    add_memory(&dev.server, "first", &mut report)?;

    let cpu = dev.server.cpu()?;
    let is_over = AtomicBool::new(false);
    let (begun, asked) = thread::scope(|scope| {
        let asking = scope.spawn(|| ask_until_replaced(dev.dns, records, &is_over));
        let begun = Instant::now();
        let replaced = primary.replace(2, records).and_then(|()| until(|| Ok(asking.is_finished())));
        // Whoever asks ends, however this did.
        is_over.store(true, Ordering::Relaxed);
        let asked = asking.join().unwrap_or_else(|_| bail!("the one who asks panicked"))?;
        replaced.map(|()| (begun, asked))
    })?;
    let Asked { answers, mut latencies_ms, replaced_at } = asked;
    let took = replaced_at.context("the zone was not replaced")?.duration_since(begun);
    report.add(CASE, PROXIMA, "replaced_seconds", took.as_secs_f64());
    report.add(CASE, PROXIMA, "replaced_cpu_seconds", (dev.server.cpu()? - cpu).as_secs_f64());
    report.add(CASE, PROXIMA, "answers", answers as f64);
    report.add(CASE, PROXIMA, "p99_ms", percentile(&mut latencies_ms, 0.99));
    report.add(CASE, PROXIMA, "slowest_ms", percentile(&mut latencies_ms, 1.0));
    add_memory(&dev.server, "replaced", &mut report)?;
    Ok(report)
}

/// What it holds, and what it has held at the most.
fn add_memory(server: &Server, when: &str, report: &mut Report) -> Result<()> {
    report.add(CASE, PROXIMA, &format!("{when}_private_mib"), server.shared_mib("Pss_Anon")?);
    report.add(CASE, PROXIMA, &format!("{when}_peak_resident_mib"), server.memory_mib("VmHWM")?);
    Ok(())
}

fn until(mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !holds()? {
        ensure!(begun.elapsed() < COMES_WITHIN, "the zone did not come in {} s", COMES_WITHIN.as_secs());
        thread::sleep(EVERY);
    }
    Ok(())
}

/// What came of asking.
struct Asked {
    answers: u64,
    latencies_ms: Vec<f64>,
    /// When the first answer of the new state came.
    replaced_at: Option<Instant>,
}

/// Asks until the new state is seen, and a hundred times more.
fn ask_until_replaced(address: SocketAddr, records: u32, is_over: &AtomicBool) -> Result<Asked> {
    let asker = Asker::of(address)?;
    let mut asked = Asked { answers: 0, latencies_ms: Vec::new(), replaced_at: None };
    let mut left = 100;
    while left > 0 && !is_over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        // By a prime that divides no number of records that there may be: all over the zone.
        let number = u32::try_from(asked.answers * 1_000_003 % u64::from(records))?;
        let serial = asker.ask(number)?.with_context(|| format!("host {number} was not answered"))?;
        ensure!(serial == 2 || asked.replaced_at.is_none(), "after the new state came the former one");
        asked.latencies_ms.push(begun.elapsed().as_secs_f64() * 1e3);
        asked.answers += 1;
        if serial == 2 {
            asked.replaced_at.get_or_insert_with(Instant::now);
            left -= 1;
        }
        thread::sleep(EVERY.saturating_sub(begun.elapsed()));
    }
    Ok(asked)
}

/// Asks one question after the other.
struct Asker(UdpSocket);

impl Asker {
    fn of(address: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").context("binding a socket")?;
        socket.set_read_timeout(Some(ANSWER_WITHIN)).context("setting a time limit")?;
        socket.connect(address).context("connecting a socket")?;
        Ok(Self(socket))
    }

    /// Of which serial a host's address is; none if it has none.
    fn ask(&self, number: u32) -> Result<Option<u32>> {
        let id = (number & 0xffff) as u16;
        let question = question(id, &format!("host{number}.{ZONE}"), 1)?;
        self.0.send(&question).context("asking")?;
        let mut answer = [0; 512];
        loop {
            let Ok(octets) = self.0.recv(&mut answer) else { return Ok(None) };
            // Another question's, which was given up.
            if answer[..2] != id.to_be_bytes() {
                continue;
            }
            let address =
                answer[..octets].last_chunk::<4>().filter(|_| answer[3] & 0xf == 0 && answer[7] == 1);
            return Ok(address.filter(|address| address[0] == 10).map(|address| address[1].into()));
        }
    }
}

/// The zone's primary.
struct Primary {
    _server: Server,
    address: SocketAddr,
    file: PathBuf,
    config: PathBuf,
}

impl Primary {
    fn start(folder: &Path, secondary: SocketAddr, records: u32) -> Result<Self> {
        let (address, home) = (free_address()?, folder.join("knot"));
        fs::create_dir_all(home.join("db")).context("making the primary's folder")?;
        let (file, config) = (home.join("zone"), home.join("knot.conf"));
        let (ip, port, folder) = (address.ip(), address.port(), home.display());
        let (to, to_port) = (secondary.ip(), secondary.port());
        let text = format!(
            "server:\n  listen: {ip}@{port}\n  rundir: {folder}\nlog:\n  - target: stderr\n    any: error\n\
             database:\n  storage: {folder}/db\n\
             remote:\n  - id: secondary\n    address: {to}@{to_port}\n\
             acl:\n  - id: all\n    address: 127.0.0.0/8\n    action: transfer\n\
             zone:\n  - domain: {ZONE}\n    file: {}\n    acl: all\n    notify: secondary\n    \
             journal-content: none\n    zonefile-sync: -1\n    semantic-checks: off\n",
            file.display()
        );
        process::write(&config, text)?;
        process::write(&file, zone_file(1, records))?;
        let mut knot = Command::new("knotd");
        let mut server = Server::start("knot", LOAD_CORE, knot.arg("-c").arg(&config), &home.join("log"))?;
        let asker = Asker::of(address)?;
        let answers = || asker.ask(0).is_ok_and(|serial| serial == Some(1));
        server.wait_within(COMES_WITHIN, "it has the zone", answers)?;
        Ok(Self { _server: server, address, file, config })
    }

    /// Puts another zone in its place, and has the secondary told.
    fn replace(&self, serial: u32, records: u32) -> Result<()> {
        process::write(&self.file, zone_file(serial, records))?;
        let mut reload = Command::new("knotc");
        reload.arg("-c").arg(&self.config).args(["-b", "zone-reload", ZONE]);
        process::output(LOAD_CORE, &reload).map(drop)
    }
}

/// Hosts whose addresses tell the serial.
fn zone_file(serial: u32, records: u32) -> String {
    let mut text = format!(
        "$ORIGIN {ZONE}.\n$TTL 300\n@ SOA ns.elsewhere.test. mail.elsewhere.test. {serial} 3600 600 86400 60\n\
         @ NS ns.elsewhere.test.\n"
    );
    for number in 0..records {
        let [_, high, middle, low] = number.to_be_bytes();
        let _ = writeln!(text, "host{number} A 10.{serial}.{}.{}", high ^ middle, low);
    }
    text
}
