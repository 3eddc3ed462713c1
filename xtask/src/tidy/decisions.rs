//! Decisions are numbered, so that they can be cited and read in the order in which they were taken.

use std::collections::BTreeMap;

use super::{Finding, Rule, Tree};

const NAMES: Rule = Rule {
    name: "decisions are numbered",
    reason: "a decision is cited by its number, and read after those that came before it",
    remedy: "name the file docs/decisions/NNNN-title.md, with the next free number and a title of small letters and \
             hyphens",
};

const FOLDER: &str = "docs/decisions/";

/// Checks the names of the files in docs/decisions.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut numbers = BTreeMap::new();
    for (path, _) in tree.iter() {
        let Some(name) = path.strip_prefix(FOLDER) else { continue };
        let Some(number) = number(name) else {
            findings.push(Finding::new(&NAMES, path, "is not named so"));
            continue;
        };
        if let Some(other) = numbers.insert(number, path) {
            findings.push(Finding::new(&NAMES, path, format!("has the number of {other}")));
        }
    }
    findings
}

/// `0001-http-machine.md` → `0001`.
fn number(name: &str) -> Option<&str> {
    let (number, title) = name.strip_suffix(".md")?.split_once('-')?;
    let title_is_plain = title
        .chars()
        .all(|character| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-');
    let number_is_whole = number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit());
    (number_is_whole && title_is_plain && !title.is_empty()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_four_digits_and_a_plain_title() {
        assert_eq!(number("0001-http-machine.md"), Some("0001"));
        for wrong in ["1-http.md", "0001-HTTP.md", "0001.md", "0001-.md", "0001-http.txt"] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn two_decisions_cannot_share_a_number() {
        let tree = Tree::of([("docs/decisions/0001-a.md", ""), ("docs/decisions/0001-b.md", "")]);
        let what = "has the number of docs/decisions/0001-a.md";
        assert_eq!(check(&tree), [Finding::new(&NAMES, "docs/decisions/0001-b.md", what)]);
    }
}
