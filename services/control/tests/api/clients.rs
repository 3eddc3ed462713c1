//! The stock clients, unmodified: the Python SDK `cloudflare`, octoDNS with its Cloudflare provider, and, where what they send is
//! refused, wrangler, `fetch` of Node.js and curl.

use std::{fs, path::PathBuf, process::Command};

use proxima_control::FIRST_ACCOUNT;
use proxima_model::{Permission, TokenScope};

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
    let mut pytest = Command::new(python);
    pytest
        .args(["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"])
        .arg(root().join("tests/clients").join(script))
        .env("PROXIMA_API", base)
        .env("PROXIMA_TOKEN", token)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let (succeeded, text) = output(pytest).await;
    assert!(succeeded, "{script}:\n{text}");
}

/// Whether it succeeded, and what it prints.
async fn output(mut command: Command) -> (bool, String) {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    (output.status.success(), format!("{}\n{}", text(&output.stdout), text(&output.stderr)))
}

#[tokio::test]
async fn the_python_sdk_runs_unmodified() {
    run("test_cloudflare_sdk.py").await;
}

#[tokio::test]
async fn octodns_runs_unmodified() {
    run("test_octodns.py").await;
}

#[tokio::test]
async fn wrangler_says_why_it_may_not_upload() {
    let node = Node::start().await;
    let token = node.token(vec![(TokenScope::Account(FIRST_ACCOUNT), vec![Permission::WorkersRead])]).await;
    let packages = std::env::var_os("PROXIMA_WORKERS_PACKAGES")
        .map_or_else(|| root().join("target/workers/node_modules"), PathBuf::from);
    let project = tempfile::tempdir().unwrap();
    let settings =
        "name = \"app\"\nmain = \"main.js\"\ncompatibility_date = \"2026-11-01\"\nworkers_dev = false\n";
    fs::write(project.path().join("wrangler.toml"), settings).unwrap();
    for octets in [10, 4 << 20] {
        let code = format!("export default {{ fetch: () => new Response('{}') }}", "x".repeat(octets));
        fs::write(project.path().join("main.js"), code).unwrap();
        let mut wrangler = Command::new("node");
        wrangler.arg(packages.join("wrangler/bin/wrangler.js")).arg("deploy").current_dir(project.path());
        wrangler.env("CLOUDFLARE_ACCOUNT_ID", FIRST_ACCOUNT.to_string()).env("CLOUDFLARE_API_TOKEN", &token);
        wrangler.env("CLOUDFLARE_API_BASE_URL", &node.base).env("HOME", project.path());
        wrangler.env("WRANGLER_SEND_METRICS", "false").env("CI", "1").env("NO_COLOR", "1");
        let (succeeded, text) = output(wrangler).await;
        assert!(!succeeded && text.contains("9109") && !text.contains("fetch failed"), "{octets}: {text}");
    }
}

#[tokio::test]
async fn curl_and_fetch_hear_refusals_however_much_they_send() {
    let node = Node::start().await;
    let url = format!("{}/nothing", node.base);
    let large = tempfile::NamedTempFile::new().unwrap();
    large.as_file().set_len(100 << 20).unwrap();
    for framing in [&["-H", "Expect:"][..], &["-H", "Expect:", "-H", "Transfer-Encoding: chunked"], &[]] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-w", "\n%{http_code}", "-T", large.path().to_str().unwrap()])
            .args(framing)
            .arg(&url);
        let (succeeded, text) = output(curl).await;
        assert!(succeeded && text.trim().ends_with("\n404"), "{framing:?}: {text}");
    }
    let code = format!(
        "const ask = async (body) => {{
           const answer = await fetch('{url}', {{ method: 'PUT', body, duplex: 'half' }});
           return `${{answer.status}} ${{(await answer.json()).errors[0].code}}`;
         }};
         const stream = () => new Blob([new Uint8Array(100 << 20)]).stream();
         (async () => {{
           for (const body of ['small', 'small', new Uint8Array(100 << 20), stream(), 'small']) console.log(await ask(body));
         }})();"
    );
    let mut fetches = Command::new("node");
    fetches.args(["-e", &code]);
    let (succeeded, text) = output(fetches).await;
    assert!(succeeded && text.trim() == ["404 7000"; 5].join("\n"), "{text}");
}
