//! One `proxima node` that keeps the log, dead when the test is.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::process::{dies_with_the_test, free_for_both, output};

const PROXIMA: &str = env!("CARGO_BIN_EXE_proxima");
/// What must happen, happens by then, also on a busy machine: an authority may have to be given up and asked again.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    folder: tempfile::TempDir,
    child: Option<Child>,
    dns: SocketAddr,
    https: SocketAddr,
    api: SocketAddr,
    admin: SocketAddr,
}

impl Server {
    /// Its folder and addresses; it does not run yet.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("at-rest.key"), "ab".repeat(32)).unwrap();
        let [dns, https, api, admin] = std::array::from_fn(|_| free_for_both());
        Self { folder, child: None, dns, https, api, admin }
    }

    pub(crate) const fn dns(&self) -> SocketAddr {
        self.dns
    }

    /// Runs, with these tables beside its own.
    pub(crate) fn start(mut self, tables: &str) -> Self {
        self.start_again(tables);
        self
    }

    pub(crate) fn start_again(&mut self, tables: &str) {
        let path = self.folder.path().join("node.toml");
        let (dns, https, api, admin) = (self.dns, self.https, self.api, self.admin);
        let config = format!(
            "[node]\nname = \"one\"\npop = \"TST\"\nregion = \"test\"\ndata_dir = \"data\"\n\
             key_file = \"at-rest.key\"\nadmin = \"{admin}\"\ndrain_seconds = 1\n\
             [network]\nanycast_addresses = [\"198.18.0.1\"]\nname_servers = [\"ns1.proxima.test\"]\n\
             [dns]\nlisten = [\"{dns}\"]\n[edge]\nhttps = [\"{https}\"]\n\
             [control]\nlisten = [\"{api}\"]\nactivation = \"trust\"\n{tables}"
        );
        std::fs::write(&path, config).unwrap();
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log"));
        let mut command = Command::new(PROXIMA);
        command.arg("node").arg("--config").arg(&path);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.unwrap());
        self.child = Some(dies_with_the_test(&mut command).spawn().unwrap());
        let url = format!("http://{admin}/readyz");
        self.until("a server that is ready", || {
            output(Command::new("curl").args(["-sS", "--fail", &url])).0.then_some(())
        });
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// Waits for something.
    pub(crate) fn until<T>(&self, what: &str, there: impl Fn() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = there() {
                return found;
            }
            assert!(begun.elapsed() < DEADLINE, "{what} did not come; the server said:\n{}", self.log());
        }
    }

    /// A call of the API that succeeds; its answer.
    pub(crate) fn api(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let token = std::fs::read_to_string(self.folder.path().join("data/token")).unwrap();
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-X", method, "-H", &format!("authorization: Bearer {}", token.trim())]);
        if let Some(body) = body {
            curl.args(["-H", "content-type: application/json", "-d", &body.to_string()]);
        }
        let (_, text) = output(curl.arg(format!("http://{}/client/v4{path}", self.api)));
        let answer: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{method} {path}: {text}"));
        assert_eq!(answer["success"], true, "{method} {path}: {text}");
        answer
    }

    /// A new zone's id.
    pub(crate) fn add_zone(&self, name: &str) -> String {
        let zone = self.api("POST", "/zones", Some(json!({ "name": name })));
        zone["result"]["id"].as_str().unwrap().to_owned()
    }

    /// The chain that is shown to a client that trusts this root alone; `None` if it does not come to a session.
    pub(crate) fn handshake(&self, root: &Path, url: &str, args: &[&str]) -> Option<String> {
        let mut curl = Command::new("curl");
        let to = format!("::{}:{}", self.https.ip(), self.https.port());
        curl.args(["-sS", "--max-time", "10", "--http1.1", "-o", "/dev/null", "-w", "%{certs}"]);
        curl.args(["--connect-to", &to, "--cacert"]).arg(root).args(args).arg(url);
        let (succeeded, text) = output(&mut curl);
        succeeded.then_some(text)
    }

    pub(crate) fn dig(&self, args: &[&str]) -> String {
        let (at, port) = (format!("@{}", self.dns.ip()), self.dns.port().to_string());
        output(Command::new("dig").args([&at, "-p", &port]).args(args)).1
    }

    pub(crate) fn metrics(&self) -> String {
        output(Command::new("curl").args(["-sS", &format!("http://{}/metrics", self.admin)])).1
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
