//! The pipeline: runs the stages there and back.

use std::sync::Arc;

use bytes::BytesMut;

use crate::{
    Adding, Decision, Exchange, Fault, Flow, Glance, Glanced, Heeded, Response, Sight, Stage, answer,
};

/// The stages, in order. Cheap to clone.
#[derive(Clone)]
pub struct Pipeline {
    stages: Arc<Stages>,
}

struct Stages {
    list: Box<[Box<dyn Stage>]>,
    /// By any of them.
    heeded: Heeded,
}

impl Pipeline {
    /// A pipeline of these stages; the last one must always respond or fail.
    pub fn new(stages: Vec<Box<dyn Stage>>) -> Self {
        let heeded = Heeded::new(stages.iter().flat_map(|stage| stage.heeds()).copied());
        Self { stages: Arc::new(Stages { list: stages.into(), heeded }) }
    }

    /// The stages' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.stages.list.iter().map(|stage| stage.name())
    }

    /// Whether a stage looks at fields of this name: a request with one has to be run.
    pub fn heeds(&self, name: &[u8]) -> bool {
        self.stages.heeded.has(name)
    }

    /// Answers a request at a glance, there and back, if every stage that it meets is sure of what it would do: then the
    /// answer's head lies at the end of `out`. `None`: nothing has happened, and the request is to be [`run`](Self::run).
    pub fn glance(&self, glance: &mut Glance<'_>, out: &mut BytesMut) -> Option<Glanced> {
        let stages = &self.stages.list;
        let mut passed = 0;
        let ready = loop {
            match stages.get(passed)?.glance(glance) {
                Sight::Pass => passed += 1,
                Sight::Ready(ready) => break ready,
                Sight::Unsure => return None,
            }
        };
        let mut answer = Adding::new(ready, out);
        for stage in stages.iter().take(passed).rev() {
            stage.add(glance, &mut answer);
        }
        Some(answer.end())
    }

    /// Runs the exchange there and back; afterwards `exchange.response` is there. Dropping the future cancels the
    /// exchange.
    pub async fn run(&self, exchange: &mut Exchange) {
        self.run_from(0, exchange).await;
    }

    async fn run_from(&self, first: usize, exchange: &mut Exchange) {
        let mut continued = first;
        let response = loop {
            let Some(stage) = self.stages.list.get(continued) else {
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
        for (index, stage) in self.stages.list.iter().enumerate().take(continued).skip(first).rev() {
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
