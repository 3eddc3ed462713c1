//! Damaged files: found, never served, mended.

use std::{
    fs,
    io::{Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::common::*;
use proxima_ledger::{
    AppendError, EmbeddedLog, LedgerConfig, Log as _, ReadError, Replica, ReplicaError, ReplicaOptions, Seq,
    StepBounds, VerifyPace,
};
use proxima_model::{ZoneIndex, ZoneName};

const OPTIONS: ReplicaOptions = ReplicaOptions {
    map_octets: 64 << 20,
    log_entries_max: 1_000,
    log_octets_max: 64 << 20,
    idempotency_keys_max: 1_000,
};

/// The data file of the replica in a node's folder.
pub(crate) fn data_file(folder: &Path) -> PathBuf {
    let ledger = folder.join("ledger");
    let current = fs::read_to_string(ledger.join("CURRENT")).unwrap();
    ledger.join(current).join("data.mdb")
}

/// Changes octets in every place where `text` lies in the file.
pub(crate) fn damage(file: &Path, text: &str) {
    let octets = fs::read(file).unwrap();
    let places: Vec<_> =
        octets.windows(text.len()).enumerate().filter(|(_, window)| *window == text.as_bytes()).collect();
    assert!(!places.is_empty(), "{text} is not in the file");
    let mut file = fs::OpenOptions::new().write(true).open(file).unwrap();
    for (place, _) in places {
        file.seek(SeekFrom::Start(place as u64)).unwrap();
        file.write_all(b"garbage").unwrap();
    }
}

fn read(replica: &Replica, name: &str) -> Result<Option<ZoneIndex>, ReadError> {
    replica.snapshot()?.get::<ZoneIndex>(&ZoneName::parse(name).unwrap())
}

/// A log with two names, and a follower's folder that has them and was stopped.
async fn log_and_stopped_follower(authority: &Authority) -> (Running, tempfile::TempDir, tempfile::TempDir) {
    let folders = (folder(), folder());
    let log = Running::start(log_config(), folders.0.path(), authority.node("log")).await;
    log.put("one.example").await;
    let seq = log.put("two.example").await;
    let node =
        Running::start(follower_config(log.address(), &[]), folders.1.path(), authority.node("node")).await;
    reaches(&node.ledger.replica, seq).await;
    node.stop().await;
    (log, folders.0, folders.1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_value_is_found_when_it_is_read_is_never_served_and_is_rebuilt() {
    let authority = Authority::new();
    let (log, _log_folder, folder) = log_and_stopped_follower(&authority).await;
    // The value holds the zone's id in hexadecimal.
    damage(&data_file(folder.path()), &zone_id("one.example").to_string());
    // The log is not there at first, so that what is read before the rebuild can be seen.
    let nowhere = std::net::TcpListener::bind(any_port()).unwrap();
    let cut_off = follower_config(nowhere.local_addr().unwrap(), &[]);
    let node = Running::start(cut_off, folder.path(), authority.node("node")).await;
    let replica = node.ledger.replica.clone();
    assert!(read(&replica, "two.example").unwrap().is_some());
    assert!(matches!(read(&replica, "one.example"), Err(ReadError::Corrupt(_))));
    // From then on nothing of it is trusted.
    assert!(matches!(read(&replica, "two.example"), Err(ReadError::Corrupt(_))));
    assert!(node.status().corrupt.is_some() && !node.status().ready);
    drop(replica);
    node.stop().await;

    let config = follower_config(log.address(), &[]);
    let node = Running::start(config, folder.path(), authority.node("node")).await;
    let replica = node.ledger.replica.clone();
    let _ = read(&replica, "one.example");
    tokio::time::timeout(PATIENCE, replica.ready()).await.unwrap();
    until("the value is back", || matches!(read(&replica, "one.example"), Ok(Some(_)))).await;
    assert_eq!(node.status().corrupt, None);
    let seq = log.put("three.example").await;
    reaches(&replica, seq).await;
    drop(replica);
    node.stop().await;
    log.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_file_was_cut_emptied_or_overwritten_is_rebuilt() {
    let authority = Authority::new();
    let (log, _log_folder, folder) = log_and_stopped_follower(&authority).await;
    let damages: [fn(&Path); 3] = [
        |file| fs::OpenOptions::new().write(true).open(file).unwrap().set_len(12_288).unwrap(),
        |file| fs::write(file, b"").unwrap(),
        |file| fs::write(file, vec![0x5a; 100_000]).unwrap(),
    ];
    for damage in damages {
        damage(&data_file(folder.path()));
        let config = follower_config(log.address(), &[]);
        let node = Running::start(config, folder.path(), authority.node("node")).await;
        tokio::time::timeout(PATIENCE, node.ledger.replica.ready()).await.unwrap();
        assert!(holds(&node.ledger.replica, "one.example"));
        assert_eq!(node.ledger.replica.seq(), Seq(2));
        let states = fs::read_dir(folder.path().join("ledger")).unwrap();
        let states = states.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count();
        assert!(states <= 2, "old states pile up");
        node.stop().await;
    }
    log.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_last_entry_is_damaged_is_refused_when_it_is_opened() {
    let folder = folder();
    let path = folder.path().join("ledger");
    let log = EmbeddedLog::open(&path, sealer(), OPTIONS).unwrap();
    log.append(append(put_zone(log.replica(), "one.example"))).await.unwrap();
    log.close().await;
    damage(&data_file(folder.path()), &zone_id("one.example").to_string());
    let refused = EmbeddedLog::open(&path, sealer(), OPTIONS);
    assert!(matches!(refused, Err(ReplicaError::LogCorrupt { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_in_which_damage_is_found_takes_no_appends_and_gives_no_snapshots() {
    let (folders, authority) = ((folder(), folder()), Authority::new());
    let log = Running::start(log_config(), folders.0.path(), authority.node("log")).await;
    log.put("one.example").await;
    log.put("two.example").await;
    assert_eq!(log.ledger.replica.verify(), Ok(4));
    log.stop().await;
    damage(&data_file(folders.0.path()), &zone_id("one.example").to_string());

    let log = Running::start(log_config(), folders.0.path(), authority.node("log")).await;
    let node =
        Running::start(follower_config(log.address(), &[]), folders.1.path(), authority.node("node")).await;
    until("the damage is found by who asked for a snapshot", || log.status().corrupt.is_some()).await;
    assert!(!node.status().ready, "half a snapshot is none");
    let change = append(vec![put_raw(&key("a"), "1")]);
    let refused = log.ledger.log.append(change).await.unwrap_err();
    assert!(matches!(refused, AppendError::Store(_)) && !refused.may_retry(), "{refused:?}");
    assert!(matches!(log.ledger.replica.verify(), Err(ReadError::Corrupt(_))));
    node.stop().await;
    log.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_that_nobody_reads_is_found_by_the_check_in_the_background_and_rebuilt() {
    let authority = Authority::new();
    let (log, _log_folder, folder) = log_and_stopped_follower(&authority).await;
    damage(&data_file(folder.path()), &zone_id("one.example").to_string());
    let step = StepBounds { count: 1, ..StepBounds::default() };
    let pace =
        VerifyPace { first_after: Duration::ZERO, step, pause: Duration::ZERO, ..VerifyPace::default() };
    let config = LedgerConfig { verify: pace, ..follower_config(log.address(), &[]) };
    let node = Running::start(config, folder.path(), authority.node("node")).await;
    until("the damage is found", || node.status().verification.damages == 1).await;
    until("a check finds the rebuilt replica whole", || node.status().verification.passes == 1).await;
    let status = node.status();
    assert!(status.verification.last_damage.is_some_and(|damage| damage.contains("checksum")));
    assert_eq!((status.corrupt, status.seq, status.verification.damages), (None, Seq(2), 1));
    assert!(matches!(read(&node.ledger.replica, "one.example"), Ok(Some(_))));
    node.stop().await;
    log.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_in_the_background_goes_through_everything_while_changes_are_made() {
    let (folder, authority) = (folder(), Authority::new());
    let step = StepBounds { count: 2, ..StepBounds::default() };
    let pace =
        VerifyPace { first_after: Duration::ZERO, step, pause: Duration::ZERO, ..VerifyPace::default() };
    // Entries are dropped while they are checked.
    let config = LedgerConfig { verify: pace, log_entries_max: 5, ..log_config() };
    let log = Running::start(config, folder.path(), authority.node("log")).await;
    for number in 0..50 {
        log.put(&format!("zone-{number}.example")).await;
    }
    until("a check has passed", || log.status().verification.passes >= 1).await;
    assert_eq!(log.status().verification.damages, 0);
    assert_eq!(log.ledger.replica.verify(), Ok(55));
    log.stop().await;
}
