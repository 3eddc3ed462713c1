//! `proxima node` of a cluster whose log is not there: what it says and checks before it serves.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    dev::{DEADLINE, PROXIMA},
    process::{free_for_both, output},
    running::Running,
};

/// A follower with an identity, and its configuration.
struct Follower {
    folder: tempfile::TempDir,
    admin: SocketAddr,
}

impl Follower {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (authority, identity) = (at("ca"), at("one"));
        for args in
            [vec!["init", &authority], vec!["issue", "--ca", &authority, "--name", "one", "--out", &identity]]
        {
            let (succeeded, text) = output(Command::new(PROXIMA).arg("ca").args(args));
            assert!(succeeded, "{text}");
        }
        Self { folder, admin: free_for_both() }
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its configuration; nobody listens at port 1.
    fn config(&self) -> String {
        format!(
            "[node]\nname = \"one\"\npop = \"FRA\"\nregion = \"europe\"\ndata_dir = \"data\"\n\
             key_file = \"ca/at-rest.key\"\nadmin = \"{}\"\ndrain_seconds = 5\n\
             [identity]\nca = \"one/ca.pem\"\ncertificate = \"one/node.pem\"\nkey = \"one/node.key\"\n\
             [ledger]\nlog = \"127.0.0.1:1\"\n",
            self.admin
        )
    }

    /// `proxima node`, about to run with this configuration.
    fn command(&self, config: &str) -> Command {
        let path = self.folder().join("node.toml");
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new(PROXIMA);
        command.arg("node").arg("--config").arg(path);
        command
    }

    fn check(&self, config: &str) -> (bool, String) {
        output(self.command(config).arg("--check"))
    }

    /// What the admin port answers: status and body. Asked until it does.
    fn ask(&self, path: &str) -> (String, String) {
        let url = format!("http://{}{path}", self.admin);
        let begun = Instant::now();
        loop {
            let (succeeded, text) = output(Command::new("curl").args(["-sS", "-w", "\n%{http_code}", &url]));
            if succeeded {
                let (body, code) = text.rsplit_once('\n').unwrap();
                return (code.to_owned(), body.to_owned());
            }
            assert!(begun.elapsed() < DEADLINE, "{url}: {text}");
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "a certificate ends by the wall clock")]
#[test]
fn a_node_that_waits_for_its_first_snapshot_says_so_and_ends_when_told() {
    let follower = Follower::new();
    let log = std::fs::File::create(follower.folder().join("log")).unwrap();
    let mut command = follower.command(&follower.config());
    let mut node = Running::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log));

    assert_eq!(follower.ask("/healthz").0, "200");
    let (code, body) = follower.ask("/readyz");
    let said: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code.as_str(), &said["ready"]), ("503", &Value::Bool(false)), "{body}");
    assert_eq!(said["starting"], "waits for its first snapshot", "{body}");
    let (code, body) = follower.ask("/status");
    let said: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code.as_str(), &said["ledger"]["role"]), ("200", &Value::from("follower")), "{body}");
    assert_eq!(said["pid"], node.0.id(), "{body}");

    let (_, metrics) = follower.ask("/metrics");
    let name = "proxima_node_identity_expires_seconds ";
    let expires = metrics.lines().find_map(|line| line.strip_prefix(name)).expect(&metrics);
    let from_now = |days: u64| SystemTime::now() + Duration::from_secs(days * 86_400);
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(expires.parse().unwrap());
    assert!(at > from_now(824) && at <= from_now(825), "{expires}");

    kill(Pid::from_raw(i32::try_from(node.0.id()).unwrap()), Signal::SIGTERM).unwrap();
    let ended = node.0.wait().unwrap();
    assert!(ended.success(), "{ended}");
}

#[test]
fn a_check_reads_the_files_and_finds_the_program_that_the_configuration_names() {
    let follower = Follower::new();
    let config = follower.config();
    let (succeeded, text) = follower.check(&config);
    assert!(succeeded && text.contains("fine"), "{text}");
    assert!(!follower.folder().join("data").exists(), "a check makes nothing");

    std::fs::write(follower.folder().join("rubbish"), "rubbish").unwrap();
    let anycast = "[anycast]\nenabled = true\nprefixes = [\"198.18.0.0/24\"]\nlocal_as = 64512\n\
                   router_id = \"10.0.0.1\"\nrun_dir = \"run\"\nbird = \"no-bird\"\n\
                   neighbors = [{ name = \"uplink\", address = \"10.0.0.2\", as = 64513 }]\n";
    let authority = "directory = \"https://ca.example/directory\"\nagree_to_terms = true\n";
    let identity = config.split_once("[identity]").unwrap().1.split_once("[ledger]").unwrap().0;
    let wrong = [
        (config.replace("ca/at-rest.key", "no-key"), "no-key"),
        (config.replace("ca/at-rest.key", "rubbish"), "key_file"),
        (config.replace("one/node.pem", "rubbish"), "rubbish: there is no certificate in it"),
        (config.replace("one/node.key", "no-node.key"), "no-node.key"),
        (config.replace("one/node.key", "ca/ca.key"), "one/node.pem"),
        (config.replace(&format!("[identity]{identity}"), ""), "need `[identity]`"),
        (config.replace("log = \"127.0.0.1:1\"", "upstreams = [\"127.0.0.1:1\"]"), "`ledger.upstreams`"),
        (format!("{config}[control.acme]\n{authority}root = \"no-root\"\n"), "no-root"),
        (format!("{config}[control.acme]\n{authority}eab_key_id = \"kid\"\n"), "`eab_key_file`"),
        (format!("{config}[edge]\norigin_ca = \"no-authorities\"\n"), "no-authorities"),
        (format!("{config}[edge.request_log]\npath = \"no-folder/requests\"\n"), "no-folder/requests"),
        (format!("{config}{anycast}"), "no-bird is not a file"),
    ];
    for (config, told) in wrong {
        let (succeeded, text) = follower.check(&config);
        assert!(!succeeded && text.contains(told), "{told} is not in: {text}");
    }
}
