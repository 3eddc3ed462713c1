//! The network's own certificate authority: pure but for the keys that it draws.

use std::time::Duration;

use proxima_model::{Certificate, CertificateId, CertificateSource, DnsName, EdgeAuthority, Timestamp, Zone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::{error::ControlError, limits};

/// Certificates begin this long before they are made, in seconds: clocks that differ a little do not matter.
const SKEW_SECONDS: i64 = 3_600;
const DAY_SECONDS: i64 = 86_400;
/// Characters of a common name (RFC 5280, ub-common-name); a longer name stands among the alternative names alone.
const COMMON_NAME_CHARS_MAX: usize = 64;

/// A new authority (ECDSA on P-256).
pub(crate) fn create(now: Timestamp) -> Result<EdgeAuthority, ControlError> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Proxima Edge Authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(
        &mut params,
        now.plus_seconds(-SKEW_SECONDS),
        now.plus_seconds(limits::AUTHORITY_DAYS * DAY_SECONDS),
    );
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(EdgeAuthority { certificate_pem: certificate.pem(), key_pem: key.serialize_pem(), created_at: now })
}

/// An authority, ready to issue.
pub(crate) struct Signer {
    issuer: Issuer<'static, KeyPair>,
}

impl Signer {
    /// Of this authority.
    pub(crate) fn new(authority: &EdgeAuthority) -> Result<Self, ControlError> {
        let key = KeyPair::from_pem(&authority.key_pem).map_err(failed)?;
        let issuer = Issuer::from_ca_cert_pem(&authority.certificate_pem, key).map_err(failed)?;
        Ok(Self { issuer })
    }

    /// A certificate for a zone's name and every name directly below it. It is sent without the authority's own: who trusts
    /// that has it (RFC 8446, 4.4.2), and everybody else would check it in vain.
    pub(crate) fn issue(
        &self,
        zone: &Zone,
        id: CertificateId,
        now: Timestamp,
    ) -> Result<Certificate, ControlError> {
        let hosts = hosts_of(zone);
        let names: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).map_err(failed)?;
        if zone.name.as_str().len() <= COMMON_NAME_CHARS_MAX {
            params.distinguished_name.push(DnType::CommonName, zone.name.as_str());
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let not_before = now.plus_seconds(-SKEW_SECONDS);
        let not_after = now.plus_seconds(limits::CERTIFICATE_DAYS * DAY_SECONDS);
        valid(&mut params, not_before, not_after);
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Certificate {
            id,
            zone: zone.id,
            hosts,
            source: CertificateSource::LocalAuthority,
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            not_before,
            not_after,
            uploaded_at: now,
        })
    }
}

/// The names of a zone's certificate: its own, and every name directly below it.
pub(crate) fn hosts_of(zone: &Zone) -> Vec<DnsName> {
    // A name of the full length leaves no room for the wildcard.
    let wildcard = DnsName::parse(&format!("*.{}", zone.name)).ok();
    std::iter::once(zone.name.apex()).chain(wildcard).collect()
}

/// Whether a certificate has lived two thirds of its life, or is not valid yet because a clock jumped.
pub(crate) fn is_due(certificate: &Certificate, now: Timestamp) -> bool {
    let life = certificate.not_after.as_seconds().saturating_sub(certificate.not_before.as_seconds());
    now >= certificate.not_before.plus_seconds(life / 3 * 2) || now < certificate.not_before
}

fn valid(params: &mut CertificateParams, from: Timestamp, until: Timestamp) {
    let date = |at: Timestamp| {
        let since_epoch = Duration::from_secs(at.as_seconds().max(0).unsigned_abs());
        rcgen::date_time_ymd(1970, 1, 1).checked_add(since_epoch.try_into().ok()?)
    };
    if let (Some(from), Some(until)) = (date(from), date(until)) {
        (params.not_before, params.not_after) = (from, until);
    }
}

fn failed(error: rcgen::Error) -> ControlError {
    ControlError::Certificate(error.to_string())
}

#[cfg(test)]
mod tests {
    use proxima_model::{AccountId, ZoneId, ZoneName, ZoneSettings, ZoneStatus};

    use super::*;

    fn zone(name: &str) -> Zone {
        let epoch = Timestamp::from_millis(0);
        Zone {
            id: ZoneId::from_bytes([1; 16]),
            account: AccountId::from_bytes([2; 16]),
            name: ZoneName::parse(name).unwrap(),
            status: ZoneStatus::Active,
            paused: false,
            name_servers: Vec::new(),
            settings: ZoneSettings::default(),
            serial: 1,
            created_at: epoch,
            modified_at: epoch,
            activated_at: None,
        }
    }

    #[test]
    fn what_the_authority_issues_is_accepted_by_whoever_trusts_it() {
        use rustls::client::danger::ServerCertVerifier as _;
        use rustls::pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
        let now = Timestamp::from_millis(1_764_000_000_000);
        let authority = create(now).unwrap();
        let certificate = Signer::new(&authority)
            .unwrap()
            .issue(&zone("example.com"), CertificateId::from_bytes([3; 16]), now)
            .unwrap();
        let chain: Vec<CertificateDer<'_>> =
            CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes()).map(Result::unwrap).collect();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.certificate_pem.as_bytes()).unwrap()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
            .build()
            .unwrap();
        let at = UnixTime::since_unix_epoch(Duration::from_secs(1_764_000_000));
        for host in ["example.com", "www.example.com"] {
            let name = ServerName::try_from(host).unwrap();
            verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], at).unwrap();
        }
    }

    #[test]
    fn a_certificate_is_due_at_two_thirds_of_its_life_or_when_the_clock_went_back() {
        let now = Timestamp::from_millis(1_764_000_000_000);
        let signer = Signer::new(&create(now).unwrap()).unwrap();
        let certificate =
            signer.issue(&zone("example.com"), CertificateId::from_bytes([3; 16]), now).unwrap();
        let due_after = |days: i64| is_due(&certificate, now.plus_seconds(days * DAY_SECONDS));
        assert_eq!((due_after(0), due_after(59), due_after(61), due_after(100)), (false, false, true, true));
        assert!(due_after(-1));
    }

    #[test]
    fn a_zone_of_any_length_gets_a_certificate() {
        let now = Timestamp::from_millis(1_764_000_000_000);
        let signer = Signer::new(&create(now).unwrap()).unwrap();
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "b".repeat(61));
        let hosts = |name: &str| {
            signer.issue(&zone(name), CertificateId::from_bytes([3; 16]), now).unwrap().hosts.len()
        };
        assert_eq!((hosts("example.com"), hosts(&longest)), (2, 1));
    }
}
