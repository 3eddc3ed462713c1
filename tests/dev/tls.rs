//! TLS as a client of a test's own speaks it: which versions and which keys the real program agrees on.

use std::{net::TcpStream, process::Command, sync::Arc};

use rustls::{
    ClientConfig, ClientConnection, NamedGroup, RootCertStore, StreamOwned,
    crypto::{CryptoProvider, aws_lc_rs::default_provider},
    pki_types::{CertificateDer, pem::PemObject as _},
};

use crate::{
    HOST,
    dev::{DEADLINE, Dev},
    origin::Origin,
    process::output,
    with_site,
};

/// A connection by TLS to the server of a test.
pub(crate) type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A client that trusts this server's authority, and offers to speak these protocols.
pub(crate) fn client(dev: &Dev, protocols: &[&[u8]], provider: CryptoProvider) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dev.data().join("ca.pem")).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config
}

/// A connection after its handshake; reading from it has a deadline.
pub(crate) fn connect(dev: &Dev, config: ClientConfig) -> Tls {
    let mut session = ClientConnection::new(Arc::new(config), HOST.try_into().unwrap()).unwrap();
    let mut socket = TcpStream::connect(dev.https()).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    session.complete_io(&mut socket).unwrap();
    StreamOwned::new(session, socket)
}

#[test]
fn a_zone_that_asks_for_tls_1_3_refuses_older_handshakes_and_no_newer_ones() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    let url = dev.https_url(HOST, "/page");
    let authority = dev.data().join("ca.pem");
    let older = || output(&mut dev.curl_command(&authority, &["-sSi", "--tls-max", "1.2", &url]));
    dev.curl_until(&["-sSi", "--tls-max", "1.2", &url], " 200");

    dev.set("example.com", "min_tls_version", "1.3");
    let begun = std::time::Instant::now();
    let refused = loop {
        let (succeeded, text) = older();
        if !succeeded {
            break text;
        }
        assert!(begun.elapsed() < DEADLINE, "still answered: {text}");
    };
    // curl (35): by the alert `protocol_version` (RFC 8446, 6.2), nothing else.
    assert!(refused.contains("(35)") && refused.contains("alert protocol version"), "{refused}");
    assert!(dev.curl(&["-sSi", "--tlsv1.3", &url]).contains(" 200"));
    // By another implementation, and what is older than anything that is spoken.
    let offered = |version: &str| {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &dev.https().to_string(), "-servername", HOST, version]);
        command.args(["-CAfile", authority.to_str().unwrap(), "-cipher", "ALL:@SECLEVEL=0"]);
        output(command.stdin(std::process::Stdio::null())).1
    };
    assert!(offered("-tls1_2").contains("alert protocol version"));
    assert!(offered("-tls1_3").contains("Verify return code: 0"));

    dev.set("example.com", "min_tls_version", "1.2");
    dev.curl_until(&["-sSi", "--tls-max", "1.2", &url], " 200");
    // What is older than anything that is spoken gets no certificate, and no keys.
    for version in ["-tls1_1", "-tls1"] {
        let told = offered(version);
        assert!(
            told.contains("no peer certificate available") && told.contains("Cipher is (NONE)"),
            "{told}"
        );
    }
}

#[test]
fn keys_are_agreed_on_by_x25519mlkem768_where_the_client_can_and_by_x25519_where_not() {
    let origin = Origin::start();
    let dev = with_site(&origin);
    dev.curl_until(&["-sSi", &dev.https_url(HOST, "/page")], " 200");
    // A client sends a share of the first that it offers: that one is taken, and costs no further round trip.
    let (hybrid, classic) = (NamedGroup::X25519MLKEM768, NamedGroup::X25519);
    for (offered, agreed) in
        [(&[hybrid, classic][..], hybrid), (&[classic], classic), (&[classic, hybrid], classic)]
    {
        let mut provider = default_provider();
        provider.kx_groups.retain(|group| offered.contains(&group.name()));
        provider.kx_groups.sort_by_key(|group| offered.iter().position(|name| *name == group.name()));
        assert_eq!(provider.kx_groups.len(), offered.len(), "the client's library knows them");
        let tls = connect(&dev, client(&dev, &[b"http/1.1"], provider));
        let group = tls.conn.negotiated_key_exchange_group().map(|group| group.name());
        assert_eq!(group, Some(agreed), "{offered:?}");
    }
}
