//! Versions that are tried before they are kept.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use proxima_chassis::random_id;
use proxima_model::{
    BindingName, BindingValue, CompatibilityDate, ContentHash, DurableClass, DurableNamespaceId,
    KvNamespaceId, ModuleKind, ModuleName, Timestamp, WorkerAnnotations, WorkerBinding, WorkerModule,
    WorkerName, WorkerSyntax, WorkerVersion, WorkerVersionId,
};
use proxima_pipeline::{NewWorkerVersion, WorkerCheck, WorkerUnfit};

use crate::harness::{Code, OWN, Running, processes, with_engine, with_node, workerd};

/// A module that answers, whatever stands before.
const ANSWERS: &str = "export default { fetch: () => new Response('fine') };";

/// A version that is in no log.
fn new(code: Code, classes: &[&str]) -> NewWorkerVersion {
    let (mut modules, mut contents) = (Vec::new(), BTreeMap::new());
    for (number, (name, kind, octets)) in (0..).zip(code.modules) {
        let hash = ContentHash::from_bytes([number; 32]);
        let name = ModuleName::parse(name).unwrap();
        modules.push(WorkerModule { name, kind, octets: octets.len().try_into().unwrap(), hash });
        contents.insert(hash, Bytes::from(octets));
    }
    let binding = |(name, value): (&str, BindingValue)| WorkerBinding {
        name: BindingName::parse(name).unwrap(),
        value,
    };
    let version = WorkerVersion {
        account: OWN,
        worker: WorkerName::parse("app").unwrap(),
        id: WorkerVersionId::from_random(random_id()),
        number: 1,
        created_at: Timestamp::from_millis(0),
        author: "test".to_owned(),
        source: "api".to_owned(),
        annotations: WorkerAnnotations::default(),
        syntax: code.syntax,
        main: modules[0].name.clone(),
        compatibility_date: CompatibilityDate::parse(code.compatibility_date).unwrap(),
        compatibility_flags: code.compatibility_flags.iter().map(|flag| flag.parse().unwrap()).collect(),
        bindings: code.bindings.into_iter().map(binding).collect(),
        modules,
        cpu_ms_max: None,
        subrequests_max: None,
        assets: None,
    };
    let classes = classes.iter().map(|class| DurableClass::parse(class).unwrap()).collect();
    NewWorkerVersion { version, secrets: code.secrets, contents, classes }
}

fn script(text: &str) -> Code {
    let modules = vec![("worker.js", ModuleKind::CommonJs, text.into())];
    Code { modules, syntax: WorkerSyntax::ServiceWorker, ..Code::module("") }
}

async fn check(running: &Running, code: Code) -> WorkerCheck {
    running.service.checks().check(new(code, &[])).await
}

fn counted(running: &Running, outcome: &str) -> u64 {
    let text = running.node.metrics.encode();
    let begin = format!("proxima_workers_checks_total{{outcome=\"{outcome}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&begin)).map_or(0, |count| count.parse().unwrap())
}

fn assert_fails(checked: &WorkerCheck, why: &str) {
    assert_eq!(checked, &WorkerCheck::Unfit(WorkerUnfit::Fails(why.to_owned())));
}

fn assert_is_fine(checked: &WorkerCheck) {
    let WorkerCheck::Fine { took } = checked else { panic!("{checked:?}") };
    assert!(*took > Duration::ZERO && *took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn what_does_not_start_is_told_in_the_words_of_the_engine() {
    with_engine("", async |running| {
        let module = Code::module;
        let fetches = "Uncaught Error: Disallowed operation called within global scope. Asynchronous I/O (ex: fetch() or connect()), \
                       setting a timeout, and generating random values are not allowed within global scope. To fix this error, \
                       perform this operation within a handler. https://developers.cloudflare.com/workers/runtime-apis/handlers/\n  \
                       at main.js:1:7";
        let mut bound = module("throw new Error('boom')");
        bound.bindings = vec![("KV", BindingValue::KvNamespace(KvNamespaceId::from_bytes([6; 16])))];
        let mut flagged = module(ANSWERS);
        flagged.compatibility_flags = vec!["there_is_no_such_flag"];
        let mut old = module("import 'node:fs'");
        old.compatibility_date = "2026-01-01";
        let mut latin = module(ANSWERS);
        latin.modules[0].2 = vec![0xe4];
        let mut wasm = module(&format!("import w from './w.wasm'; {ANSWERS}"));
        wasm.modules.push(("w.wasm", ModuleKind::Wasm, b"none".to_vec()));
        let cases = [
            (
                module("export default { fetch( }"),
                "Uncaught SyntaxError: Unexpected token '}'\n  at main.js:1:24",
            ),
            (module("throw new Error('boom')"), "Uncaught Error: boom\n  at main.js:1:7"),
            (
                module("function f() { null.x }\nf()"),
                "Uncaught TypeError: Cannot read properties of null (reading 'x')\n  at main.js:1:21 in f\n  at main.js:2:1",
            ),
            (module("console.error('service'); throw 1"), "Uncaught Error: 1"),
            (
                module("import './none.js'"),
                "Uncaught Error: No such module \"none.js\".\n  imported from \"main.js\"",
            ),
            (old, "Uncaught Error: No such module \"node:fs\".\n  imported from \"main.js\""),
            (module("await fetch('http://a.example/')"), fetches),
            (
                module("await new Promise(() => {})"),
                "Uncaught Error: Top-level await in module is unsettled.",
            ),
            (
                module("export const x = 1"),
                "Uncaught TypeError: Incorrect type for map entry 'x': the provided value is not of type 'function or ExportedHandler'.",
            ),
            (bound, "Uncaught Error: boom\n  at main.js:1:7"),
            (script("throw new Error('boom')"), "Uncaught Error: boom\n  at worker.js:1:7"),
            (
                script("addEventListener('fetch'"),
                "Uncaught SyntaxError: missing ) after argument list\n  at worker.js:1:17",
            ),
            (flagged, "No such compatibility flag: there_is_no_such_flag"),
            (latin, "module main.js is not UTF-8"),
        ];
        let count = cases.len();
        for (code, why) in cases {
            assert_fails(&check(&running, code).await, why);
        }
        let WorkerCheck::Unfit(WorkerUnfit::Fails(why)) = check(&running, wasm).await else {
            panic!("it starts")
        };
        assert!(why.starts_with("Uncaught CompileError: "), "{why}");
        assert_eq!(counted(&running, "Refused"), count as u64 + 1);
        assert_eq!((counted(&running, "Fine"), counted(&running, "Unavailable")), (0, 0));
        assert_eq!(processes(), [], "each has ended");
        // Secrets stand in their settings.
        let run = format!("workers/run-{}/cage", std::process::id());
        let cage = running.node.config.node.data_dir.join(run);
        let mut due = tokio::time::interval(Duration::from_millis(5));
        while std::fs::read_dir(&cage).unwrap().flatten().any(|entry| entry.path().is_dir()) {
            due.tick().await;
        }
    });
}

#[test]
fn what_starts_is_fine_whatever_it_is() {
    with_engine("", async |running| {
        let mut many = Code::module(&format!(
            "import text from './t.txt'; import json from './j.json'; import wasm from './w.wasm';
             if (text !== 'größe' || json.a !== 1) throw new Error('other modules');
             new WebAssembly.Instance(wasm); {ANSWERS}"
        ));
        many.modules.push(("t.txt", ModuleKind::Text, "größe".into()));
        many.modules.push(("j.json", ModuleKind::Json, b"{\"a\":1}".to_vec()));
        many.modules.push(("w.wasm", ModuleKind::Wasm, b"\0asm\x01\0\0\0".to_vec()));
        let mut bound = Code::module(&format!(
            "import {{ env }} from 'cloudflare:workers';
             if (env.SECRET !== 'hidden' || env.TEXT !== 'x' || !env.KV.get) throw new Error('no bindings');
             caches.default; {ANSWERS}"
        ));
        bound.bindings = vec![
            ("TEXT", BindingValue::PlainText("x".to_owned())),
            ("SECRET", BindingValue::SecretText),
            ("KV", BindingValue::KvNamespace(KvNamespaceId::from_bytes([6; 16]))),
            ("OBJECTS", BindingValue::DurableObjects(DurableNamespaceId::from_bytes([7; 16]))),
        ];
        bound.secrets = BTreeMap::from([(BindingName::parse("SECRET").unwrap(), "hidden".to_owned())]);
        let silent = Code::module(&format!("console.log = console.error = () => {{}}; {ANSWERS}"));
        let talks = Code::module(&format!(
            "console.log('{{\"event\":'); for (let i = 0; i < 1000; i += 1) console.error('x'.repeat(1000)); {ANSWERS}"
        ));
        let class = "import { WorkerEntrypoint } from 'cloudflare:workers';
                     export default class extends WorkerEntrypoint { fetch() { return new Response('fine') } }";
        let named = "import { WorkerEntrypoint } from 'cloudflare:workers';
                     export class Api extends WorkerEntrypoint { greet() { return 'fine' } }";
        let mut old = Code::module(ANSWERS);
        old.compatibility_date = "2021-11-02";
        let module = Code::module;
        for code in [
            module(ANSWERS),
            many,
            bound,
            silent,
            talks,
            module(class),
            module(named),
            module("export default { scheduled() {} }"),
            old,
            script("addEventListener('queue', () => {})"),
        ] {
            assert_is_fine(&check(&running, code).await);
        }
        // More than are tried at a time wait for their turn.
        let checks = running.service.checks();
        let all = (0..4).map(|_| checks.check(new(Code::module(ANSWERS), &[])));
        futures_util::future::join_all(all).await.iter().for_each(assert_is_fine);
        assert_eq!(counted(&running, "Fine"), 14);
        assert_eq!(processes(), []);
    });
}

#[test]
fn what_takes_too_much_as_it_starts_is_ended() {
    with_engine("memory_bytes_max = 268435456", async |running| {
        for code in ["for (;;) {}", "for (;;) console.log('x'.repeat(100000))"] {
            assert_fails(
                &check(&running, Code::module(code)).await,
                "Script startup exceeded CPU time limit.",
            );
        }
        let takes = "const kept = []; for (;;) kept.push(new Uint8Array(8 << 20).fill(1))";
        assert_fails(&check(&running, Code::module(takes)).await, "Script startup exceeded memory limit.");
        assert_is_fine(&check(&running, Code::module(ANSWERS)).await);
        assert_eq!(processes(), []);
    });
}

#[test]
fn what_nobody_could_ask_and_what_lacks_a_class_is_refused() {
    with_engine("", async |running| {
        for code in [Code::module("export default {}"), Code::module(""), script("let x = 1")] {
            let checked = check(&running, code).await;
            assert_eq!(checked, WorkerCheck::Unfit(WorkerUnfit::HandlesNothing));
        }
        let checks = running.service.checks();
        let text = "import { DurableObject } from 'cloudflare:workers';
                    export class Counter extends DurableObject {}
                    export const Room = { fetch() {} };";
        let code = || Code::module(&format!("{text}{ANSWERS}"));
        assert_is_fine(&checks.check(new(code(), &["Counter"])).await);
        for (class, classes) in [("Room", ["Counter", "Room"]), ("Gone", ["Counter", "Gone"])] {
            let lacks = WorkerUnfit::Lacks(DurableClass::parse(class).unwrap());
            assert_eq!(checks.check(new(code(), &classes)).await, WorkerCheck::Unfit(lacks));
        }
        let mut bound = code();
        bound.bindings = vec![("KV", BindingValue::KvNamespace(KvNamespaceId::from_bytes([6; 16])))];
        assert_is_fine(&checks.check(new(bound, &["Counter"])).await);
    });
}

#[test]
fn nothing_is_held_against_a_version_where_no_engine_runs() {
    let broken = || Code::module("throw new Error('boom')");
    with_node("workerd = \"/there/is/none\"", async |running| {
        let checked = check(&running, broken()).await;
        assert_eq!(checked, WorkerCheck::Unknown("no Workers run here".to_owned()));
        assert_eq!(counted(&running, "Unavailable"), 1);
    });
    // The machine's kernel ends a process as this does.
    with_node(&format!("workerd = {:?}", workerd()), async |running| {
        let ending = async {
            let mut due = tokio::time::interval(Duration::from_millis(1));
            loop {
                for process in processes() {
                    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL).ok();
                }
                due.tick().await;
            }
        };
        let spins = Code::module("for (;;) {}");
        let checked = tokio::select! {
            () = ending => unreachable!("it goes on"),
            checked = check(&running, spins) => checked,
        };
        assert!(matches!(checked, WorkerCheck::Unknown(_)), "{checked:?}");
    });
}
