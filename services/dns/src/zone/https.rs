//! How the proxied names of a zone speak HTTPS.

use proxima_model::{SslMode, ZoneSettings};

/// How a zone's proxied names speak HTTPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HttpsOffer {
    /// Not at all.
    None,
    /// By HTTP/2 and before.
    Http2,
    /// By HTTP/3 too, if the network does.
    Http3,
}

impl HttpsOffer {
    pub(super) const fn of(settings: &ZoneSettings) -> Self {
        match (settings.ssl, settings.http3) {
            (SslMode::Off, _) => Self::None,
            (_, false) => Self::Http2,
            (_, true) => Self::Http3,
        }
    }
}
