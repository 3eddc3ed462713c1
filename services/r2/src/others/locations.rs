//! Which server becomes a bucket's home: the one that is asked for the bucket, unless its owner says where it is to be and the
//! network has a region of that name.

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use proxima_model::{Jurisdiction, LocationHint, NodeName};
use proxima_pipeline::{Body, NewBucket, ObjectError};

use super::{Everywhere, wire::Asked};

/// Servers of a region that are asked whether they are there: of those that answer, the first becomes home.
const CANDIDATES_MAX: usize = 4;

impl Everywhere {
    /// The home of a bucket to be made.
    ///
    /// # Errors
    /// Its objects must stay in a region of which no server answers.
    pub(super) async fn home_for(&self, new: &NewBucket) -> Result<NodeName, ObjectError> {
        let me = &self.local.buckets.me;
        let must = new.jurisdiction.map(Jurisdiction::as_str);
        let may = new.location.map(LocationHint::as_str);
        for (region, is_needed) in
            must.map(|region| (region, true)).into_iter().chain(may.map(|region| (region, false)))
        {
            let candidates = self.candidates(region);
            if candidates.is_empty() {
                continue;
            }
            if candidates.contains(me) {
                return Ok(me.clone());
            }
            match self.first_to_answer(candidates).await {
                Some(home) => return Ok(home),
                None if is_needed => {
                    let what = format!("no server of the region {region} answers");
                    return Err(ObjectError::Unreachable(what));
                }
                None => {}
            }
        }
        Ok(me.clone())
    }

    /// Servers of a region: this one, or some at random, so that buckets are spread.
    fn candidates(&self, region: &str) -> Vec<NodeName> {
        let servers = self.reach.servers();
        let all = servers.all().iter().filter(|about| about.region.as_str() == region);
        let mut all: Vec<_> = all.map(|about| about.name.clone()).collect();
        if all.contains(servers.me()) {
            return vec![servers.me().clone()];
        }
        for at in 0..all.len().min(CANDIDATES_MAX) {
            let other = rand::random_range(at..all.len());
            all.swap(at, other);
        }
        all.truncate(CANDIDATES_MAX);
        all
    }

    async fn first_to_answer(&self, candidates: Vec<NodeName>) -> Option<NodeName> {
        let ask = |server: NodeName| async move {
            let answered = self.reach.ask(&server, &Asked::Hello, Body::empty()).await;
            answered.is_ok().then_some(server)
        };
        let mut asked: FuturesUnordered<_> = candidates.into_iter().map(ask).collect();
        while let Some(answered) = asked.next().await {
            if answered.is_some() {
                return answered;
            }
        }
        None
    }
}
