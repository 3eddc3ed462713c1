//! `accounts`.

use std::sync::Arc;

use axum::{Extension, extract::State};
use proxima_ledger::Snapshot;
use proxima_model::{Account, Permission};
use serde_json::{Value, json};

use crate::{
    api::{
        Api,
        access::{Caller, On},
        envelope::{Answer, time},
        page::{Query, TextFilter},
    },
    error::ApiError,
    limits,
};

/// `GET accounts`: those that the caller may see.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Arc<Caller>>,
    Extension(query): Extension<Arc<Query>>,
) -> Result<Answer, ApiError> {
    let page = query.page(limits::ZONES_PER_PAGE, limits::OTHERS_PER_PAGE_MAX)?;
    let name = query.get("name").map(TextFilter::with_operator);
    let descending = query.descending()?;
    api.read(move |snapshot| {
        let mut accounts = seen(snapshot, &caller, name.as_ref())?;
        if descending {
            accounts.reverse();
        }
        let (accounts, info) = page.cut(accounts);
        Ok(Answer::page((accounts.iter().map(show).collect(), info)).at(snapshot.seq()))
    })
    .await
}

/// The accounts that the caller may see, by name.
fn seen(snapshot: &Snapshot, caller: &Caller, name: Option<&TextFilter>) -> Result<Vec<Account>, ApiError> {
    let mut accounts = Vec::new();
    for account in snapshot.scan::<Account>(&[]) {
        let account = account?;
        let wanted = name.is_none_or(|filter| filter.passes(&account.name));
        if wanted && caller.may(Permission::AccountRead, On::Account(account.id)) {
            accounts.push(account);
        }
    }
    accounts.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    Ok(accounts)
}

/// `GET memberships`: where the caller is a member. There are tokens here and no people: a token is a member of each account
/// that it may see, and nobody else asks it to be one.
pub(crate) async fn memberships(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Arc<Caller>>,
    Extension(query): Extension<Arc<Query>>,
) -> Result<Answer, ApiError> {
    let page = query.page(limits::ZONES_PER_PAGE, limits::OTHERS_PER_PAGE_MAX)?;
    let name = query.get("name").or_else(|| query.get("account.name")).map(TextFilter::with_operator);
    let accepted = query.get("status").is_none_or(|status| status == ACCEPTED);
    api.read(move |snapshot| {
        let mut accounts = seen(snapshot, &caller, name.as_ref())?;
        accounts.retain(|_| accepted);
        let (accounts, info) = page.cut(accounts);
        let member = |account: &Account| {
            // One for each account: its id is as good as any.
            json!({ "id": account.id.to_string(), "status": ACCEPTED, "account": show(account), "roles": [], "policies": [] })
        };
        Ok(Answer::page((accounts.iter().map(member).collect(), info)).at(snapshot.seq()))
    })
    .await
}

/// How all memberships are.
const ACCEPTED: &str = "accepted";

/// `GET accounts/:account_id`.
pub(crate) async fn get(Extension(account): Extension<Account>) -> Answer {
    Answer::new(show(&account))
}

fn show(account: &Account) -> Value {
    json!({
        "id": account.id.to_string(),
        "name": account.name,
        "type": "standard",
        "settings": { "enforce_twofactor": false },
        "created_on": time(account.created_at),
    })
}
