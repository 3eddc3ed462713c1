//! Queues whose deliverer dies, and cron triggers whose runner does: it is the same server.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use proxima_lab::Fault;
use serde_json::json;

use super::{LOG, SERVERS};
use crate::{
    api::Api,
    two_pops::{HOST, TwoPops},
    visitors::{Asked, Visit, Visitors},
};

/// Tells the origin, whose log keeps it: nobody's cache answers for it.
const TELL: &str = "
const tell = async (what) => {
  const answer = await fetch(`http://www.example.com/tagged/${what}-${crypto.randomUUID()}`);
  if (answer.status !== 200) throw new Error(`the origin answers ${answer.status}`);
};";
/// Sends ten messages for each request, and tells of those that it is given: more slowly than visitors send, so that some always wait.
const JOBS: &str = "
export default {
  async fetch(request, { JOBS }) {
    const first = Number(new URL(request.url).pathname.split('/').pop()) * 10;
    await JOBS.sendBatch(Array.from({ length: 10 }, (_, n) => ({ body: { number: first + n } })));
    return new Response('sent');
  },
  async queue({ messages }) {
    await scheduler.wait(150);
    await Promise.all(messages.map(({ body }) => tell(`job-${body.number}`)));
  },
};";
const TICKS: &str = "
export default { scheduled: ({ scheduledTime }) => tell(`tick-${scheduledTime / 60000}`) };";
/// Messages of one request.
const MESSAGES: usize = 10;
/// Queues that are made until one is at home where it should be: each is with a chance of a third.
const QUEUES: usize = 48;
/// Messages that are delivered, and that wait, when who delivers them is killed; and that are sent after it. Of those that wait some are
/// left, though it takes seconds until it is dead: more than a hundred are delivered in each.
const DELIVERED: usize = 50;
const WAITING: usize = 400;
const AFTER: usize = 200;
/// The next minute comes within one, and what comes with it has time to run.
const MINUTE: Duration = Duration::from_secs(120);

/// What the origin was told, by its number; how often.
fn told(lab: &TwoPops, what: &str) -> BTreeMap<u64, usize> {
    let (begins, mut told) = (format!("/tagged/{what}-"), BTreeMap::new());
    for path in lab.fetched() {
        let number = path.strip_prefix(&begins).and_then(|rest| rest.split('-').next()?.parse().ok());
        if let Some(number) = number {
            *told.entry(number).or_default() += 1;
        }
    }
    told
}

/// A Worker that is run by the minute.
pub(super) struct Ticks<'a>(&'a TwoPops);

impl<'a> Ticks<'a> {
    pub(super) fn deployed(lab: &'a TwoPops, api: &Api<'_>, account: &str) -> Self {
        let script = api.upload(account, "ticks", &format!("{TELL}{TICKS}"), &json!({}));
        let schedules = json!([{ "cron": "* * * * *" }]).to_string();
        api.result("PUT", &format!("{script}/schedules"), &schedules);
        Self(lab)
    }

    fn told(&self) -> BTreeMap<u64, usize> {
        told(self.0, "tick")
    }

    pub(super) fn until_first(&self) {
        self.0.until_within(MINUTE, "a cron trigger comes", |_| !self.told().is_empty());
    }

    /// How many a server says have ended so, since it was started.
    fn ended(&self, server: &str, result: &str) -> f64 {
        let series = format!("proxima_control_crons_total{{result=\"{result}\"}}");
        self.0.metric(server, &series).unwrap_or_default()
    }

    /// The server that runs them has died, after those of so many minutes, and is back.
    pub(super) fn once_for_the_whole_network(&self, before: usize) {
        // It is told of while it runs: who else ran it in that minute has had the time to tell of it, too, when it has ended.
        self.0.until_within(MINUTE, "a cron trigger comes and has run where the last one had", |_| {
            self.told().len() > before && self.ended(LOG, "ran") >= 1.0
        });
        for server in SERVERS.into_iter().filter(|server| *server != LOG) {
            assert_ne!(self.0.admin_pid(server), 0, "{server} does not say what it has run");
            let ended = ["ran", "failed", "passed_over"].map(|result| self.ended(server, result));
            assert!(ended.iter().all(|count| *count < 1.0), "{server} ran some, too: {ended:?}");
        }
        // Of the minutes before, whatever came late has come, too.
        let told = self.told();
        println!("cron triggers came {told:?}");
        assert!(told.values().all(|times| *times == 1), "once a minute: {told:?}");
    }
}

/// A queue whose home is this server: its name, and its path in the API.
fn queue_at(lab: &TwoPops, api: &Api<'_>, account: &str, server: &str) -> (String, String) {
    let sent = || lab.metric(server, "proxima_queues_sent_total").unwrap();
    for number in 0..QUEUES {
        let name = format!("jobs-{number}");
        let made =
            api.result("POST", &format!("{account}/queues"), &json!({ "queue_name": name }).to_string());
        let path = format!("{account}/queues/{}", made["queue_id"].as_str().unwrap());
        let before = sent();
        let message = json!({ "body": { "number": "first" } });
        api.result("POST", &format!("{path}/messages"), &message.to_string());
        if sent() > before {
            return (name, path);
        }
    }
    panic!("none of {QUEUES} queues is at home at {server}");
}

/// The log's server delivers them, and dies. It comes back when all are delivered without it. Of how many minutes cron triggers had come
/// when it died.
pub(super) fn messages_are_delivered_though_who_delivers_them_dies(
    lab: &TwoPops,
    api: &Api<'_>,
    account: &str,
) -> usize {
    let (name, queue) = queue_at(lab, api, account, LOG);
    let binding = json!({ "type": "queue", "name": "JOBS", "queue_name": name });
    api.upload(account, "jobs", &format!("{TELL}{JOBS}"), &json!({ "bindings": [binding] }));
    api.route("example.com", "/jobs/*", "jobs");
    // Who dies may have begun with a message: that counts as a delivery.
    let settings =
        json!({ "batch_size": 10, "max_wait_time_ms": 0, "max_concurrency": 2, "max_retries": 100 });
    let consumer = json!({ "type": "worker", "script_name": "jobs", "settings": settings });
    api.result("POST", &format!("{queue}/consumers"), &consumer.to_string());

    let send = |number| Asked { method: "POST", host: HOST, path: format!("/jobs/{number}") };
    let mut visitors = Visitors::start(lab, &[("near-a", 1), ("near-b", 2)], send);
    let acknowledged =
        |visits: &[Visit]| visits.iter().filter(|visit| visit.said() == Some("sent")).count() * MESSAGES;
    let delivered = || told(lab, "job").len();
    visitors.until("messages are delivered, and others wait", |visits| {
        let delivered = delivered();
        delivered >= DELIVERED && acknowledged(visits) >= delivered + WAITING
    });
    lab.fault(&Fault::Kill { server: LOG.to_owned() });
    let (killed, minutes) = (Instant::now(), told(lab, "tick").len());
    // Also what was acknowledged while it was being killed: from its death on nothing is, until another server takes over.
    let before = acknowledged(visitors.so_far());
    let left = before.saturating_sub(delivered());
    assert!(left > 0, "all were delivered before their home died");
    visitors.until("messages are sent without it", |visits| acknowledged(visits) >= before + AFTER);
    let visits = visitors.end();

    let numbers: Vec<u64> = visits
        .iter()
        .filter(|visit| visit.said() == Some("sent"))
        .flat_map(|visit| {
            let request: u64 = visit.asked.path.rsplit('/').next().unwrap().parse().unwrap();
            (0..MESSAGES as u64).map(move |n| request * MESSAGES as u64 + n)
        })
        .collect();
    let all_are = |told: &BTreeMap<u64, usize>| numbers.iter().all(|number| told.contains_key(number));
    lab.until("all messages are delivered by the other server", |_| all_are(&told(lab, "job")));
    let told = told(lab, "job");
    let twice = told.values().filter(|times| **times > 1).count();
    println!(
        "{} messages were acknowledged, {left} of them waited when their home died; all were delivered {:?} later, {twice} \
         of them twice or more",
        numbers.len(),
        killed.elapsed()
    );
    lab.fault(&Fault::Restart { server: LOG.to_owned() });
    minutes
}
