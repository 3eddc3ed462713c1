//! What the engine says of a Worker that does not start: pure. In its words, which are those of v4, without what is ours.

/// What stands before what it says of the Worker of the process.
const OWN: &str = "service own: ";
/// What the names of our modules begin with.
const OURS: &str = "proxima-";
/// What it says when the memory of its scripts is used up, before it ends itself.
const OUT_OF_MEMORY: &str = "JavaScript heap out of memory";
/// Letters that are told.
const LETTERS_MAX: usize = 4_096;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Why it does not start.
    Why(String),
    OutOfMemory,
    /// Nothing of that.
    Else,
}

/// Reads what came from it. Frames of a stack that are in modules of ours are left out.
pub(super) fn read(text: &str) -> Said {
    let is_ours = |line: &str| line.trim_start().strip_prefix("at ").is_some_and(|at| at.starts_with(OURS));
    // What the Worker itself has said comes before.
    let lines: Vec<_> = text.lines().skip_while(|line| !line.starts_with(OWN)).collect();
    if lines.is_empty() {
        return if text.contains(OUT_OF_MEMORY) { Said::OutOfMemory } else { Said::Else };
    }
    let told =
        lines.into_iter().filter(|line| !is_ours(line)).map(|line| line.strip_prefix(OWN).unwrap_or(line));
    let told = told.collect::<Vec<_>>().join("\n");
    Said::Why(told.trim_end().chars().take(LETTERS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> String {
        match read(text) {
            Said::Why(why) => why,
            other => panic!("{other:?} of {text}"),
        }
    }

    #[test]
    fn what_the_engine_says_of_a_worker_is_told_without_what_is_ours() {
        for (said, told) in [
            (
                "service own: Uncaught Error: boom\n  at worker.js:1:7\n",
                "Uncaught Error: boom\n  at worker.js:1:7",
            ),
            (
                "what it logs\nservice own: Uncaught Error: boom\n  at worker.js:1:7 in f\n  at proxima-service-worker.js:15:1\n",
                "Uncaught Error: boom\n  at worker.js:1:7 in f",
            ),
            (
                "service own: Uncaught Error: No such module \"nope.js\".\n  imported from \"worker.js\"\n",
                "Uncaught Error: No such module \"nope.js\".\n  imported from \"worker.js\"",
            ),
            ("service own: one\nservice own: two\n", "one\ntwo"),
            ("service own: x\n  at my-proxima-1.js:1:1\n", "x\n  at my-proxima-1.js:1:1"),
        ] {
            assert_eq!(why(said), told);
        }
        assert_eq!(
            why(&format!("service own: {}", "ä".repeat(LETTERS_MAX + 1))).chars().count(),
            LETTERS_MAX
        );
    }

    #[test]
    fn what_is_said_of_no_worker_is_no_reason() {
        assert_eq!(
            read("fatal: message = : allocation failed: JavaScript heap out of memory\n"),
            Said::OutOfMemory
        );
        for nothing in ["", "service other: Uncaught Error: boom", "*** Received signal #11"] {
            assert_eq!(read(nothing), Said::Else);
        }
    }
}
