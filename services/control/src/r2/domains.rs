//! `r2/buckets/:bucket_name/domains/…`: hosts at which everybody may read a bucket's objects.
//!
//! A custom domain is a host of one of the account's zones, with a DNS record of its own ([`crate::hosts`]). The oldest version of
//! TLS at it is its zone's. There is no domain of ours below which every bucket could have a host (`r2.dev`), which is said so.
//!
//! Where it is attached, switched or removed, the caches forget what was said at it until then, in the same change.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, Request, State},
    http::HeaderMap,
};
use proxima_ledger::Snapshot;
use proxima_model::{
    Account, Bucket, BucketDomain, DnsName, MinTlsVersion, Permission, RecordId, Zone, ZoneId, ZoneStatus,
    limits::{BUCKET_DOMAINS_MAX, WORKER_HOSTS_PER_ZONE_MAX},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{find, rules::given, same};
use crate::{
    api::{
        Api,
        access::Caller,
        envelope::Answer,
        write::{Author, Draft},
    },
    error::{ApiError, Code},
    hosts::{self, HostRecords, Of},
    purge,
};

/// A custom domain to attach, or what of one is to change.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DomainBody {
    domain: Option<String>,
    zone_id: Option<String>,
    enabled: Option<bool>,
    #[serde(rename = "minTLS")]
    min_tls: Option<String>,
    ciphers: Option<Vec<String>>,
}

impl DomainBody {
    async fn read(request: Request) -> Result<Self, ApiError> {
        let value = given(request).await?;
        serde_json::from_value(value).map_err(|error| ApiError::new(Code::BodyInvalid, error.to_string()))
    }

    /// Whether a zone does what is wished of TLS.
    fn check(&self, zone: &Zone) -> Result<(), ApiError> {
        if self.ciphers.as_ref().is_some_and(|ciphers| !ciphers.is_empty()) {
            let message = "ciphers: which ones are taken cannot be said of one host";
            return Err(ApiError::new(Code::NotOffered, message).at("/ciphers"));
        }
        let refuse = |code, message: String| Err(ApiError::new(code, message).at("/minTLS"));
        match self.min_tls.as_deref() {
            // The zone takes nothing older than 1.2.
            None | Some("1.0" | "1.1" | "1.2") => Ok(()),
            Some("1.3") if zone.settings.min_tls_version == MinTlsVersion::V1_3 => Ok(()),
            Some("1.3") => {
                let name = &zone.name;
                let message =
                    format!("minTLS: it is the zone's: set min_tls_version of {name} to 1.3 for all of it");
                refuse(Code::NotOffered, message)
            }
            Some(_) => refuse(Code::FieldInvalid, "minTLS: give 1.0, 1.1, 1.2 or 1.3".to_owned()),
        }
    }
}

fn unknown() -> ApiError {
    ApiError::new(Code::DomainNotFound, "the bucket has no such custom domain")
}

/// The custom domain of this name, if it is this bucket's.
fn of_bucket(snapshot: &Snapshot, bucket: &Bucket, name: &str) -> Result<BucketDomain, ApiError> {
    let hostname = DnsName::parse(name).map_err(|_| unknown())?;
    let id = bucket.domains.iter().find(|(_, host)| *host == hostname).cloned().ok_or_else(unknown)?;
    let found = snapshot.get::<BucketDomain>(&id)?;
    found.filter(|domain| domain.tag == bucket.tag).ok_or_else(unknown)
}

/// Forgets those that went with their zones.
fn forget_gone(snapshot: &Snapshot, bucket: &mut Bucket) -> Result<(), ApiError> {
    for id in std::mem::take(&mut bucket.domains) {
        if snapshot.get::<BucketDomain>(&id)?.is_some_and(|domain| domain.tag == bucket.tag) {
            bucket.domains.insert(id);
        }
    }
    Ok(())
}

const fn tls_version(zone: &Zone) -> &'static str {
    match zone.settings.min_tls_version {
        MinTlsVersion::V1_2 => "1.2",
        MinTlsVersion::V1_3 => "1.3",
    }
}

fn show(snapshot: &Snapshot, domain: &BucketDomain) -> Result<Value, ApiError> {
    let zone = snapshot.get::<Zone>(&domain.zone)?.ok_or_else(unknown)?;
    // The network has a certificate for every host of a zone that is served, be it of its own authority.
    let status = if zone.status == ZoneStatus::Active { "active" } else { "pending" };
    Ok(json!({
        "domain": domain.hostname.as_str(),
        "enabled": domain.is_enabled,
        "minTLS": tls_version(&zone),
        "status": { "ownership": status, "ssl": status },
        "zoneId": domain.zone.to_string(),
        "zoneName": zone.name.as_str(),
    }))
}

/// `GET …/domains/custom`.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Answer, ApiError> {
    let bucket = find(&api, &account, &name, &headers).await?;
    api.read(move |snapshot| {
        let mut shown = Vec::new();
        for id in &bucket.domains {
            // Those of a zone that was deleted are none any more.
            let found = snapshot.get::<BucketDomain>(id)?.filter(|domain| domain.tag == bucket.tag);
            if let Some(domain) = found {
                shown.push(show(snapshot, &domain)?);
            }
        }
        Ok(Answer::new(json!({ "domains": shown })).at(snapshot.seq()))
    })
    .await
}

/// `GET …/domains/custom/:domain`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name, domain)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Answer, ApiError> {
    let bucket = find(&api, &account, &name, &headers).await?;
    api.read(move |snapshot| {
        let domain = of_bucket(snapshot, &bucket, &domain)?;
        Ok(Answer::new(show(snapshot, &domain)?).at(snapshot.seq()))
    })
    .await
}

/// Whether another custom domain has room.
fn bounded(draft: &Draft<'_>, bucket: &Bucket, zone: ZoneId) -> Result<(), ApiError> {
    let of_zone = WORKER_HOSTS_PER_ZONE_MAX;
    if bucket.domains.len() < BUCKET_DOMAINS_MAX
        && !draft.snapshot.has_more_than::<BucketDomain>(&[&zone], of_zone - 1)?
    {
        return Ok(());
    }
    let message =
        format!("a bucket has at most {BUCKET_DOMAINS_MAX} custom domains, and a zone at most {of_zone}");
    Err(ApiError::new(Code::BucketQuota, message))
}

/// `POST …/domains/custom`: attaches a host to a bucket, with a record by which its clients come here.
pub(crate) async fn attach(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(caller): Extension<Arc<Caller>>,
    Path((_, name)): Path<(String, String)>,
    author: Author,
    request: Request,
) -> Result<Answer, ApiError> {
    let bucket = find(&api, &account, &name, request.headers()).await?;
    let body = DomainBody::read(request).await?;
    api.change(&author, move |draft| {
        let record = RecordId::from_bytes(draft.id());
        let given = body.domain.as_deref().unwrap_or_default();
        let within = (body.zone_id.as_deref(), None);
        let (zone, hostname) = hosts::find(draft.snapshot, &account, ("domain", given), within)?;
        let id = (zone.id, hostname.clone());
        if draft.is_repeat {
            return show(draft.snapshot, &draft.made::<BucketDomain>(&id)?);
        }
        hosts::may(&caller, Permission::DnsEdit, &zone)?;
        body.check(&zone)?;
        let mut bucket = same(draft, &bucket)?;
        forget_gone(draft.snapshot, &mut bucket)?;
        let is_enabled = body.enabled.unwrap_or(true);
        let found = draft.read::<BucketDomain>(&id)?;
        let before = found.as_ref().map(|domain| (domain.tag, domain.is_enabled));
        let mut domain = match found {
            Some(domain) if domain.tag == bucket.tag => domain,
            // One of a bucket that has gone does not get in the way: its record is there.
            Some(domain) if is_orphan(draft, &domain)? => domain,
            Some(domain) => {
                let message = format!("{hostname} is a custom domain of the bucket {}", domain.bucket);
                return Err(ApiError::new(Code::DomainConflict, message));
            }
            None => {
                bounded(draft, &bucket, zone.id)?;
                let mut records = HostRecords::default();
                records.lead_here(draft, (zone.id, &hostname), (Of::Bucket, record), false)?;
                records.save(draft)?;
                let (account, created_at) = (bucket.account, draft.now);
                let (tag, name) = (bucket.tag, bucket.name.clone());
                let zone = zone.id;
                BucketDomain { zone, hostname, account, bucket: name, tag, is_enabled, record, created_at }
            }
        };
        // Of a host that is new, too: another record may have stood there until now.
        if before != Some((bucket.tag, is_enabled)) {
            purge::forget_host(draft, domain.zone, &domain.hostname)?;
        }
        (domain.account, domain.bucket, domain.tag) = (bucket.account, bucket.name.clone(), bucket.tag);
        domain.is_enabled = is_enabled;
        bucket.domains.insert(id);
        draft.put(&domain);
        draft.put(&bucket);
        show(draft.snapshot, &domain)
    })
    .await
}

/// Whether the bucket of a custom domain is not there any more.
fn is_orphan(draft: &mut Draft<'_>, domain: &BucketDomain) -> Result<bool, ApiError> {
    let bucket = draft.read::<Bucket>(&(domain.account, domain.bucket.clone()))?;
    Ok(bucket.is_none_or(|bucket| bucket.tag != domain.tag))
}

/// `PUT …/domains/custom/:domain`: switches it on or off.
pub(crate) async fn update(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(caller): Extension<Arc<Caller>>,
    Path((_, name, domain)): Path<(String, String, String)>,
    author: Author,
    request: Request,
) -> Result<Answer, ApiError> {
    let bucket = find(&api, &account, &name, request.headers()).await?;
    let body = DomainBody::read(request).await?;
    api.change(&author, move |draft| {
        let found = of_bucket(draft.snapshot, &bucket, &domain)?;
        let zone = draft.snapshot.get::<Zone>(&found.zone)?.ok_or_else(unknown)?;
        if !draft.is_repeat {
            hosts::may(&caller, Permission::DnsEdit, &zone)?;
            body.check(&zone)?;
            let id = (found.zone, found.hostname.clone());
            let mut domain = draft.read::<BucketDomain>(&id)?.ok_or_else(unknown)?;
            let is_enabled = body.enabled.unwrap_or(domain.is_enabled);
            if domain.is_enabled != is_enabled {
                purge::forget_host(draft, domain.zone, &domain.hostname)?;
            }
            domain.is_enabled = is_enabled;
            draft.put(&domain);
            return show(draft.snapshot, &domain);
        }
        show(draft.snapshot, &found)
    })
    .await
}

/// `DELETE …/domains/custom/:domain`: with its record.
pub(crate) async fn remove(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(caller): Extension<Arc<Caller>>,
    Path((_, name, domain)): Path<(String, String, String)>,
    author: Author,
    headers: HeaderMap,
) -> Result<Answer, ApiError> {
    let bucket = find(&api, &account, &name, &headers).await?;
    api.change(&author, move |draft| {
        if !draft.is_repeat {
            let found = of_bucket(draft.snapshot, &bucket, &domain)?;
            let zone = draft.snapshot.get::<Zone>(&found.zone)?.ok_or_else(unknown)?;
            hosts::may(&caller, Permission::DnsEdit, &zone)?;
            let id = (found.zone, found.hostname.clone());
            let found = draft.read::<BucketDomain>(&id)?.ok_or_else(unknown)?;
            let mut bucket = same(draft, &bucket)?;
            let mut records = HostRecords::default();
            records.take_away(draft, found.zone, found.record)?;
            records.save(draft)?;
            purge::forget_host(draft, found.zone, &found.hostname)?;
            bucket.domains.remove(&id);
            draft.delete::<BucketDomain>(&id);
            draft.put(&bucket);
        }
        Ok(json!({ "domain": domain.to_ascii_lowercase() }))
    })
    .await
}

/// `GET …/domains/managed`: there is none.
pub(crate) async fn managed(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Answer, ApiError> {
    let bucket = find(&api, &account, &name, &headers).await?;
    let shown = json!({ "bucketId": bucket.tag.to_string(), "domain": "", "enabled": false });
    Ok(Answer::new(shown).at(api.replica.seq()))
}

/// `PUT …/domains/managed`: to leave it off is all that can be asked for.
pub(crate) async fn put_managed(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    request: Request,
) -> Result<Answer, ApiError> {
    let bucket = find(&api, &account, &name, request.headers()).await?;
    if DomainBody::read(request).await?.enabled != Some(false) {
        let message = "this network has no domain of its own for buckets (r2.dev): attach a custom domain";
        return Err(ApiError::new(Code::NotOffered, message));
    }
    let shown = json!({ "bucketId": bucket.tag.to_string(), "domain": "", "enabled": false });
    Ok(Answer::new(shown).at(api.replica.seq()))
}
