use std::net::SocketAddr;

use prometheus_client::registry::Registry;
use proxima_chassis::{Metrics, NetworkConfig, SystemClock};
use proxima_http1::Limits;
use proxima_model::{CacheSettings, PopCode, WorkerName, ZoneName};
use proxima_pipeline::{Body, Decision, FetchCaching, Flow, Stage};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    task::JoinHandle,
};

use super::*;
use crate::{
    EdgeMetrics, Observer,
    observe::ZoneTable,
    origin::OriginConfig,
    server::{STRANGERS, ServerContext, Timeouts},
    stages::ClientFacts,
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

/// What a site of another account sees.
struct Seen;

impl Stage for Seen {
    fn name(&self) -> &'static str {
        "seen"
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        if exchange.request.upgrade.is_some() {
            let (near, far) = tokio::io::duplex(64);
            tokio::spawn(async move {
                let (mut reads, mut writes) = tokio::io::split(far);
                tokio::io::copy(&mut reads, &mut writes).await
            });
            let status = http::StatusCode::SWITCHING_PROTOCOLS;
            let upgraded = Some(Box::new(near) as proxima_pipeline::Upgraded);
            return Decision::Now(Flow::Respond(Response { status, upgraded, ..Response::default() }));
        }
        Decision::Later(Box::pin(async move {
            let Ok(body) = std::mem::take(&mut exchange.request_body).collect(BODY_OCTETS_MAX).await else {
                return Flow::Fail(Fault::BodyTooLarge);
            };
            let field = |name| exchange.request.headers.get(name).map(|value| value.to_str().unwrap());
            let said = format!(
                "{} {} {:?} {:?} {:?} {:?} row {} {:?} {}",
                exchange.request.method,
                exchange.request.url(),
                field("cf-connecting-ip"),
                field("cf-worker"),
                field("x-mine"),
                exchange.client.tls.as_ref().and_then(|tls| tls.server_name.as_deref()),
                exchange.extensions.get::<Stranger>().unwrap().row,
                String::from_utf8_lossy(&body),
                exchange.extensions.get::<FetchCaching>().is_some()
                    || exchange.extensions.get::<Caller>().is_some(),
            );
            Flow::Respond(Response { body: Body::full(said), ..Response::default() })
        }))
    }
}

/// Where the Worker `app` of the account [`OTHER`] belongs, and no other.
struct Belongs;

impl WorkerZones for Belongs {
    fn zone_of(&self, account: AccountId, worker: &WorkerName) -> Result<Option<ZoneName>, Fault> {
        let known = account == OTHER && worker.as_str() == "app";
        Ok(known.then(|| ZoneName::parse("stranger.example").unwrap()))
    }
}

/// Octets that a request for a site of another account may have.
const BODY_OCTETS_MAX: usize = 16;

fn entry() -> Entry {
    let (clock, pop) = (Arc::new(SystemClock), PopCode::parse("TST").unwrap());
    Entry::new(Arc::new(ServerContext {
        pipeline: Pipeline::new(vec![
            Box::new(ClientFacts::new(clock.clone())),
            Box::new(LoopGuard::new(&NetworkConfig::default())),
            Box::new(Seen),
        ]),
        limits: Limits::DEFAULT,
        request_body_bytes_max: BODY_OCTETS_MAX as u64,
        timeouts: Timeouts::DEFAULT,
        pop: pop.clone(),
        clock,
        metrics: EdgeMetrics::register(&mut Registry::default()),
        observer: Arc::new(Observer::new(ZoneTable::new(pop, 10), None)),
    }))
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
    let ways = EgressWays { own: behind, others: entry(), zones: Arc::new(Belongs) };
    Egress::new(sites, Arc::new(origins), ways, guard, addresses, Duration::from_secs(60))
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
async fn a_site_of_the_own_account_is_reached_by_the_stages_behind() {
    let egress = egress(false, &[]);
    let told = fetch(&egress, OWN, exchange("https://www.example.com/x?y")).await.unwrap();
    assert!(told.starts_with("behind: https://www.example.com/x?y Some(\"proxima; network="), "{told}");
}

/// Asked by the Worker of this name, in this place of a row.
fn asked_by(mut exchange: Exchange, worker: &str, row: u8) -> Exchange {
    let worker = WorkerName::parse(worker).unwrap();
    exchange.extensions.insert(Caller { worker, row, passes: false });
    exchange
}

#[tokio::test]
async fn a_site_of_another_account_is_asked_as_by_a_visitor_whom_nobody_trusts() {
    let egress = egress(false, &[]);
    let asked = asked_by(exchange("https://www.example.com/x?y"), "app", 0);
    let mut asked = with_field(with_field(asked, "cf-connecting-ip", "192.0.2.1"), "x-mine", "1");
    asked = with_field(with_field(asked, "cf-worker", "forged.example"), "cf-access", "1");
    asked.request_body = Body::full("sent");
    // What it says of how its own sites' answers are kept.
    asked.extensions.insert(FetchCaching(Arc::new(CacheSettings::default())));
    let told = fetch(&egress, OTHER, asked).await.unwrap();
    let expected = format!(
        "GET https://www.example.com/x?y Some(\"{STRANGERS}\") Some(\"stranger.example\") Some(\"1\") \
         Some(\"www.example.com\") row 4 \"sent\" false"
    );
    assert_eq!(told, expected);
    let told = fetch(&egress, OTHER, asked_by(exchange("http://www.example.com/"), "cron", 0)).await.unwrap();
    assert!(told.contains(&format!("Some(\"{OTHER}\") None None row 4")), "it belongs to no zone: {told}");
}

#[tokio::test]
async fn a_step_to_strangers_goes_to_the_next_multiple_of_four_and_leaves_them_four_places() {
    let egress = egress(false, &[]);
    let asked = async |row: u8| {
        let mut asked = asked_by(exchange("http://www.example.com/"), "app", row);
        // As it came to the Worker: what passed here is no loop by itself.
        LoopGuard::new(&NetworkConfig::default()).sign(&mut asked.request.headers);
        fetch(&egress, OTHER, asked).await
    };
    for (row, expected) in [(0, 4), (3, 4), (4, 8), (7, 8), (8, 12), (11, 12)] {
        let told = asked(row).await.unwrap();
        assert!(told.contains(&format!(" row {expected} ")), "{row}: {told}");
    }
    for row in [12, 15, Caller::ROW_MAX, u8::MAX] {
        assert_eq!(asked(row).await, Err(Fault::WorkerLoop), "{row}");
    }
    // Its own sites are not refused: there each step is one.
    let own = asked_by(exchange("http://www.example.com/"), "app", Caller::ROW_MAX);
    assert!(fetch(&egress, OWN, own).await.unwrap().starts_with("behind: "));
}

#[tokio::test]
async fn a_websocket_to_a_site_of_another_account_is_joined() {
    let egress = egress(false, &[]);
    let mut exchange = asked_by(exchange("https://www.example.com/chat"), "app", 0);
    exchange.request.upgrade = Some("websocket".into());
    let mut socket = egress.fetch(OTHER, &mut exchange).await.upgraded.take().unwrap();
    let mut echoed = [0; 2];
    socket.write_all(b"hi").await.unwrap();
    socket.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"hi");
}

#[tokio::test]
async fn what_a_listener_would_refuse_does_not_come_in() {
    let egress = egress(false, &[]);
    let ambiguous = with_field(exchange("http://www.example.com/"), "content_length", "1");
    let refused = fetch(&egress, OTHER, ambiguous).await;
    assert!(matches!(refused, Err(Fault::BadRequest(_))), "{refused:?}");
    let mut long = exchange("http://www.example.com/");
    long.request.headers.insert("content-length", (BODY_OCTETS_MAX + 1).into());
    assert_eq!(fetch(&egress, OTHER, long).await, Err(Fault::BodyTooLarge), "it says so");
    let mut long = exchange("http://www.example.com/");
    let (mut sender, body) = Body::channel(2, None);
    sender.send(vec![b'x'; BODY_OCTETS_MAX].into()).await.unwrap();
    sender.send("y".into()).await.unwrap();
    long.request_body = body;
    assert_eq!(fetch(&egress, OTHER, long).await, Err(Fault::BodyTooLarge), "it comes");
    let mut many = exchange("http://www.example.com/");
    for number in 0..=Limits::DEFAULT.head_fields_max {
        let name = http::HeaderName::try_from(format!("x-{number}")).unwrap();
        many.request.headers.insert(name, HeaderValue::from_static("1"));
    }
    assert_eq!(fetch(&egress, OTHER, many).await, Err(Fault::HeadersTooLarge));
    let target = "x".repeat(Limits::DEFAULT.target_bytes_max);
    let long = exchange(&format!("http://www.example.com/{target}"));
    assert_eq!(fetch(&egress, OTHER, long).await, Err(Fault::TargetTooLong));
    let mut connect = exchange("http://www.example.com/");
    connect.request.method = http::Method::CONNECT;
    let refused = fetch(&egress, OTHER, connect).await;
    assert!(refused.is_err(), "{refused:?}");
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
