//! A newcomer finds everything by its name: head comments, the list of services, the map in ARCHITECTURE.md.

use super::{Finding, Rule, Tree};
use crate::workspace::Package;

const HEAD_COMMENT: Rule = Rule {
    name: "every crate begins with a head comment",
    reason: "the first screen of a crate tells what it is for, the way of the data through it, its invariants and limits",
    remedy: "begin the file with a `//!` comment",
};

const LIST_OF_SERVICES: Rule = Rule {
    name: "every service is in the one list of services",
    reason: "what a server runs must be readable in one place, written by hand",
    remedy: "name the service's crate in proxima/src/services.rs",
};

const MAP: Rule = Rule {
    name: "ARCHITECTURE.md is a true map",
    reason: "a map that nobody checks against the code leads newcomers astray",
    remedy: "give each crate's folder (as `services/dns`) a row in ARCHITECTURE.md, and name only paths there that exist",
};

const SERVICES: &str = "proxima/src/services.rs";
const ARCHITECTURE: &str = "ARCHITECTURE.md";
/// A path in ARCHITECTURE.md is taken for one of the repository's if it begins so.
const TOP_FOLDERS: [&str; 9] =
    ["benches/", "core/", "docs/", "fuzz/", "lab/", "proxima/", "services/", "tests/", "xtask/"];

/// Checks the crates' head comments, the list of services and the map.
pub(super) fn check(tree: &Tree, packages: &[Package]) -> Vec<Finding> {
    [head_comments(tree, packages), services(tree, packages), map(tree, packages)].concat()
}

fn head_comments(tree: &Tree, packages: &[Package]) -> Vec<Finding> {
    let roots = packages.iter().flat_map(|package| &package.crate_roots);
    roots
        .filter(|path| tree.text(path).is_some_and(|text| !text.starts_with("//!")))
        .map(|path| Finding::new(&HEAD_COMMENT, path, "has none on its first line"))
        .collect()
}

fn services(tree: &Tree, packages: &[Package]) -> Vec<Finding> {
    let list = tree.text(SERVICES).unwrap_or_default();
    packages
        .iter()
        .filter(|package| package.folder.starts_with("services/"))
        .filter(|package| !list.contains(&package.name.replace('-', "_")))
        .map(|package| Finding::new(&LIST_OF_SERVICES, SERVICES, format!("{} is missing", package.name)))
        .collect()
}

fn map(tree: &Tree, packages: &[Package]) -> Vec<Finding> {
    let text = tree.text(ARCHITECTURE).unwrap_or_default();
    let missing = packages
        .iter()
        .filter(|package| !code_spans(text).any(|(_, span)| span.trim_end_matches('/') == package.folder))
        .map(|package| Finding::new(&MAP, ARCHITECTURE, format!("{} is missing", package.folder)));
    let astray = code_spans(text)
        .filter(|(_, span)| TOP_FOLDERS.iter().any(|top| span.starts_with(top)))
        .filter(|(_, span)| {
            span.chars().all(|character| character.is_ascii_alphanumeric() || "/-_.".contains(character))
        })
        .filter(|(_, span)| !tree.contains(span))
        .map(|(line, span)| {
            Finding::new(&MAP, format!("{ARCHITECTURE}:{line}"), format!("{span} does not exist"))
        });
    missing.chain(astray).collect()
}

/// What stands between backticks, with the number of its line.
fn code_spans(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate();
    lines.flat_map(|(index, line)| line.split('`').skip(1).step_by(2).map(move |span| (index + 1, span)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns() -> Package {
        Package {
            name: "proxima-dns".into(),
            folder: "services/dns".into(),
            crate_roots: vec!["services/dns/src/lib.rs".into()],
            source_folders: vec!["services/dns".into()],
            dependencies: vec![],
        }
    }

    #[test]
    fn a_service_that_is_described_and_listed_is_fine() {
        let tree = Tree::of([
            ("services/dns/src/lib.rs", "//! Authoritative answers."),
            (SERVICES, "vec![proxima_dns::service()]"),
            (ARCHITECTURE, "| `services/dns` | answers; see `services/dns/src/lib.rs` and `services/…` |"),
        ]);
        assert_eq!(check(&tree, &[dns()]), []);
    }

    #[test]
    fn a_service_that_nobody_lists_or_describes_is_found_three_times() {
        let tree =
            Tree::of([("services/dns/src/lib.rs", "use std::net;"), (SERVICES, ""), (ARCHITECTURE, "")]);
        let rules: Vec<&str> = check(&tree, &[dns()]).iter().map(|finding| finding.rule.name).collect();
        assert_eq!(rules, [HEAD_COMMENT.name, LIST_OF_SERVICES.name, MAP.name]);
    }

    #[test]
    fn a_path_that_the_map_names_must_exist() {
        let tree = Tree::of([(ARCHITECTURE, "all of\n`services/dns` and `core/nothing/x.rs`, `h2`")]);
        assert_eq!(
            map(&tree, &[]),
            [
                Finding::new(&MAP, "ARCHITECTURE.md:2", "services/dns does not exist"),
                Finding::new(&MAP, "ARCHITECTURE.md:2", "core/nothing/x.rs does not exist"),
            ]
        );
    }
}
