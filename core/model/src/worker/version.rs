//! Versions of a Worker: what its code is made of, and what it is given.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ContentHash, ContentRef, WorkerAnnotations, WorkerAssets, WorkerName, WorkerVersionId};
use crate::{
    AccountId, BucketName, DurableNamespaceId, Entity, Invalid, Jurisdiction, Key, Kind, KvNamespaceId,
    QueueName, Timestamp, excerpt, limits, name::text_name,
};

/// Code with what it is given. It never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerVersion {
    /// Whose the Worker is.
    pub account: AccountId,
    /// The Worker.
    pub worker: WorkerName,
    /// Its id.
    pub id: WorkerVersionId,
    /// Its number, from 1.
    pub number: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it, as the log names authors.
    pub author: String,
    /// With which tool it was made (`wrangler`, `api`).
    pub source: String,
    /// What was said of it.
    pub annotations: WorkerAnnotations,
    /// How its code is written.
    pub syntax: WorkerSyntax,
    /// The module where its code begins; one of [`Self::modules`], unless there are none.
    pub main: ModuleName,
    /// The day whose behaviour of the engine it wants.
    pub compatibility_date: CompatibilityDate,
    /// Behaviour of the engine that it wants besides.
    pub compatibility_flags: Vec<CompatibilityFlag>,
    /// What it is given; names are unique.
    pub bindings: Vec<WorkerBinding>,
    /// What its code is made of; names are unique. None of a version that has assets and no code.
    pub modules: Vec<WorkerModule>,
    /// How much time of a processor one invocation may take, in milliseconds; the network's default without it.
    pub cpu_ms_max: Option<u32>,
    /// How many requests one invocation may make; the network's default without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subrequests_max: Option<u32>,
    /// The files that it answers with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assets: Option<WorkerAssets>,
}

impl WorkerVersion {
    /// The module of this name.
    pub fn module(&self, name: &ModuleName) -> Option<&WorkerModule> {
        self.modules.iter().find(|module| module.name == *name)
    }

    /// Whether it has code; without, it has assets.
    pub const fn has_code(&self) -> bool {
        !self.modules.is_empty()
    }

    /// What it is made of, but for the files of its assets; a content may come several times.
    pub fn contents(&self) -> impl Iterator<Item = ContentRef> {
        let assets = self.assets.iter().flat_map(WorkerAssets::contents);
        self.modules.iter().map(ContentRef::from).chain(assets)
    }

    /// The names of its secrets.
    pub fn secrets(&self) -> impl Iterator<Item = &BindingName> {
        self.bindings
            .iter()
            .filter(|binding| binding.value == BindingValue::SecretText)
            .map(|binding| &binding.name)
    }
}

impl Entity for WorkerVersion {
    const KIND: Kind = Kind::WorkerVersion;
    type Id = (AccountId, WorkerName, WorkerVersionId);

    fn key(&self) -> Key {
        Key::new(Self::KIND, &[&self.account, &self.worker, &self.id])
    }

    fn key_of((account, worker, id): &Self::Id) -> Key {
        Key::new(Self::KIND, &[account, worker, id])
    }
}

/// How a Worker's code is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerSyntax {
    /// ES modules: handlers are exported, bindings come as `env`.
    Modules,
    /// One script: handlers are added by `addEventListener`, bindings are globals.
    ServiceWorker,
}

/// What kind of module it is: how it is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModuleKind {
    /// JavaScript with `import` and `export`.
    EsModule,
    /// JavaScript with `require`; or, of [`WorkerSyntax::ServiceWorker`], the script.
    CommonJs,
    /// A string.
    Text,
    /// An `ArrayBuffer`.
    Data,
    /// A `WebAssembly.Module`.
    Wasm,
    /// What its JSON says.
    Json,
    /// Where in the sources another module's code stands; not imported.
    SourceMap,
}

/// A module of a version. Its octets lie in [`WorkerContent`](super::WorkerContent).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerModule {
    /// What it is imported as.
    pub name: ModuleName,
    /// How it is imported.
    pub kind: ModuleKind,
    /// How many octets it has.
    pub octets: u32,
    /// SHA-256 of them.
    pub hash: ContentHash,
}

/// What a module is imported as. Not a path of any file system: `..` in it means nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModuleName(String);

impl ModuleName {
    /// Parses a module's name.
    ///
    /// # Errors
    /// What is empty, too long, or cannot be printed.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if !(1..=limits::WORKER_MODULE_NAME_OCTETS_MAX).contains(&text.len())
            || text.chars().any(char::is_control)
        {
            return Err(Invalid::new(
                "modules",
                format!("{} is not a module's name", excerpt(text)),
                "give 1 to 512 octets that can be printed",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What code calls something that it is given: an identifier of JavaScript, of ASCII.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BindingName(String);

impl BindingName {
    /// Parses a binding's name.
    ///
    /// # Errors
    /// What code could not call anything.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let is_of_it = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'$');
        if !(1..=limits::WORKER_BINDING_NAME_OCTETS_MAX).contains(&text.len())
            || !text.bytes().all(is_of_it)
            || text.starts_with(|first: char| first.is_ascii_digit())
        {
            return Err(Invalid::new(
                "bindings",
                format!("{} is not a binding's name", excerpt(text)),
                "give a JavaScript variable's name of at most 128 letters, digits, _ and $",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Something that code is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerBinding {
    /// What the code calls it.
    pub name: BindingName,
    /// What it is.
    pub value: BindingValue,
}

/// What a binding is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BindingValue {
    /// This string.
    PlainText(String),
    /// What this says.
    Json(Value),
    /// A string that nobody reads but the code: in [`WorkerSecrets`](super::WorkerSecrets), under the binding's name.
    SecretText,
    /// Another Worker of the account.
    Service {
        /// The Worker.
        worker: WorkerName,
        /// What of it answers, if not its default export.
        entrypoint: Option<String>,
        /// What it gets as `ctx.props`.
        props: Option<Value>,
    },
    /// A namespace of keys and values of the account.
    KvNamespace(KvNamespaceId),
    /// A bucket of the account.
    R2Bucket {
        /// Its name.
        bucket: BucketName,
        /// Where its objects must stay, as the bucket says, too.
        jurisdiction: Option<Jurisdiction>,
    },
    /// A queue of the account, to send to.
    Queue {
        /// Its name.
        queue: QueueName,
        /// How long messages wait of which nothing else is said, in seconds; without, as the queue says.
        delivery_delay_seconds: Option<u32>,
    },
    /// Durable Objects of the account.
    DurableObjects(DurableNamespaceId),
    /// The version's own assets.
    Assets,
    /// What the version is: its id, its tag and when it was made.
    VersionMetadata,
    /// The text of a module, as a string (service-worker syntax).
    TextBlob(ModuleName),
    /// The octets of a module, as an `ArrayBuffer` (service-worker syntax).
    DataBlob(ModuleName),
    /// A module compiled, as a `WebAssembly.Module` (service-worker syntax).
    WasmModule(ModuleName),
}

/// The day whose behaviour of the engine a Worker wants, `YYYY-MM-DD`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CompatibilityDate(String);

impl CompatibilityDate {
    /// Parses a date; whether the engine knows it already is not looked at.
    ///
    /// # Errors
    /// What is no day of the calendar.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        // Exactly this form, so that dates compare as texts.
        let is_one = text.len() == "YYYY-MM-DD".len()
            && jiff::civil::Date::strptime("%Y-%m-%d", text).is_ok_and(|date| date.to_string() == text);
        if !is_one {
            return Err(Invalid::new(
                "compatibility_date",
                format!("{} is not a date", excerpt(text)),
                "give a day such as 2026-01-31",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The oldest that there is: what a Worker gets that gives none.
    pub fn oldest() -> Self {
        Self("2021-11-02".to_owned())
    }

    /// The date as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Behaviour of the engine by its name (`nodejs_compat`); whether the engine knows it is not looked at.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CompatibilityFlag(String);

impl CompatibilityFlag {
    /// Parses a flag.
    ///
    /// # Errors
    /// What no flag is called.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let is_of_it = |octet: u8| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b':');
        if !(1..=limits::WORKER_FLAG_OCTETS_MAX).contains(&text.len()) || !text.bytes().all(is_of_it) {
            return Err(Invalid::new(
                "compatibility_flags",
                format!("{} is not a compatibility flag", excerpt(text)),
                "give flags such as nodejs_compat",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The flag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it asks for something that the engine's makers call experimental, and that code of strangers is not given: some of
    /// it is not finished, and some of it opens what is not kept apart.
    pub fn is_experimental(&self) -> bool {
        EXPERIMENTAL.binary_search(&self.as_str()).is_ok()
    }
}

/// The flags that the engine (workerd 2026-11-17) takes with `--experimental` alone, in the order of their octets. Another version of it
/// may have others: it says so of each when it is run without.
const EXPERIMENTAL: [&str; 42] = [
    "allow_insecure_inefficient_logged_eval",
    "auto_inject_python_workers",
    "cache_reload_enabled",
    "connect_handler_starttls",
    "connect_pass_through",
    "d1_binding_jsrpc",
    "durable_object_get_existing",
    "durable_object_rename",
    "durable_object_snapshots",
    "enable_abortsignal_rpc",
    "enable_ctx_version_metadata",
    "enable_d1_with_sessions_api",
    "enable_nodejs_inspector_local_dev",
    "enable_version_api",
    "enable_web_file_system",
    "experimental",
    "expose_draining_reader",
    "expose_serialization_test_class",
    "increase_websocket_message_size",
    "js_rpc",
    "kv_direct_binding",
    "memory_cache_delete",
    "offpeak_location_hint",
    "precise_timers",
    "python_workers_development",
    "python_workers_durable_objects",
    "replica_routing",
    "rpc_dispose_cancels_call",
    "rtti_api",
    "service_binding_extra_handlers",
    "spec_compliant_property_attributes",
    "streaming_tail_worker",
    "streams_no_default_auto_allocate_chunk_size",
    "tail_worker_user_spans",
    "typescript_implemented_streams",
    "typescript_strip_types",
    "unsafe_module",
    "unsupported_process_actual_platform",
    "wasm_memory_discard",
    "webgpu",
    "workflows_bindings_rpc",
    "workflows_step_rollback",
];

text_name!(ModuleName);
text_name!(BindingName);
text_name!(CompatibilityDate);
text_name!(CompatibilityFlag);
