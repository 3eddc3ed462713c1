//! Nested values as SDKs write them into a form: `metadata[bindings][][name]`, each of them a text.
//!
//! The form does not say where an element of a list of objects ends: the next one begins where a key comes again.

use serde_json::{Map, Value};

/// How deep they may lie: twice as deep as anything in metadata.
const DEPTH_MAX: usize = 10;
/// How many there may be: every field of the most bindings that a version may have, and what else is said.
const VALUES_MAX: usize = 4_096;
/// What has fields that are no texts, and none that is a text which looks like one of those.
const TYPED: [&str; 6] = ["assets", "cache_options", "keep_assets", "limits", "logpush", "observability"];

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Nested {
    said: Map<String, Value>,
    values: usize,
}

impl Nested {
    /// Takes over what a part of this name says, if its name is `ROOT[…]`; whether it is.
    ///
    /// # Errors
    /// There is too much of it, or two parts contradict each other.
    pub(super) fn take(&mut self, root: &str, name: &str, text: &str) -> Result<bool, &'static str> {
        let Some(brackets) = name.strip_prefix(root).and_then(|rest| rest.strip_prefix('[')) else {
            return Ok(false);
        };
        let Some(brackets) = brackets.strip_suffix(']') else { return Ok(false) };
        let path: Vec<&str> = brackets.split("][").collect();
        self.values += 1;
        if self.values > VALUES_MAX || path.len() > DEPTH_MAX {
            return Err("says too much, or lies too deep: send metadata as JSON");
        }
        let value = if TYPED.contains(&path[0]) { typed(text) } else { Value::String(text.to_owned()) };
        add_field(&mut self.said, &path, value)?;
        Ok(true)
    }

    /// All that was said, as JSON; `None` if nothing was.
    pub(super) fn json(self) -> Option<Vec<u8>> {
        (self.values > 0).then(|| Value::Object(self.said).to_string().into_bytes())
    }
}

/// Contradictions of a form.
const TWICE: &str = "is there twice, and not as the same kind of thing";

/// Adds a value at a path that begins with a key.
fn add_field(to: &mut Map<String, Value>, path: &[&str], value: Value) -> Result<(), &'static str> {
    let [key, rest @ ..] = path else { return Err(TWICE) };
    if rest.is_empty() {
        return if to.insert((*key).to_owned(), value).is_none() { Ok(()) } else { Err(TWICE) };
    }
    let is_list = rest[0].is_empty();
    let within = to
        .entry(*key)
        .or_insert_with(|| if is_list { Value::Array(Vec::new()) } else { Value::Object(Map::new()) });
    match within {
        Value::Array(list) if is_list => add_element(list, &rest[1..], value),
        Value::Object(fields) if !is_list => add_field(fields, rest, value),
        _ => Err(TWICE),
    }
}

/// Adds a value to a list, or to the last element of it that does not have it yet.
fn add_element(list: &mut Vec<Value>, path: &[&str], value: Value) -> Result<(), &'static str> {
    if path.is_empty() {
        list.push(value);
        return Ok(());
    }
    if let Some(Value::Object(last)) = list.last_mut()
        && !has(last, path)
    {
        return add_field(last, path, value);
    }
    let mut fields = Map::new();
    add_field(&mut fields, path, value)?;
    list.push(Value::Object(fields));
    Ok(())
}

/// Whether there is a value at this path. Lists go on.
fn has(fields: &Map<String, Value>, path: &[&str]) -> bool {
    let [key, rest @ ..] = path else { return false };
    match (fields.get(*key), rest) {
        (None, _) => false,
        (Some(_), []) => true,
        (Some(Value::Object(within)), rest) => has(within, rest),
        (Some(_), _) => false,
    }
}

/// A switch or a number, where the text is one.
fn typed(text: &str) -> Value {
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => match text.parse::<serde_json::Number>() {
            Ok(number) => Value::Number(number),
            Err(_) => Value::String(text.to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(parts: &[(&str, &str)]) -> Result<Value, &'static str> {
        let mut nested = Nested::default();
        for (name, text) in parts {
            assert!(nested.take("metadata", name, text)?, "{name}");
        }
        Ok(serde_json::from_slice(&nested.json().unwrap()).unwrap())
    }

    #[test]
    fn fields_lists_and_lists_of_objects_are_put_together_again() {
        let parts = [
            ("metadata[main_module]", "17"),
            ("metadata[compatibility_flags][]", "a"),
            ("metadata[compatibility_flags][]", "b"),
            ("metadata[bindings][][type]", "plain_text"),
            ("metadata[bindings][][name]", "A"),
            ("metadata[bindings][][text]", "true"),
            ("metadata[bindings][][type]", "json"),
            ("metadata[bindings][][name]", "B"),
            ("metadata[bindings][][json][deep]", "1"),
            ("metadata[observability][enabled]", "true"),
            ("metadata[limits][cpu_ms]", "50"),
            ("metadata[annotations][workers/tag]", "false"),
        ];
        let expected = json!({
            "main_module": "17",
            "compatibility_flags": ["a", "b"],
            "bindings": [
                { "type": "plain_text", "name": "A", "text": "true" },
                { "type": "json", "name": "B", "json": { "deep": "1" } },
            ],
            "observability": { "enabled": true },
            "limits": { "cpu_ms": 50 },
            "annotations": { "workers/tag": "false" },
        });
        assert_eq!(read(&parts), Ok(expected));
    }

    #[test]
    fn what_contradicts_itself_or_is_too_much_is_refused_and_other_parts_are_left_alone() {
        for parts in [
            &[("metadata[a]", "1"), ("metadata[a]", "2")][..],
            &[("metadata[a]", "1"), ("metadata[a][b]", "2")],
            &[("metadata[a][]", "1"), ("metadata[a][b]", "2")],
            &[("metadata[a][b]", "1"), ("metadata[a][]", "2")],
        ] {
            assert_eq!(read(parts), Err(TWICE), "{parts:?}");
        }
        let deep = |depth: usize| format!("metadata[a{}]", "][a".repeat(depth - 1));
        assert!(read(&[(&deep(DEPTH_MAX), "1")]).is_ok());
        assert!(read(&[(&deep(DEPTH_MAX + 1), "1")]).is_err());
        let many = |count: usize| vec![("metadata[a][]", "1"); count];
        assert!(read(&many(VALUES_MAX)).is_ok());
        assert!(read(&many(VALUES_MAX + 1)).is_err());
        let mut nested = Nested::default();
        for name in ["metadata", "main.js", "metadata[a", "other[a]"] {
            assert_eq!(nested.take("metadata", name, "x"), Ok(false), "{name}");
        }
        assert_eq!(nested.json(), None);
    }
}
