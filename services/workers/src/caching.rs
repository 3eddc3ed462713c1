//! How a Worker wants what it fetches kept (`cf` of `fetch`), as the dispatcher says it, which has looked at the numbers.

use std::sync::Arc;

use proxima_model::{CacheSettings, EdgeMode, EdgeTtl, StatusRange, StatusTtl};
use proxima_pipeline::FetchCaching;
use serde::Deserialize;

/// See the module.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Caching {
    /// Seconds, whatever the origin says; -1: it is neither taken from the cache nor kept.
    ttl: Option<i64>,
    /// The same for statuses from one to another; the first that names one counts, and single ones come first.
    #[serde(default)]
    statuses: Vec<(u16, u16, i64)>,
    /// It may be kept, whatever a rule says.
    #[serde(default)]
    everything: bool,
}

impl Caching {
    /// As the cache reads it.
    pub(crate) fn wish(self) -> FetchCaching {
        let default = self.ttl.and_then(|seconds| u32::try_from(seconds).ok());
        let never = self.ttl.is_some() && default.is_none() && self.statuses.is_empty();
        let mut status_code_ttl: Vec<_> = self.statuses.into_iter().map(status_ttl).collect();
        if let Some(ttl @ ..0) = self.ttl.filter(|_| !never) {
            // What no status is named for is not kept.
            status_code_ttl.push(status_ttl((100, 599, ttl)));
        }
        let mode = if default.is_some() { EdgeMode::OverrideOrigin } else { EdgeMode::RespectOrigin };
        let says = default.is_some() || !status_code_ttl.is_empty();
        FetchCaching(Arc::new(CacheSettings {
            cache: (never || says || self.everything).then_some(!never),
            edge_ttl: says.then_some(EdgeTtl { mode, default, status_code_ttl }),
            ..CacheSettings::default()
        }))
    }
}

fn status_ttl((from, to, value): (u16, u16, i64)) -> StatusTtl {
    StatusTtl {
        status_code: None,
        status_code_range: Some(StatusRange { from: Some(from), to: Some(to) }),
        value,
    }
}

#[cfg(test)]
mod tests {
    use proxima_model::EdgeLifetime;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_worker_says_is_what_the_cache_heeds() {
        for (said, cache, of_200, of_404) in [
            (json!({ "ttl": 60 }), Some(true), EdgeLifetime::Seconds(60), EdgeLifetime::Origin),
            (json!({ "ttl": 0 }), Some(true), EdgeLifetime::Seconds(0), EdgeLifetime::Origin),
            (json!({ "ttl": -1 }), Some(false), EdgeLifetime::Origin, EdgeLifetime::Origin),
            (json!({ "everything": true }), Some(true), EdgeLifetime::Origin, EdgeLifetime::Origin),
            (
                json!({ "statuses": [[200, 299, 7], [404, 404, -1]] }),
                Some(true),
                EdgeLifetime::Seconds(7),
                EdgeLifetime::Never,
            ),
            (
                json!({ "ttl": -1, "statuses": [[200, 299, 7]] }),
                Some(true),
                EdgeLifetime::Seconds(7),
                EdgeLifetime::Never,
            ),
            (
                json!({ "ttl": 60, "statuses": [[404, 404, 1]] }),
                Some(true),
                EdgeLifetime::Seconds(60),
                EdgeLifetime::Seconds(1),
            ),
        ] {
            let FetchCaching(settings) = serde_json::from_value::<Caching>(said.clone()).unwrap().wish();
            let lifetime =
                |status| settings.edge_ttl.as_ref().map_or(EdgeLifetime::Origin, |ttl| ttl.lifetime(status));
            assert_eq!((settings.cache, lifetime(200), lifetime(404)), (cache, of_200, of_404), "{said}");
        }
    }
}
