use super::*;

#[tokio::test]
async fn requests_on_one_connection_are_answered_in_order_also_when_pipelined() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    assert_eq!(client.get("/now").await.text(), "now");
    let mut pipelined = String::new();
    for index in 0..50 {
        // Some are decided at once, and some wait.
        let path = if index % 3 == 0 { "/now".to_owned() } else { format!("/{index}") };
        pipelined += &format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    }
    client.send(pipelined).await;
    for index in 0..50 {
        let expected = if index % 3 == 0 { "now".to_owned() } else { format!("GET /{index}") };
        assert_eq!(client.answer().await.text(), expected);
    }
}

#[tokio::test]
async fn answers_before_the_answer_are_passed_on_in_order_and_not_to_http_1_0() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.send("GET /hints HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
        let statuses = [client.answer().await, client.answer().await].map(|answer| answer.status());
        assert_eq!(statuses, [102, 103]);
        assert_eq!(client.answer().await.text(), "hinted");
    }
    client.send("GET /hints HTTP/1.0\r\nHost: a.example\r\n\r\n").await;
    assert_eq!(client.answer().await.text(), "hinted");
}

#[tokio::test]
async fn stages_get_the_request_without_hop_by_hop_fields_and_with_its_host_folded() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client
        .send(
            "GET http://A.example:80/headers?q HTTP/1.1\r\nHost: A.Example\r\nConnection: keep-alive, X-Mine\r\n\
             X-Mine: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nUpgrade: h2c\r\nX-Yours: 2\r\n\r\n",
        )
        .await;
    assert_eq!(client.answer().await.text(), "a.example /headers?q None\nhost: a.example\nx-yours: 2\n");
}

#[tokio::test]
async fn a_malformed_request_gets_an_answer_that_is_heard_and_then_the_end() {
    let cases = [
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx", 400),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417),
        ("GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03", 400),
    ];
    let server = Server::start().await;
    let more = "x".repeat(100_000);
    for (request, status) in cases {
        let mut client = server.connect().await;
        // What is sent beyond must not make the answer vanish.
        client.send(format!("{request}{more}")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.says_close(), answer.whole), (status, true, true), "{request:?}");
        assert!(answer.field("cf-ray").ends_with("-TST") && answer.text().contains(answer.field("cf-ray")));
        assert!(client.rest().await.is_empty(), "{request:?}");
    }
    let mut client = server.connect().await;
    client.send(format!("GET /{} HTTP/1.1\r\n", "x".repeat(2_000))).await;
    assert_eq!(client.answer().await.status(), 414);
    let mut client = server.connect().await;
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}", "x".repeat(70_000))).await;
    assert_eq!(client.answer().await.status(), 431);
}

#[tokio::test]
async fn what_stands_behind_a_refused_request_is_never_run() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let smuggled = "GET /hang HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n{smuggled}")).await;
    assert_eq!(client.answer().await.status(), 400);
    assert!(client.rest().await.is_empty());
    assert_eq!(server.seen.cancelled.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn answers_are_framed_for_whoever_reads_them() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let answer = client.get("/big").await;
    assert_eq!((answer.body.len(), answer.field("content-length")), (BIG_BYTES, "8388608"));
    let answer = client.get("/big-chunked").await;
    assert_eq!((answer.body.len(), answer.field("transfer-encoding")), (BIG_BYTES, "chunked"));
    let answer = client.get("/trailers").await;
    assert_eq!((answer.text(), &answer.trailers.as_ref().unwrap()["digest"] == "abc"), ("data", true));
    let answer = client.get("/empty-stream").await;
    assert_eq!((answer.text(), answer.whole), ("", true));
    for status in [204, 304] {
        let answer = client.get(&format!("/{status}")).await;
        assert_eq!(answer.status(), status);
        assert!(!answer.head.headers.contains_key("content-length"));
    }
    assert!(client.get("/now").await.head.headers.contains_key("date"));
    // HTTP/1.0 cannot read chunks: the end of the connection ends the body.
    client.send("GET /big-chunked HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!((answer.body.len(), answer.says_close(), answer.whole), (BIG_BYTES, true, true));
    let mut client = server.connect().await;
    client.send("GET /now HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").await;
    assert_eq!(client.answer().await.head.headers["connection"], "keep-alive");
    client.send("GET /now HTTP/1.0\r\nHost: a\r\n\r\n").await;
    assert!(client.answer().await.says_close());
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn an_answer_to_head_declares_the_body_and_has_none() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let head = async |client: &mut Client<TcpStream>, path: &str| {
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let answer = client.answer_to(&Method::HEAD).await;
        answer.head.headers.get("content-length").map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(head(&mut client, "/now").await.as_deref(), Some("3"));
    assert_eq!(head(&mut client, "/declared").await.as_deref(), Some("1234"));
    assert_eq!(head(&mut client, "/big-chunked").await, None);
    assert_eq!(client.get("/now").await.text(), "now", "nothing of a body was sent");
}

#[tokio::test]
async fn a_body_that_fails_half_way_looks_cut_to_the_client() {
    let server = Server::start().await;
    for (path, version) in
        [("/cut", "1.1"), ("/cut-chunked", "1.1"), ("/cut", "1.0"), ("/cut-chunked", "1.0")]
    {
        let mut client = server.connect().await;
        client.send(format!("GET {path} HTTP/{version}\r\nHost: a\r\n\r\n")).await;
        // By HTTP/1.0 without length, the reset may even come before the head is read.
        let answer = within(async {
            let mut octets = Vec::new();
            let ended = client.io.read_to_end(&mut octets).await;
            (octets, ended)
        })
        .await;
        let text = String::from_utf8_lossy(&answer.0);
        assert!(!text.ends_with("0\r\n\r\n"), "{path} {version}: {text}");
        if (path, version) == ("/cut-chunked", "1.0") {
            assert!(answer.1.is_err(), "only a reset tells that it was cut");
        }
    }
}

#[tokio::test]
async fn faults_of_stages_become_pages_and_the_connection_goes_on() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let answer = client.get("/fail").await;
    assert_eq!((answer.status(), answer.says_close()), (530, false));
    assert!(answer.text().contains("no site of that name"), "{}", answer.text());
    assert_eq!(client.get("/now").await.text(), "now");
}

#[tokio::test]
async fn a_websocket_is_relayed_both_ways_and_its_halves_end_apart() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    // The first octets come with the request, before the switch is known.
    client
        .send("GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\nearly ")
        .await;
    let head = client.head(&Method::GET).await;
    assert_eq!(head.status.as_u16(), 101);
    assert_eq!(
        (&head.headers["upgrade"], &head.headers["connection"]),
        (&"websocket".parse().unwrap(), &"upgrade".parse().unwrap())
    );
    let late = "late".repeat(10_000);
    let (mut read, mut write) = client.io.into_split();
    let writing = tokio::spawn(async move {
        write.write_all(late.as_bytes()).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut octets = client.buffer.to_vec();
    within(read.read_to_end(&mut octets)).await.unwrap();
    writing.await.unwrap();
    let expected = format!("early {}bye", "late".repeat(10_000));
    assert_eq!(String::from_utf8(octets).unwrap(), expected, "the other half goes on after ours has ended");
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_our_error() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    assert_eq!(client.get("/upgrade").await.status(), 500);
    assert_eq!(client.get("/now").await.text(), "now");
}
