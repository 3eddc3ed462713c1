//! `proxima/zones/:zone_id/traffic`: what visitors asked of the server that is asked, and got. The v4 API has no such
//! endpoint any more: its analytics are GraphQL, over a whole network's history, which this is not.

use std::sync::Arc;

use axum::{Extension, extract::State};
use proxima_model::Zone;
use serde_json::json;

use crate::{
    api::{Api, envelope::Answer},
    error::ApiError,
};

/// `GET proxima/zones/:zone_id/traffic`: totals since this server first served the zone, or since it forgot it.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
) -> Result<Answer, ApiError> {
    let totals = api.traffic.of(zone.id).unwrap_or_default();
    Ok(Answer::new(json!({ "node": api.node, "pop": api.pop, "totals": totals })))
}
