//! `GET dns_records/export`.

use std::sync::Arc;

use axum::{
    Extension,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use proxima_model::Zone;

use crate::{
    api::{self, Api, envelope::SEQ_HEADER},
    error::ApiError,
    zonefile,
};

/// `GET dns_records/export`: the zone as a zone file.
pub(crate) async fn export(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
) -> Result<Response, ApiError> {
    let (text, seq) = api
        .read(move |snapshot| {
            let zone = api::zone(snapshot, zone.id)?;
            Ok((zonefile::write(&zone, &super::of_zone(snapshot, zone.id)?), snapshot.seq()))
        })
        .await?;
    let headers = [
        (header::CONTENT_TYPE.as_str(), "text/plain; charset=utf-8".to_owned()),
        (SEQ_HEADER, seq.to_string()),
    ];
    Ok((headers, text).into_response())
}
