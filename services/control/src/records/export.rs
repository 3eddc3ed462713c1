//! `GET dns_records/export`.

use std::sync::Arc;

use axum::{
    Extension,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use proxima_ledger::Snapshot;
use proxima_model::Zone;

use crate::{
    api::{self, Api, envelope::SEQ_HEADER},
    error::ApiError,
    zonefile, zones,
};

/// `GET dns_records/export`: the zone as a zone file.
pub(crate) async fn export(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
) -> Result<Response, ApiError> {
    let id = zone.id;
    let read = move |snapshot: &Snapshot| {
        let zone = api::zone(snapshot, id)?;
        let mut records = Vec::new();
        super::each_of_zone(snapshot, id, |record| records.push(record))?;
        Ok((zonefile::write(&zone, &records), snapshot.seq()))
    };
    // One that is written here is never so large.
    let is_secondary = api.read(move |snapshot| Ok(zones::is_secondary(snapshot, id)?)).await?;
    let (text, seq) = if is_secondary { api.read_much(read).await? } else { api.read(read).await? };
    let headers = [
        (header::CONTENT_TYPE.as_str(), "text/plain; charset=utf-8".to_owned()),
        (SEQ_HEADER, seq.to_string()),
    ];
    Ok((headers, text).into_response())
}
