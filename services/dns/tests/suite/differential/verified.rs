//! Whole zones, verified by `ldns-verify-zone`: every signature, and the chain of denials.
//!
//! ```text
//!  zone file ─▶ dnssec-signzone ─▶ named ─▶ AXFR ─▶ our node ─▶ AXFR by dig ─────────▶ ldns-verify-zone: complete
//!  records ─▶ our node, which signs on line ─▶ AXFR by dig: names and types ─▶
//!                                     every answer with signatures, by dig ─▶ one file ─▶ ldns-verify-zone: no chain
//! ```
//!
//! A zone that is signed on line has no chain to transfer: it goes out without signatures, and each of its denials ends right
//! behind the one name that was asked for (RFC 9824), where a chain goes on to the next one. So of what such a zone answers
//! the program verifies the signatures, and complains of each name's next one. Both have to be so: another complaint, such
//! as of a signature, fails the test, and so does none at all, as then the zone was not looked at.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use proxima_model::{KeyRole, ZoneSigning};

use super::presigned::Round;
use crate::{
    sockets::{Running, with_node},
    support::{new_key, signing, zone},
    transfers::{listed, listed_for, peer},
};

/// A zone with an apex, names without records between, a wildcard, an alias, and delegations with and without a key.
const FILE: &str = "$TTL 300\n\
                    @ SOA ns1 hostmaster 1 1 1 1 300\n@ NS ns1\n@ MX 10 www\nns1 A 192.0.2.1\nwww A 192.0.2.2\n\
                    www AAAA 2001:db8::2\n*.wild TXT \"wild\"\na.b.c A 192.0.2.3\nalias CNAME www\n\
                    sub NS ns.sub\nns.sub A 192.0.2.4\nsafe NS ns.elsewhere.example.\n\
                    safe DS 2371 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n";
/// How dig prints a zone file.
const FILE_ONLY: &str = "+norecurse +nocmd +nocomments +noquestion +nostats";

/// What the program says of a zone, and whether that is that it is complete.
fn verify(folder: &Path, text: &str) -> Result<(bool, String)> {
    let file = folder.join("zone");
    fs::write(&file, text)?;
    let said = Command::new("ldns-verify-zone")
        .arg(&file)
        .output()
        .context("running ldns-verify-zone; `cargo xtask setup` installs it")?;
    let text = [said.stdout, said.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    Ok((said.status.success() && text.contains("verified and complete"), text))
}

/// A zone as dig transfers it, with its SOA record once.
async fn transferred(running: &Running, apex: &str) -> Result<String> {
    running.dig("dig", &format!("{FILE_ONLY} +onesoa {apex} AXFR")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_that_came_signed_is_transferred_on_complete() -> Result<()> {
    with_node("", async |running| {
        let folder = tempfile::tempdir()?;
        let zones = (0..3).map(|number| (super::apex(number), FILE.to_owned())).collect::<Vec<_>>();
        let round = Round::of_files(&zones)?;
        for (came, (apex, _)) in round.came.iter().zip(&zones) {
            running.change(came.changes(running)).await?;
            let peer = peer(Some("127.0.0.1"), false);
            running.change(listed_for(running, came.zone.id, &peer, true)).await?;
            let text = transferred(running, apex).await?;
            let (complete, said) = verify(folder.path(), &text)?;
            ensure!(complete, "{apex}: {said}\n{text}");
            // What it would say of a zone with a record changed, or one away.
            let changed = text.replace("192.0.2.2", "192.0.2.9");
            let (complete, said) = verify(folder.path(), &changed)?;
            ensure!(!complete && said.contains("Bogus"), "{apex}: {said}");
            let is_denial = |line: &&str| {
                let mut words = line.split_whitespace().skip(3);
                words.next().is_some_and(|kind| kind.starts_with("NSEC") && kind != "NSEC3PARAM")
            };
            let last = text.lines().rfind(is_denial).context("a denial")?;
            let (complete, said) = verify(folder.path(), &text.replace(last, ""))?;
            ensure!(!complete, "{apex} without {last}: {said}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_that_is_signed_on_line_has_signatures_that_hold_and_no_chain() -> Result<()> {
    with_node("", async |running| {
        let folder = tempfile::tempdir()?;
        let zone = zone("example.com");
        running.change(listed(running, &peer(Some("127.0.0.1"), false), true)).await?;
        let keys = vec![new_key(KeyRole::Active)];
        for nsec3 in [false, true] {
            let signing = ZoneSigning { nsec3, ..signing(&zone, keys.clone()) };
            running.change(vec![running.node.replica.put(&signing)]).await?;
            let text = answered(running).await?;
            let (complete, said) = verify(folder.path(), &text)?;
            let complaints: Vec<&str> = said.lines().filter(|line| line.contains("Error: ")).collect();
            // Whatever an alias is asked for it answers with itself, and so denies nothing.
            let is_of_chain = |line: &&str| {
                line.contains("points to the wrong next")
                    || line.ends_with("there is no NSEC(3) for alias.example.com.")
            };
            ensure!(!complete && !complaints.is_empty(), "{said}");
            ensure!(complaints.iter().all(is_of_chain), "{said}\n{text}");
            let changed = text.replace("192.0.2.1", "192.0.2.9");
            let (_, said) = verify(folder.path(), &changed)?;
            ensure!(said.contains("Bogus"), "{said}");
        }
        Ok(())
    })
    .await
}

/// Every set of the zone with its signatures, and what denies at each name, from answers.
async fn answered(running: &Running) -> Result<String> {
    let whole = transferred(running, "example.com").await?;
    let words = whole.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut asked: BTreeSet<(String, String)> =
        words.filter(|words| words.len() > 4).map(|words| (words[0].into(), words[3].into())).collect();
    // That it has none says what it has.
    let names: BTreeSet<String> = asked.iter().map(|(name, _)| name.clone()).collect();
    asked.extend(names.iter().map(|name| (name.clone(), "NULL".to_owned())));
    asked.insert(("example.com.".to_owned(), "DNSKEY".to_owned()));
    let mut lines = BTreeSet::new();
    for (name, kind) in asked {
        let said = running.dig("dig", &format!("{FILE_ONLY} +tcp +dnssec {name} {kind}")).await?;
        lines.extend(
            said.lines().filter(|line| !line.is_empty() && !line.starts_with(';')).map(str::to_owned),
        );
    }
    Ok(lines.into_iter().map(|line| line + "\n").collect())
}
