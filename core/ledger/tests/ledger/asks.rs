//! Questions to the log's node that are no part of the state.

use std::sync::Arc;

use async_trait::async_trait;
use proxima_ledger::{ASK_OCTETS_MAX, Answers, AskError, EmbeddedLog, Log, ReplicaOptions};

use crate::common::*;

const TOPIC: &str = "echo";

/// Says the question again; what is empty it does not answer, and to `large` it says too much.
struct Echo;

#[async_trait]
impl Answers for Echo {
    async fn answer(&self, question: Vec<u8>) -> Result<Vec<u8>, String> {
        match question.as_slice() {
            b"" => Err("there is nothing to say".to_owned()),
            b"large" => Ok(vec![0; ASK_OCTETS_MAX + 1]),
            _ => Ok(question),
        }
    }
}

async fn is_asked(log: &Arc<dyn Log>) {
    let largest = vec![7; ASK_OCTETS_MAX];
    assert_eq!(log.ask(TOPIC, largest.clone()).await, Ok(largest));
    assert_eq!(
        log.ask(TOPIC, Vec::new()).await,
        Err(AskError::Refused("there is nothing to say".to_owned()))
    );
    assert_eq!(log.ask(TOPIC, b"large".to_vec()).await, Err(AskError::TooLarge));
    assert_eq!(log.ask(TOPIC, vec![7; ASK_OCTETS_MAX + 1]).await, Err(AskError::TooLarge));
    assert_eq!(log.ask("weather", b"?".to_vec()).await, Err(AskError::Nobody("weather".to_owned())));
    assert_eq!(log.ask(TOPIC, b"still there".to_vec()).await, Ok(b"still there".to_vec()));
}

#[tokio::test]
async fn a_question_is_answered_by_whom_the_logs_node_has_for_its_topic() {
    let folder = folder();
    let options = ReplicaOptions { map_octets: 256 << 20, ..ReplicaOptions::default() };
    let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(folder.path(), sealer(), options).unwrap());
    assert!(log.seat(TOPIC, Arc::new(Echo)));
    is_asked(&log).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_travels_to_the_logs_node_and_waits_no_longer_than_it_may() {
    let (folders, authority) = ((folder(), folder()), Authority::new());
    let log = Running::start(log_config(), folders.0.path(), authority.node("log")).await;
    let config = follower_config(log.address(), &[]);
    let node = Running::start(config, folders.1.path(), authority.node("node")).await;
    let remote = Arc::clone(&node.ledger.log);
    assert!(!remote.seat(TOPIC, Arc::new(Echo)), "the log is not here");
    assert_eq!(remote.ask(TOPIC, b"?".to_vec()).await, Err(AskError::Nobody(TOPIC.to_owned())));
    assert!(log.ledger.log.seat(TOPIC, Arc::new(Echo)));
    is_asked(&remote).await;
    // Appends go on beside questions.
    node.put("a.example").await;
    log.stop().await;
    let lost = remote.ask(TOPIC, b"?".to_vec()).await;
    assert!(matches!(lost, Err(AskError::Unreachable(_))), "{lost:?}");
    node.stop().await;
}
