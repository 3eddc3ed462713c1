//! Objects whose octets lie in an S3 engine: in another server's R2, and in Garage where that is installed. Both are killed under
//! load, and so is the node while somebody puts.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    cluster::{Cluster, token, until},
    dev::{DEADLINE, Dev},
    process::{free_for_both, output},
    r2::{keys, make_bucket, object},
    r2_servers::{Api, octets_below},
    running::Running,
};

/// The bucket in the engine.
const BLOBS: &str = "blobs";
/// How long a client waits for an answer of any kind, while the engine is away.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// An engine that can be killed.
enum Engine {
    Proxima(Box<Dev>),
    Garage { program: PathBuf, folder: tempfile::TempDir, running: Option<Running> },
}

/// What Garage is started with. It wants them to look like its own.
const GARAGE_ACCESS: &str = "GK0123456789abcdef01234567";
const GARAGE_SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

impl Engine {
    fn proxima() -> Self {
        let dev = Dev::start();
        make_bucket(&dev, BLOBS);
        Self::Proxima(Box::new(dev))
    }

    /// Garage, if it is installed.
    fn garage() -> Option<(Self, String)> {
        let (found, path) = output(Command::new("sh").args(["-c", "command -v garage"]));
        if !found {
            return None;
        }
        let (folder, address, rpc) = (tempfile::tempdir().unwrap(), free_for_both(), free_for_both());
        let at = |name: &str| folder.path().join(name);
        let config = format!(
            "metadata_dir = {:?}\ndata_dir = {:?}\ndb_engine = \"lmdb\"\nmetadata_fsync = true\ndata_fsync = true\n\
             replication_factor = 1\nrpc_bind_addr = \"{rpc}\"\nrpc_public_addr = \"{rpc}\"\n\
             rpc_secret = \"{GARAGE_SECRET}\"\n[s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"{address}\"\n",
            at("metadata"),
            at("data"),
        );
        fs::write(at("garage.toml"), config).unwrap();
        let mut engine = Self::Garage { program: path.trim().into(), folder, running: None };
        engine.start_again();
        Some((engine, format!("http://{address}")))
    }

    fn start_again(&mut self) {
        match self {
            Self::Proxima(dev) => dev.start_again(),
            Self::Garage { program, folder, running } => {
                let mut garage = Command::new(program);
                garage.env("GARAGE_DEFAULT_ACCESS_KEY", GARAGE_ACCESS);
                garage.env("GARAGE_DEFAULT_SECRET_KEY", GARAGE_SECRET).env("GARAGE_DEFAULT_BUCKET", BLOBS);
                garage.arg("-c").arg(folder.path().join("garage.toml"));
                garage.args(["server", "--single-node", "--default-bucket"]);
                let garage = garage.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                *running = Some(Running::start(garage));
            }
        }
    }

    fn kill(&mut self) {
        match self {
            Self::Proxima(dev) => dev.kill(),
            Self::Garage { running, .. } => *running = None,
        }
    }

    /// `[r2.blobs]` of a node whose blobs lie in it, but for the file of its key; and what that has.
    fn table(&self, endpoint: &str) -> (String, String) {
        let (endpoint, region, (access, secret)) = match self {
            Self::Proxima(dev) => (format!("http://{}", dev.s3), "auto", keys(&dev.token())),
            Self::Garage { .. } => {
                (endpoint.to_owned(), "garage", (GARAGE_ACCESS.to_owned(), GARAGE_SECRET.to_owned()))
            }
        };
        let table = format!(
            "[r2.blobs]\nendpoint = \"{endpoint}\"\nbucket = \"{BLOBS}\"\nregion = \"{region}\"\n\
             access_key = \"{access}\"\nsecret_key_file = \"engine.key\"\nprefix = \"servers\"\n"
        );
        (table, secret)
    }
}

/// A network of one server, whose larger octets lie in this engine.
fn node(engine: &Engine, endpoint: &str) -> Cluster {
    let (table, secret) = engine.table(endpoint);
    let cluster = Cluster::with(|name| if name == "log" { table.clone() } else { String::new() });
    fs::write(cluster.at("log").join("engine.key"), secret).unwrap();
    cluster
}

/// Its API, with a bucket.
fn api(cluster: &Cluster) -> Api {
    let api = Api::of(cluster, &token(cluster));
    let name = json!({ "name": "bucket" }).to_string();
    let make = ["-X", "POST", "-H", "content-type: application/json", "-d", &name];
    until("HTTP/1.1 200", || api.run(cluster.log_api, "", &make));
    api
}

/// A file of octets of which each is this one.
fn file(folder: &Path, name: &str, octet: u8, octets: usize) -> String {
    let path = folder.join(name);
    fs::write(&path, vec![octet; octets]).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The engine is killed while several put, and started again: each is answered, small objects go on meanwhile, and what was
/// acknowledged is there.
fn is_killed_under_load(mut engine: Engine, endpoint: &str) {
    let cluster = node(&engine, endpoint);
    let running = cluster.start("log");
    let (api, at) = (api(&cluster), cluster.log_api);
    let folder = tempfile::tempdir().unwrap();
    let large = file(folder.path(), "large", b'x', 6 << 20);
    until("HTTP/1.1 200", || api.run(at, "/bucket/objects/first", &["-T", &large]));

    let (is_over, acknowledged) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for writer in 0..4 {
            let (api, large, is_over, acknowledged) = (&api, &large, &is_over, &acknowledged);
            scope.spawn(move || {
                for round in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    let (path, began) = (format!("/bucket/objects/{writer}-{round}"), Instant::now());
                    let answer = api.run(at, &path, &["-T", large]).1;
                    assert!(began.elapsed() < ANSWER_MAX, "{:?}: {answer}", began.elapsed());
                    if answer.contains("HTTP/1.1 200") {
                        acknowledged.lock().unwrap().push(path);
                    } else {
                        assert!(answer.contains("HTTP/1.1 503"), "{answer}");
                    }
                }
            });
        }
        let begun = Instant::now();
        let more_than = |least: usize| {
            while acknowledged.lock().unwrap().len() < least {
                assert!(begun.elapsed() < DEADLINE, "nothing is acknowledged");
                thread::yield_now();
            }
        };
        more_than(8);
        engine.kill();
        until("HTTP/1.1 503", || api.run(at, "/bucket/objects/away", &["-T", &large]));
        until("HTTP/1.1 503", || api.run(at, "/bucket/objects/first", &[]));
        let small = ["-X", "PUT", "-d", "small"];
        assert!(
            api.run(at, "/bucket/objects/small", &small).1.contains("HTTP/1.1 200"),
            "what lies in its row"
        );
        assert!(api.run(at, "/bucket/objects/small", &[]).1.ends_with("small"));
        let metrics = format!("http://{}/metrics", cluster.log_admin);
        let metric = |wanted| until(wanted, || output(Command::new("curl").args(["-sS", &metrics])));
        metric("\nproxima_r2_engine_away 1\n");
        engine.start_again();
        let before = acknowledged.lock().unwrap().len();
        more_than(before + 8);
        metric("\nproxima_r2_engine_away 0\n");
        is_over.store(true, Ordering::Relaxed);
    });
    let read = |path: &str| {
        let back = folder.path().join("back");
        let mut curl = api.curl(at, path, &["-o", back.to_str().unwrap(), "--no-include", "-f"]);
        let (succeeded, told) = output(&mut curl);
        assert!(succeeded && fs::read(&back).unwrap() == vec![b'x'; 6 << 20], "{path}: {told}");
    };
    acknowledged.into_inner().unwrap().iter().map(String::as_str).for_each(read);
    drop(running);
    // It has kept where they lie.
    let _running = cluster.start("log");
    until("HTTP/1.1 200", || api.run(at, "/bucket/objects/small", &[]));
    read("/bucket/objects/first");
}

#[test]
fn another_servers_r2_is_killed_under_load_and_no_acknowledged_object_is_lost() {
    is_killed_under_load(Engine::proxima(), "");
}

#[test]
fn garage_is_killed_under_load_and_no_acknowledged_object_is_lost() {
    match Engine::garage() {
        Some((garage, endpoint)) => is_killed_under_load(garage, &endpoint),
        None => {
            eprintln!("not run: there is no `garage` here; `cargo install garage --version 2.5.0` makes it")
        }
    }
}

#[test]
fn a_node_that_is_killed_in_the_middle_of_a_put_leaves_nothing_in_the_engine_when_it_is_back() {
    let engine = Engine::proxima();
    let Engine::Proxima(dev) = &engine else { unreachable!("it was made so") };
    let cluster = node(&engine, "");
    let running = cluster.start("log");
    let (api, at) = (api(&cluster), cluster.log_api);
    let folder = tempfile::tempdir().unwrap();
    let kept = file(folder.path(), "kept", b'y', 1 << 20);
    until("HTTP/1.1 200", || api.run(at, "/bucket/objects/kept", &["-T", &kept]));
    let blobs = dev.data().join("r2/blobs");
    let before = octets_below(&blobs);

    let large = file(folder.path(), "large", b'x', 64 << 20);
    let mut curl = api.curl(at, "/bucket/objects/half", &["--limit-rate", "8M", "-T", &large]);
    let upload = Running::start(curl.stdout(Stdio::null()).stderr(Stdio::null()));
    let begun = Instant::now();
    while octets_below(&blobs) < before + (8 << 20) {
        assert!(begun.elapsed() < DEADLINE, "nothing comes to the engine");
    }
    drop(running);
    drop(upload);

    let _running = cluster.start("log");
    until("HTTP/1.1 404", || api.run(at, "/bucket/objects/half", &[]));
    let back = until("HTTP/1.1 200", || api.run(at, "/bucket/objects/kept", &[]));
    assert!(back.ends_with(&"y".repeat(100)));
    // What it had begun is swept as soon as it is up: one piece is left, which has a row.
    until("one", || {
        let (_, usage) = object(dev, &format!("{BLOBS}/usage"), &[]);
        (true, if usage.contains("\"objectCount\":\"1\"") { "one".to_owned() } else { usage })
    });
}
