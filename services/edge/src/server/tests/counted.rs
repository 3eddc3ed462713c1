//! What is counted when an exchange has ended, by each protocol.

use bytes::Buf;
use proxima_pipeline::TrafficNumbers;

use super::http3::Quic;
use super::*;

/// Waits until so many exchanges have ended; what was counted. The script knows no zones.
pub(super) async fn counted(context: &ServerContext, requests: u64) -> TrafficNumbers {
    within(async {
        loop {
            let series = context.observer.zones.series();
            let numbers = series.iter().find(|(zone, _)| zone == "none").expect("it is always there").1;
            if numbers.requests() >= requests {
                assert_eq!(numbers.requests(), requests);
                return numbers;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

const GONE: [u64; 6] = [0, 0, 0, 0, 0, 1];

#[tokio::test]
async fn http1_counts_every_octet_that_went_over_the_wire() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let asked = "POST /count HTTP/1.1\r\nhost: a.example\r\ncontent-length: 5\r\n\r\n";
    client.send(format!("{asked}12345")).await;
    assert_eq!(client.answer().await.text(), "5");
    let first = counted(&server.context, 1).await;
    assert_eq!(first.request_bytes(), (asked.len() + 5) as u64);
    client.send("GET /now HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n").await;
    let answer = client.rest().await;
    let numbers = counted(&server.context, 2).await.since(&first);
    assert_eq!(numbers.response_bytes(), answer.len() as u64);
    assert_eq!(numbers.ends(), &[0, 1, 0, 0, 0, 0]);
    let mut client = server.connect().await;
    client.send("nonsense\r\n\r\n").await;
    let refused = client.rest().await;
    let numbers = counted(&server.context, 3).await.since(&first);
    assert_eq!(numbers.ends(), &[0, 1, 0, 1, 0, 0]);
    assert_eq!(numbers.response_bytes(), (answer.len() + refused.len()) as u64);
}

#[tokio::test]
async fn http1_counts_what_was_sent_to_a_client_that_leaves() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send("GET /endless HTTP/1.1\r\nhost: a.example\r\n\r\n").await;
    while client.buffer.len() < 100_000 {
        client.io.read_buf(&mut client.buffer).await.unwrap();
    }
    let got = client.buffer.len() as u64;
    drop(client);
    let cut = counted(&server.context, 1).await;
    assert!(cut.response_bytes() >= got && cut.ends()[1] == 1, "{cut:?}");
    let mut client = server.connect().await;
    client.send("GET /hang HTTP/1.1\r\nhost: a.example\r\n\r\n").await;
    drop(client);
    let gone = counted(&server.context, 2).await.since(&cut);
    assert_eq!((gone.ends(), gone.response_bytes()), (&GONE, 0));
}

#[tokio::test]
async fn http1_counts_what_is_relayed_after_a_switch_of_protocols() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client
        .send("GET /upgrade HTTP/1.1\r\nhost: a.example\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        .await;
    client.send([b'x'; 1_000]).await;
    client.io.shutdown().await.unwrap();
    let answer = client.rest().await;
    assert!(answer.ends_with(b"xbye"));
    let numbers = counted(&server.context, 1).await;
    assert_eq!((numbers.ends()[0], numbers.response_bytes()), (1, answer.len() as u64));
    assert!((1_000..1_200).contains(&numbers.request_bytes()), "{numbers:?}");
}

#[tokio::test]
async fn http2_counts_what_the_windows_let_out() {
    let server = Server::start().await;
    let io = TcpStream::connect(server.address).await.unwrap();
    let (sender, connection): (h2::client::SendRequest<Bytes>, _) = h2::client::handshake(io).await.unwrap();
    let driven = tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    let request =
        |path: &str| http::Request::builder().uri(format!("http://a.example{path}")).body(()).unwrap();
    let (response, _) = sender.send_request(request("/big"), true).unwrap();
    let mut body = within(response).await.unwrap().into_body();
    let mut got = 0;
    while let Some(data) = within(body.data()).await {
        let length = data.unwrap().len();
        got += length;
        body.flow_control().release_capacity(length).unwrap();
    }
    let whole = counted(&server.context, 1).await;
    assert_eq!((got, whole.ends()[1]), (BIG_BYTES, 1));
    assert!(
        (1..10_000).contains(&(whole.response_bytes() - BIG_BYTES as u64)),
        "heads of frames too: {whole:?}"
    );
    assert!((20..100).contains(&whole.request_bytes()), "{whole:?}");

    // It reads what its window holds, opens it no further, and leaves.
    let (response, _) = sender.send_request(request("/big"), true).unwrap();
    let mut body = within(response).await.unwrap().into_body();
    let got = within(body.data()).await.unwrap().unwrap().len() as u64;
    let (hanging, _) = sender.send_request(request("/hang"), true).unwrap();
    drop(body);
    let cut = counted(&server.context, 2).await.since(&whole);
    assert!((got..BIG_BYTES as u64).contains(&cut.response_bytes()) && cut.ends()[1] == 1, "{cut:?}");
    // The whole connection breaks off.
    driven.abort();
    drop((hanging, sender));
    let gone = counted(&server.context, 3).await.since(&whole).since(&cut);
    assert_eq!((gone.ends(), gone.response_bytes()), (&GONE, 0));
}

#[tokio::test]
async fn http3_counts_what_the_streams_took() {
    let server = Quic::start().await;
    let connection = server.connect().await;
    let (mut driver, mut sender) =
        within(h3::client::new(h3_quinn::Connection::new(connection.clone()))).await.unwrap();
    let _driven =
        tokio::spawn(async move { std::future::poll_fn(|context| driver.poll_close(context)).await });
    let request = |path: &str| http::Request::builder().uri(format!("https://a.example{path}"));
    let mut stream =
        within(sender.send_request(request("/count").method("POST").body(()).unwrap())).await.unwrap();
    within(stream.send_data(Bytes::from(vec![b'x'; 5_000]))).await.unwrap();
    within(stream.finish()).await.unwrap();
    within(stream.recv_response()).await.unwrap();
    let whole = counted(&server.context, 1).await;
    assert!((5_020..5_100).contains(&whole.request_bytes()), "{whole:?}");
    assert!((4..300).contains(&whole.response_bytes()) && whole.ends()[1] == 1, "{whole:?}");

    let mut stream = within(sender.send_request(request("/endless").body(()).unwrap())).await.unwrap();
    within(stream.finish()).await.unwrap();
    within(stream.recv_response()).await.unwrap();
    let got = within(stream.recv_data()).await.unwrap().unwrap().remaining() as u64;
    stream.stop_sending(h3::error::Code::H3_REQUEST_CANCELLED);
    let cut = counted(&server.context, 2).await.since(&whole);
    assert!(cut.response_bytes() >= got && cut.ends()[1] == 1, "{cut:?}");

    let mut stream = within(sender.send_request(request("/hang").body(()).unwrap())).await.unwrap();
    within(stream.finish()).await.unwrap();
    stream.stop_sending(h3::error::Code::H3_REQUEST_CANCELLED);
    let before = whole.plus(&cut);
    let gone = counted(&server.context, 3).await.since(&before);
    assert_eq!((gone.ends(), gone.response_bytes()), (&GONE, 0));

    // The whole connection breaks off.
    let mut stream = within(sender.send_request(request("/endless").body(()).unwrap())).await.unwrap();
    within(stream.finish()).await.unwrap();
    within(stream.recv_response()).await.unwrap();
    connection.close(quinn::VarInt::from_u32(0x100), b"");
    let broken = counted(&server.context, 4).await.since(&before.plus(&gone));
    assert!(broken.ends()[1] == 1 && broken.response_bytes() > 0, "{broken:?}");
}
