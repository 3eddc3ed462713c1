//! The zones that all subjects serve, as files, and what is asked of them.
//!
//! One is as large as the root zone, with its 1,500 delegations, and has hosts, mail and a wildcard beside; the others are as
//! small as most zones are. A third is the large one again, to be signed: by its server, or, for those that do not sign,
//! ahead by dnssec-signzone.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::dnsperf::Questions;
use crate::process::{self, LOAD_CORE};

/// The large zone.
pub(super) const LARGE: &str = "large.example";
/// The same, to be signed.
pub(super) const SIGNED: &str = "signed.example";
/// What every file begins with.
const HEAD: &str = "$TTL 3600\n@ IN SOA ns1 hostmaster 1 10800 3600 604800 300\n@ IN NS ns1\n@ IN NS ns2\n\
                    ns1 IN A 192.0.2.53\nns2 IN A 198.51.100.53\n";
const DELEGATIONS: u32 = 1_500;
const HOSTS: u32 = 2_000;
/// Questions in a file; after the last the first comes again.
const QUESTIONS: u32 = 100_000;

/// A zone, and the file that has it.
pub(super) struct Zone {
    pub(super) name: String,
    pub(super) file: PathBuf,
}

pub(super) struct Zones {
    pub(super) all: Vec<Zone>,
    /// The file of [`SIGNED`] before it is signed; it is not among `all`.
    pub(super) unsigned: PathBuf,
    /// The same with its signatures.
    pub(super) presigned: PathBuf,
    pub(super) of_large: Questions,
    pub(super) of_signed: Questions,
    pub(super) of_many: Questions,
}

impl Zones {
    /// Writes them into a folder below `home`.
    pub(super) fn make(home: &Path, small: u32) -> Result<Self> {
        let folder = home.join("zones");
        fs::create_dir_all(&folder).with_context(|| format!("making the folder {}", folder.display()))?;
        let write = |name: &str, text: &str| {
            let file = folder.join(name);
            process::write(&file, text)?;
            Ok::<_, anyhow::Error>(file)
        };
        let mut all = vec![Zone { name: LARGE.to_owned(), file: write(LARGE, &large_zone())? }];
        for number in 0..small {
            let name = small_name(number);
            all.push(Zone { file: write(&name, &small_zone(number))?, name });
        }
        let questions = |name: &str, ask: &mut dyn FnMut(&mut Chance) -> (String, bool)| {
            let (mut chance, mut text, mut not_found) = (Chance(1), String::new(), 0);
            for _ in 0..QUESTIONS {
                let (question, found) = ask(&mut chance);
                text += &question;
                text.push('\n');
                not_found += u32::from(!found);
            }
            let not_found_percent = f64::from(not_found) * 100.0 / f64::from(QUESTIONS);
            Ok::<_, anyhow::Error>(Questions { file: write(name, &text)?, not_found_percent })
        };
        let of_large = questions("questions-of-large", &mut |chance| of_large(chance, LARGE))?;
        let of_signed = questions("questions-of-signed", &mut |chance| self::of_large(chance, SIGNED))?;
        let unsigned = write(SIGNED, &large_zone())?;
        let presigned = sign(&unsigned, &folder)?;
        let of_many = questions("questions-of-many", &mut |chance| of_many(chance, small))?;
        Ok(Self { all, unsigned, presigned, of_large, of_signed, of_many })
    }
}

/// Signs [`SIGNED`] with one key, as knot and Proxima do: ECDSA P-256, NSEC.
fn sign(unsigned: &Path, folder: &Path) -> Result<PathBuf> {
    let mut keygen = Command::new("dnssec-keygen");
    keygen.args(["-q", "-a", "ECDSAP256SHA256", "-f", "KSK", "-K"]).arg(folder).arg(SIGNED);
    process::output(LOAD_CORE, &keygen)?;
    let presigned = folder.join("presigned");
    let mut signzone = Command::new("dnssec-signzone");
    signzone.args(["-S", "-z", "-Q", "-s", "now-1h", "-o", SIGNED, "-K"]).arg(folder);
    signzone.arg("-d").arg(folder).arg("-f").arg(&presigned).arg(unsigned);
    process::output(LOAD_CORE, &signzone)?;
    Ok(presigned)
}

fn small_name(number: u32) -> String {
    format!("site-{number}.example")
}

fn large_zone() -> String {
    let mut text = String::from(HEAD);
    for number in 0..DELEGATIONS {
        let (high, low) = (number / 250, number % 250);
        for server in ["a", "b"] {
            let _ = write!(
                text,
                "tld{number} IN NS {server}.nic.tld{number}\n\
                 {server}.nic.tld{number} IN A 203.0.{high}.{low}\n\
                 {server}.nic.tld{number} IN AAAA 2001:db8:{high:x}:{low:x}::53\n"
            );
        }
    }
    for number in 0..HOSTS {
        let (high, low) = (number / 250, number % 250);
        let _ = writeln!(text, "host{number} IN A 10.0.{high}.{low}");
        if number % 2 == 0 {
            let _ = writeln!(text, "host{number} IN AAAA 2001:db8:1:{high:x}::{low:x}");
        }
        if number % 4 == 0 {
            let _ = write!(
                text,
                "host{number} IN MX 10 host{}\nhost{number} IN TXT \"v=spf1 mx -all\"\n",
                number / 2
            );
        }
    }
    text + "*.wild IN A 10.1.1.1\nalias IN CNAME host1\n"
}

fn small_zone(number: u32) -> String {
    let (high, low) = (number / 250 % 250, number % 250);
    let mut text = String::from(HEAD);
    let _ = write!(
        text,
        "@ IN A 10.{high}.{low}.1\nwww IN A 10.{high}.{low}.1\n@ IN MX 10 mail\nmail IN A 10.{high}.{low}.2\n\
         @ IN TXT \"v=spf1 mx -all\"\n"
    );
    text
}

/// A question of the large zone, and whether the name is there.
fn of_large(chance: &mut Chance, zone: &str) -> (String, bool) {
    let (kind, host, delegation) = (chance.below(100), chance.below(HOSTS), chance.below(DELEGATIONS));
    match kind {
        0..35 => (format!("www.site{host}.tld{delegation}.{zone} A"), true),
        35..60 => (format!("nothing{}.{zone} A", chance.below(1_000_000)), false),
        60..80 => (format!("host{host}.{zone} A"), true),
        80..88 => (format!("host{}.{zone} AAAA", host & !1), true),
        88..91 => (format!("host{}.{zone} MX", host & !3), true),
        91..93 => (format!("host{}.{zone} TXT", host & !3), true),
        // There is the name, and no such record.
        93..95 => (format!("host{host}.{zone} SRV"), true),
        95..99 => (format!("any{}.wild.{zone} A", chance.below(1_000_000)), true),
        _ => (format!("alias.{zone} A"), true),
    }
}

/// A question of one of the small zones.
fn of_many(chance: &mut Chance, zones: u32) -> (String, bool) {
    let (kind, name) = (chance.below(100), small_name(chance.below(zones)));
    match kind {
        0..30 => (format!("{name} A"), true),
        30..60 => (format!("www.{name} A"), true),
        60..70 => (format!("www.{name} AAAA"), true),
        70..78 => (format!("{name} MX"), true),
        78..84 => (format!("{name} TXT"), true),
        84..90 => (format!("{name} NS"), true),
        _ => (format!("nothing{}.{name} A", chance.below(1_000_000)), false),
    }
}

/// Numbers that look like chance and are the same in each run (xorshift64).
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from((self.0 >> 16) % u64::from(end)).expect("it is below a number of that size")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_and_questions_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let zones = Zones::make(folder.path(), 3).unwrap();
        assert_eq!(zones.all.len(), 4);
        let large = fs::read_to_string(&zones.all[0].file).unwrap();
        assert_eq!(large.lines().filter(|line| line.contains(" IN NS ")).count(), 2 + 2 * 1_500);
        let signed = fs::read_to_string(&zones.presigned).unwrap();
        assert!(signed.contains("RRSIG") && signed.contains("NSEC"));
        for questions in [&zones.of_large, &zones.of_signed, &zones.of_many] {
            assert_eq!(fs::read_to_string(&questions.file).unwrap().lines().count(), 100_000);
            assert!((5.0..40.0).contains(&questions.not_found_percent), "{}", questions.not_found_percent);
        }
    }
}
