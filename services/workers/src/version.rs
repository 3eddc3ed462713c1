//! Which version of a Worker a request gets.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{HeaderMap, HeaderName, HeaderValue};
use proxima_ledger::{ChangeSet, ReadError, Replica, Seq};
use proxima_model::{AccountId, Entity, Kind, VersionShares, Worker, WorkerName, WorkerVersionId};
use proxima_pipeline::structured::{self, Item};
use siphasher::sip::SipHasher13;

/// Requests that carry the same value here get the same version of a deployment.
const VERSION_KEY: HeaderName = HeaderName::from_static("cloudflare-workers-version-key");
/// A dictionary of Workers' names and versions' ids: which version of its Worker's deployment a request gets.
const VERSION_OVERRIDES: HeaderName = HeaderName::from_static("cloudflare-workers-version-overrides");

/// Workers whose deployments are remembered: beyond it, all are read anew.
const DEPLOYMENTS_MAX: usize = 10_000;

/// In the query of code that is to have a tail.
const TAILED: &str = "tail";
/// And of code that other Workers have called.
const ROW: &str = "row=";

/// How a version's code is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Variant {
    /// With a tail, since somebody looks at the Worker.
    pub(crate) is_looked_at: bool,
    /// Behind so many Workers that have called each other by what they fetched, one the next; 0 for what visitors ask. The engine does not
    /// say for which request code fetches something, so that each place in the row has a load of its own, and says which it is.
    pub(crate) row: u8,
}

impl Variant {
    /// Reads the query of a code's name.
    pub(crate) fn of_query(query: Option<&str>) -> Self {
        let mut variant = Self::default();
        for part in query.unwrap_or_default().split('&') {
            variant.is_looked_at |= part == TAILED;
            if let Some(row) = part.strip_prefix(ROW).and_then(|row| row.parse().ok()) {
                variant.row = row;
            }
        }
        variant
    }
}

/// Which version of a deployment a request asks for; none in particular, unless it says so.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish<'r> {
    /// All requests that carry the same text get the same version for as long as the deployment is in force, others one at random.
    pub(crate) sticky: Option<&'r [u8]>,
    /// This one, if it is of the deployment.
    pub(crate) named: Option<WorkerVersionId>,
}

impl<'r> Wish<'r> {
    /// What a request's fields say of this Worker.
    pub(crate) fn of(headers: &'r HeaderMap, worker: &WorkerName) -> Self {
        let sticky = headers.get(VERSION_KEY).map(HeaderValue::as_bytes);
        let lines = headers.get_all(VERSION_OVERRIDES).iter().map(HeaderValue::as_bytes);
        let mut named = None;
        let is_dictionary = structured::dictionary(lines, |key, item| {
            if key == worker.as_str().as_bytes() {
                named = id_of(item);
            }
        });
        Self { sticky, named: named.filter(|_| is_dictionary) }
    }
}

/// The id of a version, as a string has it.
fn id_of(item: &Item) -> Option<WorkerVersionId> {
    match item {
        Item::String(text) => str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

/// A version of a Worker: what a process of the engine has loaded under one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct VersionKey {
    pub(crate) account: AccountId,
    pub(crate) worker: WorkerName,
    pub(crate) version: WorkerVersionId,
}

/// One of an account of its own, for tests.
#[cfg(test)]
pub(crate) fn numbered(number: u8) -> VersionKey {
    VersionKey {
        account: AccountId::from_bytes([number; 16]),
        worker: WorkerName::parse("app").expect("a name"),
        version: WorkerVersionId::from_random([number; 16]),
    }
}

/// As the engine names its code: `ACCOUNT/WORKER/VERSION`.
impl fmt::Display for VersionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.account, self.worker, self.version)
    }
}

impl VersionKey {
    /// The name of its code as nobody has called it.
    pub(crate) fn code(&self, is_looked_at: bool) -> String {
        self.variant(Variant { is_looked_at, row: 0 })
    }

    /// The name of its code. No version's name has the mark.
    pub(crate) fn variant(&self, Variant { is_looked_at, row }: Variant) -> String {
        match (is_looked_at, row) {
            (false, 0) => self.to_string(),
            (true, 0) => format!("{self}?{TAILED}"),
            (false, row) => format!("{self}?{ROW}{row}"),
            (true, row) => format!("{self}?{TAILED}&{ROW}{row}"),
        }
    }

    /// Whoever the node itself asks on behalf of an account, and not of a version: none has this id.
    pub(crate) fn nobodys(account: AccountId) -> Self {
        let worker = WorkerName::parse("registry").expect("it is a name");
        Self { account, worker, version: WorkerVersionId::from_random([0; 16]) }
    }

    /// Reads what `Display` writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let key = Self {
            account: parts.next()?.parse().ok()?,
            worker: parts.next()?.parse().ok()?,
            version: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(key)
    }
}

/// The deployments of Workers that were asked for, as the replica has them.
pub(crate) struct Deployments {
    replica: Replica,
    known: RwLock<Known>,
    changes: AtomicU64,
}

#[derive(Default)]
struct Known {
    shares: HashMap<(AccountId, WorkerName), Option<VersionShares>>,
    /// What was read from a state before this one may be outdated, and is not kept.
    since: Seq,
}

impl Deployments {
    pub(crate) fn new(replica: Replica) -> Self {
        Self { replica, known: RwLock::default(), changes: AtomicU64::default() }
    }

    /// The version that answers a request; `None` where the Worker is not deployed.
    pub(crate) fn choose(
        &self,
        account: AccountId,
        worker: &WorkerName,
        wish: Wish<'_>,
    ) -> Result<Option<VersionKey>, ReadError> {
        let shares = self.shares(account, worker)?;
        Ok(shares.map(|shares| {
            let named = wish.named.filter(|version| shares.names(*version));
            let version = named.unwrap_or_else(|| shares.version_at(draw(wish.sticky)));
            VersionKey { account, worker: worker.clone(), version }
        }))
    }

    fn shares(&self, account: AccountId, worker: &WorkerName) -> Result<Option<VersionShares>, ReadError> {
        let id = (account, worker.clone());
        if let Some(known) = self.known.read().unwrap_or_else(PoisonError::into_inner).shares.get(&id) {
            return Ok(known.clone());
        }
        let snapshot = self.replica.snapshot()?;
        let found = snapshot.get::<Worker>(&id)?;
        let shares = found.and_then(|worker| worker.deployment).map(|deployment| deployment.versions);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if snapshot.seq() >= known.since {
            if known.shares.len() >= DEPLOYMENTS_MAX {
                known.shares.clear();
            }
            known.shares.insert(id, shares.clone());
        }
        Ok(shares)
    }

    /// How often Workers have changed: what was true of one before may not be any more.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Forgets what these changes make outdated; to be called when they come into force.
    pub(crate) fn forget(&self, changed: &ChangeSet) {
        if !changed.touches(Kind::Worker) {
            return;
        }
        self.changes.fetch_add(1, Ordering::Relaxed);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.since = changed.to;
        match &changed.keys {
            None => known.shares.clear(),
            Some(keys) => known.shares.retain(|id, _| !keys.contains(&Worker::key_of(id))),
        }
    }
}

/// A hundredth of a percent, from 0 to 9,999: by what stays the same, or at random.
fn draw(sticky: Option<&[u8]>) -> u16 {
    let all = u64::from(VersionShares::ALL);
    let drawn = match sticky {
        Some(text) => SipHasher13::new().hash(text) % all,
        None => rand::random_range(0..all),
    };
    u16::try_from(drawn).expect("it is below ten thousand")
}

#[cfg(test)]
mod tests {
    use proxima_pipeline::Caller;

    use super::*;

    #[test]
    fn what_sticks_is_drawn_alike_and_spread_evenly() {
        assert_eq!(draw(Some(b"user-1")), draw(Some(b"user-1")));
        let below = (0..10_000).filter(|user| draw(Some(format!("user-{user}").as_bytes())) < 2_500).count();
        assert!((2_300..2_700).contains(&below), "{below} of 10,000 in a quarter");
        assert!((0..1_000).all(|_| draw(None) < VersionShares::ALL));
    }

    #[test]
    fn a_version_is_asked_for_by_a_string_in_a_dictionary_and_by_nothing_else() {
        let worker = WorkerName::parse("app").unwrap();
        let id = WorkerVersionId::from_random([2; 16]);
        let named = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(VERSION_OVERRIDES, line.parse().unwrap());
            }
            Wish::of(&headers, &worker).named
        };
        let this = format!("app=\"{id}\"");
        assert_eq!(named(&[&this]), Some(id));
        assert_eq!(named(&[&format!("other=\"x\", {this};p=1")]), Some(id));
        assert_eq!(named(&["other=1", &this]), Some(id), "of several lines");
        assert_eq!(named(&[&format!("{this}, app=\"x\"")]), None, "the last one counts");
        for other in ["", "app", "app=1", "app=\"x\"", &format!("app={id}"), &format!("apps=\"{id}\"")] {
            assert_eq!(named(&[other]), None, "{other}");
        }
        for broken in [format!("{this},"), format!("{this}, ="), format!("App=1, {this}")] {
            assert_eq!(named(&[&broken]), None, "{broken}");
        }
        assert_eq!(named(&[&this, "="]), None);
    }

    #[test]
    fn a_variant_is_read_as_it_is_written() {
        let key = numbered(1);
        for (is_looked_at, row) in [(false, 0), (true, 0), (false, 3), (true, Caller::ROW_MAX)] {
            let variant = Variant { is_looked_at, row };
            let name = key.variant(variant);
            let (version, query) =
                name.split_once('?').map_or((&*name, None), |(version, query)| (version, Some(query)));
            assert_eq!(VersionKey::parse(version).as_ref(), Some(&key), "{name}");
            assert_eq!(Variant::of_query(query), variant, "{name}");
        }
        for query in ["", "row=", "row=-1", "row=256", "tails"] {
            assert_eq!(Variant::of_query(Some(query)), Variant::default(), "{query}");
        }
    }

    #[test]
    fn a_version_is_read_as_it_is_written() {
        let key = VersionKey {
            account: AccountId::from_bytes([1; 16]),
            worker: WorkerName::parse("app").expect("a name"),
            version: WorkerVersionId::from_random([2; 16]),
        };
        let text = key.to_string();
        assert_eq!(VersionKey::parse(&text), Some(key));
        for wrong in ["", "a/b", &format!("{text}/x"), &text.replace("app", "../x")] {
            assert_eq!(VersionKey::parse(wrong), None, "{wrong}");
        }
    }
}
