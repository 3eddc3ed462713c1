//! What the ledger's tests share: identities, nodes on this machine, and changes to make.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use proxima_ledger::{
    Append, Change, ChangeSet, Clock, CompileZone, CompiledZones, EmbeddedLog, IdempotencyKey, Ledger,
    LedgerConfig, LedgerStatus, Log as _, PeerTls, Precondition, Replica, ReplicaOptions, Sealer, Seq,
};
use proxima_model::{
    AccountId, Key, Kind, Timestamp, Zone, ZoneId, ZoneIndex, ZoneName, ZoneSettings, ZoneStatus,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, ServerName},
    server::WebPkiClientVerifier,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The key that all nodes of a test share.
pub(crate) fn sealer() -> Sealer {
    Sealer::from_hex(&"5a".repeat(32)).unwrap()
}

/// A cluster's authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

pub(crate) const NODES_NAME: &str = "nodes.test";

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A node's identity.
    pub(crate) fn node(&self, name: &str) -> PeerTls {
        self.identity(self, name)
    }

    /// An identity that trusts this authority, with a certificate of another.
    pub(crate) fn identity(&self, signed_by: &Self, name: &str) -> PeerTls {
        let mut params = CertificateParams::new(vec![NODES_NAME.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &signed_by.0).unwrap();
        let chain = vec![certificate.der().clone()];
        let key = || PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let roots = Arc::new(self.roots());
        let verifier = WebPkiClientVerifier::builder(Arc::clone(&roots)).build().unwrap();
        let server = ServerConfig::builder().with_client_cert_verifier(verifier);
        let client = ClientConfig::builder().with_root_certificates(roots);
        PeerTls {
            server: Arc::new(server.with_single_cert(chain.clone(), key()).unwrap()),
            client: Arc::new(client.with_client_auth_cert(chain, key()).unwrap()),
            server_name: ServerName::try_from(NODES_NAME).unwrap(),
        }
    }

    /// An identity that shows no certificate as a client.
    pub(crate) fn nameless(&self) -> PeerTls {
        let client = ClientConfig::builder().with_root_certificates(self.roots()).with_no_client_auth();
        PeerTls { client: Arc::new(client), ..self.node("nameless") }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }
}

/// A node that runs in this process.
pub(crate) struct Running {
    pub(crate) ledger: Ledger,
    stop: CancellationToken,
}

impl Running {
    pub(crate) async fn start(config: LedgerConfig, folder: &Path, tls: PeerTls) -> Self {
        let stop = CancellationToken::new();
        let ledger = Ledger::start(config, folder, sealer(), Some(tls), stop.clone()).await.unwrap();
        Self { ledger, stop }
    }

    /// As [`Self::start`], with another clock.
    pub(crate) async fn start_with_clock(
        config: LedgerConfig,
        folder: &Path,
        tls: PeerTls,
        clock: Clock,
    ) -> Self {
        let stop = CancellationToken::new();
        let ledger = Ledger::start_with_clock(config, folder, sealer(), Some(tls), stop.clone(), clock);
        Self { ledger: ledger.await.unwrap(), stop }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.ledger.listen().expect("the nodes of tests listen")
    }

    pub(crate) fn status(&self) -> LedgerStatus {
        self.ledger.status()
    }

    /// Appends one change and returns its place.
    pub(crate) async fn put(&self, name: &str) -> Seq {
        self.ledger.log.append(append(vec![self.ledger.replica.put(&index(name))])).await.unwrap().seq
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.ledger.stopped().await;
    }
}

/// The configuration of a log's node on a port that the kernel chooses.
pub(crate) fn log_config() -> LedgerConfig {
    LedgerConfig { listen: Some(any_port()), map_bytes_max: 256 << 20, ..LedgerConfig::default() }
}

/// The configuration of a follower.
pub(crate) fn follower_config(log: SocketAddr, upstreams: &[SocketAddr]) -> LedgerConfig {
    LedgerConfig { log: Some(log), upstreams: upstreams.to_vec(), ..log_config() }
}

pub(crate) fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Waits until a replica has reached a place; panics if it does not.
pub(crate) async fn reaches(replica: &Replica, seq: Seq) {
    assert!(replica.wait_for(seq, PATIENCE).await, "the replica stayed at {} of {seq}", replica.seq());
}

/// Waits until something holds; panics if it does not.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn append(changes: Vec<Change>) -> Append {
    append_if(Vec::new(), changes)
}

pub(crate) fn append_if(preconditions: Vec<Precondition>, changes: Vec<Change>) -> Append {
    let mut random = [0; 16];
    random.iter_mut().for_each(|octet| *octet = rand::random());
    let idempotency_key = IdempotencyKey(hex::encode(random));
    Append { changes, preconditions, idempotency_key, fingerprint: None, author: "node/test".to_owned() }
}

/// A change of any key.
pub(crate) fn put_raw(key: &Key, value: impl Into<Vec<u8>>) -> Change {
    Change::Put { key: key.clone(), value: value.into() }
}

/// The key of a made-up node.
pub(crate) fn key(name: &str) -> Key {
    Key::new(Kind::Node, &[&name])
}

pub(crate) fn zone_id(name: &str) -> ZoneId {
    let mut id = [0; 16];
    let crc = crc32fast::hash(name.as_bytes()).to_be_bytes();
    id[..4].copy_from_slice(&crc);
    for (place, octet) in id[4..].iter_mut().zip(name.bytes()) {
        *place = octet;
    }
    ZoneId::from_bytes(id)
}

pub(crate) fn index(name: &str) -> ZoneIndex {
    ZoneIndex { name: ZoneName::parse(name).unwrap(), zone: zone_id(name) }
}

pub(crate) fn zone(name: &str) -> Zone {
    Zone {
        id: zone_id(name),
        account: AccountId::from_bytes([1; 16]),
        name: ZoneName::parse(name).unwrap(),
        status: ZoneStatus::Active,
        paused: false,
        name_servers: Vec::new(),
        settings: ZoneSettings::default(),
        serial: 1,
        created_at: Timestamp::from_millis(0),
        modified_at: Timestamp::from_millis(0),
        activated_at: None,
    }
}

/// A zone with its name.
pub(crate) fn put_zone(replica: &Replica, name: &str) -> Vec<Change> {
    vec![replica.put(&zone(name)), replica.put(&index(name))]
}

/// Whether the replica holds this name.
pub(crate) fn holds(replica: &Replica, name: &str) -> bool {
    let snapshot = replica.snapshot().unwrap();
    snapshot.get::<ZoneIndex>(&ZoneName::parse(name).unwrap()).unwrap().is_some()
}

/// A log of this process alone.
pub(crate) fn open(folder: &TempDir) -> EmbeddedLog {
    let options = ReplicaOptions { map_octets: 1 << 30, ..ReplicaOptions::default() };
    EmbeddedLog::open(folder.path(), sealer(), options).unwrap()
}

/// As much time ahead of a change as it takes, however busy the machine is.
pub(crate) const AHEAD_AT_LENGTH: Duration = Duration::from_secs(3_600);

/// Puts a change that was made in force, as a service does; in which state.
pub(crate) fn commit<T: CompileZone>(
    replica: &Replica,
    zones: &CompiledZones<T>,
    changed: &ChangeSet,
) -> Seq {
    let snapshot = replica.snapshot().unwrap();
    zones.prepare(&snapshot, changed)();
    snapshot.seq()
}

/// Makes changes and puts them in force.
pub(crate) async fn change<T: CompileZone>(
    log: &EmbeddedLog,
    zones: &CompiledZones<T>,
    changes: Vec<Change>,
) -> Seq {
    let from = log.replica().seq();
    log.append(append(changes)).await.unwrap();
    commit(log.replica(), zones, &log.replica().changes_since(from))
}
