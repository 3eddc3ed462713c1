//! Tenants with Workers that nobody has asked yet: written into the log, so that a thousand are there in a second.

use std::path::Path;

use anyhow::{Context, Result};
use proxima_ledger::{Change, EmbeddedLog, Replica, ReplicaOptions, Sealer};
use proxima_model::{
    Account, AccountId, CompatibilityDate, ContentHash, Deployment, DeploymentId, ModuleKind, ModuleName,
    Record, RecordType, RoutePattern, Timestamp, VersionShare, VersionShares, Worker, WorkerAnnotations,
    WorkerContent, WorkerModule, WorkerName, WorkerRoute, WorkerRouteId, WorkerSyntax, WorkerTag,
    WorkerVersion, WorkerVersionId,
};

use crate::ledger::{phases, world};

/// Workers of one tenant, who has one zone for all of them.
pub(super) const WORKERS_PER_TENANT: u64 = 100;
/// A day in 2026; the same in every run.
const MADE_AT: Timestamp = Timestamp::from_millis(1_790_000_000_000);
/// What they all are: well, unless asked otherwise.
const CODE: &str = "export default { fetch(request) {
  const { pathname } = new URL(request.url);
  if (pathname === '/spin') while (true);
  if (pathname === '/fill') for (const kept = []; ; ) kept.push(new Array(1e6).fill(Math.random()));
  return new Response('hello, world\\n');
} }
";

/// The host at which the Worker of this number answers.
pub(super) fn host(number: u64) -> String {
    format!("worker-{number}.{}", world::name(number / WORKERS_PER_TENANT))
}

/// Puts so many Workers into the log of a node that does not run.
pub(super) fn fill(data: &Path, workers: u64) -> Result<()> {
    let key = data.join("at-rest.key");
    let sealer =
        std::fs::read_to_string(&key).with_context(|| format!("reading the key {}", key.display()))?;
    let sealer = Sealer::from_hex(sealer.trim()).context("making the sealer")?;
    let log = EmbeddedLog::open(&data.join("ledger"), sealer, ReplicaOptions::default());
    phases::fill(log.context("opening the log")?, workers, changes).map(drop)
}

/// What makes the Worker of this number, and its tenant with the first one.
fn changes(replica: &Replica, number: u64) -> Result<Vec<Change>> {
    let tenant = number / WORKERS_PER_TENANT;
    let account = AccountId::from_bytes(id(b't', tenant));
    let zone = world::zone(tenant, account)?;
    let mut changes = Vec::new();
    if number.is_multiple_of(WORKERS_PER_TENANT) {
        let name = format!("tenant {tenant}");
        changes.push(replica.put(&Account { id: account, name, created_at: MADE_AT }));
        let all = format!("*.{}", zone.name);
        let record = world::record(&zone, tenant, &all, (RecordType::A, "192.0.2.1"))?;
        changes.extend(world::changes_of(replica, &zone, [Ok(Record { proxied: true, ..record })])?);
    }
    let name = WorkerName::parse(&format!("worker-{number}"))?;
    let hash = ContentHash::from_bytes([1; 32]);
    changes.extend(WorkerContent::pieces(account, hash, CODE.as_bytes()).map(|piece| replica.put(&piece)));
    let version = version(account, &name, number, hash)?;
    changes.push(replica.put(&version));
    changes.push(replica.put(&worker(account, name.clone(), number, version.id)?));
    changes.push(replica.put(&WorkerRoute {
        id: WorkerRouteId::from_bytes(id(b'r', number)),
        zone: zone.id,
        pattern: RoutePattern::parse(&format!("{}/*", host(number)))?,
        script: Some(name),
    }));
    Ok(changes)
}

fn version(account: AccountId, worker: &WorkerName, number: u64, hash: ContentHash) -> Result<WorkerVersion> {
    let main = ModuleName::parse("main.js")?;
    let octets = u32::try_from(CODE.len()).context("code is short")?;
    Ok(WorkerVersion {
        account,
        worker: worker.clone(),
        id: WorkerVersionId::from_random(id(b'v', number)),
        number: 1,
        created_at: MADE_AT,
        author: "bench".to_owned(),
        source: "api".to_owned(),
        annotations: WorkerAnnotations::default(),
        syntax: WorkerSyntax::Modules,
        main: main.clone(),
        compatibility_date: CompatibilityDate::parse(super::COMPATIBILITY_DATE)?,
        compatibility_flags: Vec::new(),
        bindings: Vec::new(),
        modules: vec![WorkerModule { name: main, kind: ModuleKind::EsModule, octets, hash }],
        cpu_ms_max: None,
        subrequests_max: None,
        assets: None,
    })
}

fn worker(account: AccountId, name: WorkerName, number: u64, version: WorkerVersionId) -> Result<Worker> {
    let all = vec![VersionShare { version, hundredths: VersionShares::ALL }];
    let deployment = Deployment {
        id: DeploymentId::from_random(id(b'd', number)),
        created_at: MADE_AT,
        author: "bench".to_owned(),
        source: "api".to_owned(),
        annotations: WorkerAnnotations::default(),
        versions: VersionShares::try_from(all)?,
    };
    Ok(Worker {
        account,
        name,
        tag: WorkerTag::from_bytes(id(b'w', number)),
        created_at: MADE_AT,
        modified_at: MADE_AT,
        subdomain_enabled: false,
        previews_enabled: false,
        tags: Vec::new(),
        observability: None,
        deployment: Some(deployment),
        versions: Vec::new(),
        former_deployments: Vec::new(),
        next_number: 2,
        migration_tag: None,
    })
}

/// An id of this kind of thing; the same in every run.
fn id(kind: u8, number: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[0] = kind;
    id[8..].copy_from_slice(&number.to_be_bytes());
    id
}
