//! Our answers beside those of Knot DNS and BIND: random zones and random questions, and the smallest difference.
//!
//! ```text
//!  seed ─▶ worlds (world.rs) ─┬─▶ records of the model ─▶ Responder ───────────────┐
//!          zones, questions   └─▶ zone files ─▶ knotd, named (servers.rs) ─▶ reply ┴─▶ verdict (reply.rs)
//!                                                                                         │ ours is nobody's
//!                                              a zone file and a line of dig ◀─ smaller and smaller (shrink.rs)
//! ```
//!
//! What the RFCs leave to a server is taken out of answers before they are compared; each such rule stands in `reply.rs`
//! with its reason. Where the two others differ from one another, ours has to be the answer of one of them, and the
//! question is printed. What our model refuses (an alias beside other data, NS at a wildcard) is not made.
//!
//! Where one of the others says nothing, both are begun anew, the question is printed, and the next one is asked. Knot 3.2.6
//! (Debian 12's) has such questions: its worker looks for ever for the addresses beside an answer to ANY, where that has a
//! set with many targets of which a wildcard stands for each (`*.w MX 0 mail-0.a`, …, and `*.a AAAA`; first in seed 9).
//!
//! The test has a seed of its own and takes some seconds. `PROXIMA_DIFFERENTIAL_SEED=17` takes another one,
//! `PROXIMA_DIFFERENTIAL_SECONDS=600` goes on from there to the next ones for so long. Zones that we sign are not compared, since
//! denials are made in several ways: Unbound validates them (`signed.rs`, `validated.rs`). Zones that come signed are both
//! (`presigned.rs`). Whole zones are verified by ldns (`verified.rs`).

mod presigned;
mod reply;
mod servers;
mod shrink;
mod signed;
mod validated;
mod verified;
mod world;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use proxima_dns::Transport;

use crate::support::{Fixture, asking_by, responder};
use reply::{Reply, Verdict};
use servers::Servers;
use world::{Asked, World};

/// Zones that the servers have at a time.
const WORLDS: usize = 150;
/// Questions about each.
const QUESTIONS: usize = 40;
/// The seed that is taken unless another one is given.
const SEED: u64 = 1;

/// Where a run begins, and how long it goes on.
fn begin() -> Result<(u64, Duration)> {
    let number = |name: &str, default: u64| match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} has to be a number, and is {text}")),
        Err(_) => Ok(default),
    };
    let seconds = number("PROXIMA_DIFFERENTIAL_SECONDS", 0)?;
    Ok((number("PROXIMA_DIFFERENTIAL_SEED", SEED)?, Duration::from_secs(seconds)))
}

/// A zone's number makes its name.
fn apex(number: usize) -> String {
    format!("z{number:05}.test")
}

/// What was said over UDP, and where that was truncated, over TCP.
struct Said {
    first: Reply,
    whole: Reply,
}

fn ours(fixture: &Fixture, asked: &Asked, apex: &str) -> Result<Said> {
    let say = |transport| {
        let mut out = Vec::new();
        let question = asked.question(apex).encode();
        responder().respond(fixture, &question, asking_by(transport), &mut out).context("no answer")?;
        ensure!(
            transport != Transport::Udp || out.len() <= asked.octets_max(),
            "{} octets are too many",
            out.len()
        );
        Reply::read(&out)
    };
    let first = say(Transport::Udp)?;
    let whole = if first.truncated { say(Transport::Tcp)? } else { first.clone() };
    Ok(Said { first, whole })
}

/// Worlds that all three serve, each as the zone of its number.
struct Round {
    fixture: Fixture,
    servers: Servers,
    /// Whether the others took the zone.
    taken: Vec<bool>,
}

impl Round {
    fn serve(worlds: &[World]) -> Result<Self> {
        let mut fixture = Fixture::default();
        let mut zones = Vec::new();
        for (number, world) in worlds.iter().enumerate() {
            let apex = apex(number);
            let (zone, records) = world.records(&apex)?;
            fixture.add(&zone, records);
            zones.push((apex.clone(), world.zone_file(&apex)));
        }
        let servers = Servers::start(&zones)?;
        let taken = zones.iter().map(|(apex, _)| servers.have(apex)).collect::<Result<_>>()?;
        Ok(Self { fixture, servers, taken })
    }

    /// Servers that say nothing are begun anew, so that the next question is answered.
    fn judge(&mut self, number: usize, world: &World, asked: &Asked) -> Result<Verdict> {
        if !self.taken[number] {
            return Ok(Verdict::Agreed);
        }
        let apex = apex(number);
        let ours = ours(&self.fixture, asked, &apex).with_context(|| asked.dig(&apex))?;
        let question = asked.question(&apex).encode();
        Ok(match self.servers.ask(&question) {
            Ok(theirs) => reply::judge(&ours, &theirs, asked, world, &apex),
            Err(error) => {
                self.servers.revive()?;
                Verdict::Silent(format!("{error:#}: {}", asked.dig(&apex)))
            }
        })
    }
}

#[test]
fn what_is_answered_is_what_knot_or_bind_answers() -> Result<()> {
    let (mut seed, enough) = begin()?;
    let (begun, mut asked, mut at_odds, mut silent) = (Instant::now(), 0, 0, 0);
    loop {
        let worlds = world::worlds(seed, WORLDS, QUESTIONS)?;
        let zones: Vec<World> = worlds.iter().map(|(world, _)| world.clone()).collect();
        let mut round = Round::serve(&zones)?;
        let refused = round.taken.iter().filter(|taken| !**taken).count();
        ensure!(refused * 10 < WORLDS, "{refused} zones of seed {seed} were refused");
        let mut alone = None;
        for (number, (world, questions)) in worlds.iter().enumerate() {
            for question in questions {
                asked += 1;
                match round.judge(number, world, question)? {
                    Verdict::Agreed => {}
                    Verdict::TheyDiffer(how) => {
                        at_odds += 1;
                        println!("knot and bind differ: {how}");
                    }
                    Verdict::Alone(how) => {
                        println!("seed {seed}, nobody else answers so: {how}");
                        alone.get_or_insert_with(|| (world.clone(), question.clone()));
                    }
                    Verdict::Silent(how) => {
                        silent += 1;
                        println!("seed {seed}, zone {number}: {how}\n{}", world.zone_file(&apex(number)));
                    }
                }
            }
        }
        if let Some((world, question)) = alone {
            anyhow::bail!("the smallest is\n{}", shrink::smallest(world, question)?);
        }
        if begun.elapsed() >= enough {
            break;
        }
        seed += 1;
    }
    println!(
        "{asked} questions up to seed {seed}; at {at_odds}, knot and bind differ, and at {silent}, one is silent"
    );
    ensure!(silent == 0 || !enough.is_zero(), "the ordinary run asks nothing that they do not answer");
    Ok(())
}
