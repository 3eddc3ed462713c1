//! Root hints and trust anchors, as files in the format of zones say them.

use std::net::IpAddr;

use crate::{keys, message::rtype, name::Name};

/// Name servers of the root, and anchors of its keys, that are taken: there are 13, and rarely more than two keys.
const ENTRIES_MAX: usize = 64;

/// A file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HintsError {
    /// There is nothing in it that helps.
    #[error("it has no address of a name server")]
    NoServer,
    /// There is no key in it.
    #[error("it has neither a DNSKEY nor a DS record of the root")]
    NoAnchor,
    /// A line is not understood.
    #[error("line {line} is not understood; one record to a line, such as `. IN DS 20326 8 2 E06D…`")]
    Line {
        /// Its number, from 1.
        line: usize,
    },
}

/// The fields of each record, with their line's number: without comment, owner first, class and TTL dropped.
fn records(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    text.lines().enumerate().filter_map(|(number, line)| {
        let mut fields = line.split(';').next()?.split_whitespace();
        let mut record = vec![fields.next()?];
        let is_filler =
            |field: &&str| field.eq_ignore_ascii_case("IN") || field.bytes().all(|it| it.is_ascii_digit());
        record.extend(fields.skip_while(is_filler));
        Some((number + 1, record))
    })
}

/// The addresses of the root's name servers: the A and AAAA records of a hints file.
///
/// # Errors
/// There is none, or a line is not understood.
pub fn parse_hints(text: &str) -> Result<Vec<IpAddr>, HintsError> {
    let mut addresses = Vec::new();
    for (line, record) in records(text) {
        match record[..] {
            [_, kind, address] if kind.eq_ignore_ascii_case("A") || kind.eq_ignore_ascii_case("AAAA") => {
                addresses.push(address.parse().map_err(|_| HintsError::Line { line })?);
            }
            [_, kind, _] if kind.eq_ignore_ascii_case("NS") => {}
            _ => return Err(HintsError::Line { line }),
        }
    }
    addresses.truncate(ENTRIES_MAX);
    if addresses.is_empty() { Err(HintsError::NoServer) } else { Ok(addresses) }
}

/// The root's trust anchors, as DS data: from DS records, and from DNSKEY records, of which the digest is made.
///
/// # Errors
/// There is none, or a line is not understood.
pub fn parse_anchors(text: &str) -> Result<Vec<Box<[u8]>>, HintsError> {
    let mut anchors = Vec::new();
    for (line, record) in records(text) {
        let broken = || HintsError::Line { line };
        let anchor = match &record[..] {
            [".", kind, tag, algorithm, digest, digits @ ..] if kind.eq_ignore_ascii_case("DS") => {
                let mut data = tag.parse::<u16>().map_err(|_| broken())?.to_be_bytes().to_vec();
                data.push(algorithm.parse().map_err(|_| broken())?);
                data.push(digest.parse().map_err(|_| broken())?);
                data.extend(hex::decode(digits.concat()).map_err(|_| broken())?);
                data.into()
            }
            [".", kind, flags, protocol, algorithm, key @ ..] if kind.eq_ignore_ascii_case("DNSKEY") => {
                let mut data = flags.parse::<u16>().map_err(|_| broken())?.to_be_bytes().to_vec();
                data.push(protocol.parse().map_err(|_| broken())?);
                data.push(algorithm.parse().map_err(|_| broken())?);
                data.extend(from_base64(&key.concat()).ok_or_else(broken)?);
                keys::digest_of(&Name::root(), &data).ok_or_else(broken)?
            }
            _ => return Err(broken()),
        };
        anchors.push(anchor);
    }
    anchors.truncate(ENTRIES_MAX);
    if anchors.is_empty() { Err(HintsError::NoAnchor) } else { Ok(anchors) }
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// The type by which a family of addresses is asked for.
pub(crate) fn address(rtype: u16, data: &[u8]) -> Option<IpAddr> {
    match rtype {
        rtype::A => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
        rtype::AAAA => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roots_key_and_its_digest_are_one_anchor() {
        let key = ". IN DNSKEY 257 3 8 AwEAAaz/tAm8yTn4Mfeh5eyI96WSVexTBAvkMgJzkKTOiW1vkIbzxeF3+/4RgWOq7HrxRixHlFlExOLAJr5emLvN7SWXgnLh4+B5xQlNVz8Og8kvArMtNROxVQuCaSnIDdD5LKyWbRd2n9WGe2R8PzgCmr3EgVLrjyBxWezF0jLHwVN8efS3rCj/EWgvIWgb9tarpVUDK/b58Da+sqqls3eNbuv7pr+eoZG+SrDK6nWeL3c6H5Apxz7LjVc1uTIdsIXxuOLYA4/ilBmSVIzuDWfdRUfhHdY6+cn8HFRm+2hM8AnXGXws9555KrUB5qihylGa8subX2Nn6UwNR1AkUTV74bU= ; keytag 20326";
        let ds = ". 3600 IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\n";
        assert_eq!(parse_anchors(key).unwrap(), parse_anchors(ds).unwrap());
        assert!(matches!(parse_anchors("; nothing"), Err(HintsError::NoAnchor)));
        assert!(matches!(parse_anchors("\n. IN DS x"), Err(HintsError::Line { line: 2 })));
    }

    #[test]
    fn hints_are_the_addresses_of_the_roots_name_servers() {
        let text = "; by hand\n. 3600000 NS a.example.\na.example. 3600000 A 192.0.2.1\na.example. IN AAAA 2001:db8::1\n";
        assert_eq!(
            parse_hints(text).unwrap(),
            ["192.0.2.1", "2001:db8::1"].map(|it| it.parse::<IpAddr>().unwrap())
        );
        assert!(matches!(parse_hints(". NS a.example."), Err(HintsError::NoServer)));
        assert!(matches!(parse_hints("a. A example"), Err(HintsError::Line { line: 1 })));
    }
}
