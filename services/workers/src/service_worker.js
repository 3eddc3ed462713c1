// Runs a script of service-worker syntax as a module: bindings are globals, handlers are added by `addEventListener`. The
// node writes before it what is imported for bindings, and in the place of SCRIPT the script's name.

import { env } from "cloudflare:workers";

const handlers = { fetch: [], queue: [], scheduled: [] };

globalThis.addEventListener = (type, handler) => {
  handlers[type]?.push(handler);
};
Object.assign(globalThis, env);

await import(SCRIPT);

function tell(handler, event) {
  if (typeof handler === "function") return handler(event);
  return handler.handleEvent(event);
}

const begun = {
  // Which there are: the node asks when it tries a version (`engine/check/check.js`).
  [Symbol.for("proxima-handlers")]: handlers,

  fetch(request, _env, ctx) {
    let answer;
    const event = {
      type: "fetch",
      request,
      respondWith(response) {
        if (answer !== undefined) throw new TypeError("respondWith() was called before");
        answer = Promise.resolve(response);
      },
      waitUntil: (promise) => ctx.waitUntil(promise),
      passThroughOnException: () => ctx.passThroughOnException(),
    };
    for (const handler of handlers.fetch) {
      tell(handler, event);
      if (answer !== undefined) return answer;
    }
    throw new TypeError("no handler of fetch called respondWith()");
  },

  async queue(batch, _env, ctx) {
    if (handlers.queue.length === 0) throw new TypeError("there is no handler of queue");
    const event = {
      type: "queue",
      queue: batch.queue,
      messages: batch.messages,
      ackAll: () => batch.ackAll(),
      retryAll: (options) => batch.retryAll(options),
      waitUntil: (promise) => ctx.waitUntil(promise),
    };
    for (const handler of handlers.queue) await tell(handler, event);
  },

  async scheduled({ cron, scheduledTime }, _env, ctx) {
    if (handlers.scheduled.length === 0) throw new TypeError("there is no handler of scheduled");
    const event = { type: "scheduled", cron, scheduledTime, waitUntil: (promise) => ctx.waitUntil(promise) };
    for (const handler of handlers.scheduled) await tell(handler, event);
  },
};

export default begun;
