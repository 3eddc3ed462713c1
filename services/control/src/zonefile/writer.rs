//! A zone as a zone file that [`parse`](super::parse) reads as the same records, and that name servers load.

use std::fmt::{self, Write as _};

use proxima_model::{Record, RecordData, Zone};

use super::attributes::{self, Attributes};

/// What the SOA of an exported file says (RFC 1035, 3.3.13), in seconds; whoever loads it elsewhere sets their own.
const SOA_TIMES: &str = "10000 2400 604800 1800";

/// Writes a zone and its records.
pub fn write(zone: &Zone, records: &[Record]) -> String {
    let mut text = String::new();
    compose(&mut text, zone, records).expect("writing to a String does not fail");
    text
}

fn compose(text: &mut String, zone: &Zone, records: &[Record]) -> fmt::Result {
    let name = &zone.name;
    writeln!(text, ";; Domain: {name}.\n;; Serial: {}\n", zone.serial)?;
    writeln!(text, ";; SOA Record")?;
    let server = zone.name_servers.first().map_or(name.as_str(), |server| server.as_str());
    writeln!(text, "{name}.\t3600\tIN\tSOA\t{server}. hostmaster.{name}. {} {SOA_TIMES}", zone.serial)?;
    writeln!(text, "\n;; NS Records of the zone")?;
    for server in &zone.name_servers {
        writeln!(text, "{name}.\t86400\tIN\tNS\t{server}.")?;
    }
    let mut sorted: Vec<&Record> = records.iter().collect();
    sorted.sort_by(|a, b| {
        let by_type = a.data.record_type().cmp(&b.data.record_type());
        by_type.then_with(|| a.name.cmp(&b.name)).then_with(|| a.data.cmp(&b.data))
    });
    for of_type in sorted.chunk_by(|a, b| a.data.record_type() == b.data.record_type()) {
        let record_type = of_type[0].data.record_type();
        writeln!(text, "\n;; {record_type} Records")?;
        for record in of_type {
            let ttl = u32::from(record.ttl);
            write!(text, "{}.\t{ttl}\tIN\t{record_type}\t{}", record.name, data(&record.data))?;
            let proxied = record_type.can_be_proxied().then_some(record.proxied);
            if proxied.is_some() || record.comment.is_some() || !record.tags.is_empty() {
                let attributes = Attributes {
                    proxied,
                    flatten: record.flatten,
                    comment: record.comment.clone(),
                    tags: record.tags.clone(),
                };
                write!(text, " ; {}", attributes::write(&attributes))?;
            }
            writeln!(text)?;
        }
    }
    Ok(())
}

/// Record data as in a zone file: names with the last dot.
fn data(data: &RecordData) -> String {
    let dot = |name: &proxima_model::DnsName| {
        if name.as_str() == "." { ".".to_owned() } else { format!("{name}.") }
    };
    match data {
        RecordData::Cname { target } => dot(target),
        RecordData::Ns { host } => dot(host),
        RecordData::Mx { priority, exchange } => format!("{priority} {}", dot(exchange)),
        RecordData::Srv { priority, weight, port, target } => {
            format!("{priority} {weight} {port} {}", dot(target))
        }
        RecordData::Other(rdata) => rdata.content(),
        RecordData::A { .. } | RecordData::Aaaa { .. } | RecordData::Txt(_) | RecordData::Caa { .. } => {
            data.content()
        }
    }
}
