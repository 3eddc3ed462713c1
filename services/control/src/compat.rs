//! What exists for clients' sake: lists that are always empty here, and answers where there is no endpoint.

use axum::http::{Method, Uri};
use serde_json::Value;

use crate::{
    api::envelope::Answer,
    error::{ApiError, Code},
    routes::PREFIX,
};

/// Products of the v4 API that are not here and that `wrangler` or the SDK asks for: what their paths below an account begin with (`*` is
/// any one segment), and how they are called.
const NOT_OFFERED: &[(&str, &str)] = &[
    ("ai", "Workers AI"),
    ("ai-search", "AI Search"),
    ("browser-rendering", "Browser Rendering"),
    ("cfd_tunnel", "Cloudflare Tunnel"),
    ("cloudchamber", "Containers"),
    ("connectivity", "VPC services"),
    ("containers", "Containers"),
    ("d1", "D1 (Durable Objects have SQL)"),
    ("email", "Email Routing"),
    ("event_subscriptions", "event subscriptions"),
    ("hyperdrive", "Hyperdrive"),
    ("pages", "Pages (Workers have static assets)"),
    ("pipelines", "Pipelines"),
    ("r2-catalog", "R2 Data Catalog"),
    ("r2/buckets/*/local-uploads", "local uploads of buckets"),
    ("r2/buckets/*/lock", "locks of buckets"),
    ("r2/buckets/*/sippy", "Sippy"),
    ("r2/metrics", "metrics of all buckets (each bucket has its usage)"),
    ("r2/temp-access-credentials", "temporary credentials of R2"),
    ("secrets_store", "Secrets Store (Workers have secrets)"),
    ("tokens", "tokens of accounts (users have tokens)"),
    ("vectorize", "Vectorize"),
    ("workers/account-settings", "settings of Workers for whole accounts"),
    ("workers/dispatch", "Workers for Platforms"),
    ("workers/observability", "Workers Observability (Workers have live logs)"),
    ("workers/scripts-search", "a search for Workers (they can be listed)"),
    ("workers/scripts/*/edge-preview", REMOTE_DEV),
    ("workers/services/*/environments/*/edge-preview", REMOTE_DEV),
    ("workers/subdomain/edge-preview", REMOTE_DEV),
    ("workers/workers", "the beta of the API of Workers (they are workers/scripts)"),
    ("workflows", "Workflows"),
];

/// The same of zones.
const NOT_OFFERED_OF_ZONES: &[(&str, &str)] =
    &[("email", "Email Routing"), ("workers/edge-preview", REMOTE_DEV)];

/// What wrangler asks for to run code that is not uploaded.
const REMOTE_DEV: &str =
    "previews of code that is not deployed (wrangler dev --remote): run wrangler dev without it, or deploy";

/// `GET pagerules`: there are none here, and octoDNS asks.
pub(crate) async fn page_rules() -> Answer {
    Answer::new(Value::Array(Vec::new()))
}

/// Any path that is no endpoint's.
pub(crate) async fn no_route(uri: Uri) -> ApiError {
    match not_offered(uri.path()) {
        Some(product) => ApiError::new(Code::NotOffered, format!("this network does not offer {product}")),
        None => ApiError::new(Code::NoRoute, format!("No route for that URI: {:.200}", uri.path())),
    }
}

/// The product to which a path belongs.
fn not_offered(path: &str) -> Option<&'static str> {
    let path = path.strip_prefix(PREFIX)?;
    let (below, all) = match path.strip_prefix("/accounts/") {
        Some(below) => (below, NOT_OFFERED),
        None => (path.strip_prefix("/zones/")?, NOT_OFFERED_OF_ZONES),
    };
    let (_id, rest) = below.split_once('/')?;
    let begins = |with: &str| {
        let mut segments = rest.split('/');
        with.split('/').all(|wanted| segments.next().is_some_and(|found| wanted == "*" || wanted == found))
    };
    all.iter().find(|(with, _)| begins(with)).map(|(_, product)| *product)
}

/// A method that an endpoint's path does not have.
pub(crate) async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(Code::WrongMethod, format!("{method} is not a method of {:.200}", uri.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_offered_is_known_by_the_beginning_of_its_path() {
        let of = |path: &str| not_offered(&format!("{PREFIX}{path}"));
        for path in [
            "/zones/z/workers/edge-preview",
            "/accounts/a/workers/subdomain/edge-preview",
            "/accounts/a/workers/scripts/app/edge-preview",
            "/accounts/a/workers/services/app/environments/production/edge-preview",
        ] {
            assert_eq!(of(path), Some(REMOTE_DEV), "{path}");
        }
        assert_eq!(of("/accounts/a/ai/run/x"), Some("Workers AI"));
        for path in ["/accounts/a/workers/scripts/app/edge", "/zones/z/d1", "/accounts/a", "/ai/x"] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
