//! The stock SDKs of the API, of Python and of Node.js, against a server that runs Workers and has objects and queues. (What else the
//! one of Python does of zones is tested beside the API itself.)

use std::{path::Path, process::Command};

use crate::{
    dev::Dev,
    http3::python,
    process::{node_packages, output},
};

/// Runs it with where the API is; it must succeed.
fn run(command: &mut Command, script: &str) {
    let dev = Dev::start();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients").join(script);
    command.arg(path).env("PROXIMA_API", format!("http://{}", dev.api)).env("PROXIMA_TOKEN", dev.token());
    let (succeeded, text) = output(command);
    assert!(succeeded, "{text}\n{}", dev.log());
}

#[test]
fn the_python_sdk_manages_workers_buckets_and_queues() {
    let mut pytest = Command::new(python());
    pytest.args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]).env("PYTHONDONTWRITEBYTECODE", "1");
    run(&mut pytest, "test_cloudflare_workers.py");
}

#[test]
fn the_node_sdk_manages_zones_workers_keys_buckets_and_queues() {
    let mut node = Command::new("node");
    node.arg("--test").env("NODE_PATH", node_packages());
    run(&mut node, "cloudflare_sdk.test.cjs");
}
