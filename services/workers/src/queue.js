// A queue, as a Worker has it in `env`: methods, options, answers and errors are those of Cloudflare's `Queue`. What the engine hands
// to the Worker is an entrypoint of the dispatcher's (`Queue`), which is asked by `fetch`, as namespaces are; by a method only for
// what the engine alone can write.

const MESSAGE_OCTETS_MAX = 128_000;
const MESSAGES_MAX = 100;
const BATCH_OCTETS_MAX = 256_000;
const DELAY_SECONDS_MAX = 43_200;
const TYPES = ["json", "text", "bytes", "v8"];

export class Queue {
  #node;
  #type;
  #delay;

  // What messages are, and how long they wait, of which nothing is said.
  constructor(node, { type, delay }) {
    this.#node = node;
    this.#type = type;
    this.#delay = delay ?? undefined;
  }

  async send(body, options) {
    const { contentType, delaySeconds } = options ?? {};
    return this.#send([{ body, contentType, delaySeconds }], undefined);
  }

  async sendBatch(messages, options) {
    return this.#send([...messages], options?.delaySeconds);
  }

  async metrics() {
    const answer = await this.#ask("metrics", undefined);
    return metricsOf(await answer.json());
  }

  async #send(messages, delayOfAll) {
    if (messages.length === 0) throw new TypeError("sendBatch() requires at least one message");
    if (messages.length > MESSAGES_MAX) {
      throw new Error(`Queue send failed: batch has ${messages.length} messages; give 1 to ${MESSAGES_MAX}`);
    }
    const written = [];
    let octets = 0;
    for (const { body, contentType, delaySeconds } of messages) {
      const type = contentType ?? this.#type;
      const message = await this.#write(body, type);
      if (message.length > MESSAGE_OCTETS_MAX) {
        const problem = `message length of ${message.length} bytes exceeds limit of ${MESSAGE_OCTETS_MAX}`;
        throw new Error(`Queue send failed: ${problem}`);
      }
      octets += message.length;
      written.push({ body: base64(message), type, delay: delayOf(delaySeconds ?? delayOfAll ?? this.#delay) });
    }
    if (octets > BATCH_OCTETS_MAX) {
      throw new Error(`Queue send failed: batch length of ${octets} bytes exceeds limit of ${BATCH_OCTETS_MAX}`);
    }
    const body = JSON.stringify({ messages: written });
    const answer = await this.#ask("batch", { method: "POST", body });
    return { metadata: { metrics: metricsOf(await answer.json()) } };
  }

  async #write(body, type) {
    switch (type) {
      case "json": {
        const text = JSON.stringify(body);
        if (text === undefined) throw new TypeError("The message body cannot be written as JSON.");
        return new TextEncoder().encode(text);
      }
      case "text":
        if (typeof body !== "string") throw new TypeError('Content type "text" requires a value of type string.');
        return new TextEncoder().encode(body);
      case "bytes":
        if (body instanceof ArrayBuffer) return new Uint8Array(body);
        if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength);
        throw new TypeError('Content type "bytes" requires a value of type ArrayBuffer or ArrayBufferView.');
      case "v8": {
        if (typeof this.#node.serialize !== "function") {
          throw new TypeError('Content type "v8" needs the compatibility flag "rpc".');
        }
        const [octets] = await this.#node.serialize([body]);
        return Uint8Array.from(atob(octets), (letter) => letter.charCodeAt(0));
      }
      default:
        throw new TypeError(`Unsupported queue message content type: ${type}. Use ${TYPES.join(", ")}.`);
    }
  }

  // The node's answer.
  async #ask(target, init) {
    const answer = await this.#node.fetch(`http://queue/${target}`, init);
    if (answer.ok) return answer;
    throw new Error(`Queue send failed: ${await answer.text()}`);
  }
}

function delayOf(given) {
  if (given === undefined || given === null) return null;
  const delay = Math.trunc(Number(given));
  if (!(delay >= 0 && delay <= DELAY_SECONDS_MAX)) {
    throw new RangeError(`Queue send failed: delaySeconds must be from 0 to ${DELAY_SECONDS_MAX}, and is ${given}`);
  }
  return delay;
}

function metricsOf({ backlog_count, backlog_bytes, oldest_message_timestamp_ms }) {
  const metrics = { backlogCount: backlog_count, backlogBytes: backlog_bytes };
  // None waits: v4 leaves it out.
  if (oldest_message_timestamp_ms > 0) metrics.oldestMessageTimestamp = new Date(oldest_message_timestamp_ms);
  return metrics;
}

// Octets in Base64; in pieces, for there are only so many arguments.
function base64(octets) {
  const PIECE = 0x8000;
  let letters = "";
  for (let at = 0; at < octets.length; at += PIECE) {
    letters += String.fromCharCode(...octets.subarray(at, at + PIECE));
  }
  return btoa(letters);
}
