// A bucket, as a Worker has it in `env`: methods, options, answers and errors are those of Cloudflare's `R2Bucket`. The engine has
// such a binding itself, but hands none to a Worker that is loaded (DataCloneError), and its class cannot be constructed. What it
// hands over is an entrypoint of the dispatcher's (`R2`), of which `fetch` is asked, as with namespaces of keys and values.
//
// What is asked stands in the field `proxima-r2`, as JSON, percent-encoded, since fields are ASCII; what is put is the body. What an
// object is comes back in a field of the same name, its octets as the body; all else as JSON.

import { marked } from "proxima-marked.js";

const SAID = "proxima-r2";
const HASHES = { md5: 16, sha1: 20, sha256: 32, sha384: 48, sha512: 64 };
const FIELDS = {
  contentType: "content-type",
  contentLanguage: "content-language",
  contentDisposition: "content-disposition",
  contentEncoding: "content-encoding",
  cacheControl: "cache-control",
  cacheExpiry: "expires",
};
const DELETED_MAX = 1000;
const OBJECTS_LISTED_MAX = 1000;
// The status by which the node says that a stream did not come to its end.
const BROKEN = 422;

export class R2Bucket {
  #node;

  constructor(node) {
    this.#node = node;
  }

  async head(key) {
    const answer = await ask(this.#node, "head", { op: "head", key: named(key) });
    return answer.status === 404 ? null : objectOf(answer);
  }

  async get(key, options) {
    const what = { op: "get", key: named(key), onlyIf: conditionsOf(options?.onlyIf), range: rangeOf(options?.range) };
    const answer = await ask(this.#node, "get", what);
    if (answer.status === 404) return null;
    if (answer.status === 412) return objectOf(answer);
    return new R2ObjectBody(saidBy(answer), answer);
  }

  async put(key, value, options) {
    const what = {
      op: "put",
      key: named(key),
      onlyIf: conditionsOf(options?.onlyIf),
      fields: fieldsOf(options),
      hash: hashOf(options),
    };
    const answer = await put(this.#node, "put", what, value);
    return answer.status === 412 ? null : objectOf(answer);
  }

  async delete(keys) {
    const all = (Array.isArray(keys) ? keys : [keys]).map(named);
    if (all.length > DELETED_MAX) {
      throw new TypeError(`delete: at most ${DELETED_MAX} keys are deleted at once`);
    }
    if (all.length > 0) await ask(this.#node, "delete", { op: "delete" }, JSON.stringify(all));
  }

  async list(options) {
    const limit = options?.limit ?? undefined;
    if (limit !== undefined && !(limit >= 1 && limit <= OBJECTS_LISTED_MAX)) {
      throw new Error(`list: MaxKeys params must be positive integer <= ${OBJECTS_LISTED_MAX}. (10022)`);
    }
    const what = {
      op: "list",
      limit: limit === undefined ? undefined : Math.trunc(limit),
      prefix: optional(options?.prefix),
      cursor: optional(options?.cursor),
      delimiter: optional(options?.delimiter),
      startAfter: optional(options?.startAfter),
    };
    const { objects, ...page } = await (await ask(this.#node, "list", what)).json();
    const included = new Set(options?.include ?? []);
    for (const kind of ["httpMetadata", "customMetadata"]) {
      if (!included.has(kind)) for (const object of objects) object[kind] = {};
    }
    return { objects: objects.map((about) => new R2Object(about)), ...page };
  }

  async createMultipartUpload(key, options) {
    const what = { op: "begin", key: named(key), fields: fieldsOf(options) };
    const { uploadId } = await (await ask(this.#node, "createMultipartUpload", what)).json();
    return new R2MultipartUpload(this.#node, what.key, uploadId);
  }

  resumeMultipartUpload(key, uploadId) {
    return new R2MultipartUpload(this.#node, named(key), String(uploadId));
  }
}

export class R2MultipartUpload {
  #node;

  constructor(node, key, uploadId) {
    this.#node = node;
    this.key = key;
    this.uploadId = uploadId;
  }

  async uploadPart(partNumber, value) {
    const what = { op: "part", ...this.#which(), partNumber: Math.trunc(Number(partNumber)) || 0 };
    const { etag } = await (await put(this.#node, "uploadPart", what, value)).json();
    return { partNumber: what.partNumber, etag };
  }

  async complete(parts) {
    const chosen = Array.from(parts, ({ partNumber, etag }) => ({ partNumber, etag: String(etag) }));
    chosen.sort((one, other) => one.partNumber - other.partNumber);
    const body = JSON.stringify(chosen);
    return objectOf(await ask(this.#node, "completeMultipartUpload", { op: "complete", ...this.#which() }, body));
  }

  async abort() {
    await ask(this.#node, "abortMultipartUpload", { op: "abort", ...this.#which() });
  }

  #which() {
    return { key: this.key, uploadId: this.uploadId };
  }
}

export class R2Object {
  constructor(about) {
    const { key, version, size, etag, uploaded, httpMetadata, customMetadata, checksums, storageClass, range } = about;
    const { cacheExpiry, ...fields } = httpMetadata;
    Object.assign(this, { key, version, size, etag, httpEtag: `"${etag}"`, uploaded: new Date(uploaded) });
    this.httpMetadata = cacheExpiry === undefined ? fields : { ...fields, cacheExpiry: new Date(cacheExpiry) };
    this.customMetadata = customMetadata;
    this.checksums = new R2Checksums(checksums);
    this.storageClass = storageClass;
    if (range !== undefined) this.range = range;
  }

  writeHttpMetadata(headers) {
    for (const [name, field] of Object.entries(FIELDS)) {
      const value = this.httpMetadata[name];
      if (value !== undefined) headers.set(field, value instanceof Date ? value.toUTCString() : value);
    }
  }
}

export class R2ObjectBody extends R2Object {
  #answer;

  constructor(about, answer) {
    super(about);
    this.#answer = answer.body === null ? new Response(new Uint8Array(0)) : answer;
  }

  get body() {
    return this.#answer.body;
  }

  get bodyUsed() {
    return this.#answer.bodyUsed;
  }

  arrayBuffer() {
    return this.#answer.arrayBuffer();
  }

  async bytes() {
    return new Uint8Array(await this.#answer.arrayBuffer());
  }

  text() {
    return this.#answer.text();
  }

  json() {
    return this.#answer.json();
  }

  async blob() {
    return new Blob([await this.#answer.arrayBuffer()], { type: this.httpMetadata.contentType ?? "" });
  }
}

// What is known of the octets: each an ArrayBuffer; as JSON, hexadecimal.
class R2Checksums {
  #hex;

  constructor(hex) {
    this.#hex = hex;
    for (const [name, value] of Object.entries(hex)) this[name] = Uint8Array.fromHex(value).buffer;
  }

  toJSON() {
    return this.#hex;
  }
}

async function ask(node, method, what, body, failure) {
  const headers = { [SAID]: encodeURIComponent(JSON.stringify(what)) };
  const answer = await node.fetch("http://r2/", { method: "POST", headers, body });
  const code = answer.headers.get("proxima-r2-code") ?? "10001";
  const isNothing = code === "10007" && (method === "head" || method === "get");
  const isRefused = answer.status === 412 && (answer.headers.has(SAID) || method === "put");
  if (answer.ok || isNothing || isRefused) return answer;
  const error = new Error(`${method}: ${await answer.text()} (${code})`);
  throw answer.status === BROKEN ? (failure() ?? error) : error;
}

// Asks the node to take octets. Of a stream that fails, nothing is kept, and who puts it learns why.
async function put(node, method, what, value) {
  if (!(value instanceof ReadableStream)) return ask(node, method, what, bodyOf(method, value));
  const { body, mark, failure } = marked(value);
  return ask(node, method, { ...what, mark }, body, failure);
}

function saidBy(answer) {
  return JSON.parse(decodeURIComponent(answer.headers.get(SAID)));
}

function objectOf(answer) {
  return new R2Object(saidBy(answer));
}

function named(key) {
  return String(key).toWellFormed();
}

function optional(text) {
  return text === undefined || text === null ? undefined : named(text);
}

// Octets of a known length.
function bodyOf(method, value) {
  if (value === null || value === undefined) return new Uint8Array(0);
  if (typeof value === "string") return new TextEncoder().encode(value);
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value) || value instanceof Blob) return value;
  throw new TypeError(
    `${method}: the value is not of type ReadableStream, ArrayBuffer, ArrayBufferView, string, or Blob.`,
  );
}

function etagOf(given) {
  const etag = String(given);
  if (etag.startsWith('"') || etag.startsWith("W/")) {
    throw new TypeError(`Conditional ETag should not be wrapped in quotes (${etag}).`);
  }
  return [etag];
}

function timeOf(given) {
  return given === undefined || given === null ? undefined : Number(given);
}

function conditionsOf(given) {
  if (given === undefined || given === null) return undefined;
  if (given instanceof Headers) {
    const tags = (name) => {
      const value = given.get(name);
      if (value === null) return undefined;
      return value.split(",").map((tag) => tag.trim().replace(/^W\//, "").replace(/^"(.*)"$/, "$1"));
    };
    const date = (name) => {
      const at = Date.parse(given.get(name) ?? "");
      return Number.isNaN(at) ? undefined : at;
    };
    return {
      etagMatches: tags("if-match"),
      etagDoesNotMatch: tags("if-none-match"),
      // What a field says has no fractions of seconds: what was put within this one was not put after it.
      uploadedBefore: date("if-unmodified-since"),
      uploadedAfter: date("if-modified-since"),
      secondsGranularity: true,
    };
  }
  const tags = (etag) => (etag === undefined || etag === null ? undefined : etagOf(etag));
  return {
    etagMatches: tags(given.etagMatches),
    etagDoesNotMatch: tags(given.etagDoesNotMatch),
    uploadedBefore: timeOf(given.uploadedBefore),
    uploadedAfter: timeOf(given.uploadedAfter),
    secondsGranularity: Boolean(given.secondsGranularity),
  };
}

function rangeOf(given) {
  if (given === undefined || given === null) return undefined;
  if (given instanceof Headers) {
    const found = /^bytes=(?:(\d+)-(\d*)|-(\d+))$/.exec(given.get("range") ?? "");
    if (found === null) return undefined;
    const [, first, last, suffix] = found;
    if (suffix !== undefined) return { suffix: Number(suffix) };
    const offset = Number(first);
    if (last === "") return { offset };
    return Number(last) < offset ? undefined : { offset, length: Number(last) - offset + 1 };
  }
  const range = {};
  for (const name of ["offset", "length", "suffix"]) {
    const value = given[name];
    if (value === undefined || value === null) continue;
    if (!Number.isInteger(value) || value < 0) throw new RangeError(`Invalid range. ${name} must be a whole number.`);
    range[name] = value;
  }
  if (range.suffix !== undefined && (range.offset !== undefined || range.length !== undefined)) {
    throw new TypeError("Suffix is incompatible with offset or length.");
  }
  return Object.keys(range).length === 0 ? undefined : range;
}

function fieldsOf(options) {
  const given = options?.httpMetadata ?? {};
  const http = {};
  for (const [name, field] of Object.entries(FIELDS)) {
    const value = given instanceof Headers ? given.get(field) : given[name];
    if (value === undefined || value === null) continue;
    http[name] = name === "cacheExpiry" ? new Date(value).getTime() : String(value);
  }
  const custom = Object.entries(options?.customMetadata ?? {}).map(([name, value]) => [name, String(value)]);
  return { http, custom: Object.fromEntries(custom), storageClass: optional(options?.storageClass) };
}

function hashOf(options) {
  const given = Object.keys(HASHES).filter((name) => options?.[name] !== undefined && options[name] !== null);
  if (options?.ssecKey !== undefined) throw new TypeError("put: keys of customers are not offered");
  if (given.length === 0) return undefined;
  if (given.length > 1) throw new TypeError("You cannot specify multiple hashing algorithms.");
  const [name] = given;
  if (name === "sha384" || name === "sha512") throw new TypeError(`put: ${name} is not offered`);
  const value = options[name];
  let hex;
  if (typeof value === "string") {
    hex = value.toLowerCase();
  } else {
    hex = (ArrayBuffer.isView(value)
      ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
      : new Uint8Array(value)
    ).toHex();
  }
  if (!/^[0-9a-f]*$/.test(hex) || hex.length !== 2 * HASHES[name]) {
    throw new TypeError(`Provided ${name} has ${hex.length / 2} octets, not ${HASHES[name]}, or is not hexadecimal.`);
  }
  return { [name]: hex };
}
