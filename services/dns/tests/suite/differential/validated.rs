//! Zones whose answers Unbound validates, signed by whomever.
//!
//! Questions that lead below a delegation are left out, since nobody answers them, and so are chains of aliases that our
//! answer does not follow to their end. Unbound remembers what was denied and answers from it (RFC 8198), so that a denial
//! that says too much turns up at another question. It asks for names whole: where it does not (RFC 9156), it takes the rcode
//! of an alias's target (RFC 6604, 3) for that of all below the alias.

use std::{collections::BTreeSet, fmt::Write as _, net::SocketAddr, process::Command, time::Instant};

use anyhow::{Context as _, Result, ensure};
use proxima_dns::Transport;
use proxima_wire::rtype;

use super::{
    apex, begin,
    reply::Reply,
    servers::{Daemon, Server, free_address},
    world::{Asked, World},
};
use crate::{
    sockets::{Running, with_node},
    support::{Fixture, asking_by, responder},
};

/// RD, as resolvers are asked.
const RECURSE: u16 = 0x100;
/// DO.
const WANTS_SIGNATURES: u16 = 0x8000;

/// Zones that a node has, and what is asked about each.
pub(super) struct Zones<'w> {
    /// How the zone of this number is signed, for who reads of it.
    pub(super) way: &'w dyn Fn(usize) -> String,
    /// Whether what Unbound says, and what we say, is proven as far as it can be.
    pub(super) is_proven: &'w dyn Fn(&Reply, &Reply) -> bool,
    pub(super) worlds: &'w [(World, Vec<Asked>)],
    pub(super) fixture: &'w Fixture,
}

impl Zones<'_> {
    /// Has Unbound ask the node at `server` all questions, trusting these keys; how many answers there were, each of them proven
    /// and as we make it.
    pub(super) fn validate(
        &self,
        seed: u64,
        anchors: &[(String, String)],
        server: SocketAddr,
    ) -> Result<usize> {
        let folder = tempfile::tempdir()?;
        let unbound = unbound(folder.path(), anchors, server)?;
        let (mut validated, mut doubted) = (0, 0);
        for (number, (world, questions)) in self.worlds.iter().enumerate() {
            for asked in questions {
                let Some(ours) = ours(self.fixture, asked, number)? else { continue };
                let mut question = asked.question(&apex(number));
                question.flags = RECURSE;
                question.edns().flags = WANTS_SIGNATURES;
                let question = question.encode();
                let theirs = tokio::task::block_in_place(|| unbound.ask(&question))?.whole;
                let is_same = theirs.rcode == ours.rcode && data(&theirs) == data(&ours);
                if !(self.is_proven)(&theirs, &ours) || !is_same {
                    doubted += 1;
                    let (apex, way) = (apex(number), (self.way)(number));
                    println!("seed {seed}, {way}\n{}{}", world.zone_file(&apex), asked.dig(&apex));
                    println!(" ours: {ours:?}\n unbound: {theirs:?}");
                }
                validated += 1;
            }
        }
        ensure!(
            doubted == 0,
            "{doubted} of {validated} answers of seed {seed} were not validated: see above"
        );
        Ok(validated)
    }
}

/// Validates seed after seed, each on a node of its own, for as long as is wanted; more answers than `least` have to be validated.
pub(super) async fn goes_on(
    least: usize,
    validate: impl AsyncFn(u64, &Running) -> Result<usize>,
) -> Result<()> {
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
    ensure!(validated > least, "{validated} answers were validated");
    Ok(())
}

/// Unbound, which asks `server` for these zones, each a name and its DS record, and nobody else for anything.
fn unbound(folder: &std::path::Path, zones: &[(String, String)], server: SocketAddr) -> Result<Server> {
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
fn ours(fixture: &Fixture, asked: &Asked, number: usize) -> Result<Option<Reply>> {
    let mut question = asked.question(&apex(number));
    question.edns().flags = WANTS_SIGNATURES;
    let mut out = Vec::new();
    responder()
        .respond(fixture, &question.encode(), asking_by(Transport::Tcp), &mut out)
        .context("no answer")?;
    let reply = Reply::read(&out)?;
    let [answer, authority, _] = &reply.sections;
    let has = |kind| authority.iter().any(|entry| entry.rtype == kind);
    let is_alias = |kind| matches!(kind, rtype::CNAME | rtype::DNAME | rtype::RRSIG);
    let is_only_aliases = answer.iter().all(|entry| is_alias(entry.rtype));
    let is_unfinished = asked.follows_aliases() && is_only_aliases && !has(rtype::SOA);
    let is_answered = reply.rcode == 0 || reply.rcode == 3;
    // A resolver answers a question for everything from what it has (RFC 8482, 4.4), and questions about signatures are
    // for the tests of those.
    let is_of_its_own = matches!(asked.qtype, rtype::ANY | rtype::RRSIG | rtype::NSEC);
    // Unbound takes a DNAME record on the way, or the alias that follows from it, for what was asked for, and fails; knot and
    // BIND answer as we do.
    let is_moved = matches!(asked.qtype, rtype::CNAME | rtype::DNAME)
        && [rtype::CNAME, rtype::DNAME].iter().all(|kind| answer.iter().any(|entry| entry.rtype == *kind));
    // The zone above is nobody's here.
    let is_about_the_zone_above = asked.below.is_empty() && asked.qtype == rtype::DS;
    let is_left_out = is_about_the_zone_above
        || is_unfinished
        || has(rtype::NS)
        || !is_answered
        || is_of_its_own
        || is_moved;
    Ok((!is_left_out).then_some(reply))
}

fn data(reply: &Reply) -> BTreeSet<(&str, u16, &str)> {
    let answer = reply.sections[0].iter().filter(|entry| entry.rtype != rtype::RRSIG);
    answer.map(|entry| (entry.owner.as_str(), entry.rtype, entry.data.as_str())).collect()
}
