//! Objects whose octets lie in an S3 engine: in another server's R2, in SeaweedFS, and in Garage where that is installed. What is
//! asked of one is asked of each: to be killed under load, to say nothing, to lose what it had, to have a node killed while somebody
//! puts, and to take what stock clients of S3 do.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::{
    cluster::{Cluster, token, until},
    dev::DEADLINE,
    engines::{Engine, GARAGE, SEAWEEDFS},
    http3::python,
    process::{free_for_both, output},
    r2::keys,
    r2_servers::Api,
    running::Running,
};

/// How long a client waits for an answer of any kind, while the engine is away.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Makes a test of each of these cases, with each engine.
macro_rules! cases {
    ($($case:ident)*) => {
        mod another_servers_r2 {
            use super::Engine;
            $(#[test] fn $case() { super::$case(Engine::proxima()); })*
        }
        mod seaweedfs {
            use super::{Engine, SEAWEEDFS};
            $(#[test] fn $case() { super::$case(Engine::of(SEAWEEDFS).expect("it is always asked for")); })*
        }
        mod garage {
            use super::{Engine, GARAGE};
            $(#[test] fn $case() {
                match Engine::of(GARAGE) {
                    Some(garage) => super::$case(garage),
                    None => eprintln!(
                        "not run: there is no `garage` here; `cargo xtask setup --bench` compiles it"
                    ),
                }
            })*
        }
    };
}

cases! {
    killed_under_load_it_loses_no_acknowledged_object
    a_node_that_is_killed_in_the_middle_of_a_put_leaves_nothing_there_when_it_is_back
    what_it_has_changed_or_lost_is_found_and_not_passed_on
    while_it_says_nothing_small_objects_go_on_and_nobody_waits_for_long
    stock_clients_of_s3_see_no_difference
}

/// A network of one server, whose larger octets lie in this engine; and where that speaks S3.
fn node(engine: &Engine) -> (Cluster, SocketAddr) {
    let ((table, secret), s3) = (engine.table(), free_for_both());
    let cluster = Cluster::with(|name| {
        if name == "log" { format!("[r2]\nlisten = [\"{s3}\"]\n{table}") } else { String::new() }
    });
    fs::write(cluster.at("log").join("engine.key"), secret).unwrap();
    (cluster, s3)
}

/// Its API, with a bucket.
fn api(cluster: &Cluster) -> Api {
    let api = Api::of(cluster, &token(cluster));
    let name = json!({ "name": "bucket" }).to_string();
    let make = ["-X", "POST", "-H", "content-type: application/json", "-d", &name];
    until("HTTP/1.1 200", || api.run(cluster.log_api, "", &make));
    api
}

/// What its node counts.
fn metrics(cluster: &Cluster) -> (bool, String) {
    output(Command::new("curl").args(["-sS", &format!("http://{}/metrics", cluster.log_admin)]))
}

/// A file of octets of which each is this one.
fn file(folder: &Path, name: &str, octet: u8, octets: usize) -> String {
    let path = folder.join(name);
    fs::write(&path, vec![octet; octets]).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The engine is killed while several put, and started again: each is answered, small objects go on meanwhile, and what was
/// acknowledged is there.
fn killed_under_load_it_loses_no_acknowledged_object(mut engine: Engine) {
    let (cluster, _) = node(&engine);
    let running = cluster.start("log");
    let (api, at) = (api(&cluster), cluster.log_api);
    let folder = tempfile::tempdir().unwrap();
    let large = file(folder.path(), "large", b'x', 6 << 20);
    until("HTTP/1.1 200", || api.run(at, "/bucket/objects/first", &["-T", &large]));

    let (is_over, acknowledged) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for writer in 0..4 {
            let (api, large, is_over, acknowledged) = (&api, &large, &is_over, &acknowledged);
            scope.spawn(move || {
                for round in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    let (path, began) = (format!("/bucket/objects/{writer}-{round}"), Instant::now());
                    let answer = api.run(at, &path, &["-T", large]).1;
                    assert!(began.elapsed() < ANSWER_MAX, "{:?}: {answer}", began.elapsed());
                    if answer.contains("HTTP/1.1 200") {
                        acknowledged.lock().unwrap().push(path);
                    } else {
                        assert!(answer.contains("HTTP/1.1 503"), "{answer}");
                    }
                }
            });
        }
        let more_than = |least: usize| {
            let begun = Instant::now();
            while acknowledged.lock().unwrap().len() < least {
                assert!(begun.elapsed() < DEADLINE, "nothing is acknowledged");
                thread::yield_now();
            }
        };
        more_than(8);
        engine.kill();
        until("HTTP/1.1 503", || api.run(at, "/bucket/objects/away", &["-T", &large]));
        until("HTTP/1.1 503", || api.run(at, "/bucket/objects/first", &[]));
        let small = ["-X", "PUT", "-d", "small"];
        assert!(
            api.run(at, "/bucket/objects/small", &small).1.contains("HTTP/1.1 200"),
            "what lies in its row"
        );
        assert!(api.run(at, "/bucket/objects/small", &[]).1.ends_with("small"));
        let metric = |wanted| until(wanted, || metrics(&cluster));
        metric("\nproxima_r2_engine_away 1\n");
        engine.start_again();
        let before = acknowledged.lock().unwrap().len();
        more_than(before + 8);
        metric("\nproxima_r2_engine_away 0\n");
        is_over.store(true, Ordering::Relaxed);
    });
    let read = |path: &str| {
        let back = folder.path().join("back");
        let mut curl = api.curl(at, path, &["-o", back.to_str().unwrap(), "--no-include", "-f"]);
        let (succeeded, told) = output(&mut curl);
        assert!(succeeded && fs::read(&back).unwrap() == vec![b'x'; 6 << 20], "{path}: {told}");
    };
    acknowledged.into_inner().unwrap().iter().map(String::as_str).for_each(read);
    drop(running);
    // It has kept where they lie.
    let _running = cluster.start("log");
    until("HTTP/1.1 200", || api.run(at, "/bucket/objects/small", &[]));
    read("/bucket/objects/first");
}

fn a_node_that_is_killed_in_the_middle_of_a_put_leaves_nothing_there_when_it_is_back(engine: Engine) {
    let (cluster, _) = node(&engine);
    let running = cluster.start("log");
    let (api, at) = (api(&cluster), cluster.log_api);
    let folder = tempfile::tempdir().unwrap();
    let kept = file(folder.path(), "kept", b'y', 1 << 20);
    until("HTTP/1.1 200", || api.run(at, "/bucket/objects/kept", &["-T", &kept]));
    let before = engine.objects();
    assert_eq!(before.len(), 1, "{before:?}");

    let large = file(folder.path(), "large", b'x', 64 << 20);
    let mut curl = api.curl(at, "/bucket/objects/half", &["--limit-rate", "8M", "-T", &large]);
    let upload = Running::start(curl.stdout(Stdio::null()).stderr(Stdio::null()));
    let begun = Instant::now();
    while engine.objects().len() < before.len() + 2 {
        assert!(begun.elapsed() < DEADLINE, "nothing comes to the engine");
    }
    drop(running);
    drop(upload);

    let _running = cluster.start("log");
    until("HTTP/1.1 404", || api.run(at, "/bucket/objects/half", &[]));
    let back = until("HTTP/1.1 200", || api.run(at, "/bucket/objects/kept", &[]));
    assert!(back.ends_with(&"y".repeat(100)));
    // What it had begun is swept as soon as it is up: one piece is left, which has a row.
    let before = format!("{before:?}");
    until(&before, || (true, format!("{:?}", engine.objects())));
}

fn what_it_has_changed_or_lost_is_found_and_not_passed_on(engine: Engine) {
    let (cluster, _) = node(&engine);
    let running = cluster.start("log");
    let (api, at) = (api(&cluster), cluster.log_api);
    let folder = tempfile::tempdir().unwrap();
    // By their lengths they are known again.
    let kinds = [("whole", 100_000), ("changed", 200_000), ("lost", 300_000)];
    for (key, octets) in kinds {
        let file = file(folder.path(), key, b'x', octets);
        until("HTTP/1.1 200", || api.run(at, &format!("/bucket/objects/{key}"), &["-T", &file]));
    }
    let mut lie = engine.objects();
    lie.sort_by_key(|(_, octets)| *octets);
    let [_, (changed, octets), (lost, _)] = &lie[..] else { panic!("{lie:?}") };
    let other = file(folder.path(), "other", b'z', usize::try_from(*octets).unwrap());
    for (name, how) in [(changed, ["-T", &other]), (lost, ["-X", "DELETE"])] {
        let (_, done) = engine.ask(&format!("/{name}"), &how);
        assert!(done.contains("HTTP/1.1 20"), "{done}");
    }
    let read = |key: &str| api.run(at, &format!("/bucket/objects/{key}"), &[]);
    for key in ["changed", "lost"] {
        let told = read(key).1;
        assert!(told.contains("objects cannot be read or written"), "{key}: {told:.1000}");
    }
    drop(running);

    // It reads everything when it starts.
    let _running = cluster.start("log");
    let told = until("\nproxima_r2_rotten_total 2\n", || metrics(&cluster));
    assert!(told.contains("\nproxima_r2_engine_away 0\n"), "the engine itself is well");
    assert!(read("whole").1.ends_with(&"x".repeat(100_000)));
    let anew = file(folder.path(), "anew", b'w', 200_000);
    until("HTTP/1.1 200", || api.run(at, "/bucket/objects/changed", &["-T", &anew]));
    assert!(read("changed").1.ends_with(&"w".repeat(200_000)));
}

fn while_it_says_nothing_small_objects_go_on_and_nobody_waits_for_long(engine: Engine) {
    let (cluster, _) = node(&engine);
    let _running = cluster.start("log");
    let (api, at) = (api(&cluster), cluster.log_api);
    let folder = tempfile::tempdir().unwrap();
    let large = file(folder.path(), "large", b'x', 1 << 20);
    let put = |key: &str| api.run(at, &format!("/bucket/objects/{key}"), &["-T", &large]);
    until("HTTP/1.1 200", || put("before"));
    engine.signal(Signal::SIGSTOP);
    thread::scope(|scope| {
        let puts: [_; 4] = std::array::from_fn(|at| scope.spawn(move || put(&format!("away-{at}"))));
        let small = api.run(at, "/bucket/objects/small", &["-X", "PUT", "-d", "small"]).1;
        assert!(small.contains("HTTP/1.1 200"), "{small}");
        for put in puts {
            let told = put.join().unwrap().1;
            assert!(told.contains("HTTP/1.1 503") && told.to_lowercase().contains("retry-after"), "{told}");
        }
    });
    let began = Instant::now();
    let told = api.run(at, "/bucket/objects/before", &[]).1;
    assert!(told.contains("HTTP/1.1 503") && began.elapsed() < ANSWER_MAX, "{told:.1000}");
    engine.signal(Signal::SIGCONT);
    until("HTTP/1.1 200", || put("after"));
    for key in ["before", "after"] {
        let back = until("HTTP/1.1 200", || api.run(at, &format!("/bucket/objects/{key}"), &[]));
        assert!(back.ends_with(&"x".repeat(1 << 20)), "{key}");
    }
}

/// Objects, ranges, uploads in parts, copies and deletions, as they are asked of a server with files.
fn stock_clients_of_s3_see_no_difference(engine: Engine) {
    let (cluster, s3) = node(&engine);
    let _running = cluster.start("log");
    let token = token(&cluster);
    drop(api(&cluster));
    let (key, secret) = keys(&token);
    let mut pytest = Command::new(python());
    pytest.args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_s3.py"]);
    // Of others who ask, and by which programs, the tests of a server with files say what is to be said.
    pytest.args(["-k", "not read_only and not awscli and not s3cmd"]);
    pytest.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/clients"));
    pytest.env("PYTHONDONTWRITEBYTECODE", "1").env("PROXIMA_S3", format!("http://{s3}"));
    pytest.env("PROXIMA_S3_KEY", key).env("PROXIMA_S3_SECRET", secret);
    let (succeeded, text) = output(&mut pytest);
    assert!(succeeded, "{text}");
    assert!(!engine.objects().is_empty(), "what is deleted goes after five minutes");
}
