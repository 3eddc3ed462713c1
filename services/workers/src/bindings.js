// Makes of what the dispatcher hands over for bindings what a Worker expects of them, before any of its code runs. The node writes
// the names of the bindings in the place of NAMESPACES and BUCKETS, and what is said of queues in that of QUEUES, and before all
// this what else is to run.

import { env } from "cloudflare:workers";
import { KvNamespace } from "proxima-kv-namespace.js";
import { Queue } from "proxima-queue.js";
import { R2Bucket } from "proxima-r2-bucket.js";

for (const name of NAMESPACES) env[name] = new KvNamespace(env[name]);
for (const name of BUCKETS) env[name] = new R2Bucket(env[name]);
for (const [name, settings] of Object.entries(QUEUES)) env[name] = new Queue(env[name], settings);
