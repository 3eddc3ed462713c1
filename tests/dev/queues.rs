//! Queues by way of the real binary: stock `wrangler queues`, Workers that send and consume, and messages by HTTP.

use serde_json::{Value, json};

use crate::{
    dev::Dev,
    origin::Origin,
    r2::account,
    with_site,
    workers::{Project, get},
};

/// What the API answers, with its status.
pub(crate) fn ask(dev: &Dev, method: &str, path: &str, body: Option<&Value>) -> (String, Value) {
    dev.api(method, &format!("/accounts/{}/queues{path}", account(dev)), body, None)
}

/// A queue as the API shows it.
fn shown(dev: &Dev, name: &str) -> Value {
    ask(dev, "GET", &format!("?name={name}"), None).1["result"][0].clone()
}

pub(crate) fn id(dev: &Dev, name: &str) -> String {
    shown(dev, name)["queue_id"].as_str().unwrap_or_else(|| panic!("{name} is not there")).to_owned()
}

/// Pulls messages until there are some.
pub(crate) fn pull(dev: &Dev, id: &str) -> Value {
    let begun = std::time::Instant::now();
    loop {
        let (status, answer) =
            ask(dev, "POST", &format!("/{id}/messages/pull"), Some(&json!({ "batch_size": 10 })));
        assert_eq!(status, "200", "{answer}");
        if answer["result"]["messages"].as_array().is_some_and(|messages| !messages.is_empty()) {
            return answer["result"].clone();
        }
        assert!(begun.elapsed() < crate::dev::DEADLINE, "nothing comes: {answer}\n{}", dev.log());
    }
}

#[test]
fn stock_wrangler_manages_queues_and_their_consumers() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let project = Project::new();
    let queues = |args: &[&str]| project.wrangler(&dev, &[&["queues"], args].concat());
    let fails = |args: &[&str]| {
        let (succeeded, told) = project.try_wrangler(&dev, &[&["queues"], args].concat());
        assert!(!succeeded, "{told}");
        told
    };
    queues(&["create", "jobs", "--delivery-delay-secs", "5"]);
    assert!(fails(&["create", "jobs"]).contains("already taken"));
    assert!(fails(&["create", "Not_A_Name"]).contains("is not a queue's name"));
    assert!(queues(&["list"]).contains("jobs"));
    queues(&["update", "jobs", "--message-retention-period-secs", "3600"]);
    queues(&["pause-delivery", "jobs"]);
    let settings = json!({ "delivery_delay": 5, "delivery_paused": true, "message_retention_period": 3600 });
    assert_eq!(shown(&dev, "jobs")["settings"], settings);
    queues(&["resume-delivery", "jobs"]);
    assert_eq!(shown(&dev, "jobs")["settings"]["delivery_paused"], false);

    assert!(fails(&["consumer", "add", "jobs", "app"]).contains("This Worker does not exist"));
    queues(&["consumer", "http", "add", "jobs", "--dead-letter-queue", "dead", "--batch-size", "7"]);
    assert!(queues(&["info", "jobs"]).contains("HTTP Pull Consumer"));
    let consumer = shown(&dev, "jobs")["consumers"][0].clone();
    assert_eq!(
        (&consumer["type"], &consumer["dead_letter_queue"], &consumer["settings"]["batch_size"]),
        (&json!("http_pull"), &json!("dead"), &json!(7))
    );
    id(&dev, "dead");
    assert!(fails(&["consumer", "http", "add", "jobs"]).contains("has a consumer already"));
    let circle = fails(&["consumer", "http", "add", "dead", "--dead-letter-queue", "jobs"]);
    assert!(circle.contains("dead → jobs → dead"), "{circle}");
    assert!(fails(&["delete", "dead"]).contains("dead letter queue of jobs"));

    let messages = format!("/{}/messages", id(&dev, "jobs"));
    let message = json!({ "body": { "a": 1 } });
    assert_eq!(ask(&dev, "POST", &messages, Some(&message)).0, "200");
    let metrics = ask(&dev, "GET", &format!("/{}/metrics", id(&dev, "jobs")), None).1;
    assert_eq!(metrics["result"]["backlog_count"], 1);
    queues(&["purge", "jobs", "--force"]);
    let metrics = ask(&dev, "GET", &format!("/{}/metrics", id(&dev, "jobs")), None).1;
    assert_eq!(metrics["result"]["backlog_count"], 0);

    queues(&["consumer", "http", "remove", "jobs"]);
    queues(&["delete", "jobs"]);
    assert!(fails(&["info", "jobs"]).contains("does not exist"));
}

/// Sends what it is asked to, and writes down what it is given.
const WORKER: &str = "export default {
  async fetch(request, { JOBS, SEEN }) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === '/app/seen') return new Response(await SEEN.get(searchParams.get('of')) ?? 'nothing');
    const delaySeconds = Number(searchParams.get('delay') ?? 0);
    await JOBS.send({ of: searchParams.get('of') }, { delaySeconds });
    return new Response('sent');
  },
  async queue(batch, { SEEN }) {
    for (const { body, attempts } of batch.messages) {
      if (body.of === 'bad') throw new Error('boom');
      console.log('consumed', body.of);
      await SEEN.put(body.of, `${batch.queue} ${body.of} ${attempts}`);
    }
  },
}";

#[test]
fn a_worker_consumes_what_it_sends_over_restarts_and_what_it_cannot_goes_to_the_dead_letter_queue() {
    let origin = Origin::start();
    let mut dev = with_site(&origin);
    let first = Project::new();
    let made = first.wrangler(&dev, &["kv", "namespace", "create", "seen", "--update-config=false"]);
    let namespaces = format!("/accounts/{}/storage/kv/namespaces", account(&dev));
    let namespace = dev.api("GET", &namespaces, None, None).1["result"][0]["id"].as_str().unwrap().to_owned();
    assert!(made.contains("seen"), "{made}");
    let project = Project::with(&format!(
        "[[kv_namespaces]]\nbinding = \"SEEN\"\nid = \"{namespace}\"\n\
         [[queues.producers]]\nbinding = \"JOBS\"\nqueue = \"jobs\"\n\
         [[queues.consumers]]\nqueue = \"jobs\"\nmax_batch_size = 1\nmax_batch_timeout = 0\nmax_retries = 1\n\
         dead_letter_queue = \"dead\"\n"
    ));
    project.write(WORKER);
    let (succeeded, told) = project.try_wrangler(&dev, &["deploy"]);
    assert!(!succeeded && told.contains("Queue \"jobs\" does not exist"), "{told}");
    project.wrangler(&dev, &["queues", "create", "jobs"]);
    let deployed = project.wrangler(&dev, &["deploy"]);
    assert!(deployed.contains("Consumer for jobs"), "{deployed}");
    // Once more, now that it is there.
    project.wrangler(&dev, &["deploy"]);
    let jobs = shown(&dev, "jobs");
    assert_eq!(
        (&jobs["producers"][0]["script"], &jobs["consumers"][0]["script"]),
        (&json!("app"), &json!("app"))
    );

    let url = |dev: &Dev, path: &str| dev.http_url(crate::HOST, path);
    let seen = |dev: &Dev, of: &str| {
        dev.curl_until(&["-sS", &url(dev, &format!("/app/seen?of={of}"))], &format!("jobs {of}"))
    };
    assert_eq!(get(&dev, "/app/send?of=one"), "sent");
    assert_eq!(seen(&dev, "one"), "jobs one 1");
    // By HTTP, as v4 has it.
    let body = json!({ "messages": [{ "body": { "of": "http" }, "content_type": "json" }] });
    let (status, answer) = ask(&dev, "POST", &format!("/{}/messages/batch", id(&dev, "jobs")), Some(&body));
    assert_eq!(status, "200", "{answer}");
    assert_eq!(seen(&dev, "http"), "jobs http 1");

    // What was acknowledged survives the process.
    assert_eq!(get(&dev, "/app/send?of=later&delay=3"), "sent");
    dev.kill();
    dev.start_again();
    assert_eq!(seen(&dev, "later"), "jobs later 1");

    // Once, and once more, and then it is moved.
    project.wrangler(&dev, &["queues", "consumer", "http", "add", "dead"]);
    assert_eq!(get(&dev, "/app/send?of=bad"), "sent");
    let dead = id(&dev, "dead");
    let pulled = pull(&dev, &dead);
    let message = &pulled["messages"][0];
    assert_eq!((&message["body"], &message["attempts"]), (&json!("eyJvZiI6ImJhZCJ9"), &json!(1)), "{pulled}");
    let ack = json!({ "acks": [{ "lease_id": message["lease_id"] }, { "lease_id": "nonsense" }] });
    let (_, acked) = ask(&dev, "POST", &format!("/{dead}/messages/ack"), Some(&ack));
    assert_eq!(
        (&acked["result"]["ackCount"], acked["result"]["warnings"].as_object().unwrap().len()),
        (&json!(1), 1)
    );

    let (succeeded, told) = project.try_wrangler(&dev, &["queues", "delete", "jobs"]);
    assert!(!succeeded && told.contains("Workers are bound to the queue: app"), "{told}");
}
