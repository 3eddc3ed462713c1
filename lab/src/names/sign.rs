//! Keys and signatures, by BIND's tools.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Tree, file_stem};
use crate::error::{LabError, Result};
use crate::netns::feed;
use crate::state::{LabState, create_dir, write};
use crate::topology::{Signing, Zone};

/// One key that signs all of a zone (a combined signing key), of the algorithm that Proxima uses too.
const ALGORITHM: &str = "ECDSAP256SHA256";
/// Signatures hold from then on: clocks of a machine and of what runs on it are one, but not of those who copy a file.
const SIGNED_SINCE: &str = "now-1h";

/// Makes the keys of all zones that are to have one, and the trust anchor. The key that a bogus zone's parent names is one
/// that signs nothing.
pub(crate) fn keep_keys(state: &LabState, tree: &Tree) -> Result<BTreeMap<String, String>> {
    let mut ds = BTreeMap::new();
    for zone in tree.zones() {
        if zone.signing == Signing::Unsigned {
            continue;
        }
        let keys = folder(state, zone);
        let mut named = make_key(zone, &keys)?;
        if zone.signing == Signing::Bogus {
            let decoys = keys.join("decoy");
            named = make_key(zone, &decoys)?;
        }
        let mut digest = Command::new("dnssec-dsfromkey");
        ds.insert(zone.name.clone(), feed(digest.arg("-2").arg(named), "")?);
    }
    if let Some(anchor) = ds.get(".") {
        write(&state.root_anchor(), anchor)?;
    }
    write(&state.root_hints(), tree.hints())?;
    Ok(ds)
}

/// Writes a zone and signs it: the file that its servers read.
pub(crate) fn sign(state: &LabState, tree: &Tree, zone: &Zone, ds: &BTreeMap<String, String>) -> Result<()> {
    let folder = folder(state, zone);
    create_dir(&folder)?;
    let text = tree.render(zone, ds);
    let served = served(state, &zone.name);
    if zone.signing == Signing::Unsigned {
        return write(&served, text);
    }
    let plain = folder.join("plain");
    write(&plain, text)?;
    let mut signer = Command::new("dnssec-signzone");
    signer.args(["-S", "-z", "-t", "-s", SIGNED_SINCE, "-o", &zone.name, "-K"]).arg(&folder);
    signer.arg("-d").arg(&folder).arg("-f").arg(&served).arg(&plain);
    feed(&mut signer, "").map(drop)
}

/// What the servers of a zone read.
pub(super) fn served(state: &LabState, zone: &str) -> PathBuf {
    state.names_dir().join("zones").join(format!("{}.signed", file_stem(zone)))
}

/// The keys of a zone, and what is signed with them.
fn folder(state: &LabState, zone: &Zone) -> PathBuf {
    state.names_dir().join("zones").join(file_stem(&zone.name))
}

/// Makes a key; the file of its public half.
fn make_key(zone: &Zone, folder: &Path) -> Result<PathBuf> {
    create_dir(folder)?;
    let mut make = Command::new("dnssec-keygen");
    make.args(["-q", "-a", ALGORITHM, "-f", "KSK", "-K"]).arg(folder).arg(&zone.name);
    let printed = feed(&mut make, "")?;
    let file = folder.join(format!("{}.key", printed.trim()));
    if file.is_file() {
        return Ok(file);
    }
    Err(LabError::Malformed {
        what: format!("what dnssec-keygen printed for {}", zone.name),
        why: format!("it names no key in {}: {printed}", folder.display()),
    })
}
