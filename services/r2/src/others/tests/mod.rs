//! Several servers in one process, joined by links that the tests cut.

mod buckets;
mod losses;
mod objects;
mod wire;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use prometheus_client::registry::Registry;
use proxima_chassis::SimulatedClock;
use proxima_ledger::{Append, Change, EmbeddedLog, IdempotencyKey, Log as _, ReplicaOptions, Sealer};
use proxima_model::{
    Account, AccountId, Bucket, BucketName, NodeName, PopCode, RegionName, StorageClass, Timestamp,
};
use proxima_pipeline::{
    AnswersServers, Body, NewBucket, NoAnswer, ObjectAbout, ObjectError, ObjectGet, ObjectKey, ObjectPut,
    ObjectRange, Objects as _, ServerAbout, Servers,
};
use tokio_util::sync::CancellationToken;

use super::{Everywhere, answers::Answers, reach::Reach};
use crate::{
    buckets::Buckets,
    local::Local,
    metrics::Metrics,
    store::{Bounds, Store},
};

const ACCOUNT: AccountId = AccountId::from_bytes([1; 16]);
/// The servers and the regions that they stand in.
const SERVERS: [(&str, &str); 3] = [("a", "europe"), ("b", "weur"), ("c", "eu")];
/// More than a row takes, than a chunk, and than one frame of a link.
const LARGE: usize = 700_000;

/// All links.
struct Network {
    about: Vec<ServerAbout>,
    answering: Mutex<HashMap<NodeName, Arc<Answers>>>,
    /// Cut by who kills a server.
    links: Mutex<HashMap<NodeName, CancellationToken>>,
    /// Streams that are cut end as if they had come to their end.
    cuts_quietly: AtomicBool,
}

/// The network as one server sees it.
struct Link {
    network: Arc<Network>,
    me: NodeName,
}

impl Servers for Link {
    fn all(&self) -> &[ServerAbout] {
        &self.network.about
    }

    fn me(&self) -> &NodeName {
        &self.me
    }

    fn ask<'a>(
        &'a self,
        server: &'a NodeName,
        service: &'static str,
        request: Request<Body>,
    ) -> BoxFuture<'a, Result<Response<Body>, NoAnswer>> {
        assert_eq!(service, crate::SERVICE);
        assert_ne!(*server, self.me, "what lies here is not asked for");
        Box::pin(async move {
            let answers =
                self.network.answering.lock().unwrap().get(server).cloned().ok_or(NoAnswer::Lost)?;
            let link = self.network.links.lock().unwrap()[server].clone();
            let quietly = self.network.cuts_quietly.load(Ordering::Relaxed);
            let request = request.map(|body| through(body, link.clone(), quietly));
            let response = answers.answer(&self.me, request).await;
            Ok(response.map(|body| through(body, link, quietly)))
        })
    }
}

/// A body by way of a link.
fn through(mut body: Body, link: CancellationToken, quietly: bool) -> Body {
    let (mut sender, received) = Body::channel(1, None);
    tokio::spawn(async move {
        loop {
            let frame = tokio::select! {
                biased;
                () = link.cancelled() => {
                    if quietly {
                        sender.finish().await;
                    }
                    return;
                }
                () = sender.closed() => return,
                frame = body.next_frame() => frame,
            };
            let sent = match frame {
                None => return sender.finish().await,
                Some(Err(error)) => return sender.fail(error).await,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => sender.send(data).await,
                    Err(frame) => sender.send_trailers(frame.into_trailers().unwrap()).await,
                },
            };
            if sent.is_err() {
                return;
            }
        }
    });
    received
}

struct World {
    folder: tempfile::TempDir,
    log: EmbeddedLog,
    network: Arc<Network>,
    servers: HashMap<&'static str, Everywhere>,
}

fn name(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

fn large() -> Bytes {
    (0..=250).cycle().take(LARGE).collect::<Vec<u8>>().into()
}

fn new_bucket(text: &str) -> NewBucket {
    NewBucket {
        account: ACCOUNT,
        name: BucketName::parse(text).unwrap(),
        location: None,
        jurisdiction: None,
        storage_class: StorageClass::Standard,
    }
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = open_log(&folder, "log").await;
        let about = SERVERS.iter().map(|(server, region)| ServerAbout {
            name: name(server),
            pop: PopCode::parse("FRA").unwrap(),
            region: RegionName::parse(region).unwrap(),
        });
        let network = Arc::new(Network {
            about: about.collect(),
            answering: Mutex::default(),
            links: Mutex::default(),
            cuts_quietly: AtomicBool::default(),
        });
        let mut world = Self { folder, log, network, servers: HashMap::new() };
        for (server, _) in SERVERS {
            let log = world.log.clone();
            world.start(server, &log);
        }
        world
    }

    /// A server with nothing, and the replica of this log; in the place of a former one, which lives on.
    fn start(&mut self, server: &'static str, log: &EmbeddedLog) {
        let replica = log.replica().clone();
        let clock = Arc::new(SimulatedClock::new(Timestamp::from_millis(1_700_000_000_000)));
        let buckets = Buckets {
            replica,
            log: Arc::new(log.clone()),
            clock: clock.clone(),
            me: name(server),
            has_caught_up: Arc::new(|| true),
            lacks_nothing: Arc::new(|| true),
        };
        let store = Store::open(
            &self.folder.path().join(format!("{server}-{}", self.servers.len())),
            Bounds { index_octets_max: 64 << 20, free_octets_min: 0 },
            clock,
            buckets.presence(),
            Metrics::register(&mut Registry::default()),
            None,
        );
        let local = Local { store: store.unwrap(), buckets };
        let link = Link { network: Arc::clone(&self.network), me: name(server) };
        let everywhere = Everywhere::new(local.clone(), Reach::new(Arc::new(link)));
        self.network.answering.lock().unwrap().insert(name(server), Arc::new(Answers::new(local)));
        self.network.links.lock().unwrap().insert(name(server), CancellationToken::new());
        self.servers.insert(server, everywhere);
    }

    /// Cuts a server off; it lives on, so that the test may look at what it has.
    fn cut(&self, server: &str, quietly: bool) {
        self.network.cuts_quietly.store(quietly, Ordering::Relaxed);
        self.network.answering.lock().unwrap().remove(&name(server));
        self.network.links.lock().unwrap()[&name(server)].cancel();
    }

    fn at(&self, server: &str) -> &Everywhere {
        &self.servers[server]
    }

    /// A bucket whose home is this server.
    async fn bucket(&self, home: &str, text: &str) -> Bucket {
        self.at(home).create_bucket(new_bucket(text), "test".to_owned()).await.unwrap()
    }

    async fn put(
        &self,
        server: &str,
        bucket: &Bucket,
        text: &str,
        octets: impl Into<Bytes>,
    ) -> Result<ObjectAbout, ObjectError> {
        let body = Body::full(octets.into());
        self.at(server).put(bucket, &key(text), ObjectPut::default(), body).await
    }

    async fn get(
        &self,
        server: &str,
        bucket: &Bucket,
        text: &str,
        range: Option<ObjectRange>,
    ) -> Result<Bytes, ObjectError> {
        let get = ObjectGet { range, ..ObjectGet::default() };
        let read = self.at(server).get(bucket, &key(text), get).await?;
        Ok(read.body.collect(usize::MAX).await?)
    }
}

/// A log with an account.
async fn open_log(folder: &tempfile::TempDir, called: &str) -> EmbeddedLog {
    let (sealer, _) = Sealer::generate();
    let log = EmbeddedLog::open(&folder.path().join(called), sealer, ReplicaOptions::default()).unwrap();
    let account = Account { id: ACCOUNT, name: "one".to_owned(), created_at: Timestamp::from_millis(0) };
    let change = log.replica().put(&account);
    append(&log, change).await;
    log
}

async fn append(log: &EmbeddedLog, change: Change) {
    let append = Append {
        changes: vec![change],
        preconditions: Vec::new(),
        idempotency_key: IdempotencyKey(hex::encode(rand::random::<[u8; 16]>())),
        fingerprint: None,
        author: "test".to_owned(),
    };
    log.append(append).await.unwrap();
}
