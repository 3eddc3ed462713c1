use std::net::SocketAddr;

use proxima_chassis::{Metrics, NetworkConfig};
use proxima_pipeline::{Body, Decision, Flow, Stage};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    task::JoinHandle,
};

use super::*;
use crate::{
    origin::OriginConfig,
    stages::tests::fixtures::{FixedSites, exchange, site_of, with_field, zone},
};

const OWN: AccountId = AccountId::from_bytes([1; 16]);
const OTHER: AccountId = AccountId::from_bytes([2; 16]);

/// The stages behind Workers: they tell what came to them.
struct Told;

impl Stage for Told {
    fn name(&self) -> &'static str {
        "told"
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        let said =
            format!("behind: {} {:?}", exchange.request.url(), exchange.request.headers.get("cdn-loop"));
        Decision::Now(Flow::Respond(Response { body: Body::full(said), ..Response::default() }))
    }
}

/// Of a network with `example.com` of the account `OWN`, and `pending.example`, which is nobody's yet.
fn egress(allow_private: bool, own: &[&str]) -> Egress {
    resolving(allow_private, own, Vec::new())
}

/// The same, that asks these for names elsewhere.
fn resolving(allow_private: bool, own: &[&str], resolvers: Vec<SocketAddr>) -> Egress {
    let mut pending = zone("pending.example");
    pending.status = ZoneStatus::Pending;
    let sites: Arc<dyn Sites> = Arc::new(FixedSites(vec![
        site_of(zone("example.com"), &[("www.example.com", "192.0.2.1")], Vec::new()),
        site_of(pending, &[("localhost.pending.example", "192.0.2.1")], Vec::new()),
    ]));
    let config = OriginConfig { resolvers, ..OriginConfig::default() };
    let origins = Origins::new(&config, Arc::clone(&sites), &Metrics::default()).unwrap();
    let own: Vec<IpAddr> = own.iter().map(|address| address.parse().unwrap()).collect();
    let guard = LoopGuard::new(&NetworkConfig::default());
    let behind = Pipeline::new(vec![Box::new(Told)]);
    let addresses = EgressAddresses { allow_private, own, ..EgressAddresses::default() };
    Egress::new(sites, Arc::new(origins), behind, guard, addresses, Duration::from_secs(60))
}

/// A resolver that says these addresses of every name, the first ones to the first who asks for them, and so on.
async fn resolver(says: Vec<Vec<[u8; 4]>>) -> SocketAddr {
    const HEADER_OCTETS: usize = 12;
    const A: u8 = 1;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut query, mut says) = ([0; 512], says.into_iter());
        while let Ok((count, from)) = socket.recv_from(&mut query).await {
            // A name, its type and its class.
            let name = query[HEADER_OCTETS..count].iter().position(|octet| *octet == 0).unwrap();
            let question = &query[HEADER_OCTETS..HEADER_OCTETS + name + 5];
            let addresses = if question[name + 2] == A { says.next().unwrap() } else { Vec::new() };
            let told = u8::try_from(addresses.len()).unwrap();
            let mut answer = [&query[..2], &[0x81, 0x80, 0, 1, 0, told, 0, 0, 0, 0]].concat();
            answer.extend_from_slice(question);
            for address in addresses {
                // The name of the question, A, IN, for no time, four octets.
                answer.extend_from_slice(&[0xc0, 12, 0, A, 0, 1, 0, 0, 0, 0, 0, 4]);
                answer.extend_from_slice(&address);
            }
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    address
}

/// A server that answers one request with its head.
async fn echo() -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", head.len());
        socket.write_all(&[answer.as_bytes(), &head].concat()).await.unwrap();
    });
    (port, task)
}

async fn fetch(egress: &Egress, account: AccountId, mut exchange: Exchange) -> Result<String, Fault> {
    let response = egress.fetch(account, &mut exchange).await;
    match exchange.extensions.remove::<Fault>() {
        Some(fault) => {
            assert_eq!(response.status, fault.status(), "a fault is answered as one");
            Err(fault)
        }
        None => Ok(String::from_utf8(response.body.collect(1 << 20).await.unwrap().to_vec()).unwrap()),
    }
}

#[tokio::test]
async fn a_site_of_the_own_account_is_reached_by_the_stages_behind_and_one_of_another_not_at_all() {
    let egress = egress(false, &[]);
    let told = fetch(&egress, OWN, exchange("https://www.example.com/x?y")).await.unwrap();
    assert!(told.starts_with("behind: https://www.example.com/x?y Some(\"proxima; network="), "{told}");
    let refused = fetch(&egress, OTHER, exchange("https://www.example.com/x")).await;
    assert!(matches!(refused, Err(Fault::Forbidden(_))), "{refused:?}");
}

#[tokio::test]
async fn what_lies_inside_is_refused_by_address_and_by_name() {
    let strict = egress(false, &[]);
    for url in [
        "http://127.0.0.1:9/",
        "http://localhost:9/",
        "http://[::1]:9/",
        "http://[::ffff:127.0.0.1]:9/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "https://192.168.1.1/",
        "http://0.0.0.0/",
    ] {
        assert_eq!(fetch(&strict, OWN, exchange(url)).await, Err(Fault::OriginForbidden), "{url}");
    }
    let allowing = egress(true, &["10.1.2.3"]);
    let own = fetch(&allowing, OWN, exchange("http://10.1.2.3/")).await;
    assert_eq!(own, Err(Fault::OriginForbidden), "an address of our own, whatever else is allowed");
}

#[tokio::test]
async fn a_name_that_leads_inside_now_and_outside_then_leads_to_no_address_that_was_not_checked() {
    const OUTSIDE: [u8; 4] = [127, 0, 0, 1];
    const INSIDE: [u8; 4] = [10, 1, 2, 3];
    // What is outside here is this machine; what is inside, an address that is refused whatever is allowed.
    let told = resolver(vec![vec![OUTSIDE], vec![INSIDE], vec![INSIDE, OUTSIDE]]).await;
    let asked = async || {
        let (port, served) = echo().await;
        let egress = resolving(true, &["10.1.2.3"], vec![told]);
        let answer = fetch(&egress, OWN, exchange(&format!("http://rebinding.example:{port}/"))).await;
        served.abort();
        answer
    };
    assert!(asked().await.unwrap().starts_with("GET / HTTP/1.1\r\n"));
    assert_eq!(asked().await, Err(Fault::OriginForbidden), "the name leads inside by now");
    assert!(asked().await.unwrap().starts_with("GET / HTTP/1.1\r\n"), "the address of two that may be asked");
}

#[tokio::test]
async fn elsewhere_is_asked_as_it_was_written_but_for_what_only_we_may_say() {
    let (port, served) = echo().await;
    let asked = exchange(&format!("http://localhost:{port}/path?query"));
    let asked = with_field(with_field(asked, "cf-connecting-ip", "1.2.3.4"), "x-mine", "1");
    let head = fetch(&egress(true, &[]), OWN, asked).await.unwrap().to_ascii_lowercase();
    assert!(head.starts_with("get /path?query http/1.1\r\n"), "{head}");
    assert!(
        head.contains(&format!("host: localhost:{port}\r\n")) && head.contains("x-mine: 1\r\n"),
        "{head}"
    );
    assert!(head.contains("cdn-loop: proxima; network="), "what comes back is known by it: {head}");
    assert!(!head.contains("cf-connecting-ip"), "{head}");
    served.await.unwrap();
}

#[tokio::test]
async fn a_websocket_is_opened_elsewhere_and_whoever_declines_is_heard() {
    let egress = egress(true, &[]);
    for (status, switches) in [("101 Switching Protocols", true), ("403 Forbidden", false)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
            assert!(
                head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n"),
                "{head}"
            );
            let answer = format!(
                "HTTP/1.1 {status}\r\nupgrade: websocket\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\nhi"
            );
            socket.write_all(answer.as_bytes()).await.unwrap();
            socket.read_u8().await.ok()
        });
        let mut exchange = exchange(&format!("http://localhost:{port}/chat"));
        exchange.request.upgrade = Some("websocket".into());
        let mut response = egress.fetch(OWN, &mut exchange).await;
        assert_eq!(format!("{} ", response.status.as_u16()), status[..4]);
        let Some(mut socket) = response.upgraded.take().filter(|_| switches) else {
            assert_eq!(response.body.collect(9).await.unwrap(), "hi", "{status}");
            continue;
        };
        let mut greeting = [0; 2];
        socket.read_exact(&mut greeting).await.unwrap();
        socket.write_all(b"!").await.unwrap();
        assert_eq!((&greeting, served.await.unwrap()), (b"hi", Some(b'!')));
    }
    for url in ["http://127.0.0.1:9/", "http://10.0.0.1/"] {
        let mut exchange = exchange(url);
        exchange.request.upgrade = Some("websocket".into());
        let strict = self::egress(false, &[]);
        assert_eq!(fetch(&strict, OWN, exchange).await, Err(Fault::OriginForbidden), "{url}");
    }
}
