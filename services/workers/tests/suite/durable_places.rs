//! Places that Durable Objects have: processes of their accounts, and open WebSockets.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use http::{HeaderValue, Request, Response, StatusCode, header};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use proxima_model::{AccountId, NodeName};
use proxima_pipeline::{Body, BodySender};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    durable::{NAMESPACE, asked, code, namespaces, namespaces_of},
    harness::{OTHER, OWN, Running, processes, with_engine},
};

const THIRD: AccountId = AccountId::from_bytes([3; 16]);
/// As many WebSockets as the objects of an account may have open.
const SOCKETS_MAX: usize = 1_024;

/// The accounts whose objects have a process.
fn hosted() -> Vec<AccountId> {
    let lines = processes()
        .into_iter()
        .map(|process| std::fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default());
    let accounts = [OWN, OTHER, THIRD].into_iter();
    let lines: Vec<_> = lines.collect();
    accounts.filter(|account| lines.iter().any(|line| line.contains(&format!("objects-{account}")))).collect()
}

#[test]
fn an_account_whose_objects_need_a_process_has_that_of_the_one_that_was_quiet_for_longest() {
    with_engine("durable_accounts_max = 2", async |running| {
        for account in [OWN, OTHER, THIRD] {
            namespaces_of(&running, account, &["test"]).await;
            running.upload(account, "app", code("1", "await thrown(() => a.increment())")).await;
        }
        // It is at work for as long as it is open, however little comes.
        let mut socket = running.run(&mut running.switching(OWN, "app")).await.upgraded.unwrap();
        let mut says = async |count| {
            socket.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).await.unwrap();
            let mut frame = [0; 6];
            socket.read_exact(&mut frame).await.unwrap();
            assert_eq!(frame, [0x81, 4, b'h', b'i', b' ', count]);
        };
        says(b'1').await;
        let mut due = tokio::time::interval(Duration::from_millis(20));
        for (account, counted) in [(OTHER, "1"), (THIRD, "1"), (OTHER, "2"), (THIRD, "2")] {
            loop {
                let answer = running.get(account, "app", "/").await;
                if answer.is(200, counted) {
                    break;
                }
                assert!(answer.text.contains("asked too much at a time"), "{answer:?}");
                due.tick().await;
            }
            while hosted() != [OWN, account] {
                due.tick().await;
            }
        }
        says(b'2').await;
    });
}

/// Asks, as another server does, an object for a WebSocket.
async fn open(running: &Arc<Running>) -> (BodySender, Response<Body>) {
    let asking = json!({
        "account": OWN, "namespace": NAMESPACE, "asked": { "id": "ab".repeat(32) }, "method": "GET",
        "url": "http://object.example/", "upgrade": "websocket",
    });
    let (sender, body) = Body::channel(1, None);
    let mut request = Request::new(body);
    *request.uri_mut() = "/object".parse().unwrap();
    let fields = request.headers_mut();
    fields.insert("proxima-durable-for", HeaderValue::try_from(asking.to_string()).unwrap());
    fields.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
    fields.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    let answers = running.service.durable_answers();
    (sender, answers.answer(&NodeName::parse("other").unwrap(), request).await)
}

#[test]
fn objects_have_so_many_websockets_open_and_are_asked_all_the_same() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    with_engine("", async |running| {
        namespaces(&running, &["test"]).await;
        running.upload(OWN, "app", code("1", "await a.increment()")).await;
        let mut sockets = Vec::new();
        while sockets.len() < SOCKETS_MAX {
            let opened = join_all((0..64).map(|_| open(&running))).await;
            assert!(opened.iter().all(|(_, answer)| answer.status() == StatusCode::OK), "{opened:?}");
            sockets.extend(opened);
        }
        let (_, refused) = open(&running).await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.headers()["proxima-durable"], "busy");
        let why = refused.into_body().collect(1_000).await.unwrap();
        assert!(String::from_utf8_lossy(&why).contains("have 1024 WebSockets open"), "{why:?}");
        assert_eq!(asked(&running).await, 1);
        drop(sockets.pop());
        let mut due = tokio::time::interval(Duration::from_millis(5));
        while open(&running).await.1.status() != StatusCode::OK {
            due.tick().await;
        }
    });
}
