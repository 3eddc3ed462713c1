use super::*;

/// Octets of a body that is far larger than all buffers between client and stage.
const LARGE: usize = 4 * 1024 * 1024;

#[tokio::test]
async fn bodies_reach_the_stage_whole_in_either_framing() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world").await;
    assert_eq!(client.answer().await.text(), "11");
    client.send("POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    for _ in 0..1_000 {
        client.send("1\r\nx\r\n").await;
    }
    client.send("0\r\nX-Sum: x\r\n\r\nGET /now HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.text(), "1000");
    assert_eq!(client.answer().await.text(), "now");
}

#[tokio::test]
async fn a_body_is_echoed_while_it_is_still_being_sent() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send(format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\nfirst")).await;
    let head = client.head(&Method::POST).await;
    assert_eq!(head.headers["content-length"], LARGE.to_string().as_str());
    while client.buffer.len() < 5 {
        within(client.io.read_buf(&mut client.buffer)).await.unwrap();
    }
    let (mut read, mut write) = client.io.split();
    let sending = async {
        write.write_all(&vec![b'x'; LARGE - 5]).await.unwrap();
    };
    let receiving = async {
        let mut left = vec![0; LARGE - client.buffer.len()];
        read.read_exact(&mut left).await.unwrap();
    };
    within(async { tokio::join!(sending, receiving) }).await;
    client.buffer.clear();
    assert_eq!(client.get("/now").await.text(), "now", "and the connection goes on");
}

#[tokio::test]
async fn a_reader_that_stops_makes_the_client_wait() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let length = 512 * 1024 * 1024_u64;
    client.send(format!("POST /ignored HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")).await;
    // Nothing that the stage does not read is read for it: it has answered, and the connection ends.
    assert_eq!(client.answer().await.status(), 413);
    let mut client = server.connect().await;
    client
        .send(format!("POST /sip HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 16 * 1024 * 1024))
        .await;
    let piece = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    // Sends until the socket takes no more for a while: kernel buffers and our window are full.
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(500), client.io.write(&piece)).await {
        sent += written.unwrap();
        assert!(sent < 16 * 1024 * 1024, "everything was taken although nobody reads");
    }
    drop(client);
    // Nobody reads the socket while the window is full; the exchange is told when it is read again. Here the stage
    // never does, so that only the end of the server ends it.
    server.ending.stop.cancel();
    server.seen.cancelled(1).await;
}

#[tokio::test]
async fn a_client_that_asks_first_is_invited_only_when_the_body_is_wanted() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(client.head(&Method::POST).await.status.as_u16(), 100);
    client.send("hello").await;
    assert_eq!(client.answer().await.text(), "5");
    // Who does not wait is not invited.
    client
        .send("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello")
        .await;
    assert_eq!(client.answer().await.text(), "5");
    // A stage that does not want the body answers at once; whether it still comes is unknown, so the connection ends.
    client
        .send("POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        .await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.says_close()), (200, true));
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn a_short_body_that_nobody_reads_is_thrown_away_and_a_long_one_ends_the_connection() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send("POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel").await;
    let answer = client.answer().await;
    assert_eq!((answer.text(), answer.says_close()), ("POST /ignore", false));
    client.send("loGET /now HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.text(), "now");
    client.send(format!("POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n")).await;
    let (mut read, mut write) = client.io.into_split();
    let sending = tokio::spawn(async move { write.write_all(&vec![b'x'; LARGE]).await });
    let mut octets = Vec::new();
    within(read.read_to_end(&mut octets)).await.ok();
    assert!(String::from_utf8_lossy(&octets).contains("POST /ignore"), "the answer is heard nevertheless");
    assert!(String::from_utf8_lossy(&octets).contains("connection: close"));
    sending.await.unwrap().ok();
}

#[tokio::test]
async fn a_body_with_broken_framing_or_too_long_fails_at_the_stage_and_ends_the_connection() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send("POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX").await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.says_close()), (400, true));
    assert_eq!(*server.seen.body_failed.lock().unwrap(), Some(BodyError::Malformed));
    assert!(client.rest().await.is_empty());
    let mut client = server.connect().await;
    client.send("POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let (mut read, mut write) = client.io.into_split();
    let sending = tokio::spawn(async move {
        let mut piece = BytesMut::new();
        proxima_http1::encode_chunk(&vec![b'x'; 1024 * 1024], &mut piece);
        for _ in 0..17 {
            write.write_all(&piece).await?;
        }
        std::io::Result::Ok(())
    });
    let mut octets = Vec::new();
    within(read.read_to_end(&mut octets)).await.ok();
    assert!(octets.starts_with(b"HTTP/1.1 400"));
    assert_eq!(*server.seen.body_failed.lock().unwrap(), Some(BodyError::TooLarge));
    sending.await.unwrap().ok();
}
