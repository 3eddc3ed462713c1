//! `workers/workers/:script_name`: a Worker as a whole, and changes of its latest version, as newer versions of wrangler (4.164) ask.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension,
    extract::{Path, State},
    http::HeaderMap,
};
use proxima_model::{Account, BindingName, WorkerVersion};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    change::{self, NewVersion},
    durable::Classes,
    invalid, maker,
    metadata::{Annotations, annotations},
    named, read_of,
    scripts::Ids,
    secrets, show, subdomain,
};
use crate::{
    api::{
        Api,
        body::JsonBody,
        envelope::{Answer, time},
        write::Author,
    },
    error::{ApiError, Code},
};

/// What is changed of a version: fields that are not given stay, and what is null goes.
#[derive(Deserialize)]
pub(crate) struct VersionPatch {
    #[serde(default)]
    env: BTreeMap<String, Option<Binding>>,
    annotations: Option<Annotations>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// A binding, by its name.
#[derive(Deserialize)]
struct Binding {
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<String>,
}

/// `GET workers/workers/:script_name`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    read_of(&api, account, &name, move |_, worker| {
        Ok(json!({
            "id": worker.tag.to_string(),
            "name": worker.name.as_str(),
            "created_on": time(worker.created_at),
            "updated_on": time(worker.modified_at),
            "deployed_on": worker.deployment.as_ref().map(|deployment| time(deployment.created_at)),
            "logpush": false,
            "observability": worker.observability,
            "subdomain": subdomain::show(worker),
            "tags": worker.tags,
            "tail_consumers": [],
        }))
    })
    .await
}

/// `PATCH workers/workers/:script_name/versions/latest`: a version like the latest with other secrets, that does not answer yet.
pub(crate) async fn patch_latest(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    author: Author,
    headers: HeaderMap,
    JsonBody(body): JsonBody<VersionPatch>,
) -> Result<Answer, ApiError> {
    let (name, maker) = (named(&name)?, maker(&author, &headers));
    let mut said = annotations(body.annotations.as_ref())?;
    said.triggered_by = Some("secret".to_owned());
    let texts = body.secrets()?;
    api.change(&author, move |draft| {
        let ids = Ids::draw(draft);
        let version = if draft.is_repeat {
            draft.made::<WorkerVersion>(&(account.id, name.clone(), ids.version))?
        } else {
            let mut worker = change::read(draft, &account, &name)?;
            let latest = change::latest(draft.snapshot, &worker)?.ok_or_else(|| change::unknown(&name))?;
            let mut new = NewVersion::like(&latest, ids.version);
            secrets::set_all(&mut new, &texts)?;
            new.annotations.clone_from(&said);
            let classes = Classes::of(draft.snapshot, account.id)?;
            let version = change::add(draft, &mut worker, new, (&BTreeMap::new(), &classes), &maker)?;
            draft.put(&worker);
            version
        };
        show::version(draft.snapshot, &version, true)
    })
    .await
}

impl VersionPatch {
    /// The secrets that are set, and those that go.
    fn secrets(self) -> Result<Vec<(BindingName, Option<String>)>, ApiError> {
        if let Some(other) = self.others.keys().next() {
            let message = format!(
                "{other:.80}: of the latest version, only secrets can be changed so; upload another one"
            );
            return Err(ApiError::new(Code::NotOffered, message).at(format!("/{other:.80}")));
        }
        let of = |(name, binding): (String, Option<Binding>)| {
            let parsed = BindingName::parse(&name).map_err(|problem| invalid(&problem))?;
            let text =
                binding.map(|given| secrets::checked(given.kind.as_deref(), given.text)).transpose()?;
            Ok((parsed, text))
        };
        self.env.into_iter().map(of).collect::<Result<_, _>>().map_err(|problem: ApiError| problem.at("/env"))
    }
}
