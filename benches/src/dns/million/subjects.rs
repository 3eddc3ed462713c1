//! Proxima, knot and nsd with very many zones.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use proxima_ledger::{EmbeddedLog, ReplicaOptions, Sealer};
use proxima_model::{AccountId, RecordType};

use super::super::question;
use super::RECORDS;
use crate::api;
use crate::ledger::{phases, world};
use crate::process::{self, LOAD_CORE, SUBJECT_CORE, Server, free_address};
use crate::report::PROXIMA;

/// Those that are measured, in the order in which they are shown.
pub(super) const NAMES: [&str; 3] = [PROXIMA, "knot", "nsd"];

/// RCODEs (RFC 1035, 4.1.1).
pub(super) const NOERROR: u8 = 0;
pub(super) const NXDOMAIN: u8 = 3;

/// How long starting may take with all zones.
const START_TIMEOUT: Duration = Duration::from_secs(1_800);
/// Between two looks at what cannot be waited for.
pub(super) const POLL: Duration = Duration::from_micros(500);
/// How long one answer is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// Zones that must answer before a server counts as started.
const SAMPLE: u64 = 100;
/// Where a data folder has its log.
const LEDGER: &str = "ledger";

/// A server that is not started yet.
pub(super) struct Plan {
    name: &'static str,
    command: Command,
    address: SocketAddr,
    api: Option<Api>,
    account: AccountId,
}

/// Where the API is reached.
pub(super) struct Api {
    address: SocketAddr,
    token: String,
}

impl Api {
    pub(super) fn client(&self) -> api::Client<'_> {
        api::Client::new(self.address, &self.token)
    }
}

/// One that answers for every zone.
pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) server: Server,
    pub(super) address: SocketAddr,
    pub(super) api: Option<Api>,
    /// Whose the zones are.
    pub(super) account: AccountId,
}

impl Subject {
    /// Starts it; how long it took until it answered for a sample of the zones.
    pub(super) fn start(plan: Plan, zones: u64, home: &Path) -> Result<(Self, Duration)> {
        let log = home.join("log");
        let begun = Instant::now();
        let mut server = Server::start(plan.name, SUBJECT_CORE, &plan.command, &log)?;
        let sample = || (0..SAMPLE.min(zones)).map(|number| world::name(world::mix(number) % zones));
        let answers =
            || sample().all(|name| ask(plan.address, &name).is_ok_and(|rcode| rcode == Some(NOERROR)));
        server
            .wait_within(START_TIMEOUT, "it answers for all zones", answers)
            .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        let Plan { name, address, api, account, .. } = plan;
        Ok((Self { name, server, address, api, account }, begun.elapsed()))
    }
}

/// Makes the zones for a subject below `home`.
pub(super) fn fill(name: &str, proxima: &Path, zones: u64, home: &Path) -> Result<Plan> {
    match name {
        PROXIMA => self::proxima(proxima, zones, home),
        "knot" => knot(zones, home),
        "nsd" => nsd(zones, home),
        _ => bail!("there is no subject `{name}`; there are: {}", NAMES.join(", ")),
    }
}

/// Started once, so that it makes an account and a token; then its log is filled.
fn proxima(binary: &Path, zones: u64, home: &Path) -> Result<Plan> {
    let (dns, api, admin) = (free_address()?, free_address()?, free_address()?);
    let (authority, data) = (home.join("ca"), home.join("data"));
    process::output(LOAD_CORE, Command::new(binary).args(["ca", "init"]).arg(&authority))?;
    let key = authority.join("at-rest.key");
    let config = home.join("node.toml");
    let text = format!(
        "[node]\nname = \"one\"\npop = \"ONE\"\nregion = \"local\"\ndata_dir = {data:?}\nkey_file = {key:?}\n\
         admin = \"{admin}\"\n\
         [network]\nanycast_addresses = [\"127.0.0.1\"]\nname_servers = [\"ns1.proxima.example\", \
         \"ns2.proxima.example\"]\n\
         [dns]\nlisten = [\"{dns}\"]\nrate_limit_exempt = [\"127.0.0.0/8\"]\n\
         [control]\nlisten = [\"{api}\"]\nactivation = \"trust\"\n",
    );
    process::write(&config, text)?;
    let command = || {
        let mut node = Command::new(binary);
        node.arg("node").arg("--config").arg(&config);
        node
    };
    let log = home.join("first-log");
    let mut server = Server::start(PROXIMA, SUBJECT_CORE, &command(), &log)?;
    let said = || fs::read_to_string(&log).unwrap_or_default();
    let is_ready = || said().lines().any(|line| line.trim() == "ready");
    server.wait_until("it says `ready`", is_ready).with_context(said)?;
    let token = fs::read_to_string(data.join("token")).context("reading the API token")?.trim().to_owned();
    let api = Api { address: api, token };
    let account: AccountId = api.client().account()?.parse().context("reading the account's id")?;
    drop(server);

    let sealer = fs::read_to_string(&key).with_context(|| format!("reading {}", key.display()))?;
    let sealer = Sealer::from_hex(sealer.trim()).context("making the sealer")?;
    let log = EmbeddedLog::open(&data.join(LEDGER), sealer, ReplicaOptions::default());
    phases::fill(log.context("opening the log")?, zones, |replica, number| {
        let zone = world::zone(number, account)?;
        let records = (0..).zip(RECORDS).map(|(number, (name, record_type, content))| {
            let name = if name == "@" { zone.name.to_string() } else { format!("{name}.{}", zone.name) };
            let content = content.replace(" mail", &format!(" mail.{}", zone.name));
            world::record(&zone, number, &name, (RecordType::by_name(record_type)?, &content))
        });
        world::changes_of(replica, &zone, records)
    })?;
    Ok(Plan { name: PROXIMA, command: command(), address: dns, api: Some(api), account })
}

/// The file of every zone.
fn zone_file(home: &Path) -> Result<String> {
    let mut text = String::from(
        "$TTL 300\n@ IN SOA ns1.proxima.example. hostmaster 1 10000 2400 604800 300\n\
         @ 86400 IN NS ns1.proxima.example.\n@ 86400 IN NS ns2.proxima.example.\n",
    );
    for (name, record_type, content) in RECORDS {
        let _ = writeln!(text, "{name} IN {record_type} {content}");
    }
    let file = home.join("zone");
    process::write(&file, text)?;
    Ok(file.display().to_string())
}

fn knot(zones: u64, home: &Path) -> Result<Plan> {
    let address = free_address()?;
    fs::create_dir_all(home.join("db")).context("making the folder of its keys")?;
    let (folder, ip, port) = (home.display(), address.ip(), address.port());
    let mut text = format!(
        "server:\n  listen: {ip}@{port}\n  rundir: {folder}\n  udp-workers: 1\n  tcp-workers: 1\n  \
         background-workers: 1\nlog:\n  - target: stderr\n    any: error\n\
         database:\n  storage: {folder}/db\n\
         template:\n  - id: default\n    file: {}\n    journal-content: none\n    zonefile-sync: -1\n    \
         semantic-checks: off\nzone:\n",
        zone_file(home)?
    );
    for number in 0..zones {
        let _ = writeln!(text, "  - domain: {}", world::name(number));
    }
    let config = home.join("knot.conf");
    process::write(&config, text)?;
    let mut command = Command::new("knotd");
    // Room for its configuration, in MiB: half a gibibyte unless told.
    command.args(["-m", "4000", "-c"]).arg(&config);
    Ok(Plan { name: "knot", command, address, api: None, account: AccountId::from_bytes([0; 16]) })
}

fn nsd(zones: u64, home: &Path) -> Result<Plan> {
    let address = free_address()?;
    let (folder, ip, port) = (home.display(), address.ip(), address.port());
    let mut text = format!(
        "server:\n  ip-address: {ip}@{port}\n  server-count: 1\n  username: \"\"\n  zonesdir: \"{folder}\"\n  \
         database: \"\"\n  pidfile: \"{folder}/pid\"\n  xfrdfile: \"{folder}/xfrd\"\n  xfrdir: \"{folder}\"\n  \
         zonelistfile: \"{folder}/list\"\n  rrl-ratelimit: 0\nremote-control:\n  control-enable: no\n\
         pattern:\n  name: \"all\"\n  zonefile: \"{}\"\n",
        zone_file(home)?
    );
    for number in 0..zones {
        let _ = write!(text, "zone:\n  name: {}\n  include-pattern: \"all\"\n", world::name(number));
    }
    let config = home.join("nsd.conf");
    process::write(&config, text)?;
    let mut command = Command::new("nsd");
    command.args(["-d", "-c"]).arg(&config);
    Ok(Plan { name: "nsd", command, address, api: None, account: AccountId::from_bytes([0; 16]) })
}

/// Asks for the addresses of a name: the RCODE of the answer, if one comes.
pub(super) fn ask(address: SocketAddr, name: &str) -> Result<Option<u8>> {
    let question = question(0x5058, name, 1)?;
    let socket = UdpSocket::bind("127.0.0.1:0").context("binding a socket")?;
    socket.set_read_timeout(Some(ANSWER_TIMEOUT)).context("setting a time limit")?;
    socket.connect(address).context("connecting a socket")?;
    let mut answer = [0; 512];
    // Refused while nobody listens there, or lost: it is asked again.
    if socket.send(&question).is_err() {
        return Ok(None);
    }
    Ok(socket.recv(&mut answer).ok().filter(|octets| *octets >= question.len()).map(|_| answer[3] & 0b1111))
}
