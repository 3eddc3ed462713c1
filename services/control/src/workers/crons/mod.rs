//! `workers/scripts/:script_name/schedules`: cron triggers, and on the log's node, so that each comes once for the whole network,
//! what runs them ([`run`]).

mod claim;
mod run;

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
};
use proxima_model::{Account, CronExpression, WorkerCron, WorkerTriggers, limits as model_limits};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) use run::run;

use super::{change, invalid, named, triggers::Triggers};
use crate::{
    api::{
        Api,
        body::JsonBody,
        envelope::{Answer, time},
        write::Author,
    },
    error::{ApiError, Code},
};

/// A cron trigger as it is given.
#[derive(Debug, Deserialize)]
pub(crate) struct ScheduleBody {
    cron: String,
}

/// `GET workers/scripts/:script_name/schedules`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    let name = named(&name)?;
    api.read(move |snapshot| {
        change::find(snapshot, &account, &name)?;
        let triggers = snapshot.get::<WorkerTriggers>(&(account.id, name))?;
        let crons = triggers.map(|triggers| triggers.crons).unwrap_or_default();
        Ok(Answer::new(show(&crons)).at(snapshot.seq()))
    })
    .await
}

/// `PUT workers/scripts/:script_name/schedules`: these, and no others.
pub(crate) async fn put(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    author: Author,
    JsonBody(given): JsonBody<Vec<ScheduleBody>>,
) -> Result<Answer, ApiError> {
    let name = named(&name)?;
    let expressions = read(&given)?;
    api.change(&author, move |draft| {
        change::find(draft.snapshot, &account, &name)?;
        let now = draft.now;
        let mut triggers = Triggers::of(account.id);
        let of_worker = triggers.get(draft, &name)?;
        if draft.is_repeat {
            return Ok(show(&of_worker.crons));
        }
        let former = std::mem::take(&mut of_worker.crons);
        of_worker.crons = expressions
            .iter()
            .map(|expression| {
                let known = former.iter().find(|known| known.expression == *expression);
                let created_at = known.map_or(now, |known| known.created_at);
                WorkerCron { expression: expression.clone(), created_at }
            })
            .collect();
        let shown = show(&of_worker.crons);
        triggers.save(draft)?;
        Ok(shown)
    })
    .await
}

fn read(given: &[ScheduleBody]) -> Result<Vec<CronExpression>, ApiError> {
    if given.len() > model_limits::WORKER_CRONS_MAX {
        let message = format!(
            "{} cron triggers are given; a Worker has at most {}",
            given.len(),
            model_limits::WORKER_CRONS_MAX
        );
        return Err(ApiError::new(Code::WorkerQuota, message));
    }
    let mut expressions: Vec<CronExpression> = Vec::new();
    for (index, body) in given.iter().enumerate() {
        let at = |refusal: ApiError| refusal.at(format!("/{index}/cron"));
        let expression = CronExpression::parse(&body.cron).map_err(|problem| at(invalid(&problem)))?;
        if expressions.contains(&expression) {
            let message = format!("cron: {} is there twice", expression.as_str());
            return Err(at(ApiError::new(Code::WorkerInvalid, message)));
        }
        expressions.push(expression);
    }
    Ok(expressions)
}

fn show(crons: &[WorkerCron]) -> Value {
    let shown = crons.iter().map(|WorkerCron { expression, created_at }| {
        let at = time(*created_at);
        json!({ "cron": expression.as_str(), "created_on": at, "modified_on": at })
    });
    json!({ "schedules": shown.collect::<Vec<_>>() })
}
