//! The root's keys, followed while they roll over, as a resolver sees them.

use super::*;
use crate::{AnchorState, Followed, tests::world::new_key};

const DAY: u64 = 86_400;

/// The world, whose root signs anew each time, and has another key from the second day on.
fn rolling() -> Arc<World> {
    let mut world = Arc::into_inner(world(|_| {})).unwrap();
    for (_, zone) in &mut world.zones {
        zone.signs_anew = true;
    }
    world.zones[0].1.rolls_at = Some((BEGIN + DAY, new_key()));
    Arc::new(world)
}

fn following(world: &Arc<World>, anchors: &Arc<TrustAnchors>) -> Arc<Resolver<Arc<World>>> {
    resolver_with(world, |settings| settings.anchors = anchors.clone())
}

#[tokio::test(start_paused = true)]
async fn a_new_key_of_the_root_is_an_anchor_after_thirty_days() {
    let world = rolling();
    let anchors = TrustAnchors::followed(vec![world.zones[0].1.ds().unwrap()], Followed::default());
    let resolver = following(&world, &anchors);
    for day in 0..=31 {
        let kept = anchors.to_keep();
        let count = |state| kept.count(state);
        match day {
            0 => assert_eq!(kept, Followed::default()),
            1 => assert_eq!((count(AnchorState::Valid), count(AnchorState::Pending)), (1, 0)),
            _ => assert_eq!((count(AnchorState::Valid), count(AnchorState::Pending)), (1, 1), "day {day}"),
        }
        let observation = resolver.tend().await.keys.expect("it is due daily");
        assert_eq!(observation.outcome, Ok(()), "day {day}");
        assert!(ask(&resolver, "www.signed.test", rtype::A, 0).await.is_secure(), "day {day}");
        assert!(resolver.tend().await.keys.is_none(), "and not more often");
        world.pass(DAY);
    }
    assert_eq!(anchors.to_keep().count(AnchorState::Valid), 2);
}

#[tokio::test(start_paused = true)]
async fn when_all_anchors_are_revoked_nothing_is_believed_rather_than_everything() {
    let world = world(|_| {});
    let root = &world.zones[0].1;
    let anchors =
        TrustAnchors::followed(vec![root.ds().unwrap()], Followed::revoked(&root.dnskey().unwrap()));
    let resolver = following(&world, &anchors);
    for text in ["www.signed.test", "www.plain.test"] {
        let answered = ask(&resolver, text, rtype::A, 0).await;
        assert_eq!((answered.message.rcode(), answered.ede), (2, Some(ede::DNSKEY_MISSING)), "{text}");
        let unchecked = ask(&resolver, text, rtype::A, flag::CD).await;
        assert_eq!((unchecked.message.rcode(), unchecked.addresses().len()), (0, 1), "{text}");
    }
    let observation = resolver.tend().await.keys.unwrap();
    assert_eq!(observation.outcome, Err(crate::Unobserved::NoAnchor));
}

#[tokio::test(start_paused = true)]
async fn resolvers_that_share_anchors_ask_for_keys_once_and_trust_alike() {
    let world = rolling();
    let anchors = TrustAnchors::followed(vec![world.zones[0].1.ds().unwrap()], Followed::default());
    let (one, other) = (following(&world, &anchors), following(&world, &anchors));
    assert!(one.tend().await.keys.is_some() && other.tend().await.keys.is_none());
    let fixed = TrustAnchors::fixed(vec![world.zones[0].1.ds().unwrap()]);
    assert!(following(&world, &fixed).tend().await.keys.is_none(), "what is fixed is not followed");
}

#[tokio::test(start_paused = true)]
async fn a_root_that_does_not_answer_is_asked_again_in_an_hour() {
    let world = rolling();
    world.set(ip(ROOT), Some(Fault::Silent));
    let anchors = TrustAnchors::followed(vec![world.zones[0].1.ds().unwrap()], Followed::default());
    let resolver = following(&world, &anchors);
    let observation = resolver.tend().await.keys.unwrap();
    assert_eq!(observation.outcome, Err(crate::Unobserved::Unanswered));
    world.set(ip(ROOT), None);
    world.pass(3_599);
    assert!(resolver.tend().await.keys.is_none());
    world.pass(1);
    assert_eq!(resolver.tend().await.keys.unwrap().outcome, Ok(()));
}
