// The npm SDK `cloudflare`, unmodified: zones and records, Workers with their versions and secrets, classes of Durable Objects, keys
// and values, buckets, queues.
//
// Needs PROXIMA_API (http://HOST:PORT) and PROXIMA_TOKEN of a server that runs Workers and has objects, and NODE_PATH with the SDK.
const assert = require("node:assert/strict");
const { randomUUID } = require("node:crypto");
const { after, before, test } = require("node:test");
const { Cloudflare, toFile } = require("cloudflare");

const COMPATIBILITY_DATE = "2026-11-01";
const MODULE = "application/javascript+module";

const client = new Cloudflare({
  apiToken: process.env.PROXIMA_TOKEN,
  baseURL: `${process.env.PROXIMA_API}/client/v4`,
  maxRetries: 0,
});
const fresh = () => `sdk-${randomUUID().slice(0, 13)}`;
const collect = async (pages) => {
  const found = [];
  for await (const one of pages) found.push(one);
  return found;
};
const refused = (status, code) => (error) => error.status === status && error.errors[0].code === code;

// This call of the SDK says that all it sends is a script, also of forms; `null` has it say what it sends.
const AS_FORM = { headers: { "Content-Type": null } };

let account_id;
const script = fresh();

before(async () => {
  const [account] = await collect(client.accounts.list());
  account_id = account.id;
});

after(async () => {
  await client.workers.scripts.delete(script, { account_id });
});

const upload = async (says, more = {}) => {
  const code = `export class Room {}; export default { fetch: () => new Response("${says}") }`;
  return {
    account_id,
    metadata: { main_module: "main.js", compatibility_date: COMPATIBILITY_DATE, ...more },
    files: [await toFile(Buffer.from(code), "main.js", { type: MODULE })],
  };
};

test("who asks, and where they are members", async () => {
  assert.equal((await client.user.tokens.verify()).status, "active");
  const members = await collect(client.memberships.list());
  assert.deepEqual(members.map(({ account, status }) => [account.id, status]), [[account_id, "accepted"]]);
});

test("a zone and its records", async () => {
  const zone = await client.zones.create({ account: { id: account_id }, name: `${fresh()}.example`, type: "full" });
  const record = { zone_id: zone.id, type: "A", name: "www", content: "192.0.2.1", ttl: 1 };
  const { id, name } = await client.dns.records.create(record);
  assert.equal(name, `www.${zone.name}`);
  assert.deepEqual((await collect(client.dns.records.list({ zone_id: zone.id }))).map((one) => one.id), [id]);
  await client.zones.delete({ zone_id: zone.id });
});

test("a Worker is uploaded, its versions are deployed, its secrets written", async () => {
  const { scripts } = client.workers;
  const bindings = [
    { type: "plain_text", name: "GREETING", text: "hello" },
    { type: "plain_text", name: "TRUE", text: "true" },
    { type: "json", name: "SETTINGS", json: "17" },
  ];
  await scripts.update(script, await upload("first", { bindings, compatibility_flags: ["nodejs_compat"] }), AS_FORM);
  assert.ok((await collect(scripts.list({ account_id }))).some(({ id }) => id === script));
  const settings = await scripts.scriptAndVersionSettings.get(script, { account_id });
  assert.equal(settings.compatibility_date, COMPATIBILITY_DATE);
  assert.deepEqual(settings.compatibility_flags, ["nodejs_compat"]);
  const texts = settings.bindings.filter(({ type }) => type === "plain_text").map(({ name, text }) => [name, text]);
  assert.deepEqual(texts.sort(), [["GREETING", "hello"], ["TRUE", "true"]]);

  const second = await scripts.versions.create(script, await upload("second", { annotations: { "workers/tag": "v2" } }));
  const versions = await collect(scripts.versions.list(script, { account_id }));
  assert.deepEqual(versions.map(({ number }) => number), [2, 1]);
  const shares = [[versions[1].id, 75], [second.id, 25]].map(([version_id, percentage]) => ({ version_id, percentage }));
  const made = await scripts.deployments.create(script, { account_id, strategy: "percentage", versions: shares });
  // Raw: the SDK looks for pages of `items` where `deployments` are documented.
  const history = await scripts.deployments.list(script, { account_id }).asResponse();
  assert.equal((await history.json()).result.deployments[0].id, made.id);

  // A secret is a version that answers at once: refused while one answers that is not the latest.
  const all = [{ version_id: second.id, percentage: 100 }];
  await scripts.deployments.create(script, { account_id, strategy: "percentage", versions: all });
  await scripts.secrets.update(script, { account_id, name: "KEY", text: "a secret", type: "secret_text" });
  assert.deepEqual((await collect(scripts.secrets.list(script, { account_id }))).map(({ name }) => name), ["KEY"]);
  await scripts.secrets.delete("KEY", { account_id, script_name: script });
  assert.deepEqual(await collect(scripts.secrets.list(script, { account_id })), []);
});

test("keys and values", async () => {
  const { namespaces } = client.kv;
  const { id: namespace_id } = await namespaces.create({ account_id, title: fresh() });
  const ids = { account_id };
  await namespaces.values.update("a/b", { ...ids, namespace_id, value: "größe", metadata: JSON.stringify({ m: [1] }) });
  const value = await namespaces.values.get("a/b", { ...ids, namespace_id });
  assert.equal(await value.text(), "größe");
  const body = Array.from({ length: 25 }, (_, n) => ({ key: `k${String(n).padStart(2, "0")}`, value: String(n) }));
  const bulk = await namespaces.keys.bulkUpdate(namespace_id, { ...ids, body });
  assert.equal(bulk.successful_key_count, 25);
  const listed = await collect(namespaces.keys.list(namespace_id, { ...ids, prefix: "k", limit: 10 }));
  assert.deepEqual(listed.map(({ name }) => name), body.map(({ key }) => key));
  assert.deepEqual((await namespaces.keys.bulkGet(namespace_id, { ...ids, keys: ["k01"] })).values, { k01: "1" });
  assert.equal((await namespaces.keys.bulkDelete(namespace_id, { ...ids, body: ["k01"] })).successful_key_count, 1);
  await namespaces.delete(namespace_id, ids);
  await assert.rejects(namespaces.get(namespace_id, ids), refused(404, 10013));
});

test("buckets", async () => {
  const { buckets } = client.r2;
  const name = fresh();
  assert.equal((await buckets.create({ account_id, name, locationHint: "weur" })).name, name);
  await assert.rejects(buckets.create({ account_id, name }), refused(409, 10004));
  assert.ok((await buckets.list({ account_id })).buckets.some((bucket) => bucket.name === name));
  await buckets.delete(name, { account_id });
  await assert.rejects(buckets.get(name, { account_id }), refused(404, 10006));
});

test("queues and their consumers", async () => {
  const { queues } = client;
  const ids = { account_id };
  const queue_name = fresh();
  const { queue_id, settings } = await queues.create({ ...ids, queue_name });
  assert.equal(settings.message_retention_period, 345600);
  await assert.rejects(queues.create({ ...ids, queue_name }), refused(400, 11009));
  assert.ok((await collect(queues.list(ids))).some((queue) => queue.queue_id === queue_id));
  const changed = await queues.edit(queue_id, { ...ids, settings: { delivery_delay: 5, delivery_paused: true } });
  assert.deepEqual([changed.settings.delivery_delay, changed.settings.delivery_paused], [5, true]);
  await queues.update(queue_id, { ...ids, settings: { message_retention_period: 60 } });
  assert.equal((await queues.get(queue_id, ids)).settings.delivery_paused, false);

  const { consumers } = queues;
  const worker = { ...ids, type: "worker", script_name: script, settings: { batch_size: 5 } };
  const { consumer_id } = await consumers.create(queue_id, worker);
  assert.deepEqual((await collect(consumers.list(queue_id, ids))).map(({ type }) => type), ["worker"]);
  const pull = { ...ids, queue_id, type: "http_pull", dead_letter_queue: queue_name };
  await assert.rejects(consumers.update(consumer_id, pull), refused(400, 100127));
  const dead_letter_queue = fresh();
  const pulls = await consumers.update(consumer_id, { ...pull, dead_letter_queue });
  assert.deepEqual([pulls.type, pulls.dead_letter_queue], ["http_pull", dead_letter_queue]);
  assert.equal((await consumers.get(consumer_id, { ...ids, queue_id })).consumer_id, consumer_id);
  await consumers.delete(consumer_id, { ...ids, queue_id });
  await queues.delete(queue_id, ids);
  await assert.rejects(queues.get(queue_id, ids), refused(404, 11000));
});

test("messages of a queue", async () => {
  const { queues } = client;
  const { messages } = queues;
  const ids = { account_id };
  const { queue_id } = await queues.create({ ...ids, queue_name: fresh() });
  await queues.consumers.create(queue_id, { ...ids, type: "http_pull" });
  await messages.push(queue_id, { ...ids, body: "text", content_type: "text" });
  const batch = [{ body: { a: [1] } }, { body: "later", content_type: "text", delay_seconds: 600 }];
  assert.equal((await messages.bulkPush(queue_id, { ...ids, messages: batch })).metadata.metrics.backlog_count, 3);
  const pulled = await messages.pull(queue_id, { ...ids, batch_size: 10, visibility_timeout_ms: 60000 });
  const of = (type) => pulled.messages.find(({ metadata }) => metadata["CF-Content-Type"] === type);
  assert.deepEqual([pulled.messages.length, of("text").body, of("text").attempts], [2, "text", 1]);
  assert.deepEqual(JSON.parse(Buffer.from(of("json").body, "base64")), { a: [1] });
  const [acks, retries] = ["text", "json"].map((type) => [{ lease_id: of(type).lease_id }]);
  const acked = await messages.ack(queue_id, { ...ids, acks, retries });
  assert.deepEqual([acked.ackCount, acked.retryCount, Object.keys(acked.warnings)], [1, 1, []]);
  assert.deepEqual((await messages.pull(queue_id, ids)).messages.map(({ attempts }) => attempts), [2]);
  await queues.purge.start(queue_id, { ...ids, delete_messages_permanently: true });
  assert.equal((await queues.getMetrics(queue_id, ids)).backlog_count, 0);
  await queues.delete(queue_id, ids);
});

test("classes of Durable Objects and their objects", async () => {
  const bindings = [{ type: "durable_object_namespace", name: "ROOMS", class_name: "Room" }];
  const migrations = { new_tag: "v1", new_sqlite_classes: ["Room"] };
  await client.workers.scripts.update(script, await upload("rooms", { bindings, migrations }), AS_FORM);
  const { namespaces } = client.durableObjects;
  const found = (await collect(namespaces.list({ account_id, per_page: 1 }))).filter((one) => one.script === script);
  assert.deepEqual(found.map((one) => [one.class, one.use_sqlite]), [["Room", true]]);
  assert.deepEqual(await collect(namespaces.objects.list(found[0].id, { account_id })), []);
  await assert.rejects(collect(namespaces.objects.list("0".repeat(32), { account_id })), refused(404, 10066));
});
