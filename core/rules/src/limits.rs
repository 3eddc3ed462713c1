//! Every bound of the language. Meeting one is a [`ParseError`](crate::ParseError), never a cut.

/// Octets of an expression; what the v4 API takes.
pub const EXPRESSION_OCTETS_MAX: usize = 4_096;
/// Parentheses, `not`s and functions within each other: more than people read, less than a thread's stack.
pub const NESTING_MAX: usize = 32;
/// Members of all sets of an expression together.
pub const SET_MEMBERS_MAX: usize = 512;
/// Regular expressions of one expression: each may keep some hundred KiB of automaton.
pub const REGEXES_MAX: usize = 8;
/// Octets that a compiled regular expression may take.
pub const REGEX_OCTETS_MAX: usize = 128 * 1_024;
/// Octets of states that one regular expression keeps while it is asked; it begins anew beyond.
pub const REGEX_STATES_OCTETS_MAX: usize = 128 * 1_024;
/// Stars of a wildcard pattern.
pub const WILDCARD_STARS_MAX: usize = 32;
/// Arguments of all `concat`s of an expression together: each may be a header as long as headers may be, copied whenever the
/// rule is asked.
pub const CONCATENATED_MAX: usize = 16;
/// Names that an error proposes.
pub const PROPOSALS_MAX: usize = 3;
