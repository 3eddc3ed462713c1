//! Random signed zones, validated by Unbound: every answer, and every denial, compact (RFC 9824) and by NSEC3.

use anyhow::{Context as _, Result};
use aws_lc_rs::digest::{SHA256, digest};
use proxima_ledger::Change;
use proxima_model::{KeyRole, Record, RecordId, Zone, ZoneId, ZoneIndex, ZoneSigning};

use super::{
    apex,
    validated::{Zones, goes_on},
    world::{self, Asked, World},
};
use crate::{
    sockets::Running,
    support::{Fixture, new_key, signing},
};

/// Zones that a node has at a time.
const WORLDS: usize = 24;
/// Questions about each.
const QUESTIONS: usize = 40;
/// A signed zone.
struct Signed {
    zone: Zone,
    records: Vec<Record>,
    signing: ZoneSigning,
}

impl Signed {
    fn new(number: usize, world: &World, nsec3: bool) -> Result<Self> {
        let (zone, records) = world.records(&apex(number))?;
        let id = |index: usize| u128::try_from(index).map(u128::to_be_bytes);
        let zone = Zone { id: ZoneId::from_bytes(id(100 + number)?), ..zone };
        let numbered = records.into_iter().enumerate().map(|(index, record)| {
            Ok(Record { id: RecordId::from_bytes(id(1_000 + index)?), zone: zone.id, ..record })
        });
        let records = numbered.collect::<Result<_>>()?;
        let signing = ZoneSigning { nsec3, ..signing(&zone, vec![new_key(KeyRole::Active)]) };
        Ok(Self { zone, records, signing })
    }

    /// Its key's DS record.
    fn anchor(&self) -> Result<String> {
        let key = self.signing.keys.first().context("a key")?;
        let digest = digest(&SHA256, &key.digested(&self.zone.name.wire()));
        let digest: String = digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
        Ok(format!("{}. DS {} {} 2 {digest}", self.zone.name, key.tag(), key.algorithm.code()))
    }

    fn changes(&self, running: &Running) -> Vec<Change> {
        let replica = &running.node.replica;
        let index = ZoneIndex { name: self.zone.name.clone(), zone: self.zone.id };
        let mut changes = vec![replica.put(&self.zone), replica.put(&index), replica.put(&self.signing)];
        changes.extend(self.records.iter().map(|record| replica.put(record)));
        changes
    }
}

async fn validate(seed: u64, running: &Running) -> Result<usize> {
    let worlds = world::worlds(seed, WORLDS, QUESTIONS)?;
    let worlds: Vec<(World, Vec<Asked>)> =
        worlds.into_iter().map(|(world, asked)| (world.closed(), asked)).collect();
    let (mut zones, mut fixture) = (Vec::new(), Fixture::default());
    for (number, (world, _)) in worlds.iter().enumerate() {
        let signed = Signed::new(number, world, number % 2 == 1)?;
        running.change(signed.changes(running)).await?;
        fixture.add_signed(&signed.zone, &signed.signing, signed.records.clone());
        zones.push(signed);
    }
    let named = |zone: &Signed| Ok((zone.zone.name.to_string(), zone.anchor()?));
    let anchors = zones.iter().map(named).collect::<Result<Vec<_>>>()?;
    let way = |number: usize| format!("nsec3 {}", zones[number].signing.nsec3);
    let zones =
        Zones { way: &way, is_proven: &|theirs, _| theirs.authentic, worlds: &worlds, fixture: &fixture };
    zones.validate(seed, &anchors, running.address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_takes_every_answer_of_random_signed_zones() -> Result<()> {
    goes_on(WORLDS * QUESTIONS / 3, validate).await
}
