//! Asking a primary for a zone: over TCP, within bounds of time and size.

use proxima_model::{PrimarySoa, limits as model_limits};
use proxima_transfer::{
    Exchange, message,
    stream::{Bounds, Incoming, Transfer, is_newer, soa_of},
};
use proxima_wire::rtype;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    api::Api,
    limits,
    transfers::client::{Other, seconds},
};

/// What is wanted of a zone.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Its name on the wire.
    pub(super) zone: Vec<u8>,
    /// What is here of it.
    pub(super) here: Option<PrimarySoa>,
    /// Whether it is asked for whatever its serial is.
    pub(super) whole: bool,
}

/// Asks a primary for what is newer than what is here.
///
/// # Errors
/// In words for the zone's owner.
pub(super) async fn fetch(api: &Api, other: &Other, ixfr: bool, wanted: &Wanted) -> Result<Transfer, String> {
    let fetched = timeout(limits::TRANSFER_WITHIN, async {
        if let Some(here) = wanted.here.as_ref().filter(|_| !wanted.whole) {
            let mut connection = Connection::open(api, other).await?;
            let there = connection.soa(&wanted.zone).await?;
            if !is_newer(there.serial(), here.serial()) {
                return Ok(Transfer::Nothing);
            }
            if ixfr {
                match connection.transfer(&wanted.zone, Some(here)).await {
                    Ok(transfer) => return Ok(transfer),
                    // It may be that it does not know how: everything will do.
                    Err(why) => tracing::debug!(%why, "no differences came"),
                }
            }
        }
        Connection::open(api, other).await?.transfer(&wanted.zone, None).await
    });
    fetched.await.unwrap_or_else(|_| Err("the transfer takes too long".to_owned()))
}

struct Connection<'a> {
    api: &'a Api,
    other: &'a Other,
    stream: TcpStream,
}

impl<'a> Connection<'a> {
    async fn open(api: &'a Api, other: &'a Other) -> Result<Self, String> {
        let connecting = timeout(limits::TRANSFER_CONNECT_WITHIN, TcpStream::connect(other.address));
        let stream = connecting.await.map_err(|_| "connecting takes too long".to_owned())?;
        Ok(Self { api, other, stream: stream.map_err(|error| format!("connecting: {error}"))? })
    }

    async fn ask(&mut self, mut question: Vec<u8>) -> Result<Option<Exchange>, String> {
        let key = self.other.key.as_ref();
        let exchange = key.map(|key| Exchange::ask(key, &mut question, seconds(self.api)));
        let length = u16::try_from(question.len()).map_err(|_| "the question is too long".to_owned())?;
        let framed = [&length.to_be_bytes()[..], &question].concat();
        let written = timeout(limits::TRANSFER_MESSAGE_WITHIN, self.stream.write_all(&framed)).await;
        written
            .map_err(|_| "asking takes too long".to_owned())?
            .map_err(|error| format!("asking: {error}"))?;
        Ok(exchange)
    }

    /// The next message, without its signature.
    async fn next(&mut self, exchange: &mut Option<Exchange>) -> Result<Vec<u8>, String> {
        let reading = async {
            let mut message = vec![0; self.stream.read_u16().await?.into()];
            self.stream.read_exact(&mut message).await?;
            Ok::<_, std::io::Error>(message)
        };
        let message = timeout(limits::TRANSFER_MESSAGE_WITHIN, reading).await;
        let message = message.map_err(|_| "the primary is silent".to_owned())?;
        let message = message.map_err(|error| format!("the primary breaks off: {error}"))?;
        match exchange {
            Some(exchange) => exchange.take(&message, seconds(self.api)).map_err(|error| error.to_string()),
            None => Ok(message),
        }
    }

    async fn soa(&mut self, zone: &[u8]) -> Result<PrimarySoa, String> {
        let id = rand::random();
        let mut exchange = self.ask(message::question(id, 0, zone, rtype::SOA)).await?;
        let answer = self.next(&mut exchange).await?;
        let head = message::head(&answer).map_err(|error| error.to_string())?;
        if head.id != id || !head.is_answer(0) {
            return Err("the primary answers something else".to_owned());
        }
        if head.rcode != 0 {
            return Err(format!("the primary answers {}", message::rcode_name(head.rcode)));
        }
        let records = message::answers(&answer).map_err(|error| error.to_string())?;
        let found = records.iter().find(|record| record.rtype == rtype::SOA && record.owner == zone);
        let soa = found.map(soa_of).and_then(Result::ok);
        soa.ok_or_else(|| "the primary does not have the zone".to_owned())
    }

    async fn transfer(&mut self, zone: &[u8], since: Option<&PrimarySoa>) -> Result<Transfer, String> {
        let id = rand::random();
        let question = match since {
            Some(here) => message::differences(id, zone, &here.data),
            None => message::question(id, 0, zone, rtype::AXFR),
        };
        let mut exchange = self.ask(question).await?;
        let bounds = Bounds {
            // All may go and come again, and there are SOA records.
            records: model_limits::RECORDS_PER_ZONE_MAX * 2 + 1_000,
            octets: limits::TRANSFER_OCTETS_MAX,
        };
        let mut incoming = Incoming::new(zone.to_vec(), id, since.map(PrimarySoa::serial), bounds);
        loop {
            let message = self.next(&mut exchange).await?;
            if incoming.take(&message).map_err(|error| error.to_string())? {
                break;
            }
        }
        if exchange.is_some_and(|exchange| !exchange.is_whole()) {
            return Err("the transfer's last message is not signed".to_owned());
        }
        incoming.finish().map_err(|error| error.to_string())
    }
}
