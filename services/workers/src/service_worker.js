// Runs a script of service-worker syntax as a module: bindings are globals, handlers are added by `addEventListener`. The
// node writes before it what is imported for bindings, and in the place of SCRIPT the script's name.

import { env } from "cloudflare:workers";

const handlers = [];

globalThis.addEventListener = (type, handler) => {
  if (type === "fetch") handlers.push(handler);
};
Object.assign(globalThis, env);

await import(SCRIPT);

export default {
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
    for (const handler of handlers) {
      if (typeof handler === "function") handler(event);
      else handler.handleEvent(event);
      if (answer !== undefined) return answer;
    }
    throw new TypeError("no handler of fetch called respondWith()");
  },
};
