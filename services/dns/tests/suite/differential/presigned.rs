//! Random zones that their primary signed: by names, by hashes, and by hashes with opt-out.
//!
//! ```text
//!  world ─▶ zone file ─▶ dnssec-signzone ─┬─▶ knotd, named ──────────── reply ─┐
//!                                         └─▶ AXFR from named ─▶ Responder ────┴─▶ the same, to every question with DO?
//!                                                           └──▶ our node ─▶ Unbound: validated?
//! ```
//!
//! What is fixed of an answer here is all of it but for what others add of courtesy: the zone's NS records beside an answer, and
//! addresses. Left out are questions for everything and for signatures, which servers answer with what they like (RFC 8482,
//! 4.1), and long chains and rings of aliases, which they follow as far as they like.

use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Instant};

use anyhow::{Context as _, Result, ensure};
use proxima_ledger::Change;
use proxima_model::{
    Denial, DnsName, Presigned, PrimarySoa, Record, RecordData, RecordId, SecondaryZone, Timestamp,
    TransferredRecord, Ttl, Zone, ZoneId, ZoneIndex,
};
use proxima_transfer::{message::Read, presigned};
use proxima_wire::rtype;

use super::{
    apex, begin,
    reply::{Entry, Reply},
    servers::Servers,
    validated::{Zones, goes_on},
    world::{self, Asked, World},
};
use crate::{
    sockets::Running,
    support::{Fixture, zone},
};

/// Zones at a time, a third of them signed in each way.
const WORLDS: usize = 30;
/// Questions about each.
const QUESTIONS: usize = 40;
/// Aliases of an answer up to which it is compared: Knot follows five.
const ALIASES_COMPARED: usize = 4;
/// How zones are signed: by names, by hashes, by hashes of which unsigned delegations have none.
const WAYS: [&[&str]; 3] = [&[], &["-3", "ab12", "-H", "2"], &["-3", "-", "-H", "0", "-A"]];

/// A zone as it came from BIND.
pub(super) struct Came {
    pub(super) zone: Zone,
    secondary: SecondaryZone,
    records: Vec<TransferredRecord>,
}

impl Came {
    fn new(number: usize, reads: &[Read]) -> Result<Self> {
        let id = |index: usize| u128::try_from(index).map(u128::to_be_bytes);
        let zone = Zone { id: ZoneId::from_bytes(id(100 + number)?), ..zone(&apex(number)) };
        let soa = reads.first().context("a SOA record")?;
        let soa = Some(PrimarySoa { ttl: soa.ttl, data: soa.data.clone() });
        let presigned = Some(Presigned { since: Timestamp::default(), came: None });
        let secondary = SecondaryZone { soa, presigned, ..SecondaryZone::new(zone.id) };
        let records = reads.iter().filter(|read| read.rtype != rtype::SOA).enumerate();
        let records =
            records.map(|(index, read)| record(&zone, RecordId::from_bytes(id(1_000 + index)?), read));
        Ok(Self { records: records.collect::<Result<_>>()?, zone, secondary })
    }

    /// Whether nothing is wrong with it in what its owner is told, which a validator is about to show.
    fn is_judged_in_order(&self, way: usize, now: Timestamp) -> Result<()> {
        let records = self.records.iter().map(|found| &found.record);
        let content = presigned::judge(&self.zone.name, records, now);
        let denial = if WAYS[way].is_empty() { Denial::Nsec } else { Denial::Nsec3 };
        ensure!(content.denial == Some(denial), "{}: {content:?}", self.zone.name);
        let problem = Presigned { since: now, came: Some(content) }.problem(0, now);
        ensure!(problem.is_none(), "{}: {problem:?}", self.zone.name);
        Ok(())
    }

    pub(super) fn changes(&self, running: &Running) -> Vec<Change> {
        let replica = &running.node.replica;
        let index = ZoneIndex { name: self.zone.name.clone(), zone: self.zone.id };
        let mut changes = vec![replica.put(&self.zone), replica.put(&index), replica.put(&self.secondary)];
        changes.extend(self.records.iter().map(|record| replica.put(record)));
        changes
    }
}

/// As the log's node keeps it.
fn record(zone: &Zone, id: RecordId, read: &Read) -> Result<TransferredRecord> {
    let data = RecordData::of_primary(read.rtype, &read.data);
    let data = data.or_else(|| RecordData::of_wire(read.rtype, &read.data)).context("data")?;
    let record = Record {
        id,
        zone: zone.id,
        name: DnsName::of_wire(&read.owner).context("a name")?,
        data,
        ttl: Ttl::transferred(read.ttl),
        proxied: false,
        flatten: false,
        comment: None,
        tags: Vec::new(),
        created_at: Timestamp::default(),
        modified_at: Timestamp::default(),
    };
    Ok(TransferredRecord { record, from: 0, until: None, wire: None })
}

/// The zone's signed file, and its key's DS record.
fn sign(folder: &Path, apex: &str, text: &str, way: &[&str]) -> Result<(String, String)> {
    let (unsigned, signed) = (folder.join(apex), folder.join(format!("{apex}.signed")));
    fs::write(&unsigned, text)?;
    let run = |program: &str, arguments: &[&str]| -> Result<()> {
        let done = Command::new(program).current_dir(folder).args(arguments).output()?;
        ensure!(done.status.success(), "{program} {apex}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    };
    run("dnssec-keygen", &["-q", "-a", "ECDSAP256SHA256", "-f", "KSK", apex])?;
    let (from, to) = (unsigned.display().to_string(), signed.display().to_string());
    let fixed = ["-S", "-z", "-P", "-s", "now-1h", "-o", apex, "-f", &to];
    run("dnssec-signzone", &[&fixed[..], way, &[&from]].concat())?;
    let anchors = fs::read_to_string(folder.join(format!("dsset-{apex}.")))?;
    let words: Vec<&str> = anchors.lines().next().context("a DS record")?.split_whitespace().collect();
    let (head, digest) = words.split_at_checked(6).context("its fields")?;
    Ok((fs::read_to_string(&signed)?, format!("{} {}", head.join(" "), digest.concat())))
}

/// Worlds that the others serve, and that came from them.
pub(super) struct Round {
    servers: Servers,
    fixture: Fixture,
    pub(super) came: Vec<Came>,
    anchors: Vec<(String, String)>,
}

impl Round {
    fn serve(worlds: &[(World, Vec<Asked>)]) -> Result<Self> {
        let numbered = worlds.iter().enumerate().map(|(number, (world, _))| (apex(number), world));
        let files = numbered.map(|(apex, world)| (apex.clone(), world.zone_file(&apex)));
        Self::of_files(&files.collect::<Vec<_>>())
    }

    /// Of zones' files, each by the name of its number.
    pub(super) fn of_files(files: &[(String, String)]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (mut zones, mut anchors) = (Vec::new(), Vec::new());
        for (number, (apex, text)) in files.iter().enumerate() {
            let way = WAYS[number % WAYS.len()];
            let (text, anchor) = sign(folder.path(), apex, text, way)?;
            anchors.push((apex.clone(), anchor));
            zones.push((apex.clone(), text));
        }
        let servers = Servers::start(&zones)?;
        let (mut fixture, mut came) = (Fixture::default(), Vec::new());
        for number in 0..files.len() {
            let apex = crate::support::Question::new(&apex(number), rtype::SOA).name;
            let zone = Came::new(number, &servers.transfer(&apex)?)?;
            fixture.add_secondary(&zone.zone, &zone.secondary, zone.records.clone());
            came.push(zone);
        }
        Ok(Self { servers, fixture, came, anchors })
    }
}

/// What of an answer is fixed: its code, whether it has authority, what it answers, and what it says of the zone beside that.
type Fixed = (u16, bool, BTreeSet<Entry>, BTreeSet<Entry>);

fn fixed(reply: &Reply) -> Fixed {
    let [answer, authority, _] = &reply.sections;
    let is_courtesy = |entry: &Entry| {
        !answer.is_empty()
            && (entry.rtype == rtype::NS || entry.rtype == rtype::RRSIG && entry.data.starts_with("ns "))
    };
    let entry = |entry: &Entry| match entry.rtype {
        // It is that of the set which it signs (RFC 4034, 3), and beside a denial's SOA record some leave it as it is.
        rtype::RRSIG => Entry { ttl: 0, ..entry.clone() },
        _ => entry.clone(),
    };
    let authority = authority.iter().filter(|entry| !is_courtesy(entry));
    (reply.rcode, reply.authoritative, answer.iter().map(entry).collect(), authority.map(entry).collect())
}

/// Whether servers answer it with what they like.
fn is_free(asked: &Asked, ours: &Reply) -> bool {
    let aliases: Vec<&Entry> = ours.sections[0].iter().filter(|entry| entry.rtype == rtype::CNAME).collect();
    let is_target = |alias: &&Entry| {
        aliases.iter().any(|other| other.data.trim_end_matches('.') == alias.owner.trim_end_matches('.'))
    };
    let is_ring = !aliases.is_empty() && aliases.iter().all(is_target);
    matches!(asked.qtype, rtype::ANY | rtype::RRSIG) || aliases.len() > ALIASES_COMPARED || is_ring
}

#[test]
fn a_zone_that_came_signed_is_answered_as_knot_or_bind_answers_it() -> Result<()> {
    let (mut seed, enough) = begin()?;
    let (begun, mut compared, mut at_odds, mut alone) = (Instant::now(), 0, 0, 0);
    loop {
        let worlds = closed(seed)?;
        let round = Round::serve(&worlds)?;
        for (number, (world, questions)) in worlds.iter().enumerate() {
            let apex = apex(number);
            for asked in questions {
                let ours = super::ours(&round.fixture, asked, &apex)?.whole;
                if is_free(asked, &ours) {
                    continue;
                }
                let theirs = round.servers.ask(&asked.question(&apex).encode())?.map(|said| said.whole);
                compared += 1;
                match theirs.each_ref().map(|theirs| fixed(theirs) == fixed(&ours)) {
                    [true, true] => {}
                    [false, false] => {
                        alone += 1;
                        println!(
                            "seed {seed}, way {}\n{}{}",
                            number % 3,
                            world.zone_file(&apex),
                            asked.dig(&apex)
                        );
                        println!(" ours: {ours:?}\n knot: {:?}\n bind: {:?}", theirs[0], theirs[1]);
                    }
                    _ => at_odds += 1,
                }
            }
        }
        if begun.elapsed() >= enough {
            break;
        }
        seed += 1;
    }
    println!("{compared} questions up to seed {seed}; at {at_odds}, knot and bind differ");
    ensure!(alone == 0, "{alone} of {compared} answers are nobody else's: see above");
    ensure!(compared > WORLDS * QUESTIONS / 2, "{compared} answers were compared");
    Ok(())
}

/// Worlds and questions of a seed; signatures are asked for.
fn closed(seed: u64) -> Result<Vec<(World, Vec<Asked>)>> {
    let worlds = world::worlds(seed, WORLDS, QUESTIONS)?.into_iter().map(|(world, mut questions)| {
        questions.iter_mut().for_each(|asked| asked.edns = Some((1_232, true)));
        (world.closed(), questions)
    });
    Ok(worlds.collect())
}

async fn validate(seed: u64, running: &Running) -> Result<usize> {
    let worlds = closed(seed)?;
    let Round { fixture, came, anchors, .. } = Round::serve(&worlds)?;
    for (number, zone) in came.iter().enumerate() {
        zone.is_judged_in_order(number % WAYS.len(), running.node.clock.now())?;
        running.change(zone.changes(running)).await?;
    }
    // What a span of unsigned delegations proves is no more than likely (RFC 5155, 9.2).
    let is_of_span = |entry: &Entry| entry.rtype == rtype::NSEC3 && entry.data.starts_with("1 1 ");
    let is_proven =
        |theirs: &Reply, ours: &Reply| theirs.authentic || ours.sections[1].iter().any(is_of_span);
    let way = |number| format!("way {}", number % 3);
    let zones = Zones { way: &way, is_proven: &is_proven, worlds: &worlds, fixture: &fixture };
    zones.validate(seed, &anchors, running.address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_takes_every_answer_of_a_zone_that_came_signed() -> Result<()> {
    goes_on(WORLDS * QUESTIONS / 3, validate).await
}
