//! Names that a DNAME would make too long.

use super::*;

/// Octets of the target's labels: with one label of fifty octets before it, it is as long as a name can be.
const TARGET: [usize; 4] = [63, 63, 63, 10];

fn labels(octets: &[usize]) -> String {
    octets.iter().map(|octets| "x".repeat(*octets)).collect::<Vec<_>>().join(".")
}

/// The signed zone and the plain one move what is below `far` to a long name; an alias leads there.
fn far_world(change: impl FnOnce(&mut Zone)) -> Arc<World> {
    let mut world = Arc::into_inner(world(change)).unwrap();
    for (at, zone) in [(SIGNED, "signed.test"), (PLAIN, "plain.test")] {
        let (far, alias) = (format!("far.{zone}"), format!("to.{zone}"));
        let it = &mut world.zones.iter_mut().find(|it| it.0 == ip(at)).unwrap().1;
        it.add(&far, rtype::DNAME, vec![name(&labels(&TARGET)).wire().to_vec()]);
        it.add(&alias, rtype::CNAME, vec![name(&format!("{}.{far}", labels(&[51]))).wire().to_vec()]);
    }
    Arc::new(world)
}

fn types(answered: &Answered) -> Vec<u16> {
    answered.message.answer.iter().map(|record| record.rtype).collect()
}

#[tokio::test(start_paused = true)]
async fn what_would_be_too_long_is_told_with_the_dname_that_says_so() {
    let world = far_world(|_| {});
    let resolver = resolver(&world);
    for (octets, zone, code, kinds, secure) in [
        // As long as a name can be: it leads to where there is nothing.
        (50, "signed.test", 3, vec![rtype::DNAME, rtype::CNAME], true),
        (51, "signed.test", 6, vec![rtype::DNAME], true),
        (51, "plain.test", 6, vec![rtype::DNAME], false),
    ] {
        let text = format!("{}.far.{zone}", labels(&[octets]));
        let answered = ask(&resolver, &text, rtype::A, 0).await;
        assert_eq!((answered.message.rcode(), types(&answered)), (code, kinds), "{text}");
        assert_eq!((answered.is_secure(), answered.ede), (secure, None), "{text}");
        let before = world.count();
        assert_eq!(ask(&resolver, &text, rtype::A, 0).await.message.rcode(), code, "{text}");
        assert_eq!(world.count(), before, "{text}: it is kept");
    }
    let signed = format!("{}.far.signed.test", labels(&[51]));
    let signed = ask(&resolver, &signed, rtype::A, DO).await;
    assert_eq!(types(&signed), [rtype::DNAME, rtype::RRSIG]);
    // The code is that of where aliases end (RFC 6604, 3).
    let behind = ask(&resolver, "to.signed.test", rtype::A, 0).await;
    assert_eq!((behind.message.rcode(), types(&behind)), (6, vec![rtype::CNAME, rtype::DNAME]));
    assert!(behind.is_secure());
}

#[tokio::test(start_paused = true)]
async fn that_it_is_too_long_has_to_be_signed_where_the_zone_is() {
    let text = format!("{}.far.signed.test", labels(&[51]));
    let answered = ask(&resolver(&far_world(|zone| zone.signed_for = -3_600)), &text, rtype::A, 0).await;
    assert_eq!((answered.message.rcode(), answered.ede), (2, Some(ede::EXPIRED)));
}
