//! A process that is killed.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use super::{outbox::QUEUE, *};

const CHILD_FOLDER: &str = "R2_TEST_CHILD_FOLDER";
const CHILD_FIRST: &str = "R2_TEST_CHILD_FIRST";
/// Octets of the index: it has notifications of more objects than are put.
const INDEX_OCTETS: usize = 1 << 30;
/// Objects that the child puts at a time.
const IN_FLIGHT: u64 = 8;

fn open(folder: &Path) -> Store {
    let clock = Arc::new(SimulatedClock::new(Timestamp::from_millis(1_000_000)));
    let bounds = Bounds { index_octets_max: INDEX_OCTETS, free_octets_min: 0 };
    open_with(folder, bounds, clock, Arc::new(AtomicBool::new(true)), None).unwrap()
}

/// A bucket of which a queue is told all.
fn bucket() -> Bucket {
    outbox::told(&[(QUEUE, json!([{ "actions": ["PutObject"] }]))])
}

/// The keys of which the queue is to be told, each as often as it is.
async fn to_be_told(store: &Store) -> Vec<String> {
    let (mut keys, mut after) = (Vec::new(), Vec::new());
    loop {
        let found = store.rows(after, |db| db.outbox).await.unwrap();
        let Some((last, _)) = found.last() else { return keys };
        after = last.clone();
        for (key, row) in found {
            let row: rows::NotificationRow = rows::decode(&key, &row).unwrap();
            let message: Value = serde_json::from_str(&row.message).unwrap();
            keys.push(message["object"]["key"].as_str().unwrap().to_owned());
        }
    }
}

/// What the object of this number is: every other one large.
fn numbered(number: u64) -> Vec<u8> {
    let size = if number.is_multiple_of(2) { LARGE } else { 500 };
    octets(size, u8::try_from(number % 251).unwrap())
}

/// Not a test of its own: what the next one starts and kills. Says each number that is acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_puts_until_it_is_killed() {
    let Ok(folder) = std::env::var(CHILD_FOLDER) else { return };
    let mut first: u64 = std::env::var(CHILD_FIRST).unwrap().parse().unwrap();
    let store = open(Path::new(&folder));
    loop {
        let puts = (first..first + IN_FLIGHT).map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                let body = Body::full(numbered(number));
                store.put(&bucket(), &key(&number.to_string()), ObjectPut::default(), body).await.unwrap();
                // One write, so that a line is there whole or not at all.
                println!("acknowledged {number}");
            })
        });
        for put in puts.collect::<Vec<_>>() {
            put.await.unwrap();
        }
        first += IN_FLIGHT;
    }
}

fn start_child(folder: &Path, first: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::crash::child_that_puts_until_it_is_killed", "--nocapture"])
        .env(CHILD_FOLDER, folder)
        .env(CHILD_FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn sigkill_at_any_point_loses_nothing_that_was_acknowledged_and_leaves_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut first) = (Vec::<u64>::new(), 0);
    for round in 0..8 {
        let mut child = start_child(folder.path(), first);
        let kill_after = rand::random_range(1..=20 * round + 1);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut lines = lines.filter_map(|line| line.strip_prefix("acknowledged ")?.parse::<u64>().ok());
        acknowledged.extend(lines.by_ref().take(kill_after));
        child.kill().unwrap();
        // What it said before it was killed.
        acknowledged.extend(lines);
        child.wait().unwrap();
        first = acknowledged.iter().max().unwrap() + IN_FLIGHT + 1;

        let store = open(folder.path());
        let (mut large, mut there) = (0, Vec::new());
        for number in 0..first {
            let read = store.get(&bucket(), &key(&number.to_string()), ObjectGet::default()).await;
            match read {
                Ok(read) => {
                    assert_eq!(read.body.collect(usize::MAX).await.unwrap(), numbered(number), "{number}");
                    large += usize::from(number.is_multiple_of(2));
                    there.push(number.to_string());
                }
                Err(error) => {
                    assert_eq!(error, ObjectError::NoSuchKey);
                    assert!(!acknowledged.contains(&number), "{number} was acknowledged and is lost");
                }
            }
        }
        let mut told = to_be_told(&store).await;
        told.sort_unstable();
        there.sort_unstable();
        assert_eq!(told, there, "each object that is there, once, and no other");
        store.remove_strays().await.unwrap();
        assert_eq!(files(folder.path()), large, "what nobody names is gone");
        assert_eq!(fs::read_dir(folder.path().join("blobs/processes")).unwrap().count(), 1);
        store.close_wholly();
    }
}
