//! Rate limits by their effect: a flood from one network, and what it leaves to others.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use anyhow::{Result, ensure};
use proxima_chassis::SimulatedClock;
use proxima_dns::{Answered, Asker, Limited, Rcode, Responder, Transport};
use proxima_model::KeyRole;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, UdpSocket},
};

use crate::{
    sockets::{Running, framed, read_answer, with_node},
    support::{Fixture, NOW, Question, describe, new_key, record, responder_at, signing, zone},
};

/// Answers a second that pass.
const RATE: u32 = 10;
/// Of which so many may come at once.
const BURST: usize = 20;

fn responder(slip: u8) -> Responder {
    let clock = Arc::new(SimulatedClock::new(NOW));
    responder_at(clock).with_rate_limit(RATE, slip, &["203.0.113.0/24".parse().expect("a network")])
}

fn fixture() -> Fixture {
    let mut fixture = Fixture::default();
    let zone = zone("example.com");
    let lines = ["www 300 A 192.0.2.1", "*.w 300 TXT text", "sub 300 NS ns.example.org"];
    let records = lines.iter().map(|line| record(&zone, line).expect("a record")).collect();
    fixture.add_signed(&zone, &signing(&zone, vec![new_key(KeyRole::Active)]), records);
    fixture
}

fn asks(responder: &Responder, client: &str, transport: Transport, question: &[u8]) -> (Answered, Vec<u8>) {
    let asker = Asker::new(client.parse().expect("an address"), transport);
    let mut out = Vec::new();
    let answered = responder.respond(&fixture(), question, asker, &mut out);
    (answered.expect("something"), out)
}

/// Asks for names that nobody asked for before, signed.
pub(crate) fn made_up(number: usize, below: &str) -> Vec<u8> {
    let mut question = Question::new(&format!("n{number}.{below}"), 16);
    question.edns().flags = 0x8000;
    question.encode()
}

#[test]
fn made_up_names_are_one_flood_and_are_not_signed_beyond_the_rate() {
    let fixture = fixture();
    for below in ["example.com", "w.example.com", "sub.example.com"] {
        let responder = responder(2);
        let asker = Asker::new([192, 0, 2, 7].into(), Transport::Udp);
        let (mut signatures, mut answers) = (0, [0; 3]);
        for number in 0..1_000 {
            let mut out = Vec::new();
            let question = made_up(number, below);
            let answered = responder.respond(&fixture, &question, asker, &mut out).expect("something");
            signatures += usize::from(answered.signatures);
            match answered.limited {
                None => answers[0] += 1,
                Some(Limited::Slipped) => {
                    answers[1] += 1;
                    assert_eq!(describe(&out).expect("an answer"), ["NOERROR tc", "opt 1232 do"]);
                    assert!(out.len() <= question.len(), "no more than was asked with");
                }
                Some(Limited::Dropped) => {
                    answers[2] += 1;
                    assert!(out.is_empty());
                }
            }
        }
        assert_eq!(answers, [BURST, 490, 490], "{below}");
        assert!(signatures <= 2 * BURST, "{signatures} signatures for {below}");
    }
}

#[test]
fn neither_others_nor_tcp_nor_cookies_nor_exempt_networks_are_limited() {
    let responder = responder(1);
    let question = Question::new("www.example.com", 1);
    let plain = question.encode();
    let ask = |client: &str, transport, message: &[u8]| asks(&responder, client, transport, message);
    for _ in 0..BURST {
        assert_eq!(ask("192.0.2.7", Transport::Udp, &plain).0.limited, None);
    }
    assert_eq!(ask("192.0.2.8", Transport::Udp, &plain).0.limited, Some(Limited::Slipped));
    for (client, transport) in [
        ("192.0.3.7", Transport::Udp),
        ("203.0.113.1", Transport::Udp),
        ("192.0.2.7", Transport::Tcp),
        ("192.0.2.7", Transport::Tls),
        ("192.0.2.7", Transport::Quic),
    ] {
        assert_eq!(ask(client, transport, &plain).0.limited, None, "{client} by {transport:?}");
    }
    // Who knows cookies is given one instead of being sent to TCP, and is answered with it, but for another address.
    let mut with_cookie = question.clone();
    with_cookie.edns().options = [&[0, 10, 0, 8][..], &[1; 8]].concat();
    let (answered, out) = ask("192.0.2.7", Transport::Udp, &with_cookie.encode());
    assert_eq!((answered.rcode, answered.limited), (Rcode::BadCookie, Some(Limited::Slipped)));
    with_cookie.edns().options = [&[0, 10, 0, 24][..], &out[out.len() - 24..]].concat();
    let encoded = with_cookie.encode();
    for _ in 0..10 * BURST {
        assert_eq!(ask("192.0.2.7", Transport::Udp, &encoded).0.limited, None);
    }
    assert_eq!(ask("192.0.2.8", Transport::Udp, &encoded).0.rcode, Rcode::BadCookie);
}

#[test]
fn errors_are_one_flood_too() {
    let responder = responder(0);
    let mut malformed = Question::new("www.example.com", 1).encode();
    malformed.truncate(20);
    let refused = Question::new("www.example.org", 1).encode();
    let mut answered = 0;
    for number in 0..200 {
        let question = if number % 2 == 0 { &malformed } else { &refused };
        let (_, out) = asks(&responder, "192.0.2.7", Transport::Udp, question);
        answered += usize::from(!out.is_empty());
    }
    assert_eq!(answered, BURST);
    let (found, _) =
        asks(&responder, "192.0.2.7", Transport::Udp, &Question::new("www.example.com", 1).encode());
    assert_eq!(found.limited, None, "what is there has its own bucket");
}

/// A client at an address of its own.
pub(crate) async fn client(from: &str, to: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((from, 0)).await?;
    socket.connect(to).await?;
    Ok(socket)
}

/// How many answers were limited in this way.
pub(crate) fn limited(running: &Running, action: &str) -> u64 {
    let line = format!("proxima_dns_rate_limited_total{{action=\"{action}\"}} ");
    let metrics = running.node.metrics.encode();
    let count = metrics.lines().find_map(|found| found.strip_prefix(&line));
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Sends some thousands of queries, and gives back how many octets were sent and answered, and how many answers were whole.
async fn flood(running: &Running, socket: &UdpSocket) -> Result<(usize, usize, u32)> {
    let (mut sent, mut received, mut full) = (0, 0, 0);
    let mut buffer = [0; 4096];
    for number in 0..5_000 {
        let question = made_up(number, "example.com");
        sent += socket.send(&question).await?;
        // One more answer, or none: whatever is there.
        while let Ok(length) = socket.try_recv(&mut buffer) {
            received += length;
            full += u32::from(buffer[2] & 0x02 == 0);
        }
        if number % 32 == 0 {
            tokio::task::yield_now().await;
        }
    }
    // Some may be lost on a busy machine: the server is done when its counts stand still over an answer to another.
    let mut before = 0;
    loop {
        let [dropped, slipped] = ["dropped", "slipped"].map(|action| limited(running, action));
        if dropped > 100 && slipped > 100 && before == dropped + slipped {
            break;
        }
        before = dropped + slipped;
        let mut other = TcpStream::connect(running.address).await?;
        other.write_all(&framed(&Question::new("www.example.com", 1))).await?;
        read_answer(&mut other).await?;
    }
    while let Ok(length) = socket.try_recv(&mut buffer) {
        received += length;
        full += u32::from(buffer[2] & 0x02 == 0);
    }
    Ok((sent, received, full))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_gets_less_than_it_sends_and_others_are_answered() -> Result<()> {
    with_node("rate_limit_per_second = 10", async |running| {
        let began = Instant::now();
        let flooding = client("127.0.1.1", running.address).await?;
        let (sent, received, full) = flood(running, &flooding).await?;
        let seconds = u32::try_from(began.elapsed().as_secs())? + 1;
        ensure!(full <= 20 + 10 * seconds, "{full} answers in {seconds} s");
        ensure!(received < sent, "{received} octets for {sent}");
        // Another client, and real ones that share the flood's network: by TCP, or with a cookie.
        for arguments in [
            "+nocookie -b 127.0.2.1 +norecurse +notcp nothing.example.com TXT",
            "+nocookie -b 127.0.1.2 +norecurse +tcp nothing.example.com TXT",
            "+cookie -b 127.0.1.2 +norecurse +tries=20 +timeout=1 nothing.example.com TXT",
        ] {
            let answer = running.dig("dig", arguments).await?;
            ensure!(answer.contains("status: NXDOMAIN"), "{arguments}: {answer}");
        }
        Ok(())
    })
    .await
}
