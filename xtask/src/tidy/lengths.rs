//! A file holds one noun, and so is short.

use super::{EXCEPTIONS, Finding, LongFile, Rule, Tree};

const LENGTH: Rule = Rule {
    name: "files are short",
    reason: "a file holds one noun; who reads it can hold it in mind",
    remedy: "split the file along its nouns; if that would make it worse, list it in xtask/tidy.toml as [[long_file]] \
             with its present length and the reason",
};

/// About what is read in one go.
const LINES_MAX: usize = 500;
/// Ours to split; documents and locks are not.
const SUFFIXES: [&str; 3] = [".rs", ".py", ".sh"];

/// Checks the length of every source file. A listed file may shrink, and then its entry shrinks with it.
pub(super) fn check(tree: &Tree, exceptions: &[LongFile]) -> Vec<Finding> {
    let sources = tree.iter().filter(|(path, _)| SUFFIXES.iter().any(|suffix| path.ends_with(suffix)));
    let mut findings: Vec<Finding> = sources
        .filter_map(|(path, text)| {
            let listed = exceptions.iter().find(|entry| entry.path == path);
            check_file(path, text.lines().count(), listed)
        })
        .collect();
    let gone = exceptions.iter().filter(|entry| tree.text(&entry.path).is_none());
    findings.extend(
        gone.map(|entry| Finding::new(&LENGTH, EXCEPTIONS, format!("{} is gone: remove it", entry.path))),
    );
    findings
}

fn check_file(path: &str, lines: usize, listed: Option<&LongFile>) -> Option<Finding> {
    let allowed = listed.map_or(LINES_MAX, |entry| entry.lines);
    if lines > allowed {
        return Some(Finding::new(&LENGTH, path, format!("{lines} lines, where {allowed} are allowed")));
    }
    let entry = listed?;
    if lines <= LINES_MAX {
        return Some(Finding::new(&LENGTH, EXCEPTIONS, format!("{path} is short now: remove it")));
    }
    (lines < entry.lines)
        .then(|| Finding::new(&LENGTH, EXCEPTIONS, format!("{path} is shorter now: write `lines = {lines}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(lines: usize) -> LongFile {
        LongFile { path: "a.rs".into(), lines, reason: "a table".into() }
    }

    fn what(lines: usize, entry: Option<&LongFile>) -> Option<String> {
        check_file("a.rs", lines, entry).map(|finding| finding.what)
    }

    #[test]
    fn the_limit_itself_is_allowed_and_one_more_is_not() {
        assert_eq!(what(LINES_MAX, None), None);
        assert_eq!(what(LINES_MAX + 1, None).unwrap(), "501 lines, where 500 are allowed");
    }

    #[test]
    fn a_ratchet_only_turns_down() {
        assert_eq!(what(600, Some(&listed(600))), None);
        assert_eq!(what(601, Some(&listed(600))).unwrap(), "601 lines, where 600 are allowed");
        assert_eq!(what(580, Some(&listed(600))).unwrap(), "a.rs is shorter now: write `lines = 580`");
        assert_eq!(what(400, Some(&listed(600))).unwrap(), "a.rs is short now: remove it");
    }

    #[test]
    fn only_sources_count_and_entries_of_deleted_files_are_found() {
        let long = "\n".repeat(LINES_MAX + 1);
        let tree = Tree::of([("b.rs", &long), ("Cargo.lock", &long), ("README.md", &long)]);
        let places: Vec<String> =
            check(&tree, &[listed(600)]).into_iter().map(|finding| finding.place).collect();
        assert_eq!(places, ["b.rs", EXCEPTIONS]);
    }
}
