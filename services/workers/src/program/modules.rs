//! A version's modules, as the engine is given them.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use proxima_model::{BindingName, ModuleKind, ModuleName};
use serde_json::{Value, json};

use super::ProgramError;

/// A module as the loader takes it; octets that are no text as Base64, of which the dispatcher makes octets.
pub(super) fn written(name: &ModuleName, kind: ModuleKind, octets: Vec<u8>) -> Result<Value, ProgramError> {
    let text = |octets| String::from_utf8(octets).map_err(|_| ProgramError::NotText(name.clone()));
    Ok(match kind {
        ModuleKind::EsModule | ModuleKind::SourceMap => json!({ "js": text(octets)? }),
        ModuleKind::CommonJs => json!({ "cjs": text(octets)? }),
        ModuleKind::Text => json!({ "text": text(octets)? }),
        ModuleKind::Data => json!({ "data": BASE64_STANDARD.encode(octets) }),
        ModuleKind::Wasm => json!({ "wasm": BASE64_STANDARD.encode(octets) }),
        ModuleKind::Json => {
            let value: Value =
                serde_json::from_slice(&octets).map_err(|_| ProgramError::NotJson(name.clone()))?;
            json!({ "json": value })
        }
    })
}

/// Whether a module is code in which this word stands.
pub(super) fn says(written: &Value, word: &str) -> bool {
    let code = written.get("js").or_else(|| written.get("cjs")).and_then(Value::as_str);
    code.is_some_and(|code| code.contains(word))
}

/// Makes a module a global.
pub(super) fn import(name: &BindingName, module: &ModuleName, into: &mut String) {
    let count = into.lines().count();
    let (name, module) = (json!(name), json!(module));
    // Writing to a string does not fail. What is imported is there before the first statement runs.
    let _ = writeln!(into, "import blob{count} from {module}; globalThis[{name}] = blob{count};");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proxima_model::WorkerSyntax;

    use super::*;
    use crate::program::{
        BINDINGS_NAME, CACHE_API_BINDING, CACHE_API_NAME, MAIN_NAME, PASS_THROUGH_BINDING,
        SERVICE_WORKER_NAME, program, tests::version,
    };

    #[test]
    fn code_that_says_caches_begins_with_the_cache_api() {
        for (text, has) in [("caches.default", true), ("export default {}", false)] {
            let version = version(WorkerSyntax::Modules, &[("main.js", ModuleKind::EsModule)]);
            let made = program(&version, &BTreeMap::new(), &[], |_| Some(text.into())).unwrap();
            assert_eq!(made["stubs"].get(CACHE_API_BINDING).is_some(), has);
            assert_eq!(made["mainModule"] == MAIN_NAME, has, "{made}");
            assert_eq!(made["modules"].get(CACHE_API_NAME).is_some(), has);
            if has {
                let bindings = made["modules"][BINDINGS_NAME]["js"].as_str().unwrap();
                assert!(bindings.starts_with("import \"proxima-cache-api.js\";"), "{bindings}");
            }
        }
    }

    #[test]
    fn code_that_may_have_requests_pass_through_is_guarded_in_both_syntaxes() {
        for (syntax, begins) in
            [(WorkerSyntax::Modules, MAIN_NAME), (WorkerSyntax::ServiceWorker, SERVICE_WORKER_NAME)]
        {
            let version = version(syntax, &[("main.js", ModuleKind::EsModule)]);
            let text = "ctx.passThroughOnException()";
            let made = program(&version, &BTreeMap::new(), &[], |_| Some(text.into())).unwrap();
            assert_eq!(made["stubs"][PASS_THROUGH_BINDING]["entrypoint"], "Pass");
            let text = |name: &str| made["modules"][name]["js"].as_str().unwrap();
            assert!(text(BINDINGS_NAME).starts_with("import \"proxima-pass-through.js\";"), "{made}");
            assert!(text(begins).ends_with("guard(begun);\n"), "{made}");
        }
    }
}
