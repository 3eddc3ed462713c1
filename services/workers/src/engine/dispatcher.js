// Runs in every process of the engine, before all Workers: loads the one that a request is for, and hands it the request.
//
// What is to be done stands in `request.cf.proxima`, which the node writes on a socket that nobody else reaches; a Worker
// sees the rest of `request.cf`. What fails is told in an answer that carries this process's secret, which no Worker knows.

import { WorkerEntrypoint } from "cloudflare:workers";
import { LOOP, call, request as invocation, take, tooMany } from "budgets.js";

const FAULT = "proxima-fault";
// By this field the node says that it has answered in the place of a Worker that threw. A Worker may say so of itself.
const PASSED = "proxima-passed";
// By this field the node says that there is nothing left to ask for; it takes it from all other answers.
const REFUSED = "proxima-refused";
// By this one, that a version has assets, which are asked before its code; and by that one, that it is the code that answers.
const HAS_ASSETS = "proxima-assets";
const IS_FOR_CODE = "proxima-for-code";
const FAULT_LETTERS_MAX = 4096;
// How long a request that has code loaded stays when that has come: the engine takes it within.
const TAKEN_WITHIN_MS = 50;

// What a Worker may say of how long an answer is kept: as rules of a zone may (`core/model/src/limits.rs`).
const CACHE_TTL_MAX = 31_536_000;
const CACHE_TTLS_MAX = 100;

// No entrypoint is called so: no name that a module exports is likely to be.
const NO_ENTRYPOINT = "proxima:prewarm";

// How many loads of code have failed, by the code's name: the engine keeps a failed load for ever, so that the next request
// needs another one.
const failedLoads = new Map();
// The loads that ended well.
const loaded = new Set();

// What was written of messages, for who has it written, by a name of its own.
const serialized = new Map();

// Asks the node on behalf of a version. Of one that runs alone, and of objects, only the node knows what is under way: it counts then.
async function ask(props, node, request) {
  take(props);
  const answer = await node.fetch(request, { cf: { proxima: props } });
  if (props.alone && answer.headers.has(REFUSED)) throw tooMany(props);
  return answer;
}

// The only way out of a Worker: it says on whose behalf.
export class Egress extends WorkerEntrypoint {
  fetch(request) {
    const caching = request.cf ? cachingOf(request.cf) : undefined;
    return ask(caching ? { ...this.ctx.props, caching } : this.ctx.props, this.env.EGRESS, request);
  }
}

// What lies behind a Worker that has thrown, for the request that passes through: it may ask for that when there is nothing left.
export class Pass extends WorkerEntrypoint {
  fetch(request) {
    const { subrequests, ...props } = this.ctx.props;
    return ask({ ...props, subrequests: subrequests + 1, passes: true }, this.env.EGRESS, request);
  }
}

// How the answer is to be kept (`cf` of `fetch`), as the node reads it.
function cachingOf({ cacheTtl, cacheTtlByStatus, cacheEverything }) {
  const seconds = (name, value) => {
    if (!Number.isInteger(value) || value < -1 || value > CACHE_TTL_MAX) {
      throw new TypeError(`cf.${name}: give whole seconds, at most ${CACHE_TTL_MAX}; -1 keeps nothing`);
    }
    return value;
  };
  const caching = {};
  if (cacheTtl !== undefined && cacheTtl !== null) caching.ttl = seconds("cacheTtl", cacheTtl);
  if (cacheTtlByStatus) {
    const ttls = Object.entries(cacheTtlByStatus);
    if (ttls.length > CACHE_TTLS_MAX) throw new TypeError(`cf.cacheTtlByStatus: give at most ${CACHE_TTLS_MAX} statuses`);
    caching.statuses = ttls.map(([statuses, value]) => {
      const [, from, to = from] = /^([1-5]\d\d)(?:-([1-5]\d\d))?$/.exec(statuses) ?? [];
      if (from === undefined) throw new TypeError(`cf.cacheTtlByStatus: ${statuses} is neither a status nor a range such as 200-299`);
      return [Number(from), Number(to), seconds("cacheTtlByStatus", value)];
    });
  }
  if (cacheEverything) caching.everything = true;
  return Object.keys(caching).length > 0 ? caching : undefined;
}

// Another Worker of the account, as a binding has it: the version that is deployed when it is asked. Whatever a caller asks for by
// name is the Worker's, and nothing of it is ours: in `env` and `ctx` is what no Worker may have.
export class Service extends WorkerEntrypoint {
  constructor(ctx, env) {
    super(ctx, env);
    return new Proxy(this, { get: (_, name) => memberOf(ctx, env, name) });
  }
}

// The handlers that the engine asks an entrypoint for itself, and Workers have no way to ask each other for.
const HANDLERS = ["alarm", "connect", "queue", "scheduled", "tail", "tailStream", "test", "trace"];

// A method of the Worker's (RPC), or a property, where it is awaited and not called.
function memberOf(ctx, env, name) {
  if (typeof name !== "string" || HANDLERS.includes(name)) return undefined;
  if (name === "fetch") return async (request) => withoutPassed(await askWorker(ctx, env, (asked) => asked.fetch(request), request));
  const method = (...given) => askWorker(ctx, env, (asked) => asked[name](...given));
  const property = () => askWorker(ctx, env, (asked) => asked[name]);
  return Object.assign(method, { then: (resolve, reject) => property().then(resolve, reject) });
}

// That another Worker's request passed it is not said of the one that asked.
function withoutPassed(answer) {
  if (!answer.headers.has(PASSED)) return answer;
  const own = new Response(answer.body, answer);
  own.headers.delete(PASSED);
  return own;
}

// What the version's assets answer, if they are who answers, as where a visitor asks.
async function byAssets(ctx, env, version, request) {
  const { method, url } = request;
  const headers = new Headers(request.headers);
  // The body, which no file is asked with, is left to the code.
  for (const field of ["content-length", "transfer-encoding"]) headers.delete(field);
  const bare = new Request(url, { method, headers, redirect: "manual" });
  const answer = await ask({ ...ctx.props, assets: version }, env.ASSETS, bare);
  return answer.headers.has(IS_FOR_CODE) ? undefined : answer;
}

// `request`: what the default entrypoint may leave to assets.
async function askWorker(ctx, env, how, request) {
  const { account, alone, worker, entrypoint, props } = ctx.props;
  const answer = await ask(ctx.props, env.CODE, `http://code/deployed/${account}/${worker}`);
  if (!answer.ok) throw new Error(`the Worker ${worker} cannot be asked: ${await answer.text()}`);
  const name = await answer.text();
  if (request && !entrypoint && answer.headers.has(HAS_ASSETS) && !request.headers.has("upgrade")) {
    const found = await byAssets(ctx, env, versionOf(name), request);
    if (found) return found;
  }
  const { load, code } = start(name, env, ctx);
  try {
    const asked = code.getEntrypoint(entrypoint ?? undefined, { props: props ?? {} });
    const run = alone ? invocation : call;
    return await run(account, versionOf(name), () => how(asked));
  } catch (error) {
    forgetUnlessLoaded(load);
    throw error;
  }
}

// A namespace of keys and values. Which one, no Worker says: props are the dispatcher's.
export class Kv extends WorkerEntrypoint {
  fetch(request) {
    return ask(this.ctx.props, this.env.KV, request);
  }
}

// A bucket. Which one, no Worker says.
export class R2 extends WorkerEntrypoint {
  fetch(request) {
    return ask(this.ctx.props, this.env.R2, request);
  }
}

// A namespace of Durable Objects. Which one, no Worker says.
export class Durable extends WorkerEntrypoint {
  fetch(request) {
    return ask(this.ctx.props, this.env.DURABLE, request);
  }
}

// What is sent to a queue. Which one, no Worker says.
export class Queue extends WorkerEntrypoint {
  fetch(request) {
    return ask(this.ctx.props, this.env.QUEUE, request);
  }

  // Structured clones of these, as the engine writes them for its own queues, in Base64.
  async serialize(bodies) {
    const name = crypto.randomUUID();
    const messages = bodies.map((body) => ({ body, contentType: "v8" }));
    try {
      await this.env.SERIALIZER.sendBatch([{ body: name, contentType: "text" }, ...messages]);
      return serialized.get(name);
    } finally {
      serialized.delete(name);
    }
  }
}

// Where the engine believes that its queue is: keeps what it is sent for who has sent it. Nobody else gets here.
export class Serializer extends WorkerEntrypoint {
  async fetch(request) {
    const { messages } = await request.json();
    const [name, ...bodies] = messages.map(({ body }) => body);
    serialized.set(atob(name), bodies);
    const metrics = { backlogCount: 0, backlogBytes: 0, oldestMessageTimestamp: 0 };
    return Response.json({ metadata: { metrics } });
  }
}

// What a Worker keeps by its Cache API. Whose it is, no Worker says.
export class Cache extends WorkerEntrypoint {
  fetch(request) {
    return ask(this.ctx.props, this.env.CACHE, request);
  }
}

// The assets of the version that asks.
export class Assets extends WorkerEntrypoint {
  fetch(request) {
    return ask(this.ctx.props, this.env.ASSETS, request);
  }
}

// What a Worker did, for who looks at it: the engine says so after each invocation.
export class Tail extends WorkerEntrypoint {
  async tail(events) {
    const body = JSON.stringify(events);
    const answer = await this.env.TAIL.fetch("http://tail/", { method: "POST", body, cf: { proxima: this.ctx.props } });
    await answer.text();
  }
}

// `host` makes of the code what hosts its classes of Durable Objects, where that is done.
async function read(name, env, ctx, host) {
  const answer = await env.CODE.fetch(`http://code/${name}`);
  if (!answer.ok) throw new Error(`the code cannot be read: ${await answer.text()}`);
  const { stubs, classes, asking, tail, ...code } = await answer.json();
  for (const module of Object.values(code.modules)) {
    for (const kind of ["data", "wasm"]) {
      if (kind in module) module[kind] = Uint8Array.fromBase64(module[kind]).buffer;
    }
  }
  // Of what objects do nobody knows here when it begins: the node counts.
  if (host) asking.alone = "objects";
  for (const [binding, { entrypoint, props }] of Object.entries(stubs)) {
    code.env[binding] = ctx.exports[entrypoint]({ props: { ...props, ...asking } });
  }
  const tails = tail ? [ctx.exports.Tail({ props: tail })] : [];
  const made = { ...code, tails, globalOutbound: ctx.exports.Egress({ props: asking }) };
  return host ? host(made, classes) : made;
}

// Whoever looks at a version gets it by another name: it is the same version.
function versionOf(name) {
  return name.split("?")[0];
}

// The code of this name, loaded if it is not yet.
export function start(code, env, ctx, host) {
  // What hosts its classes is another load of the same code.
  const name = host ? `hosted ${code}` : code;
  const number = failedLoads.get(name) ?? 0;
  const load = { name, number, id: `${name}#${number}` };
  const started = env.LOADER.get(load.id, () => {
    loaded.delete(load.id);
    const reading = read(code, env, ctx, host);
    // Others wait for it, too: the client that was first may go away, and this request stays until it is done.
    ctx.waitUntil(
      reading.then(
        () => (loaded.add(load.id), scheduler.wait(TAKEN_WITHIN_MS)),
        () => {},
      ),
    );
    return reading;
  });
  return { load, code: started };
}

// Whether it was loaded; if not, the next request loads it anew.
export function forgetUnlessLoaded({ name, number, id }) {
  if (loaded.has(id)) return true;
  if ((failedLoads.get(name) ?? 0) === number) failedLoads.set(name, number + 1);
  return false;
}

function fault(env, kind, error) {
  const text = String(error?.stack ?? error).slice(0, FAULT_LETTERS_MAX);
  return new Response(text, { status: 500, headers: { [FAULT]: `${env.SECRET} ${kind}` } });
}

// What of a Worker is for cron triggers, run to its end.
async function scheduled(code, { cron, at }) {
  const { outcome } = await code.getEntrypoint().scheduled({ cron, scheduledTime: new Date(at) });
  if (outcome !== "ok") throw new Error(`its handler of cron triggers ended with ${outcome}`);
  return new Response();
}

// What of a Worker is for messages of a queue, run to its end: what it says of them.
async function queued(code, queue, request) {
  const { messages } = await request.json();
  return Response.json(await code.getEntrypoint().queue(queue, messages.map(messageOf)));
}

function messageOf({ id, timestamp, attempts, type, body }) {
  const octets = Uint8Array.fromBase64(body);
  const message = { id, timestamp: new Date(timestamp), attempts };
  if (type === "v8") return { ...message, serializedBody: octets };
  if (type === "bytes") return { ...message, body: octets.buffer };
  const text = new TextDecoder().decode(octets);
  return { ...message, body: type === "json" ? JSON.parse(text) : text };
}

// Has code loaded and its first statements run: what asks for an entrypoint that there is not needs both, and no handler runs.
async function prewarm(code) {
  try {
    await code.getEntrypoint(NO_ENTRYPOINT).fetch("http://prewarm/");
  } catch (error) {
    if (!String(error?.message ?? error).startsWith("Worker has no such entrypoint")) throw error;
  }
  return new Response();
}

export default {
  async fetch(request, env, ctx) {
    const { proxima, ...cf } = request.cf;
    const { load, code } = start(proxima.code, env, ctx);
    try {
      if (proxima.prewarm) return await prewarm(code);
      const version = versionOf(proxima.code);
      const [account] = version.split("/");
      return await invocation(account, version, () => {
        if (proxima.scheduled) return scheduled(code, proxima.scheduled);
        if (proxima.queue) return queued(code, proxima.queue, request);
        return code.getEntrypoint().fetch(request, { cf });
      });
    } catch (error) {
      if (!forgetUnlessLoaded(load)) return fault(env, "load", error);
      const text = String(error?.message ?? error);
      if (text.startsWith(LOOP)) return fault(env, "loop", error);
      const starting = text.startsWith("Failed to start Worker") || text.startsWith("This Worker requires");
      return fault(env, starting ? "start" : "exception", error);
    }
  },
};
