//! Servers that are lost, and clients that break off.

use std::time::Duration;

use proxima_pipeline::{BodyError, BodySender, Expected, ObjectConditions, ObjectCopy};
use tokio::time::Instant;

use super::{
    super::{
        answers::WAIT_EVERY,
        wire::{self, ANSWER_OCTETS_MAX, Answer, Asked},
    },
    *,
};

fn is_unreachable<T: std::fmt::Debug>(outcome: &Result<T, ObjectError>) -> bool {
    matches!(outcome, Err(ObjectError::Unreachable(_)))
}

/// A body that is still being sent, of which the first octets have been taken.
async fn half() -> (BodySender, Body) {
    let (mut sender, body) = Body::channel(1, None);
    sender.send(large()).await.unwrap();
    (sender, body)
}

#[tokio::test]
async fn a_home_that_is_lost_while_an_upload_streams_is_told_and_nothing_half_is_seen() {
    for quietly in [false, true] {
        let world = World::new().await;
        let bucket = world.bucket("a", "bucket").await;
        let (mut sender, body) = half().await;
        let the_key = key("key");
        let put = world.at("b").put(&bucket, &the_key, ObjectPut::default(), body);
        let lost = async {
            // The second is taken when the first has gone on.
            sender.send(large()).await.unwrap();
            sender.send(large()).await.unwrap();
            world.cut("a", quietly);
        };
        let (put, ()) = tokio::join!(put, lost);
        assert!(is_unreachable(&put), "{put:?}");
        assert!(sender.send(large()).await.is_err(), "nobody takes the rest");
        assert_eq!(world.get("a", &bucket, "key", None).await, Err(ObjectError::NoSuchKey));
        let away = world.get("b", &bucket, "key", None).await;
        assert!(is_unreachable(&away), "{away:?}");
        let begun = world.at("b").begin_upload(&bucket, &the_key, Default::default()).await;
        assert!(is_unreachable(&begun), "{begun:?}");
    }
}

#[tokio::test]
async fn a_home_that_is_lost_while_an_object_is_read_ends_it_as_a_fault() {
    for quietly in [false, true] {
        let world = World::new().await;
        let bucket = world.bucket("a", "bucket").await;
        world.put("a", &bucket, "key", large()).await.unwrap();
        let read = world.at("b").get(&bucket, &key("key"), ObjectGet::default()).await.unwrap();
        let mut body = read.body;
        assert_eq!(body.length(), Some(LARGE as u64));
        body.next_frame().await.unwrap().unwrap();
        world.cut("a", quietly);
        assert_eq!(body.collect(usize::MAX).await, Err(BodyError::Aborted), "quietly: {quietly}");
    }
}

#[tokio::test]
async fn a_client_that_breaks_off_is_to_blame_and_not_the_home() {
    let world = World::new().await;
    let bucket = world.bucket("a", "bucket").await;
    let (sender, body) = half().await;
    let the_key = key("key");
    let put = world.at("b").put(&bucket, &the_key, ObjectPut::default(), body);
    let (put, ()) = tokio::join!(put, sender.fail(BodyError::Malformed));
    assert_eq!(put, Err(ObjectError::from(BodyError::Malformed)));
    // Nobody waits for this one any more.
    let (mut sender, body) = half().await;
    let mut put = world.at("b").put(&bucket, &the_key, ObjectPut::default(), body);
    tokio::select! {
        biased;
        put = &mut put => panic!("{put:?}"),
        sent = sender.send(large()) => sent.unwrap(),
    }
    drop(put);
    sender.closed().await;
    assert_eq!(world.get("a", &bucket, "key", None).await, Err(ObjectError::NoSuchKey));
}

#[tokio::test]
async fn a_copy_of_which_either_home_is_lost_is_not_seen() {
    let world = World::new().await;
    let (a, b) = (world.bucket("a", "of-a").await, world.bucket("b", "of-b").await);
    world.put("a", &a, "key", large()).await.unwrap();
    let (from, to) = (key("key"), key("copy"));
    world.cut("a", true);
    let copied = world.at("c").copy((&a, &from), (&b, &to), ObjectCopy::default()).await;
    assert!(is_unreachable(&copied), "{copied:?}");
    assert_eq!(world.get("b", &b, "copy", None).await, Err(ObjectError::NoSuchKey));
    world.cut("b", false);
    let copied = world.at("a").copy((&a, &from), (&b, &to), ObjectCopy::default()).await;
    assert!(is_unreachable(&copied), "{copied:?}");
}

#[tokio::test]
async fn no_more_is_asked_of_one_server_at_a_time_than_may_be() {
    let world = World::new().await;
    let (a, c) = (world.bucket("a", "of-a").await, world.bucket("c", "of-c").await);
    world.put("a", &a, "key", large()).await.unwrap();
    let mut reads = Vec::new();
    for _ in 0..proxima_pipeline::ServerPlaces::EACH {
        reads.push(world.at("b").get(&a, &key("key"), ObjectGet::default()).await.unwrap());
    }
    assert_eq!(world.get("b", &a, "key", None).await, Err(ObjectError::Busy));
    world.put("b", &c, "key", "another's").await.unwrap();
    drop(reads.pop());
    assert_eq!(world.get("b", &a, "key", None).await, Ok(large()));
}

/// A server that answers what a test says, or not at all.
struct Mute(Vec<ServerAbout>, Mutex<Option<Body>>);

impl Servers for Mute {
    fn all(&self) -> &[ServerAbout] {
        &self.0
    }

    fn me(&self) -> &NodeName {
        &self.0[0].name
    }

    fn ask<'a>(
        &'a self,
        _: &'a NodeName,
        _: &'static str,
        _: Request<Body>,
    ) -> BoxFuture<'a, Result<Response<Body>, NoAnswer>> {
        let body = self.1.lock().unwrap().take();
        Box::pin(async move {
            match body {
                Some(body) => Ok(Response::new(body)),
                None => std::future::pending().await,
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up_and_one_that_is_still_at_it_is_not() {
    let world_of = |body| {
        let about = |server| ServerAbout {
            name: name(server),
            pop: PopCode::parse("FRA").unwrap(),
            region: RegionName::parse("europe").unwrap(),
        };
        Reach::new(Arc::new(Mute(vec![about("a"), about("b")], Mutex::new(body))))
    };
    let ask = async |reach: &Reach| {
        let begun = Instant::now();
        let answered = reach.ask(&name("b"), &Asked::Hello, Body::empty()).await;
        (answered.map(|answered| answered.answer), begun.elapsed())
    };
    let (outcome, after) = ask(&world_of(None)).await;
    assert!(is_unreachable(&outcome) && after < Duration::from_secs(10), "{outcome:?} {after:?}");

    let (_sender, body) = Body::channel(1, None);
    let (outcome, after) = ask(&world_of(Some(body))).await;
    assert!(is_unreachable(&outcome) && after < Duration::from_secs(30), "{outcome:?} {after:?}");

    let (mut sender, body) = Body::channel(1, None);
    tokio::spawn(async move {
        for _ in 0..100 {
            tokio::time::timeout(WAIT_EVERY, std::future::pending::<()>()).await.ok();
            sender.send(wire::wait()).await.unwrap();
        }
        sender.send(wire::write(&Answer::Done, ANSWER_OCTETS_MAX).unwrap()).await.unwrap();
    });
    let (outcome, after) = ask(&world_of(Some(body))).await;
    assert_eq!(outcome, Ok(Answer::Done));
    assert!(after >= WAIT_EVERY * 100, "{after:?}");

    for octets in [vec![255; 8], vec![0, 0, 0, 1, 99]] {
        let (outcome, _) = ask(&world_of(Some(Body::full(octets)))).await;
        assert!(is_unreachable(&outcome), "{outcome:?}");
    }
}

#[tokio::test]
async fn octets_that_are_announced_and_do_not_come_are_a_fault_of_the_sender() {
    let world = World::new().await;
    let bucket = world.bucket("a", "bucket").await;
    let expected = Expected { octets: Some(LARGE as u64 + 1), ..Expected::default() };
    let put = ObjectPut { expected, conditions: ObjectConditions::default(), ..ObjectPut::default() };
    let put = world.at("b").put(&bucket, &key("key"), put, Body::full(large())).await;
    assert!(matches!(put, Err(ObjectError::Body(_))), "{put:?}");
}
