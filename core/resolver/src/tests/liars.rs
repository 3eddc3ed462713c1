//! A name server that lies, through the sockets that ask it: datagrams that come from elsewhere, answers to something else,
//! connections that bring too little, too slowly, or nothing.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use prometheus_client::registry::Registry;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    time::interval,
};

use super::{PLAIN, ask, ip, settings, world, world::World};
use crate::{
    Metrics, Resolver,
    iterate::RESOLUTION_MAX,
    message::rtype,
    upstream::{Sockets, Transport, Upstream},
};

/// What the server does with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Datagram {
    True,
    /// The lie comes from the same port of another address, before the truth.
    FromAnotherAddress,
    /// The lie comes from another port, before the truth.
    FromAnotherPort,
    OtherId,
    OtherQuestion,
    /// The lie, in more octets than are taken.
    Long,
    Truncated,
    Silent,
}

/// What it does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    True,
    /// The truth, in a segment for each octet.
    Drips,
    /// The truth, an octet now and then.
    Trickles,
    Silent,
    Resets,
    Closes,
    /// A length of nothing.
    Empty,
    /// A length that is too small, and what stands behind it.
    Short,
    /// A length that is more than what comes.
    CutOff,
    OtherId,
    OtherQuestion,
}

/// The zone `plain.test`, at a port of this host.
struct Liar {
    world: Arc<World>,
    datagram: Datagram,
    stream: Stream,
    udp: UdpSocket,
    tcp: TcpListener,
    another_address: UdpSocket,
    another_port: UdpSocket,
    /// How it was asked.
    asked: Mutex<Vec<Transport>>,
}

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

impl Liar {
    async fn bind(world: &Arc<World>, datagram: Datagram, stream: Stream) -> io::Result<Self> {
        let tcp = TcpListener::bind((HERE, 0)).await?;
        let port = tcp.local_addr()?.port();
        Ok(Self {
            world: world.clone(),
            datagram,
            stream,
            udp: UdpSocket::bind((HERE, port)).await?,
            tcp,
            another_address: UdpSocket::bind((ELSEWHERE, port)).await?,
            another_port: UdpSocket::bind((HERE, 0)).await?,
            asked: Mutex::default(),
        })
    }

    /// As [`Self::bind`], at the first port that is free for all that it takes.
    async fn start(world: &Arc<World>, datagram: Datagram, stream: Stream) -> Arc<Self> {
        let mut bound = Self::bind(world, datagram, stream).await;
        while bound.is_err() {
            bound = Self::bind(world, datagram, stream).await;
        }
        let liar = Arc::new(bound.unwrap());
        let (datagrams, connections) = (liar.clone(), liar.clone());
        tokio::spawn(async move { datagrams.answer_datagrams().await.unwrap() });
        tokio::spawn(async move {
            loop {
                let (stream, _) = connections.tcp.accept().await.unwrap();
                // Whoever asks may leave at any time.
                connections.answer_connection(stream).await.ok();
            }
        });
        liar
    }

    /// What there is, and what there is not.
    async fn truth_and_lie(&self, query: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let truth = self.world.exchange(ip(PLAIN), query, Transport::Tcp).await.unwrap();
        let mut lie = truth.clone();
        let at = lie.windows(4).position(|octets| octets == [192, 0, 2, 90]).unwrap();
        lie[at + 3] = 66;
        (truth, lie)
    }

    async fn answer_datagrams(&self) -> io::Result<()> {
        let mut query = [0; 512];
        loop {
            let (length, client) = self.udp.recv_from(&mut query).await?;
            self.asked.lock().unwrap().push(Transport::Udp);
            let (truth, mut lie) = self.truth_and_lie(&query[..length]).await;
            match self.datagram {
                Datagram::True => lie = truth,
                Datagram::FromAnotherAddress => {
                    self.another_address.send_to(&lie, client).await?;
                    lie = truth;
                }
                Datagram::FromAnotherPort => {
                    self.another_port.send_to(&lie, client).await?;
                    lie = truth;
                }
                Datagram::OtherId => lie[0] ^= 1,
                Datagram::OtherQuestion => other_question(&mut lie),
                Datagram::Long => {
                    // One more record: of the root, of a type that nobody knows.
                    lie[11] += 1;
                    lie.extend([0, 0xff, 0, 0, 1, 0, 0, 0, 60, 0x13, 0x88]);
                    lie.resize(lie.len() + 5_000, 0);
                }
                Datagram::Truncated => lie[2] |= 2,
                Datagram::Silent => continue,
            }
            self.udp.send_to(&lie, client).await?;
        }
    }

    async fn answer_connection(&self, mut stream: TcpStream) -> io::Result<()> {
        self.asked.lock().unwrap().push(Transport::Tcp);
        stream.set_nodelay(true)?;
        if self.stream == Stream::Resets {
            // What was sent and is not read when a connection is closed makes the kernel reset it.
            stream.readable().await?;
            return Ok(());
        }
        let mut query = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut query).await?;
        let (truth, mut lie) = self.truth_and_lie(&query).await;
        let framed = |message: &[u8]| [&(message.len() as u16).to_be_bytes()[..], message].concat();
        let half = truth.len() / 2;
        match self.stream {
            Stream::True => stream.write_all(&framed(&truth)).await?,
            Stream::Drips => {
                for octet in framed(&truth) {
                    stream.write_all(&[octet]).await?;
                    tokio::task::yield_now().await;
                }
            }
            Stream::Trickles => {
                // All of it takes longer than anybody waits, but each octet of it does not.
                let mut now_and_then = interval(RESOLUTION_MAX / truth.len() as u32);
                for octet in framed(&truth) {
                    now_and_then.tick().await;
                    stream.write_all(&[octet]).await?;
                }
            }
            Stream::Silent => {
                // Until the other side has gone.
                stream.read_u8().await?;
            }
            Stream::Resets | Stream::Closes => {}
            Stream::Empty => stream.write_all(&[0, 0]).await?,
            Stream::Short => {
                stream.write_all(&[&(half as u16).to_be_bytes()[..], &lie].concat()).await?;
            }
            Stream::CutOff => stream.write_all(&framed(&lie)[..half]).await?,
            Stream::OtherId => {
                lie[0] ^= 1;
                stream.write_all(&framed(&lie)).await?;
            }
            Stream::OtherQuestion => {
                other_question(&mut lie);
                stream.write_all(&framed(&lie)).await?;
            }
        }
        stream.shutdown().await
    }
}

/// Another first letter of the name that was asked for.
fn other_question(message: &mut [u8]) {
    message[13] ^= 1;
}

/// The world, but that `plain.test` is asked at sockets.
struct Routed {
    world: Arc<World>,
    sockets: Sockets,
}

#[async_trait]
impl Upstream for Routed {
    async fn exchange(&self, server: IpAddr, query: &[u8], transport: Transport) -> io::Result<Vec<u8>> {
        if server == ip(PLAIN) {
            return self.sockets.exchange(HERE.into(), query, transport).await;
        }
        self.world.exchange(server, query, transport).await
    }
}

/// Asks for something that the liar has, and for something else; which address came of it, and how the liar was asked.
async fn asked_of(datagram: Datagram, stream: Stream) -> (Option<u8>, Vec<Transport>) {
    let world = world(|_| {});
    let liar = Liar::start(&world, datagram, stream).await;
    let sockets = Sockets { port: liar.udp.local_addr().unwrap().port() };
    let routed = Routed { world: world.clone(), sockets };
    let resolver = Resolver::new(routed, settings(&world), Metrics::register(&mut Registry::default()));
    let answered = ask(&resolver, "www.plain.test", rtype::A, 0).await;
    let address = answered.addresses().first().copied();
    assert_eq!(answered.message.rcode(), if address.is_some() { 0 } else { 2 }, "{datagram:?} {stream:?}");
    let other = ask(&resolver, "www.bank.test", rtype::A, 0).await;
    assert_eq!(other.addresses(), [100], "{datagram:?} {stream:?}: another zone");
    let asked = liar.asked.lock().unwrap().clone();
    (address, asked)
}

const BY_UDP: &[Transport] = &[Transport::Udp];
const BY_BOTH: &[Transport] = &[Transport::Udp, Transport::Tcp];

#[tokio::test]
async fn the_truth_is_found_whatever_comes_before_it() {
    for (datagram, stream, transports) in [
        (Datagram::True, Stream::Resets, BY_UDP),
        (Datagram::FromAnotherAddress, Stream::Resets, BY_UDP),
        (Datagram::FromAnotherPort, Stream::Resets, BY_UDP),
        (Datagram::OtherId, Stream::True, BY_BOTH),
        (Datagram::OtherQuestion, Stream::True, BY_BOTH),
        (Datagram::Long, Stream::True, BY_BOTH),
        (Datagram::Truncated, Stream::True, BY_BOTH),
        (Datagram::Truncated, Stream::Drips, BY_BOTH),
    ] {
        let found = asked_of(datagram, stream).await;
        assert_eq!(found, (Some(90), transports.to_vec()), "{datagram:?} {stream:?}");
    }
}

#[tokio::test]
async fn a_server_of_which_nothing_true_comes_in_time_makes_a_failure_of_its_own_zone_only() {
    for (datagram, stream, transports) in [
        (Datagram::Silent, Stream::True, BY_UDP),
        (Datagram::OtherId, Stream::OtherId, BY_BOTH),
        (Datagram::OtherQuestion, Stream::OtherQuestion, BY_BOTH),
        (Datagram::Truncated, Stream::Trickles, BY_BOTH),
        (Datagram::Truncated, Stream::Silent, BY_BOTH),
        (Datagram::Truncated, Stream::Resets, BY_BOTH),
        (Datagram::Truncated, Stream::Closes, BY_BOTH),
        (Datagram::Truncated, Stream::Empty, BY_BOTH),
        (Datagram::Truncated, Stream::Short, BY_BOTH),
        (Datagram::Long, Stream::CutOff, BY_BOTH),
    ] {
        let begun = Instant::now();
        let found = asked_of(datagram, stream).await;
        assert_eq!(found, (None, transports.to_vec()), "{datagram:?} {stream:?}");
        assert!(begun.elapsed() < RESOLUTION_MAX - Duration::from_secs(2), "{:?}", begun.elapsed());
    }
}
