//! Zones that take long to compile, asked for over real sockets.

use anyhow::{Result, ensure};
use proxima_ledger::Change;
use proxima_model::{
    PrimarySoa, Record, RecordId, SecondaryZone, TransferFailure, TransferredRecord, TsigAlgorithm, Zone,
    ZoneId, ZoneIndex,
};
use proxima_transfer::{Exchange, Key, message};
use proxima_wire::rtype;
use tokio::{io::AsyncWriteExt as _, net::UdpSocket};

use crate::{
    sockets::{Running, framed, read_answer, with_node},
    support::{Question, describe, record, zone},
    transfers::{NOTAUTH, SECRET, ZONE, listed, now, peer, rcode, transfer_or_answer, tsig_key},
};

fn id_of(number: u16) -> RecordId {
    RecordId::from_bytes(std::array::from_fn(|at| match at {
        0 => 0xff,
        1 => 0,
        2.. => number.to_be_bytes()[at % 2],
    }))
}

/// Records that make the node's zone large, and the zone itself.
fn large(running: &Running, last: u8) -> Result<Vec<Change>> {
    let zone = zone("example.com");
    let replica = &running.node.replica;
    let mut changes =
        vec![replica.put(&zone), replica.put(&ZoneIndex { name: zone.name.clone(), zone: zone.id })];
    for number in 0..1_100 {
        let line = format!("host{number} 300 A 192.0.2.{last}");
        changes.push(replica.put(&Record { id: id_of(number), ..record(&zone, &line)? }));
    }
    Ok(changes)
}

/// The zone is there no more, but for its records.
fn gone() -> Vec<Change> {
    let zone = zone("example.com");
    vec![Change::delete::<Zone>(&zone.id), Change::delete::<ZoneIndex>(&zone.name)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_zone_is_compiled_by_no_thread_that_answers() -> Result<()> {
    with_node("", async |running| {
        running.change(large(running, 9)?).await?;
        // Nobody asked before: each waits for the one compilation, over whatever it comes.
        let (first, last) = (Question::new("host0.example.com", 1), Question::new("host1099.example.com", 1));
        let by_tcp = async {
            let mut stream = running.connect().await?;
            stream.write_all(&framed(&last)).await?;
            read_answer(&mut stream).await
        };
        let answers = tokio::try_join!(running.ask(&first), running.ask(&last), running.ask(&first), by_tcp)?;
        let expected = |name: &str| format!("answer {name}.example.com. 300 IN A 192.0.2.9");
        ensure!(answers.0[1] == expected("host0") && answers.2 == answers.0, "{answers:?}");
        ensure!(answers.1[1] == expected("host1099") && answers.3 == answers.1, "{answers:?}");
        ensure!(running.service.zones_compiled() == [0, 1, 0], "{:?}", running.service.zones_compiled());
        // It changes, and is there at once when that is in force.
        let zone = zone("example.com");
        let changed = Record { id: id_of(0), ..record(&zone, "host0 300 A 192.0.2.10")? };
        running.change(vec![running.node.replica.put(&changed)]).await?;
        let answer = running.ask(&first).await?;
        ensure!(answer[1].ends_with("192.0.2.10"), "{answer:?}");
        let [for_requests, aside, ahead] = running.service.zones_compiled();
        ensure!((for_requests, aside) == (0, 1) && ahead >= 1, "{for_requests} {aside} {ahead}");
        let metrics = running.node.metrics.encode();
        let compiled = format!("proxima_dns_zones_compiled_total{{why=\"changed\"}} {ahead}\n");
        ensure!(metrics.contains(&compiled) && metrics.contains("proxima_dns_zones_kept 1\n"), "{metrics}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_only_noted_about_a_secondary_zone_has_nothing_compiled() -> Result<()> {
    with_node("", async |running| {
        let (zone, replica) = (zone("example.com"), &running.node.replica);
        let soa = [&[0; 2][..], &[7_u32, 1, 1, 1, 1].map(u32::to_be_bytes).concat()].concat();
        let soa = Some(PrimarySoa { ttl: 60, data: soa });
        let served = SecondaryZone { soa, generation: 1, ..SecondaryZone::new(zone.id) };
        let mut changes = vec![replica.put(&served)];
        for number in 0..1_100 {
            let line = format!("host{number} 300 A 192.0.2.9");
            let record = Record { id: id_of(number), ..record(&zone, &line)? };
            changes.push(replica.put(&TransferredRecord { record, from: 1, until: None, wire: None }));
        }
        running.change(changes).await?;
        let question = Question::new("host0.example.com", 1);
        ensure!(running.ask(&question).await?[1].ends_with("192.0.2.9"));
        let compiled = running.service.zones_compiled();
        // A primary was heard, another one was not, somebody stages a transfer, and something of it is there.
        let at = Some(running.node.clock.now());
        let failure = Some(TransferFailure { at: running.node.clock.now(), message: "silent".to_owned() });
        let noted = SecondaryZone { checked_at: at, failure, staging: Some(1), ..served.clone() };
        let staged = Record { id: id_of(2_000), ..record(&zone, "host0 300 A 192.0.2.10")? };
        let staged = TransferredRecord { record: staged, from: 2, until: None, wire: None };
        running.change(vec![replica.put(&noted), replica.put(&staged)]).await?;
        ensure!(running.ask(&question).await?[1].ends_with("192.0.2.9"));
        ensure!(running.service.zones_compiled() == compiled, "{:?}", running.service.zones_compiled());
        // Nobody was heard for too long.
        let expired = SecondaryZone { expired: true, ..noted };
        running.change(vec![replica.put(&expired)]).await?;
        ensure!(running.ask(&question).await?[0].contains("SERVFAIL"));
        running.change(vec![replica.put(&SecondaryZone { generation: 2, ..served })]).await?;
        ensure!(running.ask(&question).await?.len() == 3, "both addresses");
        ensure!(
            running.service.zones_compiled()[2] == compiled[2] + 2,
            "{:?}",
            running.service.zones_compiled()
        );
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_makes_up_signatures_has_no_zone_compiled_and_a_peer_waits_without_a_thread() -> Result<()> {
    with_node("", async |running| {
        running.change(large(running, 1)?).await?;
        running.change(listed(running, &peer(Some("127.0.0.1"), true), true)).await?;
        // Asked about a name of the large zone and its apex, with a key that is nobody's.
        let nobodys = Key::new(b"\x05other\x03key\x00", TsigAlgorithm::HmacSha256, &SECRET);
        let host = [b"\x05host0", ZONE].concat();
        for name in [ZONE, &host] {
            let mut question = message::question(0x1234, 0, name, rtype::A);
            Exchange::ask(&nobodys, &mut question, now(running));
            let answer = transfer_or_answer(running, &question, rtype::A).await?;
            ensure!(rcode(&answer) == NOTAUTH, "{answer:?}");
        }
        ensure!(running.service.zones_compiled() == [0, 0, 0], "{:?}", running.service.zones_compiled());
        // A peer's signed question and its question for differences wait for it, and are answered.
        let ours = Key::from(&tsig_key());
        let soa = [&[0; 2][..], &[0, 0, 0, 7], &[0; 16]].concat();
        let questions = [
            (message::question(0x1234, 0, &host, rtype::A), rtype::A),
            (message::differences(0x1234, ZONE, &soa), rtype::SOA),
        ];
        for (number, (mut question, kind)) in (1..).zip(questions) {
            let mut exchange = Exchange::ask(&ours, &mut question, now(running));
            let answer = transfer_or_answer(running, &question, kind).await?;
            ensure!(exchange.take(&answer[0], now(running)).is_ok() && rcode(&answer) == 0, "{answer:?}");
            let found = message::answers(&answer[0])?;
            ensure!(found.len() == 1 && found[0].rtype == kind, "{found:?}");
            let compiled = running.service.zones_compiled();
            ensure!(compiled == [0, number, 0], "by no thread that answers: {compiled:?}");
            // It is cold again for the next one, and as it was.
            running.change(gone()).await?;
            running.change(large(running, 1)?).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whether_a_zone_beneath_exists_is_told_without_compiling_it() -> Result<()> {
    with_node("", async |running| {
        let beneath = Zone { id: ZoneId::from_bytes([8; 16]), ..zone("a.b.example.com") };
        let index = ZoneIndex { name: beneath.name.clone(), zone: beneath.id };
        running.change(vec![running.node.replica.put(&beneath), running.node.replica.put(&index)]).await?;
        let answer = running.ask(&Question::new("b.example.com", 1)).await?;
        ensure!(answer[0].contains("NOERROR"), "{answer:?}");
        let answer = running.ask(&Question::new("c.example.com", 1)).await?;
        ensure!(answer[0].contains("NXDOMAIN"), "{answer:?}");
        ensure!(running.service.zones_compiled()[0] == 1, "{:?}", running.service.zones_compiled());
        Ok(())
    })
    .await
}

/// Many ask at once for names of a zone that is not compiled: each name has its own rate, however it is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_about_a_zone_that_is_not_compiled_count_as_what_they_are() -> Result<()> {
    with_node("rate_limit_per_second = 2\nrate_limit_slip = 0\nrate_limit_exempt = []\n", async |running| {
        running.change(large(running, 1)?).await?;
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.connect(running.address).await?;
        const QUESTIONS: usize = 40;
        for number in 0..QUESTIONS {
            socket.send(&Question::new(&format!("host{number}.example.com"), 1).encode()).await?;
        }
        let mut buffer = [0; 4096];
        for _ in 0..QUESTIONS {
            let length = socket.recv(&mut buffer).await?;
            ensure!(describe(&buffer[..length])?[1].ends_with("192.0.2.1"), "{:?}", &buffer[..length]);
        }
        Ok(())
    })
    .await
}
