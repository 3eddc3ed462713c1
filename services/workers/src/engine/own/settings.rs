//! What a process is told that runs one version alone: pure. Made of what the dispatcher would be given of it
//! ([`program`](crate::program::program)): its modules stand in files beside, its stubs are the dispatcher's entrypoints, which
//! runs in the process, too.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

use crate::engine::settings::{Runs, process_settings};

/// The module that it begins with.
const OWN: &str = include_str!("own.js");
const OWN_NAME: &str = "proxima-own.js";

/// What a process of one version reads.
#[derive(Debug)]
pub(crate) struct OwnSettings {
    /// The settings.
    pub(crate) settings: String,
    /// What they embed: by name, beside them.
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

/// Why a version cannot have a process of its own.
#[derive(Debug, thiserror::Error)]
#[error("its {0} cannot be written into settings")]
pub(crate) struct Unfit(&'static str);

impl OwnSettings {
    /// The settings of a process of this program. `secret`, letters and digits, is what its faults are known by.
    pub(crate) fn of(program: &Value, secret: &str) -> Result<Self, Unfit> {
        let main = Self::main(program)?;
        // The secret first: it has no such word in it, and a module may be called whatever it likes.
        let begin = OWN.replace("SECRET", secret).replace("MAIN", &Value::from(main).to_string());
        Self::begun_by(&[(OWN_NAME, begin)], program, secret)
    }

    /// The module that a program begins with.
    pub(crate) fn main(program: &Value) -> Result<&str, Unfit> {
        program["mainModule"].as_str().ok_or(Unfit("main module"))
    }

    /// The same, of a process that begins with the first of these modules of ours.
    pub(crate) fn begun_by(ours: &[(&str, String)], program: &Value, secret: &str) -> Result<Self, Unfit> {
        let (mut files, mut modules) = (Vec::new(), String::new());
        for (name, text) in ours {
            let file = format!("m{}", files.len());
            // Writing to a string does not fail, here and below.
            let _ = writeln!(modules, "    (name = {}, esModule = embed \"{file}\"),", quoted(name));
            files.push((file, text.clone().into_bytes()));
        }
        for (name, module) in program["modules"].as_object().ok_or(Unfit("modules"))? {
            let (kind, octets) = content(module).ok_or(Unfit("modules"))?;
            let file = format!("m{}", files.len());
            let _ = writeln!(modules, "    (name = {}, {kind} = embed \"{file}\"),", quoted(name));
            files.push((file, octets));
        }
        // Invocations begin without the dispatcher: the node counts for them.
        let mut asking = program["asking"].as_object().ok_or(Unfit("owner"))?.clone();
        asking.insert("alone".to_owned(), "version".into());
        let mut bindings = String::new();
        for (name, value) in program["env"].as_object().ok_or(Unfit("variables"))? {
            let (kind, text) = match value {
                Value::String(text) => ("text", text.clone()),
                other => ("json", other.to_string()),
            };
            let _ = writeln!(bindings, "    (name = {}, {kind} = {}),", quoted(name), quoted(&text));
        }
        for (name, stub) in program["stubs"].as_object().ok_or(Unfit("bindings"))? {
            let entrypoint = stub["entrypoint"].as_str().ok_or(Unfit("bindings"))?;
            let mut props = stub["props"].as_object().ok_or(Unfit("bindings"))?.clone();
            props.extend(asking.clone());
            let to = designator(entrypoint, &props.into());
            let _ = writeln!(bindings, "    (name = {}, service = {to}),", quoted(name));
        }
        let date = program["compatibilityDate"].as_str().ok_or(Unfit("compatibility date"))?;
        let flags = program["compatibilityFlags"].as_array().ok_or(Unfit("compatibility flags"))?;
        let flags: Vec<_> = flags.iter().filter_map(Value::as_str).map(quoted).collect();
        let own = format!(
            "\nconst own :Workerd.Worker = (\n  modules = [\n{modules}  ],\n  bindings = [\n{bindings}  ],\n  \
             compatibilityDate = {},\n  compatibilityFlags = [{}],\n  globalOutbound = {},\n);\n",
            quoted(date),
            flags.join(", "),
            designator("Egress", &asking.into()),
        );
        Ok(Self { settings: process_settings(secret, Runs::One(&own)), files })
    }
}

/// How a module is imported, and its octets.
fn content(module: &Value) -> Option<(&'static str, Vec<u8>)> {
    let (kind, value) = module.as_object()?.iter().next()?;
    let text = || value.as_str().map(|text| text.as_bytes().to_vec());
    let octets = || BASE64_STANDARD.decode(value.as_str()?).ok();
    Some(match kind.as_str() {
        "js" => ("esModule", text()?),
        "cjs" => ("commonJsModule", text()?),
        "text" => ("text", text()?),
        "data" => ("data", octets()?),
        "wasm" => ("wasm", octets()?),
        "json" => ("json", value.to_string().into_bytes()),
        _ => return None,
    })
}

/// An entrypoint of the dispatcher, which is told this.
fn designator(entrypoint: &str, props: &Value) -> String {
    let (entrypoint, props) = (quoted(entrypoint), quoted(&props.to_string()));
    format!("(name = \"dispatcher\", entrypoint = {entrypoint}, props = (json = {props}))")
}

/// A text as settings have it: what is not plainly ASCII as the octets that it has (Cap'n Proto's schema language).
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for octet in text.bytes() {
        match octet {
            b'"' | b'\\' => quoted.extend(['\\', char::from(octet)]),
            b' '..=b'~' => quoted.push(char::from(octet)),
            other => {
                let _ = write!(quoted, "\\x{other:02x}");
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_program_becomes_settings() {
        let mut program = json!({
            "mainModule": "a\"b.js",
            "modules": {
                "a\"b.js": { "js": "1" }, "c": { "cjs": "2" }, "t": { "text": "3" }, "d": { "data": "NA==" },
                "w": { "wasm": "NQ==" }, "j": { "json": [6] },
            },
            "env": { "TEXT": "ä\n", "JSON": { "a": 1 } },
            "stubs": { "KV": { "entrypoint": "Kv", "props": { "namespace": "x" } } },
            "asking": { "account": "y", "code": "y/a/v", "subrequests": 7 },
            "compatibilityDate": "2026-01-01",
            "compatibilityFlags": ["nodejs_compat"],
        });
        let made = OwnSettings::of(&program, "s3cret").expect("it is one");
        let files: Vec<_> = made.files[1..].iter().map(|(name, octets)| (&name[..], &octets[..])).collect();
        let expected: [(&str, &[u8]); 6] =
            [("m1", b"1"), ("m2", b"2"), ("m3", b"4"), ("m4", b"[6]"), ("m5", b"3"), ("m6", b"5")];
        assert_eq!(files, expected);
        let begin = std::str::from_utf8(&made.files[0].1).expect("it is text");
        assert!(begin.contains(r#"import * as main from "a\"b.js";"#), "{begin}");
        assert!(begin.contains("s3cret ${kind}"), "{begin}");
        for line in [
            r#"(name = "a\"b.js", esModule = embed "m1"),"#,
            r#"(name = "j", json = embed "m4"),"#,
            r#"(name = "TEXT", text = "\xc3\xa4\x0a"),"#,
            r#"(name = "JSON", json = "{\"a\":1}"),"#,
            r#"entrypoint = "Kv", props = (json = "{\"account\":\"y\",\"alone\":\"version\",\"code\":\"y/a/v\",\"namespace\":\"x\",\"subrequests\":7}"))),"#,
            r#"globalOutbound = (name = "dispatcher", entrypoint = "Egress", props = (json = "{\"account\":\"y\",\"#,
            r#"compatibilityFlags = ["nodejs_compat"],"#,
        ] {
            assert!(made.settings.contains(line), "{line}\n{}", made.settings);
        }
        program["mainModule"] = "SECRET.js".into();
        let named = OwnSettings::of(&program, "s3cret").expect("it is one");
        let begin = std::str::from_utf8(&named.files[0].1).expect("it is text");
        assert!(begin.contains(r#"import * as main from "SECRET.js";"#), "{begin}");
    }

    #[test]
    fn what_settings_cannot_say_is_told() {
        for (program, what) in [
            (json!({}), "main module"),
            (json!({ "mainModule": "m", "modules": { "m": { "python": "x" } } }), "modules"),
            (json!({ "mainModule": "m", "modules": { "m": { "wasm": "?" } } }), "modules"),
            (json!({ "mainModule": "m", "modules": {} }), "owner"),
            (json!({ "mainModule": "m", "modules": {}, "asking": {} }), "variables"),
            (json!({ "mainModule": "m", "modules": {}, "asking": {}, "env": {} }), "bindings"),
        ] {
            let error = OwnSettings::of(&program, "s").expect_err(what).to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
