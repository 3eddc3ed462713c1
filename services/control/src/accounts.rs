//! `accounts`.

use std::sync::Arc;

use axum::{Extension, extract::State};
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
        let mut accounts = Vec::new();
        for account in snapshot.scan::<Account>(&[]) {
            let account = account?;
            let wanted = name.as_ref().is_none_or(|filter| filter.passes(&account.name));
            if wanted && caller.may(Permission::AccountRead, On::Account(account.id)) {
                accounts.push(account);
            }
        }
        accounts.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        if descending {
            accounts.reverse();
        }
        let (accounts, info) = page.cut(accounts);
        Ok(Answer::page((accounts.iter().map(show).collect(), info)).at(snapshot.seq()))
    })
    .await
}

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
