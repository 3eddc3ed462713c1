//! No machine's paths and no registry's hosts.

use super::{Finding, Rule, Tree};

const PATHS: Rule = Rule {
    name: "no paths of one machine",
    reason: "what works only in one folder of one machine works nowhere else",
    remedy: "find the place from the workspace's root, from a flag, or from the environment",
};

const HOSTS: Rule = Rule {
    name: "no package registry is named",
    reason: "packages come through the package managers as they are set up where it runs; a mirror has other names",
    remedy: "name the package, not where it comes from",
};

/// Written in halves, so that this file keeps its own rule.
const MACHINE_PATHS: [&str; 7] = [
    concat!("/wo", "rk/main"),
    concat!("/wo", "rk/shared"),
    concat!("/wo", "rk/notes"),
    concat!("/wo", "rk/target"),
    concat!("/wo", "rk/.library"),
    concat!("/ro", "ot/"),
    concat!("/opt/", "wheels"),
];
const REGISTRY_HOSTS: [&str; 6] = [
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("python", "hosted.org"),
    concat!("npm", "js.org"),
    concat!("npm", "js.com"),
    concat!("deb.", "debian.org"),
];

/// Cargo writes the registry's address into its lock by itself.
const EXEMPT: [&str; 2] = ["Cargo.lock", "fuzz/libfuzzer/Cargo.lock"];

/// Checks every line of every file.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = find(tree, &PATHS, &MACHINE_PATHS);
    findings.extend(find(tree, &HOSTS, &REGISTRY_HOSTS));
    findings
}

fn find(tree: &Tree, rule: &'static Rule, words: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| !EXEMPT.contains(path)) {
        for (index, line) in text.lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(**word)) {
                findings.push(Finding::new(rule, format!("{path}:{}", index + 1), format!("`{word}`")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_a_host_are_found_where_they_stand() {
        let text = format!("fine\nsee {}/x\nfrom {}\n", MACHINE_PATHS[0], REGISTRY_HOSTS[0]);
        let findings = check(&Tree::of([("docs/a.md", &text), ("Cargo.lock", &text)]));
        assert_eq!(
            findings,
            [
                Finding::new(&PATHS, "docs/a.md:2", format!("`{}`", MACHINE_PATHS[0])),
                Finding::new(&HOSTS, "docs/a.md:3", format!("`{}`", REGISTRY_HOSTS[0])),
            ]
        );
    }
}
