//! An S3 engine in this process, in memory, that does what tests tell it to: [`s3s`] with as much behind it as blobs need.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    sync::Mutex,
};

use futures_util::{StreamExt as _, stream};
use hyper_util::rt::TokioIo;
use s3s::{
    S3, S3Request, S3Response, S3Result,
    auth::SimpleAuth,
    dto::{
        CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, DeleteObjectInput,
        DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETag, GetObjectInput,
        GetObjectOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output, Object,
        PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp as At,
    },
    s3_error,
    service::S3ServiceBuilder,
};
use tokio::{net::TcpListener, task::JoinSet};

use super::*;

const BUCKET: &str = "blobs";
const ACCESS_KEY: &str = "access";
const SECRET_KEY: &str = "secret";

/// What the engine does to whoever asks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It answers 503.
    Refuse,
    /// It takes everything and says nothing.
    Stall,
    /// It breaks the connection in the middle of what comes or goes, so many times.
    Cut(usize),
}

#[derive(Clone, Default)]
pub(super) struct TestEngine(Arc<Inner>);

#[derive(Default)]
struct Inner {
    objects: Mutex<BTreeMap<String, Bytes>>,
    fault: Mutex<Option<Fault>>,
    address: Mutex<Option<SocketAddr>>,
    /// The listener and its connections, while it is there.
    serving: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl TestEngine {
    /// An engine that listens.
    pub(super) async fn start() -> Self {
        let engine = Self::default();
        engine.listen().await;
        engine
    }

    /// Listens, again at the address at which it did before.
    pub(super) async fn listen(&self) {
        let address = self.0.address.lock().unwrap().unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        let listener = TcpListener::bind(address).await.unwrap();
        *self.0.address.lock().unwrap() = Some(listener.local_addr().unwrap());
        let mut service = S3ServiceBuilder::new(self.clone());
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = service.build();
        let serving = tokio::spawn(async move {
            // They end with this.
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let http = hyper::server::conn::http1::Builder::new();
                connections.spawn(http.serve_connection(TokioIo::new(socket), service.clone()));
            }
        });
        *self.0.serving.lock().unwrap() = Some(serving);
    }

    /// Is gone, with all of its connections.
    pub(super) async fn stop(&self) {
        let serving = self.0.serving.lock().unwrap().take().unwrap();
        serving.abort();
        serving.await.unwrap_err();
    }

    pub(super) fn settings(&self) -> EngineSettings {
        EngineSettings {
            endpoint: format!("http://{}", self.0.address.lock().unwrap().unwrap()),
            bucket: BUCKET.to_owned(),
            region: "here".to_owned(),
            access_key: ACCESS_KEY.to_owned(),
            secret_key: SECRET_KEY.to_owned(),
            prefix: "some/where".to_owned(),
            node: "a".to_owned(),
        }
    }

    pub(super) fn set_fault(&self, fault: Option<Fault>) {
        *self.0.fault.lock().unwrap() = fault;
    }

    pub(super) fn objects(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.0.objects.lock().unwrap()
    }

    /// How many blobs it has any piece of.
    pub(super) fn blobs(&self) -> usize {
        let objects = self.objects();
        let ids = objects.keys().filter_map(|key| key.rsplit_once('.').map(|(blob, _)| blob.to_owned()));
        ids.collect::<BTreeSet<_>>().len()
    }

    /// Changes an octet of the first piece of the only blob.
    pub(super) fn rot(&self, at: usize) {
        let mut objects = self.objects();
        let piece = objects.values_mut().next().unwrap();
        let mut changed = piece.to_vec();
        changed[at] ^= 1;
        *piece = changed.into();
    }

    /// Does what it is told to; whether the connection is to be cut.
    async fn suffer(&self) -> S3Result<bool> {
        let fault = *self.0.fault.lock().unwrap();
        match fault {
            None | Some(Fault::Cut(0)) => Ok(false),
            Some(Fault::Refuse) => Err(s3_error!(ServiceUnavailable)),
            Some(Fault::Stall) => std::future::pending().await,
            Some(Fault::Cut(times)) => {
                self.set_fault(Some(Fault::Cut(times - 1)));
                Ok(true)
            }
        }
    }
}

fn etag() -> Option<ETag> {
    Some(ETag::Strong("0".repeat(32)))
}

#[async_trait::async_trait]
impl S3 for TestEngine {
    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let is_cut = self.suffer().await?;
        let mut body = req.input.body.unwrap();
        let mut come = Vec::new();
        while let Some(chunk) = body.next().await {
            come.extend_from_slice(&chunk.map_err(|_| s3_error!(IncompleteBody))?);
            assert!(!is_cut, "the connection ends with its task");
        }
        self.objects().insert(req.input.key, come.into());
        Ok(S3Response::new(PutObjectOutput { e_tag: etag(), ..Default::default() }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let is_cut = self.suffer().await?;
        let lies = self.objects().get(&req.input.key).cloned().ok_or_else(|| s3_error!(NoSuchKey))?;
        let all = lies.len();
        let range = req.input.range.expect("blobs are read by ranges").check(all as u64)?;
        let (start, end) = (usize::try_from(range.start).unwrap(), usize::try_from(range.end).unwrap());
        let octets = lies.slice(start..end);
        let length = octets.len();
        let mut chunks = vec![Ok(octets.slice(..length / 2)), Ok(octets.slice(length / 2..))];
        if is_cut {
            chunks[1] = Err(io::Error::other("cut"));
        }
        let output = GetObjectOutput {
            body: Some(StreamingBlob::wrap(stream::iter(chunks))),
            content_length: Some(i64::try_from(length).unwrap()),
            content_range: Some(format!("bytes {start}-{}/{all}", end - 1)),
            e_tag: etag(),
            last_modified: Some(At::default()),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        self.suffer().await?;
        let length =
            self.objects().get(&req.input.key).map(Bytes::len).ok_or_else(|| s3_error!(NoSuchKey))?;
        let output = HeadObjectOutput {
            content_length: Some(i64::try_from(length).unwrap()),
            e_tag: etag(),
            last_modified: Some(At::default()),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        self.suffer().await?;
        let CopySource::Bucket { key, .. } = req.input.copy_source else {
            return Err(s3_error!(InvalidArgument));
        };
        let lies = self.objects().get(&*key).cloned().ok_or_else(|| s3_error!(NoSuchKey))?;
        self.objects().insert(req.input.key, lies);
        let result = CopyObjectResult { e_tag: etag(), ..Default::default() };
        Ok(S3Response::new(CopyObjectOutput { copy_object_result: Some(result), ..Default::default() }))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.suffer().await?;
        self.objects().remove(&req.input.key);
        Ok(S3Response::with_status(DeleteObjectOutput::default(), http::StatusCode::NO_CONTENT))
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        self.suffer().await?;
        let mut deleted = Vec::new();
        for object in req.input.delete.objects {
            self.objects().remove(&object.key);
            deleted.push(DeletedObject { key: Some(object.key), ..Default::default() });
        }
        let output = DeleteObjectsOutput { deleted: Some(deleted), ..Default::default() };
        Ok(S3Response::new(output))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.suffer().await?;
        let input = req.input;
        let prefix = input.prefix.unwrap_or_default();
        let after = input.continuation_token.or(input.start_after).unwrap_or_default();
        let most = usize::try_from(input.max_keys.unwrap_or(1_000)).unwrap();
        let objects = self.objects();
        let mut found = objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > after);
        let page = found.by_ref().take(most).map(|(key, octets)| Object {
            key: Some(key.clone()),
            size: Some(i64::try_from(octets.len()).unwrap()),
            last_modified: Some(At::default()),
            e_tag: etag(),
            ..Default::default()
        });
        let page: Vec<_> = page.collect();
        let has_more = found.next().is_some();
        let next = page.last().filter(|_| has_more).and_then(|object| object.key.clone());
        Ok(S3Response::new(ListObjectsV2Output {
            key_count: i32::try_from(page.len()).ok(),
            contents: Some(page),
            is_truncated: Some(has_more),
            next_continuation_token: next,
            ..Default::default()
        }))
    }
}
