//! The seeds of the fuzz targets and what some octets make of them, over every transport, to both roles: a message is answered
//! by each transport as by every other, and nothing that it does to the service is left behind.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::base::Message;
use futures_util::future::try_join_all;
use http::{HeaderMap, HeaderValue, Method, header};
use proxima_pipeline::{Body, Fault, Flow, Request, Scheme};
use quinn::{Connection, Endpoint};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    sync::Mutex,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    encrypted::{Authority, quic_client},
    hostile::malformed,
    recursion::flow_of,
    resolving::{PATIENCE, RESOLVER, Resolving, question, with_both_roles},
    sockets::NAME_SERVER,
    support::{Question, describe, ticket_keys},
};

/// The table `[dns]`: every transport, and no rates, which are tested elsewhere, for this host.
const DNS: &str = "listen_tls = [\"127.0.0.1:0\"]\nlisten_quic = [\"127.0.0.1:0\"]\nhttps = true\n\
                   rate_limit_exempt = [\"127.0.0.0/8\"]\n";
/// What each seed is made to, beside itself.
const CHANGED: usize = 12;
/// Messages that are under way at once: fewer than a client has connections.
const AT_ONCE: usize = 20;
/// Octets that all of it may leave in memory.
const LEFT_BEHIND_MAX: u64 = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Tcp,
    Udp,
    Tls,
    Quic,
    Get,
    Post,
}

const WAYS: [Way; 6] = [Way::Tcp, Way::Udp, Way::Tls, Way::Quic, Way::Get, Way::Post];

/// What a message comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    Nothing,
    Answer { opcode: u8, rcode: u16 },
}

/// One role, as its clients reach it.
struct Role<'a> {
    resolving: &'a Resolving<'a>,
    name: &'static str,
    clear: SocketAddr,
    tls_at: SocketAddr,
    quic_at: SocketAddr,
    tls: TlsConnector,
    /// One for all connections: each has megabytes to receive into, and keeps them until its last connection has drained.
    quic_client: Endpoint,
    /// A connection of QUIC, while it lasts.
    quic: Mutex<Option<Connection>>,
    /// A question that is always answered, and how it is.
    good: (Question, &'static str),
}

impl<'a> Role<'a> {
    /// Both, with certificates.
    async fn both(resolving: &'a Resolving<'_>, authority: &Authority) -> Result<[Role<'a>; 2]> {
        let replica = &resolving.running.node.replica;
        let certificates = [authority.certify(1, NAME_SERVER)?, authority.certify(2, RESOLVER)?];
        let mut changes: Vec<_> = certificates.iter().map(|certificate| replica.put(certificate)).collect();
        changes.push(replica.put(&ticket_keys()));
        resolving.running.change(changes).await?;
        let addresses = &resolving.running.addresses;
        let own = (addresses.clear[0], addresses.tls[0], addresses.quic[0]);
        let theirs = (resolving.at(), resolving.tls(), resolving.quic());
        let role = |name, (clear, tls_at, quic_at), good| -> Result<Role<'a>> {
            let tls = TlsConnector::from(Arc::new(authority.client(b"dot")?));
            let (quic_client, quic) = (quic_client(authority)?, Mutex::default());
            Ok(Role { resolving, name, clear, tls_at, quic_at, tls, quic_client, quic, good })
        };
        Ok([
            role(NAME_SERVER, own, (Question::new("www.example.com", 1), "192.0.2.1"))?,
            role(RESOLVER, theirs, (question("www.plain.test", 1), "192.0.2.90"))?,
        ])
    }

    async fn ask(&self, way: Way, message: &[u8], client: &str, wanted: Came) -> Result<Vec<u8>> {
        let asked = async {
            match way {
                Way::Udp => self.by_udp(message, client, wanted).await,
                Way::Tcp => by_stream(TcpStream::connect(self.clear).await?, message).await,
                Way::Tls => {
                    let stream = TcpStream::connect(self.tls_at).await?;
                    let stream = self.tls.connect(ServerName::try_from(self.name)?, stream).await?;
                    by_stream(stream, message).await
                }
                Way::Quic => self.by_quic(message).await,
                Way::Get | Way::Post => self.by_https(way, message).await,
            }
        };
        timeout(PATIENCE, asked).await?
    }

    /// The answer, if there has to be one: else that to a good question, which comes in its place.
    async fn by_udp(&self, message: &[u8], client: &str, wanted: Came) -> Result<Vec<u8>> {
        let socket = UdpSocket::bind((client, 0)).await?;
        socket.connect(self.clear).await?;
        socket.send(message).await?;
        let mut good = self.good.0.encode();
        good[..2].copy_from_slice(&[0x90, 0x0d]);
        if wanted == Came::Nothing {
            socket.send(&good).await?;
        }
        let mut buffer = vec![0; 4_096];
        let length = socket.recv(&mut buffer).await?;
        buffer.truncate(length);
        let is_good = buffer.starts_with(&good[..2]);
        Ok(if is_good { Vec::new() } else { buffer })
    }

    /// On a stream of the connection that there is; one that is closed for it is made anew for the next.
    async fn by_quic(&self, message: &[u8]) -> Result<Vec<u8>> {
        let mut quic = self.quic.lock().await;
        let connection = match quic.take() {
            Some(kept) => kept,
            None => self.quic_client.connect(self.quic_at, self.name)?.await?,
        };
        let (mut send, mut receive) = connection.open_bi().await?;
        send.write_all(&framed(message)?).await?;
        send.finish()?;
        let read = receive.read_to_end(1 << 17).await.unwrap_or_default();
        if read.is_empty() {
            connection.closed().await;
        } else {
            *quic = Some(connection);
        }
        first_of(&read)
    }

    async fn by_https(&self, way: Way, message: &[u8]) -> Result<Vec<u8>> {
        let (method, target, body) = match way {
            Way::Get => {
                let target = format!("/dns-query?dns={}", URL_SAFE_NO_PAD.encode(message));
                (Method::GET, target, Body::empty())
            }
            _ => (Method::POST, "/dns-query".to_owned(), Body::full(message.to_vec())),
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/dns-message"));
        let request = Request {
            method,
            scheme: Scheme::Https,
            host: self.name.into(),
            port: None,
            target: target.parse()?,
            headers,
            upgrade: None,
        };
        match flow_of(self.resolving, "127.0.0.1", request, body).await?.0 {
            Flow::Respond(response) => Ok(response.body.collect(1 << 16).await?.to_vec()),
            Flow::Fail(Fault::BadRequest(_)) => Ok(Vec::new()),
            other => anyhow::bail!("{other:?}"),
        }
    }

    /// What each way says of a message must be what the first says.
    async fn agrees(&self, what: &str, message: &[u8], client: &str) -> Result<Came> {
        let mut wanted = None;
        for way in WAYS {
            let answer = self.ask(way, message, client, wanted.unwrap_or(Came::Nothing)).await;
            let about = || format!("{what} to {} by {way:?}: {message:x?}", self.name);
            let came = came(message, &answer.with_context(about)?).with_context(about)?;
            let wanted = *wanted.get_or_insert(came);
            ensure!(came == wanted, "{}: {came:?} and not {wanted:?}", about());
        }
        wanted.context("it was asked")
    }

    async fn is_well(&self) -> Result<()> {
        for way in WAYS {
            let mut good = self.good.0.encode();
            good[..2].fill(0);
            let wanted = Came::Answer { opcode: 0, rcode: 0 };
            let answer = describe(&self.ask(way, &good, "127.0.0.1", wanted).await?)?;
            ensure!(answer[1].ends_with(self.good.1), "{} by {way:?}: {answer:?}", self.name);
        }
        Ok(())
    }
}

fn framed(message: &[u8]) -> Result<Vec<u8>> {
    Ok([&u16::try_from(message.len())?.to_be_bytes()[..], message].concat())
}

/// The first message of what a stream brought.
fn first_of(read: &[u8]) -> Result<Vec<u8>> {
    let Some((length, rest)) = read.split_first_chunk::<2>() else {
        ensure!(read.is_empty(), "half a length");
        return Ok(Vec::new());
    };
    Ok(rest.get(..u16::from_be_bytes(*length).into()).context("a message that is cut off")?.to_vec())
}

async fn by_stream(mut stream: impl AsyncRead + AsyncWrite + Unpin, message: &[u8]) -> Result<Vec<u8>> {
    stream.write_all(&framed(message)?).await?;
    // It may be closed already, for what was sent.
    stream.shutdown().await.ok();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.ok();
    first_of(&read)
}

/// What an answer is: well-formed, and to this message.
fn came(message: &[u8], answer: &[u8]) -> Result<Came> {
    if answer.is_empty() {
        return Ok(Came::Nothing);
    }
    let read = Message::from_octets(answer)?;
    ensure!(read.header().qr(), "it is no answer");
    ensure!(answer[..2] == message[..2], "the id comes back");
    ensure!(answer[2] & 0x78 == message[2] & 0x78, "the opcode comes back");
    for record in read.iter() {
        record?;
    }
    Ok(Came::Answer { opcode: answer[2] >> 3 & 0xf, rcode: read.opt_rcode().to_int() })
}

/// Numbers that are the same each time (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or_default() % bound.max(1)
    }
}

/// What is made of a message, and of another.
fn changed(message: &[u8], other: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut message = message.to_vec();
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(message.len());
        match numbers.below(6) {
            0 => message.truncate(at),
            1 => message.insert(at, u8::try_from(numbers.below(256)).unwrap_or_default()),
            2 => message.splice(at.., other[numbers.below(other.len())..].iter().copied()).for_each(drop),
            3 => message.extend_from_within(at..),
            _ => {
                if let Some(octet) = message.get_mut(at) {
                    // Single bits more often than all of an octet.
                    *octet ^= if numbers.below(2) == 0 { 1 << numbers.below(8) } else { 0xff };
                }
            }
        }
    }
    message.truncate(1_200);
    message
}

/// Messages of every kind, each with where it comes from.
fn corpus() -> Result<Vec<(String, Vec<u8>)>> {
    let mut seeds: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    for target in ["dns_query", "dns_wire", "dns_streams", "resolver_messages", "resolver_upstream"] {
        for file in fs::read_dir(root.join(target))? {
            let file = file?;
            seeds.insert(format!("{target}/{}", file.file_name().display()), fs::read(file.path())?);
        }
    }
    seeds.extend(malformed().into_iter().map(|(what, message, _)| (what.to_owned(), message)));
    // Names that are here, or are resolved.
    for (name, qtype) in [("www.example.com", 1), ("large.example.com", 16), ("www.signed.test", 1)] {
        let mut asked = question(name, qtype);
        asked.edns().flags = 0x8000;
        asked.edns().options = vec![0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 3, 0, 0];
        seeds.insert(name.to_owned(), asked.encode());
    }
    let seeds: Vec<_> = seeds.into_iter().collect();
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let mut corpus = seeds.clone();
    for (what, seed) in &seeds {
        for number in 0..CHANGED {
            let other = &seeds[numbers.below(seeds.len())].1;
            corpus.push((format!("{what}, changed {number}"), changed(seed, other, &mut numbers)));
        }
    }
    // Over QUIC all have this id, and no other is looked at (RFC 9250, 4.2.1).
    for (_, message) in &mut corpus {
        message.iter_mut().take(2).for_each(|octet| *octet = 0);
    }
    Ok(corpus)
}

/// Octets of this process that are in memory.
fn resident_octets() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("its memory")?;
    Ok(line.trim_end_matches("kB").trim().parse::<u64>()? * 1_024)
}

/// Nothing is left behind of what was sent.
async fn is_at_rest(resolving: &Resolving<'_>) -> Result<()> {
    resolving.until_counts("proxima_dns_resolver_pending 0").await?;
    for role in ["dns", "dns_resolver"] {
        for transport in ["tcp", "tls", "quic"] {
            let line = format!("proxima_{role}_connections{{transport=\"{transport}\"}} 0");
            resolving.until_counts(&line).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_sent_is_answered_alike_by_every_transport_and_leaves_nothing_behind() -> Result<()> {
    with_both_roles(DNS, "", async |resolving| {
        let authority = Authority::new()?;
        let roles = Role::both(resolving, &authority).await?;
        let corpus = corpus()?;
        ensure!(corpus.len() > 400, "{} messages", corpus.len());
        let (mut before, mut codes) = (None, BTreeMap::<_, usize>::new());
        for (batch, messages) in corpus.chunks(AT_ONCE).enumerate() {
            for (index, role) in roles.iter().enumerate() {
                // From a network for each batch: the resolver gives each so many refusals.
                let client = format!("127.2.{batch}.1");
                let asked = messages.iter().map(|(what, message)| role.agrees(what, message, &client));
                for came in try_join_all(asked).await? {
                    let code = match came {
                        Came::Nothing => None,
                        Came::Answer { rcode, .. } => Some(rcode),
                    };
                    *codes.entry((index, code)).or_default() += 1;
                }
                role.is_well().await?;
            }
            before.get_or_insert(resident_octets()?);
        }
        let (before, after) = (before.unwrap_or_default(), resident_octets()?);
        ensure!(after < before + LEFT_BEHIND_MAX, "{before} octets became {after}");
        // Both have said each of these: nothing, and that a message is none, or of a kind that is not known.
        for index in 0..roles.len() {
            for code in [None, Some(0), Some(1), Some(4)] {
                ensure!(codes.contains_key(&(index, code)), "{index} {code:?}: {codes:?}");
            }
        }
        drop(roles);
        is_at_rest(resolving).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opcode_that_is_not_known_is_said_to_be_by_every_transport() -> Result<()> {
    with_both_roles(DNS, "", async |resolving| {
        let authority = Authority::new()?;
        let [own, resolver] = Role::both(resolving, &authority).await?;
        for opcode in 0..16 {
            // QUERY; and NOTIFY, of a zone that has no primary to say so.
            let known = match opcode {
                0 => (0, 0),
                4 => (5, 4),
                _ => (4, 4),
            };
            for (role, name, rcode) in [(&own, "example.com", known.0), (&resolver, "signed.test", known.1)] {
                let mut message = question(name, 6).encode();
                message[..2].fill(0);
                message[2] |= opcode << 3;
                let came = role.agrees(&format!("opcode {opcode}"), &message, "127.0.0.1").await?;
                ensure!(came == Came::Answer { opcode, rcode }, "{opcode}: {came:?}");
            }
        }
        own.is_well().await?;
        resolver.is_well().await
    })
    .await
}
