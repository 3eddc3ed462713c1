//! Proxima with a Worker before a zone, and bare `workerd` with the same code.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{COMPATIBILITY_DATE, Options};
use crate::api;
use crate::dev::Dev;
use crate::http::HOST;
use crate::process::{self, LOAD_CORE, SUBJECT_CORE, Server, free_address};
use crate::report::PROXIMA;

/// The engine by itself.
pub(super) const WORKERD: &str = "workerd";
/// The code that both run.
const HELLO: &str = "export default { fetch() { return new Response('hello, world\\n') } }\n";

/// What answers with [`HELLO`].
pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) server: Server,
    pub(super) clear: SocketAddr,
    /// `None`: it is only measured in clear.
    pub(super) tls: Option<SocketAddr>,
}

/// `workerd serve`, with nothing but the Worker.
pub(super) fn bare(options: &Options, home: &Path) -> Result<Subject> {
    let clear = free_address()?;
    process::write(&home.join("hello.js"), HELLO)?;
    let config = home.join("config.capnp");
    let text = format!(
        "using Workerd = import \"/workerd/workerd.capnp\";\n\
         const config :Workerd.Config = (\n  services = [(name = \"hello\", worker = .hello)],\n  \
         sockets = [(name = \"http\", address = \"{clear}\", http = (), service = \"hello\")],\n);\n\
         const hello :Workerd.Worker = (\n  modules = [(name = \"hello.js\", esModule = embed \"hello.js\")],\n  \
         compatibilityDate = \"{COMPATIBILITY_DATE}\",\n);\n"
    );
    process::write(&config, text)?;
    let mut workerd = Command::new(&options.workerd);
    workerd.arg("serve").arg(&config);
    let mut server = Server::start(WORKERD, SUBJECT_CORE, &workerd, &home.join("log"))?;
    server.wait_until("the bare engine answers", || api::answers(clear, HOST, "/"))?;
    Ok(Subject { name: WORKERD, server, clear, tls: None })
}

/// `proxima dev` with what it kept in `home`, if anything; it runs Workers.
pub(super) fn node(options: &Options, home: &Path) -> Result<Dev> {
    let workerd = ["--workerd".to_owned(), options.workerd.display().to_string()];
    Dev::start(&options.place.proxima, home, &workerd)
}

/// Deploys the Worker to a node by the API, before all of a zone.
pub(super) fn deploy(mut dev: Dev, home: &Path) -> Result<Subject> {
    let client = api::Client::new(dev.api, &dev.token);
    // Nobody listens there: the Worker answers everything.
    client.serve(HOST, free_address()?)?;
    let (code, metadata) = (home.join("hello.js"), home.join("metadata.json"));
    process::write(&code, HELLO)?;
    let settings = serde_json::json!({"main_module": "hello.js", "compatibility_date": COMPATIBILITY_DATE});
    process::write(&metadata, settings.to_string())?;
    client.worker("hello", &metadata, &code).context("uploading the Worker")?;
    client.route(HOST, &format!("{HOST}/*"), "hello").context("making its route")?;
    let clear = dev.http;
    dev.server
        .wait_until("the Worker answers", || api::answers(clear, HOST, "/"))
        .with_context(|| fs::read_to_string(home.join("log")).unwrap_or_default())?;
    let https = dev.https;
    dev.server.wait_until("the Worker answers by TLS", || answers_by_tls(https))?;
    Ok(Subject { name: PROXIMA, server: dev.server, clear, tls: Some(https) })
}

/// Whether the host is answered 200, with whatever certificate.
fn answers_by_tls(address: SocketAddr) -> bool {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--insecure", "--max-time", "2", "--output", "/dev/null"]);
    curl.arg("--connect-to").arg(format!("::{address}")).arg(format!("https://{HOST}/"));
    process::output(LOAD_CORE, &curl).is_ok()
}
