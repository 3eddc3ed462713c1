//! Zone files (RFC 1035, 5; RFC 2308, 4): reading what people have, and writing what can be read again. Pure.
//!
//! ```text
//!  octets ─▶ scanner: lines, quotes, parentheses, comments ─▶ parser: directives, owners, types ─▶ records
//!                     │                                               │
//!                     └────────────── every bad line, with why ◀──────┘
//! ```
//!
//! A file is taken whole or not at all: where one line is bad, all bad lines are named and there are no records. The SOA
//! and the zone's own NS records are passed over, as they are ours to say; so is what stands in a file because it is signed,
//! and with it the keys that signed it. What a record is beyond DNS (proxied, comment,
//! tags) stands in a comment behind it: `; COMMENT cf_tags=cf-proxied:true,TAG`, the form that v4 exports have.

mod attributes;
mod parser;
mod scanner;
#[cfg(test)]
mod tests;
mod writer;

use proxima_model::{DnsName, RecordData, Ttl};

pub use parser::parse;
pub use writer::write;

/// A record of a zone file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// The line where it begins; the first is 1.
    pub line: usize,
    /// The name that has it.
    pub name: DnsName,
    /// What it says.
    pub data: RecordData,
    /// How long others may remember it.
    pub ttl: Ttl,
    /// Whether it is proxied, where the file says so.
    pub proxied: Option<bool>,
    /// Whether an alias is to be answered as the addresses that it leads to.
    pub flatten: bool,
    /// What its owner says of it, where the file says so.
    pub comment: Option<String>,
    /// Its owner's tags.
    pub tags: Vec<String>,
}

/// Something about a line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineNote {
    /// The line; the first is 1.
    pub line: usize,
    /// What there is to say.
    pub text: String,
}

/// A zone file that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneFile {
    /// Its records, in order.
    pub records: Vec<FileRecord>,
    /// What was taken otherwise than it was written (a time to live out of range), or passed over.
    pub notes: Vec<LineNote>,
}
