//! The subjects: Proxima and its peers, each with one thread for the one core, 64 MiB or more for what it finds, and without
//! limits of rate.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::internet::Internet;
use crate::process::{self, LOAD_CORE, SUBJECT_CORE, Server, free_address};
use crate::report::PROXIMA;

/// All of them, in the order in which they are shown.
pub(super) const NAMES: [&str; 5] = [PROXIMA, "unbound", "knot-resolver", "pdns-recursor", "bind"];

pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) server: Server,
    pub(super) address: SocketAddr,
}

/// How a subject is started.
struct Plan {
    name: &'static str,
    /// Files below its folder, and what is in them.
    files: Vec<(&'static str, String)>,
    command: Command,
}

impl Subject {
    pub(super) fn start(name: &str, proxima: &Path, internet: &Internet, folder: &Path) -> Result<Self> {
        let home = folder.join(name);
        fs::create_dir_all(&home).with_context(|| format!("making the folder {}", home.display()))?;
        let address = free_address()?;
        let plan = match name {
            PROXIMA => self::proxima(proxima, address, internet, &home)?,
            "unbound" => unbound(address, internet, &home),
            "knot-resolver" => knot_resolver(address, internet, &home),
            "pdns-recursor" => pdns_recursor(address, internet, &home)?,
            "bind" => bind(address, internet, &home)?,
            _ => bail!("there is no subject `{name}`; there are: {}", NAMES.join(", ")),
        };
        for (file, text) in plan.files {
            fs::write(home.join(file), text).with_context(|| format!("writing {file} of {name}"))?;
        }
        let log = home.join("log");
        let mut server = Server::start(plan.name, SUBJECT_CORE, &plan.command, &log)?;
        server
            .wait_until("it resolves and validates", || validates(address))
            .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        Ok(Self { name: plan.name, server, address })
    }
}

/// Whether a TLD's SOA is said to be validated: no name that is asked for later is found by it.
fn validates(address: SocketAddr) -> bool {
    let mut dig = Command::new("dig");
    dig.arg(format!("@{}", address.ip())).args(["-p", &address.port().to_string()]);
    dig.args(["+dnssec", "+time=2", "+tries=1", "tld0", "SOA"]);
    process::output(LOAD_CORE, &dig)
        .is_ok_and(|said| said.lines().any(|line| line.starts_with(";; flags:") && line.contains(" ad;")))
}

fn proxima(binary: &Path, address: SocketAddr, internet: &Internet, home: &Path) -> Result<Plan> {
    let (dns, admin, api, data) = (free_address()?, free_address()?, free_address()?, home.join("data"));
    let authority = home.join("ca");
    process::output(LOAD_CORE, Command::new(binary).args(["ca", "init"]).arg(&authority))?;
    let text = format!(
        "[node]\nname = \"one\"\npop = \"ONE\"\nregion = \"local\"\ndata_dir = {data:?}\nkey_file = {:?}\n\
         admin = \"{admin}\"\n\
         [network]\nanycast_addresses = [\"127.0.0.1\"]\nname_servers = [\"ns1.proxima.test\", \"ns2.proxima.test\"]\n\
         [dns]\nlisten = [\"{dns}\"]\n\
         [dns.resolver]\nlisten = [\"{address}\"]\nhints_file = {:?}\nanchors_file = {:?}\n\
         [control]\nlisten = [\"{api}\"]\nactivation = \"trust\"\n",
        authority.join("at-rest.key"),
        internet.hints,
        internet.anchor,
    );
    let mut command = Command::new(binary);
    command.arg("node").arg("--config").arg(home.join("node.toml"));
    Ok(Plan { name: PROXIMA, files: vec![("node.toml", text)], command })
}

fn unbound(address: SocketAddr, internet: &Internet, home: &Path) -> Plan {
    let text = format!(
        "server:\n  interface: {}@{}\n  username: \"\"\n  chroot: \"\"\n  directory: {home:?}\n  pidfile: \"\"\n  \
         use-syslog: no\n  verbosity: 0\n  num-threads: 1\n  access-control: 127.0.0.0/8 allow\n  root-hints: {:?}\n  \
         trust-anchor-file: {:?}\n  msg-cache-size: 64m\n  rrset-cache-size: 128m\n  key-cache-size: 16m\n  \
         outgoing-range: 4096\n  num-queries-per-thread: 2048\n  so-rcvbuf: 4m\n\
         remote-control:\n  control-enable: no\n",
        address.ip(),
        address.port(),
        internet.hints,
        internet.anchor,
    );
    let mut command = Command::new("unbound");
    command.args(["-d", "-p", "-c"]).arg(home.join("unbound.conf"));
    Plan { name: "unbound", files: vec![("unbound.conf", text)], command }
}

fn knot_resolver(address: SocketAddr, internet: &Internet, home: &Path) -> Plan {
    let text = format!(
        "net.listen('{}', {}, {{ kind = 'dns' }})\nmodules = {{ 'hints > iterate' }}\nhints.root_file({:?})\n\
         trust_anchors.remove('.')\ntrust_anchors.add_file({:?}, true)\ncache.size = 200 * MB\n",
        address.ip(),
        address.port(),
        internet.hints,
        internet.anchor,
    );
    let mut command = Command::new("kresd");
    command.args(["--noninteractive", "--config"]).arg(home.join("config.lua")).arg(home);
    Plan { name: "knot-resolver", files: vec![("config.lua", text)], command }
}

fn pdns_recursor(address: SocketAddr, internet: &Internet, home: &Path) -> Result<Plan> {
    let text = format!(
        "local-address={}\nlocal-port={}\nsocket-dir={}\nhint-file={}\ndnssec=validate\nlua-config-file={}\n\
         threads=1\nallow-from=127.0.0.0/8\ndont-query=\nsecurity-poll-suffix=\nloglevel=3\nquiet=yes\n\
         max-mthreads=2048\n",
        address.ip(),
        address.port(),
        home.display(),
        internet.hints.display(),
        home.join("anchors.lua").display(),
    );
    let anchors = format!("clearTA('.')\naddTA('.', \"{}\")\n", anchor(internet)?);
    let mut command = Command::new("pdns_recursor");
    command.arg(format!("--config-dir={}", home.display()));
    Ok(Plan {
        name: "pdns-recursor",
        files: vec![("recursor.conf", text), ("anchors.lua", anchors)],
        command,
    })
}

fn bind(address: SocketAddr, internet: &Internet, home: &Path) -> Result<Plan> {
    let anchor = anchor(internet)?;
    let mut parts = anchor.splitn(4, ' ');
    let mut next = || parts.next().context("the anchor has four parts");
    let (tag, algorithm, kind, digest) = (next()?, next()?, next()?, next()?);
    let text = format!(
        "options {{ directory {home:?}; listen-on port {} {{ {}; }}; listen-on-v6 {{ none; }}; recursion yes; \
         dnssec-validation yes; pid-file none; session-keyfile none; querylog no; minimal-responses yes; \
         recursive-clients 10000; max-cache-size 200m; allow-query {{ 127.0.0.0/8; }}; }};\ncontrols {{ }};\n\
         trust-anchors {{ . static-ds {tag} {algorithm} {kind} \"{}\"; }};\n\
         zone \".\" {{ type hint; file {:?}; }};\n",
        address.port(),
        address.ip(),
        digest.replace(' ', ""),
        internet.hints,
    );
    let mut command = Command::new("named");
    command.args(["-g", "-n", "1", "-c"]).arg(home.join("named.conf"));
    Ok(Plan { name: "bind", files: vec![("named.conf", text)], command })
}

/// The data of the root's DS record, as it is written.
fn anchor(internet: &Internet) -> Result<String> {
    let text = fs::read_to_string(&internet.anchor).context("reading the anchor")?;
    let (_, data) = text.lines().find_map(|line| line.split_once("DS")).context("there is no DS record")?;
    Ok(data.split_whitespace().collect::<Vec<_>>().join(" "))
}
