//! The stock clients, unmodified: the Python SDK `cloudflare` and octoDNS with its Cloudflare provider.

use std::{path::PathBuf, process::Command};

use crate::harness::{Node, root};

/// The Python that has the packages of tests/requirements.txt.
fn python() -> PathBuf {
    if let Some(python) = std::env::var_os("PROXIMA_PYTHON") {
        return python.into();
    }
    let venv = std::env::var_os("PROXIMA_VENV").map_or_else(|| root().join("target/venv"), PathBuf::from);
    let python = venv.join("bin/python");
    assert!(
        python.exists(),
        "{} is not there: run `cargo xtask setup`, or let PROXIMA_VENV name a virtual environment with tests/requirements.txt",
        python.display()
    );
    python
}

async fn run(script: &'static str) {
    let python = python();
    let node = Node::start().await;
    let (base, token) = (node.base.clone(), node.token.clone());
    let output = tokio::task::spawn_blocking(move || {
        Command::new(python)
            .args(["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"])
            .arg(root().join("tests/clients").join(script))
            .env("PROXIMA_API", base)
            .env("PROXIMA_TOKEN", token)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap()
    })
    .await
    .unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    assert!(output.status.success(), "{script}:\n{}\n{}", text(&output.stdout), text(&output.stderr));
}

#[tokio::test]
async fn the_python_sdk_runs_unmodified() {
    run("test_cloudflare_sdk.py").await;
}

#[tokio::test]
async fn octodns_runs_unmodified() {
    run("test_octodns.py").await;
}
