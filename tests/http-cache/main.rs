//! The published suite `http-cache-tests`, run against `proxima dev` as a reverse proxy before the suite's own server.
//!
//! What is not passed is in `expected.toml`, each with its reason; the test fails when anything else is not passed, and
//! also when something of the list is. The package's release is old, and its repository has newer tests, some of which
//! say the opposite: `expected-newer.toml` is for those, and the test of it wants a checkout.

#![allow(clippy::unwrap_used, reason = "in a test, what should be there and is not ends it")]

#[path = "../dev/dev.rs"]
#[allow(dead_code, reason = "the harness of another suite, which uses more of it")]
mod dev;
mod expected;
#[path = "../dev/process.rs"]
mod process;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use dev::Dev;
use serde::Deserialize;

const HOST: &str = "www.example.com";

/// What became of a test of the suite, as `run.mjs` prints it.
#[derive(Debug, Deserialize)]
struct Verdict {
    kind: String,
    outcome: String,
    detail: String,
}

#[test]
fn the_release_passes_but_for_what_is_listed_with_its_reason() {
    let modules = std::env::var_os("PROXIMA_HTTP_CACHE_TESTS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/http-cache/node_modules"),
        PathBuf::from,
    );
    let suite = modules.join("http-cache-tests");
    assert!(
        suite.exists(),
        "{} is not there: run `cargo xtask setup`, or let PROXIMA_HTTP_CACHE_TESTS name a folder node_modules with it",
        suite.display()
    );
    run(&suite, "server/server.mjs", include_str!("expected.toml"));
}

#[test]
#[ignore = "needs a checkout of the suite's repository with its dependencies, named by PROXIMA_HTTP_CACHE_TESTS_NEWER"]
fn the_repository_passes_but_for_what_is_listed_with_its_reason() {
    let suite = PathBuf::from(std::env::var_os("PROXIMA_HTTP_CACHE_TESTS_NEWER").unwrap());
    run(&suite, "test-engine/server/server.mjs", include_str!("expected-newer.toml"));
}

fn run(suite: &Path, server: &str, expected: &str) {
    let expected = expected::parse(expected);
    let origin = Origin::start(suite, server);
    let dev = Dev::start();
    dev.proxima(&["zones", "add", "example.com"]);
    dev.proxima(&["dns", "add", "example.com", "A", "www", "127.0.0.1", "--proxied"]);
    dev.send_to_origin("example.com", origin.port);
    dev.set("example.com", "ssl", "flexible");
    // The suite asks what happens when the origin hangs up; that a site's owner wants stale pages then is a setting.
    dev.set("example.com", "always_online", "on");
    dev.curl_until(&["-sSi", &dev.http_url(HOST, "/README.md")], "HTTP/1.1 200");

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/http-cache/run.mjs");
    let base = dev.http_url(HOST, "");
    let output = node([script.as_os_str(), suite.as_os_str(), OsStr::new(&base)]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    let verdicts: BTreeMap<String, Verdict> = serde_json::from_str(told.trim()).unwrap();

    for kind in ["required", "optimal", "check"] {
        let of_kind = || verdicts.values().filter(|verdict| verdict.kind == kind);
        let passed = of_kind().filter(|verdict| verdict.outcome == "pass").count();
        println!("{kind}: {passed} of {}", of_kind().count());
    }
    let surprises = expected::surprises(&expected, &verdicts);
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

/// The suite's own server: the origin.
struct Origin {
    child: Child,
    port: u16,
    _pid_file: tempfile::TempDir,
}

impl Origin {
    fn start(suite: &Path, server: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = node([suite.join(server).as_os_str()]);
        // As npm would hand them over.
        command.env("npm_config_protocol", "http").env("npm_config_port", "0");
        command.env("npm_config_pidfile", folder.path().join("pid"));
        // Inherited: what nobody reads would fill a pipe.
        let mut child = command.stderr(Stdio::inherit()).current_dir(suite).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().expect("it says where it listens").unwrap();
        let port = first.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
        // What it says later goes nowhere, but must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, port, _pid_file: folder }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn node<'a>(args: impl IntoIterator<Item = &'a OsStr>) -> Command {
    let mut command = Command::new("node");
    command.arg("--no-warnings").args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    process::dies_with_the_test(&mut command);
    command
}
