//! Hosts at which this network itself answers everything: custom domains of Workers and of buckets.
//!
//! Such a host has a DNS record of its own, which leads clients here and nowhere else: AAAA `100::`, the addresses that discard
//! (RFC 6666), proxied. It is shown with the zone's records and changed only with what answers there; no other record may say
//! where the host is, and nothing else may answer.

use std::collections::{BTreeMap, btree_map::Entry};

use proxima_ledger::{ReadError, Snapshot};
use proxima_model::{
    Account, BucketDomain, DnsName, Permission, Record, RecordData, RecordId, RecordType, Ttl, WorkerHost,
    Zone, ZoneId, excerpt,
};

use crate::{
    api::{
        access::{Caller, On},
        write::Draft,
    },
    error::{ApiError, Code},
    records::{self, edit::ZoneEdit},
};

/// Where the record of such a host leads: nowhere.
const DISCARD: &str = "100::";

/// What a host is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// A Worker.
    Worker,
    /// A bucket.
    Bucket,
}

impl Of {
    /// As people call it.
    const fn name(self) -> &'static str {
        match self {
            Self::Worker => "a Worker",
            Self::Bucket => "a bucket",
        }
    }

    /// Where it is changed.
    const fn path(self) -> &'static str {
        match self {
            Self::Worker => "workers/domains",
            Self::Bucket => "r2/buckets/:bucket_name/domains/custom",
        }
    }
}

/// The record of such a host, which is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) record: RecordId,
    of: Of,
}

impl Kept {
    /// Whoever wants to change it is told where.
    pub(crate) fn refusal(self, host: &DnsName) -> ApiError {
        let (name, path) = (self.of.name(), self.of.path());
        let message = format!("{host} is a custom domain of {name}: change or delete that instead ({path})");
        ApiError::new(Code::RecordManaged, message)
    }
}

/// Such hosts of a zone.
pub(crate) fn of_zone(snapshot: &Snapshot, zone: ZoneId) -> Result<BTreeMap<DnsName, Kept>, ReadError> {
    let mut hosts = BTreeMap::new();
    for host in snapshot.scan::<WorkerHost>(&[&zone]) {
        let WorkerHost { hostname, record, .. } = host?;
        hosts.insert(hostname, Kept { record, of: Of::Worker });
    }
    for domain in snapshot.scan::<BucketDomain>(&[&zone]) {
        let BucketDomain { hostname, record, .. } = domain?;
        hosts.insert(hostname, Kept { record, of: Of::Bucket });
    }
    Ok(hosts)
}

/// The account's zone in which something is to be reached: the one named, or the one in which its host lies.
pub(crate) fn place(
    snapshot: &Snapshot,
    account: &Account,
    host: &str,
    id: Option<&str>,
    name: Option<&str>,
) -> Result<Option<Zone>, ApiError> {
    let found = match (id, name) {
        (Some(id), _) => match id.parse::<ZoneId>() {
            Ok(id) => snapshot.get::<Zone>(&id)?,
            Err(_) => None,
        },
        (None, Some(name)) => snapshot.zone_by_name(&name.to_ascii_lowercase())?,
        (None, None) => snapshot.enclosing_zone(host)?,
    };
    Ok(found.filter(|zone| zone.account == account.id))
}

/// Whether a caller may do this in a zone. The code is the one at which wrangler goes on zone by zone.
pub(crate) fn may(caller: &Caller, permission: Permission, zone: &Zone) -> Result<(), ApiError> {
    if caller.may(permission, On::zone(zone)) {
        return Ok(());
    }
    let name = crate::tokens::group(permission).name;
    let message =
        format!("Authentication error: the token needs the permission {name:?} on the zone {}", zone.name);
    Err(ApiError::new(Code::TokenUnusable, message))
}

/// The host that is meant, and the zone of the account in which it lies.
pub(crate) fn find(
    snapshot: &Snapshot,
    account: &Account,
    (field, text): (&str, &str),
    (id, name): (Option<&str>, Option<&str>),
) -> Result<(Zone, DnsName), ApiError> {
    let refuse = |problem: &str| {
        let message = format!("{field}: {} {problem}", excerpt(text));
        ApiError::new(Code::DomainInvalid, message).at(format!("/{field}"))
    };
    let hostname = DnsName::parse(text).map_err(|_| refuse("is not a host's name"))?;
    // `/` stands in names of reverse zones, and parts keys of the log.
    if hostname.as_str().contains(['*', '/', '_']) {
        return Err(refuse("is not a host's name; a wildcard is for routes"));
    }
    let zone = place(snapshot, account, hostname.as_str(), id, name)?
        .ok_or_else(|| refuse("lies in no zone of the account, or the one that is named is none of it"))?;
    if !hostname.is_within(&zone.name) {
        return Err(refuse(&format!("does not lie in the zone {}", zone.name)));
    }
    Ok((zone, hostname))
}

/// Zones while records of such hosts are made and taken away in them.
#[derive(Default)]
pub(crate) struct HostRecords {
    zones: BTreeMap<ZoneId, ZoneEdit>,
}

impl HostRecords {
    fn zone(&mut self, draft: &mut Draft<'_>, id: ZoneId) -> Result<&mut ZoneEdit, ApiError> {
        Ok(match self.zones.entry(id) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => place.insert(records::edit_with_hosts(draft, id)?),
        })
    }

    /// Makes the record by which clients come here. Records of the zone's owner that say where the host is give way if that is
    /// wished; what else answers there does not.
    pub(crate) fn lead_here(
        &mut self,
        draft: &mut Draft<'_>,
        (zone, hostname): (ZoneId, &DnsName),
        (of, id): (Of, RecordId),
        overrides: bool,
    ) -> Result<(), ApiError> {
        let key = (zone, hostname.clone());
        let other = match of {
            Of::Worker => draft.read::<BucketDomain>(&key)?.map(|_| Of::Bucket),
            Of::Bucket => draft.read::<WorkerHost>(&key)?.map(|_| Of::Worker),
        };
        if let Some(other) = other {
            let message = format!("{hostname} is a custom domain of {}: delete that first", other.name());
            return Err(ApiError::new(Code::DomainConflict, message));
        }
        let now = draft.now;
        let edit = self.zone(draft, zone)?;
        for found in edit.whereabouts(hostname) {
            if !overrides {
                let message = format!(
                    "{hostname} already has externally managed DNS records (A, CNAME, etc): delete them first"
                );
                return Err(ApiError::new(Code::DomainConflict, message));
            }
            edit.delete(found)?;
        }
        edit.create(Record {
            id,
            zone,
            name: hostname.clone(),
            data: RecordData::parse(RecordType::Aaaa, DISCARD).expect("it is an address"),
            ttl: Ttl::Auto,
            proxied: true,
            flatten: false,
            comment: Some(format!("custom domain of {}", of.name())),
            tags: Vec::new(),
            created_at: now,
            modified_at: now,
        })
    }

    /// Takes the record of a host away.
    pub(crate) fn take_away(
        &mut self,
        draft: &mut Draft<'_>,
        zone: ZoneId,
        record: RecordId,
    ) -> Result<(), ApiError> {
        self.zone(draft, zone)?.delete(record).map(drop)
    }

    /// Writes what was changed.
    pub(crate) fn save(self, draft: &mut Draft<'_>) -> Result<(), ApiError> {
        self.zones.into_values().try_for_each(|edit| records::save(draft, edit))
    }
}
