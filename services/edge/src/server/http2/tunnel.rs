//! A stream that becomes a tunnel (RFC 8441).

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use proxima_pipeline::{Body, Protocol};

use super::exchange::{answer, run};
use super::stream::{Answering, Next, Reading, Stream};
use crate::http2::Code;
use crate::server::admit::Asked;
use crate::server::message::tunnel_head;
use crate::server::tunnel::{Broken, Connect, FromClient, ToClient, carry};
use crate::server::{Peer, ServerContext};

/// Serves a stream on which a tunnel is asked for. `follows`: the client has not ended its side.
pub(super) async fn serve(
    (asked, connect): (Asked, Connect),
    follows: bool,
    stream: Arc<Stream>,
    answering: Answering,
    peer: &Peer,
    server: &ServerContext,
) {
    // What comes before the tunnel is open waits in the stream's window.
    let from = From { reading: Reading(Arc::clone(&stream)), follows };
    let (mut exchange, fault) = server.admit(peer, asked, Body::empty(), answering.sent());
    match fault {
        Some(fault) => exchange.response = Some(server.refusal(&fault, &exchange)),
        None => {
            if run(server, &mut exchange, &answering).await.is_err() {
                return server.metrics.client_gone();
            }
        }
    }
    let (response, origin) = connect.answer(&mut exchange);
    let Some(origin) = origin else {
        drop(from);
        exchange.response = Some(response);
        return answer(server, exchange, false, answering).await;
    };
    server.metrics.answered(Protocol::Http2, response.status);
    exchange.answered(&response);
    let (status, headers) = tunnel_head(server, response);
    let mut to = To { answering, server };
    to.answering.open(status, headers);
    let (_, from_client) = exchange.relayed();
    let carried = tokio::select! {
        carried = carry(from, &mut to, origin, server.timeouts.upgrade_idle, from_client) => carried,
        () = poll_fn(|context| stream.poll_gone(context)) => Err(Broken),
    };
    match carried {
        Ok(()) => to.answering.finish(Box::new(exchange)),
        // As a connection of TCP is reset (RFC 8441, 5).
        Err(Broken) => to.answering.give_up(Code::CANCEL),
    }
}

struct From {
    reading: Reading,
    follows: bool,
}

impl FromClient for From {
    async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        if !self.follows {
            return Ok(None);
        }
        match poll_fn(|context| self.reading.poll_next(context)).await {
            Next::Data(data) => Ok(Some(data)),
            Next::End(Ok(None)) => Ok(None),
            // Behind a tunnel there are no trailers (RFC 9113, 8.5).
            Next::End(Ok(Some(_)) | Err(_)) => Err(Broken),
        }
    }
}

struct To<'a> {
    answering: Answering,
    server: &'a ServerContext,
}

impl ToClient for &mut To<'_> {
    async fn send(&mut self, data: Bytes) -> Result<(), Broken> {
        self.answering.data(data, false);
        self.answering.room(false, self.server).await.map_err(|_| Broken)
    }

    async fn finish(&mut self) -> Result<(), Broken> {
        self.answering.data(Bytes::new(), true);
        self.answering.room(true, self.server).await.map_err(|_| Broken)
    }
}
