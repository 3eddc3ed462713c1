//! The phases: filling a log; opening it and looking zones up.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxima_ledger::{
    Append, CHANGES_PER_APPEND_MAX, Change, CompiledZones, EmbeddedLog, IdempotencyKey, Log, Replica,
    ReplicaOptions, Sealer,
};
use proxima_pipeline::Site;

use super::{Measured, world};
use crate::process;
use crate::statistics::percentile;

/// Changes from which on no more zones are added to an append: a bulk load, within what one may hold.
const CHANGES_PER_APPEND: usize = CHANGES_PER_APPEND_MAX - 100;
/// Lookups of zones that are not compiled yet.
const COLD_LOOKUPS: u64 = 10_000;
/// Zones that are asked for again and again.
const WARM_ZONES: u64 = 1_000;
const WARM_LOOKUPS: u64 = 1_000_000;
/// Compiled zones that are kept; more than are asked for, so that none is lost while it is measured.
const COMPILED_MAX: u64 = 20_000;
/// Nothing here is secret.
const KEY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Fills a new log.
pub(super) fn load(folder: &Path, zones: u64) -> Result<Measured> {
    fill(open(folder)?, zones, world::changes)
}

/// Fills a log with the zones of the numbers below `zones`, and closes it.
pub(crate) fn fill(
    log: EmbeddedLog,
    zones: u64,
    changes_of: impl Fn(&Replica, u64) -> Result<Vec<Change>>,
) -> Result<Measured> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().context("starting the runtime")?;
    let start = Instant::now();
    let mut first = 0;
    while first < zones {
        let mut changes = Vec::new();
        let mut next = first;
        while next < zones && changes.len() <= CHANGES_PER_APPEND {
            changes.extend(changes_of(log.replica(), next)?);
            next += 1;
        }
        let append = Append {
            changes,
            preconditions: Vec::new(),
            idempotency_key: IdempotencyKey(format!("zones-from-{first}")),
            fingerprint: None,
            author: "bench".to_owned(),
        };
        runtime.block_on(log.append(append)).with_context(|| format!("making the zones from {first}"))?;
        first = next;
    }
    let seconds = start.elapsed().as_secs_f64();
    let mut measured = Measured::new();
    measured.insert("zones_per_second".to_owned(), zones as f64 / seconds);
    measured.insert("file_mib".to_owned(), log.replica().octets() as f64 / f64::from(1 << 20));
    runtime.block_on(log.close());
    Ok(measured)
}

/// Opens the log and looks up zones that are not compiled.
pub(super) fn serve(folder: &Path, zones: u64) -> Result<Measured> {
    let (mut measured, _) = start_and_look_up(folder, zones)?;
    add_memory(&mut measured)?;
    Ok(measured)
}

/// As [`serve`], and then looks up some of them again, many times.
pub(super) fn serve_and_repeat(folder: &Path, zones: u64) -> Result<Measured> {
    let (mut measured, sites) = start_and_look_up(folder, zones)?;
    let hosts: Vec<String> = (0..WARM_ZONES.min(zones)).map(world::host).collect();
    for host in &hosts {
        look_up(&sites, host)?;
    }
    let mut took = Vec::new();
    for host in hosts.iter().cycle().take(usize::try_from(WARM_LOOKUPS)?) {
        took.push(look_up(&sites, host)?);
    }
    add_percentiles(&mut measured, "lookup_warm", &took);
    add_memory(&mut measured)?;
    Ok(measured)
}

fn start_and_look_up(folder: &Path, zones: u64) -> Result<(Measured, CompiledZones<Site>)> {
    let start = Instant::now();
    let log = open(folder)?;
    let sites = CompiledZones::<Site>::new(log.replica().clone(), COMPILED_MAX);
    look_up(&sites, &world::host(0))?;
    let mut measured = Measured::new();
    measured.insert("start_seconds".to_owned(), start.elapsed().as_secs_f64());
    measured.insert("resident_after_start_mib".to_owned(), process::own_memory_mib("VmRSS")?);

    let chosen = chosen(zones);
    let mut took = Vec::new();
    for number in chosen {
        took.push(look_up(&sites, &world::host(number))?);
    }
    add_percentiles(&mut measured, "lookup_cold", &took);
    Ok((measured, sites))
}

/// Zones all over the store, none twice, and not those of the warm lookups.
fn chosen(zones: u64) -> HashSet<u64> {
    let spread = (0..COLD_LOOKUPS).map(|number| world::mix(number) % zones);
    spread.filter(|number| *number >= WARM_ZONES).collect()
}

/// Looks a zone up and checks that it is the right one; the time is that of the lookup alone.
fn look_up(sites: &CompiledZones<Site>, host: &str) -> Result<Duration> {
    let start = Instant::now();
    let found = sites.find(host)?;
    let took = start.elapsed();
    let site = found.with_context(|| format!("{host} is in no zone"))?;
    ensure!(
        host.ends_with(site.zone.name.as_str()),
        "{host} was found in the zone {}",
        site.zone.name.as_str()
    );
    Ok(took)
}

/// What is private is the process's own. The rest of what is resident are pages of the file, which the kernel maps in
/// groups around each page that is touched, if it has them anyway, and takes back when memory is wanted.
fn add_memory(measured: &mut Measured) -> Result<()> {
    measured.insert("resident_mib".to_owned(), process::own_memory_mib("VmRSS")?);
    measured.insert("resident_private_mib".to_owned(), process::own_memory_mib("RssAnon")?);
    Ok(())
}

fn add_percentiles(measured: &mut Measured, metric: &str, took: &[Duration]) {
    let mut micros: Vec<f64> = took.iter().map(|took| took.as_secs_f64() * 1e6).collect();
    measured.insert(format!("{metric}_p50_us"), percentile(&mut micros, 0.50));
    measured.insert(format!("{metric}_p99_us"), percentile(&mut micros, 0.99));
}

fn open(folder: &Path) -> Result<EmbeddedLog> {
    let sealer = Sealer::from_hex(KEY).context("making the sealer")?;
    EmbeddedLog::open(&folder.join("log"), sealer, ReplicaOptions::default()).context("opening the log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_loaded_is_found_cold_and_warm() {
        let folder = tempfile::tempdir().unwrap();
        let zones = WARM_ZONES + 500;
        let loaded = load(folder.path(), zones).unwrap();
        assert!(loaded["zones_per_second"] > 0.0);
        let measured = serve_and_repeat(folder.path(), zones).unwrap();
        for metric in ["start_seconds", "lookup_cold_p99_us", "lookup_warm_p99_us", "resident_mib"] {
            assert!(measured[metric] > 0.0, "{metric}");
        }
    }
}
