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

/// Characters of bad input that a refusal quotes: enough to recognise it by.
const EXCERPT_CHARS_MAX: usize = 80;

/// Bad input as a refusal quotes it: in quotes, with what cannot be printed escaped, and no more than its beginning.
pub fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_CHARS_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_beginning_of_bad_input_is_quoted() {
        let (fits, long) = ("ä".repeat(EXCERPT_CHARS_MAX), "ä".repeat(EXCERPT_CHARS_MAX + 1));
        assert_eq!(excerpt(&fits), format!("\"{fits}\""));
        assert_eq!(excerpt(&long), format!("\"{fits}\"…"));
        assert_eq!(excerpt("a\n\""), r#""a\n\"""#);
    }
}
