//! What the tour says, and what it found.

use std::time::{Duration, Instant};

/// Lines of a command's output that are shown.
pub(super) const OUTPUT_LINES_MAX: usize = 40;

/// By how much a figure may be missed before it is no longer the machine's fault.
const MISSED_MAX: u32 = 3;

/// The teller.
pub(super) struct Tell {
    lab: String,
    steps: usize,
    started: Instant,
    findings: Vec<Finding>,
}

struct Finding {
    what: String,
    found: String,
    reach: String,
    holds: bool,
    must: bool,
}

impl Tell {
    pub(super) fn new(lab: &str) -> Self {
        Self { lab: lab.to_owned(), steps: 0, started: Instant::now(), findings: Vec::new() }
    }

    /// A new step.
    pub(super) fn step(&mut self, title: &str) {
        self.steps += 1;
        println!("\n── {} · {title} ── {:.0} s", self.steps, self.started.elapsed().as_secs_f64());
    }

    /// A command, as one would type it.
    pub(super) fn command_line(&self, command: &str) {
        let mut named = command.to_owned();
        for verb in ["exec", "fault", "status"] {
            let plain = format!("proxima lab {verb}");
            named = named.replacen(&plain, &format!("{plain} --name {}", self.lab), 1);
        }
        println!("  $ {named}");
    }

    /// What a command printed, as far as it is shown.
    pub(super) fn output(&self, text: &str) {
        for line in text.lines().take(OUTPUT_LINES_MAX) {
            println!("    {line}");
        }
    }

    /// A remark.
    pub(super) fn say(&self, text: &str) {
        println!("  {text}");
    }

    /// Something that must hold on any machine.
    pub(super) fn must(&mut self, what: &str, found: impl Into<String>, holds: bool) {
        self.find(what, found.into(), String::new(), holds, true);
    }

    /// A time that must not be passed on any machine.
    pub(super) fn limit(&mut self, what: &str, found: Duration, limit: Duration) {
        self.find(what, ms(found), format!("≤ {}", ms(limit)), found <= limit, true);
    }

    /// A measured time and what it is to reach. Missed a little, as on a busy machine, it is told; missed by more than
    /// [`MISSED_MAX`] times, something is broken.
    pub(super) fn figure(&mut self, what: &str, found: Duration, reach: Duration) {
        self.find(what, ms(found), format!("≤ {}", ms(reach)), found <= reach, found > reach * MISSED_MAX);
    }

    fn find(&mut self, what: &str, found: String, reach: String, holds: bool, must: bool) {
        println!("  {} {what}: {found} {reach}", mark(holds, must));
        self.findings.push(Finding { what: what.to_owned(), found, reach, holds, must });
    }

    /// All findings; whether everything that must hold did.
    pub(super) fn summary(&self) -> bool {
        println!("\n── What was found ──");
        let wide = self.findings.iter().map(|finding| finding.what.chars().count()).max().unwrap_or_default();
        for Finding { what, found, reach, holds, must } in &self.findings {
            println!("  {} {what:wide$}  {found} {reach}", mark(*holds, *must));
        }
        let broken = self.findings.iter().filter(|finding| finding.must && !finding.holds).count();
        println!(
            "  {} findings in {:.0} s; {broken} broken",
            self.findings.len(),
            self.started.elapsed().as_secs_f64()
        );
        broken == 0
    }
}

const fn mark(holds: bool, must: bool) -> &'static str {
    match (holds, must) {
        (true, _) => "✓",
        (false, true) => "✗",
        (false, false) => "~",
    }
}

/// Milliseconds, for people.
pub(super) fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}
