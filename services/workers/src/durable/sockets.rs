//! Open WebSockets of objects: each has a place of its account's for as long as it is open, also while its object sleeps. They take none
//! of the places of requests, which an object would else not be asked by any more whose clients all listen.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use proxima_chassis::{Place, Places};
use proxima_model::AccountId;
use proxima_pipeline::{Response, Upgraded};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::asked::Refusal;

/// WebSockets that the objects of one account have open at a time, on one server: each costs the node four descriptors and the process a
/// connection, beside the memory of its handlers; a hundredth of the descriptors that a server may well have.
const OPEN_PER_ACCOUNT_MAX: usize = 1_024;

/// See the module.
pub(super) struct Sockets {
    open_max: usize,
    open: Arc<Places<AccountId>>,
}

/// One of them, with its place.
struct Open {
    io: Upgraded,
    _place: Place<AccountId>,
}

impl Sockets {
    pub(super) fn new() -> Self {
        Self::with(OPEN_PER_ACCOUNT_MAX)
    }

    fn with(open_max: usize) -> Self {
        Self { open_max, open: Places::new(usize::MAX, open_max) }
    }

    /// A place for one that an object is asked for.
    pub(super) fn take(&self, account: AccountId) -> Result<Place<AccountId>, Refusal> {
        self.open.take_for(account).ok_or_else(|| Refusal::crowded(self.open_max))
    }
}

/// An answer in which it has the place, if the object has switched to a WebSocket.
pub(super) fn keeping(mut answered: Response, place: Place<AccountId>) -> Response {
    answered.upgraded = answered.upgraded.map(|io| Box::new(Open { io, _place: place }) as Upgraded);
    answered
}

impl AsyncRead for Open {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Open {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(context, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websocket_has_its_place_until_it_is_closed_and_an_answer_that_is_none_has_none() {
        let (sockets, account) = (Sockets::with(2), AccountId::from_bytes([1; 16]));
        let open = || {
            let place = sockets.take(account)?;
            let upgraded: Option<Upgraded> = Some(Box::new(tokio::io::empty()));
            Ok::<_, Refusal>(keeping(Response { upgraded, ..Response::default() }, place))
        };
        let first = [open().expect("a place"), open().expect("a place")];
        let refused = open().expect_err("both places are taken");
        assert_eq!((refused.outcome, refused.is_ours()), ("busy", false));
        assert!(refused.message.contains("2 WebSockets"), "{refused}");
        assert!(sockets.take(AccountId::from_bytes([2; 16])).is_ok(), "another account has its own");
        drop(first);
        let declined = keeping(Response::default(), sockets.take(account).expect("they are free again"));
        assert!(open().is_ok() && declined.upgraded.is_none());
        let open = [open().expect("a place"), open().expect("the other one")];
        assert!(sockets.take(account).is_err());
        drop((declined, open));
    }
}
