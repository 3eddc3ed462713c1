//! What the tests have in common: zones written as text, queries by the octet, answers read by another implementation.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, Result, bail, ensure};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use domain::{
    base::{Message, RecordSection, Rtype, opt::UnknownOptData},
    rdata::AllRecordData,
};
use proxima_chassis::{Clock, SystemClock};
use proxima_dns::{Asker, Responder, Transport, ZoneTree, Zones};
use proxima_ledger::ReadError;
use proxima_model::{
    AccountId, DnsName, KeyRole, ParentDs, Record, RecordData, RecordId, RecordType, SecondaryZone,
    SigningAlgorithm, SigningKey, TicketKey, TicketKeyId, TicketKeys, Timestamp, TransferredRecord, Ttl,
    Zone, ZoneId, ZoneName, ZoneSettings, ZoneSigning, ZoneStatus,
};
use proxima_pipeline::ZoneNotices;

/// The network of the tests.
pub(crate) const ANYCAST: [&str; 3] = ["198.18.0.1", "198.18.0.2", "fd00:198:18::1"];
/// When they are: 2026-01-01 00:00:00 UTC.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// The server that answers.
pub(crate) const SERVER: &str = "fra-1";

/// Zones by name.
#[derive(Default)]
pub(crate) struct Fixture {
    zones: HashMap<String, Arc<ZoneTree>>,
    /// Names under which reading fails.
    pub(crate) unreadable: Vec<String>,
}

impl Fixture {
    pub(crate) fn add(&mut self, zone: &Zone, records: Vec<Record>) {
        self.add_challenged(zone, &[], records);
    }

    /// With these answers to a certificate authority's challenges.
    pub(crate) fn add_challenged(&mut self, zone: &Zone, challenges: &[String], records: Vec<Record>) {
        let records = records.into_iter().map(Ok::<_, Infallible>);
        let Ok(tree) = ZoneTree::compile_with(zone, challenges, None, records);
        self.zones.insert(zone.name.to_string(), Arc::new(tree));
    }

    /// Signed with these keys.
    pub(crate) fn add_signed(&mut self, zone: &Zone, signing: &ZoneSigning, records: Vec<Record>) {
        let records = records.into_iter().map(Ok::<_, Infallible>);
        let Ok(tree) = ZoneTree::compile_with(zone, &[], Some(signing), records);
        self.zones.insert(zone.name.to_string(), Arc::new(tree));
    }
}

impl Fixture {
    /// As it came from its primary.
    pub(crate) fn add_secondary(
        &mut self,
        zone: &Zone,
        secondary: &SecondaryZone,
        records: Vec<TransferredRecord>,
    ) {
        let records = records.into_iter().map(Ok::<_, Infallible>);
        let Ok(tree) = ZoneTree::compile_secondary(zone, secondary, None, records);
        self.zones.insert(zone.name.to_string(), Arc::new(tree));
    }
}

impl Zones for Fixture {
    fn find(&self, name: &str) -> Result<Option<Arc<ZoneTree>>, ReadError> {
        if self.unreadable.iter().any(|unreadable| name.ends_with(unreadable)) {
            return Err(ReadError::NotReady);
        }
        let mut rest = Some(name);
        while let Some(name) = rest {
            if let Some(zone) = self.zones.get(name) {
                return Ok(Some(zone.clone()));
            }
            rest = name.split_once('.').map(|(_, parent)| parent);
        }
        Ok(None)
    }

    fn beneath(&self, name: &str) -> Option<Vec<String>> {
        let beneath = format!(".{name}");
        Some(self.zones.keys().filter(|zone| zone.ends_with(&beneath)).cloned().collect())
    }

    fn is_active(&self, zone: &str) -> Result<Option<bool>, ReadError> {
        self.find(zone)?;
        Ok(self.zones.get(zone).map(|zone| zone.is_active()))
    }
}

/// An active zone.
pub(crate) fn zone(name: &str) -> Zone {
    Zone {
        id: ZoneId::from_bytes([1; 16]),
        account: AccountId::from_bytes([2; 16]),
        name: ZoneName::parse(name).expect("a zone's name"),
        status: ZoneStatus::Active,
        paused: false,
        name_servers: ["ns1.proxima.example", "ns2.proxima.example"]
            .map(|name| DnsName::parse(name).expect("a name"))
            .to_vec(),
        settings: ZoneSettings::default(),
        serial: 7,
        created_at: Timestamp::default(),
        modified_at: Timestamp::default(),
        activated_at: None,
    }
}

/// The private key of RFC 6605, 6.1, as PKCS #8.
const PRIVATE: &str = "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420194e929d0fcebbec42e51ba6b885\
                       08b8966d7974f6cf43bfa24d6cdfc12dea64a144034200041a88c88615d437fbb8bf9e1942a1929f28562706ae6c2bd3\
                       99e7b1bfb6d1e9e75b92b4aa42917ae1c61b701ef035c3fe7be3009cbafe5a2f71316c902dcf0d00";

/// The key of RFC 6605, whose tag is 55648.
pub(crate) fn published_key(role: KeyRole) -> SigningKey {
    let octet = |at| u8::from_str_radix(&PRIVATE[at..at + 2], 16).expect("an octet");
    let private: Vec<u8> = (0..PRIVATE.len()).step_by(2).map(octet).collect();
    // The point stands at the end.
    let public = private[private.len() - 64..].to_vec();
    let algorithm = SigningAlgorithm::EcdsaP256;
    SigningKey { algorithm, public, private, role, created_at: Timestamp::default() }
}

/// A key that nobody else has.
pub(crate) fn new_key(role: KeyRole) -> SigningKey {
    new_key_of(SigningAlgorithm::EcdsaP256, role)
}

/// One that signs with this.
pub(crate) fn new_key_of(algorithm: SigningAlgorithm, role: KeyRole) -> SigningKey {
    let (public, private) = match algorithm {
        SigningAlgorithm::EcdsaP256 => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
            (pair.public_key().as_ref()[1..].to_vec(), pair.to_pkcs8v1().expect("its form"))
        }
        SigningAlgorithm::Ed25519 => {
            let pair = Ed25519KeyPair::generate().expect("a key");
            (pair.public_key().as_ref().to_vec(), pair.to_pkcs8().expect("its form"))
        }
    };
    let private = private.as_ref().to_vec();
    SigningKey { algorithm, public, private, role, created_at: Timestamp::default() }
}

/// How a zone with these keys is signed.
pub(crate) fn signing(zone: &Zone, keys: Vec<SigningKey>) -> ZoneSigning {
    ZoneSigning { parent: ParentDs::Seen, ..ZoneSigning::new(zone.id, keys, Timestamp::default()) }
}

/// A record from a line: `NAME TTL [proxied|flatten] TYPE CONTENT`, the name relative to the zone, the TTL `auto` or seconds.
pub(crate) fn record(zone: &Zone, line: &str) -> Result<Record> {
    let (name, rest) = line.split_once(char::is_whitespace).context("a TTL")?;
    let (ttl, rest) = rest.trim_start().split_once(char::is_whitespace).context("a type")?;
    let rest = rest.trim_start();
    let (proxied, rest) =
        rest.strip_prefix("proxied ").map_or((false, rest), |rest| (true, rest.trim_start()));
    let (flatten, rest) =
        rest.strip_prefix("flatten ").map_or((false, rest), |rest| (true, rest.trim_start()));
    let (kind, content) = rest.split_once(char::is_whitespace).context("content")?;
    let ttl = if ttl == "auto" { 1 } else { ttl.parse()? };
    let record = Record {
        id: RecordId::from_bytes([3; 16]),
        zone: zone.id,
        name: zone.name.record_name(name)?,
        data: RecordData::parse(RecordType::by_name(kind)?, content.trim())?,
        ttl: Ttl::try_from(ttl)?,
        proxied,
        flatten,
        comment: None,
        tags: Vec::new(),
        created_at: Timestamp::default(),
        modified_at: Timestamp::default(),
    };
    // Such a record may come by a transfer, or from before it was refused.
    if record.name.is_wildcard() && record.data.record_type() == RecordType::Ns {
        return Ok(record);
    }
    record.check(&zone.name)?;
    Ok(record)
}

/// What answers in the tests.
pub(crate) fn responder() -> Responder {
    responder_at(Arc::new(SystemClock))
}

/// The same, by this clock.
pub(crate) fn responder_at(clock: Arc<dyn Clock>) -> Responder {
    Responder::new(&ANYCAST.map(|address| address.parse().expect("an address")), true, SERVER, 1232, clock)
}

/// The client of the tests, which asks so.
pub(crate) fn asking_by(transport: Transport) -> Asker {
    Asker::new([192, 0, 2, 200].into(), transport)
}

/// The keys that all servers of the network have.
pub(crate) fn ticket_keys() -> TicketKeys {
    let id = TicketKeyId::from_bytes([7; 16]);
    TicketKeys { keys: vec![TicketKey { id, secret: [7; 32], created_at: NOW }] }
}

/// An OPT record.
#[derive(Clone, Debug)]
pub(crate) struct Edns {
    pub(crate) payload: u16,
    pub(crate) version: u8,
    pub(crate) flags: u16,
    pub(crate) options: Vec<u8>,
}

/// A query, octet by octet.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) name: Vec<u8>,
    pub(crate) qtype: u16,
    pub(crate) qclass: u16,
    pub(crate) flags: u16,
    pub(crate) edns: Option<Edns>,
    /// Records to put behind it all, and how many they are.
    pub(crate) extra: (u16, Vec<u8>),
}

impl Question {
    pub(crate) fn new(name: &str, qtype: u16) -> Self {
        let mut wire = Vec::new();
        for label in name.split('.').filter(|label| !label.is_empty()) {
            wire.push(u8::try_from(label.len()).expect("a label"));
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        Self { name: wire, qtype, qclass: 1, flags: 0, edns: None, extra: (0, Vec::new()) }
    }

    /// Its OPT record, which it has from now on.
    pub(crate) fn edns(&mut self) -> &mut Edns {
        self.edns.get_or_insert(Edns { payload: 1232, version: 0, flags: 0, options: Vec::new() })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let additional = u16::from(self.edns.is_some()) + self.extra.0;
        let header = [0x1234, self.flags, 1, 0, 0, additional];
        let mut message: Vec<u8> = header.into_iter().flat_map(u16::to_be_bytes).collect();
        message.extend_from_slice(&self.name);
        message.extend([self.qtype, self.qclass].into_iter().flat_map(u16::to_be_bytes));
        if let Some(Edns { payload, version, flags, options }) = &self.edns {
            message.extend_from_slice(&[0, 0, 41]);
            message.extend_from_slice(&payload.to_be_bytes());
            message.extend_from_slice(&[0, *version]);
            message.extend_from_slice(&flags.to_be_bytes());
            message.extend_from_slice(&u16::try_from(options.len()).expect("options").to_be_bytes());
            message.extend_from_slice(options);
        }
        message.extend_from_slice(&self.extra.1);
        message
    }
}

/// The number of a type by its name.
pub(crate) fn rtype(name: &str) -> Result<u16> {
    let rtype: domain::base::iana::Rtype =
        name.parse().map_err(|_| anyhow::anyhow!("{name} is not a type"))?;
    Ok(rtype.to_int())
}

/// An answer as lines of text, read whole by the `domain` crate: that it can be read at all is half of the test.
pub(crate) fn describe(octets: &[u8]) -> Result<Vec<String>> {
    let message = Message::from_octets(octets)?;
    let header = message.header();
    ensure!(header.qr(), "it is not an answer");
    let mut first = message.opt_rcode().to_string();
    let flags = [
        ("aa", header.aa()),
        ("tc", header.tc()),
        ("rd", header.rd()),
        ("ra", header.ra()),
        ("ad", header.ad()),
    ];
    for (name, _) in flags.into_iter().filter(|(_, set)| *set) {
        first.push(' ');
        first.push_str(name);
    }
    if header.cd() {
        first.push_str(" cd");
    }
    let mut lines = vec![first];
    for question in message.question() {
        question?;
    }
    records("answer", message.answer()?, &mut lines)?;
    records("authority", message.authority()?, &mut lines)?;
    records("additional", message.additional()?, &mut lines)?;
    if let Some(opt) = message.opt() {
        let mut line = format!("opt {}", opt.udp_payload_size());
        if opt.dnssec_ok() {
            line.push_str(" do");
        }
        if octets.windows(9).any(|end| end[..5] == [0, 0, 41, 4, 208] && end[7] & 0x40 != 0) {
            line.push_str(" co");
        }
        for option in opt.opt().iter::<UnknownOptData<_>>() {
            let option = option?;
            let data = option.as_slice();
            match (option.code().to_int(), data) {
                (15, [high, low, text @ ..]) => {
                    line.push_str(&format!(" ede={}", u16::from_be_bytes([*high, *low])));
                    if !text.is_empty() {
                        line.push_str(&format!(" {:?}", String::from_utf8_lossy(text)));
                    }
                }
                (8 | 10, _) => {
                    let name = if option.code().to_int() == 8 { "subnet" } else { "cookie" };
                    let hex: String = data.iter().map(|octet| format!("{octet:02x}")).collect();
                    line.push_str(&format!(" {name}={hex}"));
                }
                (11, [high, low]) => {
                    line.push_str(&format!(" keepalive={}", u16::from_be_bytes([*high, *low])));
                }
                (12, _) if data.iter().all(|octet| *octet == 0) => {
                    line.push_str(&format!(" padded={}", octets.len()));
                }
                (3, _) => line.push_str(&format!(" nsid={}", String::from_utf8_lossy(data))),
                (code, _) => bail!("an option {code} that nobody asked for"),
            }
        }
        lines.push(line);
    }
    Ok(lines)
}

fn records(name: &str, section: RecordSection<'_, &[u8]>, lines: &mut Vec<String>) -> Result<()> {
    for record in section {
        let record = record?;
        if record.rtype().to_int() == 41 {
            continue;
        }
        let record = record.to_any_record::<AllRecordData<_, _>>()?;
        let line = format!("{name} {record}").trim_end().to_owned();
        // A signature is another one each time: the last word is it.
        let shown = line.rsplit_once(' ').filter(|_| record.rtype() == Rtype::RRSIG);
        lines.push(shown.map_or(line.as_str(), |(shown, _)| shown).to_owned());
    }
    Ok(())
}

/// What primaries said, as long as there is room for it.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) zones: Mutex<Vec<ZoneId>>,
    pub(crate) room: AtomicUsize,
}

impl ZoneNotices for Heard {
    fn changed(&self, zone: ZoneId) -> bool {
        let has_room = |room: usize| room.checked_sub(1);
        let is_taken = self.room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, has_room).is_ok();
        if is_taken {
            self.zones.lock().expect("a lock").push(zone);
        }
        is_taken
    }
}
