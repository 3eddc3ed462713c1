//! `workers/domains`: custom domains, hosts at which a Worker answers everything.
//!
//! A custom domain has a DNS record of its own ([`crate::hosts`]).

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Extension,
    extract::{Path, State},
};
use proxima_ledger::{Precondition, Snapshot};
use proxima_model::{
    Account, AccountId, DnsName, Entity, Permission, Record, RecordId, Worker, WorkerDomain, WorkerDomainId,
    WorkerHost, WorkerName, Zone, ZoneId, limits as model_limits,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{change, named, triggers::Triggers};
use crate::{
    api::{
        Api,
        access::Caller,
        body::JsonBody,
        envelope::{Answer, time},
        page::Query,
        write::{Author, Draft},
    },
    error::{ApiError, Code},
    hosts::{self, HostRecords, Of, may},
};

/// A host that is to be a custom domain.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct OriginBody {
    hostname: String,
    #[serde(default)]
    zone_id: Option<String>,
    #[serde(default)]
    zone_name: Option<String>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    previews_enabled: Option<bool>,
}

/// A custom domain to put.
#[derive(Debug, Deserialize)]
pub(crate) struct DomainBody {
    service: String,
    #[serde(default)]
    environment: Option<String>,
    #[serde(flatten)]
    origin: OriginBody,
}

/// Custom domains that a Worker is to have besides those that it has.
#[derive(Debug, Deserialize)]
pub(crate) struct OriginsBody {
    origins: Vec<OriginBody>,
    #[serde(default)]
    override_existing_origin: bool,
    #[serde(default)]
    override_existing_dns_record: bool,
}

/// What of before gives way.
#[derive(Clone, Copy, Debug)]
struct Overrides {
    /// The Worker whose custom domain it is.
    origin: bool,
    /// Records that say where the host is.
    records: bool,
}

/// `GET workers/domains`.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(query): Extension<Arc<Query>>,
) -> Result<Answer, ApiError> {
    api.read(move |snapshot| {
        let mut shown = Vec::new();
        for domain in snapshot.scan::<WorkerDomain>(&[&account.id]) {
            let domain = show(snapshot, &domain?)?;
            let fields = ["hostname", "service", "zone_id", "zone_name", "environment"];
            let is_wanted = |field: &&str| query.get(field).is_none_or(|wanted| domain[*field] == wanted);
            if fields.iter().all(is_wanted) {
                shown.push(domain);
            }
        }
        Ok(Answer::new(Value::Array(shown)).at(snapshot.seq()))
    })
    .await
}

/// `GET workers/domains/:domain_id`.
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Answer, ApiError> {
    let id: WorkerDomainId = id.parse().map_err(|_| unknown())?;
    api.read(move |snapshot| {
        let domain = snapshot.get::<WorkerDomain>(&(account.id, id))?.ok_or_else(unknown)?;
        Ok(Answer::new(show(snapshot, &domain)?).at(snapshot.seq()))
    })
    .await
}

/// `PUT workers/domains`: takes the host over from another Worker, but not from records.
pub(crate) async fn put(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(caller): Extension<Arc<Caller>>,
    author: Author,
    JsonBody(body): JsonBody<DomainBody>,
) -> Result<Answer, ApiError> {
    if body.environment.as_deref().is_some_and(|environment| environment != super::ENVIRONMENT) {
        let message = "environment: only production is offered";
        return Err(ApiError::new(Code::NotOffered, message).at("/environment"));
    }
    let (name, origins) = (named(&body.service)?, vec![body.origin]);
    let overrides = Overrides { origin: true, records: false };
    api.change(&author, move |draft| {
        let mut shown = attach(draft, &account, &caller, &name, &origins, overrides)?;
        Ok(shown.pop().expect("there is one for each origin"))
    })
    .await
}

/// `PUT workers/scripts/:script_name/domains/records`.
pub(crate) async fn put_of_script(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(caller): Extension<Arc<Caller>>,
    Path((_, name)): Path<(String, String)>,
    author: Author,
    JsonBody(body): JsonBody<OriginsBody>,
) -> Result<Answer, ApiError> {
    let name = named(&name)?;
    bounded(&body.origins)?;
    let overrides =
        Overrides { origin: body.override_existing_origin, records: body.override_existing_dns_record };
    api.change(&author, move |draft| {
        Ok(Value::Array(attach(draft, &account, &caller, &name, &body.origins, overrides)?))
    })
    .await
}

/// `POST workers/scripts/:script_name/domains/changeset`: what would change, and what would have to give way.
pub(crate) async fn changeset(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Path((_, name)): Path<(String, String)>,
    JsonBody(origins): JsonBody<Vec<OriginBody>>,
) -> Result<Answer, ApiError> {
    let name = named(&name)?;
    bounded(&origins)?;
    api.read(move |snapshot| {
        change::find(snapshot, &account, &name)?;
        let (mut added, mut updated, mut conflicting) = (Vec::new(), Vec::new(), Vec::new());
        let found = origins.iter().map(|origin| origin.find(snapshot, &account));
        let found = found.collect::<Result<Vec<_>, _>>()?;
        let taken = taken(snapshot, &found)?;
        for (zone, hostname) in found {
            let row = json!({ "hostname": hostname.as_str(), "zone_id": zone.id.to_string(), "service": name.as_str() });
            if let Some(host) = snapshot.get::<WorkerHost>(&(zone.id, hostname.clone()))? {
                let domain = snapshot.get::<WorkerDomain>(&(account.id, host.domain))?.ok_or_else(unknown)?;
                let mut shown = show(snapshot, &domain)?;
                shown["modified"] = (domain.service != name).into();
                updated.push(shown);
                continue;
            }
            if taken.contains(&(zone.id, hostname)) { conflicting.push(row) } else { added.push(row) }
        }
        let changes =
            json!({ "added": added, "removed": [], "updated": updated, "conflicting": conflicting });
        Ok(Answer::new(changes).at(snapshot.seq()))
    })
    .await
}

/// `DELETE workers/domains/:domain_id`.
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    Extension(account): Extension<Account>,
    Extension(caller): Extension<Arc<Caller>>,
    Path((_, id)): Path<(String, String)>,
    author: Author,
) -> Result<Answer, ApiError> {
    let parsed: WorkerDomainId = id.parse().map_err(|_| unknown())?;
    api.change(&author, move |draft| {
        if !draft.is_repeat {
            let domain = draft.read::<WorkerDomain>(&(account.id, parsed))?.ok_or_else(unknown)?;
            if let Some(zone) = draft.snapshot.get::<Zone>(&domain.zone)? {
                may(&caller, Permission::WorkerRoutesEdit, &zone)?;
            }
            let mut edit = DomainEdit::of(account.id);
            edit.detach(draft, &domain)?;
            edit.save(draft)?;
        }
        Ok(json!({ "id": parsed.to_string() }))
    })
    .await
}

/// Which of these hosts have records that say where they are. Each zone is read once, however many of its hosts are asked for.
fn taken(snapshot: &Snapshot, hosts: &[(Zone, DnsName)]) -> Result<BTreeSet<(ZoneId, DnsName)>, ApiError> {
    let asked: BTreeSet<(ZoneId, &DnsName)> = hosts.iter().map(|(zone, host)| (zone.id, host)).collect();
    let zones: BTreeSet<ZoneId> = hosts.iter().map(|(zone, _)| zone.id).collect();
    let mut taken = BTreeSet::new();
    for zone in zones {
        for record in snapshot.scan::<Record>(&[&zone]) {
            let record = record?;
            if record.data.record_type().can_be_proxied() && asked.contains(&(zone, &record.name)) {
                taken.insert((zone, record.name));
            }
        }
    }
    Ok(taken)
}

fn bounded(origins: &[OriginBody]) -> Result<(), ApiError> {
    let most = model_limits::WORKER_HOSTS_PER_ZONE_MAX;
    if origins.len() <= most {
        return Ok(());
    }
    Err(ApiError::new(Code::WorkerQuota, format!("give at most {most} custom domains at a time")))
}

impl OriginBody {
    /// The zone and the host that are meant.
    fn find(&self, snapshot: &Snapshot, account: &Account) -> Result<(Zone, DnsName), ApiError> {
        if self.enabled == Some(false) || self.previews_enabled == Some(true) {
            let message = "custom domains that are switched off, or have previews, are not offered yet";
            return Err(ApiError::new(Code::NotOffered, message));
        }
        let zone = (self.zone_id.as_deref(), self.zone_name.as_deref());
        hosts::find(snapshot, account, ("hostname", &self.hostname), zone)
    }
}

/// Makes hosts custom domains of a Worker.
fn attach(
    draft: &mut Draft<'_>,
    account: &Account,
    caller: &Caller,
    name: &WorkerName,
    origins: &[OriginBody],
    overrides: Overrides,
) -> Result<Vec<Value>, ApiError> {
    change::find(draft.snapshot, account, name)?;
    draft.require(Precondition::Present(Worker::key_of(&(account.id, name.clone()))));
    let mut edit = DomainEdit::of(account.id);
    let mut shown = Vec::with_capacity(origins.len());
    for (index, origin) in origins.iter().enumerate() {
        let at = |refusal: ApiError| refusal.at(format!("/origins/{index}"));
        let (zone, hostname) = origin.find(draft.snapshot, account).map_err(at)?;
        let domain = if draft.is_repeat {
            let host = draft.made::<WorkerHost>(&(zone.id, hostname))?;
            draft.made::<WorkerDomain>(&(account.id, host.domain))?
        } else {
            may(caller, Permission::WorkerRoutesEdit, &zone)?;
            // Records of others give way.
            if overrides.records {
                may(caller, Permission::DnsEdit, &zone)?;
            }
            edit.attach(draft, &zone, hostname, name, overrides).map_err(at)?
        };
        shown.push(show(draft.snapshot, &domain)?);
    }
    edit.save(draft)?;
    Ok(shown)
}

/// Custom domains while they are changed, with the records that they have.
pub(super) struct DomainEdit {
    account: AccountId,
    pub(super) triggers: Triggers,
    records: HostRecords,
    seen: BTreeSet<(ZoneId, DnsName)>,
}

impl DomainEdit {
    pub(super) fn of(account: AccountId) -> Self {
        let (triggers, records) = (Triggers::of(account), HostRecords::default());
        Self { account, triggers, records, seen: BTreeSet::new() }
    }

    fn attach(
        &mut self,
        draft: &mut Draft<'_>,
        zone: &Zone,
        hostname: DnsName,
        service: &WorkerName,
        overrides: Overrides,
    ) -> Result<WorkerDomain, ApiError> {
        let (id, record) = (WorkerDomainId::from_bytes(draft.id()), RecordId::from_bytes(draft.id()));
        let key = (zone.id, hostname.clone());
        if !self.seen.insert(key.clone()) {
            return Err(ApiError::new(Code::DomainInvalid, format!("{hostname} is given twice")));
        }
        let (domain, host) = match draft.read::<WorkerHost>(&key)? {
            Some(host) => self.take_over(draft, host, service, overrides)?,
            None => {
                self.limit(draft, zone.id)?;
                let of = (Of::Worker, record);
                self.records.lead_here(draft, (zone.id, &hostname), of, overrides.records)?;
                let (account, created_at) = (self.account, draft.now);
                let (zone, service) = (zone.id, service.clone());
                let host = WorkerHost {
                    zone,
                    hostname: hostname.clone(),
                    account,
                    service: service.clone(),
                    domain: id,
                    record,
                };
                (WorkerDomain { id, account, zone, hostname, service, created_at }, host)
            }
        };
        self.triggers.get(draft, service)?.domains.insert(domain.id);
        draft.put(&domain);
        draft.put(&host);
        Ok(domain)
    }

    /// Has a custom domain that is there lead to another Worker.
    fn take_over(
        &mut self,
        draft: &mut Draft<'_>,
        host: WorkerHost,
        service: &WorkerName,
        overrides: Overrides,
    ) -> Result<(WorkerDomain, WorkerHost), ApiError> {
        let domain = draft.read::<WorkerDomain>(&(self.account, host.domain))?.ok_or_else(unknown)?;
        if domain.service != *service {
            if !overrides.origin {
                let message =
                    format!("{} is a custom domain of the Worker {}", host.hostname, domain.service);
                return Err(ApiError::new(Code::DomainConflict, message));
            }
            self.triggers.get(draft, &domain.service)?.domains.remove(&domain.id);
        }
        let service = service.clone();
        Ok((WorkerDomain { service: service.clone(), ..domain }, WorkerHost { service, ..host }))
    }

    fn limit(&self, draft: &Draft<'_>, zone: ZoneId) -> Result<(), ApiError> {
        let (of_zone, of_account) =
            (model_limits::WORKER_HOSTS_PER_ZONE_MAX, model_limits::WORKER_DOMAINS_PER_ACCOUNT_MAX);
        // Those of this request are not there yet; a request has no more than a zone may have.
        let coming = self.seen.len();
        if draft.snapshot.has_more_than::<WorkerHost>(&[&zone], of_zone.saturating_sub(coming))?
            || draft
                .snapshot
                .has_more_than::<WorkerDomain>(&[&self.account], of_account.saturating_sub(coming))?
        {
            let message =
                format!("a zone has at most {of_zone} custom domains, and an account at most {of_account}");
            return Err(ApiError::new(Code::WorkerQuota, message));
        }
        Ok(())
    }

    /// Takes a custom domain away, with its record.
    pub(super) fn detach(&mut self, draft: &mut Draft<'_>, domain: &WorkerDomain) -> Result<(), ApiError> {
        let key = (domain.zone, domain.hostname.clone());
        // One of a zone that was deleted is a row of the account's list alone.
        if let Some(host) = draft.snapshot.get::<WorkerHost>(&key)?.filter(|host| host.domain == domain.id) {
            self.records.take_away(draft, domain.zone, host.record)?;
            draft.delete::<WorkerHost>(&key);
        }
        draft.delete::<WorkerDomain>(&(domain.account, domain.id));
        self.triggers.get(draft, &domain.service)?.domains.remove(&domain.id);
        Ok(())
    }

    pub(super) fn save(self, draft: &mut Draft<'_>) -> Result<(), ApiError> {
        self.records.save(draft)?;
        self.triggers.save(draft)
    }
}

fn show(snapshot: &Snapshot, domain: &WorkerDomain) -> Result<Value, ApiError> {
    let zone = snapshot.get::<Zone>(&domain.zone)?;
    Ok(json!({
        "id": domain.id.to_string(),
        "hostname": domain.hostname.as_str(),
        "service": domain.service.as_str(),
        "environment": super::ENVIRONMENT,
        "zone_id": domain.zone.to_string(),
        "zone_name": zone.map(|zone| zone.name.as_str().to_owned()),
        "enabled": true,
        "previews_enabled": false,
        "created_on": time(domain.created_at),
    }))
}

fn unknown() -> ApiError {
    ApiError::new(Code::DomainNotFound, "the account has no such custom domain")
}
