//! Questions between services of two servers in one PoP.

use bytes::Bytes;
use http::{HeaderValue, Method};
use proxima_pipeline::{
    AnswersNeighbours, Body, NEIGHBOUR_QUESTION_OCTETS_MAX, NEIGHBOUR_QUESTIONS_MAX, Neighbours as _,
    NoAnswer, Taken,
};
use tokio::runtime::Handle;

use super::{World, text};

/// A service that neighbours ask, which does as it is told.
pub(super) struct Resolves;

impl AnswersNeighbours for Resolves {
    fn take(&self, neighbour: usize, question: &[u8]) -> Taken {
        match question {
            b"now" => Taken::Now(format!("now, {neighbour}").into_bytes()),
            b"later" => Taken::Later(Box::pin(async {
                tokio::task::yield_now().await;
                Some(b"later".to_vec())
            })),
            b"never" => Taken::Later(Box::pin(std::future::pending())),
            b"nothing" => Taken::Later(Box::pin(std::future::ready(None))),
            b"busy" => Taken::Declined,
            _ => Taken::Malformed,
        }
    }
}

/// A question that the other server has taken, and its answer.
async fn put(world: &World, question: &[u8]) -> Result<Bytes, NoAnswer> {
    world.peers.put(1, question.to_vec()).await?.await
}

#[tokio::test]
async fn a_neighbour_is_asked_for_what_it_is_home_of() {
    let world = World::new().await;
    let is_home = |number: &u32| world.peers.home(&number.to_le_bytes()) == Some(1);
    assert!((0..100).any(|number| is_home(&number)) && !(0..100).all(|number| is_home(&number)));
    assert_eq!(world.peers.name(1), "there");
    // By its certificate the other one knows who asks: there, this server is the second one.
    assert_eq!(put(&world, b"now").await.as_deref(), Ok(&b"now, 1"[..]));
    assert_eq!(put(&world, b"later").await.as_deref(), Ok(&b"later"[..]));
    assert_eq!(put(&world, b"nothing").await, Err(NoAnswer::Busy), "it is there, and says so");
    assert_eq!(put(&world, b"busy").await, Err(NoAnswer::Declined));
    assert!((0..100).any(|number| is_home(&number)), "it is home still");
    assert!(world.there.seen().is_empty(), "no stage has seen any of it");
}

#[tokio::test]
async fn a_question_that_is_none_or_that_nobody_answers_is_told_so_and_the_server_spared() {
    let world = World::new().await;
    let long = vec![b'x'; NEIGHBOUR_QUESTION_OCTETS_MAX + 1];
    for (question, status, why) in
        [(&b"nonsense"[..], 400, "malformed"), (&long[..], 400, "malformed"), (&b"busy"[..], 503, "busy")]
    {
        let mut request = http::Request::new(Body::full(question.to_vec()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = "https://neighbour.internal/resolver".parse().expect("a URL");
        let response = world.peers.ask(1, request).await.expect("answered");
        let said = response.headers().get("proxima-tier-declined").map(HeaderValue::as_bytes);
        assert_eq!((response.status().as_u16(), said), (status, Some(why.as_bytes())));
    }
    assert_eq!(put(&world, b"nonsense").await, Err(NoAnswer::Declined));
    assert!((0..100_u32).all(|number| world.peers.home(&number.to_le_bytes()).is_none()), "it is spared");
    assert!(world.peers.is_up(1), "not by caches");
    let without = World::within(&Handle::current(), "there", &["there", "here"], false);
    without.until_up(true).await;
    assert_eq!(put(&without, b"now").await, Err(NoAnswer::Declined));
    assert!((0..100_u32).all(|number| without.peers.home(&number.to_le_bytes()).is_none()));
}

#[tokio::test]
async fn a_neighbour_that_takes_a_question_and_goes_is_lost_and_nobodys_home() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let world = World::within(runtime.handle(), "there", &["there", "here"], true);
    world.until_up(true).await;
    let taken = world.peers.put(1, b"never".to_vec()).await.expect("it is taken before there is an answer");
    runtime.shutdown_background();
    assert_eq!(taken.await, Err(NoAnswer::Lost));
    world.until_up(false).await;
    assert_eq!(put(&world, b"now").await, Err(NoAnswer::Lost));
    assert!((0..100_u32).all(|number| world.peers.home(&number.to_le_bytes()).is_none()));
}

#[tokio::test]
async fn no_more_questions_are_under_way_to_a_neighbour_than_may_be() {
    let world = World::new().await;
    let mut taken = Vec::new();
    for _ in 0..NEIGHBOUR_QUESTIONS_MAX {
        taken.push(world.peers.put(1, b"never".to_vec()).await.expect("there is a place"));
    }
    assert_eq!(put(&world, b"now").await, Err(NoAnswer::Declined));
    taken.pop();
    assert!(put(&world, b"now").await.is_ok());
    // Caches have requests of their own.
    assert_eq!(text(world.fetch(&world.target(), None).await).await.expect("whole"), "the origin's");
}
