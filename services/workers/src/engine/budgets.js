// How much one invocation may ask for: subrequests, over all ways in which code asks the node, and Workers that ask Workers.
//
// The engine does not tell which invocation asks, only on behalf of which version, and what only code could tell would not be believed. So
// the invocations of a version that are under way share what they may ask for: one alone has exactly as much as it may have, and of
// several each has it on average. What goes on after its answer's head (`waitUntil`, a body) has what was left. Likewise with Workers that
// ask Workers: the requests of an account that are under way share how many may be asked.

// Workers that a request may have asked by service bindings, by whichever Worker: as many as Cloudflare documents.
const CALLS_MAX = 32;
// Versions, and accounts, that are remembered: beyond it those are forgotten of which nothing is under way.
const REMEMBERED_MAX = 10_000;

// What an exception begins with that says so: the node answers error 1019 by it.
export const LOOP = "Too many Workers are asked by one request";

// What some may ask for together.
class Share {
  underWay = 0;
  #used = 0;

  // One of them runs until this ends. The first one begins with nothing used.
  async within(run) {
    if (this.underWay === 0) this.#used = 0;
    this.underWay += 1;
    try {
      return await run();
    } finally {
      // It takes its part of what was used along; the last one leaves all of it to what goes on.
      if (this.underWay > 1) this.#used -= this.#used / this.underWay;
      this.underWay -= 1;
    }
  }

  // One more is asked for, of which each may have so many; whether it may be.
  take(eachMax) {
    const may = this.#used + 1 <= eachMax * Math.max(1, this.underWay);
    if (may) this.#used += 1;
    return may;
  }
}

class Shares {
  #all = new Map();

  of(name) {
    let share = this.#all.get(name);
    if (share === undefined) {
      if (this.#all.size >= REMEMBERED_MAX) {
        for (const [known, { underWay }] of this.#all) if (underWay === 0) this.#all.delete(known);
      }
      this.#all.set(name, (share = new Share()));
    }
    return share;
  }
}

const versions = new Shares();
const accounts = new Shares();

// A request, or a cron trigger, has a version run.
export function request(account, code, run) {
  return accounts.of(account).within(() => versions.of(code).within(run));
}

// A Worker has another one's version run.
export function call(account, code, run) {
  if (!accounts.of(account).take(CALLS_MAX)) {
    throw new Error(`${LOOP}: ${CALLS_MAX} may be. Do they ask each other without end?`);
  }
  return versions.of(code).within(run);
}

// Something is asked for on behalf of a version; of one that is `alone`, nobody here knows what of it is under way: the node counts, by the
// same rules (`shares.rs`).
export function take({ code, subrequests, alone }) {
  if (!alone && !versions.of(code).take(subrequests)) throw tooMany({ subrequests });
}

export function tooMany({ subrequests }) {
  return new Error(
    `Too many subrequests by single Worker invocation: ${subrequests} may be made. To configure this limit, see limits.subrequests.`,
  );
}
