//! What is wrong with an expression, where, and what to do.

use std::fmt;

/// Octets of the expression that an error quotes.
const QUOTED_CHARS_MAX: usize = 24;

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// The character in that line, from 1.
    pub column: usize,
    /// What stands there; empty at the end.
    pub found: String,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: &'static str,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, found, problem, remedy } = self;
        write!(f, "line {line}, column {column}")?;
        match found.as_str() {
            "" => f.write_str(", at the end")?,
            found => write!(f, ", at `{found}`")?,
        }
        write!(f, ": {problem}; {remedy}")
    }
}

impl ParseError {
    /// An error at an octet of a text.
    pub(crate) fn at(text: &str, offset: usize, problem: impl Into<String>, remedy: &'static str) -> Self {
        let offset = (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let (before, after) = text.split_at(offset);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            found: after.lines().next().unwrap_or_default().chars().take(QUOTED_CHARS_MAX).collect(),
            problem: problem.into(),
            remedy,
        }
    }

    /// The line of the text with the place marked below it, for terminals.
    pub fn pointed(&self, text: &str) -> String {
        let line = text.lines().nth(self.line - 1).unwrap_or_default();
        format!("{line}\n{}^ {}; {}", " ".repeat(self.column - 1), self.problem, self.remedy)
    }
}
