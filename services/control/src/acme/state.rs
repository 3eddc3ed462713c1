//! What of an order is in the log, and how it changes. Every write reads what it decides upon: a zone that was deleted or
//! has universal SSL off meanwhile gets nothing any more.

use std::sync::Arc;

use proxima_ledger::Seq;
use proxima_model::{
    AcmeAccount, AcmeFailure, AcmeOrder, AcmeStage, Certificate, CertificateId, CertificateSource, Entity,
    Timestamp, Zone, ZoneId,
};

use crate::{
    api::{
        Api,
        write::{Author, Draft},
    },
    error::ApiError,
    limits,
};

/// A zone for which orders may go on.
fn entitled(draft: &mut Draft<'_>, id: ZoneId) -> Result<Option<Zone>, ApiError> {
    let zone = draft.read::<Zone>(&id)?;
    Ok(zone.filter(|zone| zone.settings.universal_ssl))
}

/// Notes that an order is under way and how far it has come, with its challenges; the state that has it, if the zone may
/// still have one.
pub(super) async fn note(
    api: &Arc<Api>,
    author: &Author,
    zone: ZoneId,
    stage: AcmeStage,
    challenges: Vec<String>,
) -> Result<Option<Seq>, ApiError> {
    let written = api.write(author, move |draft| {
        if entitled(draft, zone)?.is_none() {
            return Ok(false);
        }
        let former = draft.read::<AcmeOrder>(&zone)?;
        let mut order = former.unwrap_or_else(|| AcmeOrder::new(zone));
        if order.stage == AcmeStage::Idle {
            order.begun_at = Some(draft.now);
        }
        order.stage = stage;
        order.challenges = challenges.clone();
        draft.put(&order);
        Ok(true)
    });
    let written = written.await?;
    Ok(written.answer.then_some(written.seq))
}

/// Notes why an order failed; `blamed` if by the zone's fault.
pub(super) async fn fail(
    api: &Arc<Api>,
    author: &Author,
    zone: ZoneId,
    message: &str,
    blamed: bool,
    wait_seconds: impl Fn(u32) -> i64 + Send + Sync + 'static,
) -> Result<(), ApiError> {
    let message: String = message.chars().take(limits::ACME_MESSAGE_CHARS_MAX).collect();
    let written = api.write(author, move |draft| {
        if entitled(draft, zone)?.is_none() {
            return Ok(());
        }
        let former = draft.read::<AcmeOrder>(&zone)?.unwrap_or_else(|| AcmeOrder::new(zone));
        let failures = if blamed { former.failures.saturating_add(1) } else { former.failures };
        draft.put(&AcmeOrder {
            stage: AcmeStage::Idle,
            challenges: Vec::new(),
            failures,
            failure: Some(AcmeFailure { at: draft.now, message: message.clone() }),
            next_at: Some(draft.now.plus_seconds(wait_seconds(failures))),
            ..former
        });
        Ok(())
    });
    written.await.map(|_| ())
}

/// Takes back what a process left under way that ended.
pub(super) async fn take_back(api: &Arc<Api>, author: &Author, zone: ZoneId) -> Result<(), ApiError> {
    let written = api.write(author, move |draft| {
        if let Some(former) = draft.read::<AcmeOrder>(&zone)? {
            let again = former.begun_at.unwrap_or(draft.now).plus_seconds(limits::ACME_LEFT_WAIT_SECONDS);
            let next_at = Some(former.next_at.map_or(again, |next_at| next_at.max(again)));
            draft.put(&AcmeOrder { stage: AcmeStage::Idle, challenges: Vec::new(), next_at, ..former });
        }
        Ok(())
    });
    written.await.map(|_| ())
}

/// Forgets a zone's orders.
pub(super) async fn forget(api: &Arc<Api>, author: &Author, zone: ZoneId) -> Result<(), ApiError> {
    let written = api.write(author, move |draft| {
        if draft.read::<AcmeOrder>(&zone)?.is_some() {
            draft.delete::<AcmeOrder>(&zone);
        }
        Ok(())
    });
    written.await.map(|_| ())
}

/// Forgets our account at the authority.
pub(super) async fn forget_account(api: &Arc<Api>, author: &Author) -> Result<(), ApiError> {
    let written = api.write(author, |draft| {
        if draft.read::<AcmeAccount>(&())?.is_some() {
            draft.delete::<AcmeAccount>(&());
        }
        Ok(())
    });
    written.await.map(|_| ())
}

/// A certificate that was signed.
#[derive(Clone)]
pub(super) struct Issued {
    pub(super) source: CertificateSource,
    pub(super) hosts: Vec<proxima_model::DnsName>,
    pub(super) chain_pem: String,
    pub(super) key_pem: String,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

/// Puts a certificate in the place of the former one of its kind, and takes the challenges back, in one append.
pub(super) async fn succeed(
    api: &Arc<Api>,
    author: &Author,
    zone: ZoneId,
    issued: Issued,
) -> Result<(), ApiError> {
    let written = api.write(author, move |draft| {
        if draft.read::<AcmeOrder>(&zone)?.is_some() {
            draft.delete::<AcmeOrder>(&zone);
        }
        if entitled(draft, zone)?.is_none() {
            return Ok(());
        }
        let mut id = None;
        for former in draft.snapshot.scan::<Certificate>(&[&zone]) {
            let former = former?;
            if !replaces(&issued.source, &former.source) {
                continue;
            }
            // One stays the id of the zone's certificate; there are others only after the directory was changed.
            match id {
                None => id = Some(former.id),
                Some(_) => draft.change(proxima_ledger::Change::Delete { key: former.key() }),
            }
        }
        let id = id.unwrap_or_else(|| CertificateId::from_bytes(draft.id()));
        draft.put(&Certificate {
            id,
            zone,
            hosts: issued.hosts.clone(),
            source: issued.source.clone(),
            chain_pem: issued.chain_pem.clone(),
            key_pem: issued.key_pem.clone(),
            not_before: issued.not_before,
            not_after: issued.not_after,
            uploaded_at: draft.now,
        });
        Ok(())
    });
    written.await.map(|_| ())
}

/// Whether a new certificate stands for a former one: of the same kind of key, from whichever authority.
fn replaces(new: &CertificateSource, former: &CertificateSource) -> bool {
    match (new, former) {
        (
            CertificateSource::Acme { algorithm: new, .. },
            CertificateSource::Acme { algorithm: former, .. },
        ) => new == former,
        _ => false,
    }
}
