// The Cache API, as a Worker has it in `caches`: methods, options, answers and errors are those of Cloudflare's. The engine has one of
// its own, and gives what it needs to no Worker that is loaded. What the dispatcher hands over for it, an entrypoint of its own
// (`Cache`), is taken out of `env` here, before any code of the Worker runs.

import { env } from "cloudflare:workers";
import { marked } from "proxima-marked.js";

const HANDED_OVER = "proxima:cache";
const SAID = "proxima-cache";
const NAME_LETTERS_MAX = 1024;

const node = env[HANDED_OVER];
delete env[HANDED_OVER];

class Cache {
  #name;

  constructor(name) {
    this.#name = name;
  }

  async match(given, options) {
    const request = requestOf(given);
    if (request.method !== "GET" && !options?.ignoreMethod) return undefined;
    const answer = await this.#ask("match", request);
    if (answer.headers.get("cf-cache-status") === "HIT") return answer;
    const problem = await answer.text();
    if (answer.status === 504) return undefined;
    throw new Error(`Cache match failed: ${answer.status} ${problem}`);
  }

  async put(given, response) {
    const request = requestOf(given);
    if (!(response instanceof Response)) {
      throw new TypeError("Failed to execute 'put' on 'Cache': parameter 2 is not of type 'Response'.");
    }
    if (request.method !== "GET") throw new TypeError("Cannot cache response to non-GET request.");
    if (response.status === 206) {
      throw new TypeError("Cannot cache response to a range request (206 Partial Content).");
    }
    const varies = (response.headers.get("vary") ?? "").split(",");
    if (varies.some((name) => name.trim() === "*")) {
      throw new TypeError("Cannot cache response with 'Vary: *' header.");
    }
    if (response.bodyUsed) throw new TypeError("The response's body has been used already.");
    const said = { status: response.status, fields: fieldsOf(response.headers) };
    const { body, mark, failure } = response.body === null ? {} : marked(response.body);
    said.mark = mark;
    const answer = await this.#ask("put", request, said, body);
    const problem = await answer.text();
    if (answer.status === 422) throw failure?.() ?? new Error(`Cache put failed: ${problem}`);
    // 413: it is not to be stored, or too large. Who puts it goes on without.
    if (!answer.ok && answer.status !== 413) throw new Error(`Cache put failed: ${answer.status} ${problem}`);
  }

  async delete(given, options) {
    const request = requestOf(given);
    if (request.method !== "GET" && !options?.ignoreMethod) return false;
    const answer = await this.#ask("delete", request);
    const problem = await answer.text();
    if (!answer.ok && answer.status !== 404) throw new Error(`Cache delete failed: ${answer.status} ${problem}`);
    return answer.ok;
  }

  #ask(operation, request, said, body) {
    const headers = new Headers(request.headers);
    const asked = { operation, cache: this.#name, ...said };
    // Header fields are ASCII.
    headers.set(SAID, encodeURIComponent(JSON.stringify(asked)));
    // The length of what is put is that of its body alone.
    headers.delete("content-length");
    const method = operation === "match" ? "GET" : "PUT";
    return node.fetch(new URL(request.url).href, { method, headers, body, redirect: "manual" });
  }
}

class CacheStorage {
  #default = new Cache(null);

  get default() {
    return this.#default;
  }

  async open(name) {
    const text = String(name).toWellFormed();
    if (text.length > NAME_LETTERS_MAX) throw new TypeError("Cache name is too long.");
    return new Cache(text);
  }
}

// One that is given is not made anew: that would use up its body.
function requestOf(given) {
  return given instanceof Request ? given : new Request(given);
}

function fieldsOf(headers) {
  const fields = [...headers].filter(([name]) => name !== "set-cookie");
  return fields.concat(headers.getAll("set-cookie").map((value) => ["set-cookie", value]));
}

globalThis.caches = new CacheStorage();
globalThis.Cache = Cache;
globalThis.CacheStorage = CacheStorage;
