//! Static assets of a Worker: files that a server answers with by itself.
//!
//! ```text
//!  WorkerVersion.assets ── manifest ─▶ WorkerContent: AssetManifest, path ─▶ AssetHash
//!                     └─── _headers, _redirects ─▶ WorkerContent                │
//!                                  WorkerContent ◀── content, type ── WorkerAsset
//! ```
//!
//! A client says what a file's hash is, and of what; here it only names the file within its account. What it names has a
//! [`ContentHash`], which is computed.
//!
//! Assets are not counted as contents of modules are, since a manifest may name more than an append holds: one that neither
//! the manifest of a version nor that of a session names is swept. A session, [`WorkerAssetSession`], stands for a manifest whose
//! files are being uploaded, until it runs out.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{ContentHash, WorkerModule};
use crate::{AccountId, Entity, Invalid, Key, Kind, Timestamp, excerpt, limits, name::text_name};

/// What a client calls a file by what is in it: 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssetHash([u8; 16]);

impl AssetHash {
    /// The hash of these octets.
    pub const fn from_bytes(octets: [u8; 16]) -> Self {
        Self(octets)
    }
}

impl fmt::Display for AssetHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl fmt::Debug for AssetHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssetHash({self})")
    }
}

impl std::str::FromStr for AssetHash {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut octets = [0; 16];
        let is_lower = !text.bytes().any(|octet| octet.is_ascii_uppercase());
        if !is_lower || hex::decode_to_slice(text, &mut octets).is_err() {
            return Err(Invalid::new(
                "hash",
                format!("{} is not a file's hash", excerpt(text)),
                "give 32 hexadecimal digits, of lower case",
            ));
        }
        Ok(Self(octets))
    }
}

impl Serialize for AssetHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AssetHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Where a file lies: `/` and the path within the folder of assets, not percent-encoded.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AssetPath(String);

impl AssetPath {
    /// Parses a file's path.
    ///
    /// # Errors
    /// What does not begin with `/`, is too long, or cannot be printed.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let is_one = text.starts_with('/')
            && (2..=limits::WORKER_ASSET_PATH_OCTETS_MAX).contains(&text.len())
            && !text.chars().any(char::is_control);
        if !is_one {
            return Err(Invalid::new(
                "manifest",
                format!("{} is not a file's path", excerpt(text)),
                "give / and 1 to 1,023 octets that can be printed",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_name!(AssetPath);

/// A file of a manifest; written as a row of three.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(AssetPath, AssetHash, u32)", into = "(AssetPath, AssetHash, u32)")]
pub struct AssetFile {
    /// Where it lies.
    pub path: AssetPath,
    /// What it is called by what is in it.
    pub hash: AssetHash,
    /// How many octets it has.
    pub octets: u32,
}

impl From<(AssetPath, AssetHash, u32)> for AssetFile {
    fn from((path, hash, octets): (AssetPath, AssetHash, u32)) -> Self {
        Self { path, hash, octets }
    }
}

impl From<AssetFile> for (AssetPath, AssetHash, u32) {
    fn from(AssetFile { path, hash, octets }: AssetFile) -> Self {
        (path, hash, octets)
    }
}

/// All files of a Worker: in the order of their paths, of which each is there once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<AssetFile>", into = "Vec<AssetFile>")]
pub struct AssetManifest(Vec<AssetFile>);

impl AssetManifest {
    /// The files, in the order of their paths.
    pub fn files(&self) -> &[AssetFile] {
        &self.0
    }

    /// What lies in a log of it: the same octets for the same files.
    pub fn to_octets(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).expect("paths, hashes and numbers are JSON")
    }

    /// Reads what [`Self::to_octets`] writes; nothing of anything else.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        serde_json::from_slice(octets).ok()
    }
}

impl TryFrom<Vec<AssetFile>> for AssetManifest {
    type Error = Invalid;

    fn try_from(mut files: Vec<AssetFile>) -> Result<Self, Invalid> {
        let refuse = |problem: String, remedy: &'static str| Err(Invalid::new("manifest", problem, remedy));
        files.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        if files.len() > limits::WORKER_ASSETS_MAX {
            return refuse(format!("there are {} files", files.len()), "give at most 20,000");
        }
        if let Some(twice) = files.windows(2).find(|two| two[0].path == two[1].path) {
            return refuse(format!("{} is there twice", twice[0].path), "name each file once");
        }
        if let Some(large) = files.iter().find(|file| file.octets as usize > limits::WORKER_ASSET_OCTETS_MAX)
        {
            return refuse(
                format!("{} has {} octets", large.path, large.octets),
                "give files of at most 25 MiB",
            );
        }
        let octets: u64 = files.iter().map(|file| u64::from(file.octets)).sum();
        if octets > limits::WORKER_ASSETS_OCTETS_MAX {
            return refuse(
                format!("the files have {octets} octets in all"),
                "give files of at most 128 MiB in all",
            );
        }
        Ok(Self(files))
    }
}

impl From<AssetManifest> for Vec<AssetFile> {
    fn from(AssetManifest(files): AssetManifest) -> Self {
        files
    }
}

/// A content of a version that is not a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContentRef {
    /// SHA-256 of it.
    pub hash: ContentHash,
    /// How many octets it has.
    pub octets: u32,
}

impl From<&WorkerModule> for ContentRef {
    fn from(module: &WorkerModule) -> Self {
        Self { hash: module.hash, octets: module.octets }
    }
}

/// The assets of a version, and how requests are answered with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerAssets {
    /// Its files: an [`AssetManifest`].
    pub manifest: ContentRef,
    /// How requests are answered.
    pub config: AssetConfig,
    /// What answers are said to carry, as the file `_headers` says it.
    pub headers: Option<ContentRef>,
    /// Where requests are sent on, as the file `_redirects` says it.
    pub redirects: Option<ContentRef>,
}

impl WorkerAssets {
    /// What it is made of, but for the files.
    pub fn contents(&self) -> impl Iterator<Item = ContentRef> {
        [Some(self.manifest), self.headers, self.redirects].into_iter().flatten()
    }
}

/// How requests are answered with assets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetConfig {
    /// At which URLs pages are.
    pub html_handling: HtmlHandling,
    /// What is answered where no file is.
    pub not_found_handling: NotFoundHandling,
    /// Which requests the Worker's code is asked about before the files are.
    pub worker_first: WorkerFirst,
}

/// At which URLs pages, files whose names end with `.html`, are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HtmlHandling {
    /// `/a.html` is at `/a`, `/a/index.html` at `/a/`.
    #[default]
    AutoTrailingSlash,
    /// Both are at `/a/`.
    ForceTrailingSlash,
    /// Both are at `/a`.
    DropTrailingSlash,
    /// Each is at its own path.
    None,
}

/// What is answered where no file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotFoundHandling {
    /// Nothing but that; or, if there is code, what it says.
    #[default]
    None,
    /// The nearest `404.html`, upwards.
    #[serde(rename = "404-page")]
    Page404,
    /// `/index.html`, as if it were there.
    SinglePageApplication,
}

/// Which requests the Worker's code is asked about before the files are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerFirst {
    /// None.
    #[default]
    Never,
    /// All.
    Always,
    /// Those whose path fits one of these.
    Paths(FirstPaths),
}

/// Paths with `*` for any letters, as `run_worker_first` lists them; those after a `!` are excepted, whatever else fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct FirstPaths(Vec<String>);

impl FirstPaths {
    /// The paths, as they were given.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl TryFrom<Vec<String>> for FirstPaths {
    type Error = Invalid;

    fn try_from(paths: Vec<String>) -> Result<Self, Invalid> {
        let refuse =
            |problem: String, remedy: &'static str| Err(Invalid::new("run_worker_first", problem, remedy));
        if !(1..=limits::WORKER_FIRST_PATHS_MAX).contains(&paths.len()) {
            return refuse(format!("{} rules", paths.len()), "give 1 to 100, or true or false");
        }
        for (index, path) in paths.iter().enumerate() {
            let positive = path.strip_prefix('!').unwrap_or(path);
            if !positive.starts_with('/') || path.len() > limits::WORKER_FIRST_PATH_OCTETS_MAX {
                return refuse(
                    format!("{} is not a rule", excerpt(path)),
                    "give / or !/ and a path, of at most 100 octets",
                );
            }
            if paths[..index].contains(path) {
                return refuse(format!("{} is there twice", excerpt(path)), "give each rule once");
            }
        }
        if paths.iter().all(|path| path.starts_with('!')) {
            return refuse("all rules are exceptions".to_owned(), "give one that does not begin with !");
        }
        Ok(Self(paths))
    }
}

impl From<FirstPaths> for Vec<String> {
    fn from(FirstPaths(paths): FirstPaths) -> Self {
        paths
    }
}

/// A file of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerAsset {
    /// Whose it is.
    pub account: AccountId,
    /// What manifests call it.
    pub hash: AssetHash,
    /// What is in it.
    pub content: ContentHash,
    /// How many octets that has.
    pub octets: u32,
    /// What it is served as; nothing is said of that without.
    pub content_type: Option<String>,
    /// Whether all pieces are there, and this is counted by their [`WorkerContentUse`](super::WorkerContentUse). A file that is
    /// larger than an append comes with several, and until then it is not.
    pub is_whole: bool,
}

impl Entity for WorkerAsset {
    const KIND: Kind = Kind::WorkerAsset;
    type Id = (AccountId, AssetHash);

    fn key(&self) -> Key {
        Self::key_of(&(self.account, self.hash))
    }

    fn key_of((account, hash): &Self::Id) -> Key {
        Key::new(Self::KIND, &[account, hash])
    }
}

/// A manifest whose files may be uploaded, and be named by a version, until it runs out. It is counted as a version by the
/// [`WorkerContentUse`](super::WorkerContentUse) of the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerAssetSession {
    /// Whose it is.
    pub account: AccountId,
    /// The manifest.
    pub manifest: ContentRef,
    /// When it runs out.
    pub until: Timestamp,
}

impl Entity for WorkerAssetSession {
    const KIND: Kind = Kind::WorkerAssetSession;
    type Id = (AccountId, ContentHash);

    fn key(&self) -> Key {
        Self::key_of(&(self.account, self.manifest.hash))
    }

    fn key_of((account, manifest): &Self::Id) -> Key {
        Key::new(Self::KIND, &[account, manifest])
    }
}
