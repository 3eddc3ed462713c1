//! Why something that was given to us is not one of our nouns.

/// Bad input: what was wrong, where, and what to give instead. Whoever meets it at a border turns it into that
/// border's own answer (an API envelope, a line of a zone file's report, a start-up error).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}; {remedy}")]
pub struct Invalid {
    /// The field, as the person who gave it knows it (`name`, `content`, `ttl`).
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
    /// What to do instead.
    pub remedy: &'static str,
}

impl Invalid {
    /// A refusal of `field`.
    pub fn new(field: &'static str, problem: impl Into<String>, remedy: &'static str) -> Self {
        Self { field, problem: problem.into(), remedy }
    }
}
