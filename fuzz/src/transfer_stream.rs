//! What a zone's other server sends: messages of a transfer, of which nothing is taken that is not the zone's, and
//! signatures, of which none is good that was not made by the key for exactly this message.

use proxima_model::TsigAlgorithm;
use proxima_transfer::{
    Exchange, Key, Tsig, message,
    stream::{Bounds, Incoming, Transfer, is_newer},
    tsig,
};
use proxima_wire::{HEADER_OCTETS, class, flag, name, record, rtype};

const ZONE: &[u8] = b"\x01a\x04test\0";
const ID: u16 = 0x4711;
const BOUNDS: Bounds = Bounds { records: 64, octets: 16 << 10 };
const NOW: u64 = 1_767_225_600;

/// The target: an octet of choices, then messages with their lengths before them.
pub fn run(octets: &[u8]) {
    let Some((&choice, rest)) = octets.split_first() else { return };
    let since = (choice & 1 != 0).then_some(u32::from(choice >> 4));
    let is_answer = choice & 2 != 0;
    let messages = messages(rest).map(|octets| {
        let mut message = octets.to_vec();
        if let Some(head) = message.first_chunk_mut::<4>().filter(|_| is_answer) {
            // So that the fuzzer need not find them.
            head[..2].copy_from_slice(&ID.to_be_bytes());
            head[2..].copy_from_slice(&flag::QR.to_be_bytes());
        }
        message
    });
    let messages: Vec<Vec<u8>> = messages.collect();
    transferred(&messages, since);
    messages.iter().for_each(|message| signed(message, choice));
}

fn messages(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (message, after) = after.split_at(after.len().min(u16::from_be_bytes(*length).into()));
        rest = after;
        Some(message)
    })
}

fn transferred(messages: &[Vec<u8>], since: Option<u32>) {
    let mut incoming = Incoming::new(ZONE.to_vec(), ID, since, BOUNDS);
    let mut is_whole = false;
    for message in messages {
        match incoming.take(message) {
            Ok(whole) => is_whole = whole,
            Err(_) => return,
        }
        if is_whole {
            break;
        }
    }
    let finished = incoming.finish();
    assert_eq!(finished.is_ok(), is_whole);
    let (soa, records) = match finished {
        Err(_) | Ok(Transfer::Nothing) => return,
        Ok(Transfer::Whole(soa, records)) => (soa, records),
        Ok(Transfer::Differences(soa, steps)) => {
            assert!(since.is_some());
            (soa, steps.into_iter().flat_map(|step| [step.gone, step.come]).flatten().collect())
        }
    };
    assert!(!is_newer(soa.serial(), soa.serial()));
    assert!(records.len() < BOUNDS.records);
    for record in records {
        assert!(name::is_within(&record.owner, ZONE) && record.class == class::IN);
        assert_ne!(record.rtype, rtype::SOA);
    }
}

fn signed(message: &[u8], choice: u8) {
    let key = Key::new(b"\x04peer\0", TsigAlgorithm::HmacSha256, b"a secret that the fuzzer does not know");
    let check = |message: &[u8], tsig: &Tsig| Exchange::check(message, tsig, std::slice::from_ref(&key), NOW);
    match tsig::find(message) {
        Err(_) => {}
        Ok(Some(tsig)) => {
            assert!(tsig.stripped(message).len() < message.len());
            assert!(!matches!(check(message, &tsig), Ok(Ok(_))), "nobody has the key");
        }
        // One more record must have a place in the header.
        Ok(None) if record::counts(message).is_ok_and(|counts| counts[3] < u16::MAX) && ends(message) => {
            let mut signed = message.to_vec();
            let mut asker = Exchange::ask(&key, &mut signed, NOW);
            let tsig = tsig::find(&signed).expect("it was read before").expect("it was signed");
            assert_eq!(tsig.stripped(&signed), message);
            assert!(matches!(check(&signed, &tsig), Ok(Ok(_))));
            // An answer that is the question is not signed as one.
            assert!(asker.take(&signed, NOW).is_err() && !asker.is_whole());
            let changed = 2 + usize::from(choice) * 7 % (signed.len() - 2);
            signed[changed] ^= 1;
            if let Ok(Some(tsig)) = tsig::find(&signed) {
                assert!(!matches!(check(&signed, &tsig), Ok(Ok(_))), "octet {changed}");
            }
        }
        Ok(None) => {}
    }
}

/// Whether a message ends where its records do.
fn ends(message: &[u8]) -> bool {
    let Ok(counts) = record::counts(message) else { return false };
    let questions = (0..counts[0]).try_fold(HEADER_OCTETS, |at, _| Some(name::read(message, at).ok()?.1 + 4));
    let records = counts[1..].iter().map(|count| u32::from(*count)).sum();
    let end = (0..records).try_fold(questions, |at, _| Some(Some(record::record_at(message, at?).ok()?.end)));
    end.flatten() == Some(message.len()) && message::head(message).is_ok()
}
