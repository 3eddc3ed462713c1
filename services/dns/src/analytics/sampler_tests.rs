use super::*;
use crate::{name::encode, rate::Limited, wire::Rcode};

const ASKER: Asker = Asker::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), Transport::Udp);

fn answered() -> Answered {
    Answered {
        rcode: Rcode::NxDomain,
        qtype: Some(28),
        zone: Some(ZoneId::from_bytes([1; 16])),
        truncated: false,
        signatures: 0,
        ttl: None,
        limited: None,
    }
}

fn question(name: &str) -> Vec<u8> {
    [&[0; HEADER_OCTETS][..], &encode(name), &[0, 28, 0, 1]].concat()
}

/// Runs on a thread of its own, whose turn nobody else has changed.
fn alone(test: impl FnOnce(&Sampler) + Send) {
    let sampler = Sampler::new(Counter::default());
    std::thread::scope(|scope| scope.spawn(|| test(&sampler)).join().unwrap());
}

#[test]
fn every_answer_about_a_zone_is_told_of_while_there_are_few() {
    alone(|sampler| {
        let v6 = Asker::new("2001:db8::1".parse().unwrap(), Transport::Quic);
        sampler.answered(&question("WWW.Example.COM"), ASKER, &answered());
        sampler.answered(&question("b.example.com"), v6, &answered());
        let mapped = Asker { address: "::ffff:192.0.2.1".parse().unwrap(), ..ASKER };
        sampler.answered(&question("c.example.com"), mapped, &answered());
        // These are of no zone, or were not said.
        sampler.answered(&question("d.example.com"), ASKER, &Answered { zone: None, ..answered() });
        let dropped = Answered { limited: Some(Limited::Dropped), ..answered() };
        sampler.answered(&question("e.example.com"), ASKER, &dropped);
        let mut rows = Vec::new();
        assert_eq!(sampler.empty(|sample| rows.push((sample.row(), sample.weight))), 1);
        let row = |name: &str, streamed, v6| Row { name: name.into(), qtype: 28, rcode: 3, streamed, v6 };
        let expected = [
            row("www.example.com", false, false),
            row("b.example.com", true, true),
            row("c.example.com", false, false),
        ];
        assert_eq!(rows, expected.map(|row| (row, 1)));
    });
}

/// So many answers between two times that the queue is emptied.
fn flood(sampler: &Sampler, answers: u64, question: &[u8]) -> u64 {
    for _ in 0..answers {
        sampler.answered(question, ASKER, &answered());
    }
    let mut weight = 0;
    sampler.empty(|sample| weight += u64::from(sample.weight));
    weight
}

#[test]
fn of_a_flood_some_are_told_of_and_stand_for_all() {
    alone(|sampler| {
        const ANSWERS: u64 = 200_000;
        let question = question("www.example.com");
        for _ in 0..12 {
            flood(sampler, ANSWERS, &question);
        }
        let lost = sampler.uncounted.get();
        assert!(lost > 0, "the first found the queue full");
        let counted: u64 = (0..20).map(|_| flood(sampler, ANSWERS, &question)).sum();
        assert_eq!(sampler.uncounted.get(), lost, "by now there is place for all that are taken");
        let off = counted.abs_diff(20 * ANSWERS);
        assert!(off < ANSWERS, "{counted} of {}: not more than one in twenty off", 20 * ANSWERS);
        // When it is over, everything is told of again, once a thread has come to the end of its last interval.
        for _ in 0..60 {
            flood(sampler, 10, &question);
        }
        assert_eq!(flood(sampler, 10, &question), 10);
    });
}
