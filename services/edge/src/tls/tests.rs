//! Handshakes over a real replica.

use proxima_chassis::SystemClock;
use proxima_ledger::{Append, Change, ChangeSet, EmbeddedLog, IdempotencyKey, Log, ReplicaOptions, Sealer};
use proxima_model::{
    AccountId, Certificate, CertificateId, CertificateSource, DnsName, Entity, TicketKey, TicketKeyId,
    TicketKeys, Timestamp, Zone, ZoneId, ZoneIndex, ZoneName, ZoneSettings, ZoneStatus,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, NamedGroup, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio_rustls::TlsConnector;

use super::*;

mod client_auth;

const ZONE: ZoneId = ZoneId::from_bytes([1; 16]);

/// A network's log and replica.
pub(crate) struct World {
    log: EmbeddedLog,
    _folder: tempfile::TempDir,
}

impl World {
    /// With the zone `a.example` in it.
    pub(crate) async fn new() -> Self {
        Self::with(ZoneSettings::default()).await
    }

    /// With the zone `a.example` in it, set so.
    pub(crate) async fn with(settings: ZoneSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (sealer, _) = Sealer::generate();
        let log = EmbeddedLog::open(folder.path(), sealer, ReplicaOptions::default()).unwrap();
        let world = Self { log, _folder: folder };
        let name = ZoneName::parse("a.example").unwrap();
        let zone = Zone {
            id: ZONE,
            account: AccountId::from_bytes([2; 16]),
            name: name.clone(),
            status: ZoneStatus::Active,
            paused: false,
            name_servers: Vec::new(),
            settings,
            serial: 1,
            created_at: Timestamp::default(),
            modified_at: Timestamp::default(),
            activated_at: None,
        };
        let replica = world.log.replica();
        world.append(vec![replica.put(&zone), replica.put(&ZoneIndex { name, zone: ZONE })]).await;
        world
    }

    async fn append(&self, changes: Vec<Change>) {
        let idempotency_key = IdempotencyKey(format!("{:032x}", rand::random::<u128>()));
        let append = Append {
            changes,
            preconditions: Vec::new(),
            idempotency_key,
            fingerprint: None,
            author: "node/test".to_owned(),
        };
        let appended = self.log.append(append).await.unwrap();
        assert!(self.log.replica().wait_for(appended.seq, std::time::Duration::from_secs(10)).await);
    }

    /// Puts what has changed in force, as a service does.
    async fn commit(&self, certificates: &Certificates, changed: &ChangeSet) {
        let snapshot = self.log.replica().snapshot().unwrap();
        certificates.prepare(&snapshot, changed)();
        certificates.unserved().wait_for(Option::is_none).await.unwrap();
    }

    async fn put<E: Entity>(&self, entity: &E) {
        self.append(vec![self.log.replica().put(entity)]).await;
    }

    /// As [`Self::certify`], in PEM.
    pub(crate) async fn certify_pem(&self, id: u8, hosts: &[&str]) -> String {
        self.issue(id, hosts).await.pem()
    }

    /// An acceptor of this world's certificates, without tickets.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        server(self, &[])
    }

    /// A certificate for these names; returns it for clients to trust.
    pub(crate) async fn certify(&self, id: u8, hosts: &[&str]) -> CertificateDer {
        self.issue(id, hosts).await.der().clone()
    }

    async fn issue(&self, id: u8, hosts: &[&str]) -> rcgen::Certificate {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let signed = rcgen::generate_simple_self_signed(hosts.clone()).unwrap();
        let certificate = Certificate {
            id: CertificateId::from_bytes([id; 16]),
            zone: ZONE,
            hosts: hosts.iter().map(|host| DnsName::parse(host).unwrap()).collect(),
            source: CertificateSource::LocalAuthority,
            chain_pem: signed.cert.pem(),
            key_pem: signed.signing_key.serialize_pem(),
            not_before: Timestamp::default(),
            not_after: Timestamp::from_millis(i64::MAX),
            uploaded_at: Timestamp::from_millis(i64::from(id)),
        };
        self.put(&certificate).await;
        signed.cert
    }

    /// What is shown of this world's certificates.
    pub(crate) fn certificates(&self) -> Arc<Certificates> {
        Arc::new(Certificates::new(self.log.replica().clone(), Arc::new(SystemClock)))
    }
}

pub(crate) type CertificateDer = rustls::pki_types::CertificateDer<'static>;

/// A server with these ticket keys.
fn server(world: &World, ticket_keys: &[u8]) -> TlsAcceptor {
    let key = |&id| TicketKey {
        id: TicketKeyId::from_bytes([id; 16]),
        secret: [id; 32],
        created_at: Timestamp::default(),
    };
    let tickets = Tickets::default();
    tickets.swap(Tickets::prepare(&TicketKeys { keys: ticket_keys.iter().map(key).collect() }));
    TlsAcceptor::new(world.certificates(), Arc::new(tickets)).unwrap()
}

/// A client that trusts these certificates and speaks these versions.
pub(crate) fn client(
    trusted: &[&CertificateDer],
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    client_with(rustls::crypto::aws_lc_rs::default_provider(), trusted, versions)
}

fn client_with(
    provider: CryptoProvider,
    trusted: &[&CertificateDer],
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for &certificate in trusted {
        roots.add(certificate.clone()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(versions).unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}

type Sides = (
    std::io::Result<tokio_rustls::client::TlsStream<DuplexStream>>,
    Result<Session<DuplexStream>, HandshakeError>,
);

async fn shake_hands(server: &TlsAcceptor, client: &Arc<ClientConfig>, name: &str) -> Sides {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    tokio::join!(TlsConnector::from(Arc::clone(client)).connect(name, ours), server.accept(theirs))
}

/// A whole session: tickets come with the first octets after the handshake.
async fn session(server: &TlsAcceptor, client: &Arc<ClientConfig>, name: &str) -> (TlsFacts, Alpn) {
    let (ours, theirs) = shake_hands(server, client, name).await;
    let (mut ours, mut theirs) = (ours.unwrap(), theirs.unwrap());
    theirs.stream.write_all(b"x").await.unwrap();
    theirs.stream.flush().await.unwrap();
    ours.read_u8().await.unwrap();
    (theirs.facts, theirs.alpn)
}

#[tokio::test]
async fn each_name_is_shown_its_certificate_and_both_versions_are_spoken() {
    let world = World::new().await;
    let wildcard = world.certify(1, &["a.example", "*.a.example"]).await;
    let server = server(&world, &[]);
    for (versions, spoken) in [(&[&version::TLS13], "TLSv1.3"), (&[&version::TLS12], "TLSv1.2")] {
        let mut config = client(&[&wildcard], versions);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let config = Arc::new(config);
        for name in ["a.example", "WWW.a.example"] {
            let (facts, alpn) = session(&server, &config, name).await;
            assert_eq!((facts.version, facts.resumed, alpn), (spoken, false, Alpn::Http2));
            assert_eq!(facts.server_name.as_deref(), Some(name.to_ascii_lowercase().as_str()));
        }
    }
    let plain = Arc::new(client(&[&wildcard], &[&version::TLS13]));
    assert_eq!(session(&server, &plain, "a.example").await.1, Alpn::Http1);
}

#[tokio::test]
async fn a_name_that_is_not_ours_or_none_is_refused_by_its_alert() {
    let world = World::new().await;
    let wildcard = world.certify(1, &["a.example", "*.a.example"]).await;
    let server = server(&world, &[]);
    let mut nameless = client(&[&wildcard], &[&version::TLS13]);
    nameless.enable_sni = false;
    let named = Arc::new(client(&[&wildcard], &[&version::TLS13]));
    for (config, name) in
        [(Arc::new(nameless), "a.example"), (Arc::clone(&named), "b.example"), (named, "x.y.a.example")]
    {
        let (ours, theirs) = shake_hands(&server, &config, name).await;
        assert!(matches!(theirs, Err(HandshakeError::UnknownName)), "{name}");
        let error = ours.unwrap_err();
        let alert = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        assert_eq!(
            alert,
            Some(&rustls::Error::AlertReceived(AlertDescription::UnrecognisedName)),
            "{name}: {error}"
        );
    }
}

#[tokio::test]
async fn a_zone_that_asks_for_tls_1_3_refuses_older_handshakes_by_their_alert() {
    let world = World::new().await;
    let certificate = world.certify(1, &["a.example"]).await;
    let certificates = world.certificates();
    let server = TlsAcceptor::new(Arc::clone(&certificates), Arc::new(Tickets::default())).unwrap();
    let older = Arc::new(client(&[&certificate], &[&version::TLS12]));
    assert_eq!(session(&server, &older, "a.example").await.0.version, "TLSv1.2");

    let before = world.log.replica().seq();
    let mut zone = world.log.replica().snapshot().unwrap().get::<Zone>(&ZONE).unwrap().unwrap();
    zone.settings.min_tls_version = MinTlsVersion::V1_3;
    world.put(&zone).await;
    world.commit(&certificates, &world.log.replica().changes_since(before)).await;
    let error = shake_hands(&server, &older, "a.example").await.0.unwrap_err();
    let alert = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    assert_eq!(alert, Some(&rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)), "{error}");
    let both = Arc::new(client(&[&certificate], &[&version::TLS12, &version::TLS13]));
    assert_eq!(session(&server, &both, "a.example").await.0.version, "TLSv1.3");
}

#[tokio::test]
async fn keys_are_agreed_on_so_that_a_quantum_computer_does_not_find_them_where_the_client_can() {
    let world = World::new().await;
    let certificate = world.certify(1, &["a.example"]).await;
    let server = server(&world, &[]);
    let agreed = async |groups: &[NamedGroup]| {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.kx_groups.retain(|group| groups.contains(&group.name()));
        provider.kx_groups.sort_by_key(|group| groups.iter().position(|name| *name == group.name()));
        let config = Arc::new(client_with(provider, &[&certificate], &[&version::TLS13]));
        let (ours, theirs) = shake_hands(&server, &config, "a.example").await;
        theirs.unwrap();
        ours.unwrap().get_ref().1.negotiated_key_exchange_group().map(|group| group.name())
    };
    let (hybrid, classic) = (NamedGroup::X25519MLKEM768, NamedGroup::X25519);
    assert_eq!(agreed(&[hybrid, classic]).await, Some(hybrid));
    assert_eq!(agreed(&[classic]).await, Some(classic), "who cannot is served all the same");
}

#[tokio::test]
async fn a_changed_certificate_is_shown_from_the_commit_on_and_a_broken_one_never() {
    let world = World::new().await;
    let first = world.certify(1, &["a.example"]).await;
    let certificates = world.certificates();
    let server = TlsAcceptor::new(Arc::clone(&certificates), Arc::new(Tickets::default())).unwrap();
    let trusts_first = Arc::new(client(&[&first], &[&version::TLS13]));
    session(&server, &trusts_first, "a.example").await;

    let before = world.log.replica().seq();
    let second = world.certify(2, &["a.example"]).await;
    session(&server, &trusts_first, "a.example").await;
    world.commit(&certificates, &world.log.replica().changes_since(before)).await;
    let trusts_second = Arc::new(client(&[&second], &[&version::TLS13]));
    session(&server, &trusts_second, "a.example").await;
    assert!(shake_hands(&server, &trusts_first, "a.example").await.0.is_err(), "the newer one is shown");

    let broken = Certificate {
        id: CertificateId::from_bytes([3; 16]),
        zone: ZONE,
        hosts: vec![DnsName::parse("a.example").unwrap()],
        source: CertificateSource::Custom,
        chain_pem: "nonsense".to_owned(),
        key_pem: "nonsense".to_owned(),
        not_before: Timestamp::default(),
        not_after: Timestamp::from_millis(i64::MAX),
        uploaded_at: Timestamp::from_millis(3),
    };
    world.put(&broken).await;
    world.commit(&certificates, &ChangeSet::everything(world.log.replica().seq())).await;
    session(&server, &trusts_second, "a.example").await;
}

#[tokio::test]
async fn a_session_is_resumed_at_another_server_of_the_network_also_after_the_keys_were_rotated() {
    let world = World::new().await;
    let certificate = world.certify(1, &["a.example"]).await;
    for versions in [&[&version::TLS13], &[&version::TLS12]] {
        let config = Arc::new(client(&[&certificate], versions));
        assert!(!session(&server(&world, &[1]), &config, "a.example").await.0.resumed);
        assert!(session(&server(&world, &[1]), &config, "a.example").await.0.resumed, "at another server");
        assert!(session(&server(&world, &[2, 1]), &config, "a.example").await.0.resumed, "after a rotation");
        assert!(!session(&server(&world, &[3]), &config, "a.example").await.0.resumed, "with other keys");
        assert!(!session(&server(&world, &[]), &config, "a.example").await.0.resumed, "without keys");
    }
}

#[tokio::test]
async fn handshakes_beyond_the_bound_wait_and_silent_connections_take_no_place() {
    let world = World::new().await;
    let certificate = world.certify(1, &["a.example"]).await;
    let server = server(&world, &[]);
    let config = Arc::new(client(&[&certificate], &[&version::TLS13]));
    let all = server.handshakes.acquire_many(u32::try_from(HANDSHAKES_MAX).unwrap()).await.unwrap();
    let mut waiting = Box::pin(session(&server, &config, "a.example"));
    // More turns than a handshake in memory takes.
    for _ in 0..100 {
        assert!(futures_util::poll!(&mut waiting).is_pending());
        tokio::task::yield_now().await;
    }
    drop(all);
    waiting.await;
    let (_ours, theirs) = tokio::io::duplex(64);
    let mut silent = Box::pin(server.accept(theirs));
    assert!(futures_util::poll!(&mut silent).is_pending());
    assert_eq!(server.handshakes.available_permits(), HANDSHAKES_MAX);
}

#[tokio::test]
async fn what_is_no_tls_fails_without_harm() {
    let world = World::new().await;
    let server = server(&world, &[]);
    for octets in [&b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"[..], &[0; 64], &[22, 3, 1, 0xff, 0xff], b""]
    {
        let (mut ours, theirs) = tokio::io::duplex(64 * 1024);
        ours.write_all(octets).await.unwrap();
        ours.shutdown().await.unwrap();
        assert!(matches!(server.accept(theirs).await, Err(HandshakeError::Failed(_))), "{octets:?}");
    }
}

#[tokio::test]
async fn a_pending_zone_does_not_hide_the_certificate_of_an_active_one_above_it() {
    let world = World::new().await;
    let certificate = world.certify(1, &["*.a.example"]).await;
    let above = world.log.replica().snapshot().unwrap().get::<Zone>(&ZONE).unwrap().unwrap();
    let (id, name) = (ZoneId::from_bytes([9; 16]), ZoneName::parse("b.a.example").unwrap());
    world.put(&Zone { id, name: name.clone(), status: ZoneStatus::Pending, ..above }).await;
    world.put(&ZoneIndex { name, zone: id }).await;
    let config = Arc::new(client(&[&certificate], &[&version::TLS13]));
    session(&server(&world, &[]), &config, "b.a.example").await;
}
