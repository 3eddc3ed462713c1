//! Which zone a name belongs to, of those that enclose it.

use std::sync::Arc;

/// Something made of a zone that stands below or above others.
pub trait OfZone {
    /// The zone's name.
    fn zone_name(&self) -> &str;
    /// Whether the zone's delegation was seen.
    fn is_active(&self) -> bool;
}

/// The nearest active zone around `name`, and where none is active, the nearest. `find` gives the zone with the longest
/// name that encloses a name.
///
/// # Errors
/// Those of `find`.
pub fn nearest_active<Z: OfZone, E>(
    name: &str,
    find: impl Fn(&str) -> Result<Option<Arc<Z>>, E>,
) -> Result<Option<Arc<Z>>, E> {
    let Some(nearest) = find(name)? else { return Ok(None) };
    let above = |zone: &Z| match zone.zone_name().split_once('.') {
        Some((_, parent)) => find(parent),
        None => Ok(None),
    };
    first_active(nearest, Z::is_active, above).map(Some)
}

/// The first active zone from `nearest` upwards, and `nearest` where none is active. A zone whose delegation was not seen
/// yet does not take the names of an active zone above it: anybody could have made it.
///
/// # Errors
/// Those of `above`.
pub fn first_active<Z, E>(
    nearest: Arc<Z>,
    is_active: impl Fn(&Z) -> bool,
    above: impl Fn(&Z) -> Result<Option<Arc<Z>>, E>,
) -> Result<Arc<Z>, E> {
    if is_active(&nearest) {
        return Ok(nearest);
    }
    let mut next = above(&nearest)?;
    while let Some(candidate) = next {
        if is_active(&candidate) {
            return Ok(candidate);
        }
        next = above(&candidate)?;
    }
    Ok(nearest)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    struct Known(&'static str, bool);

    impl OfZone for Known {
        fn zone_name(&self) -> &str {
            self.0
        }

        fn is_active(&self) -> bool {
            self.1
        }
    }

    #[test]
    fn a_pending_zone_does_not_take_names_of_an_active_one_above_it() {
        let find = |zones: &[(&'static str, bool)], host: &str| {
            let longest = |name: &str| -> Result<Option<Arc<Known>>, Infallible> {
                let encloses = |zone: &str| name == zone || name.ends_with(&format!(".{zone}"));
                let found =
                    zones.iter().filter(|(zone, _)| encloses(zone)).max_by_key(|(zone, _)| zone.len());
                Ok(found.map(|&(zone, active)| Arc::new(Known(zone, active))))
            };
            nearest_active(host, longest).unwrap().map(|zone| zone.0)
        };
        let (pending, active) = (false, true);
        let host = "www.c.b.a.example";
        assert_eq!(find(&[("a.example", active), ("b.a.example", pending)], host), Some("a.example"));
        assert_eq!(
            find(&[("a.example", active), ("b.a.example", pending), ("c.b.a.example", pending)], host),
            Some("a.example")
        );
        assert_eq!(find(&[("a.example", active), ("b.a.example", active)], host), Some("b.a.example"));
        assert_eq!(find(&[("a.example", pending), ("b.a.example", pending)], host), Some("b.a.example"));
        assert_eq!(find(&[("other.example", active)], host), None);
    }
}
