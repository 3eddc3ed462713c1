//! Handshakes in which clients are asked for certificates.

use proxima_model::{ClientAuthentication, ClientAuthorityId};
use quinn::crypto::rustls::QuicClientConfig;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::*;

const HOST: &str = "a.example";

/// Issues client certificates.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(parameters, key) }
    }

    /// A certificate for this purpose, as a client has it.
    fn issue_for(&self, purpose: ExtendedKeyUsagePurpose) -> Arc<SingleCertAndKey> {
        let mut parameters = CertificateParams::new(["client".to_owned()]).unwrap();
        parameters.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        Arc::new(SingleCertAndKey::from(CertifiedKey::new(vec![certificate.der().clone()], key)))
    }

    fn issue(&self) -> Arc<SingleCertAndKey> {
        self.issue_for(ExtendedKeyUsagePurpose::ClientAuth)
    }
}

/// A world in which two hosts have a certificate, and its server.
struct Asked {
    world: World,
    certificates: Arc<Certificates>,
    server: TlsAcceptor,
    trusted: super::CertificateDer,
}

impl Asked {
    async fn new() -> Self {
        let world = World::new().await;
        let trusted = world.certify(1, &[HOST, "www.a.example"]).await;
        let certificates = world.certificates();
        let key = TicketKey {
            id: TicketKeyId::from_bytes([1; 16]),
            secret: [1; 32],
            created_at: Timestamp::default(),
        };
        let tickets = Tickets::default();
        tickets.swap(Tickets::prepare(&TicketKeys { keys: vec![key] }));
        let server = TlsAcceptor::new(Arc::clone(&certificates), Arc::new(tickets)).unwrap();
        Self { world, certificates, server, trusted }
    }

    /// Associates the host with this authority, or with none.
    async fn associate(&self, authority: Option<&Authority>) {
        let replica = self.world.log.replica();
        let (before, id) = (replica.seq(), ClientAuthorityId::from_bytes([7; 16]));
        let change = match authority {
            None => Change::delete::<ClientAuthentication>(&(ZONE, id)),
            Some(authority) => replica.put(&ClientAuthentication {
                zone: ZONE,
                authority: id,
                certificates_pem: authority.pem.clone(),
                hosts: vec![DnsName::parse(HOST).unwrap()],
                enforce: false,
            }),
        };
        self.world.append(vec![change]).await;
        self.world.commit(&self.certificates, &self.world.log.replica().changes_since(before)).await;
    }

    fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<Arc<SingleCertAndKey>>,
    ) -> ClientConfig {
        let mut client = client(&[&self.trusted], versions);
        if let Some(identity) = identity {
            client.client_auth_cert_resolver = identity;
        }
        client
    }

    /// What a session shows: whether it was resumed, whether a certificate was presented, and whether it holds now.
    async fn session(&self, client: &Arc<ClientConfig>, name: &str) -> (bool, bool, bool) {
        let (facts, _) = session(&self.server, client, name).await;
        let holds = facts.client_certificate.as_ref().is_some_and(|certificate| {
            assert_eq!(certificate.fingerprint().len(), 64);
            let authorities = self.certificates.client_authorities(Some(name));
            authorities.is_some_and(|authorities| {
                authorities.verify(certificate.chain(), proxima_chassis::Clock::now(&SystemClock))
            })
        });
        (facts.resumed, facts.client_certificate.is_some(), holds)
    }
}

#[tokio::test]
async fn a_host_asks_for_a_certificate_of_its_authorities_and_goes_on_without() {
    let (ours, others, asked) = (Authority::new(), Authority::new(), Asked::new().await);
    asked.associate(Some(&ours)).await;
    for versions in [&[&version::TLS13], &[&version::TLS12]] {
        for (identity, name, expected) in [
            (Some(ours.issue()), HOST, (false, true, true)),
            (None, HOST, (false, false, false)),
            (Some(others.issue()), HOST, (false, true, false)),
            (Some(ours.issue_for(ExtendedKeyUsagePurpose::ServerAuth)), HOST, (false, true, false)),
            (Some(ours.issue()), "www.a.example", (false, false, false)),
        ] {
            let client = Arc::new(asked.client(versions, identity));
            assert_eq!(asked.session(&client, name).await, expected, "{name} {versions:?}");
        }
    }
}

#[tokio::test]
async fn a_session_is_resumed_for_the_same_authorities_only_and_carries_no_verdict() {
    let (first, second) = (Authority::new(), Authority::new());
    for versions in [&[&version::TLS13], &[&version::TLS12]] {
        let asked = Asked::new().await;
        let client = Arc::new(asked.client(versions, Some(first.issue())));
        assert_eq!(asked.session(&client, HOST).await, (false, false, false));
        assert_eq!(asked.session(&client, HOST).await, (true, false, false));

        asked.associate(Some(&first)).await;
        assert_eq!(asked.session(&client, HOST).await, (false, true, true), "from before it was asked for");
        assert_eq!(asked.session(&client, HOST).await, (true, true, true));

        asked.associate(Some(&second)).await;
        assert_eq!(
            asked.session(&client, HOST).await,
            (false, true, false),
            "of an authority that was removed"
        );
        assert_eq!(asked.session(&client, HOST).await, (true, true, false));

        asked.associate(None).await;
        assert_eq!(asked.session(&client, HOST).await, (false, false, false));

        asked.associate(Some(&first)).await;
        let without = Arc::new(asked.client(versions, None));
        assert_eq!(asked.session(&without, HOST).await, (false, false, false));
        assert_eq!(asked.session(&without, HOST).await, (true, false, false));
    }
}

#[tokio::test]
async fn quic_asks_the_same_hosts_for_the_same_certificates() {
    let (ours, asked) = (Authority::new(), Asked::new().await);
    asked.associate(Some(&ours)).await;
    let tls = QuicTls::new(Arc::clone(&asked.certificates), Arc::new(Tickets::default()));
    let loopback = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
    for (name, identity, expected) in
        [(HOST, Some(ours.issue()), true), (HOST, None, false), ("www.a.example", Some(ours.issue()), false)]
    {
        let noticed = Arc::<Noticed>::default();
        let crypto = Arc::new(tls.config(&noticed).unwrap());
        let server = quinn::Endpoint::server(quinn::ServerConfig::with_crypto(crypto), loopback).unwrap();
        let mut config = asked.client(&[&version::TLS13], identity);
        config.alpn_protocols = vec![b"h3".to_vec()];
        let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
        let client = quinn::Endpoint::client(loopback).unwrap();
        let connecting = client.connect_with(config, server.local_addr().unwrap(), name).unwrap();
        let accepting = async { server.accept().await.unwrap().await.unwrap() };
        let (ours, _theirs) = tokio::join!(accepting, connecting);
        let chain =
            ours.peer_identity().and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
        assert_eq!(presented(chain.as_deref().map(Vec::as_slice)).is_some(), expected, "{name}");
    }
}
