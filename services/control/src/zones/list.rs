//! `GET zones`: filters, orders and pages.

use std::{cmp::Ordering, sync::Arc};

use axum::{Extension, extract::State};
use proxima_ledger::Snapshot;
use proxima_model::{AccountId, Permission, Zone, ZoneName, ZoneStatus};

use super::{AccountNames, is_secondary, show};
use crate::{
    api::{
        Api,
        access::{Caller, On},
        envelope::Answer,
        page::{Query, TextFilter},
    },
    error::{ApiError, Code},
    limits,
};

/// Which zones are wanted.
struct Filters {
    name: Option<TextFilter>,
    status: Option<String>,
    account_id: Option<AccountId>,
    account_name: Option<TextFilter>,
    all: bool,
}

impl Filters {
    fn of(query: &Query) -> Result<Self, ApiError> {
        let account_id = query.get("account.id").map(|text| {
            text.parse()
                .map_err(|_| ApiError::new(Code::QueryInvalid, "account.id: give 32 hexadecimal digits"))
        });
        let statuses = ["initializing", "pending", "active", "moved"];
        Ok(Self {
            name: query.get("name").map(TextFilter::with_operator).map(|filter| match filter {
                // People ask for names as they write them: with the last dot, or international.
                TextFilter::Equal(name) => {
                    TextFilter::Equal(ZoneName::parse(&name).map_or(name, |parsed| parsed.to_string()))
                }
                other => other,
            }),
            status: query.choice("status", &statuses)?.map(str::to_owned),
            account_id: account_id.transpose()?,
            account_name: query.get("account.name").map(TextFilter::with_operator),
            all: query.match_all()?,
        })
    }

    /// The one name that is wanted, if nothing else can pass.
    fn one_name(&self) -> Option<&str> {
        let only =
            self.all || (self.status.is_none() && self.account_id.is_none() && self.account_name.is_none());
        match &self.name {
            Some(TextFilter::Equal(name)) if only => Some(name),
            _ => None,
        }
    }

    fn pass(&self, zone: &Zone, names: &mut AccountNames<'_>) -> Result<bool, ApiError> {
        let status = match zone.status {
            ZoneStatus::Pending => "pending",
            ZoneStatus::Active => "active",
        };
        let account_name = match &self.account_name {
            Some(filter) => Some(filter.passes(names.get(zone.account)?)),
            None => None,
        };
        let verdicts = [
            self.name.as_ref().map(|filter| filter.passes(zone.name.as_str())),
            self.status.as_ref().map(|wanted| wanted == status),
            self.account_id.map(|wanted| wanted == zone.account),
            account_name,
        ];
        let mut given = verdicts.into_iter().flatten().peekable();
        if given.peek().is_none() {
            return Ok(true);
        }
        Ok(if self.all { given.all(|passed| passed) } else { given.any(|passed| passed) })
    }
}

/// `GET zones`: those that the caller may see.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Arc<Caller>>,
    Extension(query): Extension<Arc<Query>>,
) -> Result<Answer, ApiError> {
    let page = query.page(limits::ZONES_PER_PAGE, limits::ZONES_PER_PAGE_MAX)?;
    let filters = Filters::of(&query)?;
    let order = query.choice("order", &["name", "status", "account.id", "account.name", "plan.id"])?;
    let order = order.unwrap_or("name").to_owned();
    let descending = query.descending()?;
    let now = api.now();
    api.read(move |snapshot| {
        let mut names = AccountNames::new(snapshot);
        let mut zones = Vec::new();
        let mut consider = |zone: Zone| -> Result<(), ApiError> {
            if caller.may(Permission::ZoneRead, On::zone(&zone)) && filters.pass(&zone, &mut names)? {
                zones.push(zone);
            }
            Ok(())
        };
        match filters.one_name() {
            Some(name) => snapshot.zone_by_name(name)?.map_or(Ok(()), &mut consider)?,
            None => each_zone(snapshot, &mut consider)?,
        }
        sort(&mut zones, &order, descending, &mut names)?;
        let (zones, info) = page.cut(zones);
        let shown = zones.iter().map(|zone| {
            let is_secondary = is_secondary(snapshot, zone.id)?;
            Ok(show(zone, is_secondary, names.get(zone.account)?, now))
        });
        let shown = shown.collect::<Result<_, ApiError>>()?;
        Ok(Answer::page((shown, info)).at(snapshot.seq()))
    })
    .await
}

fn each_zone(
    snapshot: &Snapshot,
    consider: &mut impl FnMut(Zone) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    for zone in snapshot.scan::<Zone>(&[]) {
        consider(zone?)?;
    }
    Ok(())
}

fn sort(
    zones: &mut [Zone],
    order: &str,
    descending: bool,
    names: &mut AccountNames<'_>,
) -> Result<(), ApiError> {
    for zone in zones.iter() {
        names.get(zone.account)?;
    }
    let account_name = |zone: &Zone| names.names.get(&zone.account);
    let by_order = |a: &Zone, b: &Zone| match order {
        "status" => (a.status == ZoneStatus::Active).cmp(&(b.status == ZoneStatus::Active)),
        "account.id" => a.account.cmp(&b.account),
        "account.name" => account_name(a).cmp(&account_name(b)),
        _ => Ordering::Equal,
    };
    // Names are unique, so the order is whole and pages never overlap.
    zones.sort_by(|a, b| {
        let ordering = by_order(a, b).then_with(|| a.name.cmp(&b.name));
        if descending { ordering.reverse() } else { ordering }
    });
    Ok(())
}
