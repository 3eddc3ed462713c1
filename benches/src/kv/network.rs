//! A network of three servers in three regions, each in a folder of its own on this machine.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Options, SERVED_WITHIN};
use crate::process::{self, LOAD_CORE, SUBJECT_CORE, Server, free_address};
use crate::report::PROXIMA;

/// Names, PoPs and regions; the first keeps the log.
const SERVERS: [(&str, &str, &str); 3] =
    [("fra", "FRA", "europe"), ("iad", "IAD", "america"), ("sin", "SIN", "asia")];

pub(super) struct Network {
    pub(super) servers: Vec<Node>,
    pub(super) token: String,
}

/// One of its servers.
pub(super) struct Node {
    server: Server,
    pub(super) http: SocketAddr,
    pub(super) api: SocketAddr,
}

/// Where one of them is reached.
struct Addresses {
    http: SocketAddr,
    api: SocketAddr,
    admin: SocketAddr,
    ledger: SocketAddr,
    tiers: SocketAddr,
}

impl Network {
    pub(super) fn start(options: &Options, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
        let ca = folder.join("ca");
        let command = |arguments: &[&str]| {
            let mut command = Command::new(&options.place.proxima);
            command.arg("ca").args(arguments);
            command
        };
        process::output(LOAD_CORE, command(&["init"]).arg(&ca)).context("making an authority")?;
        let addresses = SERVERS
            .iter()
            .map(|_| {
                let [http, api, admin] = [free_address()?, free_address()?, free_address()?];
                Ok(Addresses { http, api, admin, ledger: free_address()?, tiers: free_address()? })
            })
            .collect::<Result<Vec<_>>>()?;
        let mut servers = Vec::new();
        for (number, (name, ..)) in SERVERS.into_iter().enumerate() {
            let home = folder.join(name);
            let mut issue = command(&["issue", "--name", name, "--ca"]);
            process::output(LOAD_CORE, issue.arg(&ca).arg("--out").arg(&home))
                .with_context(|| format!("making the identity of {name}"))?;
            process::write(&home.join("node.toml"), config(options, &addresses, number))?;
            let mut node = Command::new(&options.place.proxima);
            node.arg("node").arg("--config").arg(home.join("node.toml"));
            let mut server = Server::start(PROXIMA, SUBJECT_CORE, &node, &home.join("log"))?;
            let api = addresses[number].api;
            server
                .wait_until_listening(api)
                .with_context(|| fs::read_to_string(home.join("log")).unwrap_or_default())?;
            servers.push(Node { server, http: addresses[number].http, api });
        }
        let token = folder.join(SERVERS[0].0).join("data/token");
        servers[0].server.wait_until("it has written the first token", || token.exists())?;
        let token = fs::read_to_string(token).context("reading the API token")?;
        Ok(Self { servers, token: token.trim().to_owned() })
    }

    /// Waits until all of them serve as `served` asks.
    pub(super) fn wait_until_served(&mut self, served: impl Fn(SocketAddr) -> bool) -> Result<()> {
        for node in &mut self.servers {
            let http = node.http;
            node.server.wait_within(SERVED_WITHIN, "it serves what was deployed", || served(http))?;
        }
        Ok(())
    }

    /// Waits until this is done at the server that keeps the log: servers that have just started are nobody's home before they have
    /// asked each other for what they missed.
    pub(super) fn wait_until_taken(&mut self, taken: impl Fn(SocketAddr) -> bool) -> Result<()> {
        let node = &mut self.servers[0];
        let api = node.api;
        node.server.wait_within(SERVED_WITHIN, "it takes what is written", || taken(api))
    }
}

/// node.toml of the server of this number.
fn config(options: &Options, addresses: &[Addresses], number: usize) -> String {
    let (name, pop, region) = SERVERS[number];
    let Addresses { http, api, admin, ledger, tiers } = &addresses[number];
    let follows = match number {
        0 => String::new(),
        _ => format!("log = \"{}\"\n", addresses[0].ledger),
    };
    let others = SERVERS.iter().zip(addresses).map(|((name, pop, region), addresses)| {
        format!(
            "[[tiers.servers]]\nname = \"{name}\"\npop = \"{pop}\"\nregion = \"{region}\"\naddress = \"{}\"\n",
            addresses.tiers
        )
    });
    format!(
        "[node]\nname = \"{name}\"\npop = \"{pop}\"\nregion = \"{region}\"\ndata_dir = \"data\"\n\
         key_file = \"../ca/at-rest.key\"\nadmin = \"{admin}\"\n\
         [identity]\nca = \"ca.pem\"\ncertificate = \"node.pem\"\nkey = \"node.key\"\n\
         [ledger]\nlisten = \"{ledger}\"\n{follows}\
         [control]\nlisten = [\"{api}\"]\nactivation = \"trust\"\n\
         [edge]\nhttp = [\"{http}\"]\nhttps = []\nallow_private_origins = true\n\
         [workers]\nworkerd = {:?}\nshards = 1\n\
         [tiers]\nlisten = [\"{tiers}\"]\n{}",
        options.workerd,
        others.collect::<String>()
    )
}
