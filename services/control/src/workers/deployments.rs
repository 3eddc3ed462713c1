//! `workers/scripts/:script_name/deployments`.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
    http::HeaderMap,
};
use proxima_model::{
    Account, Deployment, DeploymentId, VersionShare, VersionShares, Worker, WorkerDeployment,
};
use serde::Deserialize;
use serde_json::json;

use super::{
    change, invalid, maker,
    metadata::{Annotations, annotations},
    named, read_of, show,
    upload::id_of,
};
use crate::{
    api::{Api, body::JsonBody, envelope::Answer, write::Author},
    error::{ApiError, Code},
};

/// Which versions are to answer.
#[derive(Debug, Deserialize)]
pub(crate) struct DeploymentBody {
    #[serde(default)]
    strategy: Option<String>,
    versions: Vec<ShareBody>,
    #[serde(default)]
    annotations: Option<Annotations>,
}

#[derive(Debug, Deserialize)]
struct ShareBody {
    version_id: String,
    percentage: f64,
}

/// Hundredths of a percent in one.
const HUNDREDTHS: f64 = 100.0;

impl DeploymentBody {
    fn shares(&self) -> Result<VersionShares, ApiError> {
        if self.strategy.as_deref().is_some_and(|strategy| strategy != "percentage") {
            let message = "strategy: only percentage is offered";
            return Err(ApiError::new(Code::NotOffered, message).at("/strategy"));
        }
        let shares = self.versions.iter().map(|given| {
            let hundredths = (given.percentage * HUNDREDTHS).round();
            let is_one = (given.percentage * HUNDREDTHS - hundredths).abs() < 1e-6
                && (0.0..=f64::from(VersionShares::ALL)).contains(&hundredths);
            if !is_one {
                let message = "versions: give percentages from 0 to 100 of at most two decimals";
                return Err(ApiError::new(Code::WorkerInvalid, message).at("/versions"));
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it lies within 0 to 10,000"
            )]
            Ok(VersionShare { version: id_of(&given.version_id)?, hundredths: hundredths as u16 })
        });
        let shares = shares.collect::<Result<Vec<_>, _>>()?;
        VersionShares::try_from(shares).map_err(|problem| invalid(&problem))
    }
}

/// `GET deployments`: the one in force, then the former ones that are kept, the latest first.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    read_of(&api, account, &name, move |snapshot, worker| {
        let former = change::former_deployments(snapshot, worker)?;
        let all = worker.deployment.iter().chain(former.iter().rev());
        let shown = all.map(|deployment| show::deployment(snapshot, deployment));
        let shown = shown.collect::<Result<Vec<_>, _>>()?;
        Ok(json!({ "deployments": shown }))
    })
    .await
}

/// `GET deployments/:deployment_id`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name, id)): Path<(String, String, String)>,
) -> Result<Answer, ApiError> {
    read_of(&api, account, &name, move |snapshot, worker| {
        let deployment = of_worker(snapshot, worker, &id)?;
        show::deployment(snapshot, &deployment)
    })
    .await
}

fn of_worker(snapshot: &proxima_ledger::Snapshot, worker: &Worker, id: &str) -> Result<Deployment, ApiError> {
    let unknown =
        || ApiError::new(Code::WorkerVersionNotFound, format!("the Worker has no deployment {id:.80}"));
    let id: DeploymentId = id.parse().map_err(|_| unknown())?;
    if let Some(deployment) = worker.deployment.as_ref().filter(|deployment| deployment.id == id) {
        return Ok(deployment.clone());
    }
    let former = snapshot.get::<WorkerDeployment>(&(worker.account, worker.name.clone(), id))?;
    former.map(|former| former.deployment).ok_or_else(unknown)
}

/// `POST deployments`.
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    author: Author,
    headers: HeaderMap,
    JsonBody(body): JsonBody<DeploymentBody>,
) -> Result<Answer, ApiError> {
    let (name, maker, shares) = (named(&name)?, maker(&author, &headers), body.shares()?);
    let said = annotations(body.annotations.as_ref())?;
    api.change(&author, move |draft| {
        let id = DeploymentId::from_random(draft.id());
        if draft.is_repeat {
            let worker = change::find(draft.snapshot, &account, &name)?;
            return show::deployment(draft.snapshot, &of_worker(draft.snapshot, &worker, &id.to_string())?);
        }
        let mut worker = change::read(draft, &account, &name)?;
        let deployment = change::deploy(draft, &mut worker, id, shares.clone(), said.clone(), &maker)?;
        draft.put(&worker);
        show::deployment(draft.snapshot, &deployment)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(percentages: &[f64]) -> Result<Vec<u16>, Code> {
        let version = |index: usize| format!("0000000{index}-0000-4000-8000-000000000000");
        let share = |(index, percentage): (usize, &f64)| ShareBody {
            version_id: version(index),
            percentage: *percentage,
        };
        let versions = percentages.iter().enumerate().map(share).collect();
        let body = DeploymentBody { strategy: None, versions, annotations: None };
        let shares = body.shares().map_err(|refusal| refusal.code())?;
        Ok(shares.as_slice().iter().map(|share| share.hundredths).collect())
    }

    #[test]
    fn percentages_have_two_decimals_and_are_100_together() {
        assert_eq!(shares(&[100.0]), Ok(vec![10_000]));
        assert_eq!(shares(&[0.01, 99.99]), Ok(vec![1, 9_999]));
        assert_eq!(shares(&[33.33, 66.67]), Ok(vec![3_333, 6_667]));
        // One that answers who asks for it alone.
        assert_eq!(shares(&[100.0, 0.0]), Ok(vec![10_000, 0]));
        for wrong in [
            &[][..],
            &[99.0],
            &[0.0],
            &[0.0, 0.0],
            &[33.333, 66.667],
            &[-1.0, 101.0],
            &[f64::NAN],
            &[50.0, 25.0, 25.0],
        ] {
            assert_eq!(shares(wrong), Err(Code::WorkerInvalid), "{wrong:?}");
        }
    }
}
