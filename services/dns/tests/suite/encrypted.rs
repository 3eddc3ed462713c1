//! Queries over TLS and QUIC: by kdig, and by clients that do what kdig would not.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail, ensure};
use proxima_model::{Certificate, CertificateId, CertificateSource, DnsName, Timestamp};
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, crypto::rustls::QuicClientConfig};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{HandshakeKind, RootCertStore, pki_types::ServerName};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    resolving::PATIENCE,
    sockets::{NAME_SERVER, Running, framed, read_answer, with_node},
    support::{NOW, Question, describe, ticket_keys, zone},
};

const LISTEN: &str = "listen_tls = [\"127.0.0.1:0\"]\nlisten_quic = [\"127.0.0.1:0\"]";

/// An authority, and a certificate of it for these names.
pub(crate) struct Authority {
    pub(crate) pem: String,
    roots: RootCertStore,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Of another name than what it issues: OpenSSL takes that for self-signed otherwise.
        params.distinguished_name.push(DnType::CommonName, "authority of the test");
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone())?;
        Ok(Self { pem: certificate.pem(), roots, issuer: Issuer::new(params, key) })
    }

    pub(crate) fn certify(&self, id: u8, host: &str) -> Result<Certificate> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([host.to_owned()])?.signed_by(&key, &self.issuer)?;
        Ok(Certificate {
            id: CertificateId::from_bytes([id; 16]),
            zone: zone("example.com").id,
            hosts: vec![DnsName::parse(host)?],
            source: CertificateSource::Custom,
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            not_before: Timestamp::default(),
            not_after: NOW.plus_seconds(100 * 365 * 86_400),
            uploaded_at: NOW,
        })
    }

    pub(crate) fn client(&self, alpn: &[u8]) -> Result<rustls::ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(config)
    }
}

/// Runs a node whose name server has a certificate.
async fn with_certificate(
    dns: &str,
    test: impl AsyncFnOnce(&Running, Authority) -> Result<()>,
) -> Result<()> {
    with_node(&format!("{LISTEN}\n{dns}"), async |running| {
        let authority = Authority::new()?;
        let replica = &running.node.replica;
        let (own, customers) = (authority.certify(1, NAME_SERVER)?, authority.certify(2, "www.example.com")?);
        running.change(vec![replica.put(&own), replica.put(&customers), replica.put(&ticket_keys())]).await?;
        test(running, authority).await
    })
    .await
}

fn tls_at(running: &Running) -> SocketAddr {
    running.addresses.tls[0]
}

async fn by_tls(running: &Running, config: &Arc<rustls::ClientConfig>) -> Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(tls_at(running)).await?;
    let name = ServerName::try_from(NAME_SERVER)?;
    Ok(TlsConnector::from(config.clone()).connect(name, stream).await?)
}

async fn by_quic(running: &Running, authority: &Authority) -> Result<(Endpoint, Connection)> {
    connect_by_quic(running.addresses.quic[0], NAME_SERVER, authority).await
}

/// A connection to whom that is the name of.
pub(crate) async fn connect_by_quic(
    at: SocketAddr,
    name: &str,
    authority: &Authority,
) -> Result<(Endpoint, Connection)> {
    let endpoint = quic_client(authority)?;
    let connection = endpoint.connect(at, name)?.await?;
    Ok((endpoint, connection))
}

/// What connections of DNS over QUIC are made from.
pub(crate) fn quic_client(authority: &Authority) -> Result<Endpoint> {
    let mut endpoint = Endpoint::client(([127, 0, 0, 1], 0).into())?;
    let crypto = QuicClientConfig::try_from(authority.client(b"doq")?)?;
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(crypto)));
    Ok(endpoint)
}

/// A query as it stands on a stream of QUIC: without an id.
pub(crate) fn without_id(question: &Question) -> Vec<u8> {
    let mut query = framed(question);
    query[2..4].fill(0);
    query
}

pub(crate) async fn ask_by_quic(connection: &Connection, query: &[u8]) -> Result<Vec<String>> {
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(query).await?;
    send.finish()?;
    let answer = receive.read_to_end(70_000).await?;
    let (length, answer) = answer.split_first_chunk::<2>().context("a length")?;
    ensure!(usize::from(u16::from_be_bytes(*length)) == answer.len() && answer.starts_with(&[0, 0]));
    describe(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kdig_asks_over_tls_and_checks_the_name_servers_certificate() -> Result<()> {
    with_certificate("", async |running, authority| {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, &authority.pem)?;
        let file = file.display();
        let checked =
            format!("+norec +tls-ca={file} +tls-hostname={NAME_SERVER} +keepopen www.example.com A");
        let answer =
            running.dig_at(tls_at(running), "kdig", &format!("{checked} large.example.com TXT")).await?;
        ensure!(answer.contains("192.0.2.1") && answer.contains("ANSWER: 20;"), "{answer}");
        // A customer's certificate is for the customer's site, which is not here: what is shown is the name server's.
        let other =
            format!("-d +norec +retry=0 +tls-ca={file} +tls-hostname=www.example.com www.example.com A");
        let refused = running.dig_at(tls_at(running), "kdig", &other).await.err();
        let refused = refused.context("a certificate of another name is taken")?.to_string();
        ensure!(
            refused.contains("The name in the certificate does not match the expected")
                && !refused.contains("192.0.2.1"),
            "{refused}"
        );
        let answer = running
            .dig_at(
                tls_at(running),
                "kdig",
                "+norec +tls +edns +padding=64 +nsid +cookie nothing.example.com A",
            )
            .await?;
        ensure!(answer.contains("status: NXDOMAIN") && answer.contains("NSID: 6672612D31"), "{answer}");
        ensure!(answer.contains("Received 468 B") && answer.contains("PADDING"), "{answer}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dnspython_asks_over_each_transport_and_is_refused_odd_options() -> Result<()> {
    with_certificate("", async |running, authority| {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, &authority.pem)?;
        let addresses = [running.address, tls_at(running), running.addresses.quic[0]];
        dnspython("dns_client.py", addresses, &file, NAME_SERVER).await
    })
    .await
}

/// Has a script of `tests/clients` ask over UDP and TCP, TLS and QUIC, trusting this authority of this name's certificate.
pub(crate) async fn dnspython(
    script: &str,
    addresses: [SocketAddr; 3],
    authority: &Path,
    name: &str,
) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let ours = || root.join("target/venv/bin/python");
    let python = std::env::var_os("PROXIMA_PYTHON").map_or_else(ours, PathBuf::from);
    let output = tokio::process::Command::new(python)
        .arg(root.join("tests/clients").join(script))
        .arg(addresses[0].ip().to_string())
        .args(addresses.map(|address| address.port().to_string()))
        .arg(authority)
        .arg(name)
        .output()
        .await
        .context("running Python; `cargo xtask setup` installs it")?;
    ensure!(output.status.success() && output.stdout == b"answered\n", "{output:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_without_certificates_encrypts_for_who_checks_none() -> Result<()> {
    with_node(LISTEN, async |running| {
        let answer = running.dig_at(tls_at(running), "kdig", "+norec +tls www.example.com A").await?;
        ensure!(answer.contains("192.0.2.1") && answer.contains("TLS1.3"), "{answer}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_that_come_together_over_tls_are_answered_and_sessions_resumed() -> Result<()> {
    with_certificate("tcp_queries_max = 200", async |running, authority| {
        let config = Arc::new(authority.client(b"dot")?);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut stream = by_tls(running, &config).await?;
            let queries = framed(&Question::new("large.example.com", 16)).repeat(50);
            stream.write_all(&queries).await?;
            for _ in 0..50 {
                ensure!(read_answer(&mut stream).await?.len() == 21);
            }
            let kind = stream.get_ref().1.handshake_kind();
            ensure!(kind == Some(expected), "{kind:?}");
        }
        // Another protocol is not spoken here.
        let other = Arc::new(authority.client(b"h2")?);
        ensure!(by_tls(running, &other).await.is_err(), "h2 is spoken");
        let lines = [
            "proxima_dns_queries_total{transport=\"tls\",type=\"TXT\"} 100",
            "proxima_dns_handshakes_failed_total{transport=\"tls\"} 1",
            "proxima_dns_connections{transport=\"tcp\"} 0",
        ];
        // That a handshake failed is counted when the client has been told.
        let counted = async {
            loop {
                let metrics = running.node.metrics.encode();
                if lines.iter().all(|line| metrics.lines().any(|found| found == *line)) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let metrics = || running.node.metrics.encode();
        timeout(PATIENCE, counted).await.with_context(|| format!("{lines:?} are not in\n{}", metrics()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_on_streams_of_quic_are_answered_each_on_its_own() -> Result<()> {
    with_certificate("", async |running, authority| {
        let (_endpoint, connection) = by_quic(running, &authority).await?;
        // A stream that has begun does not hold up the others.
        let (mut slow, mut slow_answer) = connection.open_bi().await?;
        let mut padded = Question::new("www.example.com", 1);
        padded.edns().options = vec![0, 12, 0, 0];
        let padded = without_id(&padded);
        slow.write_all(&padded[..5]).await?;
        let large = without_id(&Question::new("large.example.com", 16));
        let asked = (0..300).map(|_| ask_by_quic(&connection, &large));
        for answer in futures_util::future::join_all(asked).await {
            ensure!(answer?.len() == 21);
        }
        slow.write_all(&padded[5..]).await?;
        slow.finish()?;
        let answer = slow_answer.read_to_end(70_000).await?;
        ensure!(answer.len() == 2 + 468, "{}", answer.len());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_speak_dns_over_quic_is_told_so() -> Result<()> {
    with_certificate("", async |running, authority| {
        let question = Question::new("www.example.com", 1);
        let mut keepalive = question.clone();
        keepalive.edns().options = vec![0, 11, 0, 0];
        let good = without_id(&question);
        for (what, query) in [
            ("an id", framed(&question)),
            ("the option of TCP", without_id(&keepalive)),
            ("two queries on a stream", good.repeat(2)),
            ("half a query", good[..10].to_vec()),
            ("nothing", Vec::new()),
            ("a query that is too long", vec![0; 5_000]),
            ("an answer", [&good[..4], &[0x80], &good[5..]].concat()),
        ] {
            let (_endpoint, connection) = by_quic(running, &authority).await?;
            ensure!(ask_by_quic(&connection, &query).await.is_err(), "{what} is answered");
            match connection.closed().await {
                ConnectionError::ApplicationClosed(close) => {
                    ensure!(close.error_code.into_inner() == 2, "{what}: {close}");
                }
                other => bail!("{what}: {other}"),
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_has_no_more_connections_of_quic_than_of_tcp() -> Result<()> {
    with_certificate("tcp_connections_per_client_max = 2", async |running, authority| {
        let query = without_id(&Question::new("www.example.com", 1));
        let (_one, first) = by_quic(running, &authority).await?;
        // The second place is the half from which on clients have to show their address: quinn does.
        let (_two, second) = by_quic(running, &authority).await?;
        let third = by_quic(running, &authority).await;
        ensure!(third.is_err(), "a third connection is served");
        for connection in [first, second] {
            ensure!(ask_by_quic(&connection, &query).await?.len() == 2);
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_of_quic_is_closed_for_silence_and_after_its_queries() -> Result<()> {
    with_certificate("tcp_idle_seconds = 3\ntcp_queries_max = 2", async |running, authority| {
        let query = without_id(&Question::new("www.example.com", 1));
        let (_one, busy) = by_quic(running, &authority).await?;
        for _ in 0..2 {
            ensure!(ask_by_quic(&busy, &query).await?.len() == 2);
        }
        let (_two, silent) = by_quic(running, &authority).await?;
        for (what, connection) in [("after its queries", busy), ("silent", silent)] {
            match connection.closed().await {
                ConnectionError::ApplicationClosed(close) => {
                    ensure!(close.error_code.into_inner() == 0, "{what}: {close}");
                }
                other => bail!("{what}: {other}"),
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_without_a_query_do_not_keep_a_connection_of_quic_open() -> Result<()> {
    with_certificate("tcp_idle_seconds = 3", async |running, authority| {
        let (_endpoint, connection) = by_quic(running, &authority).await?;
        let query = without_id(&Question::new("www.example.com", 1));
        ensure!(ask_by_quic(&connection, &query).await?.len() == 2);
        // There is always one that has begun, until the server loses interest in the connection.
        while let Ok((mut send, mut receive)) = connection.open_bi().await {
            if send.write_all(&query[..5]).await.is_ok() {
                receive.read_to_end(1).await.ok();
            }
        }
        match connection.closed().await {
            ConnectionError::ApplicationClosed(close) => {
                ensure!(close.error_code.into_inner() == 0, "{close}")
            }
            other => bail!("{other}"),
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_ends_encrypted_queries_that_were_begun() -> Result<()> {
    with_certificate("", async |running, authority| {
        let question = Question::new("www.example.com", 1);
        let config = Arc::new(authority.client(b"dot")?);
        let mut stream = by_tls(running, &config).await?;
        let query = framed(&question);
        stream.write_all(&[&query[..], &query[..9]].concat()).await?;
        ensure!(read_answer(&mut stream).await?.len() == 2);
        let (_endpoint, connection) = by_quic(running, &authority).await?;
        let (mut send, mut receive) = connection.open_bi().await?;
        let query_by_quic = without_id(&question);
        send.write_all(&query_by_quic[..9]).await?;
        // The server has seen the stream when it has answered on a later one.
        ensure!(ask_by_quic(&connection, &query_by_quic).await?.len() == 2);
        running.node.shutdown.begin_drain();
        stream.write_all(&query[9..]).await?;
        ensure!(
            read_answer(&mut stream).await?.len() == 2,
            "a query over TLS that was begun is not answered"
        );
        send.write_all(&query_by_quic[9..]).await?;
        send.finish()?;
        ensure!(
            receive.read_to_end(70_000).await?.len() > 12,
            "a query over QUIC that was begun is not answered"
        );
        ensure!(matches!(connection.closed().await, ConnectionError::ApplicationClosed(_)));
        Ok(())
    })
    .await
}
