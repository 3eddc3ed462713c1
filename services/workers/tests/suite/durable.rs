//! Durable Objects, as Workers have them.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use proxima_model::{
    AccountId, BindingValue, DurableClass, DurableNamespace, DurableNamespaceId, NodeName, Timestamp,
    WorkerName,
};
use proxima_pipeline::{DurableAbout, DurableError};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Code, OTHER, OWN, Running, processes, with_engine};

pub(crate) const NAMESPACE: DurableNamespaceId = DurableNamespaceId::from_bytes([6; 16]);
const WITHOUT_SQL: DurableNamespaceId = DurableNamespaceId::from_bytes([7; 16]);

/// A class whose objects count in SQL, and do what else the tests ask for.
const CLASSES: &str = "
import { DurableObject } from 'cloudflare:workers';
export class Counter extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.sql = ctx.storage.sql;
    ctx.blockConcurrencyWhile(async () => this.sql.exec('CREATE TABLE IF NOT EXISTS t (n INTEGER)'));
  }
  increment(by = 1) {
    this.sql.exec('INSERT INTO t VALUES (?)', by);
    return this.sum();
  }
  sum() { return this.sql.exec('SELECT coalesce(sum(n), 0) AS s FROM t').one().s; }
  get rows() { return this.sql.exec('SELECT count(*) AS c FROM t').one().c; }
  half() {
    this.ctx.storage.transactionSync(() => { this.increment(1000); throw new RangeError('half'); });
  }
  async keep(key, value) { await this.ctx.storage.put(key, value); return (await this.ctx.storage.list()).get(key); }
  echo(...values) { return values; }
  about() { return [String(this.ctx.id), this.ctx.id.name ?? null, VERSION]; }
  peer(name) { return this.env.COUNTER.getByName(name).increment(7); }
  async set(ms) { await this.ctx.storage.setAlarm(Date.now() + ms); return (await this.ctx.storage.getAlarm()) > 0; }
  async alarm({ retryCount }) {
    const failed = retryCount === 0 && (await this.ctx.storage.get('fails'));
    await this.ctx.storage.put('rang', ((await this.ctx.storage.get('rang')) ?? 0) + 1);
    if (failed) throw new Error('not yet');
    this.increment(100);
  }
  rang() { return this.ctx.storage.get('rang'); }
  less(rows) { this.sql.exec('DELETE FROM t WHERE rowid <= ?', rows); return this.rows; }
  big(octets) { return this.sql.exec('INSERT INTO t VALUES (zeroblob(?))', octets), true; }
  order(n) { (this.came ??= []).push(n); return this.came; }
  recurse() { return this.env.COUNTER.get(this.ctx.id).recurse(); }
  async fetch(request) {
    const order = /^http:\\/\\/order\\/(\\d+)$/.exec(request.url);
    if (order) return Response.json(this.order(Number(order[1])));
    if (request.headers.has('upgrade')) {
      const [client, server] = Object.values(new WebSocketPair());
      this.ctx.acceptWebSocket(server);
      return new Response(null, { status: 101, webSocket: client });
    }
    const headers = { 'x-own': 'kept', 'proxima-durable': 'value' };
    return new Response(`${request.method} ${request.url} ${await request.text()} ${this.increment()}`, { status: 201, headers });
  }
  webSocketMessage(socket, message) { socket.send(`${message} ${this.increment()}`); }
}
export class Plain extends DurableObject {
  async keep(value) { await this.ctx.storage.put('key', value); return this.ctx.storage.get('key'); }
  sql() { return this.ctx.storage.sql.databaseSize; }
}
const thrown = async (does) => { try { return await does(); } catch (error) { return `${error.name}: ${error.message}`; } };
";

/// Namespaces of the Worker `app`, whose objects are on these servers.
pub(crate) async fn namespaces(running: &Running, homes: &[&str]) {
    namespaces_of(running, OWN, homes).await;
}

/// Those of this account.
pub(crate) async fn namespaces_of(running: &Running, account: AccountId, homes: &[&str]) {
    let namespace = |id, class, has_sql| DurableNamespace {
        account,
        id,
        worker: WorkerName::parse("app").unwrap(),
        class: DurableClass::parse(class).unwrap(),
        has_sql,
        homes: homes.iter().map(|name| NodeName::parse(name).unwrap()).collect(),
        handed: std::collections::BTreeMap::new(),
        created_at: Timestamp::from_millis(0),
    };
    let put = |namespace: DurableNamespace| running.node.replica.put(&namespace);
    let made = vec![put(namespace(NAMESPACE, "Counter", true)), put(namespace(WITHOUT_SQL, "Plain", false))];
    running.change(made).await;
}

/// The Worker `app`, which has the classes and answers what this comes to.
pub(crate) fn code(version: &str, expression: &str) -> Code {
    let mut code = Code::module(&format!(
        "{}export default {{ async fetch(request, env) {{
           const {{ COUNTER, PLAIN }} = env;
           const a = COUNTER.getByName('a');
           if (request.headers.has('upgrade')) return a.fetch(request);
           const answer = {expression};
           return answer instanceof Response ? answer : Response.json(answer ?? null);
         }} }};",
        CLASSES.replace("VERSION", version)
    ));
    code.bindings = vec![
        ("COUNTER", BindingValue::DurableObjects(NAMESPACE)),
        ("PLAIN", BindingValue::DurableObjects(WITHOUT_SQL)),
    ];
    code
}

/// What it answers then.
async fn answer(running: &Running, expression: &str) -> Value {
    running.upload(OWN, "app", code("1", expression)).await;
    asked(running).await
}

pub(crate) async fn asked(running: &Running) -> Value {
    let answer = running.get(OWN, "app", "/").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.text).unwrap()
}

#[test]
fn objects_keep_what_they_are_told_each_for_itself_and_their_methods_pass_values() {
    with_engine("", async |running| {
        namespaces(&running, &["test"]).await;
        let counted = "[await a.increment(), await a.increment(2), await COUNTER.getByName('b').increment(), await a.rows,
             await a.peer('b'), await a.keep('k', { x: [1] }), await PLAIN.getByName('p').keep(new Date(5))]";
        let expected = json!([1, 3, 1, 2, 8, { "x": [1] }, "1970-01-01T00:00:00.005Z"]);
        assert_eq!(answer(&running, counted).await, expected);
        let failing = "[await thrown(() => a.half()), await a.sum(), await thrown(() => a.none()),
             await thrown(() => a.echo(() => 1)), await thrown(() => PLAIN.getByName('p').sql())]";
        let failed = answer(&running, failing).await;
        assert_eq!(failed[0], "RangeError: half");
        assert_eq!(failed[1], 3, "of a transaction that throws nothing is left");
        assert!(failed[2].as_str().unwrap().contains("does not implement the method \"none\""), "{failed}");
        assert!(failed[3].as_str().unwrap().starts_with("DataCloneError: "), "{failed}");
        assert!(failed[4].as_str().unwrap().contains("SQL is not enabled"), "{failed}");
        let values = "await (async () => {
            const cyclic = { name: 'c', ['__proto__']: 1 };
            cyclic.self = cyclic;
            const given = [undefined, NaN, -0, 12n, new Map([[{}, new Set([1])]]), /x/gi, new Uint8Array([1, 255]), cyclic];
            const [u, n, z, i, m, r, b, c] = await a.echo(...given);
            return [u === undefined, Number.isNaN(n), Object.is(z, -0), i === 12n, [...m.values()][0].has(1), String(r),
                    b instanceof Uint8Array && b[1], c.self === c && c.name];
        })()";
        let passed = json!([true, true, true, true, true, "/x/gi", 255, "c"]);
        assert_eq!(answer(&running, values).await, passed);
    });
}

#[test]
fn ids_come_of_names_or_are_unique_and_belong_to_their_namespace() {
    with_engine("", async |running| {
        namespaces(&running, &["test"]).await;
        let ids = "await (async () => {
            const named = COUNTER.idFromName('a'), unique = COUNTER.newUniqueId();
            const [id, name] = await COUNTER.get(named).about();
            const [same] = await COUNTER.get(COUNTER.idFromString(unique.toString())).about();
            return [id === String(named), name, named.equals(COUNTER.idFromName('a')), named.equals(unique),
                    same === String(unique), unique.name === undefined, String(named).length,
                    await thrown(() => COUNTER.get(PLAIN.idFromName('a'))), await thrown(() => COUNTER.idFromString('x'))];
        })()";
        let expected = json!([
            true,
            "a",
            true,
            false,
            true,
            true,
            64,
            "TypeError: Durable Object ID is not valid for this namespace.",
            "TypeError: Invalid Durable Object ID: must be 64 hex digits"
        ]);
        assert_eq!(answer(&running, ids).await, expected);
    });
}

#[test]
fn an_object_answers_requests_and_says_nothing_in_the_nodes_name() {
    with_engine("", async |running| {
        namespaces(&running, &["test"]).await;
        let asks = "await a.fetch('https://object.example/p?q', { method: 'PUT', body: 'body' })";
        running.upload(OWN, "app", code("1", asks)).await;
        let answer = running.get(OWN, "app", "/").await;
        assert!(answer.is(201, "PUT https://object.example/p?q body 1"), "{answer:?}");
        assert!(answer.headers["x-own"] == "kept" && !answer.headers.contains_key("proxima-durable"));
    });
}

#[test]
fn objects_run_the_version_that_is_deployed_and_keep_what_they_have() {
    with_engine("", async |running| {
        namespaces(&running, &["test"]).await;
        let asks = "[await a.increment(), (await a.about())[2]]";
        for version in 1..=3 {
            running.upload(OWN, "app", code(&version.to_string(), asks)).await;
            assert_eq!(asked(&running).await, json!([version, version]));
        }
    });
}

#[test]
fn what_was_acknowledged_is_there_when_the_process_was_killed_in_the_middle_of_writes() {
    with_engine("", async |running| {
        namespaces(&running, &["test"]).await;
        let asks =
            "await thrown(async () => { const x = await a.increment(); await a.keep('x', x); return x; })";
        assert_eq!(answer(&running, asks).await, 1);
        let mut acknowledged = 1;
        for _ in 0..3 {
            acknowledged = asked(&running).await.as_i64().expect("it is there again");
            let host = host().expect("the objects have a process");
            let mut last = acknowledged;
            let (under_way, seen) = tokio::sync::oneshot::channel();
            let is_killed = std::cell::Cell::new(false);
            let writes = async {
                let mut under_way = Some(under_way);
                // Until it is cut off, or between two writes.
                while let Some(sum) = asked(&running).await.as_i64() {
                    assert!(sum > last, "{sum} after {last}");
                    if sum > acknowledged + 5
                        && let Some(under_way) = under_way.take()
                    {
                        under_way.send(()).ok();
                    }
                    last = sum;
                    if is_killed.get() {
                        return;
                    }
                }
            };
            let killed = async {
                seen.await.unwrap();
                kill(host, Signal::SIGKILL).unwrap();
                is_killed.set(true);
            };
            tokio::join!(writes, killed);
            acknowledged = last;
        }
        let (sum, rows) = (answer(&running, "[await a.sum(), await a.rows]").await, acknowledged);
        assert!(sum[0].as_i64().unwrap() >= rows && sum[0] == sum[1], "{sum} of {rows}");
    });
}

/// The process that hosts objects.
pub(crate) fn host() -> Option<nix::unistd::Pid> {
    processes().into_iter().find(|process| {
        let line = std::fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
        line.contains("objects-")
    })
}

#[test]
fn alarms_ring_are_tried_again_and_outlive_the_process() {
    with_engine("", async |running| {
        namespaces(&running, &["test"]).await;
        assert_eq!(
            answer(&running, "[await a.keep('fails', true), await a.set(200)]").await,
            json!([true, true])
        );
        kill(host().expect("the objects have a process"), Signal::SIGKILL).unwrap();
        running.upload(OWN, "app", code("1", "[await a.rang(), await a.sum()]")).await;
        let mut due = tokio::time::interval(Duration::from_millis(100));
        // Once it fails, once it does what it should; in between two seconds pass.
        while asked(&running).await != json!([2, 100]) {
            due.tick().await;
        }
    });
}

#[test]
fn websockets_reach_objects_and_are_served_by_their_handlers() {
    with_engine("", async |running| {
        namespaces(&running, &["test"]).await;
        running.upload(OWN, "app", code("1", "null")).await;
        let response = running.run(&mut running.switching(OWN, "app")).await;
        assert_eq!(response.status, 101);
        let mut socket = response.upgraded.unwrap();
        for count in [b'1', b'2'] {
            // A frame of text, masked with zeros.
            socket.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).await.unwrap();
            let mut frame = [0; 6];
            socket.read_exact(&mut frame).await.unwrap();
            assert_eq!(frame, [0x81, 4, b'h', b'i', b' ', count]);
        }
    });
}

#[test]
fn an_object_whose_home_is_away_is_told_to_be_and_is_nowhere_else() {
    with_engine("", async |running| {
        namespaces(&running, &["elsewhere"]).await;
        let asks = "await a.increment().catch((error) => [error.message, error.retryable])";
        let told = answer(&running, asks).await;
        assert!(told[0].as_str().unwrap().contains("its home, elsewhere, is not within reach"), "{told}");
        assert_eq!(told[1], true);
        assert_eq!(host(), None, "nothing was started for it here");
        let namespace = running.node.replica.snapshot().unwrap().get::<DurableNamespace>(&(OWN, NAMESPACE));
        let listed = running.service.durable_objects().list(&namespace.unwrap().unwrap(), None, 10).await;
        assert_eq!(listed, Err(DurableError::Away(NodeName::parse("elsewhere").unwrap())));
    });
}

#[test]
fn objects_are_listed_by_their_ids_and_those_of_deleted_classes_are_not_asked() {
    with_engine("", async |running| {
        namespaces(&running, &["test"]).await;
        let asks = "await Promise.all([...'abcde'].map(async (name) => {
            await COUNTER.getByName(name).increment();
            return String(COUNTER.idFromName(name));
        }))";
        let mut ids: Vec<String> = serde_json::from_value(answer(&running, asks).await).unwrap();
        ids.sort_unstable();
        let namespace: DurableNamespace =
            running.node.replica.snapshot().unwrap().get(&(OWN, NAMESPACE)).unwrap().unwrap();
        let port = running.service.durable_objects();
        let shown = |found: Vec<DurableAbout>| -> Vec<String> {
            assert!(found.iter().all(|about| about.has_stored_data));
            found.iter().map(|about| about.id.to_string()).collect()
        };
        assert_eq!(shown(port.list(&namespace, None, 3).await.unwrap()), ids[..3]);
        let after = ids[2].parse().unwrap();
        assert_eq!(shown(port.list(&namespace, Some(after), 3).await.unwrap()), ids[3..]);
        running.change(vec![proxima_ledger::Change::delete::<DurableNamespace>(&(OWN, NAMESPACE))]).await;
        let told = answer(&running, "await thrown(() => a.increment())").await;
        assert!(told.as_str().unwrap().ends_with("its class was deleted"), "{told}");
    });
}

#[test]
fn an_object_grows_no_further_than_it_may_and_goes_on_with_what_it_has() {
    with_engine("durable_object_bytes_max = 8388608", async |running| {
        namespaces(&running, &["test"]).await;
        let asks = "await (async () => {
            await a.increment();
            const grow = async () => {
              for (let grown = 0; grown < 40; grown++) {
                const told = await thrown(() => a.big(500_000));
                if (told !== true) return [grown, told];
              }
            };
            const full = [await grow(), await COUNTER.getByName('b').increment(), await a.rows,
                await thrown(() => a.keep('k', 'x'.repeat(20_000)))];
            return [...full, await a.less(8), await a.keep('k', 2), await grow(), await a.less(100), await grow()];
        })()";
        let told = answer(&running, asks).await;
        let full = json!("Error: database or disk is full: SQLITE_FULL");
        // Each row is of half a million octets.
        assert_eq!(told, json!([[17, full], 1, 18, full, 10, 2, [7, full], 0, [17, full]]));
    });
}

#[test]
fn objects_that_ask_each_other_without_end_end_and_others_are_answered() {
    // On a slow machine, the processor's limit would end them before how many may be asked at a time does.
    with_engine("cpu_ms_max = 30000", async |running| {
        namespaces(&running, &["test"]).await;
        let told =
            answer(&running, "[await thrown(() => a.recurse()), await COUNTER.getByName('b').increment()]")
                .await;
        assert!(told[0].as_str().unwrap().contains("asked too much at a time"), "{told}");
        assert_eq!(told[1], 1);
    });
}

#[test]
fn methods_and_requests_of_a_stub_begin_in_the_order_in_which_they_were_asked() {
    with_engine("", async |running| {
        namespaces(&running, &["test"]).await;
        let asks = "await (async () => {
            const refused = thrown(() => a['x'.repeat(2_000)]());
            const calls = [...Array(60).keys()].map((n) => n % 3 ? a.order(n) :
                a.fetch(`http://order/${n}`).then((answer) => answer.json()));
            await Promise.all(calls);
            return [await refused, await a.order(60)];
        })()";
        let told = answer(&running, asks).await;
        assert!(told[0].as_str().unwrap().contains("cannot be read"), "{told}");
        let came: Vec<u64> = serde_json::from_value(told[1].clone()).unwrap();
        let by_kind = |numbers: Vec<u64>| -> (Vec<u64>, Vec<u64>) {
            numbers.into_iter().partition(|number| number % 3 == 0 && *number < 60)
        };
        assert_eq!(by_kind(came), by_kind((0..=60).collect()), "without what was refused");
    });
}

/// Whether the process has a file open in which an object keeps something.
fn has_objects(process: nix::unistd::Pid) -> bool {
    let open = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let names = open.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    names
        .map(|name| name.display().to_string())
        .any(|name| name.ends_with(".sqlite") && !name.ends_with("/metadata.sqlite"))
}

#[test]
fn an_object_that_was_quiet_until_it_was_let_go_runs_what_was_deployed_meanwhile() {
    with_engine("", async |running| {
        namespaces(&running, &["test"]).await;
        let asks = "[await a.increment(), (await a.about())[2]]";
        running.upload(OWN, "app", code("1", asks)).await;
        assert_eq!(asked(&running).await, json!([1, 1]));
        // The engine lets go of who was asked nothing for ten seconds.
        let process = host().unwrap();
        assert!(has_objects(process));
        let mut due = tokio::time::interval(Duration::from_millis(50));
        while has_objects(process) {
            due.tick().await;
        }
        running.upload(OWN, "app", code("2", asks)).await;
        assert_eq!(asked(&running).await, json!([2, 2]));
        assert_eq!(asked(&running).await, json!([3, 2]));
    });
}

#[test]
fn no_account_reaches_the_objects_of_another() {
    with_engine("", async |running| {
        namespaces(&running, &["test"]).await;
        assert_eq!(answer(&running, "await a.increment()").await, 1);
        let other: AccountId = OTHER;
        running.upload(other, "app", code("1", "await thrown(() => a.increment())")).await;
        let answer = running.get(other, "app", "/").await;
        assert!(answer.text.contains("its class was deleted"), "{answer:?}");
    });
}
