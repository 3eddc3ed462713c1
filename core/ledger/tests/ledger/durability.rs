//! What the embedded log keeps when it is killed, when the disk is full, and when the clock jumps.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use crate::common::*;
use futures_util::future::join_all;
use proxima_ledger::{
    Append, AppendError, Change, Clock, EmbeddedLog, FollowError, IdempotencyKey, Log as _, LogRestore,
    Replica, ReplicaError, ReplicaOptions, RevertError, Seq,
};
use proxima_model::{Kind, Timestamp};

const SMALL: ReplicaOptions = ReplicaOptions {
    map_octets: 64 << 20,
    log_entries_max: 100_000,
    log_octets_max: 512 << 20,
    idempotency_keys_max: 100_000,
};

fn open(path: &Path) -> EmbeddedLog {
    EmbeddedLog::open(path, sealer(), SMALL).unwrap()
}

/// The append of this number: always the same, as a client's retry is.
fn numbered(number: u64) -> Append {
    Append {
        fingerprint: None,
        changes: vec![put_raw(&key(&format!("{number:08}")), number.to_string())],
        preconditions: Vec::new(),
        idempotency_key: IdempotencyKey(format!("number {number}")),
        author: "node/test".to_owned(),
    }
}

const CHILD_FOLDER: &str = "LEDGER_TEST_CHILD_FOLDER";
const CHILD_FIRST: &str = "LEDGER_TEST_CHILD_FIRST";
/// Appends that the child has in flight at a time.
const IN_FLIGHT: u64 = 8;

/// Not a test of its own: what the next one starts and kills. Says each number that is acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_appends_until_it_is_killed() {
    let Ok(folder) = std::env::var(CHILD_FOLDER) else { return };
    let mut first: u64 = std::env::var(CHILD_FIRST).unwrap().parse().unwrap();
    let log = open(&PathBuf::from(folder));
    loop {
        let appended = join_all((first..first + IN_FLIGHT).map(|number| {
            let log = log.clone();
            async move {
                let appended = log.append(numbered(number)).await.unwrap();
                // One write, so that a line is there whole or not at all.
                println!("acknowledged {number} {}", appended.seq);
            }
        }));
        appended.await;
        first += IN_FLIGHT;
    }
}

/// Another process that has the log in this folder open. The first line after the harness's own says that it has.
fn start_child(folder: &Path, first: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "durability::child_that_appends_until_it_is_killed", "--nocapture"])
        .env(CHILD_FOLDER, folder)
        .env(CHILD_FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_another_process_has_open_is_not_restored_though_it_listens_nowhere() {
    let (folder, authority) = (folder(), Authority::new());
    let mut child = start_child(&folder.path().join("ledger"), 0);
    // Kept to the end: a process that nobody listens to ends at its next line.
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| parse(&line).is_some()));
    let peers = ["127.0.0.1:1".parse().unwrap()];
    let survey = async || {
        let tls = authority.node("log");
        let survey = LogRestore::survey(&log_config(), folder.path(), sealer(), &peers, tls).await;
        survey.err().unwrap().to_string()
    };
    let refused = survey().await;
    assert!(refused.contains("open: stop this node first"), "{refused}");
    child.kill().unwrap();
    child.wait().unwrap();
    drop(lines);
    let whole = survey().await;
    assert!(whole.contains("a whole log is in"), "{whole}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigkill_at_any_point_loses_no_acknowledged_change_and_repeats_none() {
    let folder = folder();
    let mut acknowledged: Vec<(u64, u64)> = Vec::new();
    for round in 0..12 {
        let first = acknowledged.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
        let mut child = start_child(folder.path(), first);
        // Somewhere in the first transactions, then further and further on.
        let kill_after = rand::random_range(0..=40 * round + 1);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        for line in lines.by_ref().map_while(Result::ok) {
            if let Some(acknowledgement) = parse(&line) {
                acknowledged.push(acknowledgement);
                seen += 1;
            }
            if seen >= kill_after {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had said when it was killed counts, too.
        acknowledged.extend(lines.map_while(Result::ok).filter_map(|line| parse(&line)));

        let log = open(folder.path());
        for (number, seq) in &acknowledged {
            let again = log.append(numbered(*number)).await.unwrap();
            assert!(again.repeated, "{number} was acknowledged and is lost");
            assert_eq!(again.seq, Seq(*seq), "{number} has another place");
        }
        // Those that were under way were made once or not at all; a retry settles it.
        let last = acknowledged.iter().map(|(number, _)| *number).max().unwrap_or(0);
        for number in first..=last + IN_FLIGHT {
            log.append(numbered(number)).await.unwrap();
        }
        let entries = log.replica().entries(Seq::ZERO, usize::MAX).unwrap();
        let mut keys: Vec<_> = entries.iter().map(|entry| entry.append.idempotency_key.clone()).collect();
        assert_eq!(entries.len() as u64, log.replica().seq().0, "every place has one entry");
        keys.sort();
        let made = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), made, "a change was made twice");
        let snapshot = log.replica().snapshot().unwrap();
        assert_eq!(snapshot.count(Kind::Node).unwrap(), made as u64, "state and log are one");
        acknowledged = entries
            .iter()
            .filter_map(|entry| {
                let number = entry.append.idempotency_key.0.strip_prefix("number ")?.parse().ok()?;
                Some((number, entry.seq.0))
            })
            .collect();
        drop(snapshot);
        log.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_appends_while_it_takes_over_is_noticed_here() {
    let (folder, authority) = (folder(), Authority::new());
    let log = Running::start(log_config(), folder.path(), authority.node("log")).await;
    let first = log.put("one.example").await;
    let mut child = start_child(&folder.path().join("ledger"), 0);
    let theirs = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let theirs = theirs.take_while(|line| parse(line).is_none()).count();
    let noticed = Seq(first.0 + 1);
    reaches(&log.ledger.replica, noticed).await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(log.ledger.replica.changes_since(first).is_everything(), "after {theirs} other lines");
    // The place after theirs, and not theirs.
    let next = log.put("two.example").await;
    let entries = log.ledger.replica.entries(Seq::ZERO, usize::MAX).unwrap();
    assert_eq!(entries.last().map(|entry| entry.seq), Some(next));
    assert_eq!(entries.len() as u64, next.0);
    log.stop().await;
}

fn parse(line: &str) -> Option<(u64, u64)> {
    // The harness may have written something before it on the same line.
    let (_, rest) = line.split_once("acknowledged ")?;
    let (number, seq) = rest.split_once(' ')?;
    Some((number.parse().ok()?, seq.parse().ok()?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_state_places_and_idempotency_keys_are_as_before() {
    let folder = folder();
    let log = open(folder.path());
    let zone_name = "example.com";
    let first = log.append(append(put_zone(log.replica(), zone_name))).await.unwrap();
    let again = numbered(1);
    let second = log.append(again.clone()).await.unwrap();
    log.close().await;

    let log = open(folder.path());
    assert_eq!(log.last(), second.seq);
    let snapshot = log.replica().snapshot().unwrap();
    let (read, revision) =
        snapshot.get_with_revision::<proxima_model::Zone>(&zone_id(zone_name)).unwrap().unwrap();
    assert_eq!((read, revision), (zone(zone_name), first.seq));
    assert!(log.append(again).await.unwrap().repeated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_map_is_told_leaves_nothing_half_written_and_ends_with_a_larger_one() {
    let folder = folder();
    let options = ReplicaOptions { map_octets: 2 << 20, ..SMALL };
    let log = EmbeddedLog::open(folder.path(), sealer(), options).unwrap();
    let large = |number: u64| {
        let changes = vec![
            put_raw(&key(&format!("a{number}")), vec![1; 100_000]),
            put_raw(&key(&format!("b{number}")), "1"),
        ];
        append(changes)
    };
    let mut taken = 0;
    let refused = loop {
        match log.append(large(taken)).await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::Full(_)), "{refused:?}");
    assert!(refused.may_retry());
    assert!(log.replica().lacks_room().is_some(), "the map is full");
    // What is there can still be read, and nothing of the refused one is.
    let snapshot = log.replica().snapshot().unwrap();
    assert_eq!(snapshot.count(Kind::Node).unwrap(), 2 * taken);
    assert_eq!(snapshot.seq(), Seq(taken));
    drop(snapshot);
    // One that does not fit does not take those with it that share its transaction.
    let small = append(vec![put_raw(&key("small"), "1")]);
    let (large_one, small_one) = tokio::join!(log.append(large(taken)), log.append(small));
    assert!(matches!(large_one, Err(AppendError::Full(_))));
    let small_fits = small_one.is_ok();
    log.close().await;

    let log = open(folder.path());
    assert_eq!(log.last(), Seq(taken + u64::from(small_fits)));
    log.append(large(taken)).await.unwrap();
    assert_eq!(log.replica().lacks_room(), None);
}

/// A small file system of its own; gone when dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(octets: u64) -> Option<Self> {
        let folder = folder();
        let size = format!("size={octets}");
        let flags = nix::mount::MsFlags::empty();
        let mounted =
            nix::mount::mount(Some("tmpfs"), folder.path(), Some("tmpfs"), flags, Some(size.as_str()));
        mounted.ok().map(|()| Self(folder))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_appends_go_on_once_there_is_room() {
    let Some(disk) = Disk::mount(8 << 20) else {
        eprintln!("not run: mounting a small file system needs root");
        return;
    };
    let log = open(&disk.0.path().join("log"));
    log.append(numbered(0)).await.unwrap();
    // Something else fills the disk, all but some pages.
    let ballast = disk.0.path().join("ballast");
    let mut room = 8 << 20;
    while room > 4_096 && std::fs::write(&ballast, vec![0; room]).is_err() {
        room -= 65_536;
    }
    let large = append(vec![put_raw(&key("large"), vec![1; 200_000])]);
    let refused = log.append(large.clone()).await.unwrap_err();
    assert!(matches!(&refused, AppendError::Full(why) if why.contains("the disk is full")), "{refused:?}");
    assert!(log.replica().lacks_room().is_some_and(|why| why.contains("octets are free")));
    let snapshot = log.replica().snapshot().unwrap();
    assert_eq!((snapshot.seq(), snapshot.count(Kind::Node).unwrap()), (Seq(1), 1));
    drop(snapshot);

    std::fs::remove_file(&ballast).unwrap();
    assert_eq!(log.append(large).await.unwrap().seq, Seq(2));
    log.close().await;
    let log = open(&disk.0.path().join("log"));
    assert_eq!(log.last(), Seq(2));
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_clock_jumps_back_entries_keep_their_order_in_time() {
    let folder = folder();
    let now = Arc::new(AtomicI64::new(1_000_000));
    let clock: Clock = {
        let now = Arc::clone(&now);
        Arc::new(move || Timestamp::from_millis(now.load(Ordering::SeqCst)))
    };
    let log = EmbeddedLog::open_with_clock(folder.path(), sealer(), SMALL, Arc::clone(&clock)).unwrap();
    let mut number = 0;
    let mut append_at = async |log: &EmbeddedLog, millis| {
        now.store(millis, Ordering::SeqCst);
        number += 1;
        log.append(numbered(number)).await.unwrap();
    };
    append_at(&log, 1_000_000).await;
    append_at(&log, 10).await;
    append_at(&log, 2_000_000).await;
    log.close().await;
    // The last time is remembered over a restart.
    let log = EmbeddedLog::open_with_clock(folder.path(), sealer(), SMALL, clock).unwrap();
    append_at(&log, 20).await;
    append_at(&log, 2_000_001).await;
    let entries = log.replica().entries(Seq::ZERO, 10).unwrap();
    let times: Vec<_> = entries.iter().map(|entry| entry.at.as_millis()).collect();
    assert_eq!(times, [1_000_000, 1_000_000, 2_000_000, 2_000_000, 2_000_001]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_years_ahead_forgets_no_retry_in_flight() {
    let folder = folder();
    let now = Arc::new(AtomicI64::new(0));
    let clock: Clock = {
        let now = Arc::clone(&now);
        Arc::new(move || Timestamp::from_millis(now.load(Ordering::SeqCst)))
    };
    let log = EmbeddedLog::open_with_clock(folder.path(), sealer(), SMALL, clock).unwrap();
    let first = log.append(numbered(1)).await.unwrap();
    now.store(i64::MAX / 2, Ordering::SeqCst);
    for number in 2..20 {
        log.append(numbered(number)).await.unwrap();
    }
    assert_eq!(log.append(numbered(1)).await.unwrap().seq, first.seq);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_and_idempotency_keys_are_kept_within_their_bounds() {
    let folder = folder();
    let options = ReplicaOptions { log_entries_max: 20, idempotency_keys_max: 30, ..SMALL };
    let log = EmbeddedLog::open(folder.path(), sealer(), options).unwrap();
    for number in 0..100 {
        log.append(numbered(number)).await.unwrap();
    }
    assert_eq!(
        log.replica().entries(Seq(79), 100).map(|entries| entries.len()),
        Err(FollowError::Compacted { from: Seq(79), first: Seq(81) })
    );
    assert_eq!(log.replica().entries(Seq(80), 100).unwrap().len(), 20);
    assert!(log.append(numbered(99)).await.unwrap().repeated);
    assert!(!log.append(numbered(1)).await.unwrap().repeated, "long forgotten");
    assert_eq!(log.replica().snapshot().unwrap().count(Kind::Node).unwrap(), 100, "state is not compacted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_can_be_brought_back_to_any_place_that_is_kept() {
    let folder = folder();
    let log = open(folder.path());
    let replica = log.replica().clone();
    log.append(append(vec![put_raw(&key("a"), "1"), put_raw(&key("b"), "1")])).await.unwrap();
    log.append(append(vec![put_raw(&key("a"), "2"), Change::Delete { key: key("b") }])).await.unwrap();
    log.append(append(vec![put_raw(&key("c"), "1"), put_raw(&key("a"), "3")])).await.unwrap();
    let back = replica.revert_to(Seq(1), IdempotencyKey("back".to_owned()), "token/1".to_owned()).unwrap();
    let reverted = log.append(back).await.unwrap().seq;
    let changes = &replica.entries(Seq(3), 1).unwrap()[0].append.changes;
    assert_eq!(
        *changes,
        [put_raw(&key("a"), "1"), put_raw(&key("b"), "1"), Change::Delete { key: key("c") }]
    );
    assert_eq!(replica.snapshot().unwrap().count(Kind::Node).unwrap(), 2);
    // The way back can be taken back, too.
    let forth = replica.revert_to(Seq(3), IdempotencyKey("forth".to_owned()), "token/1".to_owned()).unwrap();
    // Whoever changed something in between is not overrun.
    log.append(append(vec![put_raw(&key("a"), "4")])).await.unwrap();
    let refused = log.append(forth).await;
    assert!(matches!(refused, Err(AppendError::Precondition { found: Some(Seq(5)), .. })), "{refused:?}");
    let ahead = replica.revert_to(Seq(99), IdempotencyKey("x".to_owned()), String::new());
    assert!(matches!(ahead, Err(RevertError::Follow(FollowError::Ahead { .. }))));
    assert_eq!(reverted, Seq(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_made_with_another_key_is_refused() {
    let folder = folder();
    open(folder.path()).close().await;
    let (other, _) = proxima_ledger::Sealer::generate();
    let refused = EmbeddedLog::open(folder.path(), other.clone(), SMALL);
    assert!(matches!(refused, Err(ReplicaError::WrongKey { .. })));
    assert!(matches!(Replica::open(folder.path(), other, SMALL), Err(ReplicaError::WrongKey { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_lie_sealed_on_the_disk_and_are_read_as_they_were() {
    use proxima_model::{
        ApiToken, Certificate, CertificateId, CertificateSource, DnsName, EdgeAuthority, TicketKey,
        TicketKeyId, TicketKeys, TokenId, TokenStatus, ZoneId,
    };
    const SECRET: [u8; 32] = *b"0123456789abcdefghijklmnopqrstuv";
    const KEY_PEM: &str = "-----BEGIN PRIVATE KEY-----\nnobody may find this\n-----END PRIVATE KEY-----\n";
    let folder = folder();
    let log = open(folder.path());
    let at = Timestamp::from_millis(5);
    let (token_id, zone_id, certificate_id) =
        (TokenId::from_bytes([7; 16]), ZoneId::from_bytes([8; 16]), CertificateId::from_bytes([6; 16]));
    let key = TicketKey { id: TicketKeyId::from_bytes([9; 16]), secret: SECRET, created_at: at };
    let tickets = TicketKeys { keys: vec![key] };
    let token = ApiToken {
        id: token_id,
        name: "a token".to_owned(),
        secret_hash: SECRET,
        s3_secret: None,
        policies: Vec::new(),
        status: TokenStatus::Active,
        not_before: None,
        expires_on: None,
        issued_on: at,
    };
    let certificate = Certificate {
        id: certificate_id,
        zone: zone_id,
        hosts: vec![DnsName::parse("a.example").unwrap()],
        source: CertificateSource::Custom,
        chain_pem: "a chain".to_owned(),
        key_pem: KEY_PEM.to_owned(),
        not_before: at,
        not_after: at,
        uploaded_at: at,
    };
    let authority = EdgeAuthority {
        certificate_pem: "a certificate".to_owned(),
        key_pem: KEY_PEM.to_owned(),
        created_at: at,
    };
    let replica = log.replica();
    let open_value = replica.put(&index("in-the-clear.example"));
    let secrets =
        vec![replica.put(&tickets), replica.put(&token), replica.put(&certificate), replica.put(&authority)];
    log.append(append([secrets, vec![open_value]].concat())).await.unwrap();
    let snapshot = replica.snapshot().unwrap();
    assert_eq!(snapshot.get::<TicketKeys>(&()).unwrap(), Some(tickets));
    assert_eq!(snapshot.get::<ApiToken>(&token_id).unwrap(), Some(token));
    assert_eq!(snapshot.get::<Certificate>(&(zone_id, certificate_id)).unwrap(), Some(certificate));
    assert_eq!(snapshot.get::<EdgeAuthority>(&()).unwrap(), Some(authority));
    drop(snapshot);
    log.close().await;
    let hex = hex::encode(SECRET);
    let lies_in = |text: &str| {
        let holds = |file: &PathBuf| {
            let octets = std::fs::read(file).unwrap();
            octets.windows(text.len()).any(|window| window == text.as_bytes())
        };
        files(folder.path()).into_iter().find(holds)
    };
    for secret in [hex.as_str(), "0123456789abcdefghijklmnopqrstuv", "nobody may find this"] {
        assert_eq!(lies_in(secret), None, "{secret}");
    }
    assert!(lies_in("\"in-the-clear.example\"").is_some(), "what is no secret would have been found");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
