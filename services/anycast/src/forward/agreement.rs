//! Which prefixes two servers speak about. Pure.

use ipnet::IpNet;

/// What lies in a prefix of ours and in one of theirs, whichever is the wider: each once, and none inside another. At most
/// as many as both have together, since each is one of theirs or ours.
pub(super) fn common(ours: &[IpNet], theirs: &[IpNet]) -> Vec<IpNet> {
    let narrower = |(own, other): (&IpNet, &IpNet)| match (own.contains(other), other.contains(own)) {
        (true, _) => Some(other.trunc()),
        (false, true) => Some(own.trunc()),
        (false, false) => None,
    };
    let pairs = ours.iter().flat_map(|own| theirs.iter().map(move |other| (own, other)));
    let mut found: Vec<IpNet> = pairs.filter_map(narrower).collect();
    // A wider one comes before those that lie in it.
    found.sort_unstable_by_key(|prefix| (prefix.addr(), prefix.prefix_len()));
    found.dedup_by(|later, earlier| earlier.contains(&*later));
    found
}

/// Those of ours of which a part is spoken about.
pub(super) fn concerned(ours: &[IpNet], spoken_about: &[IpNet]) -> Vec<IpNet> {
    let is_concerned =
        |own: &&IpNet| spoken_about.iter().any(|prefix| own.contains(prefix) || prefix.contains(*own));
    ours.iter().filter(is_concerned).copied().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefixes(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_narrower_of_two_prefixes_is_common_whosever_it_is() {
        for (ours, theirs, both) in [
            (["198.18.0.0/24"].as_slice(), ["198.18.0.0/24"].as_slice(), ["198.18.0.0/24"].as_slice()),
            (&["198.18.0.0/24"], &["198.18.0.0/16"], &["198.18.0.0/24"]),
            (&["198.18.0.0/16"], &["198.18.1.0/24", "198.18.0.0/24"], &["198.18.0.0/24", "198.18.1.0/24"]),
            (&["198.18.0.0/16"], &["198.18.1.0/25", "198.18.1.0/24"], &["198.18.1.0/24"]),
            (&["198.18.0.0/24", "fd00::/48"], &["fd00::/32", "10.0.0.0/8"], &["fd00::/48"]),
            (&["198.18.0.0/24"], &["198.18.1.0/24"], &[]),
            (&["198.18.0.0/24"], &[], &[]),
        ] {
            assert_eq!(common(&prefixes(ours), &prefixes(theirs)), prefixes(both), "{ours:?}, {theirs:?}");
            assert_eq!(common(&prefixes(theirs), &prefixes(ours)), prefixes(both), "{theirs:?}, {ours:?}");
        }
    }

    #[test]
    fn only_our_own_prefixes_are_concerned_however_many_are_spoken_about() {
        let ours = prefixes(&["198.18.0.0/24", "198.18.1.0/24", "198.18.4.0/24"]);
        let mut spoken_about: Vec<IpNet> =
            (0..=255).map(|last| IpNet::new([198, 18, 0, last].into(), 32).unwrap()).collect();
        spoken_about.extend(prefixes(&["198.18.4.0/22"]));
        assert_eq!(concerned(&ours, &spoken_about), prefixes(&["198.18.0.0/24", "198.18.4.0/24"]));
    }

    proptest! {
        /// An address is common just if both have it; and there are no more than both have together.
        #[test]
        fn what_is_common_is_what_both_have(
            ours in proptest::collection::vec((0..16_u8, 28..=32_u8), 0..6),
            theirs in proptest::collection::vec((0..16_u8, 28..=32_u8), 0..6),
        ) {
            let nets = |parts: &[(u8, u8)]| -> Vec<IpNet> {
                parts.iter().map(|(last, bits)| IpNet::new([10, 0, 0, *last].into(), *bits).unwrap().trunc()).collect()
            };
            let (ours, theirs) = (nets(&ours), nets(&theirs));
            let both = common(&ours, &theirs);
            prop_assert!(both.len() <= ours.len() + theirs.len());
            for last in 0..16_u8 {
                let address = std::net::IpAddr::from([10, 0, 0, last]);
                let has = |prefixes: &[IpNet]| prefixes.iter().filter(|prefix| prefix.contains(&address)).count();
                prop_assert_eq!(has(&both), usize::from(has(&ours) > 0 && has(&theirs) > 0));
            }
        }
    }
}
