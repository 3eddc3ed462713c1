//! The rule language: what the owner of a zone writes to say for which requests a rule holds. Its syntax and its names
//! are those of the Rules language that Cloudflare documents (and wirefilter made known).
//!
//! ```text
//!   text ──lexer──▶ tokens with places ──parser──▶ Expression: typed, literals ready (regexes, sets, patterns)
//!              └────────┴─ ParseError { line, column, problem, remedy }      │
//!   a request, as [`Request`] shows it ──────────────────────────────────────┴─ holds ─▶ yes or no
//! ```
//!
//! Precedence, from the tightest: comparisons, `not`, `and`, `xor`, `or`. Text is octets: no field is decoded, no case
//! is folded unless the expression says so.
//!
//! Invariants:
//! * **What is parsed is right.** Fields, types, patterns and bounds are checked when an expression is parsed; evaluating
//!   one cannot fail, and an expression that names what does not exist is an error, never a condition that is never true.
//! * **Evaluating is lazy and bounded.** A field is read only where it is asked for; text is borrowed, but for `lower`,
//!   `upper`, `concat`, `wildcard` and members of lists within these. Every search takes time linear in its subject: regular expressions by automata,
//!   wildcards by pieces.
//! * **It is read back as it was written**: `parse(e.to_string()) == e`, unless written in full it is longer than one may be.
//! * **No I/O, no clock, nothing of HTTP**: whoever has requests implements [`Request`].
//!
//! Limits: [`limits`].

mod display;
mod error;
mod evaluate;
mod expression;
mod field;
mod lexer;
pub mod limits;
mod parser;
mod wildcard;

pub use error::ParseError;
pub use evaluate::Request;
pub use expression::Expression;
pub use field::{Flag, Listing, Map, Number, Text};
