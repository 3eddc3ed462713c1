//! What real clients make of the resolver, over each transport, and what becomes of who sends it anything else: kdig,
//! dnspython, and unbound and knot-resolver that forward to it over TLS.

use std::{
    io::{Read as _, Seek as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use quinn::{ConnectionError, VarInt};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    process::{Child, Command},
};
use tokio_rustls::TlsConnector;

use crate::{
    encrypted::{Authority, connect_by_quic, dnspython},
    hostile::malformed,
    resolving::{RESOLVER, Resolving, question, received, with_resolver},
    sockets::{framed, read_answer},
    support::describe,
};

/// RFC 9250, 8.4.
const DOQ_PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);

/// Gives the resolver a certificate, and writes down its authority.
async fn certified(resolving: &Resolving<'_>, folder: &Path) -> Result<(Authority, PathBuf)> {
    let authority = Authority::new()?;
    let replica = &resolving.running.node.replica;
    resolving.running.change(vec![replica.put(&authority.certify(1, RESOLVER)?)]).await?;
    let file = folder.join("ca.pem");
    std::fs::write(&file, &authority.pem)?;
    Ok((authority, file))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kdig_resolves_over_udp_tcp_and_tls() -> Result<()> {
    let folder = tempfile::tempdir()?;
    with_resolver("", async |resolving| {
        let (_, authority) = certified(resolving, folder.path()).await?;
        let checked = format!("+tls-ca={} +tls-hostname={RESOLVER}", authority.display());
        for (at, transport, said) in [
            (resolving.at(), "+cookie", "over 127.0.0.1"),
            (resolving.at(), "+tcp", "over 127.0.0.1"),
            (resolving.tls(), &*format!("+tls {checked}"), "TLS1.3"),
        ] {
            let asked = format!("{transport} +dnssec www.signed.test A");
            let answer = resolving.running.dig_at(at, "kdig", &asked).await?;
            ensure!(answer.contains("Flags: qr rd ra ad;") && answer.contains("192.0.2.80"), "{answer}");
            ensure!(answer.contains("RRSIG"), "{answer}");
            ensure!(said == "over 127.0.0.1" || answer.contains(said), "{answer}");
            let asked = format!("{transport} +edns www.bogus.test A");
            let answer = resolving.running.dig_at(at, "kdig", &asked).await?;
            ensure!(answer.contains("status: SERVFAIL") && answer.contains("EDE: 9"), "{answer}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dnspython_resolves_over_each_transport_and_is_refused_odd_options() -> Result<()> {
    let folder = tempfile::tempdir()?;
    with_resolver("", async |resolving| {
        let (_, authority) = certified(resolving, folder.path()).await?;
        let addresses = [resolving.at(), resolving.tls(), resolving.quic()];
        dnspython("resolver_client.py", addresses, &authority, RESOLVER).await
    })
    .await
}

/// How often one is started before it is believed that it does not start.
const STARTS_MAX: usize = 3;

/// A resolver of another brand.
struct Forwarder {
    _process: Child,
    at: SocketAddr,
}

impl Forwarder {
    /// Runs the command that is made for an address, which answers there. If it ends, then at another: somebody may have taken
    /// the port before it did.
    async fn start(command: impl Fn(SocketAddr) -> Result<Command>) -> Result<Self> {
        let mut said = String::new();
        for _ in 0..STARTS_MAX {
            let at = free_port()?;
            match Self::run(command(at)?, at).await? {
                Ok(forwarder) => return Ok(forwarder),
                Err(why) => said = why,
            }
        }
        bail!("it has ended {STARTS_MAX} times; the last time with {said}")
    }

    /// Runs it until it answers; if it ends before, what it said is given back.
    async fn run(mut command: Command, at: SocketAddr) -> Result<Result<Self, String>> {
        // A file: nobody reads on, and a pipe that is full would hold it up.
        let mut log = tempfile::tempfile()?;
        let stderr = log.try_clone()?;
        let mut process = command.kill_on_drop(true).stdout(Stdio::null()).stderr(stderr).spawn()?;
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.connect(at).await?;
        let asked = question("localhost", 1).encode();
        let mut buffer = [0; 512];
        // A port that nobody has is refused at once.
        loop {
            if let Some(status) = process.try_wait()? {
                let mut said = Vec::new();
                log.rewind()?;
                log.read_to_end(&mut said)?;
                return Ok(Err(format!("{status}: {}", String::from_utf8_lossy(&said))));
            }
            socket.send(&asked).await.ok();
            let answer = tokio::time::timeout(Duration::from_millis(100), socket.recv(&mut buffer)).await;
            match answer {
                Ok(Ok(_)) => return Ok(Ok(Self { _process: process, at })),
                Ok(Err(_)) => tokio::task::yield_now().await,
                Err(_) => {}
            }
        }
    }
}

/// A port for UDP and TCP that nobody has now.
fn free_port() -> Result<SocketAddr> {
    let tcp = std::net::TcpListener::bind("127.0.0.1:0")?;
    let at = tcp.local_addr()?;
    std::net::UdpSocket::bind(at)?;
    Ok(at)
}

/// What clients of one that forwards to us get; whether it would check itself if it had an anchor.
async fn forwards(resolving: &Resolving<'_>, forwarder: &Forwarder, checks: bool) -> Result<()> {
    // Who forwards without checking asks us to check; who would check itself sets CD, and gets what there is.
    let bogus: &[&str] = if checks { &["status: NOERROR", "192.0.2.80"] } else { &["status: SERVFAIL"] };
    for (asked, expected) in [
        ("www.signed.test A", &["status: NOERROR", "192.0.2.80"][..]),
        ("www.plain.test A", &["status: NOERROR", "192.0.2.90"]),
        ("large.plain.test TXT", &["status: NOERROR", "ANSWER: 20"]),
        ("no.signed.test A", &["status: NXDOMAIN"]),
        ("www.bogus.test A", bogus),
    ] {
        let answer = resolving.running.dig_at(forwarder.at, "dig", asked).await?;
        ensure!(expected.iter().all(|expected| answer.contains(expected)), "{answer}");
    }
    resolving.counts("proxima_dns_resolver_handshakes_failed_total{transport=\"tls\"} 0")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unbound_forwards_to_us_over_tls() -> Result<()> {
    let folder = tempfile::tempdir()?;
    with_resolver("", async |resolving| {
        let (_, authority) = certified(resolving, folder.path()).await?;
        let tls = resolving.tls();
        let config = folder.path().join("unbound.conf");
        let command = |at: SocketAddr| -> Result<Command> {
            std::fs::write(
                &config,
                format!(
                    "server:\n  interface: {}@{}\n  username: \"\"\n  chroot: \"\"\n  directory: {:?}\n  pidfile: \"\"\n  \
                     use-syslog: no\n  num-threads: 1\n  do-not-query-localhost: no\n  module-config: \"iterator\"\n  \
                     tls-cert-bundle: {authority:?}\n  local-zone: \"test.\" nodefault\n\
                     forward-zone:\n  name: \".\"\n  forward-tls-upstream: yes\n  forward-addr: {}@{}#{RESOLVER}\n\
                     remote-control:\n  control-enable: no\n",
                    at.ip(),
                    at.port(),
                    folder.path(),
                    tls.ip(),
                    tls.port()
                ),
            )?;
            let mut command = Command::new("unbound");
            command.args(["-d", "-p", "-c"]).arg(&config);
            Ok(command)
        };
        forwards(resolving, &Forwarder::start(command).await?, false).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn knot_resolver_forwards_to_us_over_tls() -> Result<()> {
    let folder = tempfile::tempdir()?;
    with_resolver("", async |resolving| {
        let (_, authority) = certified(resolving, folder.path()).await?;
        let tls = resolving.tls();
        let config = folder.path().join("config.lua");
        let command = |at: SocketAddr| -> Result<Command> {
            std::fs::write(
                &config,
                format!(
                    "net.listen('{}', {}, {{ kind = 'dns' }})\nmodules.unload('ta_signal_query')\n\
                     trust_anchors.remove('.')\n\
                     policy.add(policy.all(policy.TLS_FORWARD({{ {{ '{}@{}', hostname = '{RESOLVER}', ca_file = {authority:?} }} }})))\n",
                    at.ip(),
                    at.port(),
                    tls.ip(),
                    tls.port()
                ),
            )?;
            let mut command = Command::new("kresd");
            command.args(["--noninteractive", "--config"]).arg(&config).arg(folder.path());
            Ok(command)
        };
        forwards(resolving, &Forwarder::start(command).await?, true).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_query_breaks_no_transport() -> Result<()> {
    let folder = tempfile::tempdir()?;
    with_resolver("", async |resolving| {
        let (authority, file) = certified(resolving, folder.path()).await?;
        let tls = TlsConnector::from(Arc::new(authority.client(b"dot")?));
        for (what, message, _) in malformed() {
            let length = u16::try_from(message.len())?.to_be_bytes();
            let framed = [&length[..], &message].concat();
            let bad = resolving.udp().await?;
            bad.send(&message).await?;
            let mut stream = TcpStream::connect(resolving.at()).await?;
            stream.write_all(&framed).await?;
            stream.shutdown().await?;
            // It is answered with at most as many octets as were asked, or closed.
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.ok();
            ensure!(answer.len() <= framed.len().max(64), "{what}: {answer:?}");
            let stream = TcpStream::connect(resolving.tls()).await?;
            let mut stream = tls.connect(ServerName::try_from(RESOLVER)?, stream).await?;
            stream.write_all(&framed).await?;
            stream.shutdown().await?;
            let mut within_tls = Vec::new();
            stream.read_to_end(&mut within_tls).await.ok();
            ensure!(within_tls == answer, "{what}: {within_tls:?} and not {answer:?}");
            let (_endpoint, connection) = connect_by_quic(resolving.quic(), RESOLVER, &authority).await?;
            let (mut send, mut receive) = connection.open_bi().await?;
            send.write_all(&framed).await?;
            send.finish()?;
            // With an id that is not 0 it is no query there, whatever it is (RFC 9250, 4.2.1). That the stream ends may come
            // before that the connection does.
            let within_quic = receive.read_to_end(1 << 16).await.unwrap_or_default();
            ensure!(within_quic.is_empty(), "{what}: {within_quic:?}");
            let end = connection.closed().await;
            let ConnectionError::ApplicationClosed(close) = &end else { bail!("{what}: {end}") };
            ensure!(close.error_code == DOQ_PROTOCOL_ERROR, "{what}: {end}");
            // Others are answered.
            let good = resolving.udp().await?;
            good.send(&question("www.plain.test", 1).encode()).await?;
            let answer = received(&good).await?;
            ensure!(answer[1].ends_with("A 192.0.2.90"), "{what}: {answer:?}");
        }
        // Octets that are no TLS end the connection.
        let mut stream = TcpStream::connect(resolving.tls()).await?;
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        let checked = format!("+tls +tls-ca={} +tls-hostname={RESOLVER} www.plain.test A", file.display());
        let answer = resolving.running.dig_at(resolving.tls(), "kdig", &checked).await?;
        ensure!(answer.contains("192.0.2.90"), "{answer}");
        resolving.counts("proxima_dns_resolver_handshakes_failed_total{transport=\"tls\"} 1")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_places_are_scarce_who_may_be_forged_gets_none_and_is_told_to_come_again() -> Result<()> {
    with_resolver("pending_per_client_max = 4", async |resolving| {
        let forged = resolving.udp().await?;
        for number in 1..=2 {
            forged.send(&question(&format!("n{number}.held.plain.test"), 1).encode()).await?;
            resolving.until_held(number).await?;
        }
        // Half of them are left to who shows that it is here.
        let mut asked = question("www.plain.test", 1);
        let socket = resolving.udp().await?;
        socket.send(&asked.encode()).await?;
        let again = received(&socket).await?;
        ensure!(again[0] == "NOERROR tc rd ra" && again.len() == 2, "{again:?}");
        asked.edns().options = [&[0, 10, 0, 8][..], &[7; 8]].concat();
        socket.send(&asked.encode()).await?;
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).await?;
        let again = describe(&buffer[..length])?;
        ensure!(again[0] == "BADCOOKIE rd ra", "{again:?}");
        resolving.counts("proxima_dns_resolver_refused_total{why=\"scarce\"} 2")?;
        resolving.counts("proxima_dns_resolver_pending 2")?;
        asked.edns().options = [&[0, 10, 0, 24][..], &buffer[length - 24..length]].concat();
        socket.send(&asked.encode()).await?;
        ensure!(received(&socket).await?[1].ends_with("192.0.2.90"), "it is known by its cookie");
        let mut stream = TcpStream::connect(resolving.at()).await?;
        stream.write_all(&framed(&question("www.signed.test", 1))).await?;
        ensure!(read_answer(&mut stream).await?[1].ends_with("192.0.2.80"));
        // What is known takes no place.
        let plain = question("www.plain.test", 1).encode();
        forged.send(&plain).await?;
        ensure!(received(&forged).await?[1].ends_with("192.0.2.90"));
        resolving.let_go();
        Ok(())
    })
    .await
}
