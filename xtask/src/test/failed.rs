//! What the tests said that failed, so that it can be said once more when everything is over: between a failure and the end of a
//! run lie thousands of lines.
//!
//! nextest writes it down as JUnit's XML (`.config/nextest.toml` says where).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// Of what a test said, the last lines are told.
const LAST_LINES: usize = 30;
/// And, of those before, so many that say by themselves that something does not hold.
const MARKED_LINES_MAX: usize = 20;
/// What such a line has: a panic, or a finding of the tour.
const MARKS: [&str; 2] = ["panicked at", "✗"];
/// Characters of a line.
const LINE_CHARS_MAX: usize = 300;
/// Tests of which it is told.
const TESTS_MAX: usize = 20;

#[derive(Deserialize)]
struct Report {
    #[serde(default, rename = "testsuite")]
    suites: Vec<Suite>,
}

#[derive(Deserialize)]
struct Suite {
    #[serde(rename = "@name")]
    name: String,
    #[serde(default, rename = "testcase")]
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Case {
    #[serde(rename = "@name")]
    name: String,
    failure: Option<Failure>,
    /// It could not be run at all, or left processes behind.
    error: Option<Failure>,
    system_out: Option<String>,
    system_err: Option<String>,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default, rename = "@message")]
    message: String,
}

/// The failures that a report of nextest tells of, each with what its test said in the end.
pub(super) fn told(report: &Path) -> Result<String> {
    let xml = fs::read_to_string(report).with_context(|| format!("reading {}", report.display()))?;
    of_xml(&xml).with_context(|| format!("reading {}", report.display()))
}

fn of_xml(xml: &str) -> Result<String> {
    let report: Report = quick_xml::de::from_str(xml)?;
    let cases = report.suites.iter().flat_map(|suite| suite.cases.iter().map(move |case| (suite, case)));
    let failed: Vec<_> = cases
        .filter_map(|(suite, case)| Some((suite, case, case.failure.as_ref().or(case.error.as_ref())?)))
        .collect();
    let mut text = String::new();
    for (suite, case, failure) in failed.iter().take(TESTS_MAX) {
        text += &format!("\n{} {}: {}\n", suite.name, case.name, failure.message);
        for said in [&case.system_out, &case.system_err].into_iter().flatten() {
            for line in lines(said) {
                text += &format!("    {line}\n");
            }
        }
    }
    if failed.len() > TESTS_MAX {
        text += &format!("\nand {} more\n", failed.len() - TESTS_MAX);
    }
    Ok(text)
}

/// The lines of an output that tell most.
fn lines(said: &str) -> Vec<String> {
    // Between what a panic says and the end of it stand dozens of functions.
    let all: Vec<&str> = said.trim_end().lines().filter(|line| !is_frame(line)).collect();
    let (before, last) = all.split_at(all.len().saturating_sub(LAST_LINES));
    let marked = before.iter().filter(|line| MARKS.iter().any(|mark| line.contains(mark)));
    let marked = marked.take(MARKED_LINES_MAX);
    marked.chain(last).map(|line| line.chars().take(LINE_CHARS_MAX).collect()).collect()
}

/// Whether it is one of a backtrace: `  12: tokio::runtime::…`.
fn is_frame(line: &str) -> bool {
    let number = line.trim_start().split_once(": ").map_or("", |(number, _)| number);
    !number.is_empty() && number.bytes().all(|octet| octet.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_is_told_with_what_tells_most() {
        let long: String = (0..100).map(|line| format!("line {line}\n")).collect();
        let frames: String = (0..40).map(|number| format!("  {number:2}: a::b\n")).collect();
        let xml = format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
            <testsuites name="nextest-run" tests="3" failures="2" errors="0" time="1.5">
                <testsuite name="a::b" tests="2" disabled="0" errors="0" failures="1">
                    <testcase name="well" classname="a::b" time="0.1"></testcase>
                    <testcase name="ill" classname="a::b" time="0.1">
                        <failure message="thread panicked" type="test failure">all of it</failure>
                        <system-out>  ✗ far above &lt;this&gt;
{long}</system-out>
                        <system-err>thread panicked at a.rs:1:
the reason
stack backtrace:
{frames}note: some</system-err>
                    </testcase>
                </testsuite>
                <testsuite name="c" tests="1" disabled="0" errors="0" failures="1">
                    <testcase name="hangs"><failure message="timed out" type="test timeout"/></testcase>
                </testsuite>
            </testsuites>"#
        );
        let told = of_xml(&xml).unwrap();
        assert!(told.starts_with("\na::b ill: thread panicked\n"), "{told}");
        assert!(told.contains("✗ far above <this>\n    line 70\n"), "{told}");
        let end = "line 99\n    thread panicked at a.rs:1:\n    the reason\n    stack backtrace:\n    note: some\n\nc hangs: timed out\n";
        assert!(told.contains(end), "{told}");
        assert!(!told.contains("well") && !told.contains("line 69"), "{told}");
    }

    #[test]
    fn what_is_no_report_is_an_error() {
        assert!(of_xml("<testsuites").is_err());
        assert_eq!(of_xml("<testsuites/>").unwrap(), "");
    }
}
