//! Who vouches for the certificates of a host's clients.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use proxima_model::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{DistinguishedName, RootCertStore};

/// The authorities by which clients of a host are verified.
pub struct HostAuthorities {
    /// `None` if not one of them can be read: then nobody is verified.
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// What tickets are bound to.
    digest: [u8; 32],
}

impl HostAuthorities {
    /// Those of these PEMs.
    pub fn new<'a>(pems: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut roots, mut all) = (RootCertStore::empty(), Vec::new());
        for certificate in pems.into_iter().flat_map(|pem| CertificateDer::pem_slice_iter(pem.as_bytes())) {
            // Looked at when it was uploaded; one that is broken must not take the others with it.
            let added = certificate.map_err(|error| error.to_string()).and_then(|certificate| {
                all.extend_from_slice(digest(&SHA256, &certificate).as_ref());
                roots.add(certificate).map_err(|error| error.to_string())
            });
            if let Err(error) = added {
                tracing::error!(%error, "unusable authority of client certificates");
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().ok();
        let mut bound = [0; 32];
        bound.copy_from_slice(digest(&SHA256, &all).as_ref());
        Self { verifier, digest: bound }
    }

    /// What sessions with clients that were asked for certificates of these are bound to.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The names of the authorities, which clients are told.
    pub fn hints(&self) -> &[DistinguishedName] {
        self.verifier.as_ref().map_or(&[], |verifier| verifier.root_hint_subjects())
    }

    /// Whether this chain, DER, leads from a certificate for clients to one of these authorities at this time.
    pub fn verify(&self, chain: &[Vec<u8>], now: Timestamp) -> bool {
        let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let Some((leaf, intermediates)) = chain.split_first() else { return false };
        let Some(verifier) = &self.verifier else { return false };
        let Ok(seconds) = u64::try_from(now.as_seconds()) else { return false };
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        verifier.verify_client_cert(leaf, intermediates, now).is_ok()
    }
}

impl fmt::Debug for HostAuthorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostAuthorities").finish_non_exhaustive()
    }
}
