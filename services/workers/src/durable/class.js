// Makes of a class that a Worker exports what the engine hosts as an object. The engine starts it as a facet, which has no alarms and
// whose id is text: both come with the properties that the supervisor (`host.js`) gives, and are put where code expects them. It is
// the same class otherwise: what it stores, its sockets and its gates are the engine's.

import { DurableObjectId } from "proxima-durable-objects.js";

const ALARM_MS_MAX = 8.64e15;
// One statement alone: what comes behind another one may be anything.
const TAKES_NO_ROOM = /^\s*(?:SELECT|DELETE|DROP)\b[^;]*;?\s*$/i;

export function hosted(name, Base, { deletesAlarm }) {
  if (typeof Base !== "function") {
    return class {
      constructor() {
        throw new TypeError(`The Worker does not export the Durable Object class "${name}".`);
      }
    };
  }
  const Hosted = class extends Base {
    constructor(ctx, env) {
      const { object, sql, alarms, octetsMax } = ctx.props;
      put(ctx, "id", new DurableObjectId(object.id, object.name ?? undefined));
      put(ctx, "props", {});
      bound(ctx.storage, octetsMax);
      prepare(ctx.storage, alarms, { sql, deletesAlarm });
      super(ctx, env);
    }

    // Of what the node asks for, a request says so in a field that no Worker writes.
    async fetch(request) {
      const alarm = request.cf?.proxima?.alarm;
      const handler = alarm === undefined ? "fetch" : "alarm";
      if (typeof super[handler] !== "function") {
        throw new TypeError(`Handler does not export ${handler === "fetch" ? "a fetch" : "an alarm"}() function.`);
      }
      if (alarm === undefined) return super.fetch(request);
      await super.alarm({ retryCount: alarm.retries, isRetry: alarm.retries > 0, scheduledTime: alarm.at });
      return new Response();
    }
  };
  put(Hosted, "name", Base.name);
  return Hosted;
}

function prepare(storage, alarms, { sql, deletesAlarm }) {
  const forms = {
    getAlarm: async () => alarms.get(),
    setAlarm: async (at) => alarms.set(timeOf(at)),
    deleteAlarm: async () => alarms.delete(),
  };
  for (const [name, form] of Object.entries(forms)) put(storage, name, form);
  const { deleteAll, transaction } = storage;
  put(storage, "deleteAll", async (options) => {
    if (deletesAlarm) await alarms.delete();
    return deleteAll.call(storage, options);
  });
  put(storage, "transaction", (closure) =>
    transaction.call(storage, (within) => {
      for (const [name, form] of Object.entries(forms)) put(within, name, form);
      return closure(within);
    }),
  );
  if (sql) return;
  Object.defineProperty(storage, "sql", {
    get() {
      throw new Error(
        "SQL is not enabled for this Durable Object class. To enable it, make it by new_sqlite_classes in a migration.",
      );
    },
  });
}

// The node bounds files; a database that has come to that bound can take nothing away either, since its log is not carried over any more.
// So what makes it grow is undone before that: what takes no room goes on, and what is deleted makes some. A `put` within `transaction`
// is not looked at.
function bound(storage, octetsMax) {
  const { sql, kv } = storage;
  const limit = (object, name, passes) => {
    const does = object[name];
    put(object, name, (...given) => {
      const before = passes?.(...given) ? 0 : sql.databaseSize;
      if (before < octetsMax) return does.apply(object, given);
      return storage.transactionSync(() => {
        const done = does.apply(object, given);
        if (sql.databaseSize > before) throw new Error("database or disk is full: SQLITE_FULL");
        return done;
      });
    });
  };
  limit(sql, "exec", (query) => TAKES_NO_ROOM.test(query));
  limit(kv, "put");
  limit(storage, "put");
}

function timeOf(at) {
  const time = at instanceof Date ? at.getTime() : Number(at);
  if (!(time > 0 && time <= ALARM_MS_MAX)) {
    throw new TypeError("setAlarm() cannot be called with an alarm time that is not a time after 1970");
  }
  return Math.trunc(time);
}

function put(object, name, value) {
  Object.defineProperty(object, name, { value, configurable: true });
}
