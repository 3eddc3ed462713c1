//! `POST accounts/:account_id/request-tracer/trace`: what becomes of a request, and why.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Extension, extract::State};
use http::Uri;
use proxima_model::{Account, DnsName, Permission, excerpt};
use proxima_pipeline::{ExplainRequest, Explanation};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api::{
        Api,
        access::{Caller, On},
        body::JsonBody,
        envelope::Answer,
    },
    error::{ApiError, Code},
};

/// The request to trace.
#[derive(Debug, Deserialize)]
pub(crate) struct TraceBody {
    url: String,
    #[serde(default = "get")]
    method: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    cookies: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<Value>,
    #[serde(default)]
    skip_response: Option<bool>,
}

fn get() -> String {
    "GET".to_owned()
}

/// `POST request-tracer/trace`. The request is run for real, as a visitor's would be.
pub(crate) async fn trace(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(caller): Extension<Arc<Caller>>,
    JsonBody(body): JsonBody<TraceBody>,
) -> Result<Answer, ApiError> {
    let not_offered = |field: &str| {
        ApiError::new(Code::NotOffered, format!("{field} is not offered yet")).at(format!("/{field}"))
    };
    if body.body.is_some_and(|given| !given.is_null()) {
        return Err(not_offered("body"));
    }
    if body.skip_response == Some(true) {
        return Err(not_offered("skip_response"));
    }
    let invalid = |message: String| ApiError::new(Code::TraceInvalid, message).at("/url");
    let uri: Uri = body.url.parse().map_err(|_| invalid(format!("{} is not a URL", excerpt(&body.url))))?;
    let host = uri.host().and_then(|host| DnsName::parse(host).ok());
    let host = host.ok_or_else(|| invalid(format!("{} names no host", excerpt(&body.url))))?;
    // Only one's own: else the trace would tell how somebody else's zone is set up.
    api.read(move |snapshot| {
        let zone = snapshot.enclosing_zone(host.as_str())?;
        let own = zone
            .filter(|zone| zone.account == account.id && caller.may(Permission::TraceRead, On::zone(zone)));
        own.map(|_| ()).ok_or_else(|| invalid(format!("{host} is in no zone of this account")))
    })
    .await?;
    let mut headers = body.headers;
    if !body.cookies.is_empty() {
        let cookies: Vec<_> = body.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        headers.insert("cookie".to_owned(), cookies.join("; "));
    }
    let request = ExplainRequest { url: body.url, method: body.method, headers };
    let explanation = api.explainer.explain(request).await;
    let explanation = explanation.map_err(|invalid| ApiError::invalid(Code::TraceInvalid, &invalid))?;
    Ok(Answer::new(show(&explanation)))
}

/// In the shape of v4 (`status_code`, `trace`), with what only we tell beside it.
fn show(explanation: &Explanation) -> Value {
    let steps = explanation.trace.iter().map(|entry| {
        json!({
            "step_name": entry.stage,
            "type": "stage",
            "matched": true,
            "name": entry.stage,
            "description": entry.decision,
            "at_us": entry.at_us,
        })
    });
    let headers = explanation.headers.iter().map(|(name, value)| json!({ "name": name, "value": value }));
    json!({
        "status_code": explanation.status_code,
        "trace": steps.collect::<Vec<_>>(),
        "ray": explanation.ray,
        "node": explanation.node,
        "headers": headers.collect::<Vec<_>>(),
    })
}
