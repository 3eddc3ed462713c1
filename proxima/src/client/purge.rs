//! `proxima purge`: URLs, or everything of some tags, hosts or prefixes. One purge takes one kind.

use reqwest::Method;
use serde_json::{Value, json};

use super::ApiArgs;

/// What to remove from the caches.
#[derive(Debug, clap::Args)]
pub(crate) struct PurgeArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// The zone.
    zone: String,
    /// URLs to remove; everything of the zone when nothing is named at all.
    urls: Vec<String>,
    /// Remove what the origin gave this tag in `Cache-Tag`; give it again for more tags.
    #[arg(long = "tag", value_name = "TAG", conflicts_with_all = ["urls", "hosts", "prefixes"])]
    tags: Vec<String>,
    /// Remove everything of this host; give it again for more hosts.
    #[arg(long = "host", value_name = "HOST", conflicts_with_all = ["urls", "prefixes"])]
    hosts: Vec<String>,
    /// Remove everything beneath this beginning of a URL, written without a scheme (`www.example.com/foo`); give it
    /// again for more.
    #[arg(long = "prefix", value_name = "PREFIX", conflicts_with = "urls")]
    prefixes: Vec<String>,
}

impl PurgeArgs {
    fn body(&self) -> Value {
        let named = [
            ("files", &self.urls),
            ("tags", &self.tags),
            ("hosts", &self.hosts),
            ("prefixes", &self.prefixes),
        ];
        match named.into_iter().find(|(_, names)| !names.is_empty()) {
            Some((kind, names)) => json!({ kind: names }),
            None => json!({ "purge_everything": true }),
        }
    }
}

pub(crate) async fn run(args: PurgeArgs) -> anyhow::Result<()> {
    let api = args.api.open()?;
    let id = api.zone(&args.zone).await?;
    api.call(Method::POST, &format!("/zones/{id}/purge_cache"), Some(&args.body())).await?;
    println!("purged");
    Ok(())
}
