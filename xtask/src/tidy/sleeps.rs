//! No test sleeps.

use super::{EXCEPTIONS, Finding, Rule, Sleep, Tree};

const SLEEP: Rule = Rule {
    name: "no sleeps in tests",
    reason: "a sleep is too short on a busy machine and too long on every other one",
    remedy: "wait for the event itself (a notification, a line of output), or let tokio's paused time pass; where only \
             polling can see it, poll with a deadline and list the file in xtask/tidy.toml as [[sleep]] with the reason",
};

/// A call, of whichever runtime.
const CALL: &str = "sleep(";
const TEST_MODULE: &str = "#[cfg(test)]";

/// Checks test code: what lies in a `tests` folder, and test modules, which stand at the end of their file.
pub(super) fn check(tree: &Tree, exceptions: &[Sleep]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.iter().filter(|(path, _)| path.ends_with(".rs") || path.ends_with(".py")) {
        let lines = sleeping_lines(path, text);
        let allowed = exceptions.iter().find(|entry| entry.path == path).map_or(0, |entry| entry.count);
        if lines.len() > allowed {
            let what = format!("{} sleeps, where {allowed} are allowed", lines.len());
            findings.push(Finding::new(&SLEEP, format!("{path}:{}", lines[0]), what));
        } else if lines.len() < allowed {
            let what = format!("{path} has only {} sleeps now: write that, or remove it", lines.len());
            findings.push(Finding::new(&SLEEP, EXCEPTIONS, what));
        }
    }
    let gone = exceptions.iter().filter(|entry| tree.text(&entry.path).is_none());
    findings.extend(
        gone.map(|entry| Finding::new(&SLEEP, EXCEPTIONS, format!("{} is gone: remove it", entry.path))),
    );
    findings
}

/// Numbers of the lines of test code that sleep in real time.
fn sleeping_lines(path: &str, text: &str) -> Vec<usize> {
    let mut in_tests = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs");
    let mut paused = false;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        in_tests |= line.starts_with(TEST_MODULE);
        if line.starts_with("#[") && line.contains("test") {
            // Under tokio's paused time a sleep takes no time.
            paused = line.contains("start_paused");
        }
        if in_tests && !paused && calls_sleep(line) {
            found.push(index + 1);
        }
    }
    found
}

/// Whether the line calls a function named just `sleep`, outside a comment.
fn calls_sleep(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices(CALL).any(|(start, _)| {
        let before = code[..start].chars().next_back();
        !before.is_some_and(|character| character.is_alphanumeric() || character == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // In halves, so that this file keeps its own rule.
    const NAP: &str = concat!("tokio::time::sle", "ep(SECOND).await;");

    #[test]
    fn a_sleep_counts_in_test_code_only() {
        let text = format!("{NAP}\n#[cfg(test)]\nmod tests {{\n{NAP}\n// {NAP}\n}}");
        assert_eq!(sleeping_lines("core/ledger/src/log.rs", &text), [4]);
        assert_eq!(sleeping_lines("lab/tests/lab_faults.rs", NAP), [1]);
        assert_eq!(sleeping_lines("tests/api/src/lib.rs", &format!("un{}", &NAP[13..])), [0; 0]);
    }

    #[test]
    fn paused_time_passes_in_no_time() {
        let text = format!("#[tokio::test(start_paused = true)]\n{NAP}\n#[tokio::test]\n{NAP}");
        assert_eq!(sleeping_lines("lab/tests/x.rs", &text), [4]);
    }

    #[test]
    fn an_exception_counts_and_only_falls() {
        let tree = Tree::of([("lab/tests/x.rs", NAP)]);
        let exception = |count| [Sleep { path: "lab/tests/x.rs".into(), count, reason: "polls".into() }];
        assert_eq!(check(&tree, &exception(1)), []);
        assert_eq!(check(&tree, &exception(2))[0].place, EXCEPTIONS);
        assert_eq!(check(&tree, &[])[0].place, "lab/tests/x.rs:1");
    }
}
