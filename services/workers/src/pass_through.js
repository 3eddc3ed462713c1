// Has requests go on to what lies behind a Worker that throws, if it has said `passThroughOnException`. The engine does so, too, but says
// nobody that it does, and sends on what is left of a body that was read. What the dispatcher hands over for it, an entrypoint of its own
// (`Pass`), is taken out of `env` here, before any code of the Worker runs.

import { env } from "cloudflare:workers";

const HANDED_OVER = "proxima:pass";
const THREW = "proxima-threw";
const TEXT_LETTERS_MAX = 1024;
// An exception of this text, which whoever looks at the Worker is not shown, says that its invocation has failed (`tails/event.rs`).
const PASSED = "proxima:passed";

const node = env[HANDED_OVER];
delete env[HANDED_OVER];

// Guards the handler of requests of a default export. One that cannot be changed is left to the engine.
export function guard(main) {
  const handlers = typeof main === "function" ? main.prototype : main;
  const own = handlers?.fetch;
  if (typeof own !== "function") return;
  try {
    handlers.fetch = guarded(own);
  } catch {}
}

function guarded(own) {
  return async function (request, _env, given) {
    const ctx = given ?? this.ctx;
    const native = ctx.passThroughOnException;
    let passes = false;
    ctx.passThroughOnException = () => {
      passes = true;
      // If it never answers, only the engine finds that out.
      if (request.body === null) native.call(ctx);
    };
    try {
      const answer = await Reflect.apply(own, this, arguments);
      if (passes) check(answer);
      return answer;
    } catch (error) {
      if (!passes || request.bodyUsed) throw error;
      // What is told of an exception.
      ctx.waitUntil(Promise.reject(error));
      ctx.waitUntil(Promise.reject(new Error(PASSED)));
      const text = String(error?.stack ?? error).slice(0, TEXT_LETTERS_MAX).toWellFormed();
      const passed = new Request(request);
      passed.headers.set(THREW, encodeURIComponent(text));
      return node.fetch(passed);
    }
  };
}

// As the engine would find it out, when the answer is passed on.
function check(answer) {
  if (!(answer instanceof Response)) throw new TypeError("the handler of fetch did not return a Response");
  if (answer.bodyUsed) throw new TypeError("the body of the Response that was returned has been used already");
}
