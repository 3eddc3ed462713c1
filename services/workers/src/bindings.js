// Makes of what the dispatcher hands over for bindings what a Worker expects of them, before any of its code runs. The node writes
// the names of the bindings in the place of NAMES.

import { env } from "cloudflare:workers";
import { KvNamespace } from "proxima-kv-namespace.js";

for (const name of NAMES) env[name] = new KvNamespace(env[name]);
