//! The pipeline: runs the stages there and back.

use std::sync::Arc;

use crate::{Decision, Exchange, Fault, Flow, Response, Stage, answer};

/// The stages, in order. Cheap to clone.
#[derive(Clone)]
pub struct Pipeline {
    stages: Arc<[Box<dyn Stage>]>,
}

impl Pipeline {
    /// A pipeline of these stages; the last one must always respond or fail.
    pub fn new(stages: Vec<Box<dyn Stage>>) -> Self {
        Self { stages: stages.into() }
    }

    /// The stages' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.stages.iter().map(|stage| stage.name())
    }

    /// Runs the exchange there and back; afterwards `exchange.response` is there. Dropping the future cancels the
    /// exchange.
    pub async fn run(&self, exchange: &mut Exchange) {
        self.run_from(0, exchange).await;
    }

    async fn run_from(&self, first: usize, exchange: &mut Exchange) {
        let mut continued = first;
        let response = loop {
            let Some(stage) = self.stages.get(continued) else {
                break answer(&Fault::Internal("no stage answered"), exchange);
            };
            self.leave_rest(exchange, continued + 1);
            let flow = match stage.on_request(exchange) {
                Decision::Now(flow) => flow,
                Decision::Later(waiting) => waiting.await,
            };
            match flow {
                Flow::Continue => continued += 1,
                Flow::Respond(response) => break response,
                Flow::Fail(fault) => {
                    exchange.trace.note(stage.name(), || format!("failed: {fault}"));
                    let response: Response = answer(&fault, exchange);
                    // Kept for the stages on the way back: a cache may have something stale to serve instead.
                    exchange.extensions.insert(fault);
                    break response;
                }
            }
        };
        exchange.response = Some(response);
        for (index, stage) in self.stages.iter().enumerate().take(continued).skip(first).rev() {
            self.leave_rest(exchange, index + 1);
            stage.on_response(exchange);
        }
        exchange.rest = None;
    }

    /// Tells the stage that comes next which come after it. The pipeline itself is shared once per run.
    fn leave_rest(&self, exchange: &mut Exchange, first: usize) {
        match &mut exchange.rest {
            Some(rest) if Arc::ptr_eq(&rest.pipeline.stages, &self.stages) => rest.first = first,
            rest => *rest = Some(Rest { pipeline: self.clone(), first }),
        }
    }
}

/// The stages after a certain one.
#[derive(Clone)]
pub struct Rest {
    pipeline: Pipeline,
    first: usize,
}

impl Rest {
    /// The same, and before them the stage that was given these: what it asks for then, it is asked for itself.
    #[must_use]
    pub fn from_here(mut self) -> Self {
        self.first = self.first.saturating_sub(1);
        self
    }

    /// Runs them for `exchange`; afterwards `exchange.response` is there.
    pub async fn run(&self, exchange: &mut Exchange) {
        self.pipeline.run_from(self.first, exchange).await;
    }
}
