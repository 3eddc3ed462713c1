//! Every active zone has a certificate of the network's own authority that has not lived two thirds of its life.

use std::{collections::BTreeSet, sync::Arc};

use proxima_ledger::Snapshot;
use proxima_model::{
    Certificate, CertificateId, CertificateSource, EdgeAuthority, Timestamp, Zone, ZoneId, ZoneStatus,
};

use super::round::{or_pass_over, readable};
use crate::{
    api::{
        Api,
        write::{Author, Draft},
    },
    authority::{self, Signer},
    error::{ApiError, Code, ControlError},
    limits,
};

/// Issues what is missing or due, for these zones or for all of them; returns those for which that failed.
pub(super) async fn keep(
    api: &Arc<Api>,
    author: &Author,
    zones: Option<BTreeSet<ZoneId>>,
) -> Result<BTreeSet<ZoneId>, ApiError> {
    let now = api.now();
    let due = api.read(move |snapshot| due(snapshot, zones, now)).await?;
    let mut failed = BTreeSet::new();
    for ids in due.chunks(limits::CERTIFICATES_PER_APPEND) {
        let Err(together) = issue_in_one(api, author, ids.to_vec()).await else { continue };
        // One of them keeps no other from its own; but if none of so many comes, it is not for one of them.
        let before = failed.len();
        for id in ids {
            let alone = issue_in_one(api, author, vec![*id]).await;
            if or_pass_over("issuing a certificate", *id, alone)?.is_none() {
                failed.insert(*id);
            }
        }
        if ids.len() == limits::CERTIFICATES_PER_APPEND && failed.len() - before == ids.len() {
            return Err(together);
        }
    }
    Ok(failed)
}

async fn issue_in_one(api: &Arc<Api>, author: &Author, ids: Vec<ZoneId>) -> Result<(), ApiError> {
    let issued = api.write(author, move |draft| issue(draft, &ids)).await?.answer;
    api.metrics.certificates_issued.inc_by(issued);
    Ok(())
}

fn due(
    snapshot: &Snapshot,
    zones: Option<BTreeSet<ZoneId>>,
    now: Timestamp,
) -> Result<Vec<ZoneId>, ApiError> {
    let mut due = Vec::new();
    let mut consider = |zone: &Zone| -> Result<(), ApiError> {
        if needed(snapshot, zone, now)?.is_some() {
            due.push(zone.id);
        }
        Ok(())
    };
    match zones {
        None => {
            for zone in readable(snapshot.scan::<Zone>(&[])) {
                let zone = zone?;
                or_pass_over("looking at its certificates", zone.id, consider(&zone))?;
            }
        }
        Some(ids) => {
            for id in ids {
                let found = snapshot.get::<Zone>(&id).map_err(ApiError::from);
                let considered = found.and_then(|zone| zone.map_or(Ok(()), |zone| consider(&zone)));
                or_pass_over("looking at its certificates", id, considered)?;
            }
        }
    }
    Ok(due)
}

/// The id under which a zone needs a certificate, if it needs one: that of the one it has, or `None` within for a new one.
fn needed(
    snapshot: &Snapshot,
    zone: &Zone,
    now: Timestamp,
) -> Result<Option<Option<CertificateId>>, ApiError> {
    if zone.status != ZoneStatus::Active || !zone.settings.universal_ssl {
        return Ok(None);
    }
    for certificate in snapshot.scan::<Certificate>(&[&zone.id]) {
        let certificate = certificate?;
        if certificate.source == CertificateSource::LocalAuthority {
            return Ok(authority::is_due(&certificate, now).then_some(Some(certificate.id)));
        }
    }
    Ok(Some(None))
}

fn issue(draft: &mut Draft<'_>, ids: &[ZoneId]) -> Result<u64, ApiError> {
    let failed = |error: ControlError| ApiError::new(Code::Internal, error.to_string());
    let authority = draft.snapshot.get::<EdgeAuthority>(&())?;
    let authority =
        authority.ok_or_else(|| ApiError::new(Code::Internal, "the network has no authority yet"))?;
    let signer = Signer::new(&authority).map_err(failed)?;
    let mut issued = 0;
    for id in ids {
        let Some(zone) = draft.read::<Zone>(id)? else { continue };
        let Some(former) = needed(draft.snapshot, &zone, draft.now)? else { continue };
        let certificate_id = former.unwrap_or_else(|| CertificateId::from_bytes(draft.id()));
        let certificate = signer.issue(&zone, certificate_id, draft.now).map_err(failed)?;
        draft.put(&certificate);
        issued += 1;
    }
    Ok(issued)
}
