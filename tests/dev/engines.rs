//! Engines of S3, in whose bucket octets of objects lie: another server's R2, SeaweedFS, and Garage. Each can be killed, started
//! again where it was, and have its bucket looked into.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    cluster::until,
    dev::Dev,
    http3::python,
    process::{free_for_both, output},
    r2::{keys, make_bucket},
    running::Running,
};

/// The bucket in the engine.
pub(crate) const BLOBS: &str = "blobs";
/// What engines of others are started with. Garage wants them to look like its own.
const ACCESS: &str = "GK0123456789abcdef01234567";
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Addresses that one listens at, at most; it speaks S3 at the first.
const ADDRESSES: usize = 8;

/// An engine that others have made.
pub(crate) struct Kind {
    /// For which region requests are signed.
    region: &'static str,
    /// Its program.
    program: fn() -> Option<PathBuf>,
    /// Adds what it is started with, whose data are in this folder.
    arguments: fn(&mut Command, &Path, &[SocketAddr; ADDRESSES]),
}

/// All in one process. Nothing it says of itself goes anywhere, and nothing lies outside of its folder.
pub(crate) const SEAWEEDFS: Kind = Kind {
    region: "us-east-1",
    // Its absence is an error when it is started.
    program: || Some(python().with_file_name("weed")),
    arguments: |weed, folder, addresses| {
        weed.env("AWS_ACCESS_KEY_ID", ACCESS).env("AWS_SECRET_ACCESS_KEY", SECRET).env("HOME", folder);
        weed.args(["server", "-filer", "-s3", "-master.telemetry=false", "-volume.max=8"]);
        weed.args(["-master.volumeSizeLimitMB=1024", "-s3.port.iceberg=0", "-s3.port.lance=0"]);
        // It elects itself when this has passed.
        weed.arg("-master.electionTimeout=1s");
        let at = folder.to_str().unwrap();
        weed.args([
            format!("-dir={at}"),
            format!("-filer.localSocket={at}/f"),
            format!("-s3.localSocket={at}/s"),
        ]);
        let ip = addresses[0].ip();
        weed.args([format!("-ip={ip}"), format!("-ip.bind={ip}")]);
        let ports = ["s3", "master", "volume", "filer"]
            .map(|part| [format!("{part}.port"), format!("{part}.port.grpc")]);
        for (flag, address) in ports.as_flattened().iter().zip(addresses) {
            weed.arg(format!("-{flag}={}", address.port()));
        }
    },
};

pub(crate) const GARAGE: Kind = Kind {
    region: "garage",
    program: || {
        let (is_there, path) = output(Command::new("sh").args(["-c", "command -v garage"]));
        is_there.then(|| path.trim().into())
    },
    arguments: |garage, folder, [s3, rpc, ..]| {
        let at = |name: &str| folder.join(name);
        let config = format!(
            "metadata_dir = {:?}\ndata_dir = {:?}\ndb_engine = \"lmdb\"\nmetadata_fsync = true\ndata_fsync = true\n\
             replication_factor = 1\nrpc_bind_addr = \"{rpc}\"\nrpc_public_addr = \"{rpc}\"\n\
             rpc_secret = \"{SECRET}\"\n[s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"{s3}\"\n",
            at("metadata"),
            at("data"),
        );
        fs::write(at("garage.toml"), config).unwrap();
        garage.env("GARAGE_DEFAULT_ACCESS_KEY", ACCESS).env("GARAGE_DEFAULT_SECRET_KEY", SECRET);
        garage.env("GARAGE_DEFAULT_BUCKET", BLOBS).arg("-c").arg(at("garage.toml"));
        garage.args(["server", "--single-node", "--default-bucket"]);
    },
};

/// One that runs, with the bucket [`BLOBS`].
pub(crate) struct Engine {
    program: Program,
    pub(crate) s3: SocketAddr,
    region: &'static str,
    keys: (String, String),
}

enum Program {
    Proxima(Box<Dev>),
    Other(Box<Other>),
}

struct Other {
    kind: Kind,
    path: PathBuf,
    folder: tempfile::TempDir,
    addresses: [SocketAddr; ADDRESSES],
    running: Option<Running>,
}

impl Other {
    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn start(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.log()).unwrap();
        let folder = self.folder.path();
        let mut command = Command::new(&self.path);
        (self.kind.arguments)(&mut command, folder, &self.addresses);
        command.current_dir(folder).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.running = Some(Running::start(&mut command));
    }
}

impl Engine {
    /// Another server.
    pub(crate) fn proxima() -> Self {
        let dev = Dev::start();
        make_bucket(&dev, BLOBS);
        Self {
            s3: dev.s3,
            region: "auto",
            keys: keys(&dev.token()),
            program: Program::Proxima(Box::new(dev)),
        }
    }

    /// One of this kind, unless it is one that need not be installed, and is not.
    pub(crate) fn of(kind: Kind) -> Option<Self> {
        let (path, folder) = ((kind.program)()?, tempfile::tempdir().unwrap());
        let addresses = std::array::from_fn(|_| free_for_both());
        let keys = (ACCESS.to_owned(), SECRET.to_owned());
        let region = kind.region;
        let other = Other { kind, path, folder, addresses, running: None };
        let program = Program::Other(Box::new(other));
        let mut engine = Self { program, s3: addresses[0], region, keys };
        engine.start_again();
        until("HTTP/1.1 200", || {
            // Garage has made it.
            engine.ask("", &["-X", "PUT"]);
            engine.ask("?list-type=2", &[])
        });
        Some(engine)
    }

    pub(crate) fn start_again(&mut self) {
        match &mut self.program {
            Program::Proxima(dev) => dev.start_again(),
            Program::Other(other) => other.start(),
        }
    }

    pub(crate) fn kill(&mut self) {
        match &mut self.program {
            Program::Proxima(dev) => dev.kill(),
            Program::Other(other) => other.running = None,
        }
    }

    /// Has it do nothing, and take connections all the same; until it goes on.
    pub(crate) fn signal(&self, signal: Signal) {
        match &self.program {
            Program::Proxima(dev) => dev.signal(signal),
            Program::Other(other) => {
                let pid = other.running.as_ref().expect("it runs").0.id();
                kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
            }
        }
    }

    /// `[r2.blobs]` of a node whose blobs lie in it, but for the file of its key; and what that has.
    pub(crate) fn table(&self) -> (String, String) {
        let (access, secret) = self.keys.clone();
        let table = format!(
            "[r2.blobs]\nendpoint = \"http://{}\"\nbucket = \"{BLOBS}\"\nregion = \"{}\"\n\
             access_key = \"{access}\"\nsecret_key_file = \"engine.key\"\nprefix = \"servers\"\n",
            self.s3, self.region
        );
        (table, secret)
    }

    /// Asks it for something of its bucket, as its owner does.
    pub(crate) fn ask(&self, path: &str, args: &[&str]) -> (bool, String) {
        let (access, secret) = &self.keys;
        let mut curl = Command::new("curl");
        curl.args(["-sSi", "--max-time", "10", "--aws-sigv4", &format!("aws:amz:{}:s3", self.region)]);
        curl.args(["--user", &format!("{access}:{secret}"), "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]);
        curl.args(args);
        output(curl.arg(format!("http://{}/{BLOBS}{path}", self.s3)))
    }

    /// What lies in its bucket: names, with their octets.
    pub(crate) fn objects(&self) -> Vec<(String, u64)> {
        let listed = until("</ListBucketResult>", || self.ask("?list-type=2", &[]));
        let between = |text: &str, tag: &str| {
            let (_, begun) = text.split_once(&format!("<{tag}>")).expect("it has one of these");
            begun.split_once('<').expect("it ends").0.to_owned()
        };
        let found = listed.split("<Contents>").skip(1);
        found.map(|one| (between(one, "Key"), between(one, "Size").parse().unwrap())).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let (true, Program::Other(other)) = (std::thread::panicking(), &self.program) {
            println!("the engine:\n{}", fs::read_to_string(other.log()).unwrap_or_default());
        }
    }
}
