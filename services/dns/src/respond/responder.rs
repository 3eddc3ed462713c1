//! What is the same for every answer, and where one begins and ends.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use proxima_chassis::Clock;
use proxima_model::{TicketKeys, limits::TTL_SECONDS_AUTO};

use super::{ANY_TTL, Answer, Answered, Https, Zones};
use crate::{
    asker::{Asker, Transport},
    cookies::{self, Cookies, Judged},
    dnssec::Signatures,
    edns::{Cookie, Edns, Opt},
    message::{Writer, write_header_only},
    query::{Malformed, Query},
    rate::{Kind, Limited, RateLimit},
    rrset::{self, RrSet, Set},
    wire::{MESSAGE_OCTETS_MAX, UDP_OCTETS_CLASSIC, rtype},
    zone::HttpsOffer,
};

/// What answers need besides the zones: the same for every query.
#[derive(Clone)]
pub struct Responder {
    pub(super) addresses_v4: Option<RrSet>,
    pub(super) addresses_v6: Option<RrSet>,
    pub(super) https: Https,
    pub(super) everything: RrSet,
    pub(super) identity: Vec<u8>,
    payload: u16,
    /// How long a connection may be silent, in tenths of a second (RFC 7828, 3.1).
    keepalive: u16,
    cookies: Arc<Cookies>,
    /// Whether who sends cookies over UDP is answered only with a good one.
    pub(super) cookies_required: bool,
    clock: Arc<dyn Clock>,
    pub(super) signatures: Arc<Signatures>,
    rate_limit: Option<Arc<RateLimit>>,
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder").field("cookies", &self.cookies).finish_non_exhaustive()
    }
}

impl Responder {
    /// Proxied names answer `addresses`, and that HTTP/3 is spoken there if it is (`http3`); the server says that it is
    /// `identity` (a node's name, at most 63 octets) to who asks (RFC 4892, RFC 5001); datagrams have at most `payload`
    /// octets, 512 or more; signatures and cookies are good from and until when `clock` says.
    pub fn new(
        addresses: &[IpAddr],
        http3: bool,
        identity: &str,
        payload: u16,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let set = |rtype, data: Vec<Box<[u8]>>| RrSet::of(rtype, TTL_SECONDS_AUTO, data);
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for address in addresses {
            match address {
                IpAddr::V4(address) => v4.push(address.octets().into()),
                IpAddr::V6(address) => v6.push(address.octets().into()),
            }
        }
        let https = Https::new(&v4, &v6, http3);
        let everything: Vec<u8> = rrset::character_string(b"RFC8482").chain([0]).collect();
        Self {
            addresses_v4: set(rtype::A, v4),
            addresses_v6: set(rtype::AAAA, v6),
            https,
            everything: RrSet::of_one(rtype::HINFO, ANY_TTL, everything),
            identity: identity.bytes().take(63).collect(),
            payload: payload.max(UDP_OCTETS_CLASSIC),
            keepalive: 0,
            cookies: Arc::new(Cookies::new()),
            cookies_required: false,
            clock: clock.clone(),
            signatures: Arc::new(Signatures::new(clock)),
            rate_limit: None,
        }
    }

    /// Of like answers over UDP to one network, `rate` a second are given (at most 10,000; 0: all), and each `slip`-th of
    /// those beyond asks to come again by TCP or with a cookie. Networks of `exempt` are given all, and so is who comes
    /// with a good cookie.
    #[must_use]
    pub fn with_rate_limit(mut self, rate: u32, slip: u8, exempt: &[IpNet]) -> Self {
        self.rate_limit = (rate > 0).then(|| Arc::new(RateLimit::new(rate, slip, exempt)));
        self
    }

    /// Connections may be silent for so long, which is told to who asks (RFC 7828).
    #[must_use]
    pub fn with_keepalive(mut self, idle: Duration) -> Self {
        self.keepalive = u16::try_from(idle.as_millis() / 100).unwrap_or(u16::MAX);
        self
    }

    /// Who sends cookies over UDP has to send one that a server of the network gave (RFC 7873, 5.2.3).
    #[must_use]
    pub fn with_cookies_required(mut self, required: bool) -> Self {
        self.cookies_required = required;
        self
    }

    /// Cookies are made and checked with secrets derived from these keys, which all servers of the network have. Puts
    /// them in force when called.
    pub fn prepare_cookies(&self, keys: &TicketKeys) -> impl FnOnce() + Send + 'static {
        let (cookies, prepared) = (self.cookies.clone(), Cookies::prepare(keys));
        move || cookies.swap(prepared)
    }

    /// Appends the answer to `message` to `out`; `None` and nothing if it is not to be answered. An answer over UDP
    /// has never more octets than the asker takes and than `payload`, and 512 if it does not speak EDNS.
    pub fn respond(
        &self,
        zones: &impl Zones,
        message: &[u8],
        asker: Asker,
        out: &mut Vec<u8>,
    ) -> Option<Answered> {
        self.respond_once(zones, message, (asker, &mut false), out)
    }

    /// As [`Self::respond`], unless it was counted before; and tells whether it is now.
    pub(crate) fn respond_once(
        &self,
        zones: &impl Zones,
        message: &[u8],
        (asker, counted): (Asker, &mut bool),
        out: &mut Vec<u8>,
    ) -> Option<Answered> {
        let Asker { address, transport, .. } = asker;
        let query = match Query::parse(message) {
            Ok(query) => query,
            Err(Malformed::Ignore) => return None,
            Err(Malformed::Answer { id, flags, rcode }) => {
                let limited = if *counted { None } else { self.limit(asker, None, Kind::Other) };
                *counted = true;
                if limited != Some(Limited::Dropped) {
                    write_header_only(out, id, flags, rcode);
                }
                return Some(Answered {
                    rcode,
                    qtype: None,
                    zone: None,
                    truncated: false,
                    signatures: 0,
                    ttl: None,
                    limited,
                });
            }
        };
        // Where connections have a time of their own, that of TCP must not be asked for (RFC 9250, 5.5.2).
        if transport == Transport::Quic && query.edns.is_some_and(|edns| edns.keepalive) {
            return None;
        }
        let limit = self.limit_of(&query, transport);
        let judged = query.edns.and_then(|edns| edns.cookie).map(|cookie| self.judge(&cookie, address));
        let mut opt = query.edns.map(|asked| self.opt(asked, judged, transport));
        let (begin, question) = (out.len(), &message[..query.question_end]);
        let writer = Writer::new(out, question, limit, opt.as_ref());
        let dnssec = query.edns.is_some_and(|edns| edns.dnssec_ok);
        let signatures = 0;
        let mut answer = Answer {
            responder: self,
            zones,
            query: &query,
            asker,
            counted: *counted,
            zone: None,
            judged,
            writer,
            denied_for: u32::MAX,
            dnssec,
            signatures,
            moved: Vec::new(),
            proofs: Vec::new(),
        };
        let (rcode, limited) = answer.finish_making();
        *counted = answer.counted;
        if limited.is_some() {
            // No more than the query had but for a cookie: nothing to flood others with.
            opt.iter_mut().for_each(|opt| opt.identity = None);
        }
        let (truncated, ttl) = (answer.writer.is_truncated(), answer.writer.ttl());
        let (signatures, zone) = (answer.signatures, answer.zone);
        answer.writer.finish(rcode, opt.as_ref());
        if limited == Some(Limited::Dropped) {
            out.truncate(begin);
        }
        Some(Answered { rcode, qtype: Some(query.qtype), zone, truncated, signatures, ttl, limited })
    }

    /// What is done instead, if this answer is one too many.
    pub(super) fn limit(&self, asker: Asker, judged: Option<Judged>, kind: Kind<'_>) -> Option<Limited> {
        let rate_limit = self.rate_limit.as_ref()?;
        if asker.transport != Transport::Udp || judged.is_some_and(|judged| judged.is_good) {
            return None;
        }
        rate_limit.limit(asker.address, kind, self.clock.now().as_millis())
    }

    fn judge(&self, cookie: &Cookie, address: IpAddr) -> Judged {
        self.cookies.judge(cookie, address, cookies::seconds(self.clock.now()))
    }

    pub(crate) fn opt(&self, asked: Edns, judged: Option<Judged>, transport: Transport) -> Opt<'_> {
        let is_stream = matches!(transport, Transport::Tcp | Transport::Tls);
        Opt {
            asked,
            payload: self.payload,
            identity: asked.nsid.then_some(&self.identity),
            cookie: judged.map(|judged| judged.answer),
            keepalive: (asked.keepalive && is_stream).then_some(self.keepalive),
            padded: asked.padded && transport.is_encrypted(),
        }
    }

    /// The network's addresses: what proxied names answer.
    pub(crate) fn addresses(&self, rtype: u16) -> Option<Set<'_>> {
        let set = if rtype == rtype::A { &self.addresses_v4 } else { &self.addresses_v6 };
        set.as_ref().map(RrSet::view)
    }

    /// How a zone's proxied names say that they speak HTTPS.
    pub(crate) fn https_of(&self, offer: HttpsOffer) -> Option<Set<'_>> {
        match offer {
            HttpsOffer::None => None,
            HttpsOffer::Http2 => Some(self.https.http2.view()),
            HttpsOffer::Http3 => Some(self.https.http3.view()),
        }
    }

    /// Octets of the largest answer to a query.
    pub(crate) fn limit_of(&self, query: &Query, transport: Transport) -> usize {
        match (transport, query.edns) {
            (Transport::Udp, None) => UDP_OCTETS_CLASSIC.into(),
            (Transport::Udp, Some(edns)) => edns.payload.clamp(UDP_OCTETS_CLASSIC, self.payload).into(),
            _ => MESSAGE_OCTETS_MAX,
        }
    }

    /// Now, in seconds.
    pub(crate) fn seconds(&self) -> u64 {
        self.clock.now().as_seconds().max(0).unsigned_abs()
    }
}

#[cfg(test)]
mod tests {
    use proxima_ledger::ReadError;
    use proxima_model::Timestamp;

    use super::*;
    use crate::{wire::Rcode, zone::ZoneTree};

    /// Zones of which none is compiled; whether the answer is made once more when they are.
    struct Uncompiled(bool);

    impl Zones for Uncompiled {
        fn find(&self, name: &str) -> Result<Option<Arc<ZoneTree>>, ReadError> {
            Err(ReadError::NotCompiled { zone: name.to_owned() })
        }

        fn beneath(&self, _: &str) -> Option<Vec<String>> {
            Some(Vec::new())
        }

        fn is_active(&self, _: &str) -> Result<Option<bool>, ReadError> {
            Ok(None)
        }

        fn awaits_zone(&self) -> bool {
            self.0
        }
    }

    /// A clock that stands still.
    struct Still;

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(1_764_000_000_000)
        }
    }

    #[test]
    fn what_is_made_once_more_counts_when_it_is_made_and_what_is_not_as_an_error() {
        let responder = Responder::new(&[], false, "fra-1", 1_232, Arc::new(Still));
        let responder = responder.with_rate_limit(1, 0, &[]);
        let question = proxima_transfer::message::question(1, 0, b"\x07example\x03com\x00", rtype::A);
        let asker = Asker::new([192, 0, 2, 1].into(), Transport::Udp);
        let respond = |zones: &Uncompiled, counted: &mut bool| {
            let mut out = Vec::new();
            responder.respond_once(zones, &question, (asker, counted), &mut out).expect("it is answered")
        };
        for _ in 0..100 {
            let mut counted = false;
            let answered = respond(&Uncompiled(true), &mut counted);
            assert_eq!((answered.rcode, answered.limited, counted), (Rcode::ServFail, None, false));
        }
        // Two at once are given.
        for number in 0..100 {
            let mut counted = false;
            let answered = respond(&Uncompiled(false), &mut counted);
            assert!(counted);
            assert_eq!(answered.limited.is_some(), number >= 2);
        }
        // What was counted is not counted once more.
        assert_eq!(respond(&Uncompiled(false), &mut true).limited, None);
    }
}
