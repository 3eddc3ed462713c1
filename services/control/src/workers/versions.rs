//! `workers/scripts/:script_name/versions`.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, Request, State},
};
use proxima_model::{Account, WorkerVersion, limits as model_limits};
use serde_json::json;

use super::{
    change,
    check::{self, Made},
    durable::Classes,
    maker, named, read_of,
    scripts::Ids,
    show,
    upload::{Upload, id_of},
};
use crate::{
    api::{
        Api,
        envelope::Answer,
        page::Query,
        write::{Author, Draft},
    },
    error::ApiError,
    limits,
};

/// `GET versions`: the latest first.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(query): Extension<Arc<Query>>,
    Path((_, name)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    let name = named(&name)?;
    let all = model_limits::WORKER_VERSIONS_MAX;
    let usual = if query.flag("deployable")?.unwrap_or(false) { all } else { limits::VERSIONS_PER_PAGE };
    let page = query.page(usual, all)?;
    api.read(move |snapshot| {
        let worker = change::find(snapshot, &account, &name)?;
        let (ids, info) = page.cut(worker.versions.iter().rev().copied().collect());
        let mut items = Vec::with_capacity(ids.len());
        for id in ids {
            let version = change::version(snapshot, &worker, id)?;
            items.push(show::version(snapshot, &version, false)?);
        }
        Ok(Answer::new(json!({ "items": items })).info(info).at(snapshot.seq()))
    })
    .await
}

/// `GET versions/:version_id`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name, id)): Path<(String, String, String)>,
) -> Result<Answer, ApiError> {
    read_of(&api, account, &name, move |snapshot, worker| {
        let version = change::version(snapshot, worker, id_of(&id)?)?;
        show::version(snapshot, &version, true)
    })
    .await
}

/// `POST versions`: a version that does not answer yet.
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    author: Author,
    request: Request,
) -> Result<Answer, ApiError> {
    let (name, maker) = (named(&name)?, maker(&author, request.headers()));
    let upload = Arc::new(Upload::receive(request, api.now()).await?);
    upload.check_without_migrations()?;
    let (came, in_vain) = (upload.contents().clone(), upload.in_vain(check::cpu_ms_most(&api)));
    let decide = Arc::new(move |draft: &mut Draft<'_>| {
        let ids = Ids::draw(draft);
        if draft.is_repeat {
            let version = draft.made::<WorkerVersion>(&(account.id, name.clone(), ids.version))?;
            return Ok(Made::before(change::find(draft.snapshot, &account, &name)?, version));
        }
        let mut worker = change::read(draft, &account, &name)?;
        let classes = Classes::of(draft.snapshot, account.id)?;
        let owed = classes.owed(draft.snapshot, &name)?;
        let new = upload.version_of(draft, &worker, ids.version, &classes)?;
        let secrets = new.secrets.clone();
        let version = change::add(draft, &mut worker, new, (upload.contents(), &classes), &maker)?;
        upload.apply(&mut worker);
        draft.put(&worker);
        Ok(Made { worker, version, secrets, owed })
    });
    let took = check::start(&api, &author, came, &decide).await?;
    let answer = api.change(&author, move |draft| {
        let Made { version, .. } = decide(draft)?;
        let mut shown = show::version(draft.snapshot, &version, true)?;
        check::tell(&mut shown, took);
        Ok(shown)
    });
    Ok(answer.await?.messages(in_vain))
}
