// A namespace of Durable Objects, as a Worker has it in `env`: ids, and stubs with the object's methods. What the engine hands to the
// Worker is an entrypoint of the dispatcher's (`Durable`), which is asked by `fetch`: which object, and what of it, stands in a field.

import { read, write } from "proxima-values.js";

const FIELD = "proxima-durable";
const NAME_OCTETS_MAX = 1024;
// For so long an object waits for what was asked before (`host.js`).
const LINE_MS = 1000;

export class DurableObjectId {
  #text;

  constructor(text, name) {
    this.#text = text;
    if (name !== undefined) this.name = name;
  }

  toString() {
    return this.#text;
  }

  equals(other) {
    return other?.toString() === this.#text;
  }
}

export class DurableObjectNamespace {
  #node;
  #namespace;

  constructor(node, namespace) {
    this.#node = node;
    this.#namespace = namespace;
  }

  idFromName(name) {
    const text = String(name).toWellFormed();
    if (new TextEncoder().encode(text).length > NAME_OCTETS_MAX) {
      throw new TypeError(`The name of a Durable Object has at most ${NAME_OCTETS_MAX} octets.`);
    }
    const digest = sha256(new TextEncoder().encode(`${this.#namespace}/name/${text}`));
    return new DurableObjectId(this.#marked(digest.slice(0, 16)), text);
  }

  newUniqueId(options) {
    if (options?.jurisdiction !== undefined && options.jurisdiction !== null) throw noJurisdiction();
    return new DurableObjectId(this.#marked(crypto.getRandomValues(new Uint8Array(16))));
  }

  idFromString(text) {
    const written = String(text).toLowerCase();
    if (!/^[0-9a-f]{64}$/.test(written)) {
      throw new TypeError("Invalid Durable Object ID: must be 64 hex digits");
    }
    if (this.#marked(Uint8Array.fromHex(written.slice(0, 32))) !== written) {
      throw new TypeError("Durable Object ID is not valid for this namespace.");
    }
    return new DurableObjectId(written);
  }

  get(id) {
    // Of an id of another namespace there is no object here.
    this.idFromString(id);
    return stub(this.#node, new DurableObjectId(String(id), id.name));
  }

  getByName(name) {
    return this.get(this.idFromName(name));
  }

  jurisdiction(jurisdiction) {
    if (jurisdiction !== undefined && jurisdiction !== null) throw noJurisdiction();
    return this;
  }

  // An id's second half follows from its namespace and its first half.
  #marked(half) {
    const hex = half.toHex();
    return hex + sha256(new TextEncoder().encode(`${this.#namespace}/id/${hex}`)).slice(0, 16).toHex();
  }
}

// An object. Its methods are whatever is asked for by another name than those that a stub has itself.
function stub(node, id) {
  // What is asked while something else is under way begins after that, in the order in which it was asked.
  let calls;

  async function send(request, what) {
    const now = Date.now();
    if (calls === undefined || calls.open.size === 0 || now - calls.last > LINE_MS) {
      calls = { line: crypto.randomUUID(), asked: 0, open: new Set() };
    }
    const { line, open } = calls;
    const number = calls.asked++;
    calls.last = now;
    open.add(number);
    const [from] = open;
    const said = { id: String(id), name: id.name, turn: { line, number, from }, ...what };
    request.headers.set(FIELD, encodeURIComponent(JSON.stringify(said)));
    try {
      return await node.fetch(request);
    } finally {
      open.delete(number);
    }
  }

  async function ask(request, what) {
    const answer = await send(request, what);
    const outcome = answer.headers.get(FIELD);
    if (outcome === null && what === undefined) return answer;
    const text = await answer.text();
    if (outcome === "value") return read(text);
    if (outcome === "threw") throw Object.assign(read(text), { remote: true });
    throw Object.assign(new Error(text), { remote: true, retryable: outcome === "away", overloaded: outcome === "busy" });
  }

  const own = {
    id,
    name: id.name,
    fetch: (input, init) => ask(new Request(input, init)),
    connect() {
      throw new Error("Durable Objects take no connections here other than requests.");
    },
    [Symbol.dispose]() {},
  };

  return new Proxy(own, {
    get(own, key) {
      if (Object.hasOwn(own, key)) return own[key];
      // Whoever awaits a stub has it at once.
      if (typeof key !== "string" || key === "then") return undefined;
      return member((body, what) => ask(new Request("http://object/", { method: "POST", body }), what), key);
    },
    has: (own, key) => typeof key === "string" || Object.hasOwn(own, key),
  });
}

// A method, or, where it is awaited and not called, a property.
function member(ask, key) {
  const method = async (...given) => ask(write(given), { method: key });
  const property = () => ask("", { property: key });
  return Object.assign(method, {
    then: (resolve, reject) => property().then(resolve, reject),
    catch: (reject) => property().catch(reject),
    finally: (settled) => property().finally(settled),
  });
}

function noJurisdiction() {
  return new Error("Jurisdictions of Durable Objects are not offered yet.");
}

// SHA-256 (FIPS 180-4): ids are made at once, and Web Crypto only answers later.
function sha256(octets) {
  const length = octets.length;
  const padded = new Uint8Array(((length + 72) >> 6) << 6);
  padded.set(octets);
  padded[length] = 0x80;
  const words = new DataView(padded.buffer);
  words.setBigUint64(padded.length - 8, BigInt(length) * 8n);
  const state = [...START];
  const w = new Uint32Array(64);
  const turned = (x, by) => (x >>> by) | (x << (32 - by));
  for (let block = 0; block < padded.length; block += 64) {
    for (let i = 0; i < 16; i++) w[i] = words.getUint32(block + 4 * i);
    for (let i = 16; i < 64; i++) {
      const s0 = turned(w[i - 15], 7) ^ turned(w[i - 15], 18) ^ (w[i - 15] >>> 3);
      const s1 = turned(w[i - 2], 17) ^ turned(w[i - 2], 19) ^ (w[i - 2] >>> 10);
      w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i++) {
      const s1 = turned(e, 6) ^ turned(e, 11) ^ turned(e, 25);
      const t1 = (h + s1 + ((e & f) ^ (~e & g)) + ROUNDS[i] + w[i]) | 0;
      const s0 = turned(a, 2) ^ turned(a, 13) ^ turned(a, 22);
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + t1) | 0, c, b, a, (t1 + t2) | 0];
    }
    for (const [i, x] of [a, b, c, d, e, f, g, h].entries()) state[i] = (state[i] + x) | 0;
  }
  const digest = new DataView(new ArrayBuffer(32));
  for (const [i, x] of state.entries()) digest.setInt32(4 * i, x);
  return new Uint8Array(digest.buffer);
}

// The first 32 bits of the fractional parts of roots of the first primes: square roots of 8, cube roots of 64.
const PRIMES = [];
for (let n = 2; PRIMES.length < 64; n++) if (PRIMES.every((prime) => n % prime)) PRIMES.push(n);
const fraction = (root) => ((root - Math.floor(root)) * 2 ** 32) | 0;
const START = PRIMES.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)));
const ROUNDS = PRIMES.map((prime) => fraction(Math.cbrt(prime)));
