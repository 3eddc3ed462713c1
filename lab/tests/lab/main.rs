//! The lab itself, with a stand-in for the node (tests/fixtures/fake-node.py). Needs root and the packages of the lab.
#![expect(
    clippy::unwrap_used,
    reason = "what tests share is test code too; clippy allows it within #[test] only"
)]

mod faults;
mod lifecycle;
mod links;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proxima_lab::{Lab, UpOptions};

/// Two PoPs in two regions, small enough to be up within seconds.
const SMALL: &str = include_str!("../fixtures/small.toml");

/// A lab that is gone when the test ends, however it ends.
struct TestLab {
    lab: Lab,
    options: UpOptions,
    _root: tempfile::TempDir,
}

impl TestLab {
    fn up(name: &str) -> Self {
        let root = tempfile::tempdir().expect("a temporary folder");
        let options = options(name, root.path());
        let lab = Lab::up(&options, &mut |step| println!("{step}")).expect("the lab comes up");
        Self { lab, options, _root: root }
    }
}

impl std::ops::Deref for TestLab {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Drop for TestLab {
    fn drop(&mut self) {
        let removed = Lab::remove(&self.options.name, &self.options.state_root);
        if !std::thread::panicking() {
            removed.expect("the lab can be taken down");
        }
    }
}

fn options(name: &str, root: &Path) -> UpOptions {
    UpOptions {
        name: name.to_owned(),
        state_root: root.join("s"),
        topology: ("small.toml".to_owned(), SMALL.to_owned()),
        proxima: Some(fixture("fake-node.py")),
        daemon: Some(env!("CARGO_BIN_EXE_proxima-lab").into()),
        origin_root: None,
        workerd: None,
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Looks again and again; the time it took, or a panic that says what did not come true.
fn eventually(what: &str, deadline: Duration, mut done: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < deadline, "not within {deadline:?}: {what}");
        std::thread::yield_now();
    }
    begin.elapsed()
}
