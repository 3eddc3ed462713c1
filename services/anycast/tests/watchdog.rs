//! The node and its watchdog, where there cannot be one.

#![allow(clippy::unwrap_used, reason = "in a test, what should be there and is not ends it")]

use std::{
    path::Path,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use proxima_anycast::AnycastService;
use proxima_chassis::{Health, NodeConfig, NodeContext, Service, run_node};

const DEADLINE: Duration = Duration::from_secs(30);

/// A node that is alone, and would announce; `bird` is any program.
fn config(folder: &Path) -> NodeConfig {
    let key = folder.join("at-rest.key");
    std::fs::write(&key, "00".repeat(32)).unwrap();
    let text = format!(
        "[node]\nname = \"one\"\npop = \"FRA\"\nregion = \"europe\"\ndata_dir = {:?}\nkey_file = {key:?}\n\
         admin = \"127.0.0.1:0\"\n\
         [anycast]\nenabled = true\nprefixes = [\"198.18.0.0/24\"]\nlocal_as = 64512\nrouter_id = \"10.0.0.1\"\n\
         run_dir = {:?}\nbird = \"/bin/sh\"\n\
         neighbors = [{{ name = \"uplink\", address = \"10.0.0.2\", as = 64513 }}]\n",
        folder.join("data"),
        folder.join("run"),
    );
    NodeConfig::parse(&text).unwrap()
}

/// Until something is so.
async fn until(what: &str, so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_watchdog_that_cannot_be_started_is_tried_again_and_the_node_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let run_dir = folder.path().join("run");
    // Where a folder should be there is a file.
    std::fs::write(&run_dir, "").unwrap();
    let made: Arc<OnceLock<Arc<AnycastService>>> = Arc::default();
    let made_too = Arc::clone(&made);
    let make = move |node: &NodeContext| -> Result<Vec<Arc<dyn Service>>, _> {
        let service = AnycastService::new(node)?;
        made_too.set(service.clone()).ok();
        Ok(vec![service as Arc<dyn Service>])
    };
    let known = ["anycast"].into();
    let failed = || match made.get().map(|service| service.health()) {
        Some(Health::Failed(why)) => why.contains(run_dir.to_str().unwrap()),
        _ => false,
    };
    let seen = async {
        until("its health says what failed", failed).await;
        std::fs::remove_file(&run_dir).unwrap();
        until("it is tried again", || run_dir.join("bird.conf").exists()).await;
    };
    tokio::select! {
        ended = run_node(config(folder.path()), &known, &make, |_| {}) => panic!("the node has ended: {ended:?}"),
        () = seen => {}
    }
}
