//! Zones that come from primaries of the tests' own: of several the newest, of several accounts each.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use proxima_control::FIRST_ACCOUNT;
use proxima_model::{
    AccountId, DnsName, PrimarySoa, Record, RecordData, RecordId, SecondaryZone, Timestamp, TransferPeerId,
    TransferredRecord, TsigKeyId, Ttl, ZoneId,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::harness::{Node, Options};

/// What a primary is like.
#[derive(Clone, Copy)]
pub(crate) struct Primary {
    serial: u32,
    /// Whether it answers with authority.
    authority: bool,
    /// Whether it ever comes to an end with a transfer.
    ends: bool,
    /// What holds its transfers up.
    gate: Option<&'static Gate>,
    /// Hosts that the zone has beside its own name.
    hosts: u16,
}

pub(crate) const RIGHT: Primary = Primary { serial: 5, authority: true, ends: true, gate: None, hosts: 0 };

/// Holds transfers up until they are let go, and counts them.
struct Gate {
    open: watch::Sender<bool>,
    asked: watch::Sender<usize>,
}

impl Gate {
    /// As long as the tests run.
    fn new() -> &'static Self {
        Box::leak(Box::new(Self { open: watch::Sender::new(false), asked: watch::Sender::new(0) }))
    }

    fn pass(&self) {
        self.asked.send_modify(|asked| *asked += 1);
        let mut open = self.open.subscribe();
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(open.wait_for(|open| *open))
            .unwrap();
    }

    async fn until_asked(&self, count: usize) {
        self.asked.subscribe().wait_for(|asked| *asked >= count).await.unwrap();
    }
}

impl Primary {
    /// Where it is, from now on.
    pub(crate) fn start(self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                std::thread::spawn(move || stream.and_then(|mut stream| self.serve(&mut stream)).ok());
            }
        });
        address
    }

    fn serve(self, stream: &mut TcpStream) -> std::io::Result<()> {
        loop {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut question = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut question)?;
            let name = 12 + question[12..].iter().position(|octet| *octet == 0).unwrap() + 1;
            let is_transfer = question[name + 1] != 6;
            let since = (question[name + 1] == IXFR).then(|| question[question.len() - 17]);
            let soa_of = |serial| record(6, &soa(serial).data);
            let soa = soa_of(self.serial);
            let host = |serial: u32| record(1, &[192, 0, 2, u8::try_from(serial).unwrap()]);
            if let Some(gate) = self.gate.filter(|_| is_transfer) {
                gate.pass();
            }
            if is_transfer && !self.ends {
                stream.write_all(&self.answer(&question[..name + 4], &[soa]))?;
                // Slowly, until the other side has enough of it.
                stream.set_read_timeout(Some(Duration::from_secs(2)))?;
                while stream.read(&mut [0]).is_err() {
                    stream.write_all(&self.answer(&question[..name + 4], &[host(self.serial)]))?;
                }
                return Ok(());
            }
            let records = match since {
                // RFC 1995, 4: what was there and goes, and what comes.
                Some(5) => vec![soa.clone(), soa_of(5), host(5), soa.clone(), host(self.serial), soa],
                _ if is_transfer && self.hosts > 0 => {
                    stream
                        .write_all(&self.answer(&question[..name + 4], &[soa.clone(), host(self.serial)]))?;
                    for hosts in self.hosts().chunks(200) {
                        stream.write_all(&self.answer(&question[..name + 4], hosts))?;
                    }
                    vec![soa]
                }
                _ if is_transfer => vec![soa.clone(), host(self.serial), soa],
                _ => vec![soa],
            };
            stream.write_all(&self.answer(&question[..name + 4], &records))?;
        }
    }

    /// Their records; other ones at each serial.
    fn hosts(self) -> Vec<Vec<u8>> {
        let serial = u8::try_from(self.serial).unwrap();
        let host = |number: u16| {
            let [high, low] = number.to_be_bytes();
            let label = format!("h{number:05}");
            [&[6][..], label.as_bytes(), &record(1, &[10, serial, high, low])].concat()
        };
        (0..self.hosts).map(host).collect()
    }

    fn answer(self, question: &[u8], records: &[Vec<u8>]) -> Vec<u8> {
        let flags = if self.authority { 0x84 } else { 0x80 };
        let count = u8::try_from(records.len()).unwrap();
        let head = [question[0], question[1], flags, 0, 0, 1, 0, count, 0, 0, 0, 0];
        let message = [&head[..], &question[12..], &records.concat()].concat();
        [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat()
    }
}

const IXFR: u8 = 251;

fn soa(serial: u32) -> PrimarySoa {
    let numbers = [serial, 3_600, 600, 86_400, 60].map(u32::to_be_bytes).concat();
    PrimarySoa { ttl: 60, data: [&[0, 0][..], &numbers].concat() }
}

/// A record of the name that is asked about.
fn record(rtype: u8, data: &[u8]) -> Vec<u8> {
    let length = u8::try_from(data.len()).unwrap();
    [&[0xc0, 12, 0, rtype, 0, 1, 0, 0, 0, 60, 0, length][..], data].concat()
}

pub(crate) async fn start() -> Node {
    Node::with(options()).await
}

pub(crate) fn options() -> Options {
    let control = "activation = \"trust\"\nallow_private_peers = true".to_owned();
    Options { control, ..Options::default() }
}

pub(crate) async fn peer(node: &Node, account: AccountId, at: SocketAddr) -> Value {
    let path = format!("/accounts/{account}/secondary_dns/peers");
    let body = json!({"name": "primary", "ip": at.ip(), "port": at.port(), "ixfr_enable": true});
    node.ok("POST", &path, Some(body)).await["id"].clone()
}

/// A zone that comes from these peers.
pub(crate) async fn zone(node: &Node, account: AccountId, name: &str, peers: &[Value]) -> ZoneId {
    let body = json!({"name": name, "account": {"id": account}, "type": "secondary"});
    let zone = node.ok("POST", "/zones", Some(body)).await;
    let id = zone["id"].as_str().unwrap();
    let body = json!({"name": name, "peers": peers});
    node.ok("POST", &format!("/zones/{id}/secondary_dns/incoming"), Some(body)).await;
    id.parse().unwrap()
}

pub(crate) async fn until(node: &Node, zone: ZoneId, what: &str, holds: impl Fn(&SecondaryZone) -> bool) {
    let found = |snapshot: &proxima_ledger::Snapshot| {
        snapshot.get::<SecondaryZone>(&zone).unwrap().is_some_and(|secondary| holds(&secondary))
    };
    node.until(what, found).await;
}

pub(crate) fn has_serial(serial: u32) -> impl Fn(&SecondaryZone) -> bool {
    move |secondary| secondary.soa.as_ref().is_some_and(|soa| soa.serial() == serial)
}

fn fails(why: &str) -> impl Fn(&SecondaryZone) -> bool {
    move |secondary| secondary.failure.as_ref().is_some_and(|failure| failure.message.contains(why))
}

/// Has a look taken by saying that a primary has changed, as a server that heard it does.
async fn notice(node: &Node, zone: ZoneId) {
    let notice = proxima_model::ZoneNotice { zone, at: proxima_model::Timestamp::default() };
    node.append(vec![node.context.replica.put(&notice)]).await;
}

#[tokio::test]
async fn a_primary_that_lags_behind_does_not_hide_one_that_has_something_newer() {
    let (node, account) = (start().await, FIRST_ACCOUNT);
    let lags = peer(&node, account, RIGHT.start()).await;
    let zone = zone(&node, account, "example.com", std::slice::from_ref(&lags)).await;
    until(&node, zone, "the zone", has_serial(5)).await;
    let newer = peer(&node, account, Primary { serial: 6, ..RIGHT }.start()).await;
    let mut incoming = proxima_model::IncomingTransfers {
        zone,
        peers: vec![id(&lags), id(&newer)],
        refresh_seconds: 300,
        forced_at: None,
        created_at: proxima_model::Timestamp::default(),
        modified_at: proxima_model::Timestamp::default(),
    };
    node.append(vec![node.context.replica.put(&incoming)]).await;
    notice(&node, zone).await;
    until(&node, zone, "the newer serial", has_serial(6)).await;

    // One whose serial has gone back is heard, and its owner told.
    incoming.peers = vec![id(&lags)];
    node.append(vec![node.context.replica.put(&incoming)]).await;
    notice(&node, zone).await;
    until(&node, zone, "what its owner is told", fails("serial 5, which is older than 6")).await;
    // One that is up to date is enough.
    incoming.peers = vec![id(&newer), id(&lags)];
    node.append(vec![node.context.replica.put(&incoming)]).await;
    notice(&node, zone).await;
    until(&node, zone, "that all is well", |secondary| secondary.failure.is_none()).await;
}

fn id(peer: &Value) -> TransferPeerId {
    peer.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_account_whose_primaries_are_slow_keeps_no_other_waiting() {
    let node = start().await;
    let slow = Primary { ends: false, ..RIGHT }.start();
    let slow = peer(&node, FIRST_ACCOUNT, slow).await;
    // More than all accounts together have places for.
    for number in 0..12 {
        zone(&node, FIRST_ACCOUNT, &format!("slow-{number}.example"), std::slice::from_ref(&slow)).await;
    }
    let other = node.account("another one").await;
    let primary = peer(&node, other, RIGHT.start()).await;
    let zone = zone(&node, other, "example.org", &[primary]).await;
    until(&node, zone, "the other account's zone", has_serial(5)).await;
}

#[tokio::test]
async fn a_primary_without_authority_is_not_heard_and_one_that_is_corrected_is_asked_at_once() {
    let (node, account) = (start().await, FIRST_ACCOUNT);
    let lame = peer(&node, account, Primary { authority: false, ..RIGHT }.start()).await;
    let zone = zone(&node, account, "example.com", std::slice::from_ref(&lame)).await;
    until(&node, zone, "why it does not come", fails("without authority")).await;
    // A zone that never came waits for ten seconds, and longer each time.
    let path = format!("/accounts/{account}/secondary_dns/peers/{}", lame.as_str().unwrap());
    let at = RIGHT.start();
    let begun = std::time::Instant::now();
    node.ok("PUT", &path, Some(json!({"name": "primary", "ip": at.ip(), "port": at.port()}))).await;
    until(&node, zone, "the zone", has_serial(5)).await;
    assert!(begun.elapsed().as_secs() < 9, "it waited: {:?}", begun.elapsed());
}

#[tokio::test]
async fn what_is_named_is_put_again_so_that_nobody_deletes_it_at_the_same_time() {
    let (node, account) = (start().await, FIRST_ACCOUNT);
    let key = json!({"name": "peer.key", "algo": "hmac-sha256.", "secret": "c2l4dGVlbiBvY3RldHMhIQ=="});
    let key = node.ok("POST", &format!("/accounts/{account}/secondary_dns/tsigs"), Some(key)).await;
    let key: TsigKeyId = key["id"].as_str().unwrap().parse().unwrap();
    let revision = |key: &proxima_model::Key| node.context.replica.snapshot().unwrap().revision(key).unwrap();
    let of_key = proxima_model::Key::new(proxima_model::Kind::Tsig, &[&account, &key]);
    let before = revision(&of_key);
    let body = json!({"name": "primary", "ip": "192.0.2.1", "tsig_id": key});
    let peer = node.ok("POST", &format!("/accounts/{account}/secondary_dns/peers"), Some(body)).await;
    assert!(before.is_some() && revision(&of_key) > before, "the key");
    let of_peer = proxima_model::Key::new(proxima_model::Kind::TransferPeer, &[&account, &id(&peer["id"])]);
    let before = revision(&of_peer);
    zone(&node, account, "example.com", &[peer["id"].clone()]).await;
    assert!(before.is_some() && revision(&of_peer) > before, "the peer");
}

/// A record that another process put there.
pub(crate) fn record_of_another(zone: ZoneId, from: u32) -> TransferredRecord {
    let record = Record {
        id: RecordId::from_bytes([9; 16]),
        zone,
        name: DnsName::parse("another.example.com").unwrap(),
        data: RecordData::A { address: [192, 0, 2, 99].into() },
        ttl: Ttl::transferred(60),
        proxied: false,
        flatten: false,
        comment: None,
        tags: Vec::new(),
        created_at: Timestamp::default(),
        modified_at: Timestamp::default(),
    };
    TransferredRecord { record, from, until: None, wire: None }
}

pub(crate) fn contents(node: &Node, zone: ZoneId) -> Vec<String> {
    let snapshot = node.context.replica.snapshot().unwrap();
    let found = snapshot.scan::<TransferredRecord>(&[&zone]).map(Result::unwrap);
    found.map(|found| found.record.data.content().to_string()).collect()
}

pub(crate) fn secondary(node: &Node, zone: ZoneId) -> SecondaryZone {
    node.context.replica.snapshot().unwrap().get::<SecondaryZone>(&zone).unwrap().unwrap()
}

#[tokio::test]
async fn differences_are_not_taken_of_what_another_process_put_in_force_meanwhile() {
    let (node, account) = (start().await, FIRST_ACCOUNT);
    let first = peer(&node, account, RIGHT.start()).await;
    let zone = zone(&node, account, "example.com", std::slice::from_ref(&first)).await;
    until(&node, zone, "the zone", has_serial(5)).await;
    let gate = Gate::new();
    let newer = Primary { serial: 7, gate: Some(gate), ..RIGHT }.start();
    let path = format!("/accounts/{account}/secondary_dns/peers/{}", first.as_str().unwrap());
    let body = json!({"name": "primary", "ip": newer.ip(), "port": newer.port(), "ixfr_enable": true});
    node.ok("PUT", &path, Some(body)).await;
    notice(&node, zone).await;
    gate.until_asked(1).await;
    // What has gone from 5 to 6 in the process that ends: with what came by 5, and another record.
    let six = SecondaryZone { soa: Some(soa(6)), ..secondary(&node, zone) };
    let another = record_of_another(zone, six.generation);
    node.append(vec![node.context.replica.put(&six), node.context.replica.put(&another)]).await;
    assert_eq!(contents(&node, zone).len(), 2);
    gate.open.send_replace(true);
    until(&node, zone, "the newer serial", has_serial(7)).await;
    assert_eq!(contents(&node, zone), ["192.0.2.7"], "nothing of 6 is left");
    assert_eq!(*gate.asked.borrow(), 2, "it was fetched again");
}

#[tokio::test]
async fn what_another_process_left_of_a_transfer_is_taken_away_by_the_next() {
    let (node, account) = (start().await, FIRST_ACCOUNT);
    let first = peer(&node, account, RIGHT.start()).await;
    let zone = zone(&node, account, "example.com", std::slice::from_ref(&first)).await;
    until(&node, zone, "the zone", has_serial(5)).await;
    let left = SecondaryZone { staging: Some(1), ..secondary(&node, zone) };
    let staged = record_of_another(zone, left.generation + 1);
    node.append(vec![node.context.replica.put(&left), node.context.replica.put(&staged)]).await;
    let newer = Primary { serial: 6, ..RIGHT }.start();
    let path = format!("/accounts/{account}/secondary_dns/peers/{}", first.as_str().unwrap());
    node.ok("PUT", &path, Some(json!({"name": "primary", "ip": newer.ip(), "port": newer.port()}))).await;
    notice(&node, zone).await;
    until(&node, zone, "the newer serial", has_serial(6)).await;
    assert_eq!(contents(&node, zone), ["192.0.2.6"]);
    assert_eq!(secondary(&node, zone).staging, None);
}

#[tokio::test]
async fn a_zone_of_more_records_than_one_append_takes_is_replaced_and_nothing_is_left_of_the_former() {
    const HOSTS: u16 = 11_000;
    let (node, account) = (start().await, FIRST_ACCOUNT);
    let first = peer(&node, account, Primary { hosts: HOSTS, ..RIGHT }.start()).await;
    let zone = zone(&node, account, "example.com", std::slice::from_ref(&first)).await;
    until(&node, zone, "the zone", has_serial(5)).await;
    let newer = Primary { serial: 6, hosts: HOSTS, ..RIGHT }.start();
    let path = format!("/accounts/{account}/secondary_dns/peers/{}", first.as_str().unwrap());
    node.ok("PUT", &path, Some(json!({"name": "primary", "ip": newer.ip(), "port": newer.port()}))).await;
    notice(&node, zone).await;
    until(&node, zone, "the newer serial", has_serial(6)).await;
    let all = usize::from(HOSTS) + 1;
    let is_clean = |snapshot: &proxima_ledger::Snapshot| {
        snapshot.count(proxima_model::Kind::Transferred).unwrap() == u64::try_from(all).unwrap()
    };
    node.until("the former records have gone", is_clean).await;
    let contents = contents(&node, zone);
    let others: Vec<_> =
        contents.iter().map(String::as_str).filter(|content| !content.starts_with("10.6.")).collect();
    assert_eq!((contents.len(), others), (all, vec!["192.0.2.6"]));
    let seen = secondary(&node, zone);
    assert_eq!((seen.generation, seen.staging), (2, None));
    // Its records are listed, of all of them those of the page.
    let listed =
        node.ok("GET", &format!("/zones/{zone}/dns_records?order=name&page=221&per_page=50"), None).await;
    let names: Vec<_> =
        listed.as_array().unwrap().iter().map(|record| record["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["h10999.example.com"]);
}
