//! Workers of two accounts on three servers, of which each dies once, or its engine does: what objects count, what queues deliver,
//! and what comes by the minute.
//!
//! One internet for all of it: to bring it up, and to wait for two minutes to begin, takes longer than what happens there.

mod accounts;
mod engines;
mod jobs;
mod objects;

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::{
    api::Api,
    two_pops::{HOST, TwoPops},
    visitors::Asked,
};

/// Who keeps the log, and so runs cron triggers; whose engine dies; and who is taken out of service.
const LOG: &str = "aaa-1";
const DIES: &str = "bbb-1";
const LEAVES: &str = "ccc-1";
const SERVERS: [&str; 3] = [LOG, DIES, LEAVES];
const CLIENTS: [&str; 3] = ["near-a", "near-b", "near-c"];
/// The site of the other account.
const OTHER_HOST: &str = "www.example.net";
const HOSTS: [&str; 2] = [HOST, OTHER_HOST];

/// Greets, and counts clicks by name. What cannot be counted is answered with why.
const APP: &str = "
import { DurableObject } from 'cloudflare:workers';
export class Counter extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.sql = ctx.storage.sql;
    this.sql.exec('CREATE TABLE IF NOT EXISTS clicks (n INTEGER)');
  }
  click() { this.sql.exec('INSERT INTO clicks VALUES (1)'); return this.count(); }
  count() { return this.sql.exec('SELECT count(*) AS c FROM clicks').one().c; }
}
export default { async fetch(request, { COUNTER }) {
  const { hostname, pathname } = new URL(request.url);
  const [, , what, name] = pathname.split('/');
  if (what === 'hello') {
    // For long enough to be lost with its process.
    await scheduler.wait(10);
    return new Response(`hello from ${hostname}`);
  }
  const counter = COUNTER.getByName(name);
  try {
    return new Response(`${await (request.method === 'POST' ? counter.click() : counter.count())}`);
  } catch ({ message, retryable }) {
    return new Response(`${message}; retryable: ${retryable}`, { status: 503 });
  }
} };";

/// A request for a path of `app`.
fn asked(method: &'static str, host: &'static str, what: &str) -> Asked {
    Asked { method, host, path: format!("/app/{what}") }
}

/// What a server answers when it asks itself.
fn ask(lab: &TwoPops, server: &str, Asked { method, host, path }: &Asked) -> String {
    let (resolve, url) = (format!("{host}:80:198.18.0.1"), format!("http://{host}{path}"));
    lab.run(server, "curl", &["-sS", "--max-time", "30", "-X", method, "--resolve", &resolve, &url])
}

/// Has the Worker `app` on a site of each account, on every server. Their paths in the API.
fn deploy(lab: &TwoPops, api: &Api<'_>) -> [String; 2] {
    let accounts = [api.account(), accounts::another(lab, api)];
    let origin = lab.lab().plan().host("origin").unwrap().address4.to_string();
    let zone = json!({ "name": "example.net", "account": { "id": accounts[1].rsplit('/').next() } });
    let zone = api.result("POST", "/zones", &zone.to_string());
    let records = format!("/zones/{}/dns_records", zone["id"].as_str().unwrap());
    let record = json!({ "type": "A", "name": OTHER_HOST, "content": origin, "proxied": true, "ttl": 1 });
    api.result("POST", &records, &record.to_string());
    for (account, zone) in accounts.iter().zip(["example.com", "example.net"]) {
        let counter =
            json!({ "type": "durable_object_namespace", "name": "COUNTER", "class_name": "Counter" });
        let migrations = json!({ "new_tag": "v1", "new_sqlite_classes": ["Counter"] });
        api.upload(account, "app", APP, &json!({ "bindings": [counter], "migrations": migrations }));
        api.route(zone, "/app/*", "app");
    }
    for (server, host) in SERVERS.iter().flat_map(|server| HOSTS.map(|host| (server, host))) {
        let hello = asked("GET", host, "hello");
        lab.until(&format!("{host} is served by {server}"), |_| {
            ask(lab, server, &hello).starts_with("hello")
        });
    }
    accounts
}

/// The file that a server's process with the objects of an account holds, as long as it lives.
fn objects_lock(lab: &TwoPops, server: &str, account: &str) -> PathBuf {
    let account = account.rsplit('/').next().unwrap();
    lab.data_dir(server).join("workers/objects").join(account).join("lock")
}

/// What `proxima objects homes` lists.
fn homes(api: &Api<'_>) -> Vec<Value> {
    api.result("GET", "/proxima/durable_objects/homes", "").as_array().unwrap().clone()
}

#[test]
fn lab_objects_queues_crons_and_workers_outlive_their_servers_and_engines() {
    let topology = include_str!("../three_pops.toml");
    let lab = TwoPops::up_with_workers("workers", ("three_pops.toml", topology));
    let api = Api::of(&lab, "near-a", LOG);
    // First: all else happens while its first minute is waited for.
    let ticks = jobs::Ticks::deployed(&lab, &api, &api.account());
    let accounts = deploy(&lab, &api);

    let there = objects::clicks_are_counted_once_while_servers_leave_and_die(&lab, &api);
    engines::an_engine_that_is_killed_again_and_again_loses_nothing(&lab, &accounts, &there);
    ticks.until_first();
    let minutes = jobs::messages_are_delivered_though_who_delivers_them_dies(&lab, &api, &accounts[0]);
    ticks.once_for_the_whole_network(minutes);
}
