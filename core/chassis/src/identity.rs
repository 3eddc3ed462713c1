//! Who a node is towards other nodes: mutual TLS, both sides verified, under the cluster's own authority.
//!
//! Certificates are X.509 with the node's name as common name and as DNS name under [`NODE_DOMAIN`]. A node is known by
//! that name and not by its address, so that addresses may change.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use proxima_model::{NodeName, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
};
use serde::Deserialize;

/// Nodes' names in certificates lie under this domain, which is no public one (RFC 6762, appendix G).
pub const NODE_DOMAIN: &str = "node.internal";
/// A node's certificate is valid for this long, in days.
const NODE_DAYS: i64 = 825;
/// The cluster's authority is valid for this long, in days.
const AUTHORITY_DAYS: i64 = 3_650;

/// Why an identity cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {problem}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate cannot be made.
    #[error("making a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// A folder already has an authority.
    #[error("{0} already has an authority; it is not overwritten")]
    Exists(PathBuf),
}

/// `[identity]`: where this node's certificate lies.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityConfig {
    /// The cluster's authority, PEM.
    pub ca: PathBuf,
    /// This node's certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

impl IdentityConfig {
    pub(crate) fn resolve_from(&mut self, folder: &Path) {
        for path in [&mut self.ca, &mut self.certificate, &mut self.key] {
            *path = folder.join(&*path);
        }
    }
}

/// A node's identity, loaded: what TLS between nodes is made of.
#[derive(Clone)]
pub struct Identity {
    /// For connections that others make to us: their certificate is required and verified.
    pub server: Arc<ServerConfig>,
    /// For connections that we make: theirs is verified against [`Identity::server_name`], ours is presented.
    pub client: Arc<ClientConfig>,
    /// When this node's certificate runs out.
    pub expires: Timestamp,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

impl Identity {
    /// Loads an identity.
    ///
    /// # Errors
    /// Which file is missing, or what is wrong with it.
    pub fn load(config: &IdentityConfig) -> Result<Self, IdentityError> {
        let wrong = |path: &Path| {
            let path = path.to_owned();
            move |error: &dyn std::fmt::Display| IdentityError::Content { path, problem: error.to_string() }
        };
        let authority = certificates(&config.ca)?;
        let chain = certificates(&config.certificate)?;
        let expires = not_after(&chain[0]).map_err(|error| wrong(&config.certificate)(&error))?;
        let key = PrivateKeyDer::from_pem_file(&config.key).map_err(|error| wrong(&config.key)(&error))?;
        let mut roots = RootCertStore::empty();
        for certificate in authority {
            roots.add(certificate).map_err(|error| wrong(&config.ca)(&error))?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| wrong(&config.ca)(&error))?;
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| wrong(&config.ca)(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|error| wrong(&config.certificate)(&error))?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| wrong(&config.ca)(&error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|error| wrong(&config.certificate)(&error))?;
        Ok(Self { server: Arc::new(server), client: Arc::new(client), expires })
    }

    /// TLS for clients that have no certificate of the cluster's (the API): they verify the node's, and show none.
    ///
    /// # Errors
    /// Which file is missing, or what is wrong with it.
    pub fn server_for_clients(config: &IdentityConfig) -> Result<ServerConfig, IdentityError> {
        let wrong = |path: &Path, problem: &dyn std::fmt::Display| IdentityError::Content {
            path: path.to_owned(),
            problem: problem.to_string(),
        };
        let chain = certificates(&config.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&config.key).map_err(|error| wrong(&config.key, &error))?;
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&config.certificate, &error))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| wrong(&config.certificate, &error))
    }

    /// The name that every node's certificate holds, beside its own: whoever connects to "a node of this cluster"
    /// verifies this one.
    pub fn server_name() -> ServerName<'static> {
        ServerName::try_from(NODE_DOMAIN).expect("a constant domain name is valid")
    }
}

/// Until when a certificate is valid.
fn not_after(certificate: &CertificateDer<'_>) -> Result<Timestamp, x509_parser::error::X509Error> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|error| match error {
        x509_parser::nom::Err::Error(error) | x509_parser::nom::Err::Failure(error) => error,
        x509_parser::nom::Err::Incomplete(_) => x509_parser::error::X509Error::InvalidCertificate,
    })?;
    Ok(Timestamp::default().plus_seconds(parsed.validity().not_after.timestamp()))
}

/// The certificates of a PEM file: one at least.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let content = |problem: String| IdentityError::Content { path: path.to_owned(), problem };
    let found = CertificateDer::pem_file_iter(path)
        .map_err(|error| content(error.to_string()))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| content(error.to_string()))?;
    if found.is_empty() { Err(content("there is no certificate in it".to_owned())) } else { Ok(found) }
}

/// The authority of a cluster, which names its nodes.
pub struct ClusterAuthority {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for ClusterAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterAuthority")
    }
}

impl ClusterAuthority {
    /// Makes a new authority and writes `ca.pem` and `ca.key` (mode 0600) into `folder`.
    ///
    /// # Errors
    /// If there is one already, or the files cannot be written.
    pub fn create(folder: &Path) -> Result<Self, IdentityError> {
        if folder.join("ca.key").exists() {
            return Err(IdentityError::Exists(folder.to_owned()));
        }
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Proxima cluster authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        valid_for(&mut params, AUTHORITY_DAYS);
        let key = KeyPair::generate()?;
        let key_pem = key.serialize_pem();
        let certificate_pem = params.self_signed(&key)?.pem();
        make_folder(folder)?;
        write_file(&folder.join("ca.pem"), &certificate_pem, 0o644)?;
        write_file(&folder.join("ca.key"), &key_pem, 0o600)?;
        Ok(Self { certificate_pem, issuer: Issuer::new(params, key) })
    }

    /// Loads the authority in `folder`.
    ///
    /// # Errors
    /// If it is not there, or not one.
    pub fn load(folder: &Path) -> Result<Self, IdentityError> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).map_err(|source| IdentityError::File { path, source })
        };
        let certificate_pem = read("ca.pem")?;
        let key = KeyPair::from_pem(&read("ca.key")?)?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key)?;
        Ok(Self { certificate_pem, issuer })
    }

    /// Issues a node's identity and writes `ca.pem`, `node.pem` and `node.key` (mode 0600) into `folder`.
    ///
    /// # Errors
    /// If the files cannot be written.
    pub fn issue(&self, name: &NodeName, folder: &Path) -> Result<IdentityConfig, IdentityError> {
        let names = vec![format!("{name}.{NODE_DOMAIN}"), NODE_DOMAIN.to_owned()];
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, name.as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        valid_for(&mut params, NODE_DAYS);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        make_folder(folder)?;
        let config = IdentityConfig {
            ca: folder.join("ca.pem"),
            certificate: folder.join("node.pem"),
            key: folder.join("node.key"),
        };
        write_file(&config.ca, &self.certificate_pem, 0o644)?;
        write_file(&config.certificate, &certificate.pem(), 0o644)?;
        write_file(&config.key, &key.serialize_pem(), 0o600)?;
        Ok(config)
    }
}

/// Valid from a day ago, so that clocks which differ a little do not matter.
#[allow(clippy::disallowed_methods, reason = "a certificate is valid by the wall clock")]
fn valid_for(params: &mut CertificateParams, days: i64) {
    let seconds =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(seconds).unwrap_or(i64::MAX);
    let date = |at: i64| {
        rcgen::date_time_ymd(1970, 1, 1)
            .checked_add(std::time::Duration::from_secs(at.unsigned_abs()).try_into().ok()?)
    };
    let day = 86_400;
    if let (Some(from), Some(until)) = (date(now - day), date(now + days * day)) {
        params.not_before = from;
        params.not_after = until;
    }
}

fn make_folder(path: &Path) -> Result<(), IdentityError> {
    fs::create_dir_all(path).map_err(|source| IdentityError::File { path: path.to_owned(), source })
}

fn write_file(path: &Path, text: &str, mode: u32) -> Result<(), IdentityError> {
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| IdentityError::File { path: path.to_owned(), source })
}
