use super::*;

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_exchange() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n").await;
    drop(client);
    server.seen.cancelled(1).await;
    // Also while its body is on the way, and while pipelined requests wait behind it.
    let mut client = server.connect().await;
    client.send("POST /sip HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx").await;
    drop(client);
    server.seen.cancelled(2).await;
    let mut client = server.connect().await;
    client.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\nGET /now HTTP/1.1\r\nHost: a\r\n\r\n").await;
    drop(client);
    server.seen.cancelled(3).await;
    // And while the answer streams.
    let mut client = server.connect().await;
    client.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.head(&Method::GET).await;
    drop(client);
    server.seen.cancelled(4).await;
}

#[tokio::test]
async fn draining_ends_idle_connections_at_once_and_busy_ones_after_their_answer() {
    let server = Server::start().await;
    let mut idle = server.connect().await;
    idle.get("/now").await;
    let mut fresh = server.connect().await;
    let mut busy = server.connect().await;
    busy.send("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel").await;
    // The exchange has begun once the connection is open and counted; what matters is that it is not idle.
    let mut streaming = server.connect().await;
    streaming.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n").await;
    streaming.head(&Method::GET).await;
    fresh.send("GET /no").await;
    while server.ending.connections.len() < 4 {
        tokio::task::yield_now().await;
    }
    server.ending.drain.cancel();
    assert!(idle.rest().await.is_empty());
    busy.send("lo").await;
    let answer = busy.answer().await;
    assert_eq!((answer.text(), answer.says_close()), ("5", true));
    assert!(busy.rest().await.is_empty());
    fresh.send("w HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = fresh.answer().await;
    assert_eq!((answer.text(), answer.says_close()), ("now", true), "who came before is served");
    within(async {
        let mut octets = vec![0; 64 * 1024];
        while streaming.io.read(&mut octets).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    server.ending.connections.close();
    drop((idle, busy, fresh, streaming));
    within(server.ending.connections.wait()).await;
    assert!(TcpStream::connect(server.address).await.is_err(), "nothing listens any more");
}

#[tokio::test]
async fn connections_beyond_the_bound_are_closed_at_once_and_slots_come_back() {
    let server = Server::with(2, None).await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    first.get("/now").await;
    second.get("/now").await;
    let mut third = server.connect().await;
    assert!(third.rest().await.is_empty());
    drop(first);
    within(async {
        loop {
            let mut next = server.connect().await;
            next.io.write_all(b"GET /now HTTP/1.1\r\nHost: a\r\n\r\n").await.ok();
            if !next.rest_until_answer().await.is_empty() {
                return;
            }
        }
    })
    .await;
}

impl Client<TcpStream> {
    /// The first octets of an answer, or nothing if the server closed.
    async fn rest_until_answer(&mut self) -> Bytes {
        within(self.io.read_buf(&mut self.buffer)).await.ok();
        self.buffer.split().freeze()
    }
}
