//! Where things lie: the workspace as `cargo metadata` describes it.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::command;

/// The repository's root, its target folder and its packages.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// One package of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Its folder, relative to the root, with `/` between names.
    pub(crate) folder: String,
    /// Its `lib.rs` and `main.rs`, relative to the root.
    pub(crate) crate_roots: Vec<String>,
    /// The folders in which its sources lie: its own, and those of suites that lie elsewhere.
    pub(crate) source_folders: Vec<String>,
    /// Names of the packages that it depends on, for whatever purpose (normal, dev, build).
    pub(crate) dependencies: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    workspace_root: PathBuf,
    target_directory: PathBuf,
    packages: Vec<RawPackage>,
}

#[derive(Deserialize)]
struct RawPackage {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<RawTarget>,
    dependencies: Vec<RawDependency>,
}

#[derive(Deserialize)]
struct RawTarget {
    kind: Vec<String>,
    src_path: PathBuf,
}

#[derive(Deserialize)]
struct RawDependency {
    name: String,
}

impl Workspace {
    /// Asks cargo; nothing is resolved or downloaded for it.
    pub(crate) fn load() -> Result<Self> {
        let json = command::stdout(&mut command::cargo(["metadata", "--no-deps", "--format-version", "1"]))?;
        Self::from_metadata(&json).context("reading `cargo metadata`")
    }

    fn from_metadata(json: &str) -> Result<Self> {
        let metadata: Metadata = serde_json::from_str(json)?;
        let root = metadata.workspace_root;
        let packages = metadata.packages.into_iter().map(|raw| Package::from_raw(raw, &root)).collect();
        Ok(Self { packages, target: metadata.target_directory, root })
    }

    /// Cargo's argument list is the same in every chore, so that they share one target folder and one lock file.
    pub(crate) fn cargo<const N: usize>(&self, arguments: [&str; N]) -> std::process::Command {
        let mut command = command::cargo(arguments);
        command.current_dir(&self.root);
        command
    }
}

impl Package {
    fn from_raw(raw: RawPackage, root: &Path) -> Self {
        let folder = raw.manifest_path.parent().map(|folder| relative(folder, root)).unwrap_or_default();
        let crate_roots = raw
            .targets
            .iter()
            .filter(|target| target.kind.iter().any(|kind| kind == "lib" || kind == "bin"))
            .map(|target| relative(&target.src_path, root))
            .collect();
        let mut source_folders = vec![folder.clone()];
        for target in &raw.targets {
            let path = target.src_path.parent().map(|folder| relative(folder, root)).unwrap_or_default();
            if !Path::new(&path).starts_with(&folder) && !source_folders.contains(&path) {
                source_folders.push(path);
            }
        }
        let mut dependencies: Vec<String> =
            raw.dependencies.into_iter().map(|dependency| dependency.name).collect();
        dependencies.sort();
        dependencies.dedup();
        Self { name: raw.name, folder, crate_roots, source_folders, dependencies }
    }
}

/// Relative to the root; cargo leaves `..` in the paths of targets as they were given.
fn relative(path: &Path, root: &Path) -> String {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => _ = plain.pop(),
            part => plain.push(part),
        }
    }
    plain.strip_prefix(root).unwrap_or(&plain).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_becomes_packages_with_relative_paths() {
        let json = r#"{
            "workspace_root": "/r", "target_directory": "/t",
            "packages": [{
                "name": "a", "manifest_path": "/r/core/a/Cargo.toml",
                "targets": [
                    {"kind": ["lib"], "src_path": "/r/core/a/src/lib.rs"},
                    {"kind": ["test"], "src_path": "/r/core/a/tests/x.rs"},
                    {"kind": ["test"], "src_path": "/r/core/a/../../tests/dev/main.rs"}
                ],
                "dependencies": [{"name": "serde"}, {"name": "b"}, {"name": "serde"}]
            }]
        }"#;
        let workspace = Workspace::from_metadata(json).unwrap();
        assert_eq!(
            workspace.packages,
            [Package {
                name: "a".into(),
                folder: "core/a".into(),
                crate_roots: vec!["core/a/src/lib.rs".into()],
                source_folders: vec!["core/a".into(), "tests/dev".into()],
                dependencies: vec!["b".into(), "serde".into()],
            }]
        );
        assert_eq!(workspace.target, Path::new("/t"));
    }
}
