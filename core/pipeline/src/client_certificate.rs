//! The certificate that a client presented.

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use proxima_model::Timestamp;

/// How long it is remembered that a certificate holds, or does not, in milliseconds: one that runs out while its
/// connection lasts is refused within a minute, and a busy connection costs a verification a minute.
const REMEMBERED_MS: i64 = 60_000;

/// A certificate that a client presented. Its key was proved to be the client's in a handshake; who issued it, and
/// whether it is still valid, is asked for each host anew and remembered for the connection.
pub struct ClientCertificate {
    /// The certificate, and those between it and its authority; DER.
    chain: Vec<Vec<u8>>,
    fingerprint: String,
    verdict: Mutex<Option<Verdict>>,
}

/// What an authority says of the certificate. It is kept alive, so that no other can be taken for it.
struct Verdict {
    by: Arc<dyn Any + Send + Sync>,
    at: Timestamp,
    holds: bool,
}

impl ClientCertificate {
    /// The one at the head of this chain, DER, whose SHA-256 is, in lower-case hexadecimal, `fingerprint`.
    pub fn new(chain: Vec<Vec<u8>>, fingerprint: String) -> Self {
        Self { chain, fingerprint, verdict: Mutex::default() }
    }

    /// The certificate, and those between it and its authority; DER.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// Its SHA-256, in lower-case hexadecimal.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether it holds by these authorities: what `verify` says, or said of the same ones less than a minute ago.
    pub fn holds_by<T: Send + Sync + 'static>(
        &self,
        authorities: &Arc<T>,
        now: Timestamp,
        verify: impl FnOnce() -> bool,
    ) -> bool {
        let mut verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*verdict
            && std::ptr::addr_eq(Arc::as_ptr(&known.by), Arc::as_ptr(authorities))
            && (0..REMEMBERED_MS).contains(&now.as_millis().saturating_sub(known.at.as_millis()))
        {
            return known.holds;
        }
        let holds = verify();
        let by: Arc<dyn Any + Send + Sync> = Arc::<T>::clone(authorities);
        *verdict = Some(Verdict { by, at: now, holds });
        holds
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl PartialEq for ClientCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.chain == other.chain
    }
}

impl Eq for ClientCertificate {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_remembered_for_a_minute_and_for_the_same_authorities_only() {
        let certificate = ClientCertificate::new(vec![vec![1]], "00".to_owned());
        let (ours, others) = (Arc::new(1), Arc::new(1));
        let asked = |by, at, says| {
            let mut was_asked = false;
            let holds = certificate.holds_by(by, Timestamp::from_millis(at), || {
                was_asked = true;
                says
            });
            (holds, was_asked)
        };
        assert_eq!(asked(&ours, 0, true), (true, true));
        assert_eq!(asked(&ours, 59_999, false), (true, false));
        assert_eq!(asked(&ours, 60_000, false), (false, true));
        assert_eq!(asked(&others, 60_000, true), (true, true));
        assert_eq!(asked(&ours, 60_000, false), (false, true));
        assert_eq!(asked(&ours, 59_000, true), (true, true), "a clock that was set back is not believed");
    }
}
