//! What somebody has to guess who forges an answer (RFC 5452, 9.2).

use std::{collections::HashSet, net::Ipv4Addr};

use tokio::net::UdpSocket;

use super::*;
use crate::upstream::Sockets;

#[tokio::test(start_paused = true)]
async fn ids_and_the_case_of_names_are_random() {
    let mut world = Arc::into_inner(world(|_| {})).unwrap();
    let plain = world.zones.iter_mut().find(|zone| zone.0 == ip(PLAIN)).unwrap();
    for number in 0..200 {
        plain.1.add(&format!("n{number}.plain.test"), rtype::A, vec![vec![192, 0, 2, 90]]);
    }
    let world = Arc::new(world);
    let resolver = resolver(&world);
    for number in 0..200 {
        ask(&resolver, &format!("n{number}.plain.test"), rtype::A, 0).await;
    }
    let queries = world.queries.lock().unwrap();
    let ids: Vec<u16> = queries.iter().map(|query| u16::from_be_bytes([query[0], query[1]])).collect();
    let distinct: HashSet<u16> = ids.iter().copied().collect();
    // Of 200, a third of a pair is alike by chance.
    assert!(ids.len() >= 200 && distinct.len() + 5 >= ids.len(), "{} of {}", distinct.len(), ids.len());
    let steps: HashSet<u16> = ids.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert!(steps.len() + 5 >= ids.len(), "nor are they counted: {}", steps.len());
    for bit in 0..16 {
        let ones = ids.iter().filter(|id| **id >> bit & 1 == 1).count();
        assert!(
            (50..=150).contains(&(ones * 200 / ids.len())),
            "bit {bit} is set in {ones} of {}",
            ids.len()
        );
    }
    // The letters of the zone, in every question for a name in it.
    let cases: HashSet<&[u8]> = queries
        .iter()
        .filter_map(|query| {
            query[12..].windows(12).find(|it| it.eq_ignore_ascii_case(b"\x05plain\x04test\0"))
        })
        .collect();
    assert!(cases.len() > 100, "{} of 512 ways to write it", cases.len());
}

#[tokio::test]
async fn each_question_leaves_from_a_port_of_its_own_that_follows_from_no_other() {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let sockets = Sockets { port: server.local_addr().unwrap().port() };
    let mut ports = Vec::new();
    for _ in 0..64 {
        let answers = async {
            let mut query = [0; 16];
            let (length, client) = server.recv_from(&mut query).await.unwrap();
            server.send_to(&query[..length], client).await.unwrap();
            client.port()
        };
        let asks = sockets.exchange(Ipv4Addr::LOCALHOST.into(), b"question", Transport::Udp);
        let both = tokio::time::timeout(Duration::from_secs(30), async { tokio::join!(answers, asks) });
        let (port, echoed) = both.await.unwrap();
        assert_eq!(echoed.unwrap(), b"question");
        ports.push(port);
    }
    let distinct: HashSet<u16> = ports.iter().copied().collect();
    let steps: HashSet<u16> = ports.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert!(distinct.len() >= 60 && steps.len() >= 60, "{ports:?}");
    let (least, most) = (ports.iter().min().unwrap(), ports.iter().max().unwrap());
    assert!(*least >= 1_024 && most - least > 10_000, "from all over the range: {ports:?}");
}
