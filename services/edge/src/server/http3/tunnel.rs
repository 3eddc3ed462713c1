//! A request stream that becomes a tunnel (RFC 9220).

use bytes::Bytes;
use proxima_pipeline::{Body, Protocol};

use super::incoming::{Follows, Incoming};
use super::outgoing::{Cut, Outgoing};
use super::stream::{Ended, finish, run};
use crate::http3::{Code, Piece};
use crate::server::admit::Asked;
use crate::server::message::tunnel_head;
use crate::server::tunnel::{Broken, Connect, FromClient, ToClient, carry};
use crate::server::{Peer, ServerContext};

/// Serves a stream on which a tunnel is asked for.
pub(super) async fn serve(
    (asked, connect): (Asked, Connect),
    follows: Follows,
    peer: &Peer,
    server: &ServerContext,
    incoming: &mut Incoming,
    out: &mut Outgoing,
) -> Ended {
    let (mut exchange, fault) = server.admit(peer, asked, Body::empty(), out.sent());
    let ran = match fault {
        Some(fault) => {
            exchange.response = Some(server.refusal(&fault, &exchange));
            Ok(())
        }
        None => {
            let unwanted = out.unwanted();
            // What comes before the tunnel is open waits in the stream's window.
            tokio::select! {
                ran = run(server, &mut exchange, out) => ran,
                () = unwanted => Err(Cut),
                () = incoming.taken_back() => Err(Cut),
            }
        }
    };
    if ran == Err(Cut) {
        server.metrics.client_gone();
        out.reset(Code::REQUEST_CANCELLED);
        return Ended::Cancelled;
    }
    let (response, origin) = connect.answer(&mut exchange);
    let Some(origin) = origin else {
        exchange.response = Some(response);
        return match finish(server, exchange, false, out).await {
            Ok(()) => Ended::Served,
            Err(Cut) => Ended::Cancelled,
        };
    };
    server.metrics.answered(Protocol::Http3, response.status);
    exchange.answered(&response);
    let (status, headers) = tunnel_head(server, response);
    let (_, from_client) = exchange.relayed();
    let unwanted = out.unwanted();
    let carried = async {
        out.interim(status, &headers).await.map_err(|Cut| Broken)?;
        let idle_max = server.timeouts.upgrade_idle;
        carry(From { incoming, follows }, &mut *out, origin, idle_max, from_client).await
    };
    let carried = tokio::select! {
        carried = carried => carried,
        () = unwanted => Err(Broken),
    };
    match carried {
        Ok(()) => Ended::Served,
        Err(Broken) => {
            // As a connection of TCP is reset (RFC 9220, 3).
            out.reset(Code::REQUEST_CANCELLED);
            Ended::Cut
        }
    }
}

struct From<'a> {
    incoming: &'a mut Incoming,
    /// What has come before, if it was not used yet.
    follows: Follows,
}

impl FromClient for From<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        let piece = match std::mem::replace(&mut self.follows, Follows::Body(None)) {
            Follows::Nothing => return Ok(None),
            Follows::Body(Some(first)) => Some(first),
            Follows::Body(None) => self.incoming.next().await.map_err(|_| Broken)?,
        };
        match piece {
            Some(Piece::Data(data)) => Ok(Some(data)),
            // In a tunnel there is nothing else (RFC 9114, 4.4).
            Some(Piece::Head(_) | Piece::Trailers(_)) => Err(Broken),
            None => Ok(None),
        }
    }
}

impl ToClient for &mut Outgoing {
    async fn send(&mut self, data: Bytes) -> Result<(), Broken> {
        self.piece(data).await.map_err(|Cut| Broken)
    }

    async fn finish(&mut self) -> Result<(), Broken> {
        Outgoing::finish(self).map_err(|Cut| Broken)
    }
}
