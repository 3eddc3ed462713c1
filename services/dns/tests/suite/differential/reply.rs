//! An answer, what of it the RFCs fix, and whose it is.

use std::collections::BTreeSet;

use anyhow::Result;
use domain::{
    base::{Message, RecordSection},
    rdata::AllRecordData,
};
use proxima_wire::rtype;

use super::{
    Said,
    world::{Asked, World},
};

/// Aliases up to which ours is compared with Knot's and with BIND's answer. RFC 1034, 4.3.2, leaves open how many are followed
/// in one: Knot follows 5, we do 8, BIND more.
const ALIASES_COMPARED: [usize; 2] = [5, 8];

/// A record as it was answered, its owner in lower case: a compressed owner has the question's case, another one the
/// zone's, and neither means anything (RFC 4343, 3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) owner: String,
    pub(super) rtype: u16,
    pub(super) ttl: u32,
    pub(super) data: String,
}

/// An answer as it was read.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) rcode: u16,
    pub(super) authoritative: bool,
    pub(super) truncated: bool,
    pub(super) authentic: bool,
    recursive: bool,
    edns: bool,
    /// Of the answer, authority and additional sections.
    pub(super) sections: [Vec<Entry>; 3],
}

impl Reply {
    pub(super) fn read(octets: &[u8]) -> Result<Self> {
        let message = Message::from_octets(octets)?;
        let header = message.header();
        Ok(Self {
            rcode: message.opt_rcode().to_int(),
            authoritative: header.aa(),
            truncated: header.tc(),
            authentic: header.ad(),
            recursive: header.ra(),
            edns: message.opt().is_some(),
            sections: [
                entries(message.answer()?)?,
                entries(message.authority()?)?,
                entries(message.additional()?)?,
            ],
        })
    }

    /// The aliases of the answer in their order, and what follows them.
    fn chain(&self, asked: &Asked) -> (Vec<Entry>, Vec<Entry>) {
        let is_alias = |entry: &&Entry| entry.rtype == rtype::CNAME && asked.follows_aliases();
        let chain: Vec<Entry> = self.sections[0].iter().take_while(is_alias).cloned().collect();
        let rest = self.sections[0][chain.len()..].to_vec();
        (chain, rest)
    }
}

fn entries(section: RecordSection<'_, &[u8]>) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for record in section {
        let record = record?;
        if record.rtype().to_int() == rtype::OPT {
            continue;
        }
        let record = record.to_any_record::<AllRecordData<_, _>>()?;
        let (kind, mut data) = (record.rtype().to_int(), record.data().to_string());
        if kind != rtype::TXT {
            // Names in data, which may be compressed too.
            data.make_ascii_lowercase();
        }
        let owner = record.owner().to_string().to_ascii_lowercase();
        entries.push(Entry { owner, rtype: kind, ttl: record.ttl().as_secs(), data });
    }
    Ok(entries)
}

/// What of an answer is fixed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fixed {
    rcode: u16,
    authoritative: bool,
    recursive: bool,
    edns: bool,
    /// In their order (RFC 1034, 4.3.2: each is followed after it was copied).
    chain: Vec<Entry>,
    /// A set has no order (RFC 2181, 5). `None` of what is left to the server.
    answer: Option<BTreeSet<Entry>>,
    authority: Option<BTreeSet<Entry>>,
    glue: BTreeSet<Entry>,
}

/// `compared`: up to how many aliases, if ours has as many.
fn fixed(reply: &Reply, asked: &Asked, compared: Option<usize>) -> Fixed {
    let (mut chain, answer) = reply.chain(asked);
    let [_, authority, additional] = &reply.sections;
    let mut fixed = Fixed {
        rcode: reply.rcode,
        authoritative: reply.authoritative,
        recursive: reply.recursive,
        edns: reply.edns,
        chain: Vec::new(),
        answer: None,
        authority: None,
        glue: BTreeSet::new(),
    };
    if let Some(compared) = compared {
        // Where an answer stops, its rcode is that of the alias: RFC 6604, 3, has that of the last name that was followed.
        chain.truncate(compared);
        return Fixed { chain, rcode: 0, ..fixed };
    }
    let ends_at = chain.last().map(|last| last.data.trim_end_matches('.').to_owned());
    if chain.iter().any(|alias| Some(&alias.owner) == ends_at.as_ref()) {
        // RFC 1034, 3.6.2, has a ring "signalled as an error" and no rcode for it: BIND takes SERVFAIL, Knot says its last
        // alias twice. Who asks finds the ring either way.
        chain.dedup();
        fixed.rcode = 0;
    }
    fixed.chain = chain;
    if asked.qtype == rtype::ANY {
        // RFC 8482, 4: a subset, or HINFO. That there is something, or nothing, is fixed.
        fixed.answer =
            Some(answer.into_iter().take(1).map(|entry| Entry { owner: entry.owner, ..NOTHING }).collect());
    } else {
        fixed.answer = Some(answer.into_iter().collect());
    }
    if fixed.answer.as_ref().is_some_and(|answer| !answer.is_empty()) {
        // The zone's NS records beside an answer are a courtesy: RFC 1034, 4.3.2, step 3a, asks for none.
        return fixed;
    }
    // DS in a referral says something in signed zones only (RFC 4035, 3.1.4.1), which these are not.
    let authority: BTreeSet<Entry> =
        authority.iter().filter(|entry| entry.rtype != rtype::DS).cloned().collect();
    let cuts: Vec<&str> =
        authority.iter().filter(|entry| entry.rtype == rtype::NS).map(|entry| entry.owner.as_str()).collect();
    let hosts: BTreeSet<String> = authority
        .iter()
        .filter(|entry| entry.rtype == rtype::NS)
        .map(|entry| entry.data.to_ascii_lowercase().trim_end_matches('.').to_owned())
        .collect();
    // The addresses of servers in the delegated zone are part of the referral, all others a courtesy (RFC 9471, 3).
    let is_needed = |entry: &&Entry| {
        hosts.contains(entry.owner.trim_end_matches('.'))
            && cuts.iter().any(|cut| is_within(&entry.owner, cut))
    };
    fixed.glue = additional.iter().filter(is_needed).cloned().collect();
    fixed.authority = Some(authority);
    fixed
}

const NOTHING: Entry = Entry { owner: String::new(), rtype: 0, ttl: 0, data: String::new() };

/// Whether a name is another one or lies below it.
fn is_within(name: &str, above: &str) -> bool {
    let (name, above) = (name.trim_end_matches('.'), above.trim_end_matches('.'));
    name.strip_suffix(above).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whose answer ours is.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Both others'.
    Agreed,
    /// That of one of them.
    TheyDiffer(String),
    /// Nobody's.
    Alone(String),
    /// One of the others says nothing.
    Silent(String),
}

pub(super) fn judge(ours: &Said, theirs: &[Said; 2], asked: &Asked, world: &World, apex: &str) -> Verdict {
    let followed = ours.whole.chain(asked).0.len();
    let is_same = [0, 1].map(|which| {
        let compared = Some(ALIASES_COMPARED[which]).filter(|compared| followed >= *compared);
        fixed(&ours.whole, asked, compared) == fixed(&theirs[which].whole, asked, compared)
    });
    let shown = || {
        let of = |said: &Said| fixed(&said.whole, asked, None);
        let [knot, bind] = [of(&theirs[0]), of(&theirs[1])];
        format!("{}\n ours: {:?}\n knot: {knot:?}\n bind: {bind:?}", asked.dig(apex), of(ours))
    };
    if let Some(wrong) = wrong_by_itself(&ours.whole, world, apex) {
        return Verdict::Alone(format!("{wrong}\n{}", shown()));
    }
    // What both others get into a datagram, ours, with no courtesies, has to. Who follows fewer aliases (Knot) or leaves out
    // addresses that a referral needs without saying so (BIND, all but one; RFC 9471, 3.1) has less to get into it.
    let whole = fixed(&ours.whole, asked, None);
    let is_whole = |said: &Said| !said.first.truncated && fixed(&said.first, asked, None) == whole;
    if ours.first.truncated && theirs.iter().all(is_whole) {
        return Verdict::Alone(format!("truncated\n{}", shown()));
    }
    match is_same {
        [true, true] => Verdict::Agreed,
        [false, false] => Verdict::Alone(shown()),
        _ => Verdict::TheyDiffer(shown()),
    }
}

/// What no answer has, whatever others say: a record twice (RFC 2181, 5), or one beside the answer that the zone has not.
fn wrong_by_itself(reply: &Reply, world: &World, apex: &str) -> Option<String> {
    let all: Vec<&Entry> = reply.sections.iter().flatten().collect();
    if all.iter().collect::<BTreeSet<_>>().len() != all.len() {
        return Some("a record stands twice".to_owned());
    }
    let mut additional = reply.sections[2].iter();
    let made_up = additional.find(|entry| !world.has(&entry.owner, entry.rtype, &entry.data, apex))?;
    Some(format!("made up: {made_up:?}"))
}
