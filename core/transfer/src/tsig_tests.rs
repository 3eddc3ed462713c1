//! Both sides against each other, and against another implementation's octets.

use proptest::prelude::*;
use proxima_wire::flag;

use super::*;
use crate::message;

const ZONE: &[u8] = b"\x07example\x03com\x00";
const NOW: u64 = 1_767_225_600;

fn key() -> Key {
    Key::new(b"\x04peer\x00", TsigAlgorithm::HmacSha256, &[7; 32])
}

fn asked() -> (Vec<u8>, Exchange) {
    let mut question = message::question(0x1234, 0, ZONE, rtype::AXFR);
    let exchange = Exchange::ask(&key(), &mut question, NOW);
    (question, exchange)
}

fn check(message: &[u8], keys: &[Key], now: u64) -> Result<Result<Exchange, Box<Refusal>>, Malformed> {
    Exchange::check(message, &find(message)?.ok_or(Malformed)?, keys, now)
}

/// An answer without records.
fn answer() -> Vec<u8> {
    message::question(0x1234, flag::QR, ZONE, rtype::AXFR)
}

#[test]
fn a_question_is_known_by_its_key_and_an_answer_of_many_messages_by_the_one_before_each() {
    for algorithm in TsigAlgorithm::ALL {
        let key = Key::new(b"\x04peer\x00", algorithm, &[9; 40]);
        let mut question = message::question(1, 0, ZONE, rtype::AXFR);
        let length = question.len();
        let mut asker = Exchange::ask(&key, &mut question, NOW);
        assert_eq!(question.len() - length, key.record_octets());
        let mut answerer = check(&question, &[self::key(), key.clone()].map(|known| known), NOW);
        if algorithm == TsigAlgorithm::HmacSha256 {
            // Two keys of one name: the first counts.
            answerer = check(&question, std::slice::from_ref(&key), NOW);
        } else {
            assert_eq!(answerer.unwrap().unwrap_err().error, TsigError::BadKey);
            answerer = check(&question, std::slice::from_ref(&key), NOW);
        }
        let mut answerer = answerer.unwrap().unwrap();
        assert!(!asker.is_whole());
        for _ in 0..3 {
            let mut message = answer();
            answerer.sign(&mut message, 0, NOW + 1);
            assert_eq!(asker.take(&message, NOW + 2), Ok(answer()));
            assert!(asker.is_whole());
        }
    }
}

#[test]
fn messages_between_two_signed_ones_need_no_signature_but_the_first_and_the_last() {
    let (question, mut asker) = asked();
    assert_eq!(asker.clone().take(&answer(), NOW), Err(AnswerError::Unsigned));
    let mut answerer = check(&question, &[key()], NOW).unwrap().unwrap();
    let mut first = answer();
    answerer.sign(&mut first, 0, NOW);
    asker.take(&first, NOW).unwrap();
    for _ in 0..UNSIGNED_MAX {
        answerer.held.extend_from_slice(&answer());
        asker.take(&answer(), NOW).unwrap();
    }
    assert!(!asker.is_whole());
    assert_eq!(asker.clone().take(&answer(), NOW), Err(AnswerError::Unsigned));
    let mut last = answer();
    answerer.sign(&mut last, 0, NOW);
    asker.take(&last, NOW).unwrap();
    assert!(asker.is_whole());
}

#[test]
fn what_is_wrong_with_a_question_is_said_in_the_protocols_form() {
    let (question, asker) = asked();
    let refused = |keys: &[Key], message: &[u8], now| check(message, keys, now).unwrap().unwrap_err();
    let told = |refusal: Box<Refusal>, now| {
        let (mut message, octets) = (answer(), refusal.octets());
        let before = message.len();
        refusal.sign(&mut message, 0, now);
        assert!(message.len() - before <= octets + 6);
        (find(&message).unwrap().unwrap(), asker.clone().take(&message, now))
    };

    let unknown = refused(&[], &question, NOW);
    let (tsig, taken) = told(unknown, NOW);
    assert_eq!((tsig.error, tsig.mac.len(), taken), (17, 0, Err(AnswerError::Refused(TsigError::BadKey))));

    let other = Key::new(b"\x04peer\x00", TsigAlgorithm::HmacSha256, &[8; 32]);
    let (tsig, taken) = told(refused(&[other], &question, NOW), NOW);
    assert_eq!((tsig.error, tsig.mac.len(), taken), (16, 0, Err(AnswerError::Refused(TsigError::BadSig))));

    let late = NOW + u64::from(FUDGE_SECONDS) + 1;
    assert!(check(&question, &[key()], late - 1).unwrap().is_ok());
    let (tsig, taken) = told(refused(&[key()], &question, late), late);
    assert_eq!((tsig.error, tsig.mac.len(), tsig.time), (18, 32, NOW));
    assert_eq!(tsig.other, late.to_be_bytes()[2..]);
    assert_eq!(taken, Err(AnswerError::Refused(TsigError::BadTime)), "and its signature is good");
}

#[test]
fn a_short_signature_is_none_or_too_short() {
    let short = |octets: usize| {
        let mut message = message::question(0x1234, 0, ZONE, rtype::AXFR);
        let mut tsig = Tsig::of(&key(), 0x1234, NOW);
        let mac = hmac::sign(&key().secret, &[&message[..], &tsig.variables()].concat());
        tsig.mac = mac.as_ref()[..octets].to_vec();
        tsig.append(&mut message, 0);
        check(&message, &[key()], NOW)
    };
    assert!(short(32).unwrap().is_ok());
    for octets in [16, 31] {
        assert_eq!(short(octets).unwrap().unwrap_err().error, TsigError::BadTrunc);
    }
    for octets in [0, 9, 15] {
        assert_eq!(short(octets).err(), Some(Malformed));
    }
}

#[test]
fn an_answer_that_was_changed_or_comes_late_is_not_taken() {
    let (question, asker) = asked();
    let mut message = answer();
    check(&question, &[key()], NOW).unwrap().unwrap().sign(&mut message, 0, NOW);
    for at in 2..message.len() {
        let mut changed = message.clone();
        changed[at] ^= 1;
        assert!(asker.clone().take(&changed, NOW).is_err(), "octet {at}");
    }
    assert_eq!(asker.clone().take(&message, NOW + 301), Err(AnswerError::Time));
    assert!(asker.clone().take(&message, NOW + 300).is_ok());
}

#[test]
fn a_signature_that_is_not_last_or_comes_twice_is_malformed() {
    let (question, _) = asked();
    let mut twice = question.clone();
    Exchange::ask(&key(), &mut twice, NOW);
    assert_eq!(find(&twice), Err(Malformed));
    let mut longer = question.clone();
    longer.push(0);
    assert_eq!(find(&longer), Err(Malformed));
    let mut elsewhere = question;
    // As an answer, not beside it.
    elsewhere.swap(7, 11);
    assert_eq!(find(&elsewhere), Err(Malformed));
    assert_eq!(find(&answer()), Ok(None));
}

proptest! {
    #[test]
    fn no_octets_panic(octets in prop::collection::vec(any::<u8>(), 0..200), at in 0..100_usize, octet: u8) {
        let _ = find(&octets);
        let (mut question, mut exchange) = asked();
        let at = at % question.len();
        question[at] = octet;
        let _ = check(&question, &[key()], NOW);
        question.truncate(at);
        let _ = find(&question);
        let _ = exchange.take(&octets, NOW);
    }
}
