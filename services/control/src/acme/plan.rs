//! What to do next for a zone, and who waits how long after a failure. Pure: no I/O, no clock, no randomness.
//!
//! ```text
//!  not active, or universal SSL off ▶ Forget      left under way by another process ▶ TakeBack
//!  a certificate is missing, of another directory, or in the last part of its life ▶ Order, unless the zone waits
//! ```

use std::time::Duration;

use proxima_model::{
    AcmeOrder, AcmeStage, Certificate, CertificateSource, KeyAlgorithm, Timestamp, Zone, ZoneStatus,
};

use crate::limits;

/// What is wanted for every zone.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    /// The directory whose certificates count.
    pub(super) directory: String,
    /// Kinds of key, in the order in which they are ordered.
    pub(super) algorithms: Vec<KeyAlgorithm>,
    /// How much of its life is left when a certificate is renewed.
    pub(super) renew_left_percent: u8,
}

/// What to do for a zone of which nothing is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing, and by itself not before then.
    Rest(Option<Timestamp>),
    /// Order a certificate.
    Order(KeyAlgorithm),
    /// Take back what a process left that ended.
    TakeBack,
    /// Remove what is remembered of its orders.
    Forget,
}

/// Decides it.
pub(super) fn next(
    policy: &Policy,
    zone: &Zone,
    certificates: &[Certificate],
    order: Option<&AcmeOrder>,
    now: Timestamp,
) -> Next {
    if zone.status != ZoneStatus::Active || !zone.settings.universal_ssl {
        return if order.is_some() { Next::Forget } else { Next::Rest(None) };
    }
    if order.is_some_and(|order| order.stage != AcmeStage::Idle || !order.challenges.is_empty()) {
        return Next::TakeBack;
    }
    let wanted = policy.algorithms.iter().map(|algorithm| {
        let held = certificates.iter().find(|certificate| is_ours(policy, certificate, *algorithm));
        (held.map_or(Timestamp::from_millis(0), |held| renew_at(policy, held)), *algorithm)
    });
    let Some((due, algorithm)) = wanted.min_by_key(|(due, _)| *due) else { return Next::Rest(None) };
    let due = order.and_then(|order| order.next_at).map_or(due, |next_at| due.max(next_at));
    if now < due { Next::Rest(Some(due)) } else { Next::Order(algorithm) }
}

fn is_ours(policy: &Policy, certificate: &Certificate, wanted: KeyAlgorithm) -> bool {
    matches!(
        &certificate.source,
        CertificateSource::Acme { directory, algorithm } if *directory == policy.directory && *algorithm == wanted
    )
}

/// When a certificate is renewed. Zones that were ordered together are not renewed together: each has, by its id, a time
/// of its own within a fiftieth of the certificate's life.
fn renew_at(policy: &Policy, certificate: &Certificate) -> Timestamp {
    let (from, until) = (certificate.not_before.as_seconds(), certificate.not_after.as_seconds());
    let life = until.saturating_sub(from).max(0);
    let left = life.saturating_mul(i64::from(policy.renew_left_percent)) / 100;
    let [first, ..] = *certificate.zone.as_bytes();
    let apart = life / 50 * i64::from(first) / 255;
    certificate.not_after.plus_seconds(-left.saturating_add(apart))
}

/// Whose fault a failure is, and so who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Something about this zone: its owner is told, and it waits longer each time.
    Zone,
    /// The authority or the way to it: all zones wait, and none is blamed.
    Authority,
}

/// Why an order failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) fault: Fault,
    /// In words for the zone's owner.
    pub(super) message: String,
    /// How long the authority asked to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// Whether the authority does not know our account any more.
    pub(super) account_lost: bool,
}

impl Failure {
    /// By the zone's fault.
    pub(super) fn of_zone(message: impl Into<String>) -> Self {
        Self { fault: Fault::Zone, message: message.into(), retry_after: None, account_lost: false }
    }

    /// By the authority's fault.
    pub(super) fn of_authority(message: impl Into<String>) -> Self {
        Self { fault: Fault::Authority, ..Self::of_zone(message) }
    }
}

/// Whose fault a problem of this type is (RFC 8555, 6.7). What concerns the account, or the authority itself, is not the
/// zone's.
pub(super) fn fault_of(problem: Option<&str>) -> Fault {
    let short = problem.and_then(|name| name.strip_prefix("urn:ietf:params:acme:error:"));
    match short {
        Some(
            "accountDoesNotExist"
            | "badNonce"
            | "badSignatureAlgorithm"
            | "externalAccountRequired"
            | "invalidContact"
            | "rateLimited"
            | "serverInternal"
            | "unsupportedContact"
            | "userActionRequired",
        )
        | None => Fault::Authority,
        Some(_) => Fault::Zone,
    }
}

/// How long a zone waits after so many failures in a row: doubled each time, bounded, and up to a fifth more or less so
/// that zones that failed together do not come again together. `chance` is from 0 to 255.
pub(super) fn zone_waits(failures: u32, chance: u8) -> Duration {
    waits(limits::ACME_ZONE_WAIT, limits::ACME_ZONE_WAIT_MAX, failures, chance)
}

/// How long all zones wait after so many failures of the authority in a row.
pub(super) fn all_wait(failures: u32, chance: u8, retry_after: Option<Duration>) -> Duration {
    let asked = retry_after.unwrap_or_default().min(limits::ACME_ALL_WAIT_MAX);
    waits(limits::ACME_ALL_WAIT, limits::ACME_ALL_WAIT_MAX, failures, chance).max(asked)
}

fn waits(first: Duration, max: Duration, failures: u32, chance: u8) -> Duration {
    let doubled = first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    let doubled = doubled.min(max);
    doubled * 4 / 5 + doubled * 2 / 5 * u32::from(chance) / 255
}

#[cfg(test)]
mod tests {
    use proxima_model::{CertificateId, ZoneId, ZoneSettings};

    use super::*;
    use crate::fixtures;

    const DAY: i64 = 86_400;
    const NOW: Timestamp = Timestamp::from_millis(1_764_000_000_000);

    /// At the beginning of the spread over zones.
    fn zone() -> Zone {
        Zone { id: ZoneId::from_bytes([0; 16]), activated_at: Some(NOW), ..fixtures::zone() }
    }

    fn policy(algorithms: &[KeyAlgorithm]) -> Policy {
        Policy {
            directory: "https://ca.example/".to_owned(),
            algorithms: algorithms.to_vec(),
            renew_left_percent: 33,
        }
    }

    fn certificate(directory: &str, algorithm: KeyAlgorithm, days: i64) -> Certificate {
        Certificate {
            id: CertificateId::from_bytes([3; 16]),
            zone: zone().id,
            hosts: Vec::new(),
            source: CertificateSource::Acme { directory: directory.to_owned(), algorithm },
            chain_pem: String::new(),
            key_pem: String::new(),
            not_before: NOW,
            not_after: NOW.plus_seconds(days * DAY),
            uploaded_at: NOW,
        }
    }

    use KeyAlgorithm::{Ecdsa, Rsa};

    #[test]
    fn an_active_zone_without_a_certificate_of_this_directory_gets_one() {
        let policy = policy(&[Ecdsa]);
        let of = |certificates: &[Certificate]| next(&policy, &zone(), certificates, None, NOW);
        assert_eq!(of(&[]), Next::Order(Ecdsa));
        assert_eq!(of(&[certificate("https://staging.example/", Ecdsa, 90)]), Next::Order(Ecdsa));
        assert_eq!(of(&[certificate("https://ca.example/", Rsa, 90)]), Next::Order(Ecdsa));
        let local = Certificate {
            source: CertificateSource::LocalAuthority,
            ..certificate("https://ca.example/", Ecdsa, 90)
        };
        assert_eq!(of(&[local]), Next::Order(Ecdsa));
    }

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_life_is_left() {
        let policy = policy(&[Ecdsa]);
        let held = [certificate("https://ca.example/", Ecdsa, 100)];
        let at = |days: i64| next(&policy, &zone(), &held, None, NOW.plus_seconds(days * DAY));
        assert_eq!(at(0), Next::Rest(Some(NOW.plus_seconds(67 * DAY))));
        assert_eq!((at(66), at(67)), (at(0), Next::Order(Ecdsa)));
        // A zone of another id comes somewhat earlier.
        let other = Certificate { zone: ZoneId::from_bytes([255; 16]), ..held[0].clone() };
        assert_eq!(renew_at(&policy, &other), NOW.plus_seconds(65 * DAY));
    }

    #[test]
    fn both_kinds_of_key_are_ordered_one_after_the_other() {
        let policy = policy(&[Ecdsa, Rsa]);
        let of = |certificates: &[Certificate]| next(&policy, &zone(), certificates, None, NOW);
        let (ecdsa, rsa) =
            (certificate("https://ca.example/", Ecdsa, 90), certificate("https://ca.example/", Rsa, 60));
        assert_eq!(of(&[]), Next::Order(Ecdsa));
        assert_eq!(of(std::slice::from_ref(&ecdsa)), Next::Order(Rsa));
        let Next::Rest(Some(until)) = of(&[ecdsa, rsa]) else { panic!("it has both") };
        assert!(until < NOW.plus_seconds(60 * DAY), "the one that ends first");
    }

    #[test]
    fn a_zone_that_failed_waits_and_one_that_is_not_to_have_any_is_forgotten() {
        let policy = policy(&[Ecdsa]);
        let failed = AcmeOrder { next_at: Some(NOW.plus_seconds(60)), ..AcmeOrder::new(zone().id) };
        let at = |now| next(&policy, &zone(), &[], Some(&failed), now);
        assert_eq!(at(NOW), Next::Rest(Some(NOW.plus_seconds(60))));
        assert_eq!(at(NOW.plus_seconds(60)), Next::Order(Ecdsa));

        let pending = Zone { status: ZoneStatus::Pending, ..zone() };
        let off =
            Zone { settings: ZoneSettings { universal_ssl: false, ..ZoneSettings::default() }, ..zone() };
        for zone in [pending, off] {
            assert_eq!(next(&policy, &zone, &[], Some(&failed), NOW), Next::Forget);
            assert_eq!(next(&policy, &zone, &[], None, NOW), Next::Rest(None));
        }
    }

    #[test]
    fn what_another_process_left_under_way_is_taken_back() {
        let policy = policy(&[Ecdsa]);
        let left = [
            AcmeOrder { stage: AcmeStage::Validating, ..AcmeOrder::new(zone().id) },
            AcmeOrder { challenges: vec!["x".to_owned()], ..AcmeOrder::new(zone().id) },
        ];
        for order in left {
            assert_eq!(next(&policy, &zone(), &[], Some(&order), NOW), Next::TakeBack);
        }
    }

    #[test]
    fn waits_double_within_bounds_and_are_spread() {
        let minutes = |failures, chance| zone_waits(failures, chance).as_secs() / 60;
        assert_eq!((minutes(1, 0), minutes(1, 255), minutes(2, 128)), (4, 6, 10));
        assert_eq!(zone_waits(u32::MAX, 255), limits::ACME_ZONE_WAIT_MAX * 6 / 5);
        assert!(all_wait(1, 128, None) < Duration::from_secs(60));
        let asked = Duration::from_secs(600);
        assert_eq!(all_wait(1, 128, Some(asked)), asked);
        assert_eq!(all_wait(1, 128, Some(Duration::MAX)), limits::ACME_ALL_WAIT_MAX);
    }

    #[test]
    fn a_problem_of_the_account_is_not_the_zones() {
        let of = |short: &str| fault_of(Some(&format!("urn:ietf:params:acme:error:{short}")));
        assert_eq!((of("rateLimited"), of("serverInternal")), (Fault::Authority, Fault::Authority));
        assert_eq!((of("caa"), of("dns"), of("unauthorized")), (Fault::Zone, Fault::Zone, Fault::Zone));
        assert_eq!(fault_of(None), Fault::Authority);
    }
}
