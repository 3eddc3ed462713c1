//! Which certificate is shown for which name.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use proxima_chassis::Clock;
use proxima_ledger::{
    ChangeSet, CompileZone, CompiledZones, OfZone, ReadError, Replica, Snapshot, Unserved, nearest_active,
};
use proxima_model::limits::CLIENT_AUTHENTICATIONS_PER_ZONE_MAX;
use proxima_model::{
    Certificate, CertificateSource, ClientAuthentication, DnsName, KeyAlgorithm, Kind, MinTlsVersion,
    Timestamp, Zone, ZoneName, ZoneStatus,
};
use rustls::SignatureScheme;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::HostAuthorities;

/// Zones whose certificates are kept parsed. A parsed chain and key take some 8 KiB: 128 MiB at the most, and far less
/// where few zones are busy.
pub const CERTIFICATE_ZONES_MAX: u64 = 16_384;
/// Certificates of one zone that are looked at: more than the 100 that an owner may upload and those of our own.
const CERTIFICATES_PER_ZONE_MAX: usize = 128;

/// A zone's certificates, parsed.
#[derive(Debug)]
pub struct ZoneCertificates {
    zone: ZoneName,
    active: bool,
    min_version: MinTlsVersion,
    early_data: bool,
    all: Vec<Loaded>,
    /// By host, where clients are asked for certificates.
    client_authorities: HashMap<Box<str>, Arc<HostAuthorities>>,
}

impl OfZone for ZoneCertificates {
    fn zone_name(&self) -> &str {
        self.zone.as_str()
    }

    fn is_active(&self) -> bool {
        self.active
    }
}

#[derive(Debug)]
struct Loaded {
    hosts: Vec<DnsName>,
    rank: Rank,
    not_before: Timestamp,
    not_after: Timestamp,
    uploaded_at: Timestamp,
    key: Arc<CertifiedKey>,
}

/// Which certificate goes before which, the best one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// The owner's own.
    Custom,
    /// Of a public authority, with the key that costs less.
    Public,
    /// Of a public authority, for clients that take nothing but RSA.
    PublicRsa,
    /// Of the network's own authority, which no browser knows.
    Local,
}

impl Rank {
    const fn of(source: &CertificateSource) -> Self {
        match source {
            CertificateSource::Custom => Self::Custom,
            CertificateSource::Acme { algorithm: KeyAlgorithm::Ecdsa, .. } => Self::Public,
            CertificateSource::Acme { algorithm: KeyAlgorithm::Rsa, .. } => Self::PublicRsa,
            CertificateSource::LocalAuthority => Self::Local,
        }
    }
}

/// Why a certificate cannot be shown.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("its chain or key is not PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    #[error("{0}")]
    Key(#[from] rustls::Error),
    #[error("its chain is empty")]
    Empty,
}

impl CompileZone for ZoneCertificates {
    const KINDS: &'static [Kind] = &[Kind::Zone, Kind::Certificate, Kind::ClientAuthentication];

    fn compile(snapshot: &Snapshot, zone: Zone) -> Result<Self, ReadError> {
        let mut all = Vec::new();
        for certificate in snapshot.scan::<Certificate>(&[&zone.id]).take(CERTIFICATES_PER_ZONE_MAX) {
            let certificate = certificate?;
            let id = certificate.id;
            match Loaded::new(certificate) {
                Ok(loaded) => all.push(loaded),
                // One that is broken must not take the zone's others with it.
                Err(error) => {
                    tracing::error!(zone = %zone.name, certificate = %id, %error, "unusable certificate")
                }
            }
        }
        Ok(Self {
            active: zone.status == ZoneStatus::Active,
            min_version: zone.settings.min_tls_version,
            early_data: zone.settings.early_data,
            client_authorities: client_authorities(snapshot, &zone)?,
            zone: zone.name,
            all,
        })
    }
}

/// The authorities of each host that asks clients for certificates; hosts that have the same ones share them.
fn client_authorities(
    snapshot: &Snapshot,
    zone: &Zone,
) -> Result<HashMap<Box<str>, Arc<HostAuthorities>>, ReadError> {
    let associations = snapshot
        .scan::<ClientAuthentication>(&[&zone.id])
        .take(CLIENT_AUTHENTICATIONS_PER_ZONE_MAX)
        .collect::<Result<Vec<_>, _>>()?;
    let mut by_host: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, association) in associations.iter().enumerate() {
        for host in &association.hosts {
            by_host.entry(host.as_str()).or_default().push(index);
        }
    }
    let mut parsed: HashMap<Vec<usize>, Arc<HostAuthorities>> = HashMap::new();
    let mut authorities = |indices: Vec<usize>| {
        let pems = indices.iter().map(|&index| associations[index].certificates_pem.as_str());
        let made = || Arc::new(HostAuthorities::new(pems));
        Arc::clone(parsed.entry(indices.clone()).or_insert_with(made))
    };
    Ok(by_host.into_iter().map(|(host, indices)| (host.into(), authorities(indices))).collect())
}

impl Loaded {
    fn new(certificate: Certificate) -> Result<Self, LoadError> {
        let chain = CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()?;
        if chain.is_empty() {
            return Err(LoadError::Empty);
        }
        let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes())?;
        let key = CertifiedKey::new(chain, rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)?);
        key.keys_match()?;
        Ok(Self {
            hosts: certificate.hosts,
            rank: Rank::of(&certificate.source),
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            uploaded_at: certificate.uploaded_at,
            key: Arc::new(key),
        })
    }

    fn is_valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

impl ZoneCertificates {
    /// The best certificate for a name: one that is valid now, then by [`Rank`], then the newest. `usable` says
    /// whether the client can check a certificate of this key.
    fn best(
        &self,
        name: &str,
        now: Timestamp,
        usable: impl Fn(&CertifiedKey) -> bool,
    ) -> Option<Arc<CertifiedKey>> {
        self.all
            .iter()
            .filter(|loaded| {
                loaded.hosts.iter().any(|host| covers(host.as_str(), name)) && usable(&loaded.key)
            })
            .min_by_key(|loaded| (!loaded.is_valid_at(now), loaded.rank, Reverse(loaded.uploaded_at)))
            .map(|loaded| Arc::clone(&loaded.key))
    }
}

/// Whether a certificate's name holds for a host: equal, or with a wildcard for exactly the first label (RFC 9525, 6.3).
fn covers(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        None => pattern == name,
        Some(parent) => name.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
    }
}

/// All certificates of the replica, by name; parsed on first use, bounded, and parsed anew when they change.
pub struct Certificates {
    zones: CompiledZones<ZoneCertificates>,
    clock: Arc<dyn Clock>,
}

impl Certificates {
    /// Those of this replica.
    pub fn new(replica: Replica, clock: Arc<dyn Clock>) -> Self {
        Self { zones: CompiledZones::new(replica, CERTIFICATE_ZONES_MAX), clock }
    }

    /// Reads anew what is kept of the zones that changed; puts it in force when called.
    pub fn prepare(&self, snapshot: &Snapshot, changed: &ChangeSet) -> impl FnOnce() + Send + use<> {
        self.zones.prepare(snapshot, changed)
    }

    /// The first change that is not served yet though it is committed, as long as there is one.
    pub fn unserved(&self) -> Unserved {
        self.zones.unserved()
    }

    /// The version of TLS that this client must speak at least; `None` if there is no certificate for it.
    pub fn asks_for(&self, hello: &ClientHello<'_>) -> Option<MinTlsVersion> {
        let (zone, name) = self.zone_of(hello.server_name()?)?;
        self.best(&zone, &name, hello.signature_schemes()).map(|_| zone.min_version)
    }

    /// The authorities by which clients of this host are verified, if it asks for certificates.
    pub fn client_authorities(&self, name: Option<&str>) -> Option<Arc<HostAuthorities>> {
        let (zone, name) = self.zone_of(name?)?;
        zone.client_authorities.get(name.as_str()).cloned()
    }

    /// Whether requests to this host may be taken from early data.
    pub fn takes_early_data(&self, name: Option<&str>) -> bool {
        name.and_then(|name| self.zone_of(name)).is_some_and(|(zone, _)| zone.early_data)
    }

    /// The certificate for a name, for a client that can check signatures of these schemes.
    pub fn named(&self, name: &str, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let (zone, name) = self.zone_of(name)?;
        self.best(&zone, &name, schemes)
    }

    fn zone_of(&self, name: &str) -> Option<(Arc<ZoneCertificates>, String)> {
        let name = name.to_ascii_lowercase();
        let zone = nearest_active(&name, |name| self.zones.find(name))
            .inspect_err(|error| tracing::error!(%error, "the certificates of a zone cannot be read"))
            .ok()??;
        Some((zone, name))
    }

    fn best(
        &self,
        zone: &ZoneCertificates,
        name: &str,
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        zone.best(name, self.clock.now(), |key| key.key.choose_scheme(schemes).is_some())
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("zones", &self.zones.len()).finish()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.named(hello.server_name()?, hello.signature_schemes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_exactly_one_label() {
        let cases = [
            ("a.example", "a.example", true),
            ("a.example", "b.a.example", false),
            ("*.a.example", "b.a.example", true),
            ("*.a.example", "a.example", false),
            ("*.a.example", "c.b.a.example", false),
            ("*.a.example", ".a.example", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(covers(pattern, name), expected, "{pattern} {name}");
        }
    }

    fn loaded(host: &str, custom: bool, not_after: i64, uploaded_at: i64) -> Loaded {
        let source = if custom { CertificateSource::Custom } else { CertificateSource::LocalAuthority };
        loaded_from(source, host, not_after, uploaded_at)
    }

    fn loaded_from(source: CertificateSource, host: &str, not_after: i64, uploaded_at: i64) -> Loaded {
        let signed = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
        let certificate = Certificate {
            id: proxima_model::CertificateId::from_bytes([0; 16]),
            zone: proxima_model::ZoneId::from_bytes([0; 16]),
            hosts: vec![DnsName::parse(host).unwrap()],
            source,
            chain_pem: signed.cert.pem(),
            key_pem: signed.signing_key.serialize_pem(),
            not_before: Timestamp::from_millis(0),
            not_after: Timestamp::from_millis(not_after),
            uploaded_at: Timestamp::from_millis(uploaded_at),
        };
        Loaded::new(certificate).unwrap()
    }

    #[test]
    fn the_owners_own_certificate_goes_before_ours_unless_it_has_expired() {
        let zone = ZoneCertificates {
            zone: ZoneName::parse("a.example").unwrap(),
            active: true,
            min_version: MinTlsVersion::default(),
            early_data: false,
            client_authorities: HashMap::new(),
            all: vec![
                loaded("*.a.example", false, 100, 1),
                loaded("*.a.example", true, 50, 2),
                loaded("www.a.example", false, 100, 3),
            ],
        };
        let best = |name: &str, now: i64| {
            let key = zone.best(name, Timestamp::from_millis(now), |_| true)?;
            zone.all.iter().position(|loaded| Arc::ptr_eq(&loaded.key, &key))
        };
        assert_eq!(best("www.a.example", 10), Some(1));
        assert_eq!(best("www.a.example", 60), Some(2));
        assert_eq!(best("x.a.example", 60), Some(0));
        assert_eq!(
            best("x.a.example", 200),
            Some(1),
            "expired all: still better than none, and the client decides"
        );
        assert_eq!(best("a.example", 10), None);
        assert!(zone.best("x.a.example", Timestamp::from_millis(10), |_| false).is_none());
    }

    #[test]
    fn a_public_certificate_goes_before_our_own_and_its_rsa_one_is_for_who_takes_nothing_else() {
        let public =
            |algorithm| CertificateSource::Acme { directory: "https://ca.example/".to_owned(), algorithm };
        let zone = ZoneCertificates {
            zone: ZoneName::parse("a.example").unwrap(),
            active: true,
            min_version: MinTlsVersion::default(),
            early_data: false,
            client_authorities: HashMap::new(),
            all: vec![
                loaded_from(CertificateSource::LocalAuthority, "a.example", 100, 9),
                loaded_from(public(KeyAlgorithm::Rsa), "a.example", 50, 8),
                loaded_from(public(KeyAlgorithm::Ecdsa), "a.example", 40, 1),
            ],
        };
        let best = |now: i64, unusable: Option<usize>| {
            let usable =
                |key: &CertifiedKey| !unusable.is_some_and(|index| std::ptr::eq(&*zone.all[index].key, key));
            let key = zone.best("a.example", Timestamp::from_millis(now), usable)?;
            zone.all.iter().position(|loaded| Arc::ptr_eq(&loaded.key, &key))
        };
        assert_eq!((best(10, None), best(10, Some(2))), (Some(2), Some(1)));
        assert_eq!((best(45, None), best(60, None)), (Some(1), Some(0)), "those that have run out come last");
    }

    #[test]
    fn a_key_of_another_certificate_is_not_loaded() {
        let mut certificate = Certificate {
            id: proxima_model::CertificateId::from_bytes([0; 16]),
            zone: proxima_model::ZoneId::from_bytes([0; 16]),
            hosts: Vec::new(),
            source: CertificateSource::Custom,
            chain_pem: rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap().cert.pem(),
            key_pem: rcgen::generate_simple_self_signed(["a".to_owned()])
                .unwrap()
                .signing_key
                .serialize_pem(),
            not_before: Timestamp::from_millis(0),
            not_after: Timestamp::from_millis(1),
            uploaded_at: Timestamp::from_millis(0),
        };
        assert!(matches!(Loaded::new(certificate.clone()), Err(LoadError::Key(_))));
        certificate.chain_pem.clear();
        assert!(matches!(Loaded::new(certificate.clone()), Err(LoadError::Empty)));
        certificate.key_pem = "nonsense".to_owned();
        assert!(Loaded::new(certificate).is_err());
    }
}
