//! Proxima, and Garage with one replica of everything, which syncs what it acknowledges.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};

use crate::api;
use crate::dev::Dev;
use crate::load::http1::Connection;
use crate::process::{self, START_TIMEOUT, SUBJECT_CORE, Server, free_address};
use crate::report::PROXIMA;
use crate::sigv4::{Asked, Keys, REGION, hex, now};

/// The peer.
pub(super) const GARAGE: &str = "garage";
/// Where objects are written and read.
pub(super) const BUCKET: &str = "measured";
/// What Garage is started with. It wants them to look like its own: the keys are no secret, and nobody else can reach it.
const GARAGE_ACCESS: &str = "GK0123456789abcdef01234567";
const GARAGE_SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A server with the bucket [`BUCKET`].
pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) server: Server,
    pub(super) address: SocketAddr,
    keys: Keys,
}

/// `proxima dev`: it has no way to acknowledge what is not on the disk.
pub(super) fn proxima(binary: &Path, home: &Path) -> Result<Subject> {
    let dev = Dev::start(binary, home, &[])?;
    let client = api::Client::new(dev.api, &dev.token);
    client.bucket(BUCKET).context("making a bucket")?;
    // The access key is the token's id, the secret key the hash of all of it.
    let id = dev.token.split('_').next().context("a token begins with its id")?;
    let keys = Keys { access: id.to_owned(), secret: hex(digest(&SHA256, dev.token.as_bytes()).as_ref()) };
    let subject = Subject { name: PROXIMA, server: dev.server, address: dev.s3, keys };
    subject.wait_until_served()
}

/// `garage server`, as its documentation has it for one node, with both of its settings for syncing. It would compress objects
/// otherwise, which is other work than what is compared.
pub(super) fn garage(binary: &Path, home: &Path) -> Result<Subject> {
    let (address, rpc) = (free_address()?, free_address()?);
    let config = home.join("garage.toml");
    let (metadata, data) = (home.join("metadata"), home.join("data"));
    process::write(
        &config,
        format!(
            "metadata_dir = {metadata:?}\ndata_dir = {data:?}\ndb_engine = \"lmdb\"\nmetadata_fsync = true\n\
             data_fsync = true\ncompression_level = \"none\"\nreplication_factor = 1\n\
             rpc_bind_addr = \"{rpc}\"\nrpc_public_addr = \"{rpc}\"\nrpc_secret = \"{GARAGE_SECRET}\"\n\
             [s3_api]\ns3_region = \"{REGION}\"\napi_bind_addr = \"{address}\"\n"
        ),
    )?;
    let mut garage = Command::new("env");
    garage.arg(format!("GARAGE_DEFAULT_ACCESS_KEY={GARAGE_ACCESS}"));
    garage.arg(format!("GARAGE_DEFAULT_SECRET_KEY={GARAGE_SECRET}"));
    garage.arg(format!("GARAGE_DEFAULT_BUCKET={BUCKET}"));
    garage.arg(binary).arg("-c").arg(&config).args(["server", "--single-node", "--default-bucket"]);
    let log = home.join("log");
    let server = Server::start(GARAGE, SUBJECT_CORE, &garage, &log)?;
    let keys = Keys { access: GARAGE_ACCESS.to_owned(), secret: GARAGE_SECRET.to_owned() };
    let subject = Subject { name: GARAGE, server, address, keys };
    subject.wait_until_served().with_context(|| fs::read_to_string(&log).unwrap_or_default())
}

impl Subject {
    /// What requests name it by.
    pub(super) fn host(&self) -> String {
        self.address.to_string()
    }

    /// By what a load signs.
    pub(super) fn authority(&self) -> [&str; 4] {
        ["--access-key", &self.keys.access, "--secret-key", &self.keys.secret]
    }

    /// Makes another bucket, by S3.
    pub(super) fn make_bucket(&self, name: &str) -> Result<()> {
        self.ask("PUT", &format!("/{name}")).with_context(|| format!("making the bucket {name}"))
    }

    /// Waits until it lists its bucket.
    fn wait_until_served(mut self) -> Result<Self> {
        let (address, keys) = (self.address, self.keys.clone());
        let served = || ask(address, &keys, "GET", &format!("/{BUCKET}")).is_ok();
        self.server.wait_until("it has the bucket", served)?;
        Ok(self)
    }

    fn ask(&self, method: &str, path: &str) -> Result<()> {
        ask(self.address, &self.keys, method, path)
    }
}

/// One request without a body, which must succeed.
fn ask(address: SocketAddr, keys: &Keys, method: &str, path: &str) -> Result<()> {
    let host = address.to_string();
    let fields = keys.fields(&Asked { method, host: &host, path, query: "" }, now()?);
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n{fields}\r\n");
    Connection::open(address, START_TIMEOUT)?.exchange(&head, &[], None).map(drop)
}
