//! The sites of versions that were asked for, compiled from the replica, and where their files are.

use std::sync::Arc;

use http::HeaderValue;
use proxima_ledger::{Replica, Snapshot};
use proxima_model::{
    AssetManifest, ContentRef, WorkerAsset, WorkerAssets, WorkerContent, WorkerVersion, limits,
};
use quick_cache::{OptionsBuilder, Weighter, sync::Cache};

use super::{
    contents::{ContentError, Contents, blocking},
    site::{About, Rules, Site},
};
use crate::version::VersionKey;

/// Octets of sites in memory: of dozens of the largest, or of ten thousands of common ones.
pub(super) const SITES_OCTETS_MAX: u64 = 256 << 20;
/// Octets of a common one, for what the cache reserves at its beginning.
const TYPICAL_OCTETS: u64 = 64 << 10;
/// What an entry takes beside its site.
const ENTRY_OCTETS: u64 = 256;

/// What is known of a version.
#[derive(Clone)]
pub(crate) struct Loaded {
    /// Its assets, if it has any.
    pub(crate) site: Option<Arc<Site>>,
}

#[derive(Clone)]
struct Octets;

impl Weighter<VersionKey, Loaded> for Octets {
    fn weight(&self, _: &VersionKey, loaded: &Loaded) -> u64 {
        ENTRY_OCTETS + loaded.site.as_ref().map_or(0, |site| site.octets())
    }
}

/// See the module.
pub(crate) struct Sites {
    replica: Replica,
    known: Cache<VersionKey, Loaded, Octets>,
    pub(super) contents: Contents,
}

impl Sites {
    pub(crate) fn new(replica: Replica) -> Self {
        let options = OptionsBuilder::new()
            // One: what is largest takes a good part of all there is.
            .shards(1)
            .estimated_items_capacity(usize::try_from(SITES_OCTETS_MAX / TYPICAL_OCTETS).unwrap_or_default())
            .weight_capacity(SITES_OCTETS_MAX)
            .build()
            .expect("both sizes are given");
        let known = Cache::with_options(options, Octets, Default::default(), Default::default());
        Self { contents: Contents::new(replica.clone()), replica, known }
    }

    /// What is known of a version; compiled once, however many ask.
    pub(crate) async fn of(&self, key: &VersionKey) -> Result<Loaded, ContentError> {
        if let Some(known) = self.known.get(key) {
            return Ok(known);
        }
        let compile = async {
            let (replica, key) = (self.replica.clone(), key.clone());
            blocking(move || compile(&replica.snapshot()?, &key)).await
        };
        self.known.get_or_insert_async(key, compile).await
    }

    /// What is said of a file.
    pub(super) async fn about(&self, site: &Site, index: usize) -> Result<Arc<About>, ContentError> {
        let file = site.file(index);
        if let Some(about) = file.about.get() {
            return Ok(Arc::clone(about));
        }
        let (replica, id) = (self.replica.clone(), (site.account, file.hash));
        let asset = blocking(move || Ok(replica.snapshot()?.get::<WorkerAsset>(&id)?)).await?;
        let expected = file.octets;
        let asset = asset.filter(|asset| asset.is_whole && asset.octets == expected);
        let asset = asset.ok_or_else(|| ContentError::Lost(format!("the asset {}", file.hash)))?;
        let about = About {
            content: ContentRef { hash: asset.content, octets: asset.octets },
            content_type: asset.content_type.and_then(|text| HeaderValue::try_from(text).ok()),
        };
        Ok(Arc::clone(file.about.get_or_init(|| Arc::new(about))))
    }
}

fn compile(snapshot: &Snapshot, key: &VersionKey) -> Result<Loaded, ContentError> {
    let id = (key.account, key.worker.clone(), key.version);
    let version = snapshot.get::<WorkerVersion>(&id)?;
    let version = version.ok_or_else(|| ContentError::Lost(format!("the version {key}")))?;
    let Some(assets) = &version.assets else { return Ok(Loaded { site: None }) };
    let WorkerAssets { manifest, config, headers, redirects } = assets.clone();
    let lost = |what: &str| ContentError::Lost(format!("{what} of the version {key}"));
    let octets = read(snapshot, key, manifest)?;
    let manifest = AssetManifest::parse(&octets).ok_or_else(|| lost("the manifest"))?;
    let rules = |content: Option<ContentRef>| -> Result<String, ContentError> {
        let Some(content) = content else { return Ok(String::new()) };
        Ok(String::from_utf8_lossy(&read(snapshot, key, content)?).into_owned())
    };
    let (headers, redirects) = (rules(headers)?, rules(redirects)?);
    let rules = Rules { headers: &headers, redirects: &redirects };
    Ok(Loaded { site: Some(Arc::new(Site::new(&version, config, &manifest, &rules))) })
}

fn read(snapshot: &Snapshot, key: &VersionKey, content: ContentRef) -> Result<Vec<u8>, ContentError> {
    let pieces = snapshot.scan::<WorkerContent>(&[&key.account, &content.hash]);
    let lost = || ContentError::Lost(format!("the content {} of the version {key}", content.hash));
    WorkerContent::join(content, pieces)?.ok_or_else(lost)
}

// A site of the most files with the longest paths has its place, with those of others.
const _: () = assert!(
    (limits::WORKER_ASSETS_MAX * (limits::WORKER_ASSET_PATH_OCTETS_MAX + 192)) as u64 * 4 < SITES_OCTETS_MAX
);
