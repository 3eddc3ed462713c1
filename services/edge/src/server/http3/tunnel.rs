//! A request stream that becomes a tunnel (RFC 9220).

use bytes::Bytes;
use proxima_pipeline::{Body, Protocol};

use super::incoming::{Incoming, Unread};
use super::outgoing::{Cut, Outgoing};
use super::stream::{Ended, finish, run, unreadable};
use crate::http3::{Broken as Malformed, Code, Piece};
use crate::server::admit::Asked;
use crate::server::message::tunnel_head;
use crate::server::tunnel::{Broken, Connect, FromClient, ToClient, carry};
use crate::server::{Peer, ServerContext};

/// Serves a stream on which a tunnel is asked for.
pub(super) async fn serve(
    (asked, connect): (Asked, Connect),
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
    let mut from = From { incoming, unread: None };
    let carried = async {
        out.interim(status, &headers).await.map_err(|Cut| Broken)?;
        carry(&mut from, &mut *out, origin, server.timeouts.upgrade_idle, from_client).await
    };
    let carried = tokio::select! {
        carried = carried => carried,
        () = unwanted => Err(Broken),
    };
    let From { incoming, unread } = from;
    match (carried, unread) {
        (Ok(()), _) => Ended::Served,
        (Err(Broken), Some(unread @ Unread::Broken(_))) => unreadable(server, &unread, incoming, out),
        (Err(Broken), _) => {
            // As a connection of TCP is reset (RFC 9220, 3).
            out.reset(Code::REQUEST_CANCELLED);
            Ended::Cut
        }
    }
}

struct From<'a> {
    incoming: &'a mut Incoming,
    /// Why nothing more can be had.
    unread: Option<Unread>,
}

impl FromClient for &mut From<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        let why = match self.incoming.next().await {
            Ok(Some(Piece::Data(data))) => return Ok(Some(data)),
            Ok(None) => return Ok(None),
            // In a tunnel there is nothing else (RFC 9114, 4.4).
            Ok(Some(Piece::Head(_) | Piece::Trailers(_))) => {
                Malformed::Connection(Code::FRAME_UNEXPECTED).into()
            }
            Err(unread) => unread,
        };
        self.unread = Some(why);
        Err(Broken)
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
