//! The port through which the API has a request explained: the edge runs it through the same stages, traced in full.

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::TraceEntry;

/// A request to explain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The URL: `http` or `https`.
    pub url: String,
    /// The method; `GET` unless said.
    #[serde(default = "get")]
    pub method: String,
    /// Fields to send.
    #[serde(default)]
    pub headers: std::collections::BTreeMap<String, String>,
}

fn get() -> String {
    "GET".to_owned()
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Its ray.
    pub ray: String,
    /// The server that ran it.
    pub node: String,
    /// The status of the answer.
    pub status_code: u16,
    /// The answer's fields, in order.
    pub headers: Vec<(String, String)>,
    /// What each stage decided and why.
    pub trace: Vec<TraceEntry>,
}

/// Explains requests.
pub trait Explainer: Send + Sync + 'static {
    /// Runs the request for real, discards the body, and tells what was decided.
    fn explain(&self, request: ExplainRequest) -> BoxFuture<'_, Result<Explanation, proxima_model::Invalid>>;
}
