//! Durable Objects whose home is another server.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, header};
use proxima_model::{DurableNamespace, NodeName, PopCode, RegionName};
use proxima_pipeline::{AnswersServers, Body, NoAnswer, ServerAbout, Servers};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::oneshot,
};

use crate::{
    durable::{NAMESPACE, asked, code, host, namespaces},
    harness::{OWN, with_named},
};

/// A network of two servers in this process: `test`, which asks, and `other`, which is there or not.
struct Two {
    about: Vec<ServerAbout>,
    other: Option<Arc<dyn AnswersServers>>,
}

impl Two {
    fn of(other: Option<Arc<dyn AnswersServers>>) -> Arc<Self> {
        let about = |name| ServerAbout {
            name: NodeName::parse(name).unwrap(),
            pop: PopCode::parse("FRA").unwrap(),
            region: RegionName::parse("europe").unwrap(),
        };
        Arc::new(Self { about: ["test", "other"].map(about).into(), other })
    }
}

impl Servers for Two {
    fn all(&self) -> &[ServerAbout] {
        &self.about
    }

    fn me(&self) -> &NodeName {
        &self.about[0].name
    }

    fn ask<'a>(
        &'a self,
        server: &'a NodeName,
        service: &'static str,
        request: Request<Body>,
    ) -> BoxFuture<'a, Result<Response<Body>, NoAnswer>> {
        assert_eq!((server, service), (&self.about[1].name, proxima_workers::DURABLE_SERVICE));
        Box::pin(async move {
            let other = self.other.as_ref().ok_or(NoAnswer::Lost)?;
            Ok(other.answer(&self.about[0].name, request).await)
        })
    }
}

/// What the Worker asks, of an object of each home: `a` of a namespace whose home is the other server.
const ASKS: &str = "[await a.increment(), await a.increment(2), await a.rows, await thrown(() => a.half()),
    await (await a.fetch('https://object.example/p', { method: 'PUT', body: 'body' })).text()]";

#[test]
fn objects_are_asked_where_they_are_and_are_nowhere_else() {
    let (tell, told) = oneshot::channel();
    let (end, ended) = oneshot::channel::<()>();
    let other = std::thread::spawn(move || {
        with_named("other", "", async move |running| {
            namespaces(&running, &["other"]).await;
            running.upload(OWN, "app", code("1", "null")).await;
            tell.send(running.service.durable_answers()).ok();
            ended.await.ok();
        });
    });
    with_named("test", "", async move |running| {
        running.service.durable_objects_over(Two::of(Some(told.await.unwrap())));
        namespaces(&running, &["other"]).await;
        running.upload(OWN, "app", code("1", ASKS)).await;
        let answers = json!([1, 3, 2, "RangeError: half", "PUT https://object.example/p body 4"]);
        assert_eq!(asked(&running).await, answers);
        let namespace: DurableNamespace =
            running.node.replica.snapshot().unwrap().get(&(OWN, NAMESPACE)).unwrap().unwrap();
        let listed = running.service.durable_objects().list(&namespace, None, 10).await.unwrap();
        assert_eq!(listed.len(), 1);

        let mut exchange = running.exchange(OWN, "app", "/");
        exchange.request.upgrade = Some("websocket".into());
        let headers = &mut exchange.request.headers;
        headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        let response = running.run(&mut exchange).await;
        assert_eq!(response.status, 101);
        let mut socket = response.upgraded.unwrap();
        socket.write_all(b"\x81\x82\0\0\0\0hi").await.unwrap();
        let mut frame = [0; 6];
        socket.read_exact(&mut frame).await.unwrap();
        assert_eq!(&frame, b"\x81\x04hi 5");
        let folder = running.node.config.node.data_dir.join("workers/objects");
        assert!(!folder.exists(), "nothing is kept on the server that asks");
        end.send(()).ok();
    });
    other.join().unwrap();
}

#[test]
fn an_object_whose_home_does_not_answer_is_told_to_be_away() {
    with_named("test", "", async move |running| {
        running.service.durable_objects_over(Two::of(None));
        namespaces(&running, &["other"]).await;
        let asks = "await a.increment().catch((error) => [error.message, error.retryable])";
        running.upload(OWN, "app", code("1", asks)).await;
        let message = "the Durable Object cannot be asked: its home, other, does not answer";
        assert_eq!(asked(&running).await, json!([message, true]));
        assert_eq!(host(), None, "nothing was started for it here");
    });
}
