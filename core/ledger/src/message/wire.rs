//! Messages as octets.

use std::time::Duration;

use proxima_model::Timestamp;

use super::{Failure, Message, NoAnswer, Pulse, Refusal, SnapshotItem};
use crate::{
    ASK_OCTETS_MAX, Fingerprint, Seq,
    codec::{self, DecodeError, Digest, Reader, Write as _},
    limits::{FRAME_OCTETS_MAX, NAME_OCTETS_MAX, SNAPSHOT_CHUNK_ITEMS_MAX, VALUE_OCTETS_MAX},
    store::LogId,
};

/// Octets of a reason in words.
const REASON_OCTETS_MAX: usize = 1_024;

mod tag {
    pub(super) const HELLO: u8 = 1;
    pub(super) const WELCOME: u8 = 2;
    pub(super) const APPEND: u8 = 3;
    pub(super) const APPENDED: u8 = 4;
    pub(super) const REFUSED: u8 = 5;
    pub(super) const SUBSCRIBE: u8 = 6;
    pub(super) const ENTRY: u8 = 7;
    pub(super) const HEARTBEAT: u8 = 8;
    pub(super) const SNAPSHOT_REQUEST: u8 = 9;
    pub(super) const SNAPSHOT_BEGIN: u8 = 10;
    pub(super) const SNAPSHOT_CHUNK: u8 = 11;
    pub(super) const SNAPSHOT_END: u8 = 12;
    pub(super) const FAILED: u8 = 13;
    pub(super) const ASK: u8 = 14;
    pub(super) const TOLD: u8 = 15;
}

impl Message {
    /// The frame's content.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self {
            Self::Hello { version, log } => {
                out.put_u8(tag::HELLO);
                out.extend_from_slice(&version.to_be_bytes());
                put_log(&mut out, log.as_ref());
            }
            Self::Welcome { version, log, keeps_log, pulse } => {
                out.put_u8(tag::WELCOME);
                out.extend_from_slice(&version.to_be_bytes());
                put_log(&mut out, log.as_ref());
                out.put_u8(u8::from(*keeps_log));
                put_pulse(&mut out, pulse);
            }
            Self::Append { id, append } => {
                out.put_u8(tag::APPEND);
                out.put_u64(*id);
                codec::encode_append(append, &mut out);
            }
            Self::Appended { id, seq, repeated } => {
                out.put_u8(tag::APPENDED);
                out.put_u64(*id);
                out.put_u64(seq.0);
                out.put_u8(u8::from(*repeated));
            }
            Self::Refused { id, refusal } => {
                out.put_u8(tag::REFUSED);
                out.put_u64(*id);
                put_refusal(&mut out, refusal);
            }
            Self::Ask { id, topic, question } => {
                out.put_u8(tag::ASK);
                out.put_u64(*id);
                out.put_octets(topic.as_bytes());
                out.put_octets(question);
            }
            Self::Told { id, answer } => {
                out.put_u8(tag::TOLD);
                out.put_u64(*id);
                put_answer(&mut out, answer);
            }
            Self::Subscribe { from, digest } => {
                out.put_u8(tag::SUBSCRIBE);
                out.put_u64(from.0);
                put_optional(&mut out, digest.as_ref(), |out, digest| out.extend_from_slice(&digest.0));
            }
            Self::Entry(entry) => {
                out.reserve_exact(entry.len());
                out.put_u8(tag::ENTRY);
                out.extend_from_slice(entry);
            }
            Self::Heartbeat(pulse) => {
                out.put_u8(tag::HEARTBEAT);
                put_pulse(&mut out, pulse);
            }
            Self::SnapshotRequest => out.put_u8(tag::SNAPSHOT_REQUEST),
            Self::SnapshotBegin { log, seq, at, digest } => {
                out.put_u8(tag::SNAPSHOT_BEGIN);
                out.extend_from_slice(&log.0);
                out.put_u64(seq.0);
                out.extend_from_slice(&at.as_millis().to_be_bytes());
                out.extend_from_slice(&digest.0);
            }
            Self::SnapshotChunk(items) => {
                out.put_u8(tag::SNAPSHOT_CHUNK);
                out.put_count(items.len());
                items.iter().for_each(|item| put_item(&mut out, item));
            }
            Self::SnapshotEnd { items, checksum } => {
                out.put_u8(tag::SNAPSHOT_END);
                out.put_u64(*items);
                out.put_u32(*checksum);
            }
            Self::Failed(failure) => {
                out.put_u8(tag::FAILED);
                put_failure(&mut out, failure);
            }
        }
        out
    }

    /// A message from the content of a frame. Whatever is given, this returns.
    pub fn decode(frame: &[u8]) -> Result<Self, DecodeError> {
        if frame.len() > FRAME_OCTETS_MAX {
            return Err(DecodeError::Long("a frame"));
        }
        let mut reader = Reader::new(frame);
        let tag = reader.u8()?;
        if tag == tag::ENTRY {
            return Ok(Self::Entry(reader.rest().to_vec()));
        }
        let message = Self::decode_body(tag, &mut reader)?;
        reader.end()?;
        Ok(message)
    }

    fn decode_body(tag: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match tag {
            tag::HELLO => Self::Hello { version: u16::from_be_bytes(reader.array()?), log: log_id(reader)? },
            tag::WELCOME => Self::Welcome {
                version: u16::from_be_bytes(reader.array()?),
                log: log_id(reader)?,
                keeps_log: flag(reader)?,
                pulse: pulse(reader)?,
            },
            tag::APPEND => Self::Append { id: reader.u64()?, append: codec::decode_append(reader)? },
            tag::APPENDED => {
                Self::Appended { id: reader.u64()?, seq: reader.seq()?, repeated: flag(reader)? }
            }
            tag::REFUSED => Self::Refused { id: reader.u64()?, refusal: refusal(reader)? },
            tag::ASK => Self::Ask {
                id: reader.u64()?,
                topic: reader.text("a topic", NAME_OCTETS_MAX)?.to_owned(),
                question: reader.octets("a question", ASK_OCTETS_MAX)?.to_vec(),
            },
            tag::TOLD => Self::Told { id: reader.u64()?, answer: answer(reader)? },
            tag::SUBSCRIBE => Self::Subscribe {
                from: reader.seq()?,
                digest: optional(reader, |reader| Ok(Digest(reader.array()?)))?,
            },
            tag::HEARTBEAT => Self::Heartbeat(pulse(reader)?),
            tag::SNAPSHOT_REQUEST => Self::SnapshotRequest,
            tag::SNAPSHOT_BEGIN => Self::SnapshotBegin {
                log: LogId(reader.array()?),
                seq: reader.seq()?,
                at: time(reader)?,
                digest: Digest(reader.array()?),
            },
            tag::SNAPSHOT_CHUNK => {
                let count = reader.count("a chunk", SNAPSHOT_CHUNK_ITEMS_MAX)?;
                Self::SnapshotChunk((0..count).map(|_| item(reader)).collect::<Result<_, _>>()?)
            }
            tag::SNAPSHOT_END => Self::SnapshotEnd { items: reader.u64()?, checksum: reader.u32()? },
            tag::FAILED => Self::Failed(failure(reader)?),
            _ => return Err(DecodeError::Tag("a message")),
        })
    }
}

fn put_optional<T>(out: &mut Vec<u8>, value: Option<&T>, put: impl FnOnce(&mut Vec<u8>, &T)) {
    out.put_u8(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

fn put_log(out: &mut Vec<u8>, log: Option<&LogId>) {
    put_optional(out, log, |out, log| out.extend_from_slice(&log.0));
}

fn optional<'a, T>(
    reader: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    if flag(reader)? { read(reader).map(Some) } else { Ok(None) }
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Tag("a flag")),
    }
}

fn log_id(reader: &mut Reader<'_>) -> Result<Option<LogId>, DecodeError> {
    optional(reader, |reader| Ok(LogId(reader.array()?)))
}

fn time(reader: &mut Reader<'_>) -> Result<Timestamp, DecodeError> {
    Ok(Timestamp::from_millis(i64::from_be_bytes(reader.array()?)))
}

fn put_pulse(out: &mut Vec<u8>, pulse: &Pulse) {
    out.put_u64(pulse.seq.0);
    out.put_u64(pulse.log_last.0);
    put_optional(out, pulse.log_heard.as_ref(), |out, heard| {
        out.put_u64(u64::try_from(heard.as_millis()).unwrap_or(u64::MAX));
    });
}

fn pulse(reader: &mut Reader<'_>) -> Result<Pulse, DecodeError> {
    Ok(Pulse {
        seq: reader.seq()?,
        log_last: reader.seq()?,
        log_heard: optional(reader, |reader| Ok(Duration::from_millis(reader.u64()?)))?,
    })
}

fn put_item(out: &mut Vec<u8>, item: &SnapshotItem) {
    match item {
        SnapshotItem::Value { key, revision, value } => {
            out.put_u8(1);
            out.put_octets(key.as_str().as_bytes());
            out.put_u64(revision.0);
            out.put_octets(value);
        }
        SnapshotItem::Seen { key, seq, at, fingerprint } => {
            out.put_u8(2);
            out.put_octets(key.as_bytes());
            out.put_u64(seq.0);
            out.extend_from_slice(&at.as_millis().to_be_bytes());
            put_optional(out, fingerprint.as_ref(), |out, fingerprint| out.extend_from_slice(&fingerprint.0));
        }
    }
}

fn item(reader: &mut Reader<'_>) -> Result<SnapshotItem, DecodeError> {
    match reader.u8()? {
        1 => Ok(SnapshotItem::Value {
            key: reader.key()?,
            revision: reader.seq()?,
            value: reader.octets("a value", VALUE_OCTETS_MAX)?.to_vec(),
        }),
        2 => Ok(SnapshotItem::Seen {
            key: reader.text("an idempotency key", NAME_OCTETS_MAX)?.to_owned(),
            seq: reader.seq()?,
            at: time(reader)?,
            fingerprint: optional(reader, |reader| Ok(Fingerprint(reader.array()?)))?,
        }),
        _ => Err(DecodeError::Tag("an item of a snapshot")),
    }
}

fn put_refusal(out: &mut Vec<u8>, refusal: &Refusal) {
    match refusal {
        Refusal::Precondition(failed, found) => {
            out.put_u8(1);
            codec::encode_precondition(failed, out);
            put_optional(out, found.as_ref(), |out, seq| out.put_u64(seq.0));
        }
        Refusal::NotTheLog => out.put_u8(2),
        Refusal::Full(reason) => put_reason(out, 3, reason),
        Refusal::Busy => out.put_u8(4),
        Refusal::Closed => out.put_u8(5),
        Refusal::Invalid(reason) => put_reason(out, 6, reason),
        Refusal::Store(reason) => put_reason(out, 7, reason),
        Refusal::KeyReused(seq) => {
            out.put_u8(8);
            out.put_u64(seq.0);
        }
    }
}

fn refusal(reader: &mut Reader<'_>) -> Result<Refusal, DecodeError> {
    Ok(match reader.u8()? {
        1 => Refusal::Precondition(codec::decode_precondition(reader)?, optional(reader, Reader::seq)?),
        2 => Refusal::NotTheLog,
        3 => Refusal::Full(reason(reader)?),
        4 => Refusal::Busy,
        5 => Refusal::Closed,
        6 => Refusal::Invalid(reason(reader)?),
        7 => Refusal::Store(reason(reader)?),
        8 => Refusal::KeyReused(reader.seq()?),
        _ => return Err(DecodeError::Tag("a refusal")),
    })
}

fn put_answer(out: &mut Vec<u8>, answer: &Result<Vec<u8>, NoAnswer>) {
    match answer {
        Ok(answer) => {
            out.put_u8(0);
            out.put_octets(answer);
        }
        Err(NoAnswer::Nobody(topic)) => put_reason(out, 1, topic),
        Err(NoAnswer::TooLarge) => out.put_u8(2),
        Err(NoAnswer::Other(reason)) => put_reason(out, 3, reason),
    }
}

fn answer(reader: &mut Reader<'_>) -> Result<Result<Vec<u8>, NoAnswer>, DecodeError> {
    Ok(match reader.u8()? {
        0 => Ok(reader.octets("an answer", ASK_OCTETS_MAX)?.to_vec()),
        1 => Err(NoAnswer::Nobody(reason(reader)?)),
        2 => Err(NoAnswer::TooLarge),
        3 => Err(NoAnswer::Other(reason(reader)?)),
        _ => return Err(DecodeError::Tag("an answer")),
    })
}

fn put_failure(out: &mut Vec<u8>, failure: &Failure) {
    let mut put = |tag, seq: &Seq| {
        out.put_u8(tag);
        out.put_u64(seq.0);
    };
    match failure {
        Failure::Compacted(first) => put(1, first),
        Failure::Ahead(last) => put(2, last),
        Failure::Diverged(at) => put(3, at),
        Failure::Other(reason) => put_reason(out, 4, reason),
    }
}

fn failure(reader: &mut Reader<'_>) -> Result<Failure, DecodeError> {
    Ok(match reader.u8()? {
        1 => Failure::Compacted(reader.seq()?),
        2 => Failure::Ahead(reader.seq()?),
        3 => Failure::Diverged(reader.seq()?),
        4 => Failure::Other(reason(reader)?),
        _ => return Err(DecodeError::Tag("a failure")),
    })
}

fn put_reason(out: &mut Vec<u8>, tag: u8, reason: &str) {
    out.put_u8(tag);
    out.put_octets(&reason.as_bytes()[..reason.floor_char_boundary(REASON_OCTETS_MAX)]);
}

fn reason(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    Ok(reader.text("a reason", REASON_OCTETS_MAX)?.to_owned())
}
