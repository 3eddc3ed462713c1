// Begins a Worker in a process of its own: there no dispatcher of ours stands before it, so that what it throws is told here. The
// node writes the Worker's main module in the place of MAIN, and in the place of SECRET what it knows our answers by: a secret of
// this process, which a Worker that looks for it can only tell its own faults with.

import * as main from MAIN;

export * from MAIN;

const FAULT = "proxima-fault";
const FAULT_LETTERS_MAX = 4096;
// As `budgets.js` writes it.
const LOOP = "Too many Workers are asked by one request";

function fault(error) {
  const text = String(error?.stack ?? error).slice(0, FAULT_LETTERS_MAX);
  const kind = String(error?.message ?? error).startsWith(LOOP) ? "loop" : "exception";
  return new Response(text, { status: 500, headers: { [FAULT]: `SECRET ${kind}` } });
}

// As the dispatcher would find it out, when it passes the answer on.
function checked(answer) {
  if (!(answer instanceof Response)) throw new TypeError("the handler of fetch did not return a Response");
  if (answer.bodyUsed) throw new TypeError("the body of the Response that was returned has been used already");
  return answer;
}

function guarded(handlers) {
  if (typeof handlers !== "function") {
    return {
      async fetch(request, env, ctx) {
        try {
          return checked(await handlers.fetch(request, env, ctx));
        } catch (error) {
          return fault(error);
        }
      },
    };
  }
  return class extends handlers {
    async fetch(request) {
      try {
        return checked(await super.fetch(request));
      } catch (error) {
        return fault(error);
      }
    }
  };
}

export default guarded(main.default ?? {});
