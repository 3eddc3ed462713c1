//! `data/standards.txt`: what the RFCs of DNS demand, and the case or test that shows it. Here is looked whether what it names
//! is there, so that it stays true while cases and tests are renamed.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    fs,
    path::{Path, PathBuf},
};

/// Where the tables of questions are.
const TABLES: &str = "services/dns/tests/suite/data";
/// Fewer statements than this, and the file was not read as it is meant.
const STATEMENTS_MIN: usize = 150;

#[test]
fn what_is_said_to_show_a_standard_is_there() {
    let list = read("", &root().join(TABLES).join("standards.txt")).expect("the list of statements");
    let mut reader = Reader::default();
    for (number, line) in list.lines().enumerate() {
        if let Err(problem) = reader.take(line) {
            reader.problems.push(format!("standards.txt, line {}: {problem}: {line}", number + 1));
        }
    }
    if let Err(problem) = reader.end_of_statement() {
        reader.problems.push(format!("standards.txt, its end: {problem}"));
    }
    assert!(reader.problems.is_empty(), "{}", reader.problems.join("\n"));
    assert!(reader.statements >= STATEMENTS_MIN, "only {} statements were found", reader.statements);
}

#[test]
fn a_list_that_has_rotted_is_known() {
    let told = |lines: &[&str]| {
        let mut reader = Reader::default();
        let problem = lines.iter().find_map(|line| reader.take(line).err());
        problem.or_else(|| reader.end_of_statement().err()).unwrap_or_default()
    };
    let case = "    basic.txt \"The apex has its own records\"";
    let test = "    services/dns/tests/suite/standards.rs::a_list_that_has_rotted_is_known";
    let of = |more: &[&'static str]| [&["rfc 7 x", "  2  y", case, test][..], more].concat();
    assert_eq!(
        told(&of(&["  10  z", "    -  not shown: w", "  B  v", case, "rfc 10 x", "  *  y", test])),
        ""
    );
    for (lines, problem) in [
        (of(&["    basic.txt \"The apex has\""]), "basic.txt has 0 cases of this title"),
        (of(&["    nothing.txt \"The apex has\""]), "nothing.txt cannot be read"),
        (of(&["    services/nothing.rs::x"]), "services/nothing.rs cannot be read"),
        (of(&["    services/dns/tests/suite/standards.rs::what"]), "has no test of this name"),
        (of(&["    services/dns/tests/suite/standards.rs::root"]), "has no test of this name"),
        (of(&["    somewhere"]), "neither a case"),
        (of(&["    -  not shown: z"]), "shown or not, and not both"),
        (of(&[test]), "named twice"),
        (of(&["  2  y"]), "was listed before"),
        (of(&["  1.9  z"]), "sections have an order"),
        (of(&["  two  z"]), "no section"),
        (of(&["rfc 7 x"]), "RFCs have an order"),
        (of(&["rfc seven"]), "no RFC's number"),
        (of(&["  3  z", "  4  z"]), "nothing is said of what shows"),
        (of(&["  3  z"]), "nothing is said of what shows"),
        (vec!["  3  z"], "an RFC first"),
        (vec!["rfc 7 x", case], "a statement first"),
        (of(&["x"]), "neither an RFC"),
    ] {
        assert!(told(&lines).contains(problem), "{lines:?}: {:?} and not {problem}", told(&lines));
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(name: &str, path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{name} cannot be read: {error}"))
}

/// A section's numbers; what stands for a whole RFC is before all, and appendices are behind.
type Section = Vec<u32>;

fn section(text: &str) -> Result<Section, String> {
    if text == "*" {
        return Ok(Vec::new());
    }
    let part = |part: &str| match part.as_bytes() {
        [letter @ b'A'..=b'Z'] => Some(1_000 + u32::from(*letter)),
        _ => part.parse().ok(),
    };
    text.split('.').map(part).collect::<Option<_>>().ok_or_else(|| format!("{text} is no section"))
}

/// What has been read so far.
#[derive(Default)]
struct Reader {
    rfc: Option<u32>,
    section: Section,
    /// Statements of this RFC.
    said: HashSet<String>,
    /// What shows the last statement; `None` before the first of an RFC.
    shown: Option<Vec<String>>,
    statements: usize,
    files: HashMap<PathBuf, String>,
    problems: Vec<String>,
}

impl Reader {
    fn take(&mut self, line: &str) -> Result<(), String> {
        let text = line.trim();
        if text.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        match line.len() - line.trim_start().len() {
            0 => self.take_rfc(text),
            2 => self.take_statement(text),
            4 => self.take_shown(text),
            _ => Err("neither an RFC nor, two and four blanks in, a statement and what shows it".to_owned()),
        }
    }

    fn take_rfc(&mut self, text: &str) -> Result<(), String> {
        self.end_of_statement()?;
        let rest = text.strip_prefix("rfc ").ok_or("neither an RFC nor what is said of one")?;
        let number = rest.split(' ').next().unwrap_or_default();
        let number: u32 = number.parse().map_err(|_| format!("{number} is no RFC's number"))?;
        let former = self.rfc.replace(number);
        (self.section, self.said, self.shown) = Default::default();
        if former >= Some(number) { Err("RFCs have an order".to_owned()) } else { Ok(()) }
    }

    fn take_statement(&mut self, text: &str) -> Result<(), String> {
        self.end_of_statement()?;
        self.rfc.ok_or("an RFC first")?;
        let (number, said) = text.split_once("  ").ok_or("a section, two blanks, and what it says")?;
        let former = std::mem::replace(&mut self.section, section(number)?);
        self.shown = Some(Vec::new());
        self.statements += 1;
        if former > self.section {
            return Err("sections have an order".to_owned());
        }
        if self.said.insert(said.to_owned()) { Ok(()) } else { Err("this was listed before".to_owned()) }
    }

    /// A statement that names nothing, not even why nothing shows it, is half a statement.
    fn end_of_statement(&mut self) -> Result<(), String> {
        let is_shown = self.shown.take().is_none_or(|shown| !shown.is_empty());
        if is_shown { Ok(()) } else { Err("nothing is said of what shows the statement before".to_owned()) }
    }

    fn take_shown(&mut self, text: &str) -> Result<(), String> {
        let shown = self.shown.as_mut().ok_or("a statement first")?;
        if shown.iter().any(|former| former == text) {
            return Err("named twice".to_owned());
        }
        let is_reason = |text: &str| text.starts_with("-  not ");
        let is_alone = shown.is_empty() || !shown.iter().any(|former| is_reason(former)) && !is_reason(text);
        shown.push(text.to_owned());
        if !is_alone {
            return Err("a statement is shown or not, and not both".to_owned());
        }
        if let Some(reason) = text.strip_prefix("-  not ") {
            let why = reason.strip_prefix("shown: ").or_else(|| reason.strip_prefix("offered: "));
            return why.map(|_| ()).ok_or_else(|| "`not shown: why` or `not offered: why`".to_owned());
        }
        if let Some((file, title)) = text.strip_suffix('"').and_then(|text| text.split_once(" \"")) {
            return self.has_case(file, title);
        }
        match text.split_once("::") {
            Some((file, test)) => self.has_test(file, test),
            None => Err("neither a case, `FILE \"TITLE\"`, nor a test, `PATH::NAME`".to_owned()),
        }
    }

    fn file(&mut self, name: &str, path: PathBuf) -> Result<&str, String> {
        let text: &String = match self.files.entry(path) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let text = read(name, place.key())?;
                place.insert(text)
            }
        };
        Ok(text)
    }

    fn has_case(&mut self, file: &str, title: &str) -> Result<(), String> {
        let table = self.file(file, root().join(TABLES).join(file))?;
        let count = table.lines().filter(|line| line.strip_prefix("# ") == Some(title)).count();
        if count == 1 { Ok(()) } else { Err(format!("{file} has {count} cases of this title")) }
    }

    fn has_test(&mut self, file: &str, test: &str) -> Result<(), String> {
        let source = self.file(file, root().join(file))?;
        let head = format!("fn {test}(");
        let lines: Vec<&str> = source.lines().map(str::trim).collect();
        let is_test = |at: usize| {
            let above = lines[..at].iter().rev();
            above.take_while(|line| line.starts_with("#[")).any(|line| line.contains("test"))
        };
        let mut places = lines.iter().enumerate().filter(|(_, line)| line.contains(&head));
        if places.any(|(at, _)| is_test(at)) {
            Ok(())
        } else {
            Err(format!("{file} has no test of this name"))
        }
    }
}
