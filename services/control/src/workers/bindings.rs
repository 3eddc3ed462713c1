//! Bindings as v4 writes them, and what becomes of those of the version before.

use std::collections::BTreeMap;

use proxima_model::{
    BindingName, BindingValue, BucketName, DurableNamespaceId, Jurisdiction, KvNamespaceId, ModuleKind,
    ModuleName, QueueName, WorkerBinding, WorkerModule, WorkerName, WorkerSyntax, excerpt,
    limits as model_limits,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{durable::Named, invalid};
use crate::error::{ApiError, Code};

/// The type of bindings to Durable Objects.
const DURABLE_OBJECTS: &str = "durable_object_namespace";
/// The type of bindings to what a version is.
const VERSION_METADATA: &str = "version_metadata";

/// A binding as it is given.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct BindingBody {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    json: Option<Value>,
    #[serde(default)]
    part: Option<String>,
    #[serde(default)]
    service: Option<String>,
    #[serde(default)]
    environment: Option<String>,
    #[serde(default)]
    entrypoint: Option<String>,
    #[serde(default)]
    props: Option<Value>,
    #[serde(default)]
    namespace_id: Option<String>,
    #[serde(default)]
    bucket_name: Option<String>,
    #[serde(default)]
    class_name: Option<String>,
    #[serde(default)]
    script_name: Option<String>,
    #[serde(default)]
    jurisdiction: Option<String>,
    #[serde(default)]
    queue_name: Option<String>,
    #[serde(default)]
    delivery_delay: Option<u32>,
    #[serde(default)]
    cross_account_grant: Option<Value>,
    #[serde(default)]
    old_name: Option<String>,
    #[serde(default)]
    version_id: Option<String>,
}

/// What can be inherited of the version before.
#[derive(Clone, Copy)]
pub(super) struct Former<'a> {
    pub(super) bindings: &'a [WorkerBinding],
    pub(super) modules: &'a [WorkerModule],
    pub(super) secrets: &'a BTreeMap<BindingName, String>,
}

/// The bindings of a new version.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    pub(super) all: Vec<WorkerBinding>,
    pub(super) secrets: BTreeMap<BindingName, String>,
    /// Modules of the former version that come along: what blobs that are inherited are of.
    pub(super) modules: Vec<WorkerModule>,
    /// Classes that are bound to, whose namespaces are yet to be looked up.
    pub(super) named: Vec<(BindingName, Named)>,
}

impl Bindings {
    /// What is given, and of the former version's what is inherited or of a type that is kept.
    pub(super) fn read(
        given: &[BindingBody],
        keep: &[String],
        former: Option<Former<'_>>,
    ) -> Result<Self, ApiError> {
        let mut read = Self::default();
        for (index, body) in given.iter().enumerate() {
            read.take(body, former).map_err(|refusal| refusal.at(format!("/bindings/{index}")))?;
        }
        for binding in former.iter().flat_map(|former| former.bindings) {
            let is_kept = keep.iter().any(|kept| kept == kind(&binding.value));
            if is_kept && !read.has(&binding.name) {
                read.inherit(&binding.name, &binding.name, former)?;
            }
        }
        let count = read.all.len() + read.named.len();
        if count > model_limits::WORKER_BINDINGS_MAX {
            let message = format!(
                "bindings: {count} are given or kept; a version has at most {}",
                model_limits::WORKER_BINDINGS_MAX
            );
            return Err(refuse(message));
        }
        Ok(read)
    }

    /// With the namespaces of the classes that are named.
    pub(super) fn resolved(
        mut self,
        namespace: impl Fn(&BindingName, &Named) -> Result<DurableNamespaceId, ApiError>,
    ) -> Result<Self, ApiError> {
        for (name, named) in std::mem::take(&mut self.named) {
            let value = BindingValue::DurableObjects(namespace(&name, &named)?);
            self.all.push(WorkerBinding { name, value });
        }
        Ok(self)
    }

    /// Whether blobs are of modules that are there, of a kind that they can be of.
    pub(super) fn check(&self, syntax: WorkerSyntax, modules: &[WorkerModule]) -> Result<(), ApiError> {
        for WorkerBinding { name, value } in &self.all {
            let (part, wanted) = match value {
                BindingValue::TextBlob(part) => (part, ModuleKind::Text),
                BindingValue::DataBlob(part) => (part, ModuleKind::Data),
                BindingValue::WasmModule(part) => (part, ModuleKind::Wasm),
                _ => continue,
            };
            if syntax == WorkerSyntax::Modules {
                let message =
                    format!("bindings: {name} is a {}: a Worker of modules imports it instead", kind(value));
                return Err(refuse(message));
            }
            if !modules.iter().any(|module| module.name == *part && module.kind == wanted) {
                let message = format!(
                    "bindings: {name} is of the part {part}, and there is none with the content type {}",
                    super::form::mime(wanted)
                );
                return Err(refuse(message));
            }
        }
        Ok(())
    }

    /// The Workers that are bound to.
    pub(super) fn services(&self) -> impl Iterator<Item = (&BindingName, &WorkerName)> {
        self.all.iter().filter_map(|binding| match &binding.value {
            BindingValue::Service { worker, .. } => Some((&binding.name, worker)),
            _ => None,
        })
    }

    /// The namespaces of keys and values that are bound to.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = (&BindingName, KvNamespaceId)> {
        self.all.iter().filter_map(|binding| match binding.value {
            BindingValue::KvNamespace(namespace) => Some((&binding.name, namespace)),
            _ => None,
        })
    }

    /// The buckets that are bound to.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (&BindingName, &BucketName, Option<Jurisdiction>)> {
        self.all.iter().filter_map(|binding| match &binding.value {
            BindingValue::R2Bucket { bucket, jurisdiction } => Some((&binding.name, bucket, *jurisdiction)),
            _ => None,
        })
    }

    /// The queues that are bound to.
    pub(super) fn queues(&self) -> impl Iterator<Item = (&BindingName, &QueueName)> {
        self.all.iter().filter_map(|binding| match &binding.value {
            BindingValue::Queue { queue, .. } => Some((&binding.name, queue)),
            _ => None,
        })
    }

    fn has(&self, name: &BindingName) -> bool {
        self.all.iter().any(|known| known.name == *name) || self.named.iter().any(|(known, _)| known == name)
    }

    fn take(&mut self, body: &BindingBody, former: Option<Former<'_>>) -> Result<(), ApiError> {
        let name = BindingName::parse(&body.name).map_err(|problem| invalid(&problem))?;
        if self.has(&name) {
            return Err(refuse(format!("bindings: {name} is there twice")));
        }
        if body.kind == "inherit" || body.is_bare() {
            let old = body.old_name.as_deref().unwrap_or(&body.name);
            let old = BindingName::parse(old).map_err(|problem| invalid(&problem))?;
            if body.version_id.as_deref().is_some_and(|version| version != "latest") {
                let message = format!("bindings: {name}: only of the latest version can be inherited yet");
                return Err(ApiError::new(Code::NotOffered, message));
            }
            return self.inherit(&name, &old, former);
        }
        if let Some(class) = body.class_name.as_deref().filter(|_| body.kind == DURABLE_OBJECTS) {
            self.named.push((name, Named::read(class, body.script_name.as_deref())?));
            return Ok(());
        }
        let value = body.value(&name)?;
        if value == BindingValue::SecretText {
            self.secrets.insert(name.clone(), body.text.clone().unwrap_or_default());
        }
        self.all.push(WorkerBinding { name, value });
        Ok(())
    }

    fn inherit(
        &mut self,
        name: &BindingName,
        old: &BindingName,
        former: Option<Former<'_>>,
    ) -> Result<(), ApiError> {
        let found = former.and_then(|former| {
            let found = former.bindings.iter().find(|binding| binding.name == *old)?;
            Some((former, found.value.clone()))
        });
        let Some((former, value)) = found else {
            let message = format!("bindings: {name} is inherited, and the latest version has no {old}");
            return Err(ApiError::new(Code::InheritInvalid, message));
        };
        match &value {
            BindingValue::SecretText => {
                let text = former.secrets.get(old).cloned().unwrap_or_default();
                self.secrets.insert(name.clone(), text);
            }
            BindingValue::TextBlob(part) | BindingValue::DataBlob(part) | BindingValue::WasmModule(part) => {
                self.modules.extend(former.modules.iter().find(|module| module.name == *part).cloned());
            }
            _ => {}
        }
        self.all.push(WorkerBinding { name: name.clone(), value });
        Ok(())
    }
}

impl BindingBody {
    /// Whether it has only a name and one of our types: what stands in a list of bindings that was read is written back so.
    fn is_bare(&self) -> bool {
        let is_ours = matches!(
            self.kind.as_str(),
            "plain_text"
                | "json"
                | "secret_text"
                | "service"
                | "kv_namespace"
                | "r2_bucket"
                | DURABLE_OBJECTS
                | "queue"
                | "text_blob"
                | "data_blob"
                | "wasm_module"
        );
        let has_nothing = self.text.is_none() && self.json.is_none() && self.part.is_none();
        is_ours
            && has_nothing
            && self.service.is_none()
            && self.namespace_id.is_none()
            && self.bucket_name.is_none()
            && self.class_name.is_none()
            && self.queue_name.is_none()
    }

    fn value(&self, name: &BindingName) -> Result<BindingValue, ApiError> {
        let missing =
            |field: &str| refuse(format!("bindings: {name} is a {}, and has no {field}", self.kind));
        let part = || {
            let part = self.part.as_deref().ok_or_else(|| missing("part"))?;
            ModuleName::parse(part).map_err(|problem| invalid(&problem))
        };
        match self.kind.as_str() {
            kind @ ("plain_text" | "secret_text") => {
                let text = self.text.as_deref().ok_or_else(|| missing("text"))?;
                bounded(name, text.len())?;
                let is_secret = kind == "secret_text";
                Ok(if is_secret {
                    BindingValue::SecretText
                } else {
                    BindingValue::PlainText(text.to_owned())
                })
            }
            "json" => {
                let json = self.json.clone().ok_or_else(|| missing("json"))?;
                bounded(name, json.to_string().len())?;
                Ok(BindingValue::Json(json))
            }
            "service" => self.to_service(name),
            "kv_namespace" => {
                let id = self.namespace_id.as_deref().ok_or_else(|| missing("namespace_id"))?;
                let id = id.parse().map_err(|_| unknown_namespace(name, id))?;
                Ok(BindingValue::KvNamespace(id))
            }
            "r2_bucket" => self.to_bucket(name),
            DURABLE_OBJECTS => {
                let id = self.namespace_id.as_deref().ok_or_else(|| missing("class_name"))?;
                let unknown = |_| {
                    let message =
                        format!("bindings: {name}: there is no namespace of Durable Objects {}", excerpt(id));
                    ApiError::new(Code::DurableClassUnknown, message)
                };
                id.parse().map(BindingValue::DurableObjects).map_err(unknown)
            }
            "queue" => self.to_queue(name),
            "assets" => Ok(BindingValue::Assets),
            VERSION_METADATA => Ok(BindingValue::VersionMetadata),
            "text_blob" => part().map(BindingValue::TextBlob),
            "data_blob" => part().map(BindingValue::DataBlob),
            "wasm_module" => part().map(BindingValue::WasmModule),
            other => {
                let message = format!(
                    "bindings: {name} is a {}: bindings of this type are not offered yet",
                    excerpt(other)
                );
                Err(ApiError::new(Code::NotOffered, message))
            }
        }
    }

    fn to_bucket(&self, name: &BindingName) -> Result<BindingValue, ApiError> {
        let bucket = self.bucket_name.as_deref().unwrap_or_default();
        let bucket = BucketName::parse(bucket).map_err(|problem| invalid(&problem))?;
        // `default` is how tools write that there is none.
        let jurisdiction = self.jurisdiction.as_deref().filter(|word| !matches!(*word, "" | "default"));
        let jurisdiction = jurisdiction.map(Jurisdiction::parse).transpose();
        let jurisdiction = jurisdiction.map_err(|problem| refuse(format!("bindings: {name}: {problem}")))?;
        Ok(BindingValue::R2Bucket { bucket, jurisdiction })
    }

    fn to_queue(&self, name: &BindingName) -> Result<BindingValue, ApiError> {
        let queue = self.queue_name.as_deref().unwrap_or_default();
        let queue = QueueName::parse(queue).map_err(|problem| invalid(&problem))?;
        let most = model_limits::QUEUE_DELAY_SECONDS_MAX;
        if self.delivery_delay.is_some_and(|delay| delay > most) {
            return Err(refuse(format!("bindings: {name}: delivery_delay is at most {most} seconds")));
        }
        Ok(BindingValue::Queue { queue, delivery_delay_seconds: self.delivery_delay })
    }

    fn to_service(&self, name: &BindingName) -> Result<BindingValue, ApiError> {
        let not_offered = |what: &str| {
            Err(ApiError::new(Code::NotOffered, format!("bindings: {name}: {what} are not offered yet")))
        };
        if self.cross_account_grant.as_ref().is_some_and(|grant| !grant.is_null()) {
            return not_offered("Workers of other accounts");
        }
        if self.environment.as_deref().is_some_and(|environment| environment != super::ENVIRONMENT) {
            return not_offered("environments other than production");
        }
        let service = self.service.as_deref().unwrap_or_default();
        let worker = WorkerName::parse(service).map_err(|problem| invalid(&problem))?;
        let entrypoint = self.entrypoint.clone().filter(|entrypoint| !entrypoint.is_empty());
        bounded(name, entrypoint.as_ref().map_or(0, String::len))?;
        bounded(name, self.props.as_ref().map_or(0, |props| props.to_string().len()))?;
        Ok(BindingValue::Service { worker, entrypoint, props: self.props.clone() })
    }
}

fn bounded(name: &BindingName, octets: usize) -> Result<(), ApiError> {
    let most = model_limits::WORKER_VARIABLE_OCTETS_MAX;
    if octets <= most {
        return Ok(());
    }
    Err(refuse(format!("bindings: {name} has {octets} octets; a variable or secret has at most {most}")))
}

/// A namespace that the account does not have.
pub(super) fn unknown_namespace(name: &BindingName, id: &str) -> ApiError {
    let message = format!("bindings: {name}: no KV namespace found with ID {}", excerpt(id));
    ApiError::new(Code::KvBindingInvalid, message)
}

/// A bucket that the account does not have.
pub(super) fn unknown_bucket(name: &BindingName, bucket: &BucketName) -> ApiError {
    let message = format!(
        "bindings: {name}: R2 bucket '{bucket}' not found. Please use a different name and try again."
    );
    ApiError::new(Code::BucketNotFound, message)
}

/// A queue that the account does not have.
pub(super) fn unknown_queue(name: &BindingName, queue: &QueueName) -> ApiError {
    ApiError::new(Code::QueueNotFound, format!("bindings: {name}: Queue \"{queue}\" does not exist"))
}

fn refuse(message: String) -> ApiError {
    ApiError::new(Code::WorkerInvalid, message)
}

/// The type of a binding.
pub(super) const fn kind(value: &BindingValue) -> &'static str {
    match value {
        BindingValue::PlainText(_) => "plain_text",
        BindingValue::Json(_) => "json",
        BindingValue::SecretText => "secret_text",
        BindingValue::Service { .. } => "service",
        BindingValue::KvNamespace(_) => "kv_namespace",
        BindingValue::R2Bucket { .. } => "r2_bucket",
        BindingValue::Queue { .. } => "queue",
        BindingValue::DurableObjects(_) => DURABLE_OBJECTS,
        BindingValue::Assets => "assets",
        BindingValue::VersionMetadata => VERSION_METADATA,
        BindingValue::TextBlob(_) => "text_blob",
        BindingValue::DataBlob(_) => "data_blob",
        BindingValue::WasmModule(_) => "wasm_module",
    }
}

/// A binding as v4 shows it; never what a secret is.
pub(super) fn show(WorkerBinding { name, value }: &WorkerBinding) -> Value {
    let mut shown = json!({ "name": name.as_str(), "type": kind(value) });
    match value {
        BindingValue::PlainText(text) => shown["text"] = text.as_str().into(),
        BindingValue::Json(json) => shown["json"] = json.clone(),
        BindingValue::Queue { queue, delivery_delay_seconds } => {
            shown["queue_name"] = queue.as_str().into();
            if let Some(seconds) = delivery_delay_seconds {
                shown["delivery_delay"] = (*seconds).into();
            }
        }
        BindingValue::DurableObjects(namespace) => shown["namespace_id"] = namespace.to_string().into(),
        BindingValue::SecretText | BindingValue::Assets | BindingValue::VersionMetadata => {}
        BindingValue::Service { worker, entrypoint, props } => {
            shown["service"] = worker.as_str().into();
            shown["environment"] = super::ENVIRONMENT.into();
            if let Some(entrypoint) = entrypoint {
                shown["entrypoint"] = entrypoint.as_str().into();
            }
            if let Some(props) = props {
                shown["props"] = props.clone();
            }
        }
        BindingValue::KvNamespace(namespace) => shown["namespace_id"] = namespace.to_string().into(),
        BindingValue::R2Bucket { bucket, jurisdiction } => {
            shown["bucket_name"] = bucket.as_str().into();
            if let Some(jurisdiction) = jurisdiction {
                shown["jurisdiction"] = jurisdiction.as_str().into();
            }
        }
        BindingValue::TextBlob(part) | BindingValue::DataBlob(part) | BindingValue::WasmModule(part) => {
            shown["part"] = part.as_str().into();
        }
    }
    shown
}
