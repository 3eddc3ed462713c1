//! Directives, owners, times to live, types and data (RFC 1035, 5.1; RFC 2308, 4).

use std::collections::BTreeSet;

use proxima_model::{DnsName, Invalid, OtherType, RecordData, RecordType, Ttl, ZoneName, excerpt, limits};

use super::{
    FileRecord, LineNote, ZoneFile,
    attributes::{self, Attributes},
    scanner::{Entry, Word, scan},
};

/// Types that a signed zone's file has because it was signed, by whoever wrote it.
const OF_SIGNING: [&str; 5] = ["RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "ZONEMD"];

/// The one of them that says that it was.
const SIGNATURE: &str = "RRSIG";

/// Reads the zone file of a zone. Names that are not absolute are taken from the zone until `$ORIGIN` says otherwise.
///
/// # Errors
/// Every bad line, in order, with what is wrong with it.
pub fn parse(zone: &ZoneName, octets: &[u8]) -> Result<ZoneFile, Vec<LineNote>> {
    let mut problems = not_text(octets);
    let damaged: BTreeSet<usize> = problems.iter().map(|problem| problem.line).collect();
    let text = String::from_utf8_lossy(octets);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let entries = scan(text, &mut problems);
    let origin = zone.to_string();
    let mut parser = Parser { zone, origin, ttl: None, last_ttl: None, owner: None, is_signed: false };
    let mut file = ZoneFile::default();
    for entry in &entries {
        match parser.entry(entry, &mut file.notes) {
            Ok(record) => file.records.extend(record),
            Err(_) if damaged.contains(&entry.line) => {}
            Err(text) => problems.push(LineNote { line: entry.line, text }),
        }
    }
    if problems.is_empty() {
        if parser.is_signed {
            pass_over_keys(zone, &mut file);
        }
        return Ok(file);
    }
    problems.sort();
    problems.dedup_by_key(|problem| problem.line);
    Err(problems)
}

/// Leaves out the keys of a file that was signed with them, and what the parent was asked to say of them. Whoever has them
/// could sign for the zone as long as it says them, also long after it has left: who wants that has to say so, by a record
/// or in a file without signatures.
fn pass_over_keys(zone: &ZoneName, file: &mut ZoneFile) {
    let ZoneFile { records, notes } = file;
    records.retain(|record| {
        let record_type = record.data.record_type();
        let is_about_keys = matches!(
            record_type,
            RecordType::Other(OtherType::DNSKEY | OtherType::CDS | OtherType::CDNSKEY)
        );
        let is_key = is_about_keys && record.name.as_str() == zone.as_str();
        if is_key {
            notes.push(LineNote {
                line: record.line,
                text: format!(
                    "{record_type} is about a key of who signed this file; passed over, add it if they are to go on signing"
                ),
            });
        }
        !is_key
    });
    notes.sort();
}

/// The lines that are not UTF-8.
fn not_text(octets: &[u8]) -> Vec<LineNote> {
    let mut line = 1;
    let mut problems = Vec::new();
    for chunk in octets.utf8_chunks() {
        line += chunk.valid().matches('\n').count();
        if !chunk.invalid().is_empty() {
            problems.push(LineNote {
                line,
                text: "the line is not UTF-8; write other octets as \\DDD".to_owned(),
            });
        }
    }
    problems.dedup_by_key(|problem| problem.line);
    problems
}

struct Parser<'z> {
    zone: &'z ZoneName,
    /// Absolute, without the last dot.
    origin: String,
    /// What `$TTL` said.
    ttl: Option<u32>,
    /// What the last record with a time to live of its own said.
    last_ttl: Option<u32>,
    owner: Option<String>,
    /// Whether there was a signature.
    is_signed: bool,
}

impl Parser<'_> {
    /// The record of an entry; `None` for a directive and for what is passed over.
    fn entry(&mut self, entry: &Entry<'_>, notes: &mut Vec<LineNote>) -> Result<Option<FileRecord>, String> {
        let mut words = entry.words.as_slice();
        if let [first, rest @ ..] = words
            && !entry.indented
        {
            if !first.quoted && first.text.starts_with('$') {
                return self.directive(first.text, rest).map(|()| None);
            }
            self.owner = None;
            self.owner = Some(self.absolute(first)?);
            words = rest;
        }
        let owner = self.owner.clone().ok_or("the line begins with a blank, and no name stands before it")?;
        let given = self.ttl_and_class(&mut words)?;
        let [type_word, data @ ..] = words else {
            return Err("the line ends before a record type".to_owned());
        };
        let zone = self.zone;
        let skipped = type_word.text.eq_ignore_ascii_case("SOA")
            || (type_word.text.eq_ignore_ascii_case("NS") && owner == zone.as_str());
        let signed = OF_SIGNING.iter().any(|name| type_word.text.eq_ignore_ascii_case(name))
            || asks_for_no_key(type_word.text, data);
        self.is_signed |= type_word.text.eq_ignore_ascii_case(SIGNATURE);
        if skipped || signed {
            let text = if signed {
                format!("{} is made anew where a zone is signed; passed over", type_word.text.to_uppercase())
            } else {
                format!("the zone's own {} is ours to say; passed over", type_word.text.to_uppercase())
            };
            notes.push(LineNote { line: entry.line, text });
            return Ok(None);
        }
        let record_type = RecordType::by_name(type_word.text).map_err(words_of)?;
        let name = DnsName::parse(&owner).map_err(words_of)?;
        if !name.is_within(zone) {
            return Err(format!("{name} is outside the zone {zone}"));
        }
        let data = self.data(record_type, data)?;
        let seconds = given.or(self.ttl).or(self.last_ttl);
        let ttl = seconds.map_or(Ttl::Auto, |seconds| within_limits(seconds, entry.line, notes));
        let Attributes { proxied, flatten, comment, tags } =
            entry.comment.and_then(attributes::parse).unwrap_or_default();
        Ok(Some(FileRecord { line: entry.line, name, data, ttl, proxied, flatten, comment, tags }))
    }

    fn directive(&mut self, name: &str, words: &[Word<'_>]) -> Result<(), String> {
        match (name.to_ascii_uppercase().as_str(), words) {
            ("$ORIGIN", [origin]) => {
                let absolute = self.absolute(origin)?;
                self.origin = DnsName::parse(&absolute).map_err(words_of)?.to_string();
                Ok(())
            }
            ("$TTL", [ttl]) => {
                let seconds =
                    seconds_of(ttl.text).ok_or("$TTL is not a time; give seconds, or such as 1h30m")?;
                self.ttl = Some(seconds);
                Ok(())
            }
            ("$ORIGIN" | "$TTL", _) => Err(format!("{name} takes one value")),
            ("$INCLUDE", _) => {
                Err("$INCLUDE names a file that is not here; put its lines in its place".to_owned())
            }
            ("$GENERATE", _) => Err("$GENERATE is not offered; write its records out".to_owned()),
            _ => Err(format!("{} is not a directive that exists", excerpt(name))),
        }
    }

    /// A time to live and a class stand before the type, in either order, each at most once.
    fn ttl_and_class(&mut self, words: &mut &[Word<'_>]) -> Result<Option<u32>, String> {
        let (mut ttl, mut class) = (None, false);
        while let [word, rest @ ..] = *words {
            if word.quoted {
                break;
            }
            match word.text.to_ascii_uppercase().as_str() {
                "IN" if !class => class = true,
                "CH" | "CS" | "HS" => return Err(format!("the class is {}; only IN exists here", word.text)),
                text if ttl.is_none() && text.starts_with(|first: char| first.is_ascii_digit()) => {
                    ttl = Some(
                        seconds_of(text).ok_or_else(|| format!("{} is not a time to live", excerpt(text)))?,
                    );
                }
                _ => break,
            }
            *words = rest;
        }
        self.last_ttl = ttl.or(self.last_ttl);
        Ok(ttl)
    }

    /// Record data in the form that [`RecordData::parse`] takes, with names made absolute.
    fn data(&self, record_type: RecordType, words: &[Word<'_>]) -> Result<RecordData, String> {
        if let [first, ..] = words
            && !first.quoted
            && first.text == "\\#"
        {
            return RecordData::parse_generic(record_type, &as_written(words)).map_err(words_of);
        }
        // Which of the words is a name, and how many there are.
        let (name_at, count) = match record_type {
            RecordType::A | RecordType::Aaaa => (None, 1),
            RecordType::Cname | RecordType::Ns => (Some(0), 1),
            RecordType::Mx => (Some(1), 2),
            RecordType::Srv => (Some(3), 4),
            RecordType::Caa => (None, 3),
            RecordType::Txt => (None, words.len().max(1)),
            RecordType::Other(_) => return self.other_data(record_type, words),
        };
        if words.len() != count {
            return Err(format!("{record_type} data has {count} words, and here are {}", words.len()));
        }
        let mut content: Vec<String> = Vec::with_capacity(words.len());
        for (at, word) in words.iter().enumerate() {
            let quoted = record_type == RecordType::Txt || (record_type == RecordType::Caa && at == 2);
            content.push(if name_at == Some(at) {
                self.absolute(word)?
            } else if quoted {
                format!("\"{}\"", word.text)
            } else {
                word.text.to_owned()
            });
        }
        RecordData::parse(record_type, &content.join(" ")).map_err(words_of)
    }

    /// As [`Self::data`], of a type whose words the model counts.
    fn other_data(&self, record_type: RecordType, words: &[Word<'_>]) -> Result<RecordData, String> {
        let mut words = words.to_vec();
        let mut names = Vec::new();
        for at in record_type.names_at().take_while(|at| *at < words.len()) {
            names.push((at, self.absolute(&words[at])?));
        }
        for (at, name) in &names {
            words[*at].text = name;
        }
        RecordData::parse(record_type, &as_written(&words)).map_err(words_of)
    }

    /// A name, made absolute; without the last dot unless it is the root. Its letters are checked by whoever takes it.
    fn absolute(&self, word: &Word<'_>) -> Result<String, String> {
        if word.quoted || word.text.is_empty() {
            return Err("a quoted text stands where a name should".to_owned());
        }
        if word.text.len() > limits::NAME_OCTETS_MAX * 4 {
            return Err("a name is longer than 253 octets".to_owned());
        }
        let text = word.text;
        Ok(match text.strip_suffix('.') {
            Some("") => ".".to_owned(),
            Some(absolute) => absolute.to_ascii_lowercase(),
            None if text == "@" => self.origin.clone(),
            None if self.origin == "." => text.to_ascii_lowercase(),
            None => format!("{}.{}", text.to_ascii_lowercase(), self.origin),
        })
    }
}

/// Whether a CDS or CDNSKEY record asks the parent for no DS at all (RFC 8078, 4), as a zone does that ends to be signed.
fn asks_for_no_key(record_type: &str, data: &[Word<'_>]) -> bool {
    let algorithm = match record_type.to_ascii_uppercase().as_str() {
        "CDS" => 1,
        "CDNSKEY" => 2,
        _ => return false,
    };
    data.get(algorithm).is_some_and(|word| word.text == "0")
}

/// Words as they stood in the file, but for what was between them.
fn as_written(words: &[Word<'_>]) -> String {
    let mut text = String::new();
    for word in words {
        if !text.is_empty() && !word.joined {
            text.push(' ');
        }
        if word.quoted {
            text.extend(["\"", word.text, "\""]);
        } else {
            text.push_str(word.text);
        }
    }
    text
}

/// Seconds, plain or in units (`1w2d3h4m5s`), as name servers take them.
fn seconds_of(text: &str) -> Option<u32> {
    let (mut total, mut number): (u32, Option<u32>) = (0, None);
    for octet in text.bytes() {
        if octet.is_ascii_digit() {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(u32::from(octet - b'0'))?);
            continue;
        }
        let unit = match octet.to_ascii_lowercase() {
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    match number {
        Some(seconds) => total.checked_add(seconds),
        None => (!text.is_empty()).then_some(total),
    }
}

/// A time to live that we can give. Others may remember a record for less long than its owner allows, so a longer one is
/// cut; that is said, and is no error.
fn within_limits(seconds: u32, line: usize, notes: &mut Vec<LineNote>) -> Ttl {
    Ttl::try_from(seconds).unwrap_or_else(|_| {
        let nearest = seconds.clamp(limits::TTL_SECONDS_MIN, limits::TTL_SECONDS_MAX);
        notes.push(LineNote {
            line,
            text: format!("the time to live {seconds} is out of range; taken as {nearest}"),
        });
        Ttl::Seconds(nearest)
    })
}

fn words_of(invalid: Invalid) -> String {
    format!("{}; {}", invalid.problem, invalid.remedy)
}
