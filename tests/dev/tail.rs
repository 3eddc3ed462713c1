//! Live logs by way of the real binary: stock `wrangler tail`.

use std::{
    io::BufReader,
    process::{Child, Stdio},
    sync::mpsc,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Deserializer, Value, json};

use crate::{
    HOST,
    dev::{DEADLINE, Dev},
    observed::until_metric,
    origin::Origin,
    process::dies_with_the_test,
    with_site,
    workers::{Project, get},
};

/// A `wrangler tail` that runs, and the events that it prints.
struct Tail {
    wrangler: Child,
    events: mpsc::Receiver<Value>,
}

impl Tail {
    /// Until somebody looks.
    fn start(project: &Project, dev: &Dev, args: &[&str]) -> Self {
        let all = [&["tail", "app", "--format", "json"], args].concat();
        let mut command = project.command(dev, &all);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut wrangler = dies_with_the_test(command).spawn().unwrap();
        let printed = BufReader::new(wrangler.stdout.take().unwrap());
        let (events, seen) = mpsc::channel();
        std::thread::spawn(move || {
            // One after the other, over many lines each.
            for event in Deserializer::from_reader(printed).into_iter().map_while(Result::ok) {
                if events.send(event).is_err() {
                    return;
                }
            }
        });
        until_metric(dev, "proxima_control_tails", |tails| tails >= 1.0);
        Self { wrangler, events: seen }
    }

    fn next(&self) -> Value {
        self.events.recv_timeout(DEADLINE).expect("an event in time")
    }

    /// As somebody ends it who has seen enough.
    fn interrupt(mut self) -> bool {
        kill(Pid::from_raw(self.wrangler.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        self.wrangler.wait().unwrap();
        self.events.recv().is_err()
    }
}

fn messages(event: &Value) -> Vec<&Value> {
    event["logs"].as_array().unwrap().iter().map(|log| &log["message"]).collect()
}

#[test]
fn wrangler_shows_what_a_worker_logs_throws_and_answers() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let project = Project::new();
    project.write(
        "export default { async fetch(request) {
           const { pathname } = new URL(request.url);
           console.log('asked for', pathname, { a: [1] });
           if (pathname === '/app/throw') throw new TypeError('boom');
           return new Response('here');
         } }",
    );
    project.wrangler(&dev, &["deploy"]);
    assert_eq!(get(&dev, "/app/before"), "here");
    let tail = Tail::start(&project, &dev, &[]);
    dev.curl(&["-sS", "-H", "authorization: Bearer secret", &dev.http_url(HOST, "/app/x")]);
    let event = tail.next();
    assert_eq!((&event["outcome"], &event["scriptName"]), (&json!("ok"), &json!("app")));
    assert_eq!(messages(&event), [&json!(["asked for", "/app/x", { "a": [1] }])]);
    assert_eq!(event["event"]["response"]["status"], 200);
    assert_eq!(event["event"]["request"]["headers"]["authorization"], "REDACTED");
    assert_eq!(event["event"]["request"]["headers"]["cf-connecting-ip"], "127.0.0.1");
    get(&dev, "/app/throw");
    let event = tail.next();
    assert_eq!(
        (&event["outcome"], &event["exceptions"][0]["message"]),
        (&json!("exception"), &json!("boom"))
    );
    assert!(tail.interrupt(), "nothing more was seen");
    until_metric(&dev, "proxima_control_tails", |tails| tails == 0.0);
    until_metric(&dev, "proxima_workers_tails", |tails| tails == 0.0);
    assert_eq!(get(&dev, "/app/after"), "here");
}

#[test]
fn wrangler_shows_what_passes_its_filters() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let project = Project::new();
    project.write(
        "export default { fetch(request) {
           console.log(new URL(request.url).search);
           if (request.url.endsWith('throw')) throw new Error('boom');
           return new Response('here');
         } }",
    );
    project.wrangler(&dev, &["deploy"]);
    let filters = [
        "--status",
        "ok",
        "--method",
        "PUT",
        "--header",
        "x-colour:red",
        "--ip",
        "self",
        "--search",
        "needle",
    ];
    let tail = Tail::start(&project, &dev, &filters);
    let ask = |method: &str, colour: &str, rest: &str| {
        let colour = format!("x-colour: {colour}");
        dev.curl(&["-sS", "-X", method, "-H", &colour, &dev.http_url(HOST, &format!("/app/{rest}"))])
    };
    ask("GET", "red", "?needle");
    ask("PUT", "blue", "?needle");
    ask("PUT", "red", "?hay");
    ask("PUT", "red", "?needle&throw");
    ask("PUT", "dark red", "?needle&last");
    assert_eq!(messages(&tail.next()), [&json!(["?needle&last"])]);
    assert!(tail.interrupt(), "nothing more was seen");
    let (succeeded, told) = project.try_wrangler(&dev, &["tail", "nobody", "--format", "json"]);
    assert!(!succeeded && told.contains("10007"), "{told}");
}
