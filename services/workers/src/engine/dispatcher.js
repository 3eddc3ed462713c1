// Runs in every process of the engine, before all Workers: loads the one that a request is for, and hands it the request.
//
// What is to be done stands in `request.cf.proxima`, which the node writes on a socket that nobody else reaches; a Worker
// sees the rest of `request.cf`. What fails is told in an answer that carries this process's secret, which no Worker knows.

import { WorkerEntrypoint } from "cloudflare:workers";

const FAULT = "proxima-fault";
const FAULT_LETTERS_MAX = 4096;

// Loads of code that failed, by the code's name: the engine keeps a failed load for ever, so that the next one needs another.
const failedLoads = new Map();

// The only way out of a Worker: it says on whose behalf.
export class Egress extends WorkerEntrypoint {
  fetch(request) {
    return this.env.EGRESS.fetch(request, { cf: { proxima: this.ctx.props } });
  }
}

class LoadError extends Error {}

async function load(name, account, env, ctx) {
  const answer = await env.CODE.fetch(`http://code/${name}`);
  if (!answer.ok) throw new LoadError(`the code cannot be read: ${await answer.text()}`);
  const code = await answer.json();
  for (const module of Object.values(code.modules)) {
    for (const kind of ["data", "wasm"]) {
      if (kind in module) module[kind] = Uint8Array.fromBase64(module[kind]).buffer;
    }
  }
  return { ...code, globalOutbound: ctx.exports.Egress({ props: { account } }) };
}

function fault(env, kind, error) {
  const text = String(error?.stack ?? error).slice(0, FAULT_LETTERS_MAX);
  return new Response(text, { status: 500, headers: { [FAULT]: `${env.SECRET} ${kind}` } });
}

export default {
  async fetch(request, env, ctx) {
    const { proxima, ...cf } = request.cf;
    const { code: name, account } = proxima;
    const failed = failedLoads.get(name) ?? 0;
    let loadFailed = false;
    try {
      const worker = env.LOADER.get(`${name}#${failed}`, async () => {
        try {
          return await load(name, account, env, ctx);
        } catch (error) {
          loadFailed = true;
          failedLoads.set(name, failed + 1);
          throw error;
        }
      });
      return await worker.getEntrypoint().fetch(request, { cf });
    } catch (error) {
      if (loadFailed) return fault(env, "load", error);
      const text = String(error?.message ?? error);
      const starting = text.startsWith("Failed to start Worker") || text.startsWith("This Worker requires");
      return fault(env, starting ? "start" : "exception", error);
    }
  },
};
