//! TLS at every server: the certificates and the ticket keys are the network's, not one server's.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, Stream,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

use crate::two_pops::{HOST, TwoPops};

/// One request over a new connection: how the handshake went, and the answer.
fn visit(config: &Arc<ClientConfig>) -> std::io::Result<(Option<HandshakeKind>, String)> {
    let name = ServerName::try_from(HOST).map_err(std::io::Error::other)?;
    let mut connection = ClientConnection::new(Arc::clone(config), name).map_err(std::io::Error::other)?;
    let mut socket = TcpStream::connect("198.18.0.1:443")?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut tls = Stream::new(&mut connection, &mut socket);
    write!(tls, "GET /cdn-cgi/trace HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    tls.read_to_string(&mut answer)?;
    Ok((connection.handshake_kind(), answer))
}

/// The Python that has the packages of tests/requirements.txt, as `cargo xtask test` says.
fn python() -> PathBuf {
    let ours = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin/python");
    std::env::var_os("PROXIMA_PYTHON").map_or_else(ours, PathBuf::from)
}

#[test]
fn lab_http3_is_answered_by_the_nearest_pop_and_its_sessions_resume_at_the_others() {
    let lab = TwoPops::up("http3");
    let authority = lab.data_dir("bbb-1").join("ca.pem");
    let session = lab.data_dir("bbb-1").join("session-of-a-client");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients/http3.py");
    let (python, url) = (python(), format!("https://{HOST}/cdn-cgi/trace"));
    let ask = |client: &str| {
        let mut asking = lab.lab().command(client, python.to_str().unwrap()).unwrap();
        asking.arg(&script).args(["--connect", "198.18.0.1:443", "--ca"]).arg(&authority).arg("--session");
        let output = asking.arg(&session).arg(&url).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    lab.until("the zone's certificate is there", |_| ask("near-a").contains("\"status\": 200"));
    std::fs::remove_file(&session).unwrap();
    for (client, pop, resumed) in [("near-a", "AAA", false), ("near-b", "BBB", true), ("near-a", "AAA", true)]
    {
        let answer = ask(client);
        assert!(answer.contains(&format!("colo={pop}\\n")), "{client}: {answer}");
        assert!(
            answer.contains("http=http/3\\n") && answer.contains("\"status\": 200"),
            "{client}: {answer}"
        );
        assert!(answer.contains(&format!("\"resumed\": {resumed}")), "{client}: {answer}");
    }
    let told = lab.run("near-a", "dig", &["+short", "@198.18.0.1", HOST, "HTTPS"]);
    assert!(told.contains("alpn=\"h3,h2\"") && told.contains("ipv4hint=198.18.0.1"), "{told}");
}

#[test]
fn lab_every_pop_shows_the_zones_certificate_and_resumes_the_tls_sessions_of_the_others() {
    let lab = TwoPops::up("secure");
    // The follower's own copy of the authority's certificate.
    let authority = lab.data_dir("bbb-1").join("ca.pem");
    let path = authority.to_str().unwrap();
    let (url, resolve) = (format!("https://{HOST}/cdn-cgi/trace"), format!("{HOST}:443:198.18.0.1"));
    for (client, pop) in [("near-a", "AAA"), ("near-b", "BBB")] {
        let ask =
            || lab.run(client, "curl", &["-sSi", "--http2", "--cacert", path, "--resolve", &resolve, &url]);
        lab.until("the zone's certificate is there", |_| ask().starts_with("HTTP/2 200"));
        let answer = ask();
        assert!(answer.contains(&format!("colo={pop}\n")), "{answer}");
    }

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&authority).unwrap()).unwrap();
    let config = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
    let from = |client: &str| {
        let config = Arc::clone(&config);
        lab.lab().within(client, move || Ok(visit(&config))).unwrap().unwrap()
    };
    let (kind, answer) = from("near-a");
    assert!(kind == Some(HandshakeKind::Full) && answer.contains("colo=AAA"), "{kind:?}: {answer}");
    let (kind, answer) = from("near-b");
    assert!(kind == Some(HandshakeKind::Resumed) && answer.contains("colo=BBB"), "{kind:?}: {answer}");
}
