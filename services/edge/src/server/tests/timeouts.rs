//! Slow clients, in simulated time: nothing here waits.

use tokio::io::DuplexStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::server::serve_http1;

/// A connection in memory, served in a task.
fn connect() -> (Client<DuplexStream>, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let (ours, theirs) = tokio::io::duplex(16 * 1024);
    let context = context(&seen, Timeouts::DEFAULT);
    tokio::spawn(serve_http1(theirs, BytesMut::new(), peer(), context, CancellationToken::new()));
    (Client::new(ours), seen)
}

/// How long `future` takes, in simulated seconds.
async fn seconds(future: impl Future) -> u64 {
    let begun = Instant::now();
    future.await;
    begun.elapsed().as_secs()
}

impl Client<DuplexStream> {
    /// Waits for the end, however long that takes.
    async fn end(&mut self) -> Bytes {
        while self.io.read_buf(&mut self.buffer).await.is_ok_and(|read| read > 0) {}
        self.buffer.split().freeze()
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_nothing_comes_is_closed_without_a_word() {
    let (mut client, _) = connect();
    let mut silence = Bytes::new();
    assert_eq!(seconds(async { silence = client.end().await }).await, Timeouts::DEFAULT.head.as_secs());
    assert!(silence.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_in_is_cut_off_however_busily_it_trickles() {
    let (client, _) = connect();
    let (mut read, mut write) = tokio::io::split(client.io);
    let trickling = tokio::spawn(async move {
        write.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").await.unwrap();
        while write.write_all(b"A: b\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let mut octets = Vec::new();
    let begun = Instant::now();
    read.read_to_end(&mut octets).await.unwrap();
    assert!(octets.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&octets));
    assert!(begun.elapsed() <= Timeouts::DEFAULT.head + Duration::from_secs(1));
    trickling.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_for_its_time_and_then_closed() {
    let (mut client, _) = connect();
    client.get("/now").await;
    tokio::time::sleep(Timeouts::DEFAULT.idle - Duration::from_secs(1)).await;
    assert_eq!(client.get("/now").await.text(), "now");
    let idle = seconds(client.end()).await;
    assert_eq!(idle, Timeouts::DEFAULT.idle.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_or_trickles_fails_at_the_stage() {
    for trickle in [0, 1] {
        let (mut client, seen) = connect();
        client.send("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx").await;
        let (mut read, mut write) = tokio::io::split(client.io);
        let trickling = tokio::spawn(async move {
            for _ in 0..50 {
                tokio::time::sleep(Duration::from_secs(10)).await;
                if trickle == 1 && write.write_all(b"x").await.is_err() {
                    return;
                }
            }
        });
        let begun = Instant::now();
        let mut octets = [0; 12];
        read.read_exact(&mut octets).await.unwrap();
        assert_eq!(&octets, b"HTTP/1.1 400");
        assert_eq!(begun.elapsed().as_secs(), Timeouts::DEFAULT.body_idle.as_secs());
        assert_eq!(*seen.body_failed.lock().unwrap(), Some(BodyError::TimedOut));
        trickling.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_makes_progress_may_take_as_long_as_it_likes() {
    let (mut client, _) = connect();
    client.send("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 102400\r\n\r\n").await;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_secs(30)).await;
        client.send(vec![b'x'; 1024]).await;
    }
    assert_eq!(client.answer().await.text(), "102400");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_answer_is_dropped() {
    let (mut client, seen) = connect();
    client.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let begun = Instant::now();
    while seen.cancelled.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(begun.elapsed().as_secs() < 100, "it hangs");
    }
    assert!(begun.elapsed() >= Timeouts::DEFAULT.write_idle);
}

#[tokio::test(start_paused = true)]
async fn a_websocket_without_movement_is_closed_after_its_own_time() {
    let (mut client, _) = connect();
    client
        .send("GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    client.head(&Method::GET).await;
    tokio::time::sleep(Timeouts::DEFAULT.upgrade_idle - Duration::from_secs(1)).await;
    client.send("x").await;
    let mut octet = [0];
    client.io.read_exact(&mut octet).await.unwrap();
    let idle = seconds(client.end()).await;
    assert_eq!(idle, Timeouts::DEFAULT.upgrade_idle.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_opens_its_http2_window_by_single_octets_is_cut_off() {
    let (ours, ..) = http2_in_memory(16 * 1024);
    let small = h2::client::Builder::new().initial_window_size(2).handshake::<_, Bytes>(ours).await;
    let (sender, connection) = small.unwrap();
    tokio::spawn(connection);
    let request = http::Request::builder().uri("http://a.example/endless").body(()).unwrap();
    let (response, _) = sender.ready().await.unwrap().send_request(request, true).unwrap();
    let mut body = response.await.unwrap().into_body();
    let begun = Instant::now();
    while let Some(Ok(data)) = body.data().await {
        assert!(begun.elapsed() < 2 * Timeouts::DEFAULT.write_idle, "it goes on for ever");
        tokio::time::sleep(Duration::from_secs(10)).await;
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    assert!(begun.elapsed() >= Timeouts::DEFAULT.write_idle);
}

#[tokio::test(start_paused = true)]
async fn a_small_answer_that_is_never_taken_by_http2_is_given_up() {
    let (ours, ..) = http2_in_memory(16 * 1024);
    let closed = h2::client::Builder::new().initial_window_size(0).handshake::<_, Bytes>(ours).await;
    let (sender, connection) = closed.unwrap();
    tokio::spawn(connection);
    let request = http::Request::builder().uri("http://a.example/now").body(()).unwrap();
    let begun = Instant::now();
    let (response, _) = sender.ready().await.unwrap().send_request(request, true).unwrap();
    let error = response.await.unwrap().into_body().data().await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
    let idle = Timeouts::DEFAULT.write_idle;
    assert!(begun.elapsed() >= idle && begun.elapsed() <= 3 * idle, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_waits_for_more_urgent_ones_is_not_taken_for_one_that_nobody_takes() {
    let (ours, ..) = http2_in_memory(16 * 1024);
    let (sender, connection) = h2::client::handshake(ours).await.unwrap();
    tokio::spawn(connection);
    let request = |path: &str, priority: &str| {
        let request = http::Request::builder().uri(format!("http://a.example{path}"));
        request.header("priority", priority).body(()).unwrap()
    };
    let mut sender = sender.ready().await.unwrap();
    let (urgent, _) = sender.send_request(request("/full", "u=0"), true).unwrap();
    let (late, _) = sender.send_request(request("/full", "u=7"), true).unwrap();
    let (mut urgent, mut late) = (urgent.await.unwrap().into_body(), late.await.unwrap().into_body());
    let slowly = tokio::spawn(async move {
        while let Some(Ok(data)) = urgent.data().await {
            urgent.flow_control().release_capacity(data.len()).unwrap();
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    });
    let mut got = 0;
    let begun = Instant::now();
    while let Some(data) = late.data().await {
        let data = data.expect("it is not given up");
        got += data.len();
        late.flow_control().release_capacity(data.len()).unwrap();
    }
    assert_eq!(got, super::FULL_BYTES);
    assert!(begun.elapsed() > Timeouts::DEFAULT.write_idle, "it had to wait: {:?}", begun.elapsed());
    slowly.abort();
}
