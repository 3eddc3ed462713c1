//! Random signed zones, validated by Unbound: every answer, and every denial, compact (RFC 9824) and by NSEC3.
//!
//! Questions that lead below a delegation are left out, since nobody answers them, and so are chains of aliases that our
//! answer does not follow to their end. Unbound remembers what was denied and answers from it (RFC 8198), so that a denial
//! that says too much turns up at another question. It asks for names whole: where it does not (RFC 9156), it takes the rcode
//! of an alias's target (RFC 6604, 3) for that of all below the alias.

use std::{collections::BTreeSet, fmt::Write as _, net::SocketAddr, process::Command, time::Instant};

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use proxima_dns::Transport;
use proxima_ledger::Change;
use proxima_model::{KeyRole, Record, RecordId, Zone, ZoneId, ZoneIndex, ZoneSigning};
use proxima_wire::rtype;

use super::{
    apex, begin,
    reply::Reply,
    servers::{Daemon, Server, free_address},
    world::{self, Asked, World},
};
use crate::{
    sockets::{Running, with_node},
    support::{Fixture, asking_by, new_key, responder, signing},
};

/// Zones that a node has at a time.
const WORLDS: usize = 24;
/// Questions about each.
const QUESTIONS: usize = 40;
/// RD, as resolvers are asked.
pub(super) const RECURSE: u16 = 0x100;
/// DO.
pub(super) const WANTS_SIGNATURES: u16 = 0x8000;

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

/// Unbound, which asks `server` for these zones, each a name and its DS record, and nobody else for anything.
pub(super) fn unbound(
    folder: &std::path::Path,
    zones: &[(String, String)],
    server: SocketAddr,
) -> Result<Server> {
    let address = free_address()?;
    let (ip, port, path) = (address.ip(), address.port(), folder.display());
    let mut text = format!(
        "server:\n interface: {ip}@{port}\n port: {port}\n num-threads: 1\n chroot: \"\"\n username: \"\"\n directory: \
         \"{path}\"\n pidfile: \"\"\n use-syslog: no\n do-daemonize: no\n verbosity: 1\n do-not-query-localhost: no\n \
         module-config: \"validator iterator\"\n aggressive-nsec: yes\n qname-minimisation: no\n harden-below-nxdomain: yes\n local-zone: \"test.\" nodefault\n"
    );
    for (_, anchor) in zones {
        writeln!(text, " trust-anchor: \"{anchor}\"")?;
    }
    text.push_str("remote-control:\n control-enable: no\n");
    for (name, _) in zones {
        let (ip, port) = (server.ip(), server.port());
        writeln!(text, "stub-zone:\n name: \"{name}\"\n stub-addr: {ip}@{port}")?;
    }
    let config = folder.join("unbound.conf");
    std::fs::write(&config, text)?;
    let daemon = Daemon::start(Command::new("unbound").args(["-d", "-c"]).arg(config), "start of service")?;
    Ok(Server::new(daemon, address))
}

/// What our server says itself, and `None` where a resolver would have to ask others, or gives up.
pub(super) fn ours(fixture: &Fixture, asked: &Asked, number: usize) -> Result<Option<Reply>> {
    let mut question = asked.question(&apex(number));
    question.edns().flags = WANTS_SIGNATURES;
    let mut out = Vec::new();
    responder()
        .respond(fixture, &question.encode(), asking_by(Transport::Tcp), &mut out)
        .context("no answer")?;
    let reply = Reply::read(&out)?;
    let [answer, authority, _] = &reply.sections;
    let has = |kind| authority.iter().any(|entry| entry.rtype == kind);
    let is_only_aliases = answer.iter().all(|entry| matches!(entry.rtype, rtype::CNAME | rtype::RRSIG));
    let is_unfinished = asked.follows_aliases() && is_only_aliases && !has(rtype::SOA);
    let is_answered = reply.rcode == 0 || reply.rcode == 3;
    // A resolver answers a question for everything from what it has (RFC 8482, 4.4), and questions about signatures are
    // for the tests of those.
    let is_of_its_own = matches!(asked.qtype, rtype::ANY | rtype::RRSIG | rtype::NSEC);
    // The zone above is nobody's here.
    let is_about_the_zone_above = asked.below.is_empty() && asked.qtype == rtype::DS;
    let is_left_out =
        is_about_the_zone_above || is_unfinished || has(rtype::NS) || !is_answered || is_of_its_own;
    Ok((!is_left_out).then_some(reply))
}

pub(super) fn data(reply: &Reply) -> BTreeSet<(&str, u16, &str)> {
    let answer = reply.sections[0].iter().filter(|entry| entry.rtype != rtype::RRSIG);
    answer.map(|entry| (entry.owner.as_str(), entry.rtype, entry.data.as_str())).collect()
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
    let folder = tempfile::tempdir()?;
    let named = |zone: &Signed| Ok((zone.zone.name.to_string(), zone.anchor()?));
    let anchors = zones.iter().map(named).collect::<Result<Vec<_>>>()?;
    let unbound = unbound(folder.path(), &anchors, running.address)?;
    let (mut validated, mut doubted) = (0, 0);
    for (number, (world, questions)) in worlds.iter().enumerate() {
        for asked in questions {
            let Some(ours) = ours(&fixture, asked, number)? else { continue };
            let mut question = asked.question(&apex(number));
            question.flags = RECURSE;
            question.edns().flags = WANTS_SIGNATURES;
            let question = question.encode();
            let theirs = tokio::task::block_in_place(|| unbound.ask(&question))?.whole;
            let is_same = theirs.rcode == ours.rcode && data(&theirs) == data(&ours);
            if !theirs.authentic || !is_same {
                doubted += 1;
                let (apex, nsec3) = (apex(number), zones[number].signing.nsec3);
                println!("seed {seed}, nsec3 {nsec3}\n{}{}", world.zone_file(&apex), asked.dig(&apex));
                println!(" ours: {ours:?}\n unbound: {theirs:?}");
            }
            validated += 1;
        }
    }
    ensure!(doubted == 0, "{doubted} of {validated} answers of seed {seed} were not validated: see above");
    Ok(validated)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_takes_every_answer_of_random_signed_zones() -> Result<()> {
    let (mut seed, enough) = begin()?;
    let (begun, mut validated) = (Instant::now(), 0);
    loop {
        with_node("rate_limit_per_second = 0", async |running| {
            validated += validate(seed, running).await?;
            Ok(())
        })
        .await?;
        if begun.elapsed() >= enough {
            break;
        }
        seed += 1;
    }
    println!("{validated} answers validated up to seed {seed}");
    ensure!(validated > WORLDS * QUESTIONS / 3, "{validated} answers were validated");
    Ok(())
}
