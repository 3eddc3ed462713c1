//! Parameters of SVCB and HTTPS records (RFC 9460, 2.1, 2.2 and appendix A).
//!
//! On the wire each is a key, a length and a value, in the order of keys. Written they may stand in any order; keys
//! without a name here are `key12345` with their value as a character string.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::text::{quote, unquote_word};
use crate::{Invalid, excerpt};

/// Keys that have a name (RFC 9460, 14.3.2; RFC 9461; RFC 9540; RFC 9848).
const KEYS: [(u16, &str); 9] = [
    (MANDATORY, "mandatory"),
    (ALPN, "alpn"),
    (NO_DEFAULT_ALPN, "no-default-alpn"),
    (PORT, "port"),
    (IPV4HINT, "ipv4hint"),
    (ECH, "ech"),
    (IPV6HINT, "ipv6hint"),
    (DOHPATH, "dohpath"),
    (OHTTP, "ohttp"),
];
const MANDATORY: u16 = 0;
const ALPN: u16 = 1;
const NO_DEFAULT_ALPN: u16 = 2;
const PORT: u16 = 3;
const IPV4HINT: u16 = 4;
const ECH: u16 = 5;
const IPV6HINT: u16 = 6;
const DOHPATH: u16 = 7;
const OHTTP: u16 = 8;
/// Reserved: it says that a key is none (RFC 9460, 14.3.2).
const INVALID_KEY: u16 = u16::MAX;

const FIELD: &str = "data.value";

fn refuse(problem: impl Into<String>, remedy: &'static str) -> Invalid {
    Invalid::new(FIELD, problem, remedy)
}

fn key_name(key: u16) -> String {
    let known = KEYS.iter().find(|known| known.0 == key);
    known.map_or_else(|| format!("key{key}"), |known| known.1.to_owned())
}

fn key_of(name: &str) -> Result<u16, Invalid> {
    if let Some(known) = KEYS.iter().find(|known| known.1 == name) {
        return Ok(known.0);
    }
    let digits = name.strip_prefix("key").filter(|digits| {
        digits.bytes().all(|octet| octet.is_ascii_digit()) && (*digits == "0" || !digits.starts_with('0'))
    });
    digits.and_then(|digits| digits.parse().ok()).filter(|key| *key != INVALID_KEY).ok_or_else(|| {
        refuse(
            format!("{} is not a parameter", excerpt(name)),
            "give alpn, port, ipv4hint, ipv6hint, ech, mandatory, no-default-alpn, dohpath or ohttp, or such as key667",
        )
    })
}

/// Reads parameters, one a word.
pub(super) fn parse(words: &[&str]) -> Result<Vec<u8>, Invalid> {
    let mut params = Vec::with_capacity(words.len());
    for word in words {
        let (name, given) = match word.split_once('=') {
            Some((name, given)) => (name, Some(given)),
            None => (*word, None),
        };
        let key = key_of(name)?;
        params.push((key, value(key, name, given)?));
    }
    params.sort();
    let mut octets = Vec::new();
    for (key, value) in params {
        let length = u16::try_from(value.len()).map_err(|_| refuse("it is too long", "give less"))?;
        octets.extend_from_slice(&key.to_be_bytes());
        octets.extend_from_slice(&length.to_be_bytes());
        octets.extend_from_slice(&value);
    }
    Ok(octets)
}

/// The value of a parameter on the wire, from what is written behind the equals sign.
fn value(key: u16, name: &str, given: Option<&str>) -> Result<Vec<u8>, Invalid> {
    let not_one =
        |remedy| refuse(format!("{} is not a value of {name}", excerpt(given.unwrap_or(""))), remedy);
    let octets = match given {
        None => Vec::new(),
        Some(text) => unquote_word(text).ok_or_else(|| not_one("close the quote, and finish the escape"))?,
    };
    let is_named = !name.starts_with("key");
    if !is_named {
        return Ok(octets);
    }
    let text = || std::str::from_utf8(&octets).map_err(|_| not_one("give ASCII"));
    match key {
        MANDATORY => {
            let mut keys = text()?.split(',').map(key_of).collect::<Result<Vec<u16>, _>>()?;
            keys.sort_unstable();
            Ok(keys.into_iter().flat_map(u16::to_be_bytes).collect())
        }
        ALPN => {
            let mut ids = Vec::new();
            for id in list(&octets) {
                let length = u8::try_from(id.len()).ok().filter(|length| *length > 0);
                ids.push(length.ok_or_else(|| not_one("give such as alpn=\"h3,h2\""))?);
                ids.extend_from_slice(&id);
            }
            Ok(ids)
        }
        PORT => {
            let port: u16 = text()?.parse().map_err(|_| not_one("give 0 to 65535"))?;
            Ok(port.to_be_bytes().into())
        }
        IPV4HINT => addresses(text()?, |address: Ipv4Addr| address.octets().to_vec())
            .ok_or_else(|| not_one("give IPv4 addresses, with commas between")),
        IPV6HINT => addresses(text()?, |address: Ipv6Addr| address.octets().to_vec())
            .ok_or_else(|| not_one("give IPv6 addresses, with commas between")),
        ECH => BASE64_STANDARD.decode(&octets).map_err(|_| not_one("give an ECHConfigList in base 64")),
        NO_DEFAULT_ALPN | OHTTP if given.is_some() => Err(not_one("give it without a value")),
        _ => Ok(octets),
    }
}

fn addresses<T: std::str::FromStr>(text: &str, octets: fn(T) -> Vec<u8>) -> Option<Vec<u8>> {
    let read = text.split(',').map(|address| address.parse().ok().map(octets));
    read.collect::<Option<Vec<_>>>().map(|all| all.concat())
}

/// The items of a list whose commas and backslashes may be escaped (RFC 9460, A.1).
fn list(octets: &[u8]) -> Vec<Vec<u8>> {
    let mut items = vec![Vec::new()];
    let mut rest = octets.iter();
    while let Some(octet) = rest.next() {
        let last = items.last_mut().expect("it begins with one and loses none");
        match octet {
            b',' => items.push(Vec::new()),
            b'\\' => last.extend(rest.next()),
            plain => last.push(*plain),
        }
    }
    items
}

/// Cuts parameters off the wire; `None` if they are cut off.
fn split(mut octets: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut params = Vec::new();
    while !octets.is_empty() {
        let (head, rest) = octets.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (value, rest) = rest.split_at_checked(length)?;
        params.push((u16::from_be_bytes([head[0], head[1]]), value));
        octets = rest;
    }
    Some(params)
}

/// What holds of parameters: of each by itself, and of all together.
pub(super) fn check(priority: u16, octets: &[u8]) -> Result<(), Invalid> {
    let params = split(octets).ok_or_else(|| refuse("a parameter is cut off", "give all of it"))?;
    if priority == 0 && !params.is_empty() {
        return Err(refuse(
            "priority 0 makes an alias, which has no parameters",
            "give priority 1 or more, or leave the parameters out",
        ));
    }
    if let Some([(key, _), _]) = params.array_windows().find(|[one, other]| one.0 >= other.0) {
        return Err(refuse(
            format!("{} is given twice, or out of order", key_name(*key)),
            "give each parameter once",
        ));
    }
    for (key, value) in &params {
        if *key == INVALID_KEY || !holds(*key, value) {
            return Err(refuse(
                format!("{} has a value that it cannot have", key_name(*key)),
                "give a value that RFC 9460 has for it",
            ));
        }
    }
    let has = |key: u16| params.iter().any(|param| param.0 == key);
    if has(NO_DEFAULT_ALPN) && !has(ALPN) {
        return Err(refuse("no-default-alpn leaves no protocol", "give alpn too"));
    }
    let mandatory = params.first().filter(|first| first.0 == MANDATORY).map_or(&[][..], |first| first.1);
    match numbers(mandatory).find(|key| !has(*key)) {
        Some(key) => Err(refuse(
            format!("{} is mandatory and not there", key_name(key)),
            "give it, or do not call it mandatory",
        )),
        None => Ok(()),
    }
}

fn numbers(octets: &[u8]) -> impl Iterator<Item = u16> + Clone {
    octets.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}

/// Whether a parameter can have this value on the wire.
fn holds(key: u16, value: &[u8]) -> bool {
    let some_of = |octets: usize| !value.is_empty() && value.len().is_multiple_of(octets);
    match key {
        MANDATORY => {
            let keys = numbers(value);
            some_of(2)
                && keys.clone().all(|key| key != MANDATORY && key != INVALID_KEY)
                && keys.clone().zip(keys.skip(1)).all(|(one, other)| one < other)
        }
        ALPN => ids(value).is_some_and(|ids| !ids.is_empty()),
        NO_DEFAULT_ALPN | OHTTP => value.is_empty(),
        PORT => value.len() == 2,
        IPV4HINT => some_of(4),
        IPV6HINT => some_of(16),
        // A list that says its own length (RFC 9849, 4).
        ECH => value.split_first_chunk().is_some_and(|(length, configs)| {
            configs.len() >= 4 && usize::from(u16::from_be_bytes(*length)) == configs.len()
        }),
        // A template of a path (RFC 9461, 5).
        DOHPATH => std::str::from_utf8(value).is_ok_and(|path| path.starts_with('/') && path.contains("dns")),
        _ => true,
    }
}

/// The identifiers of protocols; `None` if one is empty or cut off.
fn ids(mut octets: &[u8]) -> Option<Vec<&[u8]>> {
    let mut ids = Vec::new();
    while let Some((length, rest)) = octets.split_first() {
        let (id, rest) = rest.split_at_checked((*length).into()).filter(|(id, _)| !id.is_empty())?;
        ids.push(id);
        octets = rest;
    }
    Some(ids)
}

/// Writes parameters; `None` if they are not what [`check`] takes.
pub(super) fn print(octets: &[u8]) -> Option<String> {
    let mut text = String::new();
    for (key, value) in split(octets)? {
        if !holds(key, value) {
            return None;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&key_name(key));
        let shown = match key {
            MANDATORY => numbers(value).map(key_name).collect::<Vec<_>>().join(","),
            ALPN => {
                let escape = |id: &[u8]| {
                    let special = |octet: &u8| matches!(octet, b',' | b'\\');
                    id.iter()
                        .flat_map(|octet| special(octet).then_some(b'\\').into_iter().chain([*octet]))
                        .collect()
                };
                quote(&ids(value)?.into_iter().map(escape).collect::<Vec<Vec<u8>>>().join(&b','))
            }
            NO_DEFAULT_ALPN | OHTTP => continue,
            PORT => u16::from_be_bytes([value[0], value[1]]).to_string(),
            IPV4HINT => {
                let hints = value.as_chunks::<4>().0.iter().map(|octets| Ipv4Addr::from(*octets).to_string());
                hints.collect::<Vec<_>>().join(",")
            }
            IPV6HINT => {
                let hints =
                    value.as_chunks::<16>().0.iter().map(|octets| Ipv6Addr::from(*octets).to_string());
                hints.collect::<Vec<_>>().join(",")
            }
            ECH => BASE64_STANDARD.encode(value),
            _ if value.is_empty() => continue,
            _ => quote(value),
        };
        write!(text, "={shown}").ok()?;
    }
    Some(text)
}
