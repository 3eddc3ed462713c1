//! `proxima purge`.

use reqwest::Method;
use serde_json::json;

use super::ApiArgs;

/// What to remove from the caches.
#[derive(Debug, clap::Args)]
pub(crate) struct PurgeArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// The zone.
    zone: String,
    /// URLs to remove; everything of the zone when none is given.
    urls: Vec<String>,
}

pub(crate) async fn run(args: PurgeArgs) -> anyhow::Result<()> {
    let api = args.api.open()?;
    let id = api.zone(&args.zone).await?;
    let body = if args.urls.is_empty() {
        json!({ "purge_everything": true })
    } else {
        json!({ "files": args.urls })
    };
    api.call(Method::POST, &format!("/zones/{id}/purge_cache"), Some(&body)).await?;
    println!("purged");
    Ok(())
}
