//! Durable Objects of a network of two real servers: handed over by the command line, from one that is taken out of service.

use std::{
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, call, deploy, token, until, with_workers},
    dev::DEADLINE,
    process::output,
};

/// Counters, which may be made large.
const CODE: &str = "
import { DurableObject } from 'cloudflare:workers';
export class Counter extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.sql = ctx.storage.sql;
    this.sql.exec('CREATE TABLE IF NOT EXISTS counts (n INTEGER); CREATE TABLE IF NOT EXISTS filler (octets BLOB)');
  }
  increment() { this.sql.exec('INSERT INTO counts VALUES (1)'); return this.count(); }
  count() { return this.sql.exec('SELECT count(*) AS c FROM counts').one().c; }
  fill() { for (let n = 0; n < 8; n++) this.sql.exec('INSERT INTO filler VALUES (randomblob(1000000))'); return 'filled'; }
}
export default { async fetch(request, { COUNTER }) {
  const [, name, method] = new URL(request.url).pathname.split('/');
  return Response.json(await COUNTER.getByName(name)[method]());
} };";

const OBJECTS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn ask(at: SocketAddr, object: &str, method: &str) -> (bool, String) {
    let url = format!("http://{at}/{object}/{method}");
    output(Command::new("curl").args(["-sS", "--max-time", "60", "-H", "Host: www.example.com", &url]))
}

/// The servers that have slots, as far as the API can be asked.
fn homes(cluster: &Cluster, token: &str) -> Vec<Value> {
    let listed = call(cluster.log_api, token, "/proxima/durable_objects/homes", &[]);
    listed.as_array().unwrap().iter().map(|slot| slot["server"].clone()).collect()
}

/// Waits until something of an object comes to the server of this folder.
fn until_something_comes(folder: &Path) {
    let begun = Instant::now();
    let has_come = || {
        let accounts = std::fs::read_dir(folder.join("data/workers/objects")).unwrap();
        accounts.flatten().any(|account| {
            let incoming = std::fs::read_dir(account.path().join("incoming"));
            let comes = |each: std::fs::DirEntry| {
                std::fs::read_dir(each.path().join("files")).is_ok_and(|mut files| files.next().is_some())
            };
            incoming.is_ok_and(|incoming| incoming.flatten().any(comes))
        })
    };
    while !has_come() {
        assert!(begun.elapsed() < DEADLINE, "nothing comes");
        std::thread::yield_now();
    }
}

#[test]
fn objects_are_handed_over_by_the_command_line_though_both_servers_are_killed_meanwhile() {
    let (cluster, [http, _]) = with_workers();
    let mut log = Some(cluster.start("log"));
    let token = token(&cluster);
    let mut node = Some(cluster.start("node"));
    let class = json!({
        "bindings": [{ "type": "durable_object_namespace", "name": "COUNTER", "class_name": "Counter" }],
        "migrations": { "new_tag": "v1", "new_sqlite_classes": ["Counter"] },
    });
    deploy(&cluster, &token, CODE, class);
    for object in OBJECTS {
        until("filled", || ask(http, object, "fill"));
        assert_eq!(ask(http, object, "increment").1, "1");
    }
    let mut had = homes(&cluster, &token);
    had.sort_unstable_by_key(Value::to_string);
    assert_eq!(had, ["log", "node"]);

    let ends = AtomicBool::new(false);
    let counted = std::thread::scope(|scope| {
        let counting = scope.spawn(|| {
            // What each acknowledged last, and how often it was asked.
            let mut counts = OBJECTS.map(|object| (object, 1_u64, 1_u64));
            while !ends.load(Ordering::SeqCst) {
                for (object, last, asked) in &mut counts {
                    *asked += 1;
                    if let Ok(count) = ask(http, object, "increment").1.parse::<u64>() {
                        assert!(count > *last && count <= *asked, "{object}: {count} after {last}");
                        *last = count;
                    }
                }
            }
            counts
        });
        let (begun, text) =
            cluster.client(&token, &["objects", "hand-over", "--from", "node", "--to", "log"]);
        assert!(begun && text.contains("1 slots of 1 accounts"), "{text}");
        until_something_comes(&cluster.at("log"));
        drop(node.take());
        node = Some(cluster.start("node"));
        until_something_comes(&cluster.at("log"));
        drop(log.take());
        log = Some(cluster.start("log"));
        until("\nhanded over", || {
            let (_, text) = cluster.client(&token, &["objects", "homes"]);
            let has_it = |line: &&str| line.split_whitespace().nth(4) == Some("log");
            let slots: Vec<&str> = text.lines().filter(|line| line.contains("Counter")).collect();
            let are_there = slots.len() == 2 && slots.iter().all(has_it);
            (true, if are_there { format!("{text}\nhanded over") } else { text })
        });
        // All answer, before nobody asks any more.
        for object in OBJECTS {
            until("filled", || ask(http, object, "fill"));
        }
        ends.store(true, Ordering::SeqCst);
        counting.join().unwrap()
    });
    drop(node);
    for (object, last, asked) in counted {
        let count: u64 = ask(http, object, "count").1.parse().unwrap();
        assert!((last..=asked).contains(&count), "{object}: {count}, and {last} were acknowledged");
        assert_eq!(ask(http, object, "increment").1, (count + 1).to_string());
    }
    drop(log);
}
