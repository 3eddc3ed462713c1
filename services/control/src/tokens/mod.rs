//! `user` and `user/tokens`: who asks, and the tokens that they may give to others.

mod policies;

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
};
use proxima_ledger::Snapshot;
use proxima_model::{
    Account, ApiToken, Bucket, Invalid, Permission, Timestamp, TokenId, TokenPolicy, TokenScope, TokenStatus,
    Zone, limits as model_limits,
};
use serde::Deserialize;
use serde_json::{Value, json};

use policies::show_policy;
pub(crate) use policies::{GROUPS, PolicyBody, group, parse_policy};

use crate::{
    api::{
        Api,
        access::{Caller, On},
        body::JsonBody,
        envelope::{Answer, time, time_or_null},
        page::Query,
        write::{Author, Draft},
    },
    error::{ApiError, Code},
    limits,
    token::TokenText,
};

/// `GET user`. There are tokens here and no people: a token is shown as the user that it stands for.
pub(crate) async fn user(Extension(caller): Extension<Arc<Caller>>) -> Answer {
    Answer::new(json!({
        "id": caller.token.to_string(),
        "email": format!("{}@tokens.invalid", caller.token),
        "first_name": caller.name,
        "last_name": null,
        "username": caller.name,
        "suspended": false,
        "two_factor_authentication_enabled": false,
        "two_factor_authentication_locked": false,
        "organizations": [],
    }))
}

/// `GET user/tokens/verify`.
pub(crate) async fn verify(Extension(caller): Extension<Arc<Caller>>) -> Answer {
    Answer::new(json!({
        "id": caller.token.to_string(),
        "status": "active",
        "not_before": time_or_null(caller.not_before),
        "expires_on": time_or_null(caller.expires_on),
    }))
    .message("This API Token is valid and active")
}

/// `GET user/tokens/permission_groups`: those with this `name`, and for this `scope`.
pub(crate) async fn permission_groups(Extension(query): Extension<Arc<Query>>) -> Answer {
    let is = |name: &str, value: &str| query.get(name).is_none_or(|asked| asked == value);
    let groups = GROUPS.iter().filter(|group| is("name", group.name) && is("scope", group.scope));
    let shown = groups.map(|group| json!({ "id": group.id, "name": group.name, "scopes": [group.scope] }));
    Answer::new(shown.collect())
}

/// `GET user/tokens`: those that the caller could have made.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Arc<Caller>>,
    Extension(query): Extension<Arc<Query>>,
) -> Result<Answer, ApiError> {
    let page = query.page(limits::ZONES_PER_PAGE, limits::OTHERS_PER_PAGE_MAX)?;
    let now = api.now();
    let descending = query.descending()?;
    api.read(move |snapshot| {
        let mut tokens = Vec::new();
        for token in snapshot.scan::<ApiToken>(&[]) {
            let token = token?;
            if may_manage(snapshot, &caller, &token)? {
                tokens.push(token);
            }
        }
        tokens.sort_by_key(|token| (token.issued_on, token.id));
        if descending {
            tokens.reverse();
        }
        let (tokens, info) = page.cut(tokens);
        let shown = tokens.iter().map(|token| show(token, now)).collect();
        Ok(Answer::page((shown, info)).at(snapshot.seq()))
    })
    .await
}

/// `GET user/tokens/:token_id`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Arc<Caller>>,
    Path(id): Path<String>,
) -> Result<Answer, ApiError> {
    let now = api.now();
    api.read(move |snapshot| {
        let token = managed(snapshot, &caller, &id)?;
        Ok(Answer::new(show(&token, now)).at(snapshot.seq()))
    })
    .await
}

/// What a token is made or changed with.
#[derive(Debug, Deserialize)]
pub(crate) struct TokenBody {
    name: String,
    policies: Vec<PolicyBody>,
    #[serde(default, deserialize_with = "instant")]
    not_before: Option<Timestamp>,
    #[serde(default, deserialize_with = "instant")]
    expires_on: Option<Timestamp>,
    #[serde(default)]
    status: Option<TokenStatus>,
    #[serde(default)]
    condition: Option<Value>,
}

/// A point in time as RFC 3339 writes it, or null.
fn instant<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let parsed: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
    Ok(Some(Timestamp::from_millis(parsed.as_millisecond())))
}

/// `POST user/tokens`. The value is shown in this answer and never again.
pub(crate) async fn create(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Arc<Caller>>,
    author: Author,
    JsonBody(body): JsonBody<TokenBody>,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        let id = TokenId::from_bytes(draft.id());
        if draft.is_repeat {
            return Err(shown_once(id));
        }
        let text = TokenText::draw(id);
        let mut token = ApiToken {
            id,
            name: String::new(),
            secret_hash: text.hash(),
            s3_secret: Some(text.s3_secret()),
            policies: Vec::new(),
            status: TokenStatus::Active,
            not_before: None,
            expires_on: None,
            issued_on: draft.now,
        };
        apply(&body, &caller, draft.snapshot, &mut token)?;
        draft.put(&token);
        let mut shown = show(&token, draft.now);
        shown["value"] = text.reveal().into();
        Ok(shown)
    })
    .await
}

/// `PUT user/tokens/:token_id`.
pub(crate) async fn update(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Arc<Caller>>,
    author: Author,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<TokenBody>,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        let mut token = managed_for_write(draft, &caller, &id)?;
        if draft.is_repeat {
            return Ok(show(&token, draft.now));
        }
        apply(&body, &caller, draft.snapshot, &mut token)?;
        token.status = body.status.unwrap_or(token.status);
        draft.put(&token);
        Ok(show(&token, draft.now))
    })
    .await
}

/// `PUT user/tokens/:token_id/value`: another secret; the former one stops working at once.
pub(crate) async fn roll(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Arc<Caller>>,
    author: Author,
    Path(id): Path<String>,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        let mut token = managed_for_write(draft, &caller, &id)?;
        if draft.is_repeat {
            return Err(shown_once(token.id));
        }
        // Whoever rolls a token has it from then on.
        check_lifetime(&caller, token.not_before, token.expires_on)?;
        let text = TokenText::draw(token.id);
        token.secret_hash = text.hash();
        token.s3_secret = Some(text.s3_secret());
        draft.put(&token);
        Ok(Value::String(text.reveal()))
    })
    .await
}

/// `DELETE user/tokens/:token_id`.
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Arc<Caller>>,
    author: Author,
    Path(id): Path<String>,
) -> Result<Answer, ApiError> {
    api.change(&author, move |draft| {
        if !draft.is_repeat {
            let token = managed_for_write(draft, &caller, &id)?;
            draft.delete::<ApiToken>(&token.id);
        }
        Ok(json!({ "id": id }))
    })
    .await
}

fn shown_once(id: TokenId) -> ApiError {
    ApiError::new(
        Code::RepeatGone,
        format!(
            "this was done before under this Idempotency-Key, and the value of the token {id} is shown only once; roll it for another"
        ),
    )
}

/// The token of this id, if the caller holds everything that it allows.
fn managed(snapshot: &Snapshot, caller: &Caller, id: &str) -> Result<ApiToken, ApiError> {
    let unknown = || ApiError::no_object(&format!("/user/tokens/{id:.80}"));
    let parsed: TokenId = id.parse().map_err(|_| unknown())?;
    let token = snapshot.get::<ApiToken>(&parsed)?.ok_or_else(unknown)?;
    if may_manage(snapshot, caller, &token)? { Ok(token) } else { Err(unknown()) }
}

fn managed_for_write(draft: &mut Draft<'_>, caller: &Caller, id: &str) -> Result<ApiToken, ApiError> {
    let token = managed(draft.snapshot, caller, id)?;
    draft.read::<ApiToken>(&token.id)?;
    Ok(token)
}

/// Whether a token allows nothing that the caller does not hold, and the caller may make tokens there.
fn may_manage(snapshot: &Snapshot, caller: &Caller, token: &ApiToken) -> Result<bool, ApiError> {
    for policy in &token.policies {
        // The scope of a zone that was deleted is nobody's but the operator's.
        let on = target(snapshot, &policy.scope)?.unwrap_or(On::Everything);
        if !caller.may(Permission::All, on) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// On what rights of this scope are given, whose bucket it may be; `None` if there is no such zone or account.
fn target(snapshot: &Snapshot, scope: &TokenScope) -> Result<Option<On>, ApiError> {
    Ok(match scope {
        TokenScope::Everything => Some(On::Everything),
        TokenScope::Account(id) | TokenScope::Bucket { account: id, .. } => {
            snapshot.get::<Account>(id)?.map(|account| On::Account(account.id))
        }
        TokenScope::Zone(id) => snapshot.get::<Zone>(id)?.map(|zone| On::zone(&zone)),
    })
}

/// Whether there is the bucket that a scope names, if it names one.
fn has_bucket(snapshot: &Snapshot, scope: &TokenScope) -> Result<bool, ApiError> {
    let TokenScope::Bucket { account, jurisdiction, name } = scope else { return Ok(true) };
    let found = snapshot.get::<Bucket>(&(*account, name.clone()))?;
    Ok(found.is_some_and(|bucket| bucket.jurisdiction == *jurisdiction))
}

/// Puts what a body says into a token.
fn apply(
    body: &TokenBody,
    caller: &Caller,
    snapshot: &Snapshot,
    token: &mut ApiToken,
) -> Result<(), ApiError> {
    let refuse = |field, problem: &str, remedy| {
        ApiError::invalid(Code::FieldInvalid, &Invalid::new(field, problem, remedy))
    };
    let length = body.name.chars().count();
    if length == 0 || length > model_limits::TEXT_CHARS_MAX {
        return Err(refuse("name", "the name is empty or too long", "give 1 to 500 characters"));
    }
    if body.name.chars().any(char::is_control) {
        return Err(refuse(
            "name",
            "the name has control characters",
            "give letters, digits, spaces and signs",
        ));
    }
    if body.policies.is_empty() || body.policies.len() > model_limits::POLICIES_PER_TOKEN_MAX {
        return Err(refuse("policies", "there are none or too many", "give 1 to 100 policies"));
    }
    if body.condition.as_ref().is_some_and(|condition| {
        !condition.is_null() && condition.as_object().is_none_or(|object| !object.is_empty())
    }) {
        return Err(
            ApiError::new(Code::NotOffered, "conditions on tokens are not offered yet").at("/condition")
        );
    }
    check_lifetime(caller, body.not_before, body.expires_on)?;
    token.name.clone_from(&body.name);
    token.not_before = body.not_before;
    token.expires_on = body.expires_on;
    let former = std::mem::take(&mut token.policies);
    for (index, policy) in body.policies.iter().enumerate() {
        let policies = parse_policy(policy).map_err(|refusal| refusal.at(format!("/policies/{index}")))?;
        token.policies.extend(policies);
    }
    if token.policies.len() > model_limits::POLICIES_PER_TOKEN_MAX {
        return Err(refuse("policies", "they name too many resources", "give at most 100 in all"));
    }
    // Nobody gives what they do not hold; what does not exist for them they cannot give either.
    let holds = |policy: &TokenPolicy| -> Result<bool, ApiError> {
        let Some(on) = target(snapshot, &policy.scope)? else { return Ok(false) };
        // A bucket may have gone since the token was made for it.
        let was_held = former.iter().any(|one| one.scope == policy.scope);
        Ok(caller.may(Permission::All, on) && (was_held || has_bucket(snapshot, &policy.scope)?))
    };
    for policy in &token.policies {
        if !holds(policy)? {
            return Err(ApiError::new(
                Code::TokenExceeds,
                "a policy covers something that does not exist, or on which this token has not \"All\"",
            )
            .at("/policies"));
        }
    }
    Ok(())
}

/// Nobody gives for longer than they hold: a token that may be used for a time only makes none that outlives it, and not
/// itself so. A token without `not_before` may be used from now on, as its maker's may be.
fn check_lifetime(
    caller: &Caller,
    not_before: Option<Timestamp>,
    expires_on: Option<Timestamp>,
) -> Result<(), ApiError> {
    let refuse = |field: &str, bound: Timestamp| {
        let message =
            format!("{field}: give a time within that of this token, whose {field} is {}", time(bound));
        ApiError::new(Code::TokenExceeds, message).at(format!("/{field}"))
    };
    if let Some(end) = caller.expires_on
        && expires_on.is_none_or(|given| given > end)
    {
        return Err(refuse("expires_on", end));
    }
    if let Some(start) = caller.not_before
        && not_before.is_some_and(|given| given < start)
    {
        return Err(refuse("not_before", start));
    }
    Ok(())
}

/// A token as v4 shows it; never its secret.
fn show(token: &ApiToken, now: Timestamp) -> Value {
    let expired = token.expires_on.is_some_and(|until| now >= until);
    let status = match (token.status, expired) {
        (TokenStatus::Disabled, _) => "disabled",
        (TokenStatus::Active, true) => "expired",
        (TokenStatus::Active, false) => "active",
    };
    debug_assert!(status == "active" || token.unusable(now).is_some());
    let policies = token.policies.iter().enumerate().map(|(index, policy)| show_policy(index, policy));
    json!({
        "id": token.id.to_string(),
        "name": token.name,
        "status": status,
        "issued_on": time(token.issued_on),
        "modified_on": time(token.issued_on),
        "not_before": time_or_null(token.not_before),
        "expires_on": time_or_null(token.expires_on),
        "policies": policies.collect::<Vec<_>>(),
    })
}
