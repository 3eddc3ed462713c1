//! `proxima/log`: what was changed, when and by whom, and the way back to a former state. For the network's operator.
//!
//! Going back is a change like any other: a new entry, which puts back what the entries since a sequence number replaced.
//! What customers configured comes back: zones, records, rulesets, certificates, and Workers with all that is of them. What does not: accounts and tokens (a
//! token that was revoked stays revoked, and nobody is locked out), the network's own keys, purges, which were made, and
//! namespaces of keys and values and of Durable Objects, with which what is in them would go, and not come back: a Worker's migrations
//! stay where they are;
//! nor what the network finds out or makes by itself: a zone that is active stays so, and the certificate that the
//! network's own authority issued to a zone stays the latest.
//! Serials never go back: every zone that is touched gets one beyond all that it had since (RFC 1982).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::{Extension, extract::State};
use proxima_ledger::{Change, Entry, FollowError, Replaced, Replica, RevertError, Seq, Snapshot, WayBack};
use proxima_model::{
    ApiToken, Certificate, CertificateSource, Entity, Key, Kind, Record, Timestamp, TokenId, Worker, Zone,
    ZoneId, ZoneName, ZoneStatus,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api::{
        Api, blocking,
        body::JsonBody,
        envelope::{Answer, time},
        page::Query,
        write::{Author, Draft},
    },
    error::{ApiError, Code},
    limits,
};

impl From<FollowError> for ApiError {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::Read(error) => error.into(),
            FollowError::Ahead { from, last } => Self::new(
                Code::SequenceInvalid,
                format!("{from} lies beyond the last entry that this server has, {last}"),
            ),
            FollowError::Compacted { from, first } => Self::new(
                Code::SequenceInvalid,
                format!(
                    "the entries after {from} are no longer kept on this server; the first that is kept is {first}. The \
                     log's node may keep more: ask it"
                ),
            ),
            error => Self::new(Code::SequenceInvalid, error.to_string()),
        }
    }
}

impl From<RevertError> for ApiError {
    fn from(error: RevertError) -> Self {
        match error {
            RevertError::Follow(error) => error.into(),
            error @ RevertError::TooFar { .. } => Self::too_far(&error.to_string()),
        }
    }
}

/// `GET proxima/log`: the entries that this server keeps, the latest first.
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Extension(query): Extension<Arc<Query>>,
) -> Result<Answer, ApiError> {
    let page = query.page(limits::ENTRIES_PER_PAGE, limits::ENTRIES_PER_PAGE_MAX)?;
    let replica = api.replica.clone();
    blocking(move || {
        let (first, last) = replica.kept()?;
        let kept = usize::try_from((last.0 + 1).saturating_sub(first.0)).unwrap_or(usize::MAX);
        let (window, info) = page.window(kept);
        let after = Seq(last.0 - window.end as u64);
        let snapshot = replica.snapshot()?;
        let mut shown = Vec::with_capacity(window.len());
        replica.each_entry(after, window.len(), |entry| shown.push(show(&snapshot, &entry)))?;
        shown.reverse();
        Ok(Answer::page((shown, info)).at(last))
    })
    .await
}

/// An entry; never a value of it.
fn show(snapshot: &Snapshot, entry: &Entry) -> Value {
    let changes = &entry.append.changes;
    json!({
        "sequence": entry.seq.0,
        "time": time(entry.at),
        "author": entry.append.author,
        "author_name": author_name(snapshot, &entry.append.author),
        "changes_total": changes.len(),
        "changes": changes.iter().take(limits::CHANGES_SHOWN_PER_ENTRY).map(describe).collect::<Vec<_>>(),
    })
}

/// What people call the token that wrote; nothing of one that is gone.
fn author_name(snapshot: &Snapshot, author: &str) -> Option<String> {
    let id: TokenId = author.strip_prefix("token/")?.parse().ok()?;
    Some(snapshot.get::<ApiToken>(&id).ok()??.name)
}

/// What a change is of, in public words.
fn describe(change: &Change) -> Value {
    let (action, key) = match change {
        Change::Put { key, .. } => ("put", key),
        Change::Delete { key } => ("delete", key),
    };
    let mut shown = json!({
        "action": action,
        "kind": key.kind().map_or("unknown", Kind::prefix),
        "key": key.as_str(),
    });
    if let Some(zone) = put::<Zone>(change) {
        shown["name"] = zone.name.as_str().into();
    } else if let Some(record) = put::<Record>(change) {
        shown["name"] = record.name.as_str().into();
        shown["type"] = record.data.record_type().to_string().into();
        shown["content"] = record.data.content().into();
    }
    shown
}

/// The noun that a change puts, if it is of this kind, which is none that is secret.
fn put<E: Entity>(change: &Change) -> Option<E> {
    match change {
        Change::Put { key, value } if key.kind() == Some(E::KIND) && !E::KIND.secret() => {
            serde_json::from_slice(value).ok()
        }
        _ => None,
    }
}

/// To where, and whether only to tell what it would change.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevertBody {
    sequence: u64,
    #[serde(default)]
    dry_run: bool,
}

/// `POST proxima/log/revert`.
pub(crate) async fn revert(
    State(api): State<Arc<Api>>,
    author: Author,
    JsonBody(body): JsonBody<RevertBody>,
) -> Result<Answer, ApiError> {
    let replica = api.replica.clone();
    let (to, dry_run) = (Seq(body.sequence), body.dry_run);
    let written = api
        .write(&author, move |draft| {
            if draft.is_repeat {
                // What was changed then is in the entry that the answer names.
                return Ok(Planned { from: None, total: None, shown: Vec::new() });
            }
            let mut way = Plan::gather(&replica, to)?;
            let (changes, preconditions) = std::mem::take(&mut way.back).finish()?;
            let now = replica.snapshot()?;
            let changes = keep_issued(&now, changes)?;
            let changes = way.raise_serials(&replica, draft, &now, changes)?;
            let shown = changes.iter().take(limits::CHANGES_SHOWN_PER_REVERT).map(describe).collect();
            let planned = Planned { from: Some(way.last), total: Some(changes.len()), shown };
            changes.into_iter().for_each(|change| draft.change(change));
            preconditions.into_iter().for_each(|precondition| draft.require(precondition));
            if let Some(problem) = draft.too_large() {
                return Err(ApiError::too_far(&format!("going back to {to} takes {problem}")));
            }
            if dry_run {
                draft.discard();
            }
            Ok(planned)
        })
        .await?;
    let Planned { from, total, shown } = written.answer;
    let made = !dry_run && total != Some(0);
    // Other entries may have come after the plan's last one: what undoes this one alone is the way to just before it.
    let from = if made { Some(Seq(written.seq.0.saturating_sub(1))) } else { from };
    let answer = Answer::new(json!({
        "dry_run": dry_run,
        "reverted_to": to.0,
        "from": from.map(|from| from.0),
        "sequence": made.then_some(written.seq.0),
        "changes_total": total,
        "changes": shown,
    }));
    Ok(answer.at(written.seq).message(match (dry_run, total) {
        (_, Some(0)) => "nothing to bring back: it is as it was",
        (true, _) => "nothing was changed",
        (false, Some(_)) => "the former state is back",
        (false, None) => {
            "this was done before under this Idempotency-Key, in the entry that `sequence` names"
        }
    }))
}

/// What a revert comes to.
struct Planned {
    from: Option<Seq>,
    total: Option<usize>,
    shown: Vec<Value>,
}

/// Whether what lies there is brought back.
fn comes_back(key: &Key) -> bool {
    matches!(
        key.kind(),
        Some(
            Kind::Zone
                | Kind::ZoneName
                | Kind::Record
                | Kind::Ruleset
                | Kind::Certificate
                | Kind::ClientAuthority
                | Kind::ClientAuthentication
                | Kind::Worker
                | Kind::WorkerDeployment
                | Kind::WorkerVersion
                | Kind::WorkerSecrets
                | Kind::WorkerContent
                | Kind::WorkerContentUse
                | Kind::WorkerAsset
                | Kind::WorkerAssetSession
                | Kind::WorkerUsage
                | Kind::WorkerRoute
                | Kind::WorkerDomain
                | Kind::WorkerHost
                | Kind::BucketDomain
                | Kind::WorkerTriggers
        )
    )
}

/// Leaves alone the certificates that the network sees to of zones that remain: they are renewed in place,
/// and a former one may have run out.
fn keep_issued(now: &Snapshot, changes: Vec<Change>) -> Result<Vec<Change>, ApiError> {
    let gone: BTreeSet<ZoneId> = changes
        .iter()
        .filter(|change| matches!(change, Change::Delete { key } if key.kind() == Some(Kind::Zone)))
        .filter_map(zone_of)
        .collect();
    let touched: BTreeSet<ZoneId> = changes
        .iter()
        .filter(|change| change.key().kind() == Some(Kind::Certificate))
        .filter_map(zone_of)
        .filter(|zone| !gone.contains(zone))
        .collect();
    let mut kept: BTreeSet<Key> = BTreeSet::new();
    for zone in touched {
        for certificate in now.scan::<Certificate>(&[&zone]) {
            let certificate = certificate?;
            if certificate.source != CertificateSource::Custom {
                kept.insert(certificate.key());
            }
        }
    }
    Ok(changes.into_iter().filter(|change| !kept.contains(change.key())).collect())
}

/// The way back, and the serials that were seen on it.
struct Plan {
    back: WayBack,
    /// The last entry.
    last: Seq,
    /// The furthest serial of each name that a zone had since.
    serials: HashMap<ZoneName, u32>,
}

impl Plan {
    fn gather(replica: &Replica, to: Seq) -> Result<Self, ApiError> {
        let mut plan = Self { back: WayBack::default(), last: to, serials: HashMap::new() };
        plan.last = replica.each_replaced(to, |replaced| {
            note_serials(&mut plan.serials, &replaced);
            plan.back.add(replaced, comes_back);
        })?;
        Ok(plan)
    }

    /// Gives every zone that is touched a serial beyond all that it had. What lies there `now` was read after the way
    /// back was gathered: the way's own preconditions hold for it.
    fn raise_serials(
        &self,
        replica: &Replica,
        draft: &mut Draft<'_>,
        now: &Snapshot,
        changes: Vec<Change>,
    ) -> Result<Vec<Change>, ApiError> {
        let decided: BTreeSet<ZoneId> = changes
            .iter()
            .filter(|change| change.key().kind() == Some(Kind::Zone))
            .filter_map(zone_of)
            .collect();
        let touched: BTreeSet<ZoneId> = changes
            .iter()
            .filter(|change| change.key().kind() != Some(Kind::ZoneName))
            .filter_map(zone_of)
            .collect();
        let mut raised = Vec::with_capacity(changes.len());
        for change in changes {
            raised.push(match put::<Zone>(&change) {
                Some(mut former) => {
                    if let Some(present) = now.get::<Zone>(&former.id)? {
                        stay_active(&mut former, &present);
                    }
                    self.raise(replica, former, draft.now)
                }
                None => match put::<Worker>(&change) {
                    Some(mut former) => {
                        let id = (former.account, former.name.clone());
                        former.migration_tag =
                            now.get::<Worker>(&id)?.and_then(|present| present.migration_tag);
                        replica.put(&former)
                    }
                    None => change,
                },
            });
        }
        for id in touched.difference(&decided) {
            // What lies in it changes, and it does not itself.
            if let Some(zone) = draft.read::<Zone>(id)? {
                raised.push(self.raise(replica, zone, draft.now));
            }
        }
        Ok(raised)
    }

    fn raise(&self, replica: &Replica, mut zone: Zone, now: Timestamp) -> Change {
        let seen = self.serials.get(&zone.name).copied().unwrap_or(zone.serial);
        zone.serial = later(zone.serial, seen);
        crate::zones::touch(&mut zone, now);
        replica.put(&zone)
    }
}

/// A zone whose delegation was found stays active.
fn stay_active(former: &mut Zone, present: &Zone) {
    if present.status == ZoneStatus::Active {
        former.status = present.status;
        former.activated_at = present.activated_at;
    }
}

/// The zone that a change is of, or lies in.
fn zone_of(change: &Change) -> Option<ZoneId> {
    change.key().first_part()
}

fn note_serials(serials: &mut HashMap<ZoneName, u32>, replaced: &Replaced) {
    let mut note = |value: &[u8]| {
        if let Ok(zone) = serde_json::from_slice::<Zone>(value) {
            let serial = serials.entry(zone.name).or_insert(zone.serial);
            *serial = later(*serial, zone.serial);
        }
    };
    for (change, former) in replaced.entry.append.changes.iter().zip(&replaced.former) {
        if change.key().kind() != Some(Kind::Zone) {
            continue;
        }
        former.iter().for_each(|former| note(former));
        if let Change::Put { value, .. } = change {
            note(value);
        }
    }
}

/// The later of two serials (RFC 1982, 3.2).
const fn later(one: u32, other: u32) -> u32 {
    if other.wrapping_sub(one) < 1 << 31 { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_serial_is_found_around_the_clock() {
        assert_eq!((later(1, 2), later(2, 1), later(5, 5)), (2, 2, 5));
        assert_eq!((later(u32::MAX, 3), later(3, u32::MAX)), (3, 3));
    }

    #[test]
    fn who_may_do_what_and_the_networks_own_keys_do_not_come_back() {
        let stays = [
            Kind::Account,
            Kind::Token,
            Kind::Authority,
            Kind::AcmeAccount,
            Kind::AcmeOrder,
            Kind::TicketKeys,
            Kind::Dnssec,
            Kind::Purge,
        ];
        assert!(stays.iter().all(|kind| !comes_back(&Key::new(*kind, &[&"x"]))));
        assert!(comes_back(&Key::new(Kind::Record, &[&"x", &"y"])));
    }

    #[test]
    fn a_secret_is_described_by_its_key_alone() {
        let value = b"sealed".to_vec();
        let change = Change::Put { key: Key::new(Kind::Token, &[&"abc"]), value };
        assert_eq!(describe(&change), json!({ "action": "put", "kind": "token", "key": "token/abc" }));
    }
}
