//! Origins that do not answer as they should.

use http::StatusCode;
use proxima_pipeline::Fault;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Duration, timeout},
};

use super::harness::{Edge, FakeOrigin, read_head, reset, short, text};
use crate::origin::OriginConfig;

fn impatient() -> Edge {
    Edge::with(OriginConfig { timeouts: short(), ..OriginConfig::default() }, |_| {})
}

#[tokio::test]
async fn an_origin_that_refuses_is_down() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let edge = Edge::new();
    let fault = edge.fetch(&mut edge.request(address, "/")).await.unwrap_err();
    assert_eq!((fault.status().as_u16(), fault.retry()), (521, true));
}

#[tokio::test]
async fn an_origin_whose_queue_of_connections_is_full_times_out() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    // Nobody accepts: once the queue is full, the kernel drops what else comes.
    // One try alone may be late because the machine is.
    let (mut queued, mut refused) = (Vec::new(), 0);
    while refused < 3 {
        match timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            Ok(connected) => {
                queued.push(connected.unwrap());
                refused = 0;
            }
            Err(_) => refused += 1,
        }
        assert!(queued.len() < 64, "the queue never fills");
    }
    let edge = impatient();
    let fault = edge.fetch(&mut edge.request(address, "/")).await.unwrap_err();
    assert_eq!(fault, Fault::OriginConnectTimeout);
}

#[tokio::test]
async fn an_origin_that_never_answers_times_out() {
    let origin = FakeOrigin::start(|mut socket, _| async move {
        socket.read_to_end(&mut Vec::new()).await.ok();
    })
    .await;
    assert_eq!(impatient().get(&origin).await.unwrap_err(), Fault::OriginTimeout);
}

#[tokio::test]
async fn an_origin_that_drips_its_head_times_out() {
    let origin = FakeOrigin::start(|mut socket, _| async move {
        read_head(&mut socket).await;
        let mut drip = tokio::time::interval(Duration::from_millis(20));
        socket.write_all(b"HTTP/1.1 200 OK\r\nx: ").await.ok();
        while socket.write_all(b"y").await.is_ok() {
            drip.tick().await;
        }
    })
    .await;
    assert_eq!(impatient().get(&origin).await.unwrap_err(), Fault::OriginTimeout);
}

#[tokio::test]
async fn an_origin_that_closes_or_resets_without_a_whole_head_gave_no_answer() {
    for (sent, resets) in
        [("", false), ("", true), ("HTTP/1.1 200 OK\r\nconte", false), ("HTTP/1.1 200 O", true)]
    {
        let origin = FakeOrigin::start(move |mut socket, _| async move {
            read_head(&mut socket).await;
            socket.write_all(sent.as_bytes()).await.ok();
            if resets {
                reset(socket);
            }
        })
        .await;
        let fault = Edge::new().get(&origin).await.unwrap_err();
        assert_eq!((fault, origin.accepted()), (Fault::OriginClosed, 1), "{sent:?}, reset {resets}");
    }
}

#[tokio::test]
async fn malformed_heads_are_named() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nfolded: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 OK\nserver: lf\n\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    ] {
        let origin = FakeOrigin::answering(answer).await;
        let fault = Edge::new().get(&origin).await.unwrap_err();
        assert!(matches!(fault, Fault::OriginMalformed(_)), "{answer:?}: {fault:?}");
        assert_eq!(fault.status().as_u16(), 520);
    }
}

#[tokio::test]
async fn headers_and_informational_answers_without_end_are_cut_off() {
    for endless in
        ["x-more: and more and more and more and more and more\r\n", "", "HTTP/1.1 103 Early Hints\r\n\r\n"]
    {
        let origin = FakeOrigin::start(move |mut socket, _| async move {
            read_head(&mut socket).await;
            if !endless.starts_with("HTTP") {
                socket.write_all(b"HTTP/1.1 200 OK\r\nx: ").await.ok();
            }
            let endless = if endless.is_empty() { "y" } else { endless };
            let piece = endless.repeat(100);
            while socket.write_all(piece.as_bytes()).await.is_ok() {}
        })
        .await;
        let fault = Edge::new().get(&origin).await.unwrap_err();
        assert!(matches!(fault, Fault::OriginMalformed(_)), "{endless:?}: {fault:?}");
    }
}

#[tokio::test]
async fn a_few_informational_answers_are_passed_over() {
    let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n\
                  HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let origin = FakeOrigin::answering(answer).await;
    let response = Edge::new().get(&origin).await.unwrap();
    assert_eq!(response.status, StatusCode::OK);
    assert!(!response.headers.contains_key("link"));
    assert_eq!(text(response).await.unwrap(), "ok");
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_passed_over_for_one_that_does() {
    let origin = FakeOrigin::persistent("HTTP/1.1 204 No Content\r\n\r\n").await;
    // Nobody listens at the others on that port.
    let records: Vec<(&str, &str)> =
        ["127.0.0.2", "127.0.0.1", "127.0.0.3"].map(|address| ("www.example.com", address)).to_vec();
    let edge = Edge::at(OriginConfig::default(), |_| {}, &records, Vec::new());
    for _ in 0..8 {
        assert_eq!(edge.get(&origin).await.unwrap().status, StatusCode::NO_CONTENT);
    }
    assert_eq!(origin.accepted(), 1, "the connection that works is kept");
}

#[tokio::test]
async fn our_own_addresses_are_no_origins() {
    let anycast_addresses = vec!["198.51.100.1".parse().unwrap()];
    let edge = Edge::with(OriginConfig { anycast_addresses, ..OriginConfig::default() }, |_| {});
    for host in ["198.51.100.1", "[::ffff:198.51.100.1]"] {
        let mut exchange = edge.request("127.0.0.1:80".parse().unwrap(), "/");
        exchange.origin.host = Some(host.into());
        let fault = edge.fetch(&mut exchange).await.unwrap_err();
        assert_eq!((fault.status().as_u16(), fault.code()), (530, 1000), "{host}");
    }
}

#[tokio::test]
async fn addresses_inside_are_no_origins_unless_the_node_says_so() {
    let origin = FakeOrigin::persistent("HTTP/1.1 204 No Content\r\n\r\n").await;
    let edge = Edge::public();
    assert_eq!(edge.get(&origin).await.unwrap_err(), Fault::OriginForbidden);
    let mut named = edge.request(origin.address, "/");
    named.origin.host = Some("localhost".into());
    assert_eq!(edge.fetch(&mut named).await.unwrap_err(), Fault::OriginForbidden, "whatever name it goes by");
    assert_eq!(origin.accepted(), 0);
}
