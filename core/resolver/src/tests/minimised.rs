//! What name servers are shown of a name on the way to it (RFC 9156).

use super::*;
use crate::{message::rcode, way::MINIMISED_MAX};

/// The questions that were not for the whole name, but for keys: to whom, for what, of which type.
fn shown_parts(world: &World, whole: &str) -> Vec<(std::net::IpAddr, Name, u16)> {
    let asked = world.asked.lock().unwrap();
    let parts = asked.iter().filter(|it| it.1 != name(whole) && it.2 != rtype::DNSKEY);
    parts.map(|it| (it.0, it.1.clone(), it.2)).collect()
}

#[tokio::test(start_paused = true)]
async fn who_is_shown_a_part_of_a_name_does_not_see_which_type_is_sought() {
    for (text, kind) in [("a.b.c.plain.test", rtype::A), ("www.signed.test", rtype::TXT)] {
        let world = world(|_| {});
        ask(&resolver(&world), text, kind, 0).await;
        let parts = shown_parts(&world, text);
        assert!(parts.len() >= 2 && parts.iter().all(|part| part.2 == rtype::NS), "{text}: {parts:?}");
        let asked = world.asked.lock().unwrap();
        assert!(asked.iter().any(|it| it.1 == name(text) && it.2 == kind), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_of_many_labels_costs_a_bounded_number_of_questions() {
    // As many labels as a name can have, and one at which the bound is just met.
    for (labels, parts_max) in [(120, MINIMISED_MAX), (MINIMISED_MAX - 1, MINIMISED_MAX)] {
        let text = format!("{}plain.test", "x.".repeat(labels));
        let mut world = Arc::into_inner(world(|_| {})).unwrap();
        let plain = world.zones.iter_mut().find(|zone| zone.0 == ip(PLAIN)).unwrap();
        plain.1.add(&text, rtype::A, vec![vec![192, 0, 2, 92]]);
        let world = Arc::new(world);
        assert_eq!(ask(&resolver(&world), &text, rtype::A, 0).await.addresses(), [92], "{labels}");
        let parts = shown_parts(&world, &text);
        assert_eq!(parts.len(), parts_max, "{labels}: {parts:?}");
        // Label by label from the root on.
        let depths: Vec<usize> = parts.iter().map(|part| part.1.depth()).collect();
        assert_eq!(depths, (1..=parts_max).collect::<Vec<_>>(), "{labels}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_knows_nothing_of_names_between_is_asked_for_the_whole_name() {
    for code in [rcode::NXDOMAIN, rcode::SERVFAIL, rcode::REFUSED] {
        let world = world(|_| {});
        world.set(ip(PLAIN), Some(Fault::NothingBetween(code)));
        let text = "a.b.c.plain.test";
        assert_eq!(ask(&resolver(&world), text, rtype::A, 0).await.addresses(), [91], "{code}");
        let parts = shown_parts(&world, text);
        let of_zone: Vec<&Name> = parts.iter().filter(|it| it.0 == ip(PLAIN)).map(|it| &it.1).collect();
        assert_eq!(of_zone, [&name("c.plain.test")], "{code}: one such answer is enough");
    }
}
