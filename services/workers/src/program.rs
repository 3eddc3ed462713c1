//! What the engine is given of a version: pure. Modules, bindings, and the day whose behaviour it wants, as JSON that the
//! dispatcher (`engine/dispatcher.js`) hands to the engine's loader, or that becomes the settings of a process of the version's
//! own (`engine/own/settings.rs`).
//!
//! Some bindings are `stubs`: entrypoints of the dispatcher, with what they are told (`props`, and who is `asking`), which code cannot
//! change.

mod modules;

use std::{collections::BTreeMap, fmt::Write as _};

use proxima_model::{
    BindingName, BindingValue, DurableClass, DurableNamespaceId, ModuleKind, ModuleName, WorkerSyntax,
    WorkerVersion,
};
use serde_json::{Map, Value, json};

use self::modules::{import, says, written};
use crate::version::VersionKey;

/// Runs scripts of service-worker syntax.
const SERVICE_WORKER: &str = include_str!("service_worker.js");
/// Its module's name. Begins as no path does.
const SERVICE_WORKER_NAME: &str = "proxima-service-worker.js";

/// Makes of what the dispatcher hands over what Workers expect of some bindings.
const BINDINGS: &str = include_str!("bindings.js");
const BINDINGS_NAME: &str = "proxima-bindings.js";
/// What it makes namespaces of keys and values.
const KV_NAMESPACE: &str = include_str!("kv_namespace.js");
const KV_NAMESPACE_NAME: &str = "proxima-kv-namespace.js";
/// What it makes queues.
const QUEUE: &str = include_str!("queue.js");
const QUEUE_NAME: &str = "proxima-queue.js";
/// What it makes buckets.
const R2_BUCKET: &str = include_str!("r2_bucket.js");
const R2_BUCKET_NAME: &str = "proxima-r2-bucket.js";
/// What it makes namespaces of Durable Objects, and how those pass values.
pub(crate) const DURABLE_OBJECTS: &str = include_str!("durable_objects.js");
const DURABLE_OBJECTS_NAME: &str = "proxima-durable-objects.js";
pub(crate) const VALUES: &str = include_str!("values.js");
const VALUES_NAME: &str = "proxima-values.js";
/// Streams that are put into buckets and caches.
const MARKED: &str = include_str!("marked.js");
const MARKED_NAME: &str = "proxima-marked.js";
/// The Cache API, for code that says its name.
const CACHE_API: &str = include_str!("cache_api.js");
const CACHE_API_NAME: &str = "proxima-cache-api.js";
/// The global by which code asks for it.
const CACHE_API_GLOBAL: &str = "caches";
/// What is handed over for it: no binding of a Worker's is called so.
const CACHE_API_BINDING: &str = "proxima:cache";
/// Has requests pass through, for code that says how it asks for that.
const PASS_THROUGH: &str = include_str!("pass_through.js");
const PASS_THROUGH_NAME: &str = "proxima-pass-through.js";
/// The method by which code asks for it.
const PASS_THROUGH_METHOD: &str = "passThroughOnException";
/// What is handed over for it.
const PASS_THROUGH_BINDING: &str = "proxima:pass";
/// A module of the engine's, for code that says its name, in the engine's place.
const EMAIL: &str = include_str!("email.js");
const EMAIL_NAME: &str = "cloudflare:email";
/// Begins Workers of modules that have such bindings.
const MAIN: &str = include_str!("main.js");
const MAIN_NAME: &str = "proxima-main.js";
/// The code of a version that has assets alone: what others that are bound to it ask.
const ASSETS_ALONE: &str = "export default { fetch: (request, env) => env.ASSETS.fetch(request) };";
const ASSETS_BINDING: &str = "ASSETS";
/// The entrypoint of the dispatcher that has a version's assets.
const ASSETS: &str = "Assets";
/// From when on messages of which nothing else is said are JSON, and before it structured clones; and what says so whenever.
const QUEUES_JSON: (&str, &str, &str) = ("2024-03-18", "queues_json_messages", "no_queues_json_messages");
/// From when on a module of ours can have the dispatcher write such clones; and what says so whenever.
const CALLS: (&str, &str, &str) = ("2024-04-03", "rpc", "no_rpc");
/// With this flag modules of ours would not come by the bindings.
const ENV_HIDDEN: &str = "disallow_importable_env";

/// Why a version cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProgramError {
    #[error("the content of module {0} is not there")]
    Missing(ModuleName),
    #[error("module {0} is not UTF-8")]
    NotText(ModuleName),
    #[error("module {0} is not JSON")]
    NotJson(ModuleName),
    #[error("the secret {0} is not there")]
    NoSecret(BindingName),
}

/// A version as the dispatcher reads it. `classes`: those of its exports that there are Durable Objects of. `content` gives a module's
/// octets.
pub(crate) fn program(
    version: &WorkerVersion,
    secrets: &BTreeMap<BindingName, String>,
    classes: &[DurableClass],
    mut content: impl FnMut(&ModuleName) -> Option<Vec<u8>>,
) -> Result<Value, ProgramError> {
    let (mut modules, mut bound) = (Map::new(), Bound::default());
    for module in &version.modules {
        if module.kind == ModuleKind::SourceMap {
            continue;
        }
        let octets = content(&module.name).ok_or_else(|| ProgramError::Missing(module.name.clone()))?;
        let written = written(&module.name, module.kind, octets)?;
        bound.caches |= says(&written, CACHE_API_GLOBAL);
        bound.passes |= says(&written, PASS_THROUGH_METHOD);
        if says(&written, EMAIL_NAME) {
            modules.insert(EMAIL_NAME.to_owned(), json!({ "js": EMAIL }));
        }
        modules.insert(module.name.as_str().to_owned(), written);
    }
    let account = version.account;
    let (mut env, mut stubs) = (Map::new(), Map::new());
    let mut stub = |name: &str, entrypoint: &str, props: Value| {
        stubs.insert(name.to_owned(), json!({ "entrypoint": entrypoint, "props": props }));
    };
    let code = VersionKey { account, worker: version.worker.clone(), version: version.id }.to_string();
    if bound.caches {
        // Taken out of `env` again before any code of the Worker runs.
        stub(CACHE_API_BINDING, "Cache", json!({}));
    }
    if bound.passes {
        stub(PASS_THROUGH_BINDING, "Pass", json!({}));
    }
    if !version.has_code() {
        modules.insert(version.main.as_str().to_owned(), json!({ "js": ASSETS_ALONE }));
        stub(ASSETS_BINDING, ASSETS, json!({}));
    }
    let mut imported = String::new();
    for binding in &version.bindings {
        let name = &binding.name;
        let value = match &binding.value {
            BindingValue::PlainText(text) => json!(text),
            BindingValue::Json(value) => value.clone(),
            BindingValue::VersionMetadata => metadata(version),
            BindingValue::SecretText => {
                json!(secrets.get(name).ok_or_else(|| ProgramError::NoSecret(name.clone()))?)
            }
            BindingValue::TextBlob(module)
            | BindingValue::DataBlob(module)
            | BindingValue::WasmModule(module) => {
                import(name, module, &mut imported);
                continue;
            }
            BindingValue::Service { worker, entrypoint, props } => {
                let props = json!({ "worker": worker, "entrypoint": entrypoint, "props": props });
                stub(name.as_str(), "Service", props);
                continue;
            }
            BindingValue::KvNamespace(namespace) => {
                stub(name.as_str(), "Kv", json!({ "namespace": namespace }));
                bound.namespaces.push(name.as_str());
                continue;
            }
            BindingValue::R2Bucket { bucket, jurisdiction } => {
                let props = json!({ "bucket": bucket, "jurisdiction": jurisdiction });
                stub(name.as_str(), "R2", props);
                bound.buckets.push(name.as_str());
                continue;
            }
            BindingValue::DurableObjects(namespace) => {
                stub(name.as_str(), "Durable", json!({ "namespace": namespace }));
                bound.objects.push((name.as_str(), *namespace));
                continue;
            }
            BindingValue::Queue { queue, delivery_delay_seconds } => {
                let content_type = if has(version, QUEUES_JSON) { "json" } else { "v8" };
                let settings = json!({ "type": content_type, "delay": delivery_delay_seconds });
                stub(name.as_str(), "Queue", json!({ "queue": queue }));
                bound.queues.insert(name.as_str().to_owned(), settings);
                continue;
            }
            BindingValue::Assets => {
                stub(name.as_str(), ASSETS, json!({}));
                continue;
            }
        };
        env.insert(name.as_str().to_owned(), value);
    }
    let (main, began) = begin(version, &bound, imported);
    modules.extend(began);
    let mut flags = version.compatibility_flags.clone();
    if main != version.main.as_str() {
        flags.retain(|flag| flag.as_str() != ENV_HIDDEN);
    }
    if !bound.queues.is_empty() && !has(version, CALLS) && !is_said(version, CALLS.2) {
        flags.push(CALLS.1.parse().expect("it is a flag's name"));
    }
    Ok(json!({
        "mainModule": main,
        "modules": modules,
        "env": env,
        "stubs": stubs,
        "classes": classes,
        "asking": { "account": account, "code": code },
        "compatibilityDate": version.compatibility_date,
        "compatibilityFlags": flags,
    }))
}

/// What a version is told that it is. One that nobody has called anything has a tag without letters.
fn metadata(version: &WorkerVersion) -> Value {
    let tag = version.annotations.tag.as_deref().unwrap_or_default();
    json!({ "id": version.id, "tag": tag, "timestamp": version.created_at.to_string() })
}

/// What is to be made what Workers expect.
#[derive(Default)]
struct Bound<'v> {
    /// Whether it has the Cache API. Code that never says `caches` is given none, and begins without a module of ours.
    caches: bool,
    /// Whether it may have its requests pass through.
    passes: bool,
    namespaces: Vec<&'v str>,
    buckets: Vec<&'v str>,
    objects: Vec<(&'v str, DurableNamespaceId)>,
    /// What is said of each.
    queues: Map<String, Value>,
}

/// Whether a version is run with what has come on a day, or by a flag, and can be declined by another flag.
fn has(version: &WorkerVersion, (since, with, without): (&str, &str, &str)) -> bool {
    is_said(version, with) || (version.compatibility_date.as_str() >= since && !is_said(version, without))
}

fn is_said(version: &WorkerVersion, flag: &str) -> bool {
    version.compatibility_flags.iter().any(|said| said.as_str() == flag)
}

impl Bound<'_> {
    fn is_empty(&self) -> bool {
        !self.caches
            && !self.passes
            && self.namespaces.is_empty()
            && self.buckets.is_empty()
            && self.objects.is_empty()
            && self.queues.is_empty()
    }

    /// The statements that make namespaces of Durable Objects what Workers expect.
    fn objects(&self) -> String {
        let mut text = format!("import {{ DurableObjectNamespace }} from {};\n", json!(DURABLE_OBJECTS_NAME));
        for (name, id) in &self.objects {
            let name = json!(name);
            // Writing to a string does not fail.
            let _ = writeln!(text, "env[{name}] = new DurableObjectNamespace(env[{name}], {});", json!(id));
        }
        text
    }
}

/// Where a version begins, and the modules of ours that it takes. `imported`: the statements that make modules globals.
fn begin<'v>(
    version: &'v WorkerVersion,
    bound: &Bound<'_>,
    imported: String,
) -> (&'v str, Map<String, Value>) {
    let mut modules = Map::new();
    let mut add = |name: &str, text: String| modules.insert(name.to_owned(), json!({ "js": text }));
    if !bound.is_empty() {
        let (namespaces, buckets) = (json!(bound.namespaces).to_string(), json!(bound.buckets).to_string());
        // A binding may be called as either word: no name is replaced in another's list.
        let (before, after) = BINDINGS.split_once("BUCKETS)").expect("it is ours");
        let (between, after) = after.split_once("QUEUES)").expect("it is ours");
        let before = before.replace("NAMESPACES)", &format!("{namespaces})"));
        let settings = Value::from(bound.queues.clone());
        let mut text = String::new();
        // Whatever takes something out of `env` does so first.
        for (is_taken, name, module) in
            [(bound.caches, CACHE_API_NAME, CACHE_API), (bound.passes, PASS_THROUGH_NAME, PASS_THROUGH)]
        {
            if is_taken {
                let _ = writeln!(text, "import {};", json!(name));
                add(name, module.to_owned());
            }
        }
        let _ = write!(text, "{before}{buckets}){between}{settings}){after}");
        if !bound.objects.is_empty() {
            text += &bound.objects();
            add(DURABLE_OBJECTS_NAME, DURABLE_OBJECTS.to_owned());
            add(VALUES_NAME, VALUES.to_owned());
        }
        add(QUEUE_NAME, QUEUE.to_owned());
        add(BINDINGS_NAME, text);
        add(KV_NAMESPACE_NAME, KV_NAMESPACE.to_owned());
        add(R2_BUCKET_NAME, R2_BUCKET.to_owned());
        add(MARKED_NAME, MARKED.to_owned());
    }
    let main = json!(version.main).to_string();
    let guarded = if bound.passes {
        format!("import {{ guard }} from {};\nguard(begun);\n", json!(PASS_THROUGH_NAME))
    } else {
        String::new()
    };
    let begins = match version.syntax {
        WorkerSyntax::Modules if bound.is_empty() => version.main.as_str(),
        WorkerSyntax::Modules => {
            add(MAIN_NAME, MAIN.replace("MAIN", &main) + &guarded);
            MAIN_NAME
        }
        WorkerSyntax::ServiceWorker => {
            let mut text = imported;
            if !bound.is_empty() {
                text += &format!("import {};\n", json!(BINDINGS_NAME));
            }
            add(SERVICE_WORKER_NAME, text + &SERVICE_WORKER.replace("SCRIPT", &main) + &guarded);
            SERVICE_WORKER_NAME
        }
    };
    (begins, modules)
}

#[cfg(test)]
mod tests {
    use proxima_model::{
        AccountId, CompatibilityDate, ContentHash, DurableNamespaceId, KvNamespaceId, QueueName, Timestamp,
        WorkerAnnotations, WorkerBinding, WorkerModule, WorkerName, WorkerVersionId,
    };

    use super::*;

    pub(super) fn version(syntax: WorkerSyntax, modules: &[(&str, ModuleKind)]) -> WorkerVersion {
        let module = |&(name, kind): &(&str, ModuleKind)| WorkerModule {
            name: ModuleName::parse(name).unwrap(),
            kind,
            octets: 1,
            hash: ContentHash::from_bytes([0; 32]),
        };
        WorkerVersion {
            account: AccountId::from_bytes([1; 16]),
            worker: WorkerName::parse("app").unwrap(),
            id: WorkerVersionId::from_random([2; 16]),
            number: 1,
            created_at: Timestamp::from_millis(0),
            author: "test".to_owned(),
            source: "api".to_owned(),
            annotations: WorkerAnnotations::default(),
            syntax,
            main: ModuleName::parse(modules[0].0).unwrap(),
            compatibility_date: CompatibilityDate::oldest(),
            compatibility_flags: vec!["nodejs_compat".parse().unwrap()],
            bindings: Vec::new(),
            modules: modules.iter().map(module).collect(),
            cpu_ms_max: None,
            subrequests_max: None,
            assets: None,
        }
    }

    fn bind(version: &mut WorkerVersion, name: &str, value: BindingValue) {
        version.bindings.push(WorkerBinding { name: BindingName::parse(name).unwrap(), value });
    }

    #[test]
    fn modules_are_written_as_the_loader_takes_their_kinds() {
        let kinds = [
            ("main.js", ModuleKind::EsModule),
            ("c.cjs", ModuleKind::CommonJs),
            ("t.txt", ModuleKind::Text),
            ("d.bin", ModuleKind::Data),
            ("w.wasm", ModuleKind::Wasm),
            ("j.json", ModuleKind::Json),
            ("main.js.map", ModuleKind::SourceMap),
        ];
        let version = version(WorkerSyntax::Modules, &kinds);
        let made = program(&version, &BTreeMap::new(), &[], |_| Some(b"[1]".to_vec())).unwrap();
        let modules = json!({
            "main.js": { "js": "[1]" }, "c.cjs": { "cjs": "[1]" }, "t.txt": { "text": "[1]" },
            "d.bin": { "data": "WzFd" }, "w.wasm": { "wasm": "WzFd" }, "j.json": { "json": [1] },
        });
        let asking = format!("{}/app/{}", version.account, version.id);
        let expected = json!({
            "mainModule": "main.js", "modules": modules, "env": {}, "stubs": {}, "classes": [],
            "asking": { "account": version.account, "code": asking },
            "compatibilityDate": "2021-11-02", "compatibilityFlags": ["nodejs_compat"],
        });
        assert_eq!(made, expected);
    }

    #[test]
    fn bindings_become_values_and_what_is_missing_is_told() {
        let mut version = version(WorkerSyntax::Modules, &[("main.js", ModuleKind::EsModule)]);
        bind(&mut version, "TEXT", BindingValue::PlainText("x".to_owned()));
        bind(&mut version, "JSON", BindingValue::Json(json!({ "a": [1] })));
        bind(&mut version, "SECRET", BindingValue::SecretText);
        bind(&mut version, "VERSION", BindingValue::VersionMetadata);
        version.annotations.tag = Some("v1".to_owned());
        let worker = WorkerName::parse("back").unwrap();
        let service = BindingValue::Service { worker, entrypoint: Some("Api".to_owned()), props: None };
        bind(&mut version, "BACK", service);
        let secret = BindingName::parse("SECRET").unwrap();
        let secrets = BTreeMap::from([(secret.clone(), "hidden".to_owned())]);
        let content = |_: &ModuleName| Some(Vec::new());
        let made = program(&version, &secrets, &[], content).unwrap();
        let metadata = json!({ "id": version.id, "tag": "v1", "timestamp": "1970-01-01T00:00:00.000000Z" });
        let env = json!({ "TEXT": "x", "JSON": { "a": [1] }, "SECRET": "hidden", "VERSION": metadata });
        assert_eq!(made["env"], env);
        let props = json!({ "worker": "back", "entrypoint": "Api", "props": null });
        assert_eq!(made["stubs"], json!({ "BACK": { "entrypoint": "Service", "props": props } }));
        assert_eq!(program(&version, &BTreeMap::new(), &[], content), Err(ProgramError::NoSecret(secret)));
        assert_eq!(
            program(&version, &secrets, &[], |_| None),
            Err(ProgramError::Missing(version.main.clone()))
        );
        let octets = |_: &ModuleName| Some(vec![0xff]);
        assert_eq!(
            program(&version, &secrets, &[], octets),
            Err(ProgramError::NotText(version.main.clone()))
        );
    }

    #[test]
    fn a_script_of_service_worker_syntax_is_run_by_a_module_of_ours() {
        let modules = [("worker.js", ModuleKind::CommonJs), ("w.wasm", ModuleKind::Wasm)];
        let mut version = version(WorkerSyntax::ServiceWorker, &modules);
        bind(&mut version, "ADD", BindingValue::WasmModule(ModuleName::parse("w.wasm").unwrap()));
        let made = program(&version, &BTreeMap::new(), &[], |_| Some(Vec::new())).unwrap();
        assert_eq!(made["mainModule"], SERVICE_WORKER_NAME);
        let runner = made["modules"][SERVICE_WORKER_NAME]["js"].as_str().unwrap();
        assert!(made["modules"].get(BINDINGS_NAME).is_none(), "nothing is to be made of its bindings");
        assert!(
            runner.starts_with("import blob0 from \"w.wasm\"; globalThis[\"ADD\"] = blob0;\n"),
            "{runner}"
        );
        assert!(runner.contains("await import(\"worker.js\");"), "{runner}");
    }

    #[test]
    fn durable_objects_are_made_what_workers_expect_and_classes_are_named() {
        let namespace = DurableNamespaceId::from_bytes([9; 16]);
        let mut version = version(WorkerSyntax::Modules, &[("main.js", ModuleKind::EsModule)]);
        bind(&mut version, "COUNTER", BindingValue::DurableObjects(namespace));
        let classes = [DurableClass::parse("Counter").unwrap()];
        let made = program(&version, &BTreeMap::new(), &classes, |_| Some(Vec::new())).unwrap();
        assert_eq!(
            (&made["stubs"]["COUNTER"]["props"]["namespace"], &made["classes"]),
            (&json!(namespace), &json!(["Counter"]))
        );
        let text = made["modules"][BINDINGS_NAME]["js"].as_str().unwrap();
        let made_of_it =
            format!("env[\"COUNTER\"] = new DurableObjectNamespace(env[\"COUNTER\"], \"{namespace}\");");
        assert!(text.ends_with(&format!("{made_of_it}\n")), "{text}");
        assert!(made["modules"].get(VALUES_NAME).is_some());
    }

    #[test]
    fn a_namespace_is_made_what_workers_expect_before_their_code_runs() {
        let namespace = KvNamespaceId::from_bytes([7; 16]);
        for (syntax, begins) in
            [(WorkerSyntax::Modules, MAIN_NAME), (WorkerSyntax::ServiceWorker, SERVICE_WORKER_NAME)]
        {
            let mut version = version(syntax, &[("a\"b.js", ModuleKind::EsModule)]);
            version.compatibility_flags.push(ENV_HIDDEN.parse().unwrap());
            let content = |_: &ModuleName| Some(Vec::new());
            let flags = |made: &Value| made["compatibilityFlags"].as_array().unwrap().len();
            if syntax == WorkerSyntax::Modules {
                let plain = program(&version, &BTreeMap::new(), &[], content).unwrap();
                assert_eq!((plain["mainModule"].as_str(), flags(&plain)), (Some("a\"b.js"), 2));
            }
            bind(&mut version, "KV", BindingValue::KvNamespace(namespace));
            let made = program(&version, &BTreeMap::new(), &[], content).unwrap();
            let props = json!({ "namespace": namespace });
            assert_eq!(made["stubs"], json!({ "KV": { "entrypoint": "Kv", "props": props } }));
            assert_eq!((made["mainModule"].as_str(), flags(&made)), (Some(begins), 1));
            let text = |name: &str| made["modules"][name]["js"].as_str().unwrap().to_owned();
            assert!(text(BINDINGS_NAME).contains("for (const name of [\"KV\"])"), "{made}");
            assert!(text(begins).contains("import \"proxima-bindings.js\";"), "{made}");
            assert!(text(begins).contains("\"a\\\"b.js\""), "{made}");
        }
    }

    #[test]
    fn messages_are_what_the_day_of_a_worker_says_and_old_ones_can_have_them_written() {
        let made = |date: &str, flags: &[&str]| {
            let mut version = version(WorkerSyntax::Modules, &[("main.js", ModuleKind::EsModule)]);
            version.compatibility_date = date.parse().unwrap();
            version.compatibility_flags = flags.iter().map(|flag| flag.parse().unwrap()).collect();
            let queue = QueueName::parse("jobs").unwrap();
            bind(&mut version, "JOBS", BindingValue::Queue { queue, delivery_delay_seconds: Some(5) });
            let made = program(&version, &BTreeMap::new(), &[], |_| Some(Vec::new())).unwrap();
            assert_eq!(made["stubs"]["JOBS"]["props"]["queue"], "jobs");
            let bindings = made["modules"][BINDINGS_NAME]["js"].as_str().unwrap();
            let of = |kind: &str| format!("Object.entries({{\"JOBS\":{{\"delay\":5,\"type\":\"{kind}\"}}}})");
            let kind = ["json", "v8"].into_iter().find(|kind| bindings.contains(&of(kind)));
            (kind.unwrap_or_else(|| panic!("{bindings}")), made["compatibilityFlags"].clone())
        };
        assert_eq!(made("2024-04-03", &[]), ("json", json!([])));
        assert_eq!(made("2024-04-03", &["no_queues_json_messages"]).0, "v8");
        assert_eq!(made("2024-03-17", &[]), ("v8", json!(["rpc"])));
        assert_eq!(made("2021-11-02", &["queues_json_messages", "rpc"]).0, "json");
        assert_eq!(made("2021-11-02", &["no_rpc"]).1, json!(["no_rpc"]));
    }
}
