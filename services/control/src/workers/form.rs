//! What is uploaded: a form of modules and what is said of them, or a script alone.

use std::collections::BTreeMap;

use axum::extract::Request;
use bytes::Bytes;
use proxima_model::{ContentHash, ModuleKind, ModuleName, WorkerModule, excerpt, limits as model_limits};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::{brackets::Nested, invalid};
use crate::{
    api::{
        blocking,
        body::{self, content_type, read},
    },
    error::{ApiError, Code},
    limits,
};

/// The part that says what the others are.
const METADATA: &str = "metadata";
/// The part that says what settings are to be; a form of its own.
pub(super) const SETTINGS: &str = "settings";
/// What SDKs call every part of a list of files: they mean the files' names.
const LISTED: &str = "files";

/// A part of a form.
pub(super) struct Part {
    name: String,
    content_type: String,
    octets: Bytes,
}

/// An upload, taken apart.
pub(super) struct Form {
    /// What is said of the modules; nothing of a script alone.
    metadata: Option<Bytes>,
    parts: Vec<Part>,
}

/// Modules that were uploaded.
#[derive(Debug, Default)]
pub(super) struct Modules {
    pub(super) rows: Vec<WorkerModule>,
    /// Their octets.
    pub(super) contents: BTreeMap<ContentHash, Bytes>,
}

impl Form {
    /// Reads an upload. A script alone, without a form, is of service-worker syntax.
    pub(super) async fn receive(request: Request) -> Result<Self, ApiError> {
        match content_type(&request).as_str() {
            "multipart/form-data" => Self::parts(request).await,
            script @ ("application/javascript" | "text/javascript") => {
                let (name, content_type) = (super::SCRIPT_ALONE.to_owned(), script.to_owned());
                let octets = read(request, limits::WORKER_BODY_OCTETS_MAX).await.map_err(too_large)?;
                Ok(Self { metadata: None, parts: vec![Part { name, content_type, octets }] })
            }
            _ => Err(ApiError::new(
                Code::ContentType,
                "send multipart/form-data with the modules and a part `metadata`, or a script alone as application/javascript",
            )),
        }
    }

    async fn parts(request: Request) -> Result<Self, ApiError> {
        let mut form = body::form(request, limits::WORKER_BODY_OCTETS_MAX).await.map_err(too_large)?;
        let (mut read, mut nested) = (Self { metadata: None, parts: Vec::new() }, Nested::default());
        while let Some(field) = form.next_field().await.map_err(body::broken_form)? {
            let name = field.name().unwrap_or_default();
            let listed = name == LISTED || name.starts_with("files[");
            let name = field.file_name().filter(|_| listed).unwrap_or(name).to_owned();
            let given = field.content_type().unwrap_or_default();
            let content_type = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            let octets = field.bytes().await.map_err(body::broken_form)?;
            let text = std::str::from_utf8(&octets).unwrap_or_default();
            if name == METADATA || name == SETTINGS {
                read.metadata = Some(octets);
            } else if nested.take(METADATA, &name, text).map_err(|problem| refuse(&name, problem))? {
                // As the SDK for Node.js writes it.
            } else if read.parts.len() == model_limits::WORKER_MODULES_MAX {
                let message = format!("a Worker has at most {} modules", model_limits::WORKER_MODULES_MAX);
                return Err(ApiError::new(Code::WorkerTooLarge, message));
            } else {
                read.parts.push(Part { name, content_type, octets });
            }
        }
        read.metadata = read.metadata.or_else(|| nested.json().map(Bytes::from));
        Ok(read)
    }

    /// What is said of the modules, or of settings.
    pub(super) fn metadata<T: DeserializeOwned>(&self) -> Result<Option<T>, ApiError> {
        if self.metadata.as_ref().is_some_and(|octets| octets.len() > limits::JSON_BODY_OCTETS_MAX) {
            return Err(ApiError::new(Code::TooLong, "metadata: it is longer than 4 MiB").at("/metadata"));
        }
        self.metadata.as_deref().map(body::parse).transpose()
    }

    /// The modules, hashed and checked: of texts, that they are UTF-8. Whether code is code is seen when it is run.
    pub(super) async fn modules(self) -> Result<Modules, ApiError> {
        let octets: usize = self.parts.iter().map(|part| part.octets.len()).sum();
        if octets > model_limits::WORKER_OCTETS_MAX {
            let message =
                format!("the modules have {octets} octets, more than {}", model_limits::WORKER_OCTETS_MAX);
            return Err(ApiError::new(Code::WorkerTooLarge, message));
        }
        // Megabytes take a while.
        blocking(move || {
            let mut modules = Modules::default();
            for part in self.parts {
                modules.add(part)?;
            }
            Ok(modules)
        })
        .await
    }
}

impl Modules {
    fn add(&mut self, part: Part) -> Result<(), ApiError> {
        let name = ModuleName::parse(&part.name).map_err(|problem| invalid(&problem))?;
        let kind = kind(&part)?;
        if self.rows.iter().any(|known| known.name == name) {
            return Err(refuse(&part.name, "is there twice"));
        }
        let is_text = !matches!(kind, ModuleKind::Data | ModuleKind::Wasm);
        if is_text && std::str::from_utf8(&part.octets).is_err() {
            return Err(refuse(&part.name, "is not UTF-8"));
        }
        if kind == ModuleKind::Json && serde_json::from_slice::<serde::de::IgnoredAny>(&part.octets).is_err()
        {
            return Err(refuse(&part.name, "is not JSON"));
        }
        let octets = u32::try_from(part.octets.len()).expect("the sum of all was bounded");
        let hash = ContentHash::from_bytes(Sha256::digest(&part.octets).into());
        self.rows.push(WorkerModule { name, kind, octets, hash });
        self.contents.insert(hash, part.octets);
        Ok(())
    }
}

/// How a part is imported: what its content type says.
fn kind(part: &Part) -> Result<ModuleKind, ApiError> {
    match part.content_type.as_str() {
        "application/javascript+module" | "text/javascript+module" => Ok(ModuleKind::EsModule),
        "application/javascript" | "text/javascript" => Ok(ModuleKind::CommonJs),
        "text/plain" => Ok(ModuleKind::Text),
        "application/octet-stream" => Ok(ModuleKind::Data),
        "application/wasm" => Ok(ModuleKind::Wasm),
        "application/json" => Ok(ModuleKind::Json),
        "application/source-map" => Ok(ModuleKind::SourceMap),
        python if python.starts_with("text/x-python") => {
            let message = format!("{}: Workers in Python are not offered yet", excerpt(&part.name));
            Err(ApiError::new(Code::NotOffered, message))
        }
        other => {
            Err(refuse(&part.name, &format!("has the content type {}, which no module has", excerpt(other))))
        }
    }
}

/// The content type of a part of this kind.
pub(super) const fn mime(kind: ModuleKind) -> &'static str {
    match kind {
        ModuleKind::EsModule => "application/javascript+module",
        ModuleKind::CommonJs => "application/javascript",
        ModuleKind::Text => "text/plain",
        ModuleKind::Data => "application/octet-stream",
        ModuleKind::Wasm => "application/wasm",
        ModuleKind::Json => "application/json",
        ModuleKind::SourceMap => "application/source-map",
    }
}

fn refuse(part: &str, problem: &str) -> ApiError {
    ApiError::new(Code::WorkerInvalid, format!("the part {} {problem}", excerpt(part)))
}

fn too_large(refusal: ApiError) -> ApiError {
    if refusal.code() != Code::TooLong {
        return refusal;
    }
    let message = format!("a Worker has at most {} octets in all", model_limits::WORKER_OCTETS_MAX);
    ApiError::new(Code::WorkerTooLarge, message)
}

/// Modules as a form, and its content type.
pub(super) fn write<'m>(
    boundary: &str,
    modules: impl Iterator<Item = (&'m WorkerModule, Vec<u8>)>,
) -> (String, Vec<u8>) {
    let mut form = Vec::new();
    for (module, octets) in modules {
        // What a quoted name cannot hold is written as browsers write it.
        let name = module.name.as_str().replace('"', "%22");
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\nContent-Type: {}\r\n\r\n",
            mime(module.kind)
        );
        form.extend_from_slice(head.as_bytes());
        form.extend_from_slice(&octets);
        form.extend_from_slice(b"\r\n");
    }
    form.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), form)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn part(name: &str, content_type: &str, octets: &[u8]) -> Part {
        Part {
            name: name.to_owned(),
            content_type: content_type.to_owned(),
            octets: Bytes::copy_from_slice(octets),
        }
    }

    #[test]
    fn the_kind_of_a_module_is_what_its_content_type_says_and_is_written_again_as_the_same() {
        for kind in [
            ModuleKind::EsModule,
            ModuleKind::CommonJs,
            ModuleKind::Text,
            ModuleKind::Data,
            ModuleKind::Wasm,
            ModuleKind::Json,
            ModuleKind::SourceMap,
        ] {
            assert_eq!(super::kind(&part("a", mime(kind), b"")), Ok(kind));
        }
        let code = |content_type| super::kind(&part("a", content_type, b"")).map_err(|error| error.code());
        assert_eq!(code("text/x-python"), Err(Code::NotOffered));
        assert_eq!(code("text/x-python-requirement"), Err(Code::NotOffered));
        assert_eq!(code(""), Err(Code::WorkerInvalid));
        assert_eq!(code("text/html"), Err(Code::WorkerInvalid));
    }

    #[test]
    fn modules_are_told_apart_by_name_and_kept_once_by_content() {
        let mut modules = Modules::default();
        modules.add(part("a.js", "application/javascript+module", b"x")).unwrap();
        modules.add(part("b.txt", "text/plain", b"x")).unwrap();
        assert_eq!((modules.rows.len(), modules.contents.len()), (2, 1));
        for (wrong, why) in [
            (part("a.js", "text/plain", b""), "a name twice"),
            (part("", "text/plain", b""), "no name"),
            (part("c.js", "application/javascript+module", b"\xff"), "code that is not UTF-8"),
            (part("c.txt", "text/plain", b"\xff"), "a text that is not UTF-8"),
            (part("c.json", "application/json", b"{"), "JSON that is none"),
        ] {
            assert_eq!(modules.add(wrong).unwrap_err().code(), Code::WorkerInvalid, "{why}");
        }
        modules.add(part("c.bin", "application/octet-stream", b"\xff")).unwrap();
        modules.add(part("c.json", "application/json", b"{\"a\":1}")).unwrap();
    }

    #[tokio::test]
    async fn what_is_written_as_a_form_is_read_back() {
        let rows =
            [("index.js", ModuleKind::EsModule), ("a\"b.txt", ModuleKind::Text), ("c.bin", ModuleKind::Data)];
        let mut modules = Modules::default();
        for (name, kind) in rows {
            modules.add(part(name, mime(kind), name.as_bytes())).unwrap();
        }
        let of = |module: &WorkerModule| modules.contents[&module.hash].to_vec();
        let (content_type, octets) =
            write("boundary", modules.rows.iter().map(|module| (module, of(module))));
        let request =
            Request::builder().header("content-type", content_type).body(Body::from(octets)).unwrap();
        let again = Form::receive(request).await.unwrap().modules().await.unwrap();
        let shown = |modules: &Modules| {
            modules.rows.iter().map(|module| (module.kind, module.hash)).collect::<Vec<_>>()
        };
        assert_eq!(shown(&again), shown(&modules));
        assert_eq!(again.contents, modules.contents);
    }

    #[tokio::test]
    async fn parts_of_a_list_are_called_as_their_files() {
        let form = "--b\r\nContent-Disposition: form-data; name=\"files\"; filename=\"index.js\"\r\nContent-Type: application/javascript+module\r\n\r\nx\r\n\
                    --b\r\nContent-Disposition: form-data; name=\"files[1]\"; filename=\"b.txt\"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\ny\r\n--b--\r\n";
        let request = Request::builder()
            .header("content-type", "multipart/form-data; boundary=b")
            .body(Body::from(form))
            .unwrap();
        let modules = Form::receive(request).await.unwrap().modules().await.unwrap();
        let names: Vec<_> = modules.rows.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["index.js", "b.txt"]);
    }
}
