//! A process that is killed.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use super::*;

const CHILD_FOLDER: &str = "R2_TEST_CHILD_FOLDER";
const CHILD_FIRST: &str = "R2_TEST_CHILD_FIRST";
/// Objects that the child puts at a time.
const IN_FLIGHT: u64 = 8;

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
    let clock = Arc::new(SimulatedClock::new(Timestamp::from_millis(1_000_000)));
    let store = open(Path::new(&folder), 0, clock, Arc::new(AtomicBool::new(true)));
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

        let clock = Arc::new(SimulatedClock::new(Timestamp::from_millis(1_000_000)));
        let store = open(folder.path(), 0, clock, Arc::new(AtomicBool::new(true)));
        let mut large = 0;
        for number in 0..first {
            let read = store.get(&bucket(), &key(&number.to_string()), ObjectGet::default()).await;
            match read {
                Ok(read) => {
                    assert_eq!(read.body.collect(usize::MAX).await.unwrap(), numbered(number), "{number}");
                    large += usize::from(number.is_multiple_of(2));
                }
                Err(error) => {
                    assert_eq!(error, ObjectError::NoSuchKey);
                    assert!(!acknowledged.contains(&number), "{number} was acknowledged and is lost");
                }
            }
        }
        store.remove_strays().await.unwrap();
        assert_eq!(files(folder.path()), large, "what nobody names is gone");
        assert_eq!(fs::read_dir(folder.path().join("blobs/processes")).unwrap().count(), 1);
        store.close_wholly();
    }
}
