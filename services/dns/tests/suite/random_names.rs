//! Names that nobody has, of one zone, asked for by many or by one network without end: what others are answered meanwhile.

use std::time::Duration;

use anyhow::{Result, ensure};
use proxima_model::{Record, RecordId, Zone, ZoneId, ZoneIndex};
use proxima_resolver::ZONE_ASKED_MAX;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use crate::{
    flood::{client, limited, made_up},
    resolving::{PATIENCE, Resolving, question, received, with_resolver},
    sockets::{Running, framed, read_answer, with_node},
    support::{Question, record, zone},
};

/// Checking disabled: the resolver asks for the very name, and concludes nothing from what is known of others.
const CD: u16 = 0x0010;
/// Questions that may wait in these tests.
const PENDING: usize = 256;
/// Those of a client.
const PER_CLIENT: u8 = 16;
/// Clients of a round of the flood: as many as take all places.
const CLIENTS: u8 = 16;
const ROUNDS: u8 = 10;

/// Asks on a connection, and gives back the first line of the answer and the first of its records.
async fn ask(stream: &mut TcpStream, question: &Question) -> Result<(String, String)> {
    stream.write_all(&framed(question)).await?;
    let mut lines = read_answer(stream).await?.into_iter();
    Ok((lines.next().unwrap_or_default(), lines.next().unwrap_or_default()))
}

/// Waits until of all who wait none are left but those for one zone.
async fn until_one_zones_are_left(resolving: &Resolving<'_>) -> Result<()> {
    let left = async {
        while resolving.count("proxima_dns_resolver_pending")? > PENDING as u64 / 2 {
            tokio::task::yield_now().await;
        }
        Ok(())
    };
    timeout(PATIENCE, left).await?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_names_of_a_zone_whose_servers_hold_their_answers_leave_places_for_other_zones() -> Result<()>
{
    const { assert!(PENDING / 2 < ZONE_ASKED_MAX && PENDING == PER_CLIENT as usize * CLIENTS as usize) };
    let table = format!("pending_max = {PENDING}\npending_per_client_max = {PER_CLIENT}");
    with_resolver(&table, async |resolving| {
        let mut stream = TcpStream::connect(resolving.at()).await?;
        let known = [("www.signed.test", "192.0.2.80"), ("www.plain.test", "192.0.2.90")];
        for (name, address) in known {
            ensure!(ask(&mut stream, &question(name, 1)).await?.1.ends_with(address), "{name}");
        }
        let (mut flooding, mut during) = (Vec::<UdpSocket>::new(), 0);
        for round in 0..ROUNDS {
            for number in 0..CLIENTS {
                let socket = client(&format!("127.1.{round}.{}", number + 1), resolving.at()).await?;
                for name in 0..PER_CLIENT {
                    let name = format!("n{round}-{number}-{name}.held.plain.test");
                    socket.send(&question(&name, 1).encode()).await?;
                }
                flooding.push(socket);
            }
            // What is known, of the same zone too, whatever waits.
            for (name, address) in known {
                let (said, found) = ask(&mut stream, &question(name, 1)).await?;
                ensure!(said.starts_with("NOERROR") && found.ends_with(address), "{name}: {said} {found}");
            }
            until_one_zones_are_left(resolving).await?;
            let mut other = question(&format!("n{round}.wild.signed.test"), 1);
            other.flags |= CD;
            let (said, found) = ask(&mut stream, &other).await?;
            ensure!(said.starts_with("NOERROR") && found.ends_with("192.0.2.81"), "{said} {found}");
            // Whether they wait still.
            during += usize::from(resolving.holding() >= PENDING / 4);
        }
        ensure!(
            during >= usize::from(ROUNDS) / 3,
            "others were asked for in {during} rounds of the flood only"
        );
        // When its servers answer again, so does the zone.
        resolving.let_go();
        resolving.until_counts("proxima_dns_resolver_pending 0").await?;
        let (said, found) = ask(&mut stream, &question("after.held.plain.test", 1)).await?;
        ensure!(said.starts_with("NOERROR") && found.ends_with("192.0.2.91"), "{said} {found}");
        Ok(())
    })
    .await
}

/// A second zone, with one name.
async fn add_zone(running: &Running, name: &str) -> Result<()> {
    let zone = Zone { id: ZoneId::from_bytes([9; 16]), ..zone(name) };
    let record = Record { id: RecordId::from_bytes([99; 16]), ..record(&zone, "www 300 A 192.0.2.99")? };
    let index = ZoneIndex { name: zone.name.clone(), zone: zone.id };
    let replica = &running.node.replica;
    running.change(vec![replica.put(&zone), replica.put(&index), replica.put(&record)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_names_from_one_network_cost_no_other_client_an_answer_while_they_come() -> Result<()> {
    const ROUNDS: usize = 50;
    const AT_ONCE: usize = 100;
    with_node("rate_limit_per_second = 10", async |running| {
        add_zone(running, "example.net").await?;
        let began = std::time::Instant::now();
        let mut flooding = Vec::new();
        for number in 1..=4 {
            flooding.push(client(&format!("127.0.1.{number}"), running.address).await?);
        }
        for round in 0..ROUNDS {
            for number in 0..AT_ONCE {
                let question = made_up(round * AT_ONCE + number, "example.com");
                flooding[number % flooding.len()].send(&question).await?;
            }
            // Behind these in the server's queue. Each round from another network: nobody asks so much otherwise.
            let other = client(&format!("127.1.{round}.1"), running.address).await?;
            for (name, said) in [
                ("www.example.com".to_owned(), "NOERROR aa"),
                (format!("other{round}.example.com"), "NXDOMAIN aa"),
                ("www.example.net".to_owned(), "NOERROR aa"),
                (format!("other{round}.example.net"), "NXDOMAIN aa"),
            ] {
                other.send(&Question::new(&name, 1).encode()).await?;
                let answer = timeout(Duration::from_secs(5), received(&other)).await??;
                ensure!(answer[0] == said, "round {round}, {name}: {answer:?}");
            }
        }
        let (mut whole, mut buffer) = (0, [0; 4_096]);
        for socket in &flooding {
            while let Ok(length) = socket.try_recv(&mut buffer) {
                whole += u64::from(length > 12 && buffer[2] & 0x02 == 0);
            }
        }
        let seconds = began.elapsed().as_secs() + 1;
        ensure!(whole <= 20 + 10 * seconds, "{whole} answers in {seconds} s");
        let limited = limited(running, "dropped") + limited(running, "slipped");
        ensure!(limited > (ROUNDS * AT_ONCE) as u64 * 9 / 10, "{limited}");
        Ok(())
    })
    .await
}
