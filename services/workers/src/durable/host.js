// Runs in the one process that hosts an account's Durable Objects on this server. Classes of Workers that are loaded cannot stand in
// the engine's configuration; `Supervisor` can, and starts the tenant's class as a facet of itself, with storage of its own beside it.
//
//   node ─▶ default.fetch ─▶ Supervisor of NAMESPACE/OBJECT ─▶ facet: the Worker's class, of the version that the node names
//                └─────────▶ Registry: which objects there are, and their alarms
//
// What is to be done stands in `request.cf.proxima`, as for the dispatcher, whose entrypoints the objects' own bindings are.

import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import CLASS from "class.txt";
import OBJECTS from "durable_objects.txt";
import VALUES from "values.txt";
import { Tail as Told, forgetUnlessLoaded, start } from "dispatcher.js";
import { read, write } from "values.js";

export * from "dispatcher.js";

const FIELD = "proxima-durable";
const FACET = "object";
const REGISTRY = "registry";
const MAIN_NAME = "proxima-durable-main.js";
// Attempts of an alarm after the first, and how long the first waits; twice as long each time. As Cloudflare has them.
const RETRIES_MAX = 6;
const RETRY_AFTER_MS = 2000;
// After how long alarms are looked at again that have begun and not ended, or whose object could not be asked.
const LOOKED_AGAIN_AFTER_MS = 60_000;
// Lines of stubs that are remembered, and how long whoever is in one waits for those before.
const LINES_MAX = 1000;
const TURN_WITHIN_MS = 1000;
// Objects of a namespace that was deleted which go in one request.
const SWEPT_MAX = 100;
// `deleteAll` of a Worker from this day on deletes the alarm too.
const DELETES_ALARM_SINCE = "2026-02-24";

// The versions at which somebody looked when an object of theirs was asked the last time.
const looked = new Set();

const registryOf = (env) => env.REGISTRY.get(env.REGISTRY.idFromName(REGISTRY));
const supervisorOf = (env, namespace, id) => env.SUPERVISORS.get(env.SUPERVISORS.idFromName(`${namespace}/${id}`));

// One for each object: starts it, anew when its code was updated, and asks it.
export class Supervisor extends DurableObject {
  #version;
  #load;
  // The stubs that ask, by the lines in which they do, the latest last: which of a line is next, and how those begin that wait.
  #lines = new Map();

  async fetch(request) {
    const { proxima } = request.cf;
    try {
      await this.#register(proxima);
      if (proxima.alarm) return await this.#alarm(proxima);
      if (proxima.method !== undefined || proxima.property !== undefined) {
        const text = await request.text();
        return await this.#call(await this.#inTurn(proxima.turn, () => this.#asked(proxima, text)));
      }
      const { answering } = await this.#inTurn(proxima.turn, () => {
        return { answering: this.#facet(proxima).fetch(request, { cf: {} }) };
      });
      const answer = await answering;
      if (!answer.headers.has(FIELD)) return answer;
      // Of what the object says, nothing passes for ours.
      const own = new Response(answer.body, answer);
      own.headers.delete(FIELD);
      return own;
    } catch (error) {
      if (this.#load && !forgetUnlessLoaded(this.#load)) this.#stop(error);
      return told("threw", error);
    }
  }

  // All that it keeps is gone after that.
  async destroy() {
    this.ctx.facets.delete(FACET);
    await this.ctx.storage.deleteAll();
  }

  #facet({ code, account, namespace, object, sql, octets_max: octetsMax, class: name }) {
    const [version, query] = code.split("?");
    if (query) looked.add(version);
    else looked.delete(version);
    // What a facet was begun with the engine keeps for longer than this supervisor, which is gone when it was quiet for a while.
    this.#version ??= this.ctx.storage.kv.get("version");
    if (this.#version !== version) {
      if (this.#version !== undefined) this.#stop(new Error("Durable Object reset because its code was updated."));
      this.ctx.storage.kv.put("version", version);
      this.#version = version;
    }
    return this.ctx.facets.get(FACET, () => {
      // That somebody begins to look is no other version, and must not end the object: it has a tail whether anybody looks or not.
      const { load, code: worker } = start(`${version}?tail`, this.env, this.ctx, hosting);
      this.#load = load;
      const alarms = this.ctx.exports.Alarms({ props: { account, namespace, object } });
      return { class: worker.getDurableObjectClass(name, { props: { object, sql, alarms, octetsMax } }), id: object.id };
    });
  }

  #stop(why) {
    this.ctx.facets.abort(FACET, why);
    this.#load = undefined;
  }

  #asked(proxima, text) {
    const { method, property } = proxima;
    const facet = this.#facet(proxima);
    const asks = async () => (method === undefined ? await facet[property] : await facet[method](...read(text)));
    return { answering: asks() };
  }

  async #call({ answering }) {
    return new Response(write(await answering), { headers: { [FIELD]: "value" } });
  }

  // What a stub asks comes by connections of its own, and so in whatever order: it begins in the order in which it was asked. What has
  // not come after a while was refused on its way, or asked before the object was here, and is not waited for; nor is what its stub
  // has had an answer to (`from` is the first without one).
  #inTurn(turn, begin) {
    if (!turn) return begin();
    const { number, from } = turn;
    const waits = this.#waitsOf(turn);
    return new Promise((resolve, reject) => {
      const timer = number > Math.max(waits.next, from) ? setTimeout(() => go(waits, number), TURN_WITHIN_MS) : undefined;
      waits.starts.set(number, () => {
        clearTimeout(timer);
        try {
          resolve(begin());
        } catch (error) {
          reject(error);
        }
      });
      go(waits, Math.max(waits.next, from));
    });
  }

  #waitsOf({ line }) {
    const waits = this.#lines.get(line) ?? { next: 0, starts: new Map() };
    this.#lines.delete(line);
    this.#lines.set(line, waits);
    for (const [oldest] of this.#lines) {
      if (this.#lines.size <= LINES_MAX) break;
      this.#lines.delete(oldest);
    }
    return waits;
  }

  async #alarm({ namespace, object, ...proxima }) {
    const registry = registryOf(this.env);
    const alarm = await registry.beginAlarm(namespace, object.id, proxima.alarm.now);
    if (alarm === null) return new Response();
    try {
      const facet = this.#facet({ namespace, object, ...proxima });
      const answer = await facet.fetch("http://alarm/", { method: "POST", cf: { proxima: { alarm } } });
      await answer.text();
    } catch (error) {
      await registry.failAlarm(namespace, object.id);
      throw error;
    }
    await registry.endAlarm(namespace, object.id);
    return new Response();
  }

  // Once for all time: known before it can have anything that could be forgotten.
  async #register({ namespace, object }) {
    if (this.ctx.storage.kv.get("registered")) return;
    await registryOf(this.env).add(namespace, object.id);
    this.ctx.storage.kv.put("registered", true);
  }
}

// What an object did, which the engine says whether anybody looks or not.
export class Tail extends Told {
  async tail(events) {
    const { account, worker, version } = this.ctx.props;
    if (looked.has(`${account}/${worker}/${version}`)) await super.tail(events);
  }
}

// The alarm of one object, as its own code has it.
export class Alarms extends WorkerEntrypoint {
  async get() {
    const { namespace, object } = this.ctx.props;
    return registryOf(this.env).alarmOf(namespace, object.id);
  }

  async set(at) {
    const { account, namespace, object } = this.ctx.props;
    await registryOf(this.env).setAlarm(namespace, object, at);
    // It is kept: the node asks for what is due whenever it begins, and is told now.
    const answer = await this.env.DURABLE.fetch("http://durable/alarm", { method: "POST", cf: { proxima: { account } } });
    await answer.text();
  }

  async delete() {
    const { namespace, object } = this.ctx.props;
    await registryOf(this.env).deleteAlarm(namespace, object.id);
  }
}

// Which objects of the account were made on this server, and when their alarms are due.
export class Registry extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    this.sql = ctx.storage.sql;
    this.sql.exec(`
      CREATE TABLE IF NOT EXISTS objects (namespace TEXT, id TEXT, PRIMARY KEY (namespace, id)) WITHOUT ROWID;
      CREATE TABLE IF NOT EXISTS alarms (
        namespace TEXT, id TEXT, name TEXT, at INTEGER, scheduled INTEGER, retries INTEGER, begun INTEGER,
        PRIMARY KEY (namespace, id)
      ) WITHOUT ROWID;
      CREATE INDEX IF NOT EXISTS due ON alarms (at);
      UPDATE alarms SET begun = 0 WHERE begun;
    `);
  }

  add(namespace, id) {
    this.sql.exec("INSERT OR IGNORE INTO objects VALUES (?, ?)", namespace, id);
  }

  list({ namespace, after, limit }) {
    const found = this.sql.exec(
      "SELECT id FROM objects WHERE namespace = ? AND id > ? ORDER BY id LIMIT ?",
      namespace,
      after ?? "",
      limit,
    );
    return found.toArray().map(({ id }) => ({ id, file: this.#file(namespace, id) }));
  }

  // Its supervisor's id is what its files are called.
  #file(namespace, id) {
    return this.env.SUPERVISORS.idFromName(`${namespace}/${id}`).toString();
  }

  // Deletes the objects of a namespace, as far as one request goes; whether all are gone.
  async sweep({ namespace }) {
    this.sql.exec("DELETE FROM alarms WHERE namespace = ?", namespace);
    const gone = this.sql.exec("SELECT id FROM objects WHERE namespace = ? LIMIT ?", namespace, SWEPT_MAX);
    const rows = gone.toArray();
    for (const { id } of rows) {
      await supervisorOf(this.env, namespace, id).destroy();
      this.sql.exec("DELETE FROM objects WHERE namespace = ? AND id = ?", namespace, id);
    }
    return { done: rows.length < SWEPT_MAX };
  }

  // Objects as another server takes them, and their alarms: one that had begun, or waited for it, is due when it was set for.
  give({ namespace, after, limit }) {
    const found = this.sql.exec(
      `SELECT objects.id, name, at, scheduled, retries FROM objects LEFT JOIN alarms USING (namespace, id)
       WHERE namespace = ? AND objects.id > ? ORDER BY objects.id LIMIT ?`,
      namespace,
      after ?? "",
      limit,
    );
    const alarmOf = ({ name, at, scheduled, retries }) =>
      scheduled === null ? null : { name, at: retries > 0 ? at : scheduled, scheduled, retries };
    const objects = found.toArray();
    return objects.map((row) => ({ id: row.id, file: this.#file(namespace, row.id), alarm: alarmOf(row) }));
  }

  // Takes what `give` of another server gave, once or again.
  take({ namespace }, given) {
    for (const { id, alarm } of JSON.parse(given)) {
      this.add(namespace, id);
      if (alarm === null) continue;
      const { name, at, scheduled, retries } = alarm;
      this.sql.exec(
        "INSERT OR REPLACE INTO alarms VALUES (?, ?, ?, ?, ?, ?, 0)",
        namespace,
        id,
        name,
        at,
        scheduled,
        retries,
      );
    }
    return {};
  }

  // Objects that another server has.
  forget({ namespace }, ids) {
    for (const id of JSON.parse(ids)) {
      this.sql.exec("DELETE FROM alarms WHERE namespace = ? AND id = ?", namespace, id);
      this.sql.exec("DELETE FROM objects WHERE namespace = ? AND id = ?", namespace, id);
    }
    return {};
  }

  alarmOf(namespace, id) {
    const [found] = this.sql.exec("SELECT at FROM alarms WHERE namespace = ? AND id = ? AND NOT begun", namespace, id);
    return found?.at ?? null;
  }

  setAlarm(namespace, { id, name }, at) {
    this.sql.exec("INSERT OR REPLACE INTO alarms VALUES (?, ?, ?, ?, ?, 0, 0)", namespace, id, name ?? null, at, at);
  }

  deleteAlarm(namespace, id) {
    this.sql.exec("DELETE FROM alarms WHERE namespace = ? AND id = ? AND NOT begun", namespace, id);
  }

  // What is due by now, and when the next is.
  due({ now, limit }) {
    const found = this.sql.exec(
      "SELECT namespace, id, name FROM alarms WHERE at <= ? AND NOT begun ORDER BY at LIMIT ?",
      now,
      limit,
    );
    const due = found.toArray();
    const [next] = this.sql.exec("SELECT at FROM alarms WHERE at > ? AND NOT begun ORDER BY at LIMIT 1", now);
    // Whoever has begun one may have gone: it is looked for again.
    const [begun] = this.sql.exec("SELECT 1 FROM alarms WHERE begun LIMIT 1");
    const again = begun === undefined ? Infinity : now + LOOKED_AGAIN_AFTER_MS;
    const soonest = Math.min(next?.at ?? Infinity, again);
    return { due, next: soonest === Infinity ? null : soonest };
  }

  // One whose object cannot be asked at all waits, and keeps no other one from being due.
  postpone({ namespace, id, now }) {
    const at = now + LOOKED_AGAIN_AFTER_MS;
    this.sql.exec("UPDATE alarms SET at = ? WHERE namespace = ? AND id = ? AND NOT begun", at, namespace, id);
    return {};
  }

  beginAlarm(namespace, id, now) {
    const [found] = this.sql.exec(
      "UPDATE alarms SET begun = 1 WHERE namespace = ? AND id = ? AND NOT begun AND at <= ? RETURNING scheduled, retries",
      namespace,
      id,
      now,
    );
    return found === undefined ? null : { at: found.scheduled, retries: found.retries };
  }

  endAlarm(namespace, id) {
    this.sql.exec("DELETE FROM alarms WHERE namespace = ? AND id = ? AND begun", namespace, id);
  }

  failAlarm(namespace, id) {
    const of = [namespace, id];
    this.sql.exec(`DELETE FROM alarms WHERE namespace = ? AND id = ? AND begun AND retries >= ${RETRIES_MAX}`, ...of);
    this.sql.exec(
      `UPDATE alarms SET begun = 0, at = ? + (${RETRY_AFTER_MS} << retries), retries = retries + 1
       WHERE namespace = ? AND id = ? AND begun`,
      Date.now(),
      ...of,
    );
  }
}

// Begins with those of a line that wait and have a number up to this one, and with what follows on them, in order.
function go(waits, until) {
  waits.next = Math.max(waits.next, until);
  for (const number of [...waits.starts.keys()].sort((one, other) => one - other)) {
    if (number > waits.next) return;
    const start = waits.starts.get(number);
    waits.starts.delete(number);
    waits.next = Math.max(waits.next, number + 1);
    start();
  }
}

// A version's code with its classes made what can be hosted.
function hosting(code, classes) {
  const main = JSON.stringify(code.mainModule);
  const behaviour = JSON.stringify({ deletesAlarm: code.compatibilityDate >= DELETES_ALARM_SINCE });
  let text = `import * as main from ${main};\nexport * from ${main};\nexport default main.default ?? {};\n`;
  text += 'import { hosted } from "proxima-durable-class.js";\n';
  for (const [number, name] of classes.entries()) {
    const written = JSON.stringify(name);
    text += `const Hosted${number} = hosted(${written}, main[${written}], ${behaviour});\nexport { Hosted${number} as ${written} };\n`;
  }
  const modules = {
    ...code.modules,
    [MAIN_NAME]: { js: text },
    "proxima-durable-class.js": { js: CLASS },
    "proxima-durable-objects.js": { js: OBJECTS },
    "proxima-values.js": { js: VALUES },
  };
  return { ...code, mainModule: MAIN_NAME, modules };
}

function told(outcome, error) {
  let text;
  try {
    text = write(error);
  } catch {
    text = write(new Error(String(error)));
  }
  return new Response(text, { status: 500, headers: { [FIELD]: outcome } });
}

export default {
  async fetch(request, env) {
    const { proxima } = request.cf;
    try {
      if (proxima.registry) {
        return Response.json(await registryOf(env)[proxima.registry](proxima, await request.text()));
      }
      const supervisor = supervisorOf(env, proxima.namespace, proxima.object.id);
      return await supervisor.fetch(request, { cf: { proxima } });
    } catch (error) {
      return told("threw", error);
    }
  },
};
