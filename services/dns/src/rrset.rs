//! Record sets as they lie ready for the wire.

use proxima_model::RecordData;

use crate::wire::rtype;

/// Where in a record's data names stand that are compressed: only those of RFC 1035's types may be (RFC 3597, 4), and only
/// those that the model knows as names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Octets before the first name.
    pub(crate) prefix: usize,
    /// How many names follow them.
    pub(crate) names: usize,
}

impl Layout {
    pub(crate) const fn of(rtype: u16) -> Self {
        match rtype {
            rtype::NS | rtype::CNAME => Self { prefix: 0, names: 1 },
            rtype::MX => Self { prefix: 2, names: 1 },
            rtype::SOA => Self { prefix: 0, names: 2 },
            _ => Self { prefix: 0, names: 0 },
        }
    }
}

/// The records of one name and type, encoded but for compression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RrSet {
    pub(crate) rtype: u16,
    /// In seconds; one for the whole set (RFC 2181, 5.2).
    pub(crate) ttl: u32,
    /// Each record's data, names uncompressed. Never empty.
    pub(crate) data: Vec<Box<[u8]>>,
}

impl RrSet {
    /// A set of one record.
    pub(crate) fn of_one(rtype: u16, ttl: u32, data: Vec<u8>) -> Self {
        Self { rtype, ttl, data: vec![data.into()] }
    }

    /// Adds a record: once, however often it is said; the set lives as long as its shortest-lived record.
    pub(crate) fn add(&mut self, ttl: u32, data: Vec<u8>) {
        self.ttl = self.ttl.min(ttl);
        let data = data.into_boxed_slice();
        if !self.data.contains(&data) {
            self.data.push(data);
        }
    }

    /// Adds the records of another set of its type.
    pub(crate) fn merge(&mut self, other: &Self) {
        for data in &other.data {
            self.add(other.ttl, data.to_vec());
        }
    }

    /// The name that this CNAME set stands for, on the wire.
    pub(crate) fn target(&self) -> &[u8] {
        &self.data[0]
    }
}

/// A record's type and data on the wire.
pub(crate) fn encode(data: &RecordData) -> (u16, Vec<u8>) {
    match data {
        RecordData::A { address } => (rtype::A, address.octets().to_vec()),
        RecordData::Aaaa { address } => (rtype::AAAA, address.octets().to_vec()),
        RecordData::Cname { target } => (rtype::CNAME, target.wire()),
        RecordData::Ns { host } => (rtype::NS, host.wire()),
        RecordData::Mx { priority, exchange } => {
            (rtype::MX, [&priority.to_be_bytes()[..], &exchange.wire()].concat())
        }
        RecordData::Srv { priority, weight, port, target } => {
            let numbers = [priority.to_be_bytes(), weight.to_be_bytes(), port.to_be_bytes()].concat();
            (rtype::SRV, [numbers, target.wire()].concat())
        }
        RecordData::Txt(text) => (rtype::TXT, text.octets().to_vec()),
        RecordData::Caa { flags, tag, value } => {
            let tag: Vec<u8> = character_string(tag.as_str().as_bytes()).collect();
            (rtype::CAA, [&[*flags][..], &tag, value.as_bytes()].concat())
        }
        RecordData::Other(rdata) => (rdata.record_type().code(), rdata.octets().to_vec()),
    }
}

/// A character string (RFC 1035, 3.3): its length in one octet, and its octets.
pub(crate) fn character_string(octets: &[u8]) -> impl Iterator<Item = u8> {
    let length = u8::try_from(octets.len()).expect("a character string has 255 octets at most");
    std::iter::once(length).chain(octets.iter().copied())
}
