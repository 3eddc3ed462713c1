//! Requests that come over QUIC before the handshake is over (0-RTT), through a relay that can hold the handshake up.

use proxima_model::ZoneSettings;
use quinn::{Connection, Endpoint, ZeroRttAccepted};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::http3::{client, listener, raw};
use super::*;
use crate::tls::QuicTls;
use crate::tls::tests::World;
use proxima_tls::Tickets;

const EARLY: &str = "it is early";
const LATE: &str = "not any more";

/// A server of the zone `a.example`, and a client.
struct Setup {
    server: SocketAddr,
    client: Endpoint,
    context: Arc<ServerContext>,
    registry: Registry,
    ending: Ending,
    world: World,
}

impl Setup {
    async fn new(early_data: bool) -> Self {
        let world = World::with(ZoneSettings { early_data, ..ZoneSettings::default() }).await;
        let certificate = world.certify(1, &["a.example"]).await;
        let mut registry = Registry::default();
        let metrics = EdgeMetrics::register(&mut registry);
        let context = ServerContext { metrics, ..context_of(&Arc::default(), Timeouts::DEFAULT) };
        let (client, context, ending) = (client(&certificate), Arc::new(context), Ending::default());
        let mut setup =
            Self { server: (Ipv4Addr::LOCALHOST, 0).into(), client, context, registry, ending, world };
        setup.server = setup.another();
        setup
    }

    /// One more server, which shows the same certificate.
    fn another(&self) -> SocketAddr {
        let tls = Arc::new(QuicTls::new(self.world.certificates(), Arc::new(Tickets::default())));
        let listener = listener(tls, 10, &self.context, &self.ending);
        let address = listener.endpoint.local_addr().unwrap();
        tokio::spawn(listener.run());
        address
    }

    /// A first connection, in which the client gets its tickets.
    async fn visit(&self) {
        let connection = within(self.client.connect(self.server, "a.example").unwrap()).await.unwrap();
        assert_eq!(ask(&connection, "GET").await.await.unwrap(), LATE);
    }

    /// A connection on which requests can be sent at once, if the client has a ticket for that.
    fn hurry(&self, address: SocketAddr) -> Option<(Connection, ZeroRttAccepted)> {
        self.client.connect(address, "a.example").unwrap().into_0rtt().ok()
    }

    /// Handshakes that ended so.
    fn handshakes(&self, result: &str) -> usize {
        self.counted(&format!("handshakes_total{{result=\"{result}\"}}"))
    }

    /// A counter.
    fn counted(&self, name: &str) -> usize {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let count = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        count.expect("it is counted")
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.ending.stop.cancel();
    }
}

/// Sends a request whole; what comes of it.
async fn ask(connection: &Connection, method: &str) -> JoinHandle<String> {
    let (mut send, mut receive) = within(connection.open_bi()).await.unwrap();
    within(send.write_all(&raw::request(method, "/early", &[]))).await.unwrap();
    send.finish().unwrap();
    tokio::spawn(async move {
        let answer = within(receive.read_to_end(64 * 1024)).await.unwrap();
        let texts = [EARLY, LATE].into_iter();
        let mut found = texts.filter(|text| answer.ends_with(text.as_bytes()));
        found.next().expect("it is an answer of the script").to_owned()
    })
}

/// What a relay waits for.
#[derive(Clone, Default)]
struct Gates {
    /// The client hears from the server.
    hears: CancellationToken,
    /// The server hears from the client what it sends after that, and so the end of the handshake.
    ends: CancellationToken,
}

/// A relay to the server with these gates.
async fn relay(server: SocketAddr, gates: Gates) -> SocketAddr {
    let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = front.local_addr().unwrap();
    tokio::spawn(async move {
        back.connect(server).await.unwrap();
        let (mut from_client, mut from_server) = ([0; 2048], [0; 2048]);
        let mut client = None;
        loop {
            let (heard, ended) = (gates.hears.is_cancelled(), gates.ends.is_cancelled());
            tokio::select! {
                received = front.recv_from(&mut from_client), if !heard || ended => {
                    let (length, address) = received.unwrap();
                    client = Some(address);
                    back.send(&from_client[..length]).await.unwrap();
                }
                received = back.recv(&mut from_server), if heard => {
                    front.send_to(&from_server[..received.unwrap()], client.unwrap()).await.unwrap();
                }
                () = gates.hears.cancelled(), if !heard => {}
                () = gates.ends.cancelled(), if !ended => {}
            }
        }
    });
    address
}

/// Waits until the server has answered so many requests, after that of the first visit.
async fn until_answered(setup: &Setup, requests: usize) {
    within(async {
        while setup.counted("requests_total{protocol=\"http/3\",status=\"2xx\"}") < requests + 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn safe_requests_are_answered_while_the_handshake_goes_on_and_others_wait_for_its_end() {
    let setup = Setup::new(true).await;
    setup.visit().await;
    let gates = Gates::default();
    let (connection, over) = setup.hurry(relay(setup.server, gates.clone()).await).expect("a ticket");
    let unsafe_one = ask(&connection, "POST").await;
    let safe = [ask(&connection, "GET").await, ask(&connection, "OPTIONS").await];
    until_answered(&setup, safe.len()).await;
    gates.hears.cancel();
    for one in safe {
        assert_eq!(one.await.unwrap(), EARLY);
    }
    assert!(!unsafe_one.is_finished() && setup.handshakes("early") == 0);
    gates.ends.cancel();
    assert_eq!(unsafe_one.await.unwrap(), LATE);
    assert!(within(over).await, "the client is told that its early data was taken");
    assert_eq!(ask(&connection, "GET").await.await.unwrap(), LATE);
    assert_eq!((setup.handshakes("early"), setup.handshakes("full")), (1, 1));
}

#[tokio::test]
async fn a_handshake_that_does_not_end_ends_the_connection_and_what_waited_for_it() {
    let setup = Setup::new(true).await;
    setup.visit().await;
    let gates = Gates::default();
    let (connection, _over) = setup.hurry(relay(setup.server, gates.clone()).await).expect("a ticket");
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&raw::request("POST", "/early", &[])).await.unwrap();
    send.finish().unwrap();
    let safe = ask(&connection, "GET").await;
    until_answered(&setup, 1).await;
    gates.hears.cancel();
    assert_eq!(safe.await.unwrap(), EARLY);
    connection.close(0_u32.into(), b"");
    gates.ends.cancel();
    assert!(receive.read_to_end(1024).await.is_err());
    within(async {
        while setup.handshakes("failed") == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_session_is_good_for_one_connection_and_only_where_the_zone_wants_it() {
    let setup = Setup::new(false).await;
    setup.visit().await;
    assert!(setup.hurry(setup.server).is_none(), "no ticket, or one without early data");

    let setup = Setup::new(true).await;
    setup.visit().await;
    // The client, too, uses a ticket once; it was given two.
    for _ in 0..2 {
        let (connection, over) = setup.hurry(setup.server).expect("a ticket");
        assert!(within(over).await);
        drop(connection);
    }

    setup.visit().await;
    let (connection, over) = setup.hurry(setup.another()).expect("a ticket");
    assert!(!within(over).await, "another server, or this one after a restart, knows nothing of it");
    assert_eq!(ask(&connection, "GET").await.await.unwrap(), LATE, "it is asked again");
}
