//! Objects of one network by way of real servers, which ask each other over mutual TLS.

use std::{
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
    time::Instant,
};

use serde_json::json;

use crate::{
    cluster::{Cluster, result, token, until},
    dev::DEADLINE,
    http3::python,
    process::{free_for_both, output},
    r2::keys,
    running::Running,
};

/// Two servers that know each other, and where each speaks S3.
fn servers() -> (Cluster, SocketAddr, SocketAddr) {
    let [log, node, log_s3, node_s3] = std::array::from_fn(|_| free_for_both());
    let cluster = Cluster::with(|name| {
        let (listen, s3) = if name == "log" { (log, log_s3) } else { (node, node_s3) };
        let servers = [("log", "FRA", log), ("node", "AMS", node)].map(|(name, pop, address)| {
            format!(
                "[[tiers.servers]]\nname = \"{name}\"\npop = \"{pop}\"\nregion = \"europe\"\n\
                 address = \"{address}\"\n"
            )
        });
        format!("[r2]\nlisten = [\"{s3}\"]\n[tiers]\nlisten = [\"{listen}\"]\n{}", servers.concat())
    });
    (cluster, log_s3, node_s3)
}

/// `curl` with an object of the API of one of them.
pub(crate) struct Api {
    authorization: String,
    account: String,
}

impl Api {
    pub(crate) fn of(cluster: &Cluster, token: &str) -> Self {
        let authorization = format!("authorization: Bearer {token}");
        let url = format!("http://{}/client/v4/accounts", cluster.log_api);
        let listed =
            until("\"id\"", || output(Command::new("curl").args(["-sS", "-H", &authorization, &url])));
        let account = result(&listed)[0]["id"].as_str().unwrap().to_owned();
        Self { authorization, account }
    }

    pub(crate) fn curl(&self, api: SocketAddr, path: &str, args: &[&str]) -> Command {
        let url = format!("http://{api}/client/v4/accounts/{}/r2/buckets{path}", self.account);
        let mut curl = Command::new("curl");
        curl.args(["-sSi", "--max-time", "60", "-H", &self.authorization]).args(args).arg(url);
        curl
    }

    pub(crate) fn run(&self, api: SocketAddr, path: &str, args: &[&str]) -> (bool, String) {
        output(&mut self.curl(api, path, args))
    }
}

/// Makes a bucket with an object in it, whose home is the one server, by way of the other: which asks a server that it found away,
/// since it was started first, again after some time.
fn make_bucket(api: &Api, cluster: &Cluster) {
    let name = json!({ "name": "bucket" }).to_string();
    let make = ["-X", "POST", "-H", "content-type: application/json", "-d", &name];
    until("HTTP/1.1 200", || api.run(cluster.node_api, "", &make));
    let put = ["-X", "PUT", "-d", "before"];
    until("HTTP/1.1 200", || api.run(cluster.log_api, "/bucket/objects/first", &put));
}

#[test]
fn stock_boto3_is_served_by_a_server_that_does_not_have_the_bucket() {
    let (cluster, log_s3, node_s3) = servers();
    let _log = cluster.start("log");
    let token = token(&cluster);
    let _node = cluster.start("node");
    let api = Api::of(&cluster, &token);
    make_bucket(&api, &cluster);
    let (key, secret) = keys(&token);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/clients/test_s3_servers.py");
    let mut pytest = Command::new(python());
    pytest.args(["-m", "pytest", "-q", "-p", "no:cacheprovider", script]);
    pytest.env("PYTHONDONTWRITEBYTECODE", "1").env("PROXIMA_S3_KEY", key).env("PROXIMA_S3_SECRET", secret);
    pytest
        .env("PROXIMA_S3_ONE", format!("http://{log_s3}"))
        .env("PROXIMA_S3_OTHER", format!("http://{node_s3}"));
    let (succeeded, text) = output(&mut pytest);
    assert!(succeeded, "{text}");
}

#[test]
fn a_home_that_is_killed_while_an_upload_streams_is_told_and_has_nothing_of_it() {
    let (cluster, _, _) = servers();
    let _log = cluster.start("log");
    let token = token(&cluster);
    let node = cluster.start("node");
    let (api, home) = (Api::of(&cluster, &token), cluster.node_api);
    let (asked, object) = (cluster.log_api, "/bucket/objects/key");
    make_bucket(&api, &cluster);

    // It sends one part after the other, and is not at its end when the home is killed.
    let file = cluster.at("upload");
    fs::write(&file, vec![b'x'; 64 << 20]).unwrap();
    let file = file.to_str().unwrap();
    let mut curl = api.curl(asked, object, &["--limit-rate", "8M", "-T", file]);
    let upload = Running::start(curl.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let blobs = cluster.at("node").join("data/r2/blobs");
    let begun = Instant::now();
    while octets_below(&blobs) < 4 << 20 {
        assert!(begun.elapsed() < DEADLINE, "nothing comes to the home");
    }
    drop(node);
    let told = upload.output();
    assert!(told.contains("HTTP/1.1 503") && told.to_lowercase().contains("retry-after"), "{told}");
    let away = api.run(asked, "/bucket/objects/first", &[]).1;
    assert!(away.contains("HTTP/1.1 503") && away.contains("node"), "{away}");

    let _node = cluster.start("node");
    let first = until("HTTP/1.1 200", || api.run(asked, "/bucket/objects/first", &[]));
    assert!(first.ends_with("before"), "{first}");
    for server in [home, asked] {
        let nothing = until("HTTP/1.1 404", || api.run(server, object, &[]));
        assert!(!nothing.contains("xxxx"), "{nothing:.200}");
    }
}

/// Octets of all files in a folder.
fn octets_below(folder: &std::path::Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let octets = entries.flatten().map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => octets_below(&entry.path()),
        _ => entry.metadata().map_or(0, |about| about.len()),
    });
    octets.sum()
}
