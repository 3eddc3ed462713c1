//! Proxima; Garage with one replica of everything, which syncs what it acknowledges; SeaweedFS in one process, which does not by
//! itself.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::digest::{SHA256, digest};

use crate::api;
use crate::dev::Dev;
use crate::load::http1::Connection;
use crate::process::{self, LOAD_CORE, START_TIMEOUT, SUBJECT_CORE, Server, free_address};
use crate::report::PROXIMA;
use crate::sigv4::{Asked, Keys, REGION, hex, now};

/// The peers.
pub(super) const GARAGE: &str = "garage";
/// With all of it synced.
pub(super) const SEAWEEDFS: &str = "seaweedfs";
/// As it comes: what it acknowledges may be lost with power.
pub(super) const SEAWEEDFS_UNSYNCED: &str = "seaweedfs-unsynced";
/// Where objects are written and read.
pub(super) const BUCKET: &str = "measured";
/// What peers are started with. Garage wants them to look like its own: the keys are no secret, and nobody else can reach it.
const ACCESS: &str = "GK0123456789abcdef01234567";
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Files in which SeaweedFS keeps octets, of 30 GB each: it takes seven for a bucket, and there are two.
const VOLUMES: u32 = 16;

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
             rpc_bind_addr = \"{rpc}\"\nrpc_public_addr = \"{rpc}\"\nrpc_secret = \"{SECRET}\"\n\
             [s3_api]\ns3_region = \"{REGION}\"\napi_bind_addr = \"{address}\"\n"
        ),
    )?;
    let mut garage = Command::new("env");
    garage.arg(format!("GARAGE_DEFAULT_ACCESS_KEY={ACCESS}"));
    garage.arg(format!("GARAGE_DEFAULT_SECRET_KEY={SECRET}"));
    garage.arg(format!("GARAGE_DEFAULT_BUCKET={BUCKET}"));
    garage.arg(binary).arg("-c").arg(&config).args(["server", "--single-node", "--default-bucket"]);
    let log = home.join("log");
    let server = Server::start(GARAGE, SUBJECT_CORE, &garage, &log)?;
    let subject = Subject { name: GARAGE, server, address, keys: keys() };
    subject.wait_until_served().with_context(|| fs::read_to_string(&log).unwrap_or_default())
}

/// `weed server` with all that it needs for S3. It syncs nothing by itself. Octets it syncs where `fs.configure` says so, and then
/// many at once; not so the entries of its filer, without which an object is not there. So that it can be compared with who syncs
/// both, the kernel does that: files of that store have the attribute `S`, by which each write is on the disk before it returns.
pub(super) fn seaweedfs(binary: &Path, home: &Path, name: &'static str) -> Result<Subject> {
    let (data, log) = (home.join("data"), home.join("log"));
    let entries = data.join("filerldb2");
    fs::create_dir_all(&entries).context("making the folders of its data")?;
    if name == SEAWEEDFS {
        sync_all_writes(&entries)?;
    }
    let at = data.display();
    let mut weed = Command::new("env");
    // Where it would look for settings.
    weed.arg(format!("HOME={at}"));
    weed.arg(format!("AWS_ACCESS_KEY_ID={ACCESS}")).arg(format!("AWS_SECRET_ACCESS_KEY={SECRET}"));
    weed.arg(binary).args(["server", "-filer", "-s3", "-ip=127.0.0.1", "-master.telemetry=false"]);
    weed.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.electionTimeout=1s"]);
    weed.arg(format!("-volume.max={VOLUMES}")).arg(format!("-dir={at}"));
    weed.arg(format!("-filer.localSocket={at}/filer")).arg(format!("-s3.localSocket={at}/s3"));
    // Each part has an address for HTTP, and one for the others.
    let mut listen = |part: &str| -> Result<(SocketAddr, String)> {
        let (address, rpc) = (free_address()?, free_address()?.port());
        weed.arg(format!("-{part}.port={}", address.port())).arg(format!("-{part}.port.grpc={rpc}"));
        Ok((address, format!("-{part}={address}.{rpc}")))
    };
    let ((address, _), (_, master), (_, filer)) = (listen("s3")?, listen("master")?, listen("filer")?);
    listen("volume")?;
    let server = Server::start(name, SUBJECT_CORE, &weed, &log)?;
    let mut subject = Subject { name, server, address, keys: keys() };
    let makes = || ask(address, &keys(), "PUT", &format!("/{BUCKET}")).is_ok();
    let made = subject.server.wait_until("it has made a bucket", makes);
    made.with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
    if name == SEAWEEDFS {
        sync_octets(binary, &[master, filer])?;
    }
    subject.wait_until_served()
}

/// Has SeaweedFS sync what it writes of octets, in all buckets.
fn sync_octets(binary: &Path, at: &[String]) -> Result<()> {
    let script = "echo 'fs.configure -locationPrefix=/buckets/ -fsync -apply' | \"$0\" shell \"$@\"";
    let mut shell = Command::new("sh");
    let told = process::output(LOAD_CORE, shell.args(["-c", script]).arg(binary).args(at))?;
    let is_set = told.split_whitespace().collect::<String>().contains("\"fsync\":true");
    ensure!(is_set, "{SEAWEEDFS} does not say that it syncs: {told}");
    Ok(())
}

/// Has the kernel sync whatever is written to files that are made in this folder.
fn sync_all_writes(folder: &Path) -> Result<()> {
    let set = Command::new("chattr").args(["+S", "+D"]).arg(folder).output().context("starting chattr")?;
    let told = String::from_utf8_lossy(&set.stderr);
    ensure!(
        set.status.success(),
        "{SEAWEEDFS} needs a file system with the attribute S for results, such as ext4: {told}"
    );
    Ok(())
}

fn keys() -> Keys {
    Keys { access: ACCESS.to_owned(), secret: SECRET.to_owned() }
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
