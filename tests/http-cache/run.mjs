// Runs the suite `http-cache-tests` against a cache, and prints what became of each test as one JSON object:
// {"ID": {"kind": "required" | "optimal" | "check", "outcome": "pass" | "fail" | "setup" | "dependency", "detail": "…"}}
//
//   node run.mjs SUITE_FOLDER BASE_URL [ID …]
//
// The suite's own command line cannot name the address beside the URL, knows of one test or all, and gives no verdicts;
// its parts can. Two layouts are known: that of the npm release, and that of the repository, which is newer.

import dns from 'node:dns'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

// All at once takes the time of the slowest, but then timers fire late on a busy machine and lifetimes of a second
// pass unseen; one after the other takes minutes.
const AT_ONCE = 60

const [folder, base, ...wanted] = process.argv.slice(2)
const suite = path.resolve(folder)
const newer = existsSync(path.join(suite, 'test-engine'))
const load = file => import(pathToFileURL(path.join(suite, file)))

// The names of the site under test are in no resolver: all lead to the one address at which it is served.
dns.lookup = (_name, options, callback = options) => {
  if (options.all) callback(null, [{ address: '127.0.0.1', family: 4 }])
  else callback(null, '127.0.0.1', 4)
}

const all = (await load('tests/index.mjs')).default
const tests = all
  .map(group => ({ ...group, tests: group.tests.filter(test => wanted.length === 0 || wanted.includes(test.id)) }))
  .filter(group => group.tests.length > 0)
if (wanted.length > 0) tests.forEach(group => group.tests.forEach(test => { test.dump = true }))

const runner = await load(newer ? 'test-engine/client/runner.mjs' : 'client/runner.mjs')
if (newer) {
  await runner.runTests(tests, false, base, AT_ONCE)
} else {
  const fetch = createRequire(path.join(suite, 'package.json'))('node-fetch')
  await runner.runTests(tests, fetch, false, base, AT_ONCE)
}
const results = runner.getResults()

const byId = new Map(all.flatMap(group => group.tests).map(test => [test.id, test]))

// A test that depends on one that did not pass says nothing.
function outcome (id) {
  const result = results[id]
  if (result === undefined) return 'untested'
  const depends = byId.get(id)?.depends_on ?? []
  if (wanted.length === 0 && depends.some(other => outcome(other) !== 'pass')) return 'dependency'
  if (result === true) return 'pass'
  return result[0] === 'Setup' ? 'setup' : 'fail'
}

const verdicts = {}
for (const [id, result] of Object.entries(results)) {
  const kind = byId.get(id)?.kind ?? 'required'
  verdicts[id] = { kind, outcome: outcome(id), detail: result === true ? '' : `${result[0]}: ${result[1]}` }
}
console.log(JSON.stringify(verdicts))
