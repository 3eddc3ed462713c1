//! `proxima/durable_objects`: which servers have which objects, and the operator's word that others are to have them. What these write
//! is seen and done by the servers concerned (`services/workers/src/durable/hand_over`).

use std::{collections::BTreeSet, sync::Arc};

use axum::{Extension, extract::State};
use proxima_model::{
    AccountId, DurableNamespace, DurableNamespaceId, DurableSlot, DurableUsage, Invalid, Node, NodeName,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api::{
        Api,
        body::JsonBody,
        envelope::Answer,
        page::Query,
        write::{Author, Draft},
    },
    error::{ApiError, Code},
    limits,
    workers::invalid,
};

/// `GET homes`: the slots of all namespaces, or of those of one account.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(query): Extension<Arc<Query>>,
) -> Result<Answer, ApiError> {
    let page = query.page(limits::DURABLE_NAMESPACES_PER_PAGE, limits::OTHERS_PER_PAGE_MAX)?;
    let account = query.get("account").map(str::parse::<AccountId>).transpose();
    let account = account.map_err(|_| ApiError::new(Code::QueryInvalid, "account: give an account's id"))?;
    api.read(move |snapshot| {
        let mut shown = Vec::new();
        for namespace in snapshot.scan::<DurableNamespace>(&[]) {
            let namespace = namespace?;
            if account.is_none_or(|account| namespace.account == account) {
                shown.extend(namespace.homes.iter().map(|slot| show(&namespace, slot)));
            }
        }
        let (shown, info) = page.cut(shown);
        Ok(Answer::page((shown, info)).at(snapshot.seq()))
    })
    .await
}

fn show(namespace: &DurableNamespace, slot: &NodeName) -> Value {
    let DurableSlot { server, to, turn, began_empty, .. } = namespace.slot(slot);
    json!({
        "account_id": namespace.account.to_string(),
        "namespace_id": namespace.id.to_string(),
        "script": namespace.worker.as_str(),
        "class": namespace.class.as_str(),
        "slot": slot.as_str(),
        "server": server.as_str(),
        "to": to.as_ref().map(NodeName::as_str),
        "hand_overs": turn,
        "began_empty": began_empty,
    })
}

/// What is to be handed over.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HandOver {
    from: NodeName,
    to: NodeName,
    account: Option<AccountId>,
}

/// What hand-overs are to be given up.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cancel {
    from: NodeName,
    account: Option<AccountId>,
}

/// What is lost.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GiveUp {
    from: NodeName,
    to: NodeName,
    account: Option<AccountId>,
    /// That who asks knows what it means.
    lose_what_they_keep: bool,
}

/// `POST hand_over`: all that a server has, or all of an account, is to go to another one.
pub(crate) async fn hand_over(
    State(api): State<Arc<Api>>,
    author: Author,
    JsonBody(HandOver { from, to, account }): JsonBody<HandOver>,
) -> Result<Answer, ApiError> {
    known(&api, &to).await?;
    let is_concerned = |slot: &DurableSlot| slot.to.is_none();
    change(&api, author, from, account, is_concerned, move |namespace, slot| {
        namespace.begin_hand_over(slot, &to)
    })
    .await
}

/// `POST cancel`: the server that is to hand something over goes on with it.
pub(crate) async fn cancel(
    State(api): State<Arc<Api>>,
    author: Author,
    JsonBody(Cancel { from, account }): JsonBody<Cancel>,
) -> Result<Answer, ApiError> {
    let is_concerned = |slot: &DurableSlot| slot.to.is_some();
    change(&api, author, from, account, is_concerned, DurableNamespace::cancel_hand_over).await
}

/// `POST give_up`: a server is lost for good; another one begins without what was kept there.
pub(crate) async fn give_up(
    State(api): State<Arc<Api>>,
    author: Author,
    JsonBody(GiveUp { from, to, account, lose_what_they_keep }): JsonBody<GiveUp>,
) -> Result<Answer, ApiError> {
    if !lose_what_they_keep {
        let message = format!(
            "lose_what_they_keep: all that the objects keep on {from} is lost by this; say true if that server is gone for good"
        );
        return Err(ApiError::new(Code::FieldInvalid, message));
    }
    known(&api, &to).await?;
    change(&api, author, from, account, |_| true, move |namespace, slot| namespace.give_up(slot, &to)).await
}

/// Whether there is such a server: one that has joined the log, or this one, or one that new classes would be given to. (The log's own
/// server has joined nothing.)
async fn known(api: &Arc<Api>, server: &NodeName) -> Result<(), ApiError> {
    let name = server.clone();
    let new_classes = || {
        let port = api.durable_objects.get();
        port.is_some_and(|port| port.homes(DurableNamespaceId::from_bytes([0; 16])).contains(server))
    };
    if *server == api.node
        || new_classes()
        || api.read(move |snapshot| Ok(snapshot.get::<Node>(&name)?.is_some())).await?
    {
        return Ok(());
    }
    let message = format!("to: there is no server {server} in this network");
    Err(ApiError::new(Code::FieldInvalid, message))
}

/// Changes the slots that a server has, account by account: each is one entry, in which all of it changes or nothing does. What was
/// changed already is not concerned any more, so that it may be asked for again.
async fn change(
    api: &Arc<Api>,
    author: Author,
    from: NodeName,
    account: Option<AccountId>,
    is_concerned: fn(&DurableSlot) -> bool,
    step: impl Fn(&mut DurableNamespace, &NodeName) -> Result<(), Invalid> + Clone + Send + Sync + 'static,
) -> Result<Answer, ApiError> {
    let (author, having) = (author.going_on(), from.clone());
    let mut accounts = api
        .read(move |snapshot| {
            let mut accounts = BTreeSet::new();
            for namespace in snapshot.scan::<DurableNamespace>(&[]) {
                let namespace = namespace?;
                if namespace.homes.iter().any(|slot| *namespace.server(slot) == having) {
                    accounts.insert(namespace.account);
                }
            }
            Ok(accounts)
        })
        .await?;
    accounts.retain(|known| account.is_none_or(|account| *known == account));
    let (mut slots, mut changed, mut seq) = (0, 0, api.replica.seq());
    for account in accounts {
        let (from, step) = (from.clone(), step.clone());
        let decide = move |draft: &mut Draft<'_>| {
            change_account(draft, account, &|slot| slot.server == from && is_concerned(slot), &step)
        };
        let written = api.write(&author, decide).await?;
        (slots, changed) = (slots + written.answer, changed + usize::from(written.answer > 0));
        seq = seq.max(written.seq);
    }
    Ok(Answer::new(json!({ "slots": slots, "accounts": changed })).at(seq))
}

/// Changes the slots of an account; how many. Its usage is written with them, by which migrations see that something came between.
fn change_account(
    draft: &mut Draft<'_>,
    account: AccountId,
    is_concerned: &dyn Fn(&DurableSlot) -> bool,
    step: &impl Fn(&mut DurableNamespace, &NodeName) -> Result<(), Invalid>,
) -> Result<usize, ApiError> {
    let usage = draft.read::<DurableUsage>(&account)?;
    let all = draft.snapshot.scan::<DurableNamespace>(&[&account]).collect::<Result<Vec<_>, _>>()?;
    let mut changed = 0;
    for mut namespace in all {
        let mut concerned = namespace.homes.clone();
        concerned.retain(|slot| is_concerned(&namespace.slot(slot)));
        for slot in &concerned {
            step(&mut namespace, slot).map_err(|problem| invalid(&problem))?;
        }
        if !concerned.is_empty() {
            draft.put(&namespace);
            changed += concerned.len();
        }
    }
    if let Some(usage) = usage.filter(|_| changed > 0) {
        draft.put(&usage);
    }
    Ok(changed)
}
