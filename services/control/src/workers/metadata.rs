//! What is said of an upload, and of settings: read, with what is not offered refused by its name.

use proxima_model::{
    CompatibilityDate, CompatibilityFlag, ModuleKind, ModuleName, Timestamp, WorkerAnnotations, WorkerModule,
    WorkerSyntax, excerpt, limits as model_limits,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{assets::AssetsBody, bindings::BindingBody, durable::Migrations, invalid};
use crate::{
    api::body::Given,
    error::{ApiError, Code},
};

/// What is said of an upload or of settings. Fields that say nothing here are in `rest`: what asks for something that is
/// not offered is refused, and nothing is passed over in silence.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Metadata {
    pub(super) main_module: Option<String>,
    pub(super) body_part: Option<String>,
    pub(super) bindings: Option<Vec<BindingBody>>,
    pub(super) keep_bindings: Option<Vec<String>>,
    compatibility_date: Option<String>,
    compatibility_flags: Option<Vec<String>>,
    pub(super) observability: Given<Map<String, Value>>,
    pub(super) tags: Option<Vec<String>>,
    pub(super) assets: Option<AssetsBody>,
    pub(super) keep_assets: Option<bool>,
    pub(super) migrations: Option<Migrations>,
    annotations: Option<Annotations>,
    limits: Option<Limits>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// What is said of why something is made.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Annotations {
    #[serde(default, rename = "workers/message")]
    message: Option<String>,
    #[serde(default, rename = "workers/tag")]
    tag: Option<String>,
    #[serde(default, rename = "workers/alias")]
    alias: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Limits {
    #[serde(default)]
    cpu_ms: Option<u32>,
    #[serde(default)]
    subrequests: Option<u32>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// What an invocation of a version may take; `None` as the server has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct VersionLimits {
    pub(super) cpu_ms_max: Option<u32>,
    pub(super) subrequests_max: Option<u32>,
}

/// Fields that ask for nothing that would not be so anyway: one model of billing is as good as another, and Durable Objects have new
/// code with their next request, before any delay that `code_update_strategy` allows.
const HARMLESS: [&str; 3] = ["usage_model", "handlers", "code_update_strategy"];
/// Fields that are hints, which stand in many templates, and what is said of each to who gives it: they are taken, and not kept.
const HINTS: [(&str, &str); 2] = [
    (
        "placement",
        "placement: it has no effect here: a Worker runs on the server that its visitor has come to",
    ),
    (
        "logpush",
        "logpush: it has no effect here: logs are not pushed anywhere; look at them with wrangler tail",
    ),
];

impl Metadata {
    /// Of a script alone, of which nothing is said.
    pub(super) fn of_script(part: &str) -> Self {
        Self { body_part: Some(part.to_owned()), ..Self::default() }
    }

    /// Refuses what is not offered.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        for (field, value) in &self.rest {
            let is_hint = HINTS.iter().any(|(hint, _)| hint == field);
            if asks(value) && !is_hint && !HARMLESS.contains(&field.as_str()) {
                return Err(not_offered(field));
            }
        }
        if let Some(migrations) = &self.migrations {
            migrations.check()?;
        }
        if let Some(limits) = &self.limits
            && let Some(field) = limits.rest.keys().next()
        {
            return Err(not_offered(&format!("limits/{field}")));
        }
        Ok(())
    }

    /// What is to be told of what was given and has no effect.
    pub(super) fn without_effect(&self) -> Vec<&'static str> {
        let is_given = |hint: &str| self.rest.get(hint).is_some_and(asks);
        HINTS.into_iter().filter(|(hint, _)| is_given(hint)).map(|(_, told)| told).collect()
    }

    /// Refuses assets, where they are not taken.
    pub(super) fn check_without_assets(&self) -> Result<(), ApiError> {
        self.check()?;
        self.check_without_migrations()?;
        if self.assets.is_some() { Err(not_offered("assets")) } else { Ok(()) }
    }

    /// Refuses migrations, where they are not taken.
    pub(super) fn check_without_migrations(&self) -> Result<(), ApiError> {
        if self.migrations.is_some() { Err(not_offered("migrations")) } else { Ok(()) }
    }

    /// Whether it says where code begins.
    pub(super) const fn has_main(&self) -> bool {
        self.main_module.is_some() || self.body_part.is_some()
    }

    /// How the code is written and where it begins, among these modules.
    pub(super) fn main(&self, modules: &[WorkerModule]) -> Result<(WorkerSyntax, ModuleName), ApiError> {
        let (syntax, field, given) = match (&self.main_module, &self.body_part) {
            (Some(main), None) => (WorkerSyntax::Modules, "main_module", main),
            (None, Some(script)) => (WorkerSyntax::ServiceWorker, "body_part", script),
            (Some(_), Some(_)) => {
                return Err(refuse("give main_module or body_part, not both".to_owned()));
            }
            (None, None) => {
                return Err(refuse(
                    "main_module: it is missing: name the part where the code begins".to_owned(),
                ));
            }
        };
        let found = modules.iter().find(|module| module.name.as_str() == given);
        let module = found.ok_or_else(|| {
            refuse(format!("{field}: {} is not among the parts", excerpt(given))).at(format!("/{field}"))
        })?;
        let wanted = match syntax {
            WorkerSyntax::Modules => ModuleKind::EsModule,
            WorkerSyntax::ServiceWorker => ModuleKind::CommonJs,
        };
        if module.kind != wanted {
            let message = format!(
                "{field}: {} must have the content type {}",
                excerpt(given),
                super::form::mime(wanted)
            );
            return Err(refuse(message).at(format!("/{field}")));
        }
        Ok((syntax, module.name.clone()))
    }

    /// The day whose behaviour is wanted, if it is given. The engine knows none that is yet to come.
    pub(super) fn compatibility_date(&self, now: Timestamp) -> Result<Option<CompatibilityDate>, ApiError> {
        let Some(text) = self.compatibility_date.as_deref().filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let date = CompatibilityDate::parse(text).map_err(|problem| invalid(&problem))?;
        let today = now.to_string();
        // A day is the beginning of a point in time.
        if !today.starts_with(date.as_str()) && date.as_str() > today.as_str() {
            let message = format!("compatibility_date: {date} is in the future");
            return Err(refuse(message).at("/compatibility_date"));
        }
        Ok(Some(date))
    }

    /// Behaviour that is wanted besides, if it is given.
    pub(super) fn compatibility_flags(&self) -> Result<Option<Vec<CompatibilityFlag>>, ApiError> {
        let Some(given) = &self.compatibility_flags else { return Ok(None) };
        if given.len() > model_limits::WORKER_FLAGS_MAX {
            let message = format!("compatibility_flags: give at most {}", model_limits::WORKER_FLAGS_MAX);
            return Err(refuse(message));
        }
        let flags = given.iter().map(|flag| CompatibilityFlag::parse(flag));
        let flags = flags.collect::<Result<Vec<_>, _>>().map_err(|problem| invalid(&problem))?;
        if let Some(flag) = flags.iter().find(|flag| flag.is_experimental()) {
            let message = format!("The compatibility flag {flag} is experimental and cannot be used yet.");
            return Err(ApiError::new(Code::WorkerFails, message).at("/compatibility_flags"));
        }
        Ok(Some(flags))
    }

    /// What an invocation may take, if limits are given.
    pub(super) fn limits(&self) -> Result<Option<VersionLimits>, ApiError> {
        let Some(limits) = &self.limits else { return Ok(None) };
        let bounded = [
            ("cpu_ms", limits.cpu_ms, model_limits::WORKER_CPU_MS_MIN..=model_limits::WORKER_CPU_MS_MAX),
            ("subrequests", limits.subrequests, 1..=model_limits::WORKER_SUBREQUESTS_MAX),
        ];
        for (name, given, bounds) in bounded {
            if given.is_some_and(|given| !bounds.contains(&given)) {
                let message = format!("limits.{name}: give {} to {}", bounds.start(), bounds.end());
                return Err(refuse(message).at(format!("/limits/{name}")));
            }
        }
        Ok(Some(VersionLimits { cpu_ms_max: limits.cpu_ms, subrequests_max: limits.subrequests }))
    }

    /// What is said of why it is made.
    pub(super) fn annotations(&self) -> Result<WorkerAnnotations, ApiError> {
        annotations(self.annotations.as_ref())
    }
}

/// What is told of a limit that is above what this server gives any invocation.
pub(super) fn cpu_in_vain(limits: VersionLimits, most: Option<u64>) -> Option<String> {
    let (asked, most) = (limits.cpu_ms_max?, most?);
    (u64::from(asked) > most).then(|| {
        format!(
            "limits.cpu_ms: {asked} has no effect here: code that takes a processor for {most} milliseconds is ended, whatever it asks for"
        )
    })
}

/// What is said of why something is made, bounded.
pub(super) fn annotations(given: Option<&Annotations>) -> Result<WorkerAnnotations, ApiError> {
    let Some(given) = given else { return Ok(WorkerAnnotations::default()) };
    if given.alias.is_some() {
        let message = "aliases of versions (--preview-alias) are not offered yet, as there are no previews: leave it out";
        return Err(ApiError::new(Code::NotOffered, message).at("/annotations/workers~1alias"));
    }
    for (field, text) in [("workers/message", &given.message), ("workers/tag", &given.tag)] {
        if text.as_ref().is_some_and(|text| text.chars().count() > model_limits::TEXT_CHARS_MAX) {
            let most = model_limits::TEXT_CHARS_MAX;
            return Err(refuse(format!("annotations: {field} has more than {most} characters")));
        }
    }
    let (message, tag) = (given.message.clone(), given.tag.clone());
    Ok(WorkerAnnotations { message, tag, triggered_by: None })
}

/// What is to be observed, bounded: whatever it says is kept, and nothing is done with it yet.
pub(super) fn observability(given: &Map<String, Value>) -> Result<(), ApiError> {
    let octets = serde_json::to_string(given).map_or(usize::MAX, |text| text.len());
    if octets > model_limits::WORKER_OBSERVABILITY_OCTETS_MAX {
        let most = model_limits::WORKER_OBSERVABILITY_OCTETS_MAX;
        return Err(refuse(format!("observability: it has more than {most} octets")).at("/observability"));
    }
    Ok(())
}

/// Tags, bounded.
pub(super) fn tags(given: &[String]) -> Result<(), ApiError> {
    let most = model_limits::WORKER_TAGS_MAX;
    let is_tag = |tag: &String| !tag.is_empty() && tag.chars().count() <= model_limits::TEXT_CHARS_MAX;
    if given.len() > most || !given.iter().all(is_tag) {
        let message =
            format!("tags: give at most {most}, of 1 to {} characters", model_limits::TEXT_CHARS_MAX);
        return Err(refuse(message).at("/tags"));
    }
    Ok(())
}

/// Whether a field asks for anything.
fn asks(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    }
}

fn not_offered(field: &str) -> ApiError {
    let field = if field.len() > 64 { "a field" } else { field };
    ApiError::new(Code::NotOffered, format!("{field}: it is not offered yet; leave it out"))
        .at(format!("/{field}"))
}

fn refuse(message: String) -> ApiError {
    ApiError::new(Code::WorkerInvalid, message)
}
