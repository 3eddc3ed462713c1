// Begins a Worker that is tried: when it has started, the node is told what it is. The node writes its main module in the place of
// MAIN, and in the place of CLASSES those that it is to export.

import { tell } from "proxima-telling.js";
import * as main from MAIN;

export * from MAIN;

const handlers = main.default ?? {};

export default handlers;

// What there is in v4, whether it is offered here or not.
const EVENTS = [
  "alarm",
  "connect",
  "email",
  "fetch",
  "queue",
  "scheduled",
  "tail",
  "tailStream",
  "test",
  "trace",
  "webSocketClose",
  "webSocketError",
  "webSocketMessage",
];

function handlesAnything() {
  // As `service_worker.js` says it.
  const added = handlers[Symbol.for("proxima-handlers")];
  if (added !== undefined) return Object.values(added).some((those) => those.length > 0);
  if (typeof handlers === "function" || EVENTS.some((name) => typeof handlers[name] === "function")) return true;
  // Others may be bound to what it exports besides.
  return Object.keys(main).some((name) => name !== "default");
}

tell({ handles: handlesAnything(), absent: CLASSES.filter((name) => typeof main[name] !== "function") });
