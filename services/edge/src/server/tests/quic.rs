//! QUIC below HTTP/3: what one process, or one server, leaves to another.

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::UdpGroSegment;
use quinn::ConnectionError;

use super::http3::{Fate, client, fate, raw};
use super::*;
use crate::quic::{QuicListener, RETRY_ABOVE};
use crate::tls::tests::World;
use crate::tls::{HANDSHAKES_MAX, QuicTls};
use proxima_tls::{QuicKeys, Tickets, steer};

fn free() -> std::net::UdpSocket {
    std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

#[tokio::test]
async fn several_packets_are_sent_and_received_with_one_system_call() {
    let world = World::new().await;
    let certificate = world.certify(1, &["a.example"]).await;
    let tls = Arc::new(QuicTls::new(world.certificates(), Arc::new(Tickets::default())));
    let context = context(&Arc::default(), Timeouts::DEFAULT);
    let socket = free();
    let kept = socket.try_clone().unwrap();
    let keys = QuicKeys::new();
    let listener = QuicListener::new((socket, 0), tls, &keys, 1, context, Ending::default()).unwrap();
    assert!(getsockopt(&kept, UdpGroSegment).unwrap(), "GRO: several are received with one");
    let client = client(&certificate);
    let connecting = client.connect(listener.endpoint.local_addr().unwrap(), "a.example").unwrap();
    let serving = async { listener.endpoint.accept().await.unwrap().accept().unwrap().await.unwrap() };
    let (ours, theirs) = within(async { tokio::join!(serving, connecting) }).await;
    let mut send = ours.open_uni().await.unwrap();
    let sending = async {
        send.write_all(&[0; 1024 * 1024]).await.unwrap();
        send.finish().unwrap();
    };
    let theirs = theirs.unwrap();
    let receiving = async { theirs.accept_uni().await.unwrap().read_to_end(2 * 1024 * 1024).await.unwrap() };
    within(async { tokio::join!(sending, receiving) }).await;
    // GSO: the kernel, or the network card, takes the packets apart.
    let sent = ours.stats().udp_tx;
    assert!(sent.ios * 2 < sent.datagrams, "{} packets with {} calls", sent.datagrams, sent.ios);
}

/// A socket of which there may be several at an address.
fn shared(address: SocketAddr) -> std::net::UdpSocket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.into()
}

#[tokio::test]
async fn connections_stay_with_the_process_that_they_began_with_and_new_ones_come_to_the_next() {
    let world = World::new().await;
    let certificate = world.certify(1, &["a.example"]).await;
    let tls = Arc::new(QuicTls::new(world.certificates(), Arc::new(Tickets::default())));
    let keys = QuicKeys::new();
    let begin = |socket, generation| {
        let (seen, ending) = (Arc::new(Seen::default()), Ending::default());
        let context = context(&seen, Timeouts::DEFAULT);
        let tls = Arc::clone(&tls);
        let listener = QuicListener::new((socket, generation), tls, &keys, 10, context, ending.clone());
        (seen, ending, tokio::spawn(listener.unwrap().run()))
    };
    let hang = async |connection: &quinn::Connection| {
        let (mut send, receive) = connection.open_bi().await.unwrap();
        send.write_all(&raw::get("/hang")).await.unwrap();
        send.finish().unwrap();
        let (mut other, mut answer) = connection.open_bi().await.unwrap();
        other.write_all(&raw::get("/now")).await.unwrap();
        other.finish().unwrap();
        assert_eq!(fate(&mut answer).await, Fate::Answered(vec![200], b"now".to_vec()));
        drop(receive);
    };
    // The generation after 255 is 0 again.
    for (former, later) in [(0, 1), (255, 0)] {
        let socket = shared((Ipv4Addr::LOCALHOST, 0).into());
        let address = socket.local_addr().unwrap();
        let handed_over = socket.try_clone().unwrap();
        let (seen_by_former, former_ending, former_run) = begin(socket, former);
        let client = client(&certificate);
        let before: Vec<quinn::Connection> = futures_util::future::join_all(
            (0..8).map(|_| async { within(client.connect(address, "a.example").unwrap()).await.unwrap() }),
        )
        .await;
        steer(&handed_over, later).unwrap();
        let (seen_by_later, later_ending, _) = begin(shared(address), later);
        drop(handed_over);
        for connection in &before {
            hang(connection).await;
        }
        seen_by_former.cancelled(8).await;
        for _ in 0..8 {
            let connection = within(client.connect(address, "a.example").unwrap()).await.unwrap();
            hang(&connection).await;
        }
        seen_by_later.cancelled(8).await;
        assert_eq!(seen_by_former.cancelled.load(Ordering::SeqCst), 8);
        // The former ends; the later one is alone.
        former_ending.drain.cancel();
        former_ending.stop.cancel();
        within(former_run).await.unwrap();
        former_ending.connections.close();
        within(former_ending.connections.wait()).await;
        let connection = within(client.connect(address, "a.example").unwrap()).await.unwrap();
        hang(&connection).await;
        seen_by_later.cancelled(9).await;
        later_ending.stop.cancel();
    }
}

/// What anycast does: packets of a client go to the nearest server, which may be another one a moment later; with
/// `moves`, after the first one's first answer.
async fn anycast(
    servers: [SocketAddr; 2],
    nearest: &Arc<AtomicUsize>,
    moves: bool,
) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let network = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, nearest) = (network.local_addr().unwrap(), Arc::clone(nearest));
    let routing = async move {
        let (mut datagram, mut client) = (vec![0; 65_535], None);
        loop {
            let (length, from) = network.recv_from(&mut datagram).await.unwrap();
            let to = match (servers.contains(&from), client) {
                (true, Some(client)) => {
                    nearest.fetch_max(usize::from(moves), Ordering::SeqCst);
                    client
                }
                _ => servers[nearest.load(Ordering::SeqCst)],
            };
            client = client.or(Some(from));
            network.send_to(&datagram[..length], to).await.unwrap();
        }
    };
    (address, tokio::spawn(routing))
}

#[tokio::test]
async fn under_load_a_client_shows_its_address_first_to_any_server_and_beyond_that_it_is_refused() {
    let world = World::new().await;
    let certificate = world.certify(1, &["a.example"]).await;
    let tls = Arc::new(QuicTls::new(world.certificates(), Arc::new(Tickets::default())));
    let (keys, ending) = (QuicKeys::new(), Ending::default());
    let begin = || {
        let context = context(&Arc::default(), Timeouts::DEFAULT);
        let (tls, metrics) = (Arc::clone(&tls), Arc::clone(&context.metrics));
        let listener = QuicListener::new((free(), 0), tls, &keys, 10, context, ending.clone()).unwrap();
        let address = listener.endpoint.local_addr().unwrap();
        tokio::spawn(listener.run());
        (address, metrics)
    };
    let ((busy, busy_metrics), (idle, idle_metrics)) = (begin(), begin());
    let client = client(&certificate);
    let mut others: Vec<_> = (0..RETRY_ABOVE).map(|_| busy_metrics.begin_handshake()).collect();
    // It is told to come again, and comes again to another server: which must understand the token, or the client would
    // not believe its answer.
    let (address, routed) = anycast([busy, idle], &Arc::default(), true).await;
    let connection = within(client.connect(address, "a.example").unwrap()).await.unwrap();
    assert!(format!("{idle_metrics:?}").contains("https"), "it is the idle one that has the connection");
    drop(connection);
    within(client.connect(busy, "a.example").unwrap()).await.unwrap();
    others.extend((0..HANDSHAKES_MAX).map(|_| busy_metrics.begin_handshake()));
    let refused = within(client.connect(busy, "a.example").unwrap()).await;
    assert!(matches!(refused, Err(ConnectionError::ConnectionClosed(_))), "{refused:?}");
    ending.stop.cancel();
    routed.abort();
}

#[tokio::test]
async fn a_connection_whose_server_knows_nothing_of_it_is_reset_by_any_other_of_the_network() {
    let world = World::new().await;
    let certificate = world.certify(1, &["a.example"]).await;
    let tls = Arc::new(QuicTls::new(world.certificates(), Arc::new(Tickets::default())));
    let keys = QuicKeys::new();
    let begin = || {
        let (context, ending) = (context(&Arc::default(), Timeouts::DEFAULT), Ending::default());
        let socket = free();
        let tls = Arc::clone(&tls);
        (QuicListener::new((socket, 0), tls, &keys, 10, context, ending.clone()).unwrap(), ending)
    };
    let (first, first_ending) = begin();
    let (second, second_ending) = begin();
    let servers = [&first, &second].map(|listener| listener.endpoint.local_addr().unwrap());
    let nearest = Arc::new(AtomicUsize::new(0));
    let (address, routed) = anycast(servers, &nearest, false).await;
    tokio::spawn(first.run());
    tokio::spawn(second.run());
    let client = client(&certificate);
    let connection = within(client.connect(address, "a.example").unwrap()).await.unwrap();
    nearest.store(1, Ordering::SeqCst);
    let mut send = connection.open_uni().await.unwrap();
    send.write_all(b"\x21still there?").await.unwrap();
    assert_eq!(within(connection.closed()).await, ConnectionError::Reset);
    first_ending.stop.cancel();
    second_ending.stop.cancel();
    routed.abort();
}
