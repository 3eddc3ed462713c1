//! What holds of a type's data beyond its fields by themselves. Each check gets the fields' octets, as many as the row of
//! its type has.

use super::svcb;
use crate::Invalid;

type Checked = Result<(), Invalid>;

/// Nothing.
pub(super) fn none(_: &[&[u8]]) -> Checked {
    Ok(())
}

fn number(octets: &[u8]) -> u16 {
    octets.iter().fold(0, |number, octet| number << 8 | u16::from(*octet))
}

/// A name that is a host's, not the root or a wildcard.
pub(super) fn host(fields: &[&[u8]]) -> Checked {
    match fields {
        [[0]] => Err(Invalid::new("content", "the root is not a host", "give the name of a host")),
        [[1, b'*', ..]] => {
            Err(Invalid::new("content", "a wildcard is not a host", "give the name of a host"))
        }
        _ => Ok(()),
    }
}

/// The last field is not empty.
pub(super) fn not_empty(fields: &[&[u8]]) -> Checked {
    if fields.last().is_some_and(|last| last.is_empty()) {
        return Err(Invalid::new("content", "the data is empty", "give it in base 64"));
    }
    Ok(())
}

/// A digest has the octets that its kind has; of a kind that is not known, some.
fn digest(field: &'static str, kind: &[u8], known: &[(u16, usize)], digest: &[u8]) -> Checked {
    let kind = number(kind);
    let octets = known.iter().find(|(known, _)| *known == kind).map(|(_, octets)| *octets);
    if digest.is_empty() || octets.is_some_and(|octets| octets != digest.len()) {
        let expected = octets.map_or_else(|| "some".to_owned(), |octets| octets.to_string());
        let problem = format!("data of type {kind} has {expected} octets, and here are {}", digest.len());
        return Err(Invalid::new(field, problem, "give all of it, two digits an octet"));
    }
    Ok(())
}

/// TLSA and SMIMEA (RFC 6698, 2.1.3).
pub(super) fn association(fields: &[&[u8]]) -> Checked {
    let [_, _, kind, data] = fields else { return Ok(()) };
    digest("data.certificate", kind, &[(1, 32), (2, 64)], data)
}

/// SSHFP (RFC 4255, 3.1.2; RFC 6594).
pub(super) fn fingerprint(fields: &[&[u8]]) -> Checked {
    let [_, kind, data] = fields else { return Ok(()) };
    digest("data.fingerprint", kind, &[(1, 20), (2, 32)], data)
}

/// DS (RFC 4034, 5.1; RFC 4509; RFC 6605; RFC 5933).
pub(super) fn ds(fields: &[&[u8]]) -> Checked {
    let [_, algorithm, kind, data] = fields else { return Ok(()) };
    known_algorithm(algorithm)?;
    digest("data.digest", kind, &[(1, 20), (2, 32), (3, 32), (4, 48)], data)
}

/// DNSKEY (RFC 4034, 2.1).
pub(super) fn dnskey(fields: &[&[u8]]) -> Checked {
    /// Zone key, revoked, secure entry point (RFC 4034, 2.1.1; RFC 5011, 7).
    const FLAGS: u16 = 0x0181;
    let [flags, protocol, algorithm, key] = fields else { return Ok(()) };
    if number(flags) & !FLAGS != 0 {
        return Err(Invalid::new(
            "data.flags",
            format!("{} has bits that mean nothing", number(flags)),
            "give 256 or 257",
        ));
    }
    if **protocol != [3] {
        return Err(Invalid::new("data.protocol", format!("{} is not 3", number(protocol)), "give 3"));
    }
    known_algorithm(algorithm)?;
    if key.is_empty() {
        return Err(Invalid::new("data.public_key", "the key is empty", "give it in base 64"));
    }
    Ok(())
}

/// CDS (RFC 7344, 3.1): as DS.
pub(super) fn cds(fields: &[&[u8]]) -> Checked {
    let [_, algorithm, ..] = fields else { return Ok(()) };
    asks_for_a_key(algorithm)?;
    ds(fields)
}

/// CDNSKEY (RFC 7344, 3.2): as DNSKEY.
pub(super) fn cdnskey(fields: &[&[u8]]) -> Checked {
    let [_, _, algorithm, _] = fields else { return Ok(()) };
    asks_for_a_key(algorithm)?;
    dnskey(fields)
}

/// To ask for no DS at all is for who signs the zone (RFC 8078, 4): beside a key that is asked for it means nothing.
fn asks_for_a_key(algorithm: &[u8]) -> Checked {
    if *algorithm == [0] {
        return Err(Invalid::new(
            "data.algorithm",
            "0 asks the parent to take all DS records away",
            "end the zone's signing (dnssec, status disabled), which asks for that",
        ));
    }
    Ok(())
}

fn known_algorithm(algorithm: &[u8]) -> Checked {
    if *algorithm == [0] {
        return Err(Invalid::new("data.algorithm", "0 is no algorithm", "give such as 13 or 8"));
    }
    Ok(())
}

/// NAPTR (RFC 3403, 4.1): the regular expression and the replacement exclude each other.
pub(super) fn naptr(fields: &[&[u8]]) -> Checked {
    let [_, _, flags, _, regex, replacement] = fields else { return Ok(()) };
    if !flags[1..].iter().all(u8::is_ascii_alphanumeric) {
        return Err(Invalid::new(
            "data.flags",
            "the flags are not letters and digits",
            "give such as \"S\", or \"\"",
        ));
    }
    if regex.len() > 1 && **replacement != [0] {
        return Err(Invalid::new(
            "data.replacement",
            "there is a regex and a replacement too",
            "give . as the replacement, or \"\" as the regex",
        ));
    }
    Ok(())
}

/// URI (RFC 7553, 4.4; RFC 3986, 3.1).
pub(super) fn uri(fields: &[&[u8]]) -> Checked {
    let Some(target) = fields.last() else { return Ok(()) };
    let scheme = target.split(|octet| *octet == b':').next().filter(|scheme| scheme.len() < target.len());
    let letters = |scheme: &[u8]| {
        scheme.first().is_some_and(u8::is_ascii_alphabetic)
            && scheme.iter().all(|octet| octet.is_ascii_alphanumeric() || b"+-.".contains(octet))
    };
    if !scheme.is_some_and(letters) || !target.iter().all(u8::is_ascii_graphic) {
        return Err(Invalid::new(
            "data.target",
            "the target is not a URI",
            "give one with its scheme, such as https://www.example.com/",
        ));
    }
    Ok(())
}

/// SVCB and HTTPS (RFC 9460).
pub(super) fn service(fields: &[&[u8]]) -> Checked {
    let [priority, target, params] = fields else { return Ok(()) };
    if target.starts_with(b"\x01*") {
        return Err(Invalid::new("data.target", "a wildcard is not a host", "give the name of a host, or ."));
    }
    svcb::check(number(priority), params)
}
