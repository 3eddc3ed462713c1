//! Names that numbers have, forms of places, and names of blocks of addresses: read as BIND reads them, by `named-compilezone`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use proxima_model::{DnsName, Invalid, RecordData, RecordType, ZoneName};

/// The zone of all of them.
const ZONE: &str = "types.test";

/// What BIND reads: a name, a type and data; [`DIGEST`] stands for `D` at the end.
const READ: &[&str] = &[
    "a CERT PKIX 0 RSASHA256 AAAA",
    "a CERT OID 1 PRIVATEOID AAAA",
    "a CERT URI 2 INDIRECT AAAA",
    "a CERT ACPKIX 3 DH AAAA",
    "a CERT IACPKIX 4 ECDSAP384SHA384 AAAA",
    "a CERT 65000 5 200 AAAA",
    "a DS 1 RSAMD5 SHA-256 D",
    "a DS 2 NSEC3DSA SHA256 D",
    "a DS 3 NSEC3RSASHA1 2 D",
    "a DS 4 ECCGOST GOST D",
    "a DS 5 PRIVATEDNS 2 D",
    "a DS 6 ED25519 2 D",
    "a DS 7 ED448 2 D",
    "a LOC 51 N 0 W 1.5m 1 2 3",
    "a LOC 51 30 N 0 7 W 0",
    "a LOC 51 30 12. N 0 7 39 W +5m",
    "a LOC 90 N 180 W -100000.00m",
    "a LOC 51 30 12.748 N 0 7 39.611 W 42849672.95m 90000000.00m 90000000m 0m",
    "0/25 NS ns.elsewhere.example.",
    "1 CNAME 1.0/25.types.test.",
];
/// What it does not.
const NOT_READ: &[&str] = &[
    "a CERT IACPKIX 0 ECC AAAA",
    "a DS 1 13 SHA-512 D",
    "a LOC 51 30 12.7489 N 0 7 39.611 W 0m",
    "a LOC 51 30 12 N 0 7 39 W 1e3",
    "a SSHFP RSA SHA1 0123456789012345678901234567890123456789",
    "a TLSA DANE-EE SPKI SHA2-256 D",
];
const DIGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn whole(line: &str) -> String {
    line.strip_suffix(" D").map_or_else(|| line.to_owned(), |head| format!("{head} {DIGEST}"))
}

/// The line that BIND makes of one; `None` if it refuses it.
fn compiled(line: &str) -> Option<String> {
    let mut compile = Command::new("named-compilezone");
    compile.args(["-i", "none", "-k", "ignore", "-n", "ignore", "-o", "-", ZONE, "/dev/stdin"]);
    compile.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut compile = compile.spawn().expect("named-compilezone; `cargo xtask setup` installs it");
    let own = "$TTL 300\n@ SOA ns.elsewhere.test. h.elsewhere.test. 1 1 1 1 300\n@ NS ns.elsewhere.test.\n";
    let mut input = compile.stdin.take().unwrap();
    input.write_all(format!("{own}{line}\n").as_bytes()).unwrap();
    drop(input);
    let text = String::from_utf8(compile.wait_with_output().unwrap().stdout).unwrap();
    // The zone's own two records come first.
    text.lines().filter(|line| line.contains(" 300 IN ")).nth(2).map(str::to_owned)
}

/// A line's owner, type and data.
fn read(line: &str) -> Result<(DnsName, RecordData), Invalid> {
    let mut words = line.split_whitespace().filter(|word| !["300", "IN"].contains(word));
    let (owner, kind) = (words.next().unwrap(), words.next().unwrap());
    let owner = ZoneName::parse(ZONE)?.record_name(owner)?;
    Ok((owner, RecordData::parse(RecordType::by_name(kind)?, &words.collect::<Vec<_>>().join(" "))?))
}

#[test]
fn what_bind_reads_of_names_for_numbers_and_places_is_read_as_the_same() {
    for line in READ.iter().map(|line| whole(line)) {
        let theirs = compiled(&line).unwrap_or_else(|| panic!("BIND refuses {line}"));
        let ours = read(&line).unwrap_or_else(|refused| panic!("{line}: {refused}"));
        assert_eq!(ours, read(&theirs).unwrap(), "{line}: {theirs}");
    }
    for line in NOT_READ.iter().map(|line| whole(line)) {
        assert!(compiled(&line).is_none(), "BIND reads {line}");
        read(&line).expect_err(&line);
    }
}
