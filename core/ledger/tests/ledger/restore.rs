//! The log made new from a replica.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use proxima_ledger::{EmbeddedLog, LedgerConfig, LedgerError, LogRestore, ReplicaError, ReplicaOptions, Seq};
use proxima_model::Kind;
use tempfile::TempDir;

use crate::{
    common::*,
    damage::{damage, data_file},
};

/// A network of a log and two followers, all stopped: the first follower holds one entry less than the second.
struct Network {
    authority: Authority,
    log: TempDir,
    behind: TempDir,
    ahead: TempDir,
    /// Where the log was.
    address: SocketAddr,
}

impl Network {
    async fn new() -> Self {
        let authority = Authority::new();
        let (log_folder, behind, ahead) = (folder(), folder(), folder());
        let log = Running::start(log_config(), log_folder.path(), authority.node("log")).await;
        let address = log.address();
        for (folder, name) in [(&behind, "one.example"), (&ahead, "two.example")] {
            let seq = log.put(name).await;
            let config = follower_config(address, &[]);
            let node = Running::start(config, folder.path(), authority.node("node")).await;
            reaches(&node.ledger.replica, seq).await;
            node.stop().await;
        }
        log.stop().await;
        Self { authority, log: log_folder, behind, ahead, address }
    }

    /// A follower, started again while there is no log.
    async fn start(&self, folder: &TempDir) -> Running {
        let config = follower_config(self.address, &[]);
        Running::start(config, folder.path(), self.authority.node("node")).await
    }

    async fn survey(&self, peers: &[SocketAddr]) -> Result<LogRestore, LedgerError> {
        survey(&self.authority, self.log.path(), peers).await
    }

    /// The log's node, at the former address.
    async fn start_log(&self) -> Running {
        let config = LedgerConfig { listen: Some(self.address), ..log_config() };
        Running::start(config, self.log.path(), self.authority.node("log")).await
    }

    /// What the log's node says when it is asked to open what is there.
    fn refused(&self) -> ReplicaError {
        let options = ReplicaOptions { map_octets: 256 << 20, ..ReplicaOptions::default() };
        EmbeddedLog::open(&self.log.path().join("ledger"), sealer(), options).err().unwrap()
    }
}

async fn survey(
    authority: &Authority,
    folder: &Path,
    peers: &[SocketAddr],
) -> Result<LogRestore, LedgerError> {
    LogRestore::survey(&log_config(), folder, sealer(), peers, authority.node("log")).await
}

/// Every file under this folder, with its octets; of a folder, none.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let octets = if path.is_dir() { Vec::new() } else { fs::read(&path).unwrap() };
            if path.is_dir() {
                folders.push(path.clone());
            }
            all.insert(path, octets);
        }
    }
    all
}

/// The data files that a restore has set aside.
fn set_aside(folder: &Path) -> Vec<Vec<u8>> {
    let aside = fs::read_dir(folder.join("ledger")).unwrap().flatten();
    let aside = aside.filter(|entry| entry.file_name().to_string_lossy().starts_with("damaged-"));
    aside.map(|entry| fs::read(entry.path().join("data.mdb")).unwrap()).collect()
}

fn why(survey: Result<LogRestore, LedgerError>) -> String {
    survey.err().expect("nothing is restored").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_is_refused_with_what_to_do_and_is_restored_with_the_damaged_one_set_aside() {
    let network = Network::new().await;
    fs::write(data_file(network.log.path()), vec![0; 50_000]).unwrap();
    let refused = network.refused();
    assert!(matches!(refused, ReplicaError::LogCorrupt { .. }), "{refused}");
    assert!(refused.to_string().contains("proxima log restore"), "{refused}");

    let node = network.start(&network.ahead).await;
    let survey = network.survey(&[node.address()]).await.unwrap();
    assert!(survey.damage().is_some());
    assert_eq!(survey.run().await.unwrap(), Seq(2));
    assert_eq!(set_aside(network.log.path()), [vec![0; 50_000]]);

    let log = network.start_log().await;
    assert!(holds(&log.ledger.replica, "one.example"));
    let seq = log.put("three.example").await;
    reaches(&node.ledger.replica, seq).await;
    assert_eq!(node.ledger.replica.snapshot().unwrap().count(Kind::ZoneName).unwrap(), 3);
    node.stop().await;
    log.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survey_of_a_damaged_log_changes_nothing_in_its_folder() {
    let network = Network::new().await;
    let (folder, data) = (network.log.path(), data_file(network.log.path()));
    let node = network.start(&network.ahead).await;
    let whole = fs::read(&data).unwrap();
    damage(&data, "one.example");
    let checksums_wrong = fs::read(&data).unwrap();
    for octets in [checksums_wrong, whole[..whole.len() / 2].to_vec(), vec![0; 50_000], Vec::new()] {
        fs::write(&data, octets).unwrap();
        // As by a rebuild that was cut short, and by who has lost the locks' file.
        fs::create_dir_all(folder.join("ledger/state-left")).unwrap();
        let _ = fs::remove_file(data.with_file_name("lock.mdb"));
        let before = files(folder);
        let survey = network.survey(&[node.address()]).await.unwrap();
        assert!(survey.damage().is_some());
        assert_eq!(files(folder), before);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_without_a_valid_current_is_damaged_and_nothing_of_it_is_removed() {
    let network = Network::new().await;
    let (folder, data) = (network.log.path(), data_file(network.log.path()));
    let node = network.start(&network.ahead).await;
    let (whole, current) = (fs::read(&data).unwrap(), folder.join("ledger/CURRENT"));
    for wrong in [None, Some(""), Some("."), Some("state-0"), Some("../ledger")] {
        match wrong {
            None => fs::remove_file(&current).unwrap(),
            Some(text) => fs::write(&current, text).unwrap(),
        }
        let before = files(folder);
        let refused = network.refused();
        assert!(matches!(refused, ReplicaError::LogCorrupt { .. }), "{wrong:?}: {refused}");
        assert_eq!(files(folder), before, "{wrong:?}: opening the log");
        let survey = network.survey(&[node.address()]).await.unwrap();
        assert!(survey.damage().is_some(), "{wrong:?}");
        assert_eq!(files(folder), before, "{wrong:?}: the survey");
    }
    let survey = network.survey(&[node.address()]).await.unwrap();
    assert_eq!(survey.run().await.unwrap(), Seq(2));
    assert_eq!(set_aside(folder), [whole]);
    let log = network.start_log().await;
    assert!(holds(&log.ledger.replica, "two.example"));
    log.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_current_is_empty_or_lost_rebuilds_its_replica() {
    let network = Network::new().await;
    let log = network.start_log().await;
    for wrong in [None, Some("")] {
        let current = network.behind.path().join("ledger/CURRENT");
        match wrong {
            None => fs::remove_file(current).unwrap(),
            Some(text) => fs::write(current, text).unwrap(),
        }
        let node = network.start(&network.behind).await;
        reaches(&node.ledger.replica, Seq(2)).await;
        assert!(holds(&node.ledger.replica, "one.example"), "{wrong:?}");
        node.stop().await;
    }
    log.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_that_was_cut_short_is_no_damage_and_begins_again() {
    let (folder, authority) = (folder(), Authority::new());
    let log = Running::start(log_config(), folder.path(), authority.node("log")).await;
    log.stop().await;
    for lost in ["CURRENT", "LOG"] {
        // First as before the state was named, then as before the log was, too, with a file that was just made.
        fs::remove_file(folder.path().join("ledger/CURRENT")).unwrap();
        if lost == "LOG" {
            fs::remove_file(folder.path().join("ledger/LOG")).unwrap();
            fs::create_dir(folder.path().join("ledger/state-begun")).unwrap();
            fs::write(folder.path().join("ledger/state-begun/data.mdb"), b"").unwrap();
        }
        let log = Running::start(log_config(), folder.path(), authority.node("log")).await;
        assert_eq!(log.ledger.replica.seq(), Seq::ZERO);
        log.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_log_is_restored_from_the_peer_furthest_ahead_and_all_follow_it() {
    let network = Network::new().await;
    fs::remove_dir_all(network.log.path().join("ledger")).unwrap();
    let behind = network.start(&network.behind).await;
    let ahead = network.start(&network.ahead).await;
    let nobody = "127.0.0.1:1".parse().unwrap();
    let survey = network.survey(&[behind.address(), nobody, ahead.address()]).await.unwrap();
    assert_eq!((survey.damage(), survey.lost()), (None, None));
    assert_eq!((survey.best().0, survey.best().1.seq), (ahead.address(), Seq(2)));
    let told: Vec<_> = survey.sources().iter().map(|(_, of)| of.as_ref().map(|of| of.seq).ok()).collect();
    assert_eq!(told, [Some(Seq(1)), None, Some(Seq(2))]);
    assert!(!network.log.path().join("ledger").exists(), "a survey changes nothing");
    assert_eq!(survey.run().await.unwrap(), Seq(2));

    let log = network.start_log().await;
    let seq = log.put("three.example").await;
    reaches(&behind.ledger.replica, seq).await;
    reaches(&ahead.ledger.replica, seq).await;
    assert!(holds(&behind.ledger.replica, "two.example"));
    for node in [behind, ahead, log] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_log_a_living_one_and_a_followers_replica_are_not_restored() {
    let network = Network::new().await;
    let node = network.start(&network.ahead).await;
    let whole = why(network.survey(&[node.address()]).await);
    assert!(whole.contains("a whole log is in") && whole.contains("up to entry 2"), "{whole}");

    let log = network.start_log().await;
    let empty = folder();
    let second = why(survey(&network.authority, empty.path(), &[log.address()]).await);
    assert!(second.contains("keeps a log already"), "{second}");
    until("the follower has heard the log", || node.status().log_heard.is_some()).await;
    let lives = why(survey(&network.authority, empty.path(), &[node.address()]).await);
    assert!(lives.contains("the log lives"), "{lives}");

    let runs = LedgerConfig { listen: Some(log.address()), ..log_config() };
    let tls = network.authority.node("log");
    let running = LogRestore::survey(&runs, empty.path(), sealer(), &[node.address()], tls.clone()).await;
    assert!(why(running).contains("stop this node first"));
    let follows = follower_config(network.address, &[]);
    let follower = LogRestore::survey(&follows, empty.path(), sealer(), &[node.address()], tls).await;
    assert!(why(follower).contains("mends its replica by itself"));
    node.stop().await;
    log.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_of_another_network_are_not_restored_from() {
    let (network, other) = (Network::new().await, Network::new().await);
    fs::write(data_file(network.log.path()), b"").unwrap();
    let ours = network.start(&network.behind).await;
    // The same authority, but another log.
    let config = follower_config(other.address, &[]);
    let theirs = Running::start(config, other.ahead.path(), network.authority.node("node")).await;
    let refused = why(network.survey(&[theirs.address()]).await);
    assert!(refused.contains("the one here was"), "{refused}");
    let empty = folder();
    let mixed = why(survey(&network.authority, empty.path(), &[ours.address(), theirs.address()]).await);
    assert!(mixed.contains("name the peers of one network"), "{mixed}");
    ours.stop().await;
    theirs.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_restore_is_no_log_and_can_be_begun_again() {
    let network = Network::new().await;
    fs::remove_dir_all(network.log.path().join("ledger")).unwrap();
    let node = network.start(&network.ahead).await;
    let survey = network.survey(&[node.address()]).await.unwrap();
    node.stop().await;
    assert!(survey.run().await.is_err());
    let refused = network.refused();
    assert!(refused.to_string().contains("has not come to its end"), "{refused}");

    let node = network.start(&network.ahead).await;
    let survey = network.survey(&[node.address()]).await.unwrap();
    assert_eq!(survey.run().await.unwrap(), Seq(2));
    let log = network.start_log().await;
    assert!(holds(&log.ledger.replica, "two.example"));
    log.stop().await;
    node.stop().await;
}
