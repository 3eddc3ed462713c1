//! WebSockets that code opens.

use std::{sync::atomic::Ordering, time::Duration};

use proxima_model::BindingValue;
use serde_json::json;

use crate::{
    durable::{NAMESPACE, namespaces},
    harness::{Answer, Code, OWN, Running, with_engine},
    own::{ask_until, with_own},
};

/// Talks over a WebSocket that it has opened: what it heard, and how that was closed.
const TALK: &str = "
const talk = async (socket, closes) => {
  const heard = [];
  return new Promise((done) => {
    socket.addEventListener('message', ({ data }) => {
      heard.push(typeof data === 'string' ? data : new Uint8Array(data).length);
      if (heard.length === 1) socket.send(new Uint8Array(70000));
      else if (closes) socket.close(4000, 'enough');
      else socket.send('close');
    });
    socket.addEventListener('close', ({ code, reason }) => done([...heard, code, reason]));
    socket.send('hello');
  });
};
const open = async (url = 'https://ws.example/chat') => {
  const answer = await fetch(url, { headers: { Upgrade: 'websocket' } });
  if (answer.webSocket) (answer.webSocket.binaryType = 'arraybuffer', answer.webSocket.accept());
  return answer;
};
const construct = () => new Promise((done, failed) => {
  const socket = new WebSocket('wss://ws.example/chat');
  socket.binaryType = 'arraybuffer';
  socket.addEventListener('open', () => done(socket));
  socket.addEventListener('error', ({ message }) => failed(new Error(message)));
});
const asked = async (pathname) => {
  switch (pathname) {
    case '/hello': return new Response('hello');
    case '/fetch': return Response.json(await talk((await open()).webSocket, false));
    case '/closes': return Response.json(await talk((await open()).webSocket, true));
    case '/new': return Response.json(await talk(await construct(), true));
    case '/declined': {
      const answer = await open('https://declines.example/chat');
      return Response.json([answer.status, answer.webSocket === null, (await answer.text()).includes('declines')]);
    }
  }
};
";

async fn until_closed(running: &Running, codes: &[u16]) {
    let mut due = tokio::time::interval(Duration::from_millis(5));
    while *running.fetched.closed.lock().unwrap() != codes {
        due.tick().await;
    }
}

/// That whoever answers at these paths talks over WebSockets.
async fn talks(running: &Running, place: &str) {
    running.fetched.closed.lock().unwrap().clear();
    for (target, code, reason) in
        [("/fetch", 4001, "as you say"), ("/closes", 4000, "enough"), ("/new", 4000, "enough")]
    {
        let answer = running.get(OWN, "app", target).await;
        let expected = json!(["hello", 70_000, code, reason]).to_string();
        assert!(answer.is(200, &expected), "{place} {target}: {answer:?}");
    }
    // Who closes first is answered with the same code.
    until_closed(running, &[4001, 4000, 4000]).await;
    let answer = running.get(OWN, "app", "/declined").await;
    assert!(answer.is(200, "[200,true,true]"), "{place}: {answer:?}");
}

fn worker() -> Code {
    Code::module(&format!(
        "{TALK} export default {{ fetch: (request) => asked(new URL(request.url).pathname) }}"
    ))
}

#[test]
fn a_worker_opens_websockets_and_both_sides_may_close_them() {
    with_own("own_processes_max = 1", async |running| {
        running.upload(OWN, "app", worker()).await;
        talks(&running, "in a shared process").await;
        ask_until(&running, "app", "/hello", 1, "hello").await;
        talks(&running, "in a process of its own").await;
    });
}

#[test]
fn a_durable_object_opens_websockets() {
    with_engine("", async |running| {
        namespaces(&running, &["test"]).await;
        let mut code = Code::module(&format!(
            "import {{ DurableObject }} from 'cloudflare:workers';
             {TALK}
             export class Counter extends DurableObject {{
               fetch(request) {{ return asked(new URL(request.url).pathname); }}
             }}
             export class Plain extends DurableObject {{}}
             export default {{ fetch: (request, env) => env.COUNTER.getByName('a').fetch(request) }}"
        ));
        code.bindings = vec![("COUNTER", BindingValue::DurableObjects(NAMESPACE))];
        running.upload(OWN, "app", code).await;
        talks(&running, "in an object").await;
    });
}

#[test]
fn a_visitors_websocket_is_passed_on_whole() {
    with_engine("", async |running| {
        running.upload(OWN, "app", Code::fetch("return fetch('https://ws.example/', request)")).await;
        let mut exchange = running.switching(OWN, "app");
        let mut response = running.run(&mut exchange).await;
        let mut socket = response.upgraded.take().unwrap();
        // `hi`, masked with zeros (RFC 6455, 5.2).
        tokio::io::AsyncWriteExt::write_all(&mut socket, b"\x81\x82\0\0\0\0hi").await.unwrap();
        let mut echoed = [0; 4];
        tokio::io::AsyncReadExt::read_exact(&mut socket, &mut echoed).await.unwrap();
        assert_eq!(&echoed, b"\x81\x02hi");
        drop(socket);
        // The Worker's side ends with it: nothing is left open.
        let mut due = tokio::time::interval(Duration::from_millis(5));
        while running.fetched.ended.load(Ordering::Relaxed) != 1 {
            due.tick().await;
        }
    });
}

#[test]
fn an_open_websocket_is_one_of_what_an_account_fetches_at_a_time() {
    // As often as it is asked again.
    with_engine("subrequests_max = 1000000", async |running| {
        let code = Code::module(&format!(
            "{TALK}
             export default {{ async fetch() {{
               const opened = await Promise.all([...Array(256)].map(() => open()));
               const refused = await fetch('https://a.example/');
               for (const {{ webSocket }} of opened) webSocket.close(1000, 'done');
               let status = 429;
               while (status === 429) (await scheduler.wait(5), (status = (await fetch('https://a.example/')).status));
               return Response.json([refused.status, status]);
             }} }}"
        ));
        running.upload(OWN, "app", code).await;
        let answer: Answer = running.get(OWN, "app", "/").await;
        assert!(answer.is(200, "[429,200]"), "{answer:?}");
    });
}
