//! Transfers and NOTIFY, as their invariants have it: what a serial stands for, what is never in a transfer, what is
//! acknowledged.

use std::sync::atomic::Ordering;

use anyhow::{Result, ensure};
use domain::base::Message;
use proxima_model::{
    AcmeOrder, IncomingTransfers, Record, RecordId, Timestamp, TransferPeer, TransferPeerId, TsigAlgorithm,
    Zone,
};
use proxima_transfer::{Exchange, Key, message};
use proxima_wire::{flag, rtype};

use crate::{
    sockets::with_node,
    support::{record, zone},
    transfers::{
        NOTAUTH, REFUSED, SECRET, ZONE, axfr, listed, now, peer, rcode, transfer_or_answer, tsig_key,
    },
};

const SERVFAIL: u8 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primarys_word_is_acknowledged_only_if_it_is_taken() -> Result<()> {
    with_node("", async |running| {
        let incoming = coming_from_peer();
        let replica = &running.node.replica;
        running.change(vec![replica.put(&peer(Some("127.0.0.1"), false)), replica.put(&incoming)]).await?;
        let notify = message::question(1, flag::NOTIFY | flag::AA, ZONE, rtype::SOA);
        running.notices.room.store(1, Ordering::SeqCst);
        for (expected, known) in [(0, 1), (SERVFAIL, 1)] {
            let answer = transfer_or_answer(running, &notify, rtype::SOA).await?;
            ensure!(rcode(&answer) == expected, "{answer:?}");
            let zones = running.notices.zones.lock().expect("a lock").clone();
            ensure!(zones == vec![incoming.zone; known], "{zones:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_primary_of_a_zone_is_not_heard() -> Result<()> {
    with_node("", async |running| {
        let replica = &running.node.replica;
        let asked = async |zone: &[u8], key: Option<&Key>| {
            let mut notify = message::question(1, flag::NOTIFY | flag::AA, zone, rtype::SOA);
            key.map(|key| Exchange::ask(key, &mut notify, now(running)));
            Ok::<_, anyhow::Error>(rcode(&transfer_or_answer(running, &notify, rtype::SOA).await?))
        };
        running.notices.room.store(9, Ordering::SeqCst);
        ensure!(asked(ZONE, None).await? == REFUSED, "it has no primaries");
        let other = b"\x07example\x03org\x00";
        ensure!(asked(other, None).await? == NOTAUTH, "it is not here");
        running.change(vec![replica.put(&tsig_key()), replica.put(&coming_from_peer())]).await?;
        let ours = Key::from(&tsig_key());
        let strange = Key::new(b"\x05other\x03key\x00", TsigAlgorithm::HmacSha256, &SECRET);
        let wrong = Key::new(b"\x04peer\x03key\x00", TsigAlgorithm::HmacSha256, &[0x5b; 32]);
        // From elsewhere, and from there without its key or with another one.
        running.change(vec![replica.put(&peer(Some("192.0.2.9"), false))]).await?;
        ensure!(asked(ZONE, None).await? == REFUSED, "another address");
        running.change(vec![replica.put(&peer(Some("127.0.0.1"), true))]).await?;
        ensure!(asked(ZONE, None).await? == REFUSED, "no key");
        for key in [&strange, &wrong] {
            ensure!(asked(ZONE, Some(key)).await? == NOTAUTH, "another key");
        }
        // Who may have the zone from here is not who may say that it has changed.
        running.change(listed(running, &other_peer(), true)).await?;
        ensure!(asked(ZONE, None).await? == REFUSED, "it is nobody's to say");
        let zones = running.notices.zones.lock().expect("a lock").clone();
        ensure!(zones.is_empty(), "{zones:?}");
        ensure!(asked(ZONE, Some(&ours)).await? == 0, "the primary itself is heard");
        let zones = running.notices.zones.lock().expect("a lock").clone();
        ensure!(zones == [zone("example.com").id], "{zones:?}");
        Ok(())
    })
    .await
}

/// That the zone comes from the peer.
fn coming_from_peer() -> IncomingTransfers {
    IncomingTransfers {
        zone: zone("example.com").id,
        peers: vec![peer(None, false).id],
        refresh_seconds: 300,
        forced_at: None,
        created_at: Timestamp::default(),
        modified_at: Timestamp::default(),
    }
}

/// One that is at the tests' own address, too.
fn other_peer() -> TransferPeer {
    TransferPeer { id: TransferPeerId::from_bytes([2; 16]), ..peer(Some("127.0.0.1"), false) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_to_challenges_do_not_go_out() -> Result<()> {
    with_node("", async |running| {
        running.change(listed(running, &peer(Some("127.0.0.1"), false), true)).await?;
        let (zone, replica) = (zone("example.com"), &running.node.replica);
        let own = record(&zone, "_acme-challenge 300 TXT owner")?;
        let own = Record { id: RecordId::from_bytes([0xee; 16]), ..own };
        let challenges = vec!["answer-to-a-challenge".to_owned()];
        let order = AcmeOrder { challenges, ..AcmeOrder::new(zone.id) };
        running.change(vec![replica.put(&order)]).await?;
        let answered = running.dig("kdig", "_acme-challenge.example.com TXT").await?;
        ensure!(answered.contains("answer-to-a-challenge"), "{answered}");
        let whole = running.dig("kdig", "example.com AXFR").await?;
        ensure!(whole.contains("192.0.2.1") && !whole.contains("_acme-challenge"), "{whole}");
        running.change(vec![replica.put(&own)]).await?;
        let whole = running.dig("kdig", "example.com AXFR").await?;
        ensure!(whole.contains("\t300\tIN\tTXT\t\"owner\"") && !whole.contains("answer-to"), "{whole}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_a_serial_that_was_two_things_gets_everything() -> Result<()> {
    with_node("", async |running| {
        running.change(listed(running, &peer(Some("127.0.0.1"), false), true)).await?;
        let (mut zone, replica) = (zone("example.com"), &running.node.replica);
        let put = |zone: &Zone, line: &str, id: u8| {
            let made = Record { id: RecordId::from_bytes([id; 16]), ..record(zone, line)? };
            Ok::<_, anyhow::Error>(vec![replica.put(zone), replica.put(&made)])
        };
        let records =
            |told: &str| told.lines().filter(|line| !line.is_empty() && !line.starts_with(';')).count();
        let transfer = async |what: &str| running.dig("kdig", &format!("example.com {what}")).await;
        let whole = records(&transfer("AXFR").await?);
        // Compiled anew it is the same, as long as it says the same.
        running.change(vec![replica.put(&zone)]).await?;
        transfer("AXFR").await?;
        zone.serial = 8;
        running.change(put(&zone, "one 300 A 192.0.2.8", 0xe1)?).await?;
        let told = transfer("IXFR=7").await?;
        ensure!(records(&told) == 5 && told.contains("192.0.2.8"), "SOA, SOA, SOA, one, SOA: {told}");
        // The same serial, and something else.
        running.change(put(&zone, "two 300 A 192.0.2.9", 0xe2)?).await?;
        for _ in 0..2 {
            ensure!(transfer("AXFR").await?.contains("192.0.2.9"));
        }
        zone.serial = 9;
        running.change(put(&zone, "three 300 A 192.0.2.10", 0xe3)?).await?;
        let told = transfer("IXFR=8").await?;
        ensure!(records(&told) > whole && told.contains("192.0.2.9"), "{told}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_with_an_opt_record_gets_one() -> Result<()> {
    with_node("", async |running| {
        running.change(listed(running, &peer(Some("127.0.0.1"), true), true)).await?;
        let other = Key::new(b"\x05other\x03key\x00", TsigAlgorithm::HmacSha256, &SECRET);
        let ours = Key::from(&tsig_key());
        let differences = [&[0; 2][..], &[7_u32, 1, 1, 1, 1].map(u32::to_be_bytes).concat()].concat();
        for (question, key, over_tcp, expected) in [
            (axfr(), &ours, true, 0),
            (axfr(), &other, true, NOTAUTH),
            (message::question(1, 0, ZONE, rtype::SOA), &ours, false, 0),
            (message::question(1, 0, ZONE, rtype::SOA), &other, false, NOTAUTH),
            (message::differences(1, ZONE, &differences), &ours, false, 0),
        ] {
            for opts in [0, 1] {
                let mut question = question.clone();
                if opts == 1 {
                    question.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
                    question[11] += 1;
                }
                Exchange::ask(key, &mut question, now(running));
                let kind = if over_tcp { rtype::AXFR } else { rtype::SOA };
                let answer = transfer_or_answer(running, &question, kind).await?;
                ensure!(rcode(&answer) == expected, "{answer:?}");
                let message = Message::from_octets(answer[0].clone())?;
                ensure!(usize::from(message.opt().is_some()) == opts, "{expected} {opts}: {answer:?}");
            }
        }
        Ok(())
    })
    .await
}
