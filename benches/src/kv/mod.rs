//! Keys and values: what a Worker waits for when it reads a value that is often read, how many writes a server and a network
//! acknowledge, each of them on a disk by then, and how long until another region sees what was written.
//!
//! ```text
//!   core 1                    core 0
//! ┌─────────────┐   ┌────────────────────────────────────────────────────────────┐
//! │ load paced  │──►│ one server: edge ─ workerd ─ Worker ─ KV                    │  read, no-read
//! │ load keys   │──►│ one server: API ─ KV ─ fsync                                │  write-one
//! │ load keys   │──►│ three servers in three regions: API ─ KV ─ two replicas     │  write-two
//! │ this        │──►│ the same: written at one, asked of the Worker at the others │  visible
//! └─────────────┘   └────────────────────────────────────────────────────────────┘
//! ```
//!
//! The servers of a network share one core, and nothing delays what they say to each other: what is measured is what they do, and
//! a real network adds its ways. There is no peer: what is compared with is the table of figures in the documentation.

mod network;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::api::{self, Client, Namespace};
use crate::dev::Dev;
use crate::http::HOST;
use crate::load::{self, Load, http1::Connection};
use crate::process::{self, LOAD_CORE, START_TIMEOUT, free_address};
use crate::report::{Metric, PROXIMA, Report};
use crate::statistics::percentile;
use crate::{Place, Trials};
use network::Network;

/// Reads the key that its path names; nothing if it names none.
const CODE: &str = "export default { async fetch(request, { KV }) {
  const key = new URL(request.url).pathname.slice(1);
  return new Response(key === '' ? 'nothing was read' : await KV.get(key));
} }
";
/// The key that all ask for.
const HOT: &str = "hot";
/// Octets of what is written and read: a session, a setting.
const VALUE_OCTETS: usize = 128;
/// Keys that are written, one after the other.
const KEYS: u64 = 10_000;
/// Writers at a time: one waits for each fsync by itself, many share it.
const WRITERS: [(&str, u32); 2] = [("alone", 1), ("many", 16)];
/// By then every reader has what was written, by what KV promises; and a little more, for the one that asks just before.
const VISIBLE_WITHIN: Duration = Duration::from_secs(65);
/// Between two questions to a server: fine beside what is measured, and no load.
const ASKED_EVERY: Duration = Duration::from_millis(2);
/// Longer waits are a server that has died.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long servers of a network may take to be told all there is, and to start the engine.
const SERVED_WITHIN: Duration = START_TIMEOUT.saturating_mul(4);
/// Writes of which it is measured when they are seen.
const WRITES_MAX: u32 = 10_000;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    trials: Trials,
    /// The engine.
    #[arg(long, env = "PROXIMA_WORKERD")]
    workerd: PathBuf,
    /// Requests a second to the Worker that reads.
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// How many writes are waited for in the other regions.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(WRITES_MAX)))]
    writes: u32,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    crate::check_cores()?;
    // Beside the results, so that it is a disk that syncs: /tmp may be memory.
    fs::create_dir_all(&options.place.results).context("making the folder of results")?;
    let folder = tempfile::tempdir_in(&options.place.results).context("making a folder for the servers")?;
    let mut report = Report::new("kv");
    let of_case = |name: &str| name.starts_with(&options.trials.case);
    if ["read", "no-read", "write-one"].into_iter().any(of_case) {
        one(options, folder.path(), of_case, &mut report)?;
    }
    if ["write-two", "visible"].into_iter().any(of_case) {
        many(options, folder.path(), of_case, &mut report)?;
    }
    Ok(report)
}

/// One server, which keeps everything by itself.
fn one(options: &Options, folder: &Path, of_case: impl Fn(&str) -> bool, report: &mut Report) -> Result<()> {
    let home = folder.join("one");
    fs::create_dir_all(&home).context("making a server's folder")?;
    let workerd = ["--workerd".to_owned(), options.workerd.display().to_string()];
    let mut dev = Dev::start(&options.place.proxima, &home, &workerd)?;
    let client = Client::new(dev.api, &dev.token);
    let namespace = deploy(&client, &home)?;
    write_hot(dev.api, &dev.token, &namespace, 0)?;
    let http = dev.http;
    dev.server.wait_until("the Worker answers", || api::answers(http, HOST, &format!("/{HOT}")))?;
    let metrics: [Metric<Load>; 2] =
        [("latency_p50_us", |load| load.p50_us), ("latency_p99_us", |load| load.p99_us)];
    for (case, path) in [("no-read", "/".to_owned()), ("read", format!("/{HOT}"))] {
        if !of_case(case) {
            continue;
        }
        let paced = |seconds: u64| {
            let mut program = load::program("paced", http, HOST)?;
            program.args(["--path", &path, "--rate", &options.rate.to_string()]);
            load::output(LOAD_CORE, program.args(["--seconds", &seconds.to_string()]))
        };
        paced(1)?;
        let rounds = (0..options.trials.rounds).map(|_| paced(options.trials.seconds));
        report.add_medians(case, PROXIMA, &rounds.collect::<Result<Vec<_>>>()?, &metrics);
    }
    if of_case("write-one") {
        write("write-one", options, dev.api, &dev.token, &namespace, report)?;
    }
    Ok(())
}

/// Three servers in three regions, of which two keep the namespace.
fn many(options: &Options, folder: &Path, of_case: impl Fn(&str) -> bool, report: &mut Report) -> Result<()> {
    let mut network = Network::start(options, &folder.join("many"))?;
    let log = network.servers[0].api;
    let client = Client::new(log, &network.token);
    let namespace = deploy(&client, folder)?;
    let token = network.token.clone();
    network.wait_until_taken(|api| write_hot(api, &token, &namespace, 0).is_ok())?;
    network.wait_until_served(|http| api::answers(http, HOST, &format!("/{HOT}")))?;
    if of_case("visible") {
        let mut times_ms = visible(&network, &namespace, options.writes)?;
        report.add("visible", PROXIMA, "last_region_p50_ms", percentile(&mut times_ms, 0.5));
        report.add("visible", PROXIMA, "last_region_p99_ms", percentile(&mut times_ms, 0.99));
    }
    if of_case("write-two") {
        write("write-two", options, log, &network.token, &namespace, report)?;
    }
    Ok(())
}

/// Deploys the Worker before all of a zone, bound to a new namespace.
fn deploy(client: &Client<'_>, folder: &Path) -> Result<Namespace> {
    // Nobody listens there: the Worker answers everything.
    client.serve(HOST, free_address()?)?;
    let namespace = client.namespace("bench").context("making a namespace")?;
    let (code, metadata) = (folder.join("read.js"), folder.join("metadata.json"));
    process::write(&code, CODE)?;
    let binding = serde_json::json!({"type": "kv_namespace", "name": "KV", "namespace_id": namespace.id});
    let settings = serde_json::json!({
        "main_module": "read.js", "compatibility_date": crate::workers::COMPATIBILITY_DATE, "bindings": [binding],
    });
    process::write(&metadata, settings.to_string())?;
    client.worker("read", &metadata, &code).context("uploading the Worker")?;
    client.route(HOST, &format!("{HOST}/*"), "read").context("making its route")?;
    Ok(namespace)
}

/// What is written under [`HOT`] in this round.
fn value(round: u32) -> String {
    format!("{round:0VALUE_OCTETS$}")
}

/// Writes it at this server; it is on a disk then.
fn write_hot(api: SocketAddr, token: &str, namespace: &Namespace, round: u32) -> Result<()> {
    let head = format!(
        "PUT {}{HOT} HTTP/1.1\r\nHost: {api}\r\nAuthorization: Bearer {token}\r\nContent-Length: {VALUE_OCTETS}\r\n\r\n",
        namespace.values
    );
    let written = Connection::open(api, TIMEOUT)?.exchange(&head, value(round).as_bytes(), None);
    written.map(drop).context("writing the value that is read")
}

/// Writes values as fast as they are acknowledged.
fn write(
    case: &str,
    options: &Options,
    api: SocketAddr,
    token: &str,
    namespace: &Namespace,
    report: &mut Report,
) -> Result<()> {
    for (many, writers) in WRITERS {
        let load = |seconds: u64| {
            let mut program = load::program("keys", api, &api.to_string())?;
            program.args(["--what", "put", "--prefix", &namespace.values, "--bearer", token]);
            program.args(["--octets", &VALUE_OCTETS.to_string(), "--keys", &KEYS.to_string()]);
            program.args(["--connections", &writers.to_string(), "--seconds", &seconds.to_string()]);
            load::output(LOAD_CORE, &program)
        };
        load(1)?;
        let rounds =
            (0..options.trials.rounds).map(|_| load(options.trials.seconds)).collect::<Result<Vec<_>>>()?;
        ensure!(rounds.iter().all(|load| load.requests > 0), "nothing was written");
        let metrics: [Metric<Load>; 3] = [
            ("writes_per_second", |load| load.requests as f64 / load.seconds),
            ("latency_p50_us", |load| load.p50_us),
            ("latency_p99_us", |load| load.p99_us),
        ];
        report.add_medians(&format!("{case}-{many}"), PROXIMA, &rounds, &metrics);
    }
    Ok(())
}

/// Writes a value at each server in turn, which all have in their caches; until the last of the others' Workers reads it, in
/// milliseconds from when the write began.
fn visible(network: &Network, namespace: &Namespace, writes: u32) -> Result<Vec<f64>> {
    let mut readers = network
        .servers
        .iter()
        .map(|server| Connection::open(server.http, TIMEOUT))
        .collect::<Result<Vec<_>>>()?;
    let mut times_ms = Vec::new();
    for round in 1..=writes {
        let writer = round as usize % network.servers.len();
        let begun = Instant::now();
        let last = thread::scope(|scope| {
            let others = readers.iter_mut().enumerate().filter(|(number, _)| *number != writer);
            let waiting: Vec<_> =
                others.map(|(_, reader)| scope.spawn(move || until_read(reader, round, begun))).collect();
            let written = write_hot(network.servers[writer].api, &network.token, namespace, round);
            let seen = waiting.into_iter().map(|thread| thread.join().expect("it does not panic"));
            let seen = seen.collect::<Result<Vec<_>>>();
            written.and(seen)?.into_iter().max().context("there are others")
        })?;
        times_ms.push(last.as_secs_f64() * 1e3);
    }
    eprintln!("visible            {} writes", times_ms.len());
    Ok(times_ms)
}

/// Asks the Worker of a server until it reads what this round wrote; how long after `begun` it did.
fn until_read(reader: &mut Connection<std::net::TcpStream>, round: u32, begun: Instant) -> Result<Duration> {
    let head = format!("GET /{HOT} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let wanted = value(round);
    loop {
        let mut read = Vec::new();
        reader.exchange(&head, &[], Some(&mut read)).context("asking a Worker")?;
        let after = begun.elapsed();
        if read == wanted.as_bytes() {
            return Ok(after);
        }
        if after > VISIBLE_WITHIN {
            bail!("what was written is not seen after {VISIBLE_WITHIN:?}, which KV promises");
        }
        thread::sleep(ASKED_EVERY);
    }
}
