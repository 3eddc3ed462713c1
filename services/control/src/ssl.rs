//! `zones/:zone_id/ssl`: the certificates that the network sees to, and how far an order of theirs has come.
//!
//! A zone has one pack of certificates, `universal`, whose id is the zone's: what was ordered of a public authority, and
//! before that, or without one, what the network's own authority issued. Read from the replica alone, so that every server
//! answers the same.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State},
};
use proxima_ledger::Snapshot;
use proxima_model::{
    AcmeAccount, AcmeOrder, AcmeStage, Certificate, CertificateSource, Entity, KeyAlgorithm, Timestamp, Zone,
    ZoneStatus,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    acme::obstacle,
    api::{
        self, Api,
        body::JsonBody,
        envelope::Answer,
        page::Query,
        write::{Author, Draft},
    },
    authority, certificates,
    error::{ApiError, Code},
    limits, zones,
};

/// Packs of a page unless asked: there is one.
const PACKS_PER_PAGE: usize = 50;

/// How far a pack has come; the words are v4's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PackStatus {
    Initializing,
    PendingValidation,
    PendingIssuance,
    Active,
    Expired,
}

impl PackStatus {
    const fn of_pack(self) -> &'static str {
        match self {
            Self::Initializing => "initializing",
            Self::PendingValidation => "pending_validation",
            Self::PendingIssuance => "pending_issuance",
            Self::Active => "active",
            Self::Expired => "expired",
        }
    }

    const fn of_verification(self) -> &'static str {
        match self {
            Self::Initializing => "initializing",
            Self::PendingValidation => "authorizing",
            Self::PendingIssuance => "issuing",
            Self::Active => "active",
            Self::Expired => "expired",
        }
    }
}

/// What there is to say about a zone's pack.
struct Pack {
    status: PackStatus,
    /// Those of the public authority, or else that of the network's own.
    certificates: Vec<Certificate>,
    order: Option<AcmeOrder>,
    /// Why there is none, or no newer one.
    errors: Vec<String>,
    /// The directory of the authority of which certificates are ordered.
    directory: Option<String>,
}

impl Pack {
    /// That of a zone; none if its owner wants none.
    fn of(snapshot: &Snapshot, zone: &Zone, now: Timestamp) -> Result<Option<Self>, ApiError> {
        if !zone.settings.universal_ssl {
            return Ok(None);
        }
        let all = snapshot.scan::<Certificate>(&[&zone.id]).collect::<Result<Vec<_>, _>>()?;
        let (mut public, mut local) = (Vec::new(), Vec::new());
        for certificate in all {
            match certificate.source {
                CertificateSource::Acme { .. } => public.push(certificate),
                CertificateSource::LocalAuthority => local.push(certificate),
                CertificateSource::Custom => {}
            }
        }
        let directory = snapshot.get::<AcmeAccount>(&())?.map(|account| account.directory);
        let order = snapshot.get::<AcmeOrder>(&zone.id)?;
        // Where nothing is ordered of anybody, what the network's own authority issued is all that is to come.
        let orders = directory.is_some() || order.is_some();
        let held = if public.is_empty() && !orders { &local } else { &public };
        let is_valid = held.iter().any(|certificate| now < certificate.not_after);
        let status = match order.as_ref().map_or(AcmeStage::Idle, |order| order.stage) {
            _ if is_valid => PackStatus::Active,
            AcmeStage::Validating => PackStatus::PendingValidation,
            AcmeStage::Issuing => PackStatus::PendingIssuance,
            AcmeStage::Idle if !held.is_empty() => PackStatus::Expired,
            AcmeStage::Idle if order.is_some() => PackStatus::PendingValidation,
            AcmeStage::Idle => PackStatus::Initializing,
        };
        let failure = order.as_ref().and_then(|order| order.failure.as_ref());
        let mut errors: Vec<String> = failure.map(|failure| failure.message.clone()).into_iter().collect();
        if orders && zone.status == ZoneStatus::Active {
            errors.extend(obstacle(snapshot, zone)?);
        }
        let status = match status {
            PackStatus::Initializing if !errors.is_empty() => PackStatus::PendingValidation,
            status => status,
        };
        let certificates = if public.is_empty() { local } else { public };
        Ok(Some(Self { status, certificates, order, errors, directory }))
    }

    fn show(&self, zone: &Zone, now: Timestamp) -> Value {
        let challenge = AcmeOrder::challenge_name(&zone.name);
        let records: Vec<Value> = self
            .challenges()
            .map(|text| json!({ "status": "pending", "txt_name": challenge, "txt_value": text }))
            .collect();
        let errors: Vec<Value> = self.errors.iter().map(|message| json!({ "message": message })).collect();
        let first = self.certificates.first();
        json!({
            "id": zone.id.to_string(),
            "type": "universal",
            "hosts": authority::hosts_of(zone),
            "status": self.status.of_pack(),
            "certificates": self.certificates.iter().map(|one| certificates::show(one, now)).collect::<Vec<_>>(),
            "primary_certificate": first.map(|one| one.id.to_string()),
            "certificate_authority": self.directory.as_deref().and_then(authority_of),
            "validation_method": "txt",
            "validity_days": first.map(days),
            "validation_errors": errors,
            "validation_records": records,
            "cloudflare_branding": false,
        })
    }

    fn verification(&self, zone: &Zone) -> Value {
        let target = self.challenges().next();
        let info = target.map(
            |text| json!({ "record_name": AcmeOrder::challenge_name(&zone.name), "record_target": text }),
        );
        let algorithm = self.certificates.first().map(|certificate| match certificate.source {
            CertificateSource::Acme { algorithm: KeyAlgorithm::Rsa, .. } => "SHA256WithRSA",
            _ => "ECDSAWithSHA256",
        });
        json!({
            "certificate_status": self.status.of_verification(),
            "brand_check": false,
            "cert_pack_uuid": zone.id.to_string(),
            "signature": algorithm,
            "validation_method": "txt",
            "verification_info": info,
            "verification_status": self.status == PackStatus::Active,
            "verification_type": null,
        })
    }

    fn challenges(&self) -> impl Iterator<Item = &str> {
        self.order.iter().flat_map(|order| &order.challenges).map(String::as_str)
    }
}

/// The word that v4 has for an authority, if it has one.
fn authority_of(directory: &str) -> Option<&'static str> {
    let url = reqwest::Url::parse(directory).ok()?;
    let host = url.host_str()?;
    let known = [("letsencrypt.org", "lets_encrypt"), ("pki.goog", "google"), ("ssl.com", "ssl_com")];
    let is_below = |domain: &str| host == domain || host.ends_with(&format!(".{domain}"));
    known.into_iter().find(|(domain, _)| is_below(domain)).map(|(_, word)| word)
}

/// Whole days for which a certificate is valid.
fn days(certificate: &Certificate) -> i64 {
    let life = certificate.not_after.as_seconds().saturating_sub(certificate.not_before.as_seconds());
    life.saturating_add(3_600) / 86_400
}

/// `GET ssl/certificate_packs`: those that are active, or with `status=all` also those that are to be.
pub(crate) async fn packs(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    Extension(query): Extension<Arc<Query>>,
) -> Result<Answer, ApiError> {
    let page = query.page(PACKS_PER_PAGE, limits::OTHERS_PER_PAGE_MAX)?;
    let all = query.choice("status", &["all"])?.is_some();
    let now = api.now();
    api.read(move |snapshot| {
        let zone = api::zone(snapshot, zone.id)?;
        let pack = Pack::of(snapshot, &zone, now)?.filter(|pack| all || pack.status == PackStatus::Active);
        let shown = pack.map(|pack| pack.show(&zone, now)).into_iter().collect();
        Ok(Answer::page(page.cut(shown)).at(snapshot.seq()))
    })
    .await
}

/// `GET ssl/certificate_packs/:pack_id`.
pub(crate) async fn pack(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    let now = api.now();
    api.read(move |snapshot| {
        let zone = api::zone(snapshot, zone.id)?;
        let pack = Pack::of(snapshot, &zone, now)?.filter(|_| id == zone.id.to_string());
        let pack = pack
            .ok_or_else(|| ApiError::new(Code::CertificateNotFound, "the certificate pack does not exist"))?;
        Ok(Answer::new(pack.show(&zone, now)).at(snapshot.seq()))
    })
    .await
}

/// `GET ssl/verification`; with `retry=true`, the next order is begun now instead of when it would be.
pub(crate) async fn verification(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    Extension(query): Extension<Arc<Query>>,
    author: Author,
) -> Result<Answer, ApiError> {
    let id = zone.id;
    if query.flag("retry")? == Some(true) {
        api.write(&author, move |draft| retry(draft, &zone)).await?;
    }
    let now = api.now();
    api.read(move |snapshot| {
        let zone = api::zone(snapshot, id)?;
        let pack = Pack::of(snapshot, &zone, now)?;
        let shown: Vec<Value> = pack.iter().map(|pack| pack.verification(&zone)).collect();
        Ok(Answer::new(shown.into()).at(snapshot.seq()))
    })
    .await
}

/// Lets an order that waits after a failure begin now, unless the last one began just now: authorities count.
fn retry(draft: &mut Draft<'_>, zone: &Zone) -> Result<(), ApiError> {
    let Some(mut order) = draft.read::<AcmeOrder>(&zone.id)? else { return Ok(()) };
    let since = order.begun_at.unwrap_or(draft.now).plus_seconds(limits::ACME_RETRY_SECONDS);
    let earliest = draft.now.max(since);
    if order.stage == AcmeStage::Idle && order.next_at.is_some_and(|next_at| next_at > earliest) {
        order.next_at = Some(earliest);
        draft.put(&order);
    }
    Ok(())
}

/// `GET ssl/universal/settings`.
pub(crate) async fn universal(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
) -> Result<Answer, ApiError> {
    api.read(move |snapshot| {
        let zone = api::zone(snapshot, zone.id)?;
        Ok(Answer::new(show_universal(snapshot, zone.settings.universal_ssl)?).at(snapshot.seq()))
    })
    .await
}

/// Whether the network is to see to certificates.
#[derive(Debug, Deserialize)]
pub(crate) struct UniversalBody {
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    certificate_authority: Option<String>,
}

/// `PATCH ssl/universal/settings`. Off, what the network saw to is removed at once; on, upkeep makes it anew.
pub(crate) async fn patch_universal(
    State(api): State<Arc<Api>>,
    Extension(zone): Extension<Zone>,
    author: Author,
    JsonBody(body): JsonBody<UniversalBody>,
) -> Result<Answer, ApiError> {
    if body.certificate_authority.is_some() {
        let message =
            "certificate_authority: the operator of the network chooses it; changing it is not offered";
        return Err(ApiError::new(Code::NotOffered, message).at("/certificate_authority"));
    }
    api.change(&author, move |draft| {
        let mut zone = draft.zone(zone.id)?;
        if let Some(enabled) = body.enabled
            && !draft.is_repeat
            && enabled != zone.settings.universal_ssl
        {
            zone.settings.universal_ssl = enabled;
            zones::touch(&mut zone, draft.now);
            draft.put(&zone);
            if !enabled {
                remove(draft, &zone)?;
            }
        }
        show_universal(draft.snapshot, zone.settings.universal_ssl)
    })
    .await
}

/// Removes what the network saw to.
fn remove(draft: &mut Draft<'_>, zone: &Zone) -> Result<(), ApiError> {
    for certificate in draft.snapshot.scan::<Certificate>(&[&zone.id]) {
        let certificate = certificate?;
        if certificate.source != CertificateSource::Custom {
            draft.change(proxima_ledger::Change::Delete { key: certificate.key() });
        }
    }
    if draft.read::<AcmeOrder>(&zone.id)?.is_some() {
        draft.delete::<AcmeOrder>(&zone.id);
    }
    Ok(())
}

fn show_universal(snapshot: &Snapshot, enabled: bool) -> Result<Value, ApiError> {
    let account = snapshot.get::<AcmeAccount>(&())?;
    let word = account.as_ref().and_then(|account| authority_of(&account.directory));
    Ok(json!({ "enabled": enabled, "certificate_authority": word }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_that_v4_has_words_for_are_known_by_their_domain() {
        assert_eq!(authority_of("https://acme-v02.api.letsencrypt.org/directory"), Some("lets_encrypt"));
        assert_eq!(authority_of("https://dv.acme-v02.api.pki.goog/directory"), Some("google"));
        assert_eq!(authority_of("https://notssl.com/directory"), None);
        assert_eq!(authority_of("nonsense"), None);
    }
}
