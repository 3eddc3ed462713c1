//! `cargo xtask tidy`: the house rules that a compiler does not know, as failing checks.
//!
//! ```text
//! git ls-files ──► Tree ─┐
//! cargo metadata ────────┼──► one pure function per rule ──► findings: where, what, why it is a rule, what to do
//! tidy.toml ─────────────┘
//! ```
//!
//! A rule is a pure function over a [`Tree`], so that its tests need no files. An exception is a line in `tidy.toml`
//! with its reason; an exception that is no longer needed is a finding too.

mod decisions;
mod imports;
mod lengths;
mod map;
mod sleeps;
mod unused;
mod words;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::command;
use crate::workspace::Workspace;

/// A house rule, as it is explained to who broke it.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    name: &'static str,
    /// Why it is a rule.
    reason: &'static str,
    /// What to do.
    remedy: &'static str,
}

/// One place where a rule is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    rule: &'static Rule,
    /// File, or file:line.
    place: String,
    what: String,
}

impl Finding {
    fn new(rule: &'static Rule, place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { rule, place: place.into(), what: what.into() }
    }
}

/// The repository's text files, by path relative to the root.
#[derive(Default)]
struct Tree {
    files: BTreeMap<String, String>,
}

/// Larger files are data, not text that somebody wrote.
const FILE_BYTES_MAX: u64 = 1 << 20;

impl Tree {
    /// What git knows, and what it would know after `git add`: ignored files are nobody's business.
    fn load(root: &Path) -> Result<Self> {
        let mut list = Command::new("git");
        list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
        let mut files = BTreeMap::new();
        for path in command::stdout(&mut list)?.split('\0').filter(|path| !path.is_empty()) {
            // A file that was deleted, but not yet in git's eyes, is absent; a link is somebody else's file.
            let full = root.join(path);
            let Ok(metadata) = fs::symlink_metadata(&full) else { continue };
            if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
                continue;
            }
            let bytes = fs::read(&full).with_context(|| format!("reading {}", full.display()))?;
            if let Ok(text) = String::from_utf8(bytes) {
                files.insert(path.to_owned(), text);
            }
        }
        Ok(Self { files })
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Whether a file has this path, or lies in a folder that has it.
    fn contains(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.files.contains_key(path) || self.files.keys().any(|file| file.starts_with(&folder))
    }

    #[cfg(test)]
    fn of<const N: usize>(files: [(&str, &str); N]) -> Self {
        Self { files: files.map(|(path, text)| (path.to_owned(), text.to_owned())).into() }
    }
}

/// `tidy.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Exceptions {
    long_file: Vec<LongFile>,
    sleep: Vec<Sleep>,
    unused: Vec<Unused>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LongFile {
    path: String,
    lines: usize,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sleep {
    path: String,
    count: usize,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unused {
    package: String,
    dependency: String,
    reason: String,
}

const EXCEPTIONS: &str = "xtask/tidy.toml";

const REASONS: Rule = Rule {
    name: "exceptions have reasons",
    reason: "who reads an exception later must be able to judge whether it is still right",
    remedy: "say in `reason` why the rule does not fit here",
};

/// Checks every rule; prints what it finds, with the reason and the remedy of each rule that is broken.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let tree = Tree::load(&workspace.root)?;
    let exceptions: Exceptions = match tree.text(EXCEPTIONS) {
        Some(text) => toml::from_str(text).with_context(|| format!("parsing {EXCEPTIONS}"))?,
        None => Exceptions::default(),
    };
    let packages = &workspace.packages;
    let findings = [
        reasons(&exceptions),
        imports::check(packages),
        unused::check(&tree, packages, &exceptions.unused),
        map::check(&tree, packages),
        lengths::check(&tree, &exceptions.long_file),
        sleeps::check(&tree, &exceptions.sleep),
        words::check(&tree),
        decisions::check(&tree),
    ]
    .concat();
    if findings.is_empty() {
        println!("{} files keep the house rules", tree.files.len());
        return Ok(());
    }
    print!("{}", report(&findings));
    bail!("{} places break the house rules", findings.len())
}

/// Findings grouped by rule, in the order in which the rules were checked.
fn report(findings: &[Finding]) -> String {
    let mut text = String::new();
    for group in findings.chunk_by(|one, next| one.rule == next.rule) {
        let rule = group[0].rule;
        text += &format!("\n{}\n  why:    {}\n  remedy: {}\n", rule.name, rule.reason, rule.remedy);
        for finding in group {
            text += &format!("    {}: {}\n", finding.place, finding.what);
        }
    }
    text
}

fn reasons(exceptions: &Exceptions) -> Vec<Finding> {
    let long_files = exceptions.long_file.iter().map(|entry| (&entry.path, &entry.reason));
    let sleeps = exceptions.sleep.iter().map(|entry| (&entry.path, &entry.reason));
    let unused = exceptions.unused.iter().map(|entry| (&entry.dependency, &entry.reason));
    long_files
        .chain(sleeps)
        .chain(unused)
        .filter(|(_, reason)| reason.trim().is_empty())
        .map(|(subject, _)| Finding::new(&REASONS, EXCEPTIONS, format!("{subject} has none")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_the_reason_and_the_remedy_of_each_rule_once() {
        let findings =
            [Finding::new(&REASONS, "a.toml", "x has none"), Finding::new(&REASONS, "a.toml", "y has none")];
        let report = report(&findings);
        assert_eq!(report.matches(REASONS.reason).count(), 1);
        assert_eq!(report.matches(REASONS.remedy).count(), 1);
        assert!(report.contains("a.toml: x has none\n    a.toml: y has none"));
    }

    #[test]
    fn an_exception_without_a_reason_is_a_finding() {
        let exceptions: Exceptions =
            toml::from_str("[[sleep]]\npath = \"a.rs\"\ncount = 1\nreason = \" \"\n").unwrap();
        assert_eq!(reasons(&exceptions), [Finding::new(&REASONS, EXCEPTIONS, "a.rs has none")]);
    }

    #[test]
    fn a_tree_contains_files_and_their_folders() {
        let tree = Tree::of([("services/dns/src/lib.rs", "")]);
        assert!(tree.contains("services/dns/src/lib.rs"));
        assert!(tree.contains("services/dns/"));
        assert!(!tree.contains("services/d"));
    }
}
