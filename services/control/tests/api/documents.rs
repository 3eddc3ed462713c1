//! docs/api.md says what is.

use proxima_control::{NeededScope, endpoint_table};

use crate::harness::root;

#[test]
fn the_reference_lists_every_endpoint_with_what_it_needs_and_no_other() {
    let text = std::fs::read_to_string(root().join("docs/api.md")).unwrap();
    let listed: Vec<&str> =
        text.lines().filter(|line| line.starts_with("| `")).filter(|line| line.contains("` | `/")).collect();
    let expected: Vec<String> = endpoint_table()
        .into_iter()
        .map(|row| {
            let needs = match (row.scope, row.permission) {
                (NeededScope::Signed, _) => "what the API signed".to_owned(),
                (NeededScope::Token, _) => "any token".to_owned(),
                (scope, permission) => {
                    let scope = match scope {
                        NeededScope::Zone => "zone",
                        NeededScope::Account => "account",
                        NeededScope::Bucket => "bucket",
                        NeededScope::Network => "everything",
                        _ => "anything",
                    };
                    let permission =
                        permission.map(|permission| format!("{permission:?}")).unwrap_or_default();
                    format!("`{permission}` on {scope}")
                }
            };
            format!("| `{}` | `{}` | {needs} |", row.method, row.path)
        })
        .collect();
    for row in &expected {
        assert!(listed.iter().any(|line| line.starts_with(row.as_str())), "docs/api.md lacks: {row}");
    }
    assert_eq!(listed.len(), expected.len(), "docs/api.md lists endpoints that do not exist");
}
