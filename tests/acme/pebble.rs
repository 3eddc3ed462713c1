//! Pebble, with its own certificate and folder, dead when the test is.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    process::{dies_with_the_test, free_for_both, output},
    server::DEADLINE,
};

/// Where an authority is to be, and by which certificate its directory is known.
pub(crate) struct Authority {
    folder: tempfile::TempDir,
    directory: SocketAddr,
    management: SocketAddr,
    /// Lines of `[control.acme]` that bind our account.
    binding: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = free_for_both();
        let made = rcgen::generate_simple_self_signed([directory.ip().to_string()]).unwrap();
        std::fs::write(folder.path().join("root.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        Self { folder, directory, management: free_for_both(), binding: String::new() }
    }

    /// Binds our account by this key.
    pub(crate) fn bind(&mut self, id: &str, key: &str) {
        let path = self.path("eab.key");
        std::fs::write(&path, key).unwrap();
        self.binding = format!("eab_key_id = {id:?}\neab_key_file = {path:?}\n");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `[control.acme]` of a server that orders here.
    pub(crate) fn config(&self, more: &str) -> String {
        format!(
            "[control.acme]\ndirectory = \"https://{}/dir\"\nroot = {:?}\nagree_to_terms = true\n\
             contact = [\"mailto:operator@example.com\"]\n{}{more}",
            self.directory,
            self.path("root.pem"),
            self.binding
        )
    }
}

pub(crate) struct Pebble {
    child: Child,
    folder: PathBuf,
    management: SocketAddr,
}

impl Pebble {
    /// Answers as this authority, and looks for challenges at this DNS server.
    pub(crate) fn start(authority: &Authority, dns: SocketAddr, more: Value) -> Self {
        let mut config = json!({
            "listenAddress": authority.directory.to_string(),
            "managementListenAddress": authority.management.to_string(),
            "certificate": authority.path("root.pem"),
            "privateKey": authority.path("key.pem"),
            "httpPort": 5002,
            "tlsPort": 5001,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        });
        let fields = more.as_object().unwrap().clone();
        config.as_object_mut().unwrap().extend(fields);
        let path = authority.path("pebble.json");
        std::fs::write(&path, json!({ "pebble": config }).to_string()).unwrap();
        let log = std::fs::File::create(authority.path("pebble.log")).unwrap();
        let mut command = Command::new("pebble");
        command.arg("-config").arg(&path).args(["-dnsserver", &dns.to_string()]);
        // It looks at once; of nonces it refuses some, as it does by itself.
        command.env("PEBBLE_VA_NOSLEEP", "1");
        command.stdin(Stdio::null()).stderr(log.try_clone().unwrap()).stdout(log);
        let child =
            dies_with_the_test(&mut command).spawn().expect("pebble is installed: run `cargo xtask setup`");
        let pebble =
            Self { child, folder: authority.folder.path().to_owned(), management: authority.management };
        let begun = Instant::now();
        while !pebble.fetch(authority.directory, "dir").contains("newOrder") {
            assert!(begun.elapsed() < DEADLINE, "pebble did not start: {}", pebble.log());
        }
        pebble
    }

    /// The root of what it issues, in a file.
    pub(crate) fn root(&self) -> PathBuf {
        let pem = self.fetch(self.management, "roots/0");
        assert!(pem.contains("BEGIN CERTIFICATE"), "{pem}");
        let path = self.folder.join("issued-root.pem");
        std::fs::write(&path, pem).unwrap();
        path
    }

    fn fetch(&self, address: SocketAddr, path: &str) -> String {
        let root = self.folder.join("root.pem");
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "5", "--cacert"]).arg(root as PathBuf);
        output(curl.arg(format!("https://{address}/{path}"))).1
    }

    fn log(&self) -> String {
        let path: &Path = &self.folder.join("pebble.log");
        std::fs::read_to_string(path).unwrap_or_default()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("pebble said:\n{}", self.log());
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
