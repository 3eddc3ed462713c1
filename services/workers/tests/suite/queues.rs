//! Queues: Workers that send to them, and Workers that are given their messages.

use std::collections::BTreeMap;

use proxima_model::{BindingValue, ModuleKind, QueueId, QueueName, WorkerName, WorkerSyntax};
use proxima_pipeline::{
    Exceeded, Fault, NotConsumed, QueueBatch, QueueContentType, QueueDelivered, QueueOutcome, QueueSettling,
};

use crate::{
    harness::{Code, OTHER, OWN, Running, with_engine},
    memory_queues::SENT,
};

const JOBS: QueueId = QueueId::from_bytes([5; 16]);

/// A binding to a queue.
fn jobs(name: &str) -> BindingValue {
    BindingValue::Queue { queue: QueueName::parse(name).unwrap(), delivery_delay_seconds: Some(7) }
}

/// A Worker that is bound to `jobs`, and answers what this comes to.
fn sender(body: &str) -> Code {
    let text = format!(
        "export default {{ async fetch(request, env) {{
           try {{ {body} }} catch (error) {{ return new Response(`${{error.name}}: ${{error.message}}`, {{ status: 500 }}); }}
         }} }}"
    );
    Code { bindings: vec![("JOBS", jobs("jobs"))], ..Code::module(&text) }
}

/// What is sent by this, and what the Worker answers.
async fn sends(running: &Running, code: Code) -> (String, Vec<(QueueContentType, Vec<u8>, Option<u32>)>) {
    running.queues.names.lock().unwrap().insert((OWN, QueueName::parse("jobs").unwrap()), JOBS);
    running.upload(OWN, "sender", code).await;
    let answer = running.get(OWN, "sender", "/").await;
    let sent = running.queues.taken(JOBS).into_iter();
    (answer.text, sent.map(|it| (it.content_type, it.body.to_vec(), it.delay_seconds)).collect())
}

#[test]
fn what_a_worker_sends_is_what_its_options_say() {
    with_engine("", async |running| {
        let code = sender(
            "const { metadata } = await env.JOBS.send({ a: [1] });
             await env.JOBS.send('text', { contentType: 'text', delaySeconds: 0 });
             await env.JOBS.sendBatch([
               { body: new Uint8Array([1, 255]), contentType: 'bytes' },
               { body: null, delaySeconds: 5 },
             ], { delaySeconds: 9 });
             const metrics = await env.JOBS.metrics();
             return Response.json([metadata.metrics, metrics]);",
        );
        let (said, sent) = sends(&running, code).await;
        let time = "2023-11-14T22:14:00.000Z";
        let metrics = |count, octets| {
            format!(
                "{{\"backlogCount\":{count},\"backlogBytes\":{octets},\"oldestMessageTimestamp\":\"{time}\"}}"
            )
        };
        assert_eq!(said, format!("[{},{}]", metrics(1, 9), metrics(4, 19)));
        let expected = [
            (QueueContentType::Json, b"{\"a\":[1]}".to_vec(), Some(7)),
            (QueueContentType::Text, b"text".to_vec(), Some(0)),
            (QueueContentType::Bytes, vec![1, 255], Some(9)),
            (QueueContentType::Json, b"null".to_vec(), Some(5)),
        ];
        assert_eq!(sent, expected);
    });
}

#[test]
fn what_cannot_be_sent_is_told_and_nothing_of_it_is_sent() {
    with_engine("", async |running| {
        for (body, told) in [
            ("env.JOBS.send('x'.repeat(128_001), { contentType: 'text' })", "message length of 128001 bytes"),
            ("env.JOBS.sendBatch(Array(101).fill({ body: 1 }))", "batch has 101 messages"),
            ("env.JOBS.sendBatch([])", "at least one message"),
            (
                "env.JOBS.sendBatch(Array(3).fill({ body: 'x'.repeat(100_000), contentType: 'text' }))",
                "batch length of 300000 bytes",
            ),
            ("env.JOBS.send(1, { delaySeconds: 43_201 })", "delaySeconds must be from 0 to 43200"),
            ("env.JOBS.send(1, { contentType: 'text' })", "requires a value of type string"),
            ("env.JOBS.send('x', { contentType: 'bytes' })", "requires a value of type ArrayBuffer"),
            ("env.JOBS.send('x', { contentType: 'xml' })", "Unsupported queue message content type: xml"),
            ("env.JOBS.send(undefined)", "cannot be written as JSON"),
            ("env.JOBS.send(() => 1, { contentType: 'v8' })", "DataCloneError"),
            ("env.JOBS.send('full')", "there is no room"),
        ] {
            let (said, sent) =
                sends(&running, sender(&format!("await {body}; return new Response('sent')"))).await;
            assert!(said.contains(told), "{body}: {said}");
            assert_eq!(sent, [], "{body}");
        }
        // A queue of another account, and one that is not there.
        let code = || sender("await env.JOBS.send(1); return new Response('sent')");
        running.upload(OTHER, "sender", code()).await;
        assert!(running.get(OTHER, "sender", "/").await.text.contains("queue not found"));
        let code = Code { bindings: vec![("JOBS", jobs("gone"))], ..code() };
        assert!(sends(&running, code).await.0.contains("queue not found"));
    });
}

fn delivered(id: &str, content_type: QueueContentType, body: &[u8]) -> QueueDelivered {
    QueueDelivered {
        id: id.to_owned(),
        sent_at: SENT,
        attempts: 2,
        content_type,
        body: body.to_vec().into(),
        lease: String::new(),
    }
}

async fn consume(
    running: &Running,
    worker: &str,
    messages: &[QueueDelivered],
) -> Result<QueueOutcome, NotConsumed> {
    let (worker, queue) = (WorkerName::parse(worker).unwrap(), QueueName::parse("jobs").unwrap());
    running.service.invoker().queue(OWN, &worker, QueueBatch { queue: &queue, at: SENT, messages }).await
}

/// A Worker whose handler of messages is this.
fn consumer(body: &str) -> Code {
    Code::module(&format!("export default {{ async queue(batch, env, ctx) {{ {body} }} }}"))
}

/// What the consumer has fetched last: how tests learn what it saw.
fn reported(running: &Running) -> String {
    let lines = std::mem::take(&mut *running.fetched.lines.lock().unwrap());
    let line = lines.last().cloned().unwrap_or_default();
    let query = line.split("away.example/?").nth(1).unwrap_or_default();
    percent_encoding::percent_decode_str(query.split(' ').next().unwrap()).decode_utf8().unwrap().into_owned()
}

#[test]
fn a_consumer_gets_messages_as_what_they_were_sent() {
    with_engine("", async |running| {
        let code = consumer(
            "const seen = batch.messages.map(({ id, timestamp, attempts, body }) => [
               id, timestamp.getTime(), attempts,
               body instanceof ArrayBuffer || ArrayBuffer.isView(body) ? ['octets', ...new Uint8Array(body)]
                 : body instanceof Map ? ['map', ...body] : body]);
             await fetch(`https://away.example/?${encodeURIComponent(JSON.stringify([batch.queue, seen]))}`);",
        );
        running.upload(OWN, "consumer", code).await;
        // A structured clone is what the engine wrote when it was sent.
        let clone = "await env.JOBS.send(new Map([['a', new Set([1n]).size]]), { contentType: 'v8' });
                     return new Response('sent')";
        let (said, sent) = sends(&running, sender(clone)).await;
        let [(QueueContentType::V8, clone, _)] = &sent[..] else { panic!("{said} {sent:?}") };
        let messages = [
            delivered("1", QueueContentType::Json, b"{\"a\":[1]}"),
            delivered("2", QueueContentType::Text, "\u{e9}".as_bytes()),
            delivered("3", QueueContentType::Bytes, &[0, 255]),
            delivered("4", QueueContentType::V8, clone),
        ];
        let outcome = consume(&running, "consumer", &messages).await;
        let all = QueueOutcome { threw: false, messages: vec![], others: QueueSettling::Ack };
        assert_eq!(outcome, Ok(all));
        let seen = "[\"jobs\",[[\"1\",1700000040000,2,{\"a\":[1]}],[\"2\",1700000040000,2,\"\u{e9}\"],\
                    [\"3\",1700000040000,2,[\"octets\",0,255]],[\"4\",1700000040000,2,[\"map\",[\"a\",1]]]]]";
        assert_eq!(reported(&running), seen);
    });
}

#[test]
fn a_worker_of_an_old_day_sends_structured_clones_unless_it_says_otherwise() {
    with_engine("", async |running| {
        let body = "await env.JOBS.send(new Map()); return new Response('sent')";
        let old = |flags: &[&'static str]| Code {
            compatibility_date: "2022-01-01",
            compatibility_flags: flags.to_vec(),
            ..sender(body)
        };
        let (said, sent) = sends(&running, old(&[])).await;
        assert_eq!((said.as_str(), sent[0].0), ("sent", QueueContentType::V8));
        let (said, sent) = sends(&running, old(&["queues_json_messages"])).await;
        assert_eq!((said.as_str(), sent[0].0), ("sent", QueueContentType::Json));
        let (said, sent) = sends(&running, old(&["no_rpc"])).await;
        assert!(said.contains("needs the compatibility flag \"rpc\""), "{said}");
        assert_eq!(sent, []);
    });
}

#[test]
fn what_a_consumer_says_of_its_messages_comes_back() {
    with_engine("cpu_ms_max = 300", async |running| {
        let messages = ["a", "b", "c"].map(|id| delivered(id, QueueContentType::Json, b"1"));
        let of = |threw, others, said: &[(&str, QueueSettling)]| {
            let messages = said.iter().map(|(id, settling)| ((*id).to_owned(), *settling)).collect();
            Ok(QueueOutcome { threw, messages, others })
        };
        let (ack, again) = (QueueSettling::Ack, QueueSettling::Retry);
        let cases: BTreeMap<&str, Result<QueueOutcome, NotConsumed>> = BTreeMap::from([
            ("batch.ackAll()", of(false, ack, &[])),
            ("batch.retryAll({ delaySeconds: 9 })", of(false, again(Some(9)), &[])),
            (
                "batch.messages[0].ack(); batch.messages[1].retry({ delaySeconds: 5 })",
                of(false, ack, &[("a", ack), ("b", again(Some(5)))]),
            ),
            ("batch.messages[0].ack(); throw new Error('boom')", of(true, again(None), &[("a", ack)])),
            ("for (;;) {}", Err(NotConsumed::Failed(Fault::WorkerExceeded(Exceeded::Cpu)))),
        ]);
        for (number, (body, expected)) in cases.into_iter().enumerate() {
            let name = format!("consumer-{number}");
            running.upload(OWN, &name, consumer(body)).await;
            assert_eq!(consume(&running, &name, &messages).await, expected, "{body}");
        }
        running.upload(OWN, "deaf", Code::fetch("return new Response('here')")).await;
        assert!(consume(&running, "deaf", &messages).await.is_ok_and(|outcome| outcome.threw));
        running.upload(OWN, "broken", Code::module("syntax error")).await;
        let broken = consume(&running, "broken", &messages).await;
        assert!(matches!(broken, Err(NotConsumed::Failed(Fault::WorkerBroken(_)))), "{broken:?}");
        assert_eq!(consume(&running, "nobody", &messages).await, Err(NotConsumed::Absent));
    });
}

#[test]
fn a_script_of_service_worker_syntax_hears_its_messages() {
    with_engine("", async |running| {
        let script = "addEventListener('queue', event => {
                        event.waitUntil(fetch(`https://away.example/?${event.queue}-${event.messages[0].body}`));
                        event.retryAll({ delaySeconds: 3 });
                      })";
        let code = Code {
            modules: vec![("worker.js", ModuleKind::CommonJs, script.into())],
            syntax: WorkerSyntax::ServiceWorker,
            ..Code::module("")
        };
        running.upload(OWN, "old", code).await;
        let outcome = consume(&running, "old", &[delivered("a", QueueContentType::Text, b"x")]).await;
        assert_eq!(outcome.map(|outcome| outcome.others), Ok(QueueSettling::Retry(Some(3))));
        assert_eq!(reported(&running), "jobs-x");
    });
}
