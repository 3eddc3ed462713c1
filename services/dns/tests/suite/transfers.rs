//! Transfers over real sockets: who gets a zone and who does not, and what is in it.

use anyhow::{Context as _, Result, ensure};
use domain::base::Message;
use proxima_ledger::Change;
use proxima_model::{
    AccountId, DnsName, KeyRole, OutgoingTransfers, Record, RecordId, Timestamp, TransferAcl, TransferAclId,
    TransferPeer, TransferPeerId, TsigAlgorithm, TsigKey, TsigKeyId, ZoneId,
};
use proxima_transfer::{
    Exchange, Key,
    message::{self, answers},
    tsig::{self, AnswerError, TsigError},
};
use proxima_wire::rtype;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};

use crate::{
    sockets::{Running, with_node},
    support::{new_key, record, signing, zone},
};

pub(crate) const ZONE: &[u8] = b"\x07example\x03com\x00";
pub(crate) const SECRET: [u8; 32] = [0x5a; 32];
/// The same in base 64, for programs.
const SECRET_TEXT: &str = "WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=";
pub(crate) const REFUSED: u8 = 5;
pub(crate) const NOTAUTH: u8 = 9;

fn account() -> AccountId {
    zone("example.com").account
}

pub(crate) fn tsig_key() -> TsigKey {
    TsigKey {
        id: TsigKeyId::from_bytes([1; 16]),
        account: account(),
        name: DnsName::parse("peer.key").expect("a name"),
        algorithm: TsigAlgorithm::HmacSha256,
        secret: SECRET.to_vec(),
        modified_at: Timestamp::default(),
    }
}

pub(crate) fn peer(address: Option<&str>, with_key: bool) -> TransferPeer {
    TransferPeer {
        id: TransferPeerId::from_bytes([1; 16]),
        account: account(),
        name: "the other one".to_owned(),
        address: address.map(|address| address.parse().expect("an address")),
        port: 53,
        ixfr: false,
        tsig: with_key.then(|| tsig_key().id),
        modified_at: Timestamp::default(),
    }
}

/// What it takes for the zone to be transferred to this peer.
pub(crate) fn listed(running: &Running, peer: &TransferPeer, enabled: bool) -> Vec<Change> {
    listed_for(running, zone("example.com").id, peer, enabled)
}

/// The same for another zone.
pub(crate) fn listed_for(running: &Running, zone: ZoneId, peer: &TransferPeer, enabled: bool) -> Vec<Change> {
    let outgoing = OutgoingTransfers {
        zone,
        peers: vec![peer.id],
        enabled,
        created_at: Timestamp::default(),
        modified_at: Timestamp::default(),
        forced_at: None,
    };
    let replica = &running.node.replica;
    vec![replica.put(&tsig_key()), replica.put(peer), replica.put(&outgoing)]
}

pub(crate) fn now(running: &Running) -> u64 {
    running.node.clock.now().as_seconds().unsigned_abs()
}

/// Asks over TCP; what comes until a message has an error or the second SOA record has come.
async fn transfer(running: &Running, question: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut stream = TcpStream::connect(running.address).await?;
    stream.write_u16(u16::try_from(question.len())?).await?;
    stream.write_all(question).await?;
    let (mut messages, mut seen) = (Vec::new(), 0);
    while seen < 2 {
        let mut message = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut message).await?;
        let found = answers(&message)?;
        let is_error = message[3] & 0xf != 0 || found.is_empty();
        seen += found.iter().filter(|record| record.rtype == rtype::SOA).count();
        messages.push(message);
        if is_error {
            break;
        }
    }
    Ok(messages)
}

pub(crate) fn rcode(messages: &[Vec<u8>]) -> u8 {
    messages[0][3] & 0xf
}

pub(crate) fn axfr() -> Vec<u8> {
    message::question(0x1234, 0, ZONE, rtype::AXFR)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_goes_whole_to_its_peer_and_to_nobody_else() -> Result<()> {
    with_node("", async |running| {
        let plain = async || Ok::<_, anyhow::Error>(rcode(&transfer(running, &axfr()).await?));
        ensure!(plain().await? == REFUSED, "nobody is listed");
        running.change(listed(running, &peer(Some("192.0.2.9"), false), true)).await?;
        ensure!(plain().await? == REFUSED, "another address");
        let acl = TransferAcl {
            id: TransferAclId::from_bytes([1; 16]),
            account: account(),
            name: String::new(),
            range: "127.0.0.0/24".parse()?,
            modified_at: Timestamp::default(),
        };
        running.change(vec![running.node.replica.put(&acl)]).await?;
        ensure!(plain().await? == 0, "a range of the account");
        running.change(vec![Change::delete::<TransferAcl>(&(acl.account, acl.id))]).await?;
        running.change(listed(running, &peer(Some("127.0.0.1"), false), false)).await?;
        ensure!(plain().await? == REFUSED, "transfers are switched off");
        running.change(listed(running, &peer(Some("127.0.0.1"), false), true)).await?;
        ensure!(plain().await? == 0, "listed");

        // Not by UDP; not what is no zone, or of another class.
        let udp = UdpSocket::bind("127.0.0.1:0").await?;
        udp.connect(running.address).await?;
        udp.send(&axfr()).await?;
        let mut buffer = [0; 4_096];
        udp.recv(&mut buffer).await?;
        ensure!(buffer[3] & 0xf == REFUSED, "over UDP");
        for (name, class, expected) in [
            (&b"\x03www\x07example\x03com\x00"[..], 1, NOTAUTH),
            (b"\x07example\x03org\x00", 1, NOTAUTH),
            (b"\x01\x00\x07example\x03com\x00", 1, NOTAUTH),
            (ZONE, 3, REFUSED),
        ] {
            let mut question = message::question(1, 0, name, rtype::AXFR);
            let end = question.len();
            question[end - 1] = class;
            let told = rcode(&transfer(running, &question).await?);
            ensure!(told == expected, "{name:?} of class {class}: {told}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_transferred_is_what_is_answered() -> Result<()> {
    with_node("", async |running| {
        running.change(listed(running, &peer(Some("127.0.0.1"), false), true)).await?;
        let mut apex = record(&zone("example.com"), "@ 60 CNAME www.example.com")?;
        apex.id = RecordId::from_bytes([0xee; 16]);
        running.change(vec![running.node.replica.put(&apex)]).await?;
        let told = running.dig("kdig", "example.com AXFR").await?;
        let lines: Vec<Vec<&str>> = told
            .lines()
            .filter(|line| !line.starts_with(';'))
            .map(|line| line.split_whitespace().collect())
            .collect();
        let has = |owner: &str, kind: &str, data: &str| {
            let fits = |line: &&Vec<&str>| line.len() > 4 && (line[0], line[3]) == (owner, kind);
            lines.iter().filter(fits).any(|line| line[4..].join(" ") == data)
        };
        for (owner, kind, data) in [
            ("example.com.", "SOA", "ns1.proxima.example. hostmaster.example.com. 7 10000 2400 604800 300"),
            ("example.com.", "NS", "ns1.proxima.example."),
            // The apex's alias, and a proxied name.
            ("example.com.", "A", "192.0.2.1"),
            ("shop.example.com.", "A", "198.18.0.1"),
            ("shop.example.com.", "A", "198.18.0.2"),
            ("shop.example.com.", "AAAA", "fd00:198:18::1"),
            ("www.example.com.", "A", "192.0.2.1"),
            ("alias.example.com.", "CNAME", "www.example.com."),
            ("*.wild.example.com.", "TXT", "\"wildcard\""),
            ("sub.example.com.", "NS", "ns.sub.example.com."),
            ("ns.sub.example.com.", "A", "192.0.2.53"),
        ] {
            ensure!(has(owner, kind, data), "{owner} {kind} {data} is missing in {told}");
        }
        ensure!(lines.iter().any(|line| line[0] == "shop.example.com." && line[3] == "HTTPS"), "{told}");
        ensure!(!has("shop.example.com.", "A", "192.0.2.2"), "{told}");
        ensure!(!has("example.com.", "CNAME", "www.example.com."), "{told}");
        ensure!(lines.first() == lines.last() && lines[0][3] == "SOA", "from SOA to SOA: {told}");

        // Signed on line, it goes without signatures and keys.
        let keys = signing(&zone("example.com"), vec![new_key(KeyRole::Active)]);
        running.change(vec![running.node.replica.put(&keys)]).await?;
        ensure!(running.dig("kdig", "+dnssec example.com DNSKEY").await?.contains("RRSIG"), "it is signed");
        let told = running.dig("kdig", "+dnssec example.com AXFR").await?;
        ensure!(told.contains("192.0.2.53"), "{told}");
        for kind in ["RRSIG", "DNSKEY", "NSEC", "CDS", "CDNSKEY"] {
            ensure!(!told.contains(&format!("\t{kind}\t")), "{kind} in {told}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_zone_goes_in_many_full_messages_each_of_which_is_signed() -> Result<()> {
    with_node("", async |running| {
        running.change(listed(running, &peer(None, true), true)).await?;
        let zone = zone("example.com");
        let mut changes = Vec::new();
        for number in 0..4_000_u16 {
            let mut id = [0x77; 16];
            id[..2].copy_from_slice(&number.to_be_bytes());
            let line = format!("host-{number} 300 A 192.0.2.{}", number % 250);
            changes.push(
                running.node.replica.put(&Record { id: RecordId::from_bytes(id), ..record(&zone, &line)? }),
            );
        }
        running.change(changes).await?;
        let mut question = axfr();
        let mut exchange = Exchange::ask(&Key::from(&tsig_key()), &mut question, now(running));
        let messages = transfer(running, &question).await?;
        ensure!(messages.len() > 4, "{} messages", messages.len());
        let mut hosts = 0;
        for (number, message) in messages.iter().enumerate() {
            let taken = exchange.take(message, now(running))?;
            ensure!(exchange.is_whole(), "message {number} is not signed");
            Message::from_octets(&taken[..])?;
            hosts += answers(&taken)?.iter().filter(|record| record.owner[1..].starts_with(b"host-")).count();
            let is_last = number + 1 == messages.len();
            ensure!(is_last || message.len() > 15_000, "message {number} has {} octets", message.len());
        }
        ensure!(hosts == 4_000, "{hosts}");
        // A client that leaves in the middle takes its place with it, and no more.
        for _ in 0..40 {
            let mut stream = TcpStream::connect(running.address).await?;
            let mut question = axfr();
            Exchange::ask(&Key::from(&tsig_key()), &mut question, now(running));
            stream.write_u16(u16::try_from(question.len())?).await?;
            stream.write_all(&question).await?;
            stream.read_u16().await?;
        }
        let arguments = format!("-y hmac-sha256:peer.key:{SECRET_TEXT} example.com AXFR");
        let told = running.dig("kdig", &arguments).await?;
        ensure!(told.contains("host-3999.example.com.") && !told.contains("WARNING"), "{told}");
        let told = running.dig("dig", &format!("+short {arguments}")).await?;
        ensure!(told.lines().count() > 4_000, "{}", told.lines().count());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_is_refused_in_the_protocols_form() -> Result<()> {
    with_node("", async |running| {
        running.change(listed(running, &peer(Some("127.0.0.1"), true), true)).await?;
        let ours = Key::from(&tsig_key());
        let other_name = Key::new(b"\x05other\x03key\x00", TsigAlgorithm::HmacSha256, &SECRET);
        let other_secret = Key::new(ours.name(), TsigAlgorithm::HmacSha256, &[1; 32]);
        let other_hash = Key::new(ours.name(), TsigAlgorithm::HmacSha512, &SECRET);
        ensure!(rcode(&transfer(running, &axfr()).await?) == REFUSED, "unsigned");
        let at = now(running);
        for (key, time, expected) in [
            (&ours, at, None),
            (&ours, at - 200, None),
            (&ours, at - 400, Some(TsigError::BadTime)),
            (&ours, at + 400, Some(TsigError::BadTime)),
            (&other_name, at, Some(TsigError::BadKey)),
            (&other_hash, at, Some(TsigError::BadKey)),
            (&other_secret, at, Some(TsigError::BadSig)),
        ] {
            for kind in [rtype::AXFR, rtype::SOA] {
                let mut question = message::question(0x1234, 0, ZONE, kind);
                let mut exchange = Exchange::ask(key, &mut question, time);
                let messages = transfer_or_answer(running, &question, kind).await?;
                let taken = exchange.take(&messages[0], at);
                match expected {
                    None => {
                        ensure!(taken.is_ok() && rcode(&messages) == 0, "{key:?} {time} {kind}: {taken:?}")
                    }
                    Some(error) => {
                        ensure!(
                            taken == Err(AnswerError::Refused(error)),
                            "{key:?} {time} {kind}: {taken:?}"
                        );
                        ensure!(rcode(&messages) == NOTAUTH, "{error:?}");
                    }
                }
            }
        }
        // Cut off, it is none.
        let mut question = axfr();
        let length = question.len();
        Exchange::ask(&ours, &mut question, at);
        let cut = question[..question.len() - 1].to_vec();
        ensure!(tsig::find(&cut).is_err() && rcode(&transfer(running, &cut).await?) == 1, "cut off");
        question[length + 20] ^= 1;
        ensure!(rcode(&transfer(running, &question).await?) != 0, "changed");
        Ok(())
    })
    .await
}

/// Transfers are asked over TCP, all else in a datagram.
pub(crate) async fn transfer_or_answer(
    running: &Running,
    question: &[u8],
    kind: u16,
) -> Result<Vec<Vec<u8>>> {
    if kind == rtype::AXFR {
        return transfer(running, question).await;
    }
    let udp = UdpSocket::bind("127.0.0.1:0").await?;
    udp.connect(running.address).await?;
    udp.send(question).await?;
    let mut buffer = vec![0; 4_096];
    let length = udp.recv(&mut buffer).await.context("an answer")?;
    buffer.truncate(length);
    Ok(vec![buffer])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_up_to_date_gets_the_soa_record_and_who_asks_in_a_datagram_too() -> Result<()> {
    with_node("", async |running| {
        running.change(listed(running, &peer(Some("127.0.0.1"), false), true)).await?;
        let mut soa = b"\x00\x00".to_vec();
        let ask = |serial: u32, soa: &mut Vec<u8>| {
            soa.truncate(2);
            soa.extend([serial, 1, 1, 1, 1].into_iter().flat_map(u32::to_be_bytes));
            message::differences(0x1234, ZONE, soa)
        };
        for (serial, in_a_datagram, expected) in
            [(7, false, 1), (8, false, 1), (7, true, 1), (6, true, 1), (6, false, 20)]
        {
            let question = ask(serial, &mut soa);
            let messages = if in_a_datagram {
                transfer_or_answer(running, &question, rtype::SOA).await?
            } else {
                let mut stream = TcpStream::connect(running.address).await?;
                stream.write_u16(u16::try_from(question.len())?).await?;
                stream.write_all(&question).await?;
                let mut message = vec![0; stream.read_u16().await?.into()];
                stream.read_exact(&mut message).await?;
                vec![message]
            };
            let records = answers(&messages[0])?;
            ensure!(messages[0][2] & 0x80 != 0 && records[0].rtype == rtype::SOA);
            ensure!(records.len() == 1 || records.len() >= expected && expected > 1, "{serial}: {records:?}");
            ensure!((records.len() == 1) == (expected == 1), "{serial}: {}", records.len());
        }
        let question = message::question(1, 0, ZONE, rtype::IXFR);
        ensure!(rcode(&transfer(running, &question).await?) == 1, "from no serial there are no differences");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_goes_over_tls_too() -> Result<()> {
    with_node("listen_tls = [\"127.0.0.1:0\"]", async |running| {
        running.change(listed(running, &peer(Some("127.0.0.1"), true), true)).await?;
        let at = running.addresses.tls[0];
        let arguments = format!("+tls -y hmac-sha256:peer.key:{SECRET_TEXT} example.com AXFR");
        let told = running.dig_at(at, "kdig", &arguments).await?;
        ensure!(told.contains("192.0.2.53") && told.matches("SOA").count() >= 2, "{told}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_had_a_zone_from_here_gets_what_changed_since() -> Result<()> {
    with_node("", async |running| {
        running.change(listed(running, &peer(Some("127.0.0.1"), true), true)).await?;
        let key = format!("-y hmac-sha256:peer.key:{SECRET_TEXT} example.com");
        let ixfr = async |serial: u32| running.dig("kdig", &format!("{key} IXFR={serial}")).await;
        let records = |told: &str| {
            told.lines()
                .filter(|line| !line.is_empty() && !line.starts_with(';') && !line.contains("TSIG"))
                .count()
        };
        let whole = records(&running.dig("kdig", &format!("{key} AXFR")).await?);
        let change = async |serial: u32, line: &str, id: u8, gone: Option<u8>| {
            let mut zone = zone("example.com");
            zone.serial = serial;
            let replica = &running.node.replica;
            let made = Record { id: RecordId::from_bytes([id; 16]), ..record(&zone, line)? };
            let mut changes = vec![replica.put(&zone), replica.put(&made)];
            changes.extend(
                gone.map(|gone| Change::delete::<Record>(&(zone.id, RecordId::from_bytes([gone; 16])))),
            );
            running.change(changes).await
        };
        change(8, "one 300 A 192.0.2.8", 0xe1, None).await?;
        let told = ixfr(7).await?;
        ensure!(records(&told) == 5 && told.contains("192.0.2.8"), "SOA, SOA, SOA, one, SOA: {told}");
        change(9, "two 300 A 192.0.2.9", 0xe2, Some(0xe1)).await?;
        change(10, "www 60 A 192.0.2.1", 0, None).await?;
        // The one step that this server has not seen is passed over.
        for (serial, added) in [(8, "two"), (7, "two")] {
            let told = ixfr(serial).await?;
            let lines: Vec<_> = told.lines().filter(|line| line.contains("\tA\t")).collect();
            let expected = if serial == 8 { 4 } else { 3 };
            ensure!(lines.len() == expected, "{serial}: {told}");
            ensure!(lines.iter().any(|line| line.starts_with(added)), "{told}");
            ensure!(told.contains("www.example.com.") && told.contains("\t60\tIN\tA"), "{told}");
        }
        ensure!(records(&ixfr(10).await?) == 1, "up to date");
        ensure!(records(&ixfr(5).await?) > whole, "who had it elsewhere gets everything");
        // What a flattened alias leads to changes by itself: then it is everything again.
        change(11, "@ 60 CNAME www.example.com", 0xe3, None).await?;
        ensure!(records(&ixfr(10).await?) > whole, "{}", ixfr(10).await?);
        Ok(())
    })
    .await
}
