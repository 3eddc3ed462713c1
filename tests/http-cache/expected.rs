//! What is expected not to be passed, and why.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Verdict;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    not_passed: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    reason: String,
    ids: Vec<String>,
}

/// The ids and reasons of a list.
pub(crate) fn parse(text: &str) -> BTreeMap<String, String> {
    let list: List = toml::from_str(text).unwrap();
    let mut all = BTreeMap::new();
    for group in list.not_passed {
        assert!(!group.reason.trim().is_empty(), "{:?} need a reason", group.ids);
        for id in group.ids {
            let twice = all.insert(id.clone(), group.reason.clone());
            assert!(twice.is_none(), "{id} is listed twice");
        }
    }
    all
}

/// What is other than expected, in words.
pub(crate) fn surprises(
    expected: &BTreeMap<String, String>,
    verdicts: &BTreeMap<String, Verdict>,
) -> Vec<String> {
    let mut surprises: Vec<String> = verdicts
        .iter()
        .filter_map(|(id, verdict)| match (verdict.outcome.as_str(), expected.get(id)) {
            ("pass", Some(_)) => Some(format!("{id} is passed: take it off the list")),
            ("pass", None) | (_, Some(_)) => None,
            (outcome, None) => {
                Some(format!("{id} ({}) is not passed: {outcome} {}", verdict.kind, verdict.detail))
            }
        })
        .collect();
    let unknown = expected.keys().filter(|id| !verdicts.contains_key(*id));
    surprises.extend(unknown.map(|id| format!("{id} is listed, and the suite has no such test")));
    surprises
}

#[test]
fn a_list_is_wrong_in_both_directions() {
    let expected = parse("[[not_passed]]\nreason = \"so\"\nids = [\"a\", \"b\", \"gone\"]\n");
    let verdict = |outcome: &str| Verdict {
        kind: "required".to_owned(),
        outcome: outcome.to_owned(),
        detail: String::new(),
    };
    let verdicts = BTreeMap::from([
        ("a".to_owned(), verdict("fail")),
        ("b".to_owned(), verdict("pass")),
        ("c".to_owned(), verdict("fail")),
        ("d".to_owned(), verdict("pass")),
    ]);
    let found = surprises(&expected, &verdicts).join("\n");
    assert!(
        found.contains("b is passed") && found.contains("c (required)") && found.contains("gone is listed")
    );
    assert_eq!(found.lines().count(), 3, "{found}");
}
