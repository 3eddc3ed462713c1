//! `GET dns_records/export`.

use std::sync::Arc;

use axum::{
    Extension,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use proxima_model::{Record, Zone};

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
            let records: Vec<Record> = snapshot.scan::<Record>(&[&zone.id]).collect::<Result<_, _>>()?;
            Ok((zonefile::write(&zone, &records), snapshot.seq()))
        })
        .await?;
    let headers = [
        (header::CONTENT_TYPE.as_str(), "text/plain; charset=utf-8".to_owned()),
        (SEQ_HEADER, seq.to_string()),
    ];
    Ok((headers, text).into_response())
}
