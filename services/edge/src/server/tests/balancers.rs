//! Load balancers in front, which tell who the client is.

use super::*;
use crate::tls::tests::{World, client};

const HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x04\xd2\0\x50";
const REQUEST: &[u8] = b"GET /who HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n";

async fn say(server: &Server, octets: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(octets).await.unwrap();
    let mut answer = Vec::new();
    // What is reset has said all that it says.
    within(stream.read_to_end(&mut answer)).await.ok();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_balancers_connection_is_from_whom_its_header_says_and_nobody_elses() {
    let with_header = [HEADER, REQUEST].concat();
    let behind = Server::behind(&["127.0.0.0/8".parse().unwrap()], 10, None).await;
    let answer = say(&behind, &with_header).await;
    assert!(answer.ends_with("192.0.2.7:1234 at 198.51.100.1:80"), "{answer}");
    assert_eq!(say(&behind, REQUEST).await, "", "a balancer that leaves it out lets its clients write it");

    let open = Server::behind(&["192.0.2.0/24".parse().unwrap()], 10, None).await;
    assert!(say(&open, REQUEST).await.contains("127.0.0.1:"));
    let answer = say(&open, &with_header).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && !answer.contains("192.0.2.7"), "{answer}");
}

#[tokio::test]
async fn tls_begins_after_the_header() {
    let world = World::new().await;
    let trusted = world.certify(1, &["a.example"]).await;
    let tls = Some(Arc::new(world.acceptor()));
    let behind = Server::behind(&["127.0.0.1/32".parse().unwrap()], 10, tls).await;
    let config = Arc::new(client(&[&trusted], &[&rustls::version::TLS13]));
    let mut stream = TcpStream::connect(behind.address).await.unwrap();
    stream.write_all(HEADER).await.unwrap();
    let name = "a.example".try_into().unwrap();
    let mut stream = within(tokio_rustls::TlsConnector::from(config).connect(name, stream)).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("192.0.2.7:1234 at 198.51.100.1:80"), "{answer}");
}
