//! No dependency that no source file names.

use super::{EXCEPTIONS, Finding, Rule, Tree, Unused};
use crate::workspace::Package;

const UNUSED: Rule = Rule {
    name: "no unused dependencies",
    reason: "each costs compile time, and trust in its authors",
    remedy: "remove it from the crate's Cargo.toml; one that is needed without being named goes to xtask/tidy.toml as \
             [[unused]] with its reason",
};

/// Checks that each dependency is named in the package's sources.
pub(super) fn check(tree: &Tree, packages: &[Package], exceptions: &[Unused]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        let folders: Vec<String> = package.source_folders.iter().map(|folder| format!("{folder}/")).collect();
        let sources: Vec<&str> = tree
            .iter()
            .filter(|(path, _)| {
                path.ends_with(".rs") && folders.iter().any(|folder| path.starts_with(folder))
            })
            .map(|(_, text)| text)
            .collect();
        for dependency in &package.dependencies {
            let used = sources.iter().any(|text| names(text, &dependency.replace('-', "_")));
            let excepted = exceptions
                .iter()
                .any(|entry| entry.package == package.name && entry.dependency == *dependency);
            let place = format!("{}/Cargo.toml", package.folder);
            match (used, excepted) {
                (false, false) => findings.push(Finding::new(&UNUSED, place, dependency.clone())),
                (true, true) => {
                    let what = format!("{dependency} of {} is used now: remove the exception", package.name);
                    findings.push(Finding::new(&UNUSED, EXCEPTIONS, what));
                }
                _ => {}
            }
        }
    }
    findings
}

/// Whether `text` has `word` as a whole word.
fn names(text: &str, word: &str) -> bool {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    text.match_indices(word).any(|(start, _)| {
        !text[..start].chars().next_back().is_some_and(is_word)
            && !text[start + word.len()..].chars().next().is_some_and(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(dependencies: &[&str]) -> Package {
        Package {
            name: "proxima-dns".into(),
            folder: "services/dns".into(),
            crate_roots: vec![],
            source_folders: vec!["services/dns".into(), "tests/dns".into()],
            dependencies: dependencies.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn a_dependency_that_is_named_nowhere_is_a_finding() {
        let tree = Tree::of([
            ("services/dns/src/lib.rs", "use async_trait::async_trait;\nuse serde_json::Value;"),
            ("services/dnsx/src/lib.rs", "use serde::Serialize;"),
            ("tests/dns/main.rs", "tempfile::tempdir()"),
        ]);
        let findings = check(&tree, &[package(&["async-trait", "serde", "serde_json", "tempfile"])], &[]);
        assert_eq!(findings, [Finding::new(&UNUSED, "services/dns/Cargo.toml", "serde")]);
    }

    #[test]
    fn an_exception_holds_only_as_long_as_it_is_needed() {
        let exception =
            Unused { package: "proxima-dns".into(), dependency: "rustls".into(), reason: "features".into() };
        let packages = [package(&["rustls"])];
        let exceptions = [exception];
        assert_eq!(check(&Tree::of([("services/dns/src/lib.rs", "")]), &packages, &exceptions), []);
        let used = Tree::of([("services/dns/src/lib.rs", "use rustls::ServerConfig;")]);
        assert_eq!(check(&used, &packages, &exceptions).len(), 1);
    }
}
