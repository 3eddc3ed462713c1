//! What is encoded: `proxima_compression_…`.

use std::sync::Arc;

use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::{Registry, Unit},
};

use crate::{Coding, encoder::Effort};

type Labels = [(&'static str, &'static str); 2];

/// The counters of one coding in one way. Found once, so that an answer costs no look-up.
#[derive(Debug, Default)]
pub struct Counted {
    /// Answers.
    pub answers: Counter,
    /// Octets that went into encoders.
    pub read: Counter,
    /// Octets that came out.
    pub written: Counter,
}

/// The metrics.
#[derive(Debug)]
pub struct Metrics {
    counted: [[Arc<Counted>; 2]; Coding::ALL.len()],
    /// Answers that went as they were because too much was being encoded.
    pub busy: Counter,
}

impl Effort {
    const ALL: [Self; 2] = [Self::Streamed, Self::Stored];

    const fn name(self) -> &'static str {
        match self {
            Self::Streamed => "streamed",
            Self::Stored => "stored",
        }
    }
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let families: [Family<Labels, Counter>; 3] = Default::default();
        let [answers, read, written] = &families;
        let counted = Coding::ALL.map(|coding| {
            Effort::ALL.map(|effort| {
                let labels = [("coding", coding.name()), ("kind", effort.name())];
                Arc::new(Counted {
                    answers: answers.get_or_create_owned(&labels),
                    read: read.get_or_create_owned(&labels),
                    written: written.get_or_create_owned(&labels),
                })
            })
        });
        let busy = Counter::default();
        registry.register(
            "answers",
            "Answers that were encoded here, by coding, and whether from a kept form or on their way",
            answers.clone(),
        );
        registry.register_with_unit("read", "What went into encoders", Unit::Bytes, read.clone());
        registry.register_with_unit("written", "What came out of encoders", Unit::Bytes, written.clone());
        registry.register(
            "busy",
            "Answers that went as they were because too much was being encoded",
            busy.clone(),
        );
        Self { counted, busy }
    }

    /// Those of a coding in one way.
    pub fn of(&self, coding: Coding, effort: Effort) -> &Arc<Counted> {
        &self.counted[coding.index()][usize::from(effort == Effort::Stored)]
    }
}
