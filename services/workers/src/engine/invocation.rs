//! An invocation of a version: what invokes it, and who is told what it took.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use proxima_pipeline::WorkerTook;

use crate::{
    metrics::{Handler, Metrics},
    version::VersionKey,
};

/// Invocations that are remembered after their end for who looks at their Worker: the engine tells of each soon after.
const LATELY_MAX: usize = 256;

/// See the module. What is sent once more, since its process was lost, is invoked twice.
#[derive(Clone, Debug)]
pub(crate) struct Invoked {
    /// What of the Worker is.
    pub(crate) handler: Handler,
    /// What it took, for who has it done: whole when its answer has ended.
    pub(crate) took: Arc<WorkerTook>,
    /// By what the engine's event of it is known, if somebody looks at the Worker.
    pub(crate) name: Option<Arc<str>>,
}

impl Invoked {
    /// One that is not known by a name.
    pub(crate) fn new(handler: Handler) -> Self {
        Self { handler, took: Arc::default(), name: None }
    }

    /// The same, by a name.
    pub(crate) fn named(self, name: Option<String>) -> Self {
        Self { name: name.map(Into::into), ..self }
    }
}

/// One that has begun, until it is told that it has ended.
#[derive(Debug)]
pub(super) struct Invocation {
    invoked: Invoked,
    begun: Instant,
    metrics: Metrics,
}

impl Invocation {
    /// Begins now.
    pub(super) fn begin(invoked: Invoked, metrics: Metrics) -> Self {
        Self { invoked, begun: Instant::now(), metrics }
    }

    pub(super) fn name(&self) -> Option<&Arc<str>> {
        self.invoked.name.as_ref()
    }

    /// It has ended, and has had so much of a processor.
    pub(super) fn ended(self, cpu: Duration) {
        let wall = self.begun.elapsed();
        self.metrics.invoked(self.invoked.handler, cpu, wall);
        self.invoked.took.add(cpu, wall);
    }
}

/// What those have had of a processor that ended last, by version and name.
#[derive(Debug, Default)]
pub(super) struct Lately(VecDeque<(VersionKey, Arc<str>, Duration)>);

impl Lately {
    /// One has ended.
    pub(super) fn note(&mut self, key: VersionKey, name: Arc<str>, cpu: Duration) {
        if self.0.len() >= LATELY_MAX {
            self.0.pop_front();
        }
        self.0.push_back((key, name, cpu));
    }

    /// What that of this name has had, if it is among them.
    pub(super) fn of(&self, key: &VersionKey, name: &str) -> Option<Duration> {
        let mut found = self.0.iter().rev().filter(|(of, named, _)| **named == *name && of == key);
        found.next().map(|(.., cpu)| *cpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::numbered as version;

    #[test]
    fn so_many_that_ended_are_remembered_by_version_and_name() {
        let mut lately = Lately::default();
        let ms = Duration::from_millis;
        lately.note(version(1), "first".into(), ms(1));
        (1..LATELY_MAX).for_each(|_| lately.note(version(1), "other".into(), ms(0)));
        assert_eq!((lately.of(&version(1), "first"), lately.of(&version(2), "first")), (Some(ms(1)), None));
        lately.note(version(2), "first".into(), ms(2));
        assert_eq!((lately.of(&version(1), "first"), lately.of(&version(2), "first")), (None, Some(ms(2))));
        lately.note(version(2), "first".into(), ms(3));
        assert_eq!(lately.of(&version(2), "first"), Some(ms(3)), "the last one");
        assert_eq!(lately.0.len(), LATELY_MAX);
    }
}
