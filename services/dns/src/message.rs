//! Writing an answer: names compressed, record sets whole or not at all.

use crate::{
    edns::Opt,
    rrset::{AsSet, Layout, Set},
    wire::{ExtendedError, HEADER_OCTETS, LENGTH_OCTETS, Rcode, class, flag, rtype},
};

/// Offsets at which names begin that later ones are compressed against; more are written out. The question's come
/// first, and answers hardly have more.
const NAMES_REMEMBERED_MAX: usize = 32;
/// A compression pointer's offset has 14 bits (RFC 1035, 4.1.4).
const POINTER_MAX: usize = 0x3fff;

/// Where in an answer a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Section {
    Answer = 1,
    Authority = 2,
    Additional = 3,
}

/// An answer that is being written to the end of a buffer.
pub(crate) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// Where the message begins in the buffer.
    base: usize,
    /// Octets of the header and the question.
    question: usize,
    /// Octets that the message may have before its OPT record.
    limit: usize,
    /// Records of each section; the question's comes first.
    counts: [u16; 4],
    flags: u16,
    /// The shortest time, in seconds, for which a record may be remembered.
    ttl: Option<u32>,
    /// Where names begin, and how long each is when it is written out: only names of one length can be the same.
    names: [(u16, u8); NAMES_REMEMBERED_MAX],
    names_known: usize,
    /// Why the answer is an error.
    pub(crate) extended: Option<ExtendedError>,
}

/// Puts the length of a message before it, where room was left, as streams carry messages (RFC 1035, 4.2.2).
pub(crate) fn put_length(framed: &mut [u8]) {
    let length = u16::try_from(framed.len() - LENGTH_OCTETS).expect("a message has 65,535 octets at most");
    framed[..LENGTH_OCTETS].copy_from_slice(&length.to_be_bytes());
}

/// Answers with a header and nothing else.
pub(crate) fn write_header_only(out: &mut Vec<u8>, id: u16, flags: u16, rcode: Rcode) {
    let flags = flag::QR | flags & (flag::OPCODE | flag::RD) | rcode.code() & 0b1111;
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&flags.to_be_bytes());
    out.extend_from_slice(&[0; 8]);
}

impl<'o> Writer<'o> {
    /// Begins an answer to the message that has `question` at its beginning, header and question, if it has one; it may
    /// take `limit` octets, of which the OPT record's are set aside.
    pub(crate) fn new(out: &'o mut Vec<u8>, question: &[u8], limit: usize, opt: Option<&Opt<'_>>) -> Self {
        let base = out.len();
        out.extend_from_slice(question);
        let asked = u16::from_be_bytes([question[2], question[3]]);
        let mut writer = Self {
            out,
            base,
            question: question.len(),
            limit: limit - opt.map_or(0, Opt::octets),
            counts: [u16::from(question.len() > HEADER_OCTETS), 0, 0, 0],
            // CD is for resolvers: who answers with authority clears it (RFC 4035, 3.1.6).
            flags: flag::QR | asked & flag::RD,
            ttl: None,
            names: [(0, 0); NAMES_REMEMBERED_MAX],
            names_known: 0,
            extended: None,
        };
        // Behind the name are its type and class.
        let end = question.len().saturating_sub(4);
        let mut at = HEADER_OCTETS;
        while let Some(length @ 1..) = question.get(at).copied() {
            writer.remember(at, end.saturating_sub(at));
            at += 1 + usize::from(length);
        }
        writer
    }

    /// Says that the answer is, or is not, this server's own knowledge (RFC 1035, 4.1.1).
    pub(crate) fn set_authoritative(&mut self, authoritative: bool) {
        self.flags = if authoritative { self.flags | flag::AA } else { self.flags & !flag::AA };
    }

    /// Says that something did not fit.
    pub(crate) fn set_truncated(&mut self) {
        self.flags |= flag::TC;
    }

    /// Whether something did not fit.
    pub(crate) fn is_truncated(&self) -> bool {
        self.flags & flag::TC != 0
    }

    /// For how long, in seconds, all that was written may be remembered; `None` before the first record.
    pub(crate) fn ttl(&self) -> Option<u32> {
        self.ttl
    }

    /// Forgets every record, and that they were known.
    pub(crate) fn clear(&mut self) {
        self.ttl = None;
        self.out.truncate(self.base + self.question);
        self.names_known = self.names[..self.names_known]
            .iter()
            .take_while(|(known, _)| usize::from(*known) < self.question)
            .count();
        self.counts = [self.counts[0], 0, 0, 0];
        self.flags &= !(flag::AA | flag::TC);
    }

    /// Writes a set, whole; `false` if it does not fit, and then nothing of it is left.
    pub(crate) fn set(&mut self, section: Section, owner: &[u8], set: Set<'_>, ttl: u32) -> bool {
        debug_assert!(
            self.counts[section as usize + 1..].iter().all(|count| *count == 0),
            "sections have an order"
        );
        let (length, names_known, mut count) = (self.out.len(), self.names_known, 0);
        for data in set.records {
            self.record(owner, (set.rtype, class::IN, ttl), data);
            if self.out.len() - self.base > self.limit {
                self.out.truncate(length);
                self.names_known = names_known;
                return false;
            }
            // They fit, and 65,535 octets have fewer.
            count += 1;
        }
        self.ttl = Some(self.ttl.map_or(ttl, |known| known.min(ttl)));
        self.counts[section as usize] += count;
        true
    }

    /// Writes records of a set, from this one on, as many as fit; how many.
    pub(crate) fn some_of(&mut self, section: Section, owner: &[u8], set: Set<'_>, from: usize) -> usize {
        let mut written = 0;
        for data in set.records.skip(from) {
            let (length, names_known) = (self.out.len(), self.names_known);
            self.record(owner, (set.rtype, class::IN, set.ttl), data);
            if self.out.len() - self.base > self.limit {
                self.out.truncate(length);
                self.names_known = names_known;
                return written;
            }
            self.counts[section as usize] += 1;
            written += 1;
        }
        written
    }

    /// Lets the message have so many octets before its OPT record.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Writes a set with its signatures, which are made only if the set fits: both, or `false` and nothing of either.
    pub(crate) fn signed_set<S: AsSet, E>(
        &mut self,
        section: Section,
        owner: &[u8],
        set: Set<'_>,
        ttl: u32,
        sign: impl FnOnce() -> Result<S, E>,
    ) -> Result<bool, E> {
        let (length, names_known, counts) = (self.out.len(), self.names_known, self.counts);
        if !self.set(section, owner, set, ttl) {
            return Ok(false);
        }
        if self.set(section, owner, sign()?.as_set(), ttl) {
            return Ok(true);
        }
        self.out.truncate(length);
        (self.names_known, self.counts) = (names_known, counts);
        Ok(false)
    }

    /// Writes one record of the Chaosnet class: what the server says of itself (RFC 4892).
    pub(crate) fn chaos_text(&mut self, owner: &[u8], data: &[u8]) {
        self.record(owner, (rtype::TXT, class::CH, 0), data);
        self.counts[Section::Answer as usize] += 1;
    }

    fn record(&mut self, owner: &[u8], (rtype, class, ttl): (u16, u16, u32), data: &[u8]) {
        self.name(owner);
        self.out.extend_from_slice(&rtype.to_be_bytes());
        self.out.extend_from_slice(&class.to_be_bytes());
        self.out.extend_from_slice(&ttl.to_be_bytes());
        let length_at = self.out.len();
        self.out.extend_from_slice(&[0; 2]);
        let layout = Layout::of(rtype);
        let (prefix, mut rest) = data.split_at(layout.prefix);
        self.out.extend_from_slice(prefix);
        for _ in 0..layout.names {
            let (name, after) = rest.split_at(name_octets(rest));
            self.name(name);
            rest = after;
        }
        self.out.extend_from_slice(rest);
        let length =
            u16::try_from(self.out.len() - length_at - 2).expect("a record's data is far below 64 KiB");
        self.out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    }

    /// Writes a name that is encoded in lower case, as a pointer from where the message has its end already.
    fn name(&mut self, name: &[u8]) {
        let mut at = 0;
        while name[at] != 0 {
            if let Some(known) = self.find(&name[at..]) {
                self.out.extend_from_slice(&(0xc000 | known).to_be_bytes());
                return;
            }
            let end = at + 1 + usize::from(name[at]);
            self.remember(self.out.len() - self.base, name.len() - at);
            self.out.extend_from_slice(&name[at..end]);
            at = end;
        }
        self.out.push(0);
    }

    /// A name of so many octets begins at an offset.
    fn remember(&mut self, at: usize, octets: usize) {
        if at <= POINTER_MAX && self.names_known < NAMES_REMEMBERED_MAX {
            let at = u16::try_from(at).expect("a pointer has 14 bits");
            self.names[self.names_known] = (at, u8::try_from(octets).unwrap_or(u8::MAX));
            self.names_known += 1;
        }
    }

    fn find(&self, name: &[u8]) -> Option<u16> {
        let octets = u8::try_from(name.len()).unwrap_or(u8::MAX);
        let known = self.names[..self.names_known].iter().filter(|(_, length)| *length == octets);
        known.map(|(at, _)| *at).find(|at| self.has_name(usize::from(*at), name))
    }

    /// Whether the message has `name` at an offset. Pointers written here point backwards, to labels only.
    fn has_name(&self, mut at: usize, mut name: &[u8]) -> bool {
        let message = &self.out[self.base..];
        loop {
            // The name that is being written right now ends where the message does.
            let Some(&length) = message.get(at) else { return false };
            if length & 0xc0 == 0xc0 {
                at = usize::from(u16::from_be_bytes([length & 0x3f, message[at + 1]]));
                continue;
            }
            let octets = 1 + usize::from(length);
            if name[0] != length || !name[..octets].eq_ignore_ascii_case(&message[at..at + octets]) {
                return false;
            }
            if length == 0 {
                return true;
            }
            name = &name[octets..];
            at += octets;
        }
    }

    /// Ends the answer: OPT record and header.
    pub(crate) fn finish(mut self, rcode: Rcode, opt: Option<&Opt<'_>>) {
        if let Some(opt) = opt {
            self.limit += opt.octets();
            opt.write(self.out, (self.base, self.limit), rcode, self.extended);
            self.counts[Section::Additional as usize] += 1;
        }
        let flags = self.flags | rcode.code() & 0b1111;
        let header = &mut self.out[self.base..self.base + HEADER_OCTETS];
        header[2..4].copy_from_slice(&flags.to_be_bytes());
        for (place, count) in header[4..].chunks_exact_mut(2).zip(self.counts) {
            place.copy_from_slice(&count.to_be_bytes());
        }
    }
}

/// Octets of the uncompressed, valid name at the beginning of `octets`.
fn name_octets(octets: &[u8]) -> usize {
    let mut at = 0;
    while octets[at] != 0 {
        at += 1 + usize::from(octets[at]);
    }
    at + 1
}
