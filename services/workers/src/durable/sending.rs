//! A request for an object that may have to be sent again, since its object was found to be elsewhere before anything was done.

use bytes::Bytes;
use http::{Request, request::Parts};
use proxima_pipeline::Body;

use super::asked::Refusal;
use crate::engine::ANSWER_WITHIN;

/// Octets of a body that is kept to be sent again; of a longer one, who asks has to.
const KEPT_OCTETS_MAX: u64 = 64 << 10;

/// See the module.
pub(super) struct Sending {
    parts: Parts,
    body: Option<Body>,
    kept: Option<Bytes>,
}

impl Sending {
    pub(super) fn new(request: Request<Body>) -> Self {
        let (parts, body) = request.into_parts();
        let kept = body.is_empty().then(Bytes::new);
        Self { parts, body: Some(body), kept }
    }

    /// Keeps the body, if it is short; it has as long to come as its answer.
    pub(super) async fn keep(&mut self) -> Result<(), Refusal> {
        let is_short =
            |body: &mut Body| body.length().is_some_and(|octets| (1..=KEPT_OCTETS_MAX).contains(&octets));
        if let Some(body) = self.body.take_if(is_short) {
            let octets_max = usize::try_from(KEPT_OCTETS_MAX).unwrap_or(usize::MAX);
            let kept = tokio::time::timeout(ANSWER_WITHIN, body.collect(octets_max)).await;
            let kept = kept.map_err(|_| Refusal::refused("its body did not come in time"))?;
            self.kept = Some(kept.map_err(|_| Refusal::refused("its body ended too early"))?);
        }
        Ok(())
    }

    /// The request, as long as it [can be sent](Self::can_be_sent).
    pub(super) fn take(&mut self) -> Result<Request<Body>, Refusal> {
        let body =
            self.body.take().or_else(|| self.kept.clone().map(Body::full)).ok_or_else(Refusal::lost)?;
        Ok(Request::from_parts(self.parts.clone(), body))
    }

    pub(super) fn can_be_sent(&self) -> bool {
        self.body.is_some() || self.kept.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(sending: &mut Sending) -> Option<Bytes> {
        let request = sending.take().ok()?;
        request.into_body().collect(1 << 20).await.ok()
    }

    #[tokio::test]
    async fn what_is_short_is_sent_again_and_what_is_long_once() {
        for (body, times) in [
            (Body::empty(), 3),
            (Body::full("[1]"), 3),
            (Body::full(vec![0; usize::try_from(KEPT_OCTETS_MAX).expect("it fits") + 1]), 1),
        ] {
            let octets = body.length().expect("it is known");
            let mut sending = Sending::new(Request::new(body));
            for _ in 0..times {
                assert!(sending.can_be_sent());
                sending.keep().await.expect("it is there");
                let sent = text(&mut sending).await.expect("it can be sent");
                assert_eq!(sent.len() as u64, octets);
            }
            assert_eq!(sending.can_be_sent(), times > 1);
        }
        let (sender, streamed) = Body::channel(1, None);
        drop(sender);
        let mut sending = Sending::new(Request::new(streamed));
        sending.keep().await.expect("it is not read");
        sending.take().expect("once");
        assert!(!sending.can_be_sent() && sending.take().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_body_that_does_not_come_is_not_waited_for_without_end() {
        let (_sender, silent) = Body::channel(1, Some(10));
        let mut sending = Sending::new(Request::new(silent));
        let kept = tokio::time::timeout(2 * ANSWER_WITHIN, sending.keep()).await.expect("it ends");
        assert_eq!(kept, Err(Refusal::refused("its body did not come in time")));
        assert!(!sending.can_be_sent());
    }
}
