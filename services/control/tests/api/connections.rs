//! Connections of clients, when the node goes.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::Node;

const REQUEST: &[u8] = b"GET /client/v4/user/tokens/verify HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

async fn ask(mut stream: TcpStream) -> String {
    stream.write_all(REQUEST).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn who_had_connected_before_a_drain_is_heard_and_answered() {
    let node = Node::start().await;
    let first = TcpStream::connect(node.bound[0]).await.unwrap();
    // Connections are accepted in their order: with the answer to this one, the first has been, too.
    let answer = ask(TcpStream::connect(node.bound[0]).await.unwrap()).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    node.context.shutdown.begin_drain();
    let answer = ask(first).await;
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("\"success\":false"), "{answer}");
}
