//! Live logs: asked for as wrangler does it, and shown on a WebSocket.

use std::{sync::Mutex, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use proxima_control::FIRST_ACCOUNT;
use proxima_model::{AccountId, Permission, TokenScope, WorkerName};
use proxima_pipeline::{
    TAILS_PER_WORKER_MAX, Tail, TailEnd, TailFilter, TailRefused, TailSeen, TailStream, Tails,
};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, protocol::frame::coding::CloseCode},
};

use crate::{
    harness::{Node, PATIENCE},
    workers::{deployed, path},
};

/// Tails in memory: what a test says happens is seen.
#[derive(Default)]
pub(crate) struct MemoryTails(Mutex<Vec<(Tail, mpsc::UnboundedSender<TailSeen>)>>);

impl MemoryTails {
    fn held(&self) -> Vec<Tail> {
        let mut held = self.0.lock().unwrap();
        held.retain(|(_, seen)| !seen.is_closed());
        held.iter().map(|(tail, _)| tail.clone()).collect()
    }

    fn show(&self, seen: &TailSeen) {
        self.0.lock().unwrap().iter().for_each(|(_, shown)| drop(shown.send(seen.clone())));
    }
}

impl Tails for MemoryTails {
    fn open(&self, tail: Tail) -> Result<TailStream, TailRefused> {
        if self.held().len() == TAILS_PER_WORKER_MAX {
            return Err(TailRefused::WorkerFull);
        }
        let (seen, mut shown) = mpsc::unbounded_channel();
        self.0.lock().unwrap().push((tail, seen));
        Ok(futures_util::stream::poll_fn(move |context| shown.poll_recv(context)).boxed())
    }

    fn list(&self, account: AccountId, worker: &WorkerName) -> Vec<Tail> {
        let mut held = self.held();
        held.retain(|tail| tail.account == account && tail.worker == *worker);
        held
    }

    fn end(&self, account: AccountId, worker: &WorkerName, id: &str) {
        for (tail, seen) in &*self.0.lock().unwrap() {
            if tail.account == account && tail.worker == *worker && tail.id == id {
                seen.send(TailSeen::Ended(TailEnd::Done)).ok();
            }
        }
    }
}

const TAILS: &str = "scripts/app/tails";

async fn create(node: &Node, token: &str, filters: &Value) -> Value {
    // As wrangler sends it: without a type, or with one of text.
    let request = node.request(reqwest::Method::POST, &path(TAILS)).bearer_auth(token);
    let request = request.header("content-type", "text/plain;charset=UTF-8");
    let response = request.body(json!({ "filters": filters }).to_string()).send().await.unwrap();
    let envelope: Value = response.json().await.unwrap();
    assert_eq!(envelope["success"], true, "{envelope}");
    envelope["result"].clone()
}

/// Opens the WebSocket at a URL, by the protocol of tails or another one.
async fn open(node: &Node, url: &str, protocol: &'static str) -> Result<WebSocketStream<TcpStream>, u16> {
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
    let stream = TcpStream::connect(node.bound[0]).await.unwrap();
    match client_async(request, stream).await {
        Ok((socket, response)) => {
            assert_eq!(response.headers()["sec-websocket-protocol"], "trace-v1");
            Ok(socket)
        }
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> Message {
    loop {
        let message = tokio::time::timeout(PATIENCE, socket.next()).await.expect("a message in time");
        match message.expect("a message").unwrap() {
            Message::Ping(_) => {}
            other => return other,
        }
    }
}

fn url(tail: &Value) -> &str {
    tail["url"].as_str().unwrap()
}

#[tokio::test]
async fn a_tail_is_asked_for_shown_listed_and_deleted() {
    let node = Node::start().await;
    assert_eq!(node.refused("POST", &path(TAILS), Some(json!({}))).await, (404, 10_007));
    deployed(&node, "app").await;
    let tail = create(&node, &node.token, &json!([{ "method": ["GET"] }, { "client_ip": ["self"] }])).await;
    assert!(url(&tail).starts_with(&format!("ws://{}/client/v4/accounts/", node.bound[0])), "{tail}");
    assert!(tail["expires_at"].as_str().unwrap().ends_with('Z'), "{tail}");
    assert_eq!(node.ok("GET", &path(TAILS), None).await, json!([]), "nobody looks yet");

    let mut socket = open(&node, url(&tail), "trace-v1").await.unwrap();
    socket.send(Message::text("{\"debug\":false}")).await.unwrap();
    let held = node.tails.held();
    assert_eq!(held[0].id, tail["id"]);
    let filters =
        [TailFilter::Method(vec!["GET".to_owned()]), TailFilter::ClientIp(vec!["127.0.0.1".to_owned()])];
    assert_eq!(held[0].filters, filters);
    let listed = node.ok("GET", &path(TAILS), None).await;
    assert_eq!((&listed[0]["id"], &listed[0]["expires_at"]), (&tail["id"], &tail["expires_at"]));
    assert!(!listed.to_string().contains("jwt"), "it opens nothing: {listed}");

    let event = json!({ "outcome": "ok", "text": "größe" }).to_string();
    node.tails.show(&TailSeen::Event(event.clone().into()));
    assert_eq!(next(&mut socket).await, Message::text(event));
    node.tails.show(&TailSeen::Dropped(17));
    let notice: Value = serde_json::from_str(next(&mut socket).await.to_text().unwrap()).unwrap();
    assert_eq!(notice["event"]["type"], "overload");
    socket.send(Message::Ping("wrangler tail ping".into())).await.unwrap();
    assert_eq!(next(&mut socket).await, Message::Pong("wrangler tail ping".into()));

    let of_another = path(&format!("{TAILS}/{}", "0".repeat(32)));
    assert_eq!(node.ok("DELETE", &of_another, None).await, Value::Null);
    node.tails.show(&TailSeen::Event("{}".into()));
    assert_eq!(next(&mut socket).await, Message::text("{}"));
    node.ok("DELETE", &path(&format!("{TAILS}/{}", tail["id"].as_str().unwrap())), None).await;
    match next(&mut socket).await {
        Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Normal),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_url_opens_its_tail_and_no_other_and_nothing_when_its_token_is_gone() {
    let node = Node::start().await;
    for name in ["app", "other"] {
        deployed(&node, name).await;
    }
    let reader = vec![(TokenScope::Account(FIRST_ACCOUNT), vec![Permission::WorkersRead])];
    let token = node.token(reader.clone()).await;
    let tail = create(&node, &token, &json!([])).await;
    assert_eq!(open(&node, url(&tail), "trace-v2").await.err(), Some(400));
    let (bare, jwt) = url(&tail).split_once("?jwt=").unwrap();
    let id = tail["id"].as_str().unwrap();
    for wrong in [
        bare.to_owned(),
        format!("{bare}?jwt=x.y.z"),
        format!("{bare}?jwt={}", jwt.replacen('A', "B", 1)),
        url(&tail).replace("/app/", "/other/"),
        url(&tail).replace(id, &"0".repeat(32)),
    ] {
        assert_eq!(open(&node, &wrong, "trace-v1").await.err(), Some(401), "{wrong}");
    }
    let (_, below) = bare.split_once("/client/v4").unwrap();
    let (status, _) = node.call_as(&token, "GET", below, None).await;
    assert_eq!(status, 401, "a token is not what opens it");
    drop(open(&node, url(&tail), "trace-v1").await.unwrap());
    let id = token.split('_').next().unwrap();
    node.ok("DELETE", &format!("/user/tokens/{id}"), None).await;
    assert_eq!(open(&node, url(&tail), "trace-v1").await.err(), Some(401));
}

#[tokio::test]
async fn a_worker_has_so_many_tails_and_no_more() {
    let node = Node::start().await;
    deployed(&node, "app").await;
    let first = create(&node, &node.token, &json!([])).await;
    let mut held = Vec::new();
    for _ in 0..TAILS_PER_WORKER_MAX {
        let tail = create(&node, &node.token, &json!([])).await;
        held.push(open(&node, url(&tail), "trace-v1").await.unwrap());
    }
    assert_eq!(open(&node, url(&first), "trace-v1").await.err(), Some(429));
    assert_eq!(node.refused("POST", &path(TAILS), Some(json!({}))).await, (429, 10_036));
    held.clear();
    let gone = async {
        let mut due = tokio::time::interval(Duration::from_millis(10));
        while !node.tails.held().is_empty() {
            due.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the server hears that they have gone");
    assert!(open(&node, url(&first), "trace-v1").await.is_ok(), "there is room again");
}
