//! Peers that are not who they should be, or do not do as they should.

use std::{net::SocketAddr, sync::Arc};

use crate::common::*;
use proxima_ledger::{
    Ledger, LedgerError, PeerTls, Seq,
    message::{Message, Pulse},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

/// Frames by hand, over any stream.
struct Raw<S>(S);

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Raw<S> {
    async fn send(&mut self, message: &Message) -> std::io::Result<()> {
        let contents = message.encode();
        self.0.write_all(&u32::try_from(contents.len()).unwrap().to_be_bytes()).await?;
        self.0.write_all(&contents).await?;
        self.0.flush().await
    }

    async fn receive(&mut self) -> Option<Message> {
        let length = self.0.read_u32().await.ok()?;
        let mut contents = vec![0; length as usize];
        self.0.read_exact(&mut contents).await.ok()?;
        Some(Message::decode(&contents).unwrap())
    }

    /// Whether the other side ends the connection soon, whatever it says before.
    async fn is_dropped(&mut self) -> bool {
        timeout(PATIENCE, async { while self.receive().await.is_some() {} }).await.is_ok()
    }
}

type RawClient = Raw<tokio_rustls::client::TlsStream<TcpStream>>;

async fn dial(address: SocketAddr, tls: &PeerTls) -> std::io::Result<RawClient> {
    let stream = TcpStream::connect(address).await?;
    let connector = TlsConnector::from(Arc::clone(&tls.client));
    Ok(Raw(connector.connect(tls.server_name.clone(), stream).await?))
}

/// Greets as a follower does.
async fn greet(address: SocketAddr, tls: &PeerTls) -> RawClient {
    let mut raw = dial(address, tls).await.unwrap();
    raw.send(&Message::Hello { version: 3, log: None }).await.unwrap();
    assert!(matches!(raw.receive().await, Some(Message::Welcome { version: 3, keeps_log: true, .. })));
    raw
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_certificate_of_another_authority_is_refused_on_both_sides() {
    let (folders, ours, theirs) = ((folder(), folder()), Authority::new(), Authority::new());
    let log = Running::start(log_config(), folders.0.path(), ours.node("log")).await;
    log.put("one.example").await;
    // It trusts us, but we do not trust it; and then neither trusts the other.
    for tls in [ours.identity(&theirs, "stranger"), theirs.node("stranger"), ours.nameless()] {
        let refused = async {
            let mut raw = dial(log.address(), &tls).await?;
            // With TLS 1.3 a client learns of its refusal when it reads.
            raw.send(&Message::Hello { version: 3, log: None }).await?;
            raw.0.read_u8().await.map(|_| ())
        };
        assert!(timeout(PATIENCE, refused).await.unwrap().is_err());
    }
    let config = follower_config(log.address(), &[]);
    let stranger = Running::start(config, folders.1.path(), theirs.node("stranger")).await;
    until("the problem is named", || {
        stranger.status().problem.is_some_and(|problem| problem.contains("TLS handshake"))
    })
    .await;
    assert!(!stranger.status().ready);
    // The cluster's own go on.
    let mut friend = greet(log.address(), &ours.node("friend")).await;
    friend.send(&Message::Subscribe { from: Seq::ZERO, digest: None }).await.unwrap();
    assert!(friend.receive().await.is_some());
    stranger.stop().await;
    log.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_sends_what_is_no_message_is_dropped_and_others_are_served() {
    let (folder, authority) = (folder(), Authority::new());
    let log = Running::start(log_config(), folder.path(), authority.node("log")).await;
    let tls = authority.node("peer");
    let frame = |contents: &[u8]| [&u32::try_from(contents.len()).unwrap().to_be_bytes(), contents].concat();
    let before_greeting = [
        frame(b"GET / HTTP/1.1"),
        frame(&[]),
        u32::MAX.to_be_bytes().to_vec(),
        frame(&Message::SnapshotRequest.encode()),
        frame(&Message::Hello { version: 999, log: None }.encode()),
    ];
    for octets in before_greeting {
        let mut raw = dial(log.address(), &tls).await.unwrap();
        raw.0.write_all(&octets).await.unwrap();
        raw.0.flush().await.unwrap();
        assert!(raw.is_dropped().await, "{octets:?}");
    }
    let heartbeat = Pulse { seq: Seq(9), log_last: Seq(9), log_heard: None };
    let after_greeting = [
        frame(&[200, 1, 2, 3]),
        frame(&Message::Heartbeat(heartbeat).encode()),
        frame(&Message::Entry(vec![1; 100]).encode()),
        (u32::try_from(proxima_ledger::limits::FRAME_OCTETS_MAX).unwrap() + 1).to_be_bytes().to_vec(),
    ];
    for octets in after_greeting {
        let mut raw = greet(log.address(), &tls).await;
        raw.0.write_all(&octets).await.unwrap();
        raw.0.flush().await.unwrap();
        assert!(raw.is_dropped().await, "{octets:?}");
    }
    assert_eq!(log.put("one.example").await, Seq(1));
    log.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_does_not_read_holds_up_nobody_and_resumes_by_its_cursor() {
    let (folders, authority) = ((folder(), folder()), Authority::new());
    let log = Running::start(log_config(), folders.0.path(), authority.node("log")).await;
    let tls = authority.node("slow");
    let mut slow = greet(log.address(), &tls).await;
    slow.send(&Message::Subscribe { from: Seq::ZERO, digest: None }).await.unwrap();
    let node =
        Running::start(follower_config(log.address(), &[]), folders.1.path(), authority.node("node")).await;
    // Much more than the sockets hold.
    for number in 0..40 {
        let change = put_raw(&key(&number.to_string()), vec![1; 500_000]);
        log.ledger.log.append(append(vec![change])).await.unwrap();
    }
    reaches(&node.ledger.replica, Seq(40)).await;
    let mut cursor = Seq::ZERO;
    let mut take = async |slow: &mut RawClient, until: u64| {
        while cursor.0 < until {
            if let Message::Entry(entry) = slow.receive().await.unwrap() {
                let seq = u64::from_be_bytes(entry[..8].try_into().unwrap());
                assert_eq!(seq, cursor.0 + 1, "in order, without a gap");
                cursor = Seq(seq);
            }
        }
        cursor
    };
    let cursor = take(&mut slow, 10).await;
    drop(slow);
    let mut slow = greet(log.address(), &tls).await;
    slow.send(&Message::Subscribe { from: cursor, digest: None }).await.unwrap();
    assert_eq!(take(&mut slow, 40).await, Seq(40));
    node.stop().await;
    log.stop().await;
}

/// What an upstream that misbehaves says after it was subscribed to.
#[derive(Clone, Copy, Debug)]
enum Misbehaviour {
    /// It sends an entry that is not the next.
    Gap,
    /// It sends octets that are no entry.
    Garbage,
    /// It says nothing any more.
    Silence,
    /// It follows another log.
    OtherLog,
}

/// An upstream with a certificate of the cluster that misbehaves. Passes on the greeting of a good one.
async fn misbehaving(good: SocketAddr, tls: PeerTls, how: Misbehaviour) -> SocketAddr {
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = TlsAcceptor::from(Arc::clone(&tls.server));
            let tls = tls.clone();
            tokio::spawn(async move {
                let mut raw = Raw(acceptor.accept(stream).await.ok()?);
                raw.receive().await?;
                let mut to_good = dial(good, &tls).await.ok()?;
                to_good.send(&Message::Hello { version: 3, log: None }).await.ok()?;
                let mut welcome = to_good.receive().await?;
                if let (Misbehaviour::OtherLog, Message::Welcome { log, .. }) = (how, &mut welcome) {
                    let mut other = Message::Hello { version: 3, log: *log }.encode();
                    *other.last_mut().unwrap() ^= 1;
                    let Ok(Message::Hello { log: other, .. }) = Message::decode(&other) else { return None };
                    *log = other;
                }
                raw.send(&welcome).await.ok()?;
                let Some(Message::Subscribe { from, .. }) = raw.receive().await else { return None };
                match how {
                    Misbehaviour::Gap => {
                        to_good.send(&Message::Subscribe { from: Seq::ZERO, digest: None }).await.ok()?;
                        let Some(Message::Entry(mut entry)) = to_good.receive().await else { return None };
                        entry[..8].copy_from_slice(&(from.0 + 5).to_be_bytes());
                        raw.send(&Message::Entry(entry)).await.ok()?;
                    }
                    Misbehaviour::Garbage => raw.send(&Message::Entry(vec![7; 50])).await.ok()?,
                    Misbehaviour::Silence | Misbehaviour::OtherLog => {}
                }
                raw.receive().await.map(|_| ())
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_misbehaves_is_left_for_a_good_one_and_nothing_of_it_is_applied() {
    let (folders, authority) = ((folder(), folder()), Authority::new());
    let log = Running::start(log_config(), folders.0.path(), authority.node("log")).await;
    log.put("one.example").await;
    // So that it has a state of its own already.
    let node =
        Running::start(follower_config(log.address(), &[]), folders.1.path(), authority.node("node")).await;
    reaches(&node.ledger.replica, Seq(1)).await;
    node.stop().await;
    for how in [Misbehaviour::Gap, Misbehaviour::Garbage, Misbehaviour::Silence, Misbehaviour::OtherLog] {
        let bad = misbehaving(log.address(), authority.node("bad"), how).await;
        let config = follower_config(log.address(), &[bad]);
        let node = Running::start(config, folders.1.path(), authority.node("node")).await;
        let seq = log.put("next.example").await;
        reaches(&node.ledger.replica, seq).await;
        assert_eq!(
            node.ledger.replica.entries(Seq(seq.0 - 1), 9),
            log.ledger.replica.entries(Seq(seq.0 - 1), 9)
        );
        node.stop().await;
    }
    log.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_never_follows_another_log_than_its_own() {
    let (folders, authority) = ((folder(), folder(), folder()), Authority::new());
    let log = Running::start(log_config(), folders.0.path(), authority.node("log")).await;
    let other = Running::start(log_config(), folders.1.path(), authority.node("other")).await;
    log.put("ours.example").await;
    for _ in 0..5 {
        other.put("theirs.example").await;
    }
    let node =
        Running::start(follower_config(log.address(), &[]), folders.2.path(), authority.node("node")).await;
    reaches(&node.ledger.replica, Seq(1)).await;
    node.stop().await;
    let config = follower_config(other.address(), &[]);
    let node = Running::start(config, folders.2.path(), authority.node("node")).await;
    until("the problem is named", || {
        node.status().problem.is_some_and(|problem| problem.contains("another log"))
    })
    .await;
    assert_eq!(node.ledger.replica.seq(), Seq(1));
    assert!(holds(&node.ledger.replica, "ours.example"));
    node.stop().await;
    other.stop().await;
    log.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_differs_is_refused_although_the_log_has_the_same_name() {
    let (folders, authority) = ((folder(), folder(), folder()), Authority::new());
    let log = Running::start(log_config(), folders.0.path(), authority.node("log")).await;
    let address = log.address();
    log.put("one.example").await;
    let node = Running::start(follower_config(address, &[]), folders.1.path(), authority.node("node")).await;
    reaches(&node.ledger.replica, Seq(1)).await;
    node.stop().await;
    log.stop().await;
    // Two copies of the log go different ways: as after a restore from an old copy of the disk.
    copy(folders.0.path(), folders.2.path());
    let first = Running::start(log_config(), folders.0.path(), authority.node("log")).await;
    first.put("two.example").await;
    let config = follower_config(first.address(), &[]);
    let node = Running::start(config, folders.1.path(), authority.node("node")).await;
    reaches(&node.ledger.replica, Seq(2)).await;
    node.stop().await;
    first.stop().await;
    let second = Running::start(log_config(), folders.2.path(), authority.node("log")).await;
    second.put("another.example").await;
    second.put("third.example").await;
    let config = follower_config(second.address(), &[]);
    let node = Running::start(config, folders.1.path(), authority.node("node")).await;
    until("the problem is named", || {
        node.status().problem.is_some_and(|problem| problem.contains("histories differ"))
    })
    .await;
    assert_eq!(node.ledger.replica.seq(), Seq(2));
    node.stop().await;
    second.stop().await;
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_configuration_with_a_mistake_is_refused_with_what_to_do() {
    let folder = folder();
    let start = |config, tls| Ledger::start(config, folder.path(), sealer(), tls, CancellationToken::new());
    let mistaken = proxima_ledger::LedgerConfig { upstreams: vec![any_port()], ..log_config() };
    assert!(
        matches!(start(mistaken, None).await, Err(LedgerError::Config(text)) if text.contains("ledger.log"))
    );
    // Serving followers without an identity.
    assert!(
        matches!(start(log_config(), None).await, Err(LedgerError::Config(text)) if text.contains("identity"))
    );
    let taken = std::net::TcpListener::bind(any_port()).unwrap();
    let config = proxima_ledger::LedgerConfig { listen: taken.local_addr().ok(), ..log_config() };
    let started = timeout(PATIENCE, start(config, Some(Authority::new().node("log")))).await.unwrap();
    assert!(matches!(started, Err(LedgerError::Listen { .. })));
}
