//! Buckets: where they lie, how they go, and homes that do not know them.

use proxima_model::{Jurisdiction, LocationHint};
use proxima_pipeline::ObjectDelete;

use super::*;

#[tokio::test]
async fn a_bucket_lies_where_its_owner_says_if_the_network_has_a_region_of_that_name() {
    let world = World::new().await;
    let make = |server: &'static str, text: &'static str, location, jurisdiction| {
        let new = NewBucket { location, jurisdiction, ..new_bucket(text) };
        world.at(server).create_bucket(new, "test".to_owned())
    };
    let (west, east) = (Some(LocationHint::WesternEurope), Some(LocationHint::EasternEurope));
    let (union, fedramp) = (Some(Jurisdiction::EuropeanUnion), Some(Jurisdiction::Fedramp));
    for (text, server, location, jurisdiction, home) in [
        ("nothing-said", "a", None, None, "a"),
        ("west", "a", west, None, "b"),
        ("west-here", "b", west, None, "b"),
        ("no-such-region", "a", east, None, "a"),
        ("union", "a", None, union, "c"),
        ("union-before-west", "b", west, union, "c"),
        ("no-such-jurisdiction", "a", None, fedramp, "a"),
    ] {
        let bucket = make(server, text, location, jurisdiction).await.unwrap();
        assert_eq!(bucket.home, name(home), "{text}");
        world.put("a", &bucket, "key", text).await.unwrap();
        assert_eq!(world.get("c", &bucket, "key", None).await, Ok(text.into()), "{text}");
    }
    // What is a wish is not fulfilled where nobody is; what must be is not done.
    world.cut("b", false);
    assert_eq!(make("a", "west-is-away", west, None).await.unwrap().home, name("a"));
    world.cut("c", false);
    let refused = make("a", "union-is-away", None, union).await;
    assert!(matches!(refused, Err(ObjectError::Unreachable(_))), "{refused:?}");
}

#[tokio::test]
async fn a_bucket_is_deleted_by_another_server_if_it_is_empty_and_is_then_nowhere() {
    let world = World::new().await;
    let bucket = world.bucket("a", "bucket").await;
    world.put("b", &bucket, "key", "octets").await.unwrap();
    let delete = || world.at("b").delete_bucket(&bucket, "test".to_owned());
    assert_eq!(delete().await, Err(ObjectError::BucketNotEmpty));
    let all = vec![ObjectDelete { key: key("key"), conditions: Default::default() }];
    world.at("c").delete(&bucket, all).await.unwrap();
    assert_eq!(delete().await, Ok(()));
    assert_eq!(delete().await, Err(ObjectError::NoSuchBucket));
    // One of the same name is another one.
    let later = world.bucket("a", "bucket").await;
    for server in ["b", "c"] {
        let put = world.put(server, &bucket, "key", "late").await;
        assert_eq!(put, Err(ObjectError::NoSuchBucket), "{server}");
        world.put(server, &later, "key", "new").await.unwrap();
    }
}

#[tokio::test]
async fn a_home_hears_of_a_bucket_that_was_made_elsewhere_or_says_that_it_has_not() {
    let mut world = World::new().await;
    // Its replica follows the others' log when the test says so.
    let lagging = open_log(&world.folder, "lagging").await;
    world.start("b", &lagging);
    let bucket = Bucket { home: name("b"), ..world.bucket("a", "bucket").await };
    let unknown = world.put("a", &bucket, "key", "octets").await;
    assert!(
        matches!(&unknown, Err(ObjectError::Unreachable(what)) if what.contains("not heard")),
        "{unknown:?}"
    );
    let heard = async {
        append(&lagging, lagging.replica().put(&bucket)).await;
    };
    let (put, ()) = tokio::join!(world.put("a", &bucket, "key", "octets"), heard);
    put.unwrap();
    assert_eq!(world.get("c", &bucket, "key", None).await, Ok("octets".into()));
}

#[tokio::test]
async fn a_server_that_is_not_a_buckets_home_does_not_answer_for_it() {
    let world = World::new().await;
    let bucket = world.bucket("a", "bucket").await;
    let forged = Bucket { home: name("b"), ..bucket };
    let put = world.put("c", &forged, "key", "octets").await;
    assert!(
        matches!(&put, Err(ObjectError::Unreachable(what)) if what.contains("not the bucket's home")),
        "{put:?}"
    );
    let nobody = Bucket { home: name("gone"), ..forged };
    let put = world.put("c", &nobody, "key", "octets").await;
    assert!(matches!(&put, Err(ObjectError::Unreachable(what)) if what.contains("gone")), "{put:?}");
}
