//! A cluster of two real nodes: the command line to its API over TLS, and `proxima log restore` when the log's node has
//! lost its disk.

use std::{
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest as _;

use crate::{
    dev::{DEADLINE, PROXIMA},
    origin::Origin,
    process::{free_for_both, output, workerd},
    running::Running,
};

/// Two nodes, in folders that are named as they are: `log` keeps the log, `node` follows it.
pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    node: SocketAddr,
    pub(crate) node_api: SocketAddr,
    pub(crate) log_api: SocketAddr,
    log_https: SocketAddr,
    pub(crate) log_admin: SocketAddr,
    node_admin: SocketAddr,
}

impl Cluster {
    fn new() -> Self {
        Self::with(|_| String::new())
    }

    /// With more tables in the configuration of the node of this name.
    pub(crate) fn with(tables: impl Fn(&str) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The follower's API has a port of its own: the usual one may be another test's.
        let [log, node, log_api, log_https, log_admin, node_admin, node_api] =
            std::array::from_fn(|_| free_for_both());
        let cluster = Self { folder, node, node_api, log_api, log_https, log_admin, node_admin };
        cluster.succeeds(Command::new(PROXIMA).args(["ca", "init"]).arg(cluster.at("ca")));
        for (name, pop, listen, admin, more) in [
            (
                "log",
                "FRA",
                log,
                log_admin,
                format!(
                    "[control]\nlisten = [\"{log_api}\"]\nhttps = [\"{log_https}\"]\nactivation = \"trust\"\n"
                ),
            ),
            ("node", "AMS", node, node_admin, format!("[control]\nlisten = [\"{node_api}\"]\n")),
        ] {
            let mut issue = Command::new(PROXIMA);
            issue.args(["ca", "issue", "--name", name, "--ca"]).arg(cluster.at("ca"));
            cluster.succeeds(issue.arg("--out").arg(cluster.at(name)));
            let follows = if name == "log" { String::new() } else { format!("log = \"{log}\"\n") };
            let config = format!(
                "[node]\nname = \"{name}\"\npop = \"{pop}\"\nregion = \"europe\"\ndata_dir = \"data\"\n\
                 key_file = \"../ca/at-rest.key\"\nadmin = \"{admin}\"\n[identity]\nca = \"ca.pem\"\n\
                 certificate = \"node.pem\"\nkey = \"node.key\"\n[ledger]\nlisten = \"{listen}\"\n{follows}{more}{}",
                tables(name)
            );
            std::fs::write(cluster.at(name).join("node.toml"), config).unwrap();
        }
        cluster
    }

    pub(crate) fn at(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn succeeds(&self, command: &mut Command) -> String {
        let (succeeded, text) = output(command);
        assert!(succeeded, "{command:?}: {text}");
        text
    }

    pub(crate) fn start(&self, name: &str) -> Running {
        let log = self.at(name).join("output");
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new(PROXIMA);
        command.arg("node").arg("--config").arg(self.at(name).join("node.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Running::start(&mut command)
    }

    pub(crate) fn client(&self, token: &str, args: &[&str]) -> (bool, String) {
        let mut command = Command::new(PROXIMA);
        command.args(args).env("PROXIMA_API", format!("http://{}", self.log_api)).env("PROXIMA_TOKEN", token);
        output(&mut command)
    }

    fn restore(&self, more: &[&str]) -> (bool, String) {
        let mut command = Command::new(PROXIMA);
        command.args(["log", "restore", "--from", &self.node.to_string(), "--config"]);
        output(command.arg(self.at("log").join("node.toml")).args(more))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in ["log", "node"] {
                println!("{name}:\n{}", read(&self.at(name).join("output")).unwrap_or_default());
            }
        }
    }
}

/// Runs something until it says this, and so succeeds or fails as wanted.
pub(crate) fn until(wanted: &str, mut run: impl FnMut() -> (bool, String)) -> String {
    let begun = Instant::now();
    loop {
        let (_, text) = run();
        if text.contains(wanted) {
            return text;
        }
        assert!(begun.elapsed() < DEADLINE, "{wanted:?} was not said; the last was: {text}");
    }
}

/// The operator's token, once the log's node has written it.
pub(crate) fn token(cluster: &Cluster) -> String {
    let path = cluster.at("log").join("data/token");
    until("written", || (true, read(&path).map_or_else(String::new, |_| "written".to_owned())));
    read(&path).unwrap().trim().to_owned()
}

#[test]
fn the_command_line_speaks_to_an_api_with_tls_that_the_clusters_authority_vouches_for() {
    let cluster = Cluster::new();
    let _log = cluster.start("log");
    let token = token(&cluster);
    until("example.com", || cluster.client(&token, &["zones", "add", "example.com"]));
    let ca = cluster.at("ca").join("ca.pem");
    let (address, port) = (cluster.log_https.ip().to_string(), cluster.log_https.port());
    let named = |name: &str| format!("https://{name}.node.internal:{port}");
    let list = |api: &str, ca: Option<&Path>| {
        let mut command = Command::new(PROXIMA);
        command.args(["zones", "--api", api, "--api-address", &address, "--token", &token]);
        if let Some(ca) = ca {
            command.arg("--ca").arg(ca);
        }
        output(command.arg("list"))
    };
    let (succeeded, listed) = list(&named("log"), Some(&ca));
    assert!(succeeded && listed.contains("example.com"), "{listed}");
    let mut by_variables = Command::new(PROXIMA);
    by_variables.args(["zones", "list"]).env("PROXIMA_API", named("log")).env("PROXIMA_TOKEN", &token);
    by_variables.env("PROXIMA_CA", &ca).env("PROXIMA_API_ADDRESS", &address);
    assert!(cluster.succeeds(&mut by_variables).contains("example.com"));

    for (api, ca) in [(named("log"), None), (named("other"), Some(ca.as_path()))] {
        let (succeeded, refused) = list(&api, ca);
        assert!(!succeeded && refused.contains("certificate") && refused.contains("--ca"), "{refused}");
        assert!(!refused.contains("example.com"), "{refused}");
    }
    for (file, told) in [("no-such-file", "No such file"), ("at-rest.key", "there is no certificate in it")] {
        let (succeeded, refused) = list(&named("log"), Some(&cluster.at("ca").join(file)));
        assert!(!succeeded && refused.contains(told), "{refused}");
    }
}

#[test]
fn nothing_that_was_purged_while_a_server_was_off_comes_from_its_disk_while_it_cannot_hear_of_it() {
    let origin = Origin::start();
    let http = free_for_both();
    let cluster = Cluster::with(|name| match name {
        "node" => format!(
            "[edge]\nhttp = [\"{http}\"]\nhttps = []\nallow_private_origins = true\n[cache]\ndisk_bytes_max = {}\n",
            64 << 20
        ),
        _ => String::new(),
    });
    let log = cluster.start("log");
    let token = token(&cluster);
    let client = |args: &[&str]| {
        let (succeeded, said) = cluster.client(&token, args);
        assert!(succeeded, "{args:?}: {said}");
    };
    until("example.com", || cluster.client(&token, &["zones", "add", "example.com"]));
    client(&["dns", "add", "example.com", "A", "www", "127.0.0.1", "--proxied"]);
    client(&["zones", "origin", "example.com", "--port", &origin.port().to_string()]);
    let get = |path: &str| {
        let url = format!("http://{http}{path}");
        output(Command::new("curl").args(["-sSi", "--max-time", "30", "-H", "Host: www.example.com", &url]))
    };
    let on_disk = |objects: usize, asked: &[&str]| {
        let metrics = format!("http://{}/metrics", cluster.node_admin);
        until(&format!("\nproxima_cache_disk_objects {objects}\n"), || {
            asked.iter().for_each(|path| drop(get(path)));
            output(Command::new("curl").args(["-sS", &metrics]))
        });
    };

    let node = cluster.start("node");
    // Only what is asked for again is written, and not while the disk has enough to do.
    on_disk(3, &["/tagged/a", "/tagged/b", "/text"]);
    drop(node);
    client(&["purge", "example.com", "--tag", "a"]);

    // It starts with what it knew, and the log says nothing.
    let stopped = Pid::from_raw(log.0.id().try_into().unwrap());
    kill(stopped, Signal::SIGSTOP).unwrap();
    let _node = cluster.start("node");
    let first = until("HTTP/1.1 200", || get("/tagged/a"));
    assert!(first.contains("cf-cache-status: MISS"), "{first}");
    kill(stopped, Signal::SIGCONT).unwrap();

    // Then its disk is its own again: all but what it has stored anew meanwhile, and what was purged.
    on_disk(2, &[]);
    let kept = get("/text").1;
    assert!(kept.contains("cf-cache-status: HIT"), "{kept:.500}");
    assert_eq!((origin.requests("/tagged/a"), origin.requests("/text")), (2, 1));
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().filter(|text| !text.is_empty())
}

#[test]
fn a_log_whose_disk_was_lost_is_restored_from_a_server_that_followed_it() {
    let cluster = Cluster::new();
    let log = cluster.start("log");
    let token = token(&cluster);
    until("example.com", || cluster.client(&token, &["zones", "add", "example.com"]));
    let _node = cluster.start("node");
    let ready = format!("http://{}/readyz", cluster.node_admin);
    until("\"ready\":true", || output(Command::new("curl").args(["-sS", &ready])));
    let running = until("stop this node first", || cluster.restore(&["--yes"]));
    assert!(running.contains("nothing was changed"), "{running}");

    drop(log);
    let lives_or_whole = until("a whole log is in", || cluster.restore(&["--yes"]));
    assert!(lives_or_whole.contains("start the node"), "{lives_or_whole}");
    std::fs::remove_dir_all(cluster.at("log").join("data")).unwrap();
    let told = until("With --yes, it is done", || cluster.restore(&[]));
    assert!(told.contains("There is no log here") && told.contains("Lost:"), "{told}");
    assert!(
        told.contains("nothing starts it") && told.contains("as the user that the node runs as"),
        "{told}"
    );
    assert!(!cluster.at("log").join("data").exists(), "nothing is changed without --yes");
    let (succeeded, done) = cluster.restore(&["--yes"]);
    assert!(succeeded && done.contains("The log is restored"), "{done}");
    assert!(done.contains("nothing starts it"), "{done}");

    let _log = cluster.start("log");
    let listed = until("example.com", || cluster.client(&token, &["zones", "list"]));
    assert!(listed.contains("active"), "{listed}");
    until("example.org", || cluster.client(&token, &["zones", "add", "example.org"]));
}

/// What is answered below this path of an API, and as JSON.
fn get(api: SocketAddr, token: &str, path: &str) -> (bool, String) {
    let (url, authorization) =
        (format!("http://{api}/client/v4{path}"), format!("authorization: Bearer {token}"));
    output(Command::new("curl").args(["-sS", "-g", "-H", &authorization, &url]))
}

pub(crate) fn result(text: &str) -> Value {
    let envelope: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    envelope["result"].clone()
}

#[test]
fn what_two_name_servers_were_asked_is_told_by_name_type_code_and_pop() {
    let (log_dns, node_dns) = (free_for_both(), free_for_both());
    let cluster = Cluster::with(|name| {
        let listen = if name == "log" { log_dns } else { node_dns };
        format!("[dns]\nlisten = [\"{listen}\"]\n")
    });
    let log = cluster.start("log");
    let token = token(&cluster);
    until("example.com", || cluster.client(&token, &["zones", "add", "example.com"]));
    let (added, text) = cluster.client(&token, &["dns", "add", "example.com", "A", "www", "192.0.2.1"]);
    assert!(added, "{text}");
    let _node = cluster.start("node");
    let dig = |at: SocketAddr, args: &[&str]| {
        let (port, server) = (at.port().to_string(), format!("@{}", at.ip()));
        output(Command::new("dig").args(["-p", &port, &server, "+tries=1", "+timeout=5"]).args(args))
    };
    for at in [log_dns, node_dns] {
        until("status: NXDOMAIN", || dig(at, &["ready.example.com", "A"]));
    }
    for _ in 0..3 {
        assert!(dig(log_dns, &["WWW.example.com", "A"]).1.contains("192.0.2.1"));
    }
    assert!(dig(log_dns, &["+tcp", "nothing.example.com", "AAAA"]).1.contains("NXDOMAIN"));
    assert!(dig(node_dns, &["www.example.com", "AAAA"]).1.contains("NOERROR"));
    assert!(dig(node_dns, &["+tcp", "www.example.com", "TXT"]).1.contains("NOERROR"));
    dig(node_dns, &["www.example.net", "A"]);

    let zones = result(&get(cluster.log_api, &token, "/zones?name=example.com").1);
    let report = |more: &str| {
        let zone = zones[0]["id"].as_str().unwrap();
        format!("/zones/{zone}/dns_analytics/report{more}filters=queryName!=ready.example.com")
    };
    let by = "?dimensions=coloName,queryName,queryType,responseCode,tcp,ipVersion&sort=coloName,queryName,queryType&";
    // The follower asks the log's node, to which both have reported.
    let whole = "\"totals\":{\"queryCount\":6}";
    let told = until(whole, || get(cluster.node_api, &token, &report(by)));
    let row = |dimensions: [&str; 6], queries: u32| json!({ "dimensions": dimensions, "metrics": [queries] });
    assert_eq!(
        result(&told)["data"],
        json!([
            row(["AMS", "www.example.com", "AAAA", "NOERROR", "0", "4"], 1),
            row(["AMS", "www.example.com", "TXT", "NOERROR", "1", "4"], 1),
            row(["FRA", "nothing.example.com", "AAAA", "NXDOMAIN", "1", "4"], 1),
            row(["FRA", "www.example.com", "A", "NOERROR", "0", "4"], 3),
        ])
    );
    let by_time = result(&get(cluster.log_api, &token, &report("/bytime?time_delta=hour&")).1);
    let counts = by_time["data"][0]["metrics"][0].as_array().unwrap();
    assert_eq!(counts.iter().filter_map(Value::as_u64).sum::<u64>(), 6, "{by_time}");
    assert_eq!(by_time["time_intervals"].as_array().unwrap().len(), counts.len());

    // What is kept outlives a process, and is not within reach without it.
    drop(log);
    let away = get(cluster.node_api, &token, &report(by)).1;
    assert!(away.contains("10022") && away.contains("not within reach"), "{away}");
    let _log = cluster.start("log");
    until(whole, || get(cluster.node_api, &token, &report(by)));
}

/// One call of an API that succeeds; its result.
pub(crate) fn call(api: SocketAddr, token: &str, path: &str, args: &[&str]) -> Value {
    let (url, authorization) =
        (format!("http://{api}/client/v4{path}"), format!("authorization: Bearer {token}"));
    let (_, text) = output(Command::new("curl").args(["-sS", "-H", &authorization, &url]).args(args));
    assert!(text.contains("\"success\":true"), "{path}: {text}");
    result(&text)
}

/// A cluster whose servers run Workers and know each other; where each of them, `log` and `node`, speaks HTTP.
pub(crate) fn with_workers() -> (Cluster, [SocketAddr; 2]) {
    let [log_http, node_http, log_tiers, node_tiers] = std::array::from_fn(|_| free_for_both());
    let cluster = Cluster::with(|name| {
        let (http, tiers) = if name == "log" { (log_http, log_tiers) } else { (node_http, node_tiers) };
        let server = |name, pop, at| {
            format!(
                "[[tiers.servers]]\nname = \"{name}\"\npop = \"{pop}\"\nregion = \"europe\"\naddress = \"{at}\"\n"
            )
        };
        format!(
            "[edge]\nhttp = [\"{http}\"]\nhttps = []\n[workers]\nworkerd = {:?}\n[tiers]\nlisten = [\"{tiers}\"]\n{}{}",
            workerd().expect("workerd is there"),
            server("log", "FRA", log_tiers),
            server("node", "AMS", node_tiers),
        )
    });
    (cluster, [log_http, node_http])
}

/// Uploads a Worker `app`, with more in its metadata, which has all of www.example.com; its path in the API.
pub(crate) fn deploy(cluster: &Cluster, token: &str, code: &str, more: Value) -> String {
    until("example.com", || cluster.client(token, &["zones", "add", "example.com"]));
    let (added, text) =
        cluster.client(token, &["dns", "add", "example.com", "A", "www", "127.0.0.1", "--proxied"]);
    assert!(added, "{text}");
    let zone = &call(cluster.log_api, token, "/zones?name=example.com", &[])[0];
    let id = |of: &Value| of["id"].as_str().unwrap().to_owned();
    let script = format!("/accounts/{}/workers/scripts/app", id(&zone["account"]));
    let main = cluster.at("main.js");
    std::fs::write(&main, code).unwrap();
    let module = format!("main.js=@{};filename=main.js;type=application/javascript+module", main.display());
    let mut metadata = json!({ "main_module": "main.js", "compatibility_date": "2026-11-01" });
    metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let metadata = format!("metadata={metadata}");
    call(cluster.log_api, token, &script, &["-X", "PUT", "--form-string", &metadata, "-F", &module]);
    let route = "{\"pattern\":\"www.example.com/*\",\"script\":\"app\"}";
    let routes = format!("/zones/{}/workers/routes", id(zone));
    call(cluster.log_api, token, &routes, &["-H", "content-type: application/json", "-d", route]);
    script
}

#[test]
fn live_logs_at_one_server_show_what_a_worker_does_on_the_other() {
    let (cluster, [_, node_http]) = with_workers();
    let _log = cluster.start("log");
    let token = token(&cluster);
    let code = "export default { fetch: (request) => (console.log(request.url), new Response('here')) }";
    let script = deploy(&cluster, &token, code, json!({}));
    let mut node = cluster.start("node");
    let ask = |path: &str| {
        let url = format!("http://{node_http}{path}");
        output(Command::new("curl").args(["-sS", "--max-time", "30", "-H", "Host: www.example.com", &url]))
    };
    until("here", || ask("/before"));

    let tail = call(cluster.log_api, &token, &format!("{script}/tails"), &["-X", "POST"]);
    let mut request = tail["url"].as_str().unwrap().into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "trace-v1".parse().unwrap());
    let stream = TcpStream::connect(cluster.log_api).unwrap();
    let (mut socket, _) = tungstenite::client(request, stream).unwrap();
    socket.get_ref().set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    // The other server hears of the tail a moment later; and anew, when it is back.
    let mut until_seen = |path: &str| {
        until(&format!("http://www.example.com{path}"), || {
            ask(path);
            let said = socket.read().map_or_else(|error| error.to_string(), |message| message.to_string());
            (true, said)
        })
    };
    let event: Value = serde_json::from_str(&until_seen("/there")).unwrap();
    assert_eq!(
        (&event["scriptName"], &event["event"]["request"]["cf"]["colo"]),
        (&json!("app"), &json!("AMS"))
    );
    drop(node);
    node = cluster.start("node");
    until_seen("/again");
    drop(node);
}
