//! What stands around the engine, seen from within by a probe that runs in its place, and from outside.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::PathBuf,
    process::Command,
};

use nix::unistd::{geteuid, getpid};
use proxima_chassis::{Health, Service as _};

use proxima_model::{AccountId, WorkerVersionId};

use crate::harness::{Code, OTHER, OWN, Running, children, probe, stat, with_engine, with_node};

/// A user who is not root.
const NOBODY: u32 = 65_534;

/// Runs a test against a node whose engine is the probe.
fn with_probe<F: Future<Output = ()>>(isolation: &str, test: impl FnOnce(std::sync::Arc<Running>) -> F) {
    with_node(
        &format!("workerd = {:?}\nshards = 1\nisolation = {isolation:?}\n", probe()),
        async |running| {
            running.upload(OWN, "app", Code::fetch("")).await;
            test(running).await;
        },
    );
}

/// What the probe says, line by line.
async fn say(running: &Running, what: &str) -> Vec<String> {
    let answer = running.get(OWN, "app", what).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text.lines().map(str::to_owned).collect()
}

/// The same, by its first word.
async fn say_by_name(running: &Running, what: &str) -> BTreeMap<String, String> {
    let said = say(running, what).await;
    let named = |line: &String| line.split_once(' ').map(|(name, rest)| (name.to_owned(), rest.to_owned()));
    said.iter().filter_map(named).collect()
}

#[test]
fn a_process_sees_its_program_its_libraries_and_the_nodes_sockets_and_writes_nothing() {
    with_probe("full", async |running| {
        let files = say(&running, "/files").await;
        let allowed = |path: &String| {
            ["/lib", "/run", "/dev"].iter().any(|folder| path.starts_with(folder)) || path == "/cage-probe"
        };
        assert!(files.iter().all(allowed), "{files:?}");
        assert!(files.contains(&"/run/code.sock".to_owned()), "{files:?}");
        assert!(files.len() < 40, "{files:?}");
        let devices: Vec<_> = files.iter().filter(|path| path.starts_with("/dev/")).collect();
        assert_eq!(devices, ["/dev/null", "/dev/urandom"]);
        assert!(!files.iter().any(|path| path.starts_with("/run/") && path.ends_with("0.sock")), "{files:?}");
        let written = say(&running, "/write").await;
        // Random numbers may be stirred by anybody; nothing is kept.
        let harmless = |path: &String| path.starts_with("/dev/");
        assert!(written.iter().all(harmless), "{written:?}");
        assert_eq!(say(&running, "/connect?/run/code.sock").await, ["ok"]);
        assert_eq!(
            say(&running, "/run?/cage-probe").await,
            ["EPERM: Operation not permitted"],
            "no second process"
        );
    });
}

#[test]
fn a_process_asks_the_node_in_nobodys_name_but_that_of_accounts_whose_workers_it_runs() {
    with_probe("full", async |running| {
        let field = |account: AccountId, code: Option<AccountId>| {
            let code = code.map(|account| {
                format!(",%22code%22:%22{account}/app/{}%22", WorkerVersionId::from_random([1; 16]))
            });
            format!("{{%22proxima%22:{{%22account%22:%22{account}%22{}}}}}", code.unwrap_or_default())
        };
        let (own, other) = (field(OWN, Some(OWN)), field(OTHER, None));
        // Of its own account what it asks for is answered, if only by what is wrong with it.
        for socket in ["assets", "cache", "durable", "egress", "kv", "queue", "r2", "tail"] {
            let ask = |field: &str| format!("/ask?{socket},/,{field}");
            let status = say(&running, &ask(&own)).await;
            assert!(status[0].parse::<u16>().is_ok_and(|status| status != 403), "{socket}: {status:?}");
            for field in [&other, &field(OWN, Some(OTHER)), "", "{}", "nonsense"] {
                assert_eq!(say(&running, &ask(field)).await, ["403"], "{socket}, {field}");
            }
        }
        for (account, field, expected) in [
            (OWN, "", "404"),
            (OWN, &*own, "404"),
            (OWN, &*other, "403"),
            (OTHER, "", "403"),
            (OTHER, &*own, "403"),
        ] {
            for path in [format!("/deployed/{account}/none"), format!("/{account}/none/none")] {
                assert_eq!(
                    say(&running, &format!("/ask?code,{path},{field}")).await,
                    [expected],
                    "{path}, {field}"
                );
            }
        }
        let text = running.node.metrics.encode();
        assert!(text.contains("proxima_workers_misnamed_total 46"), "{text}");
    });
}

#[test]
fn a_process_has_no_network_and_no_sockets_but_unix_ones() {
    with_probe("full", async |running| {
        let sockets = say_by_name(&running, "/sockets").await;
        for (family, outcome) in &sockets {
            let expected = if family == "unix" { "ok" } else { "EPERM" };
            assert!(outcome.starts_with(expected), "{sockets:?}");
        }
        assert_eq!(sockets.len(), 6);
        assert_eq!(say(&running, "/host").await, ["worker"]);
        let [process] = children("cage-probe")[..] else { panic!("one process") };
        let interfaces = fs::read_to_string(format!("/proc/{process}/net/dev")).unwrap();
        let interfaces: Vec<_> =
            interfaces.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
        assert_eq!(interfaces, ["lo"]);
        for namespace in ["net", "mnt", "ipc", "uts", "cgroup"] {
            let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/{namespace}")).unwrap();
            assert_ne!(of(&process.to_string()), of("self"), "{namespace}");
        }
    });
}

#[test]
fn a_process_is_nobody_may_nothing_and_reaches_no_other_process() {
    with_probe("full", async |running| {
        let done = say_by_name(&running, &format!("/processes?{}", getpid())).await;
        for (what, expected) in [
            ("kill", "EPERM"),
            ("tgkill", "EPERM"),
            ("own", "ok"),
            ("fork", "EPERM"),
            ("memfd", "EPERM"),
            ("thread", "ok"),
        ] {
            assert!(done[what].starts_with(expected), "{what}: {done:?}");
        }
        let [process] = children("cage-probe")[..] else { panic!("one process") };
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
            line.unwrap_or_else(|| panic!("{name} in {status}"))
        };
        for capabilities in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(capabilities), "0000000000000000", "{capabilities}");
        }
        assert_eq!((field("NoNewPrivs"), field("Seccomp")), ("1", "2"));
        // The 41st of proc_pid_stat(5), of which the first two are what it is called: `SCHED_BATCH`.
        let (_, fields) = stat(process.as_raw()).unwrap();
        assert_eq!(fields.get(38).map(String::as_str), Some("3"), "the node goes first");
        if geteuid().is_root() {
            assert_eq!(field("Uid"), "65533\t65533\t65533\t65533");
            assert_eq!(field("Groups").trim(), "");
        }
    });
}

#[test]
fn a_process_that_does_what_only_who_breaks_out_would_is_ended() {
    with_probe("full", async |running| {
        assert_eq!(say(&running, "/host").await, ["worker"]);
        let before = children("cage-probe");
        let answer = running.get(OWN, "app", "/ptrace").await;
        assert!(answer.status.is_server_error(), "{answer:?}");
        assert_eq!(say(&running, "/host").await, ["worker"]);
        assert_ne!(children("cage-probe"), before, "another one has taken its place");
    });
}

#[test]
fn without_isolation_a_process_is_where_the_node_is() {
    with_probe("none", async |running| {
        let files = say_by_name(&running, "/sockets").await;
        assert!(files["inet"].starts_with("ok"), "{files:?}");
    });
}

#[test]
fn a_node_whose_engine_cannot_be_isolated_runs_no_workers_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("workerd");
    fs::write(&script, "#!/usr/bin/env node\nrequire('./workerd.js') // as npm installs it\n\n\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    with_node(&format!("workerd = {script:?}\n"), async |running| {
        let health = running.service.health();
        assert!(matches!(&health, Health::Degraded(why) if why.contains("may be a script")), "{health:?}");
    });
}

/// What is above, by a node that is not root.
#[test]
fn who_is_not_root_isolates_as_well() {
    if !geteuid().is_root() {
        return;
    }
    // Where the user can read them, wherever this is built.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let copied = |from: PathBuf, name: &str| {
        let to = folder.path().join(name);
        fs::copy(from, &to).unwrap();
        to
    };
    let (suite, probe) = (copied(std::env::current_exe().unwrap(), "suite"), copied(probe(), "cage-probe"));
    for test in [
        "a_process_sees_its_program_its_libraries_and_the_nodes_sockets_and_writes_nothing",
        "a_process_has_no_network_and_no_sockets_but_unix_ones",
        "a_process_is_nobody_may_nothing_and_reaches_no_other_process",
        "a_process_that_does_what_only_who_breaks_out_would_is_ended",
    ] {
        let output = Command::new(&suite)
            .args(["--exact", &format!("caged::{test}")])
            .env("PROXIMA_CAGE_PROBE", &probe)
            .env("TMPDIR", folder.path())
            .current_dir("/")
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{said}{failed}");
    }
}

#[test]
fn a_worker_runs_in_a_cage() {
    with_engine("isolation = \"full\"", async |running| {
        running.upload(OWN, "app", Code::fetch("return new Response('fine')")).await;
        assert!(running.get(OWN, "app", "/").await.is(200, "fine"));
        let [process] = children("workerd")[..] else { panic!("one process") };
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        assert!(status.contains("Seccomp:\t2") && status.contains("CapBnd:\t0000000000000000"), "{status}");
    });
}
