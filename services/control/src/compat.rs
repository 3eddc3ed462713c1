//! What exists for clients' sake: lists that are always empty here, and answers where there is no endpoint.

use axum::http::{Method, Uri};
use serde_json::Value;

use crate::{
    api::envelope::Answer,
    error::{ApiError, Code},
};

/// `GET pagerules`: there are none here, and octoDNS asks.
pub(crate) async fn page_rules() -> Answer {
    Answer::new(Value::Array(Vec::new()))
}

/// Any path that is no endpoint's.
pub(crate) async fn no_route(uri: Uri) -> ApiError {
    ApiError::new(Code::NoRoute, format!("No route for that URI: {:.200}", uri.path()))
}

/// A method that an endpoint's path does not have.
pub(crate) async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(Code::WrongMethod, format!("{method} is not a method of {:.200}", uri.path()))
}
