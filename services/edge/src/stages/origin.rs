//! The last stage: the origin answers.

use std::sync::Arc;

use proxima_pipeline::{Decision, Exchange, Flow, Stage};

use crate::origin::Origins;

/// Sends what no stage before has answered to the site's origin.
pub struct OriginStage {
    origins: Arc<Origins>,
}

impl OriginStage {
    /// Over these origins.
    pub const fn new(origins: Arc<Origins>) -> Self {
        Self { origins }
    }
}

impl Stage for OriginStage {
    fn name(&self) -> &'static str {
        "origin"
    }

    fn on_request<'a>(&'a self, exchange: &'a mut Exchange) -> Decision<'a> {
        Decision::Later(Box::pin(async move {
            match self.origins.fetch(exchange).await {
                Ok(response) => Flow::Respond(response),
                Err(fault) => Flow::Fail(fault),
            }
        }))
    }
}
