// A namespace of keys and values, as a Worker has it in `env`: methods, options, answers and errors are those of Cloudflare's
// `KVNamespace`. What the engine hands to the Worker is an entrypoint of the dispatcher's (`Kv`); bindings of that kind have methods
// of their own that differ with the compatibility date, and only their `fetch` means the same on all days. So this asks by `fetch`.

const KEY_OCTETS_MAX = 512;
const VALUE_OCTETS_MAX = 25 * 2 ** 20;
const TYPES = ["text", "json", "arrayBuffer", "stream"];

export class KvNamespace {
  #node;

  constructor(node) {
    this.#node = node;
  }

  async get(key, options) {
    if (Array.isArray(key)) return this.#getMany(key, options, false);
    return (await this.#getOne(key, options)).value;
  }

  async getWithMetadata(key, options) {
    if (Array.isArray(key)) return this.#getMany(key, options, true);
    return this.#getOne(key, options);
  }

  async put(key, value, options) {
    const path = pathOf("PUT", key);
    if (typeof value === "object" && value !== null) {
      const taken = value instanceof ArrayBuffer || ArrayBuffer.isView(value) || value instanceof ReadableStream;
      if (!taken) {
        throw new TypeError(
          "KV put() accepts only strings, ArrayBuffers, ArrayBufferViews, and ReadableStreams as values.",
        );
      }
      if (value instanceof ReadableStream) value = await collect(value);
    } else {
      value = new TextEncoder().encode(String(value));
    }
    if (value.byteLength > VALUE_OCTETS_MAX) throw tooLarge(value.byteLength);
    const query = queryOf({
      expiration: whole(options?.expiration),
      expiration_ttl: whole(options?.expirationTtl),
    });
    const headers = {};
    const metadata = options?.metadata ?? undefined;
    // Header fields are ASCII.
    if (metadata !== undefined) headers["cf-kv-metadata"] = encodeURIComponent(JSON.stringify(metadata));
    const answer = await this.#ask("PUT", path + query, { method: "PUT", headers, body: value });
    await answer.text();
  }

  async delete(key) {
    const answer = await this.#ask("DELETE", pathOf("DELETE", key), { method: "DELETE" });
    await answer.text();
  }

  async list(options) {
    const limit = whole(options?.limit);
    const query = queryOf({
      key_count_limit: limit > 0 ? limit : undefined,
      prefix: options?.prefix ?? undefined,
      cursor: options?.cursor ?? undefined,
    });
    const answer = await this.#ask("GET", query);
    const { keys, ...rest } = await answer.json();
    const parsed = keys.map(({ metadata, ...key }) =>
      metadata === undefined ? key : { ...key, metadata: JSON.parse(metadata) },
    );
    return { keys: parsed, ...rest, cacheStatus: null };
  }

  async #getOne(key, options) {
    const path = pathOf("GET", key);
    const { type, cacheTtl } = readingOf(options);
    const answer = await this.#ask("GET", path + queryOf({ cache_ttl: cacheTtl }));
    if (answer.status === 404) return { value: null, metadata: null, cacheStatus: null };
    const said = answer.headers.get("cf-kv-metadata");
    const metadata = said === null ? null : JSON.parse(decodeURIComponent(said));
    const value = type === "stream" ? (answer.body ?? new Blob([]).stream()) : await answer[type]();
    return { value, metadata, cacheStatus: null };
  }

  async #getMany(given, options, withMetadata) {
    const { type, cacheTtl } = readingOf(options);
    const failed = (problem) => new Error(`KV GET_BULK failed: 400 ${problem}`);
    if (type !== "text" && type !== "json") {
      throw failed(`"${type}" is not a valid type. Use "json" or "text"`);
    }
    const keys = given.map((key) => String(key).toWellFormed());
    const body = JSON.stringify({ keys, cache_ttl: cacheTtl });
    const answer = await this.#ask("GET_BULK", "bulk/get", { method: "POST", body });
    const found = new Map();
    for (const [at, pair] of (await answer.json()).entries()) {
      if (pair === null) {
        found.set(keys[at], null);
        continue;
      }
      let value = pair.value;
      if (type === "json") {
        try {
          value = JSON.parse(value);
        } catch {
          throw failed("At least one of the requested keys corresponds to a non-json value");
        }
      }
      const metadata = pair.metadata === undefined ? null : JSON.parse(pair.metadata);
      found.set(keys[at], withMetadata ? { value, metadata } : value);
    }
    return found;
  }

  // The node's answer: what was asked for, or that a key has nothing.
  async #ask(operation, target, init) {
    const answer = await this.#node.fetch(`http://kv/${target}`, init);
    if (answer.ok || (answer.status === 404 && operation === "GET")) return answer;
    throw new Error(`KV ${operation} failed: ${answer.status} ${await answer.text()}`);
  }
}

function pathOf(operation, key) {
  const name = String(key).toWellFormed();
  if (name === "") throw new TypeError("Key name cannot be empty.");
  if (name === "." || name === "..") throw new TypeError(`"${name}" is not allowed as a key name.`);
  const octets = new TextEncoder().encode(name).length;
  if (octets > KEY_OCTETS_MAX) {
    throw new Error(
      `KV ${operation} failed: 414 UTF-8 encoded length of ${octets} exceeds key length limit of ${KEY_OCTETS_MAX}.`,
    );
  }
  return encodeURIComponent(name);
}

function readingOf(options) {
  const given = typeof options === "string" ? { type: options } : (options ?? {});
  const type = given.type ?? "text";
  if (!TYPES.includes(type)) {
    throw new TypeError(
      'Unknown response type. Possible types are "text", "arrayBuffer", "json", and "stream".',
    );
  }
  return { type, cacheTtl: whole(given.cacheTtl) };
}

// A number as the node reads it; what is no number is told by it.
function whole(given) {
  return given === undefined || given === null ? undefined : Math.trunc(Number(given)) || 0;
}

function queryOf(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined);
  const pairs = given.map(([name, value]) => `${name}=${encodeURIComponent(String(value).toWellFormed())}`);
  return pairs.length === 0 ? "" : `?${pairs.join("&")}`;
}

// What is too long is told so here: of a node that reads no further, the engine says only that the connection was lost.
function tooLarge(octets) {
  return new Error(`KV PUT failed: 413 Value length of ${octets} exceeds limit of ${VALUE_OCTETS_MAX}.`);
}

// The octets of a stream, as far as a value may have them.
async function collect(stream) {
  const reader = stream.getReader();
  const chunks = [];
  let octets = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const chunk = ArrayBuffer.isView(value)
      ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
      : new Uint8Array(value);
    octets += chunk.byteLength;
    if (octets > VALUE_OCTETS_MAX) {
      const error = tooLarge(`more than ${VALUE_OCTETS_MAX}`);
      await reader.cancel(error);
      throw error;
    }
    chunks.push(chunk);
  }
  const all = new Uint8Array(octets);
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.byteLength;
  }
  return all;
}
