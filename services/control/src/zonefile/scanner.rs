//! Lines, quotes, parentheses and comments (RFC 1035, 5.1).

use super::LineNote;

/// A word of an entry, with its escapes as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word<'t> {
    pub(super) text: &'t str,
    pub(super) quoted: bool,
    /// Whether nothing stands between it and the word before.
    pub(super) joined: bool,
}

/// What stands between two ends of line that are not in parentheses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry<'t> {
    /// The line where it begins.
    pub(super) line: usize,
    /// Whether it begins with a blank: its owner is that of the entry before.
    pub(super) indented: bool,
    pub(super) words: Vec<Word<'t>>,
    /// The last comment in it.
    pub(super) comment: Option<&'t str>,
}

/// Cuts a text into entries. A bad one is named and left out; scanning goes on at the next line.
pub(super) fn scan<'t>(text: &'t str, problems: &mut Vec<LineNote>) -> Vec<Entry<'t>> {
    let mut entries = Vec::new();
    let mut open: Option<Entry<'t>> = None;
    let mut depth = 0_usize;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let mut entry = open.take().unwrap_or_else(|| Entry {
            line: number,
            indented: line.starts_with([' ', '\t']),
            ..Entry::default()
        });
        match scan_line(line, &mut entry, &mut depth) {
            Err(problem) => {
                problems.push(LineNote { line: number, text: problem.to_owned() });
                depth = 0;
            }
            Ok(()) if depth > 0 => open = Some(entry),
            Ok(()) if entry.words.is_empty() => {}
            Ok(()) => entries.push(entry),
        }
    }
    if let Some(entry) = open {
        let text = "a parenthesis is opened and never closed".to_owned();
        problems.push(LineNote { line: entry.line, text });
    }
    entries
}

/// Adds the words of one line to an entry.
fn scan_line<'t>(line: &'t str, entry: &mut Entry<'t>, depth: &mut usize) -> Result<(), &'static str> {
    let mut rest = line;
    // Whether a word ended right here.
    let mut touching = false;
    loop {
        let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\u{c}']);
        let joined = trimmed.len() == rest.len() && touching;
        rest = trimmed;
        touching = false;
        let Some(first) = rest.chars().next() else { return Ok(()) };
        match first {
            ';' => {
                entry.comment = Some(rest[1..].trim());
                return Ok(());
            }
            '(' => {
                *depth += 1;
                rest = &rest[1..];
            }
            ')' => {
                *depth = depth.checked_sub(1).ok_or("a parenthesis is closed that was not opened")?;
                rest = &rest[1..];
            }
            '"' => {
                let length =
                    end_of(&rest[1..], &['"'])?.ok_or("a quote is opened and not closed on its line")?;
                entry.words.push(Word { text: &rest[1..=length], quoted: true, joined });
                rest = &rest[length + 2..];
                touching = true;
            }
            _ => {
                let stops = [' ', '\t', '\r', ';', '(', ')', '"', '\u{c}'];
                let length = end_of(rest, &stops)?.unwrap_or(rest.len());
                entry.words.push(Word { text: &rest[..length], quoted: false, joined });
                rest = &rest[length..];
                touching = true;
            }
        }
    }
}

/// Where the first of these letters stands that is not escaped.
fn end_of(text: &str, stops: &[char]) -> Result<Option<usize>, &'static str> {
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' {
            letters.next().ok_or("a backslash has nothing behind it")?;
        } else if stops.contains(&letter) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Vec<String>> {
        let mut problems = Vec::new();
        let entries = scan(text, &mut problems);
        assert_eq!(problems, []);
        entries.iter().map(|entry| entry.words.iter().map(|word| word.text.to_owned()).collect()).collect()
    }

    #[test]
    fn parentheses_join_lines_and_comments_end_them() {
        let text = "a SOA ns host (1 ; serial\n 2 ; refresh\n 3) 4\n; nothing\n\n b A 1\r\n";
        assert_eq!(words(text), [vec!["a", "SOA", "ns", "host", "1", "2", "3", "4"], vec!["b", "A", "1"]]);
    }

    #[test]
    fn quotes_hold_everything_and_escapes_hold_quotes() {
        assert_eq!(
            words(r#"a TXT "x; (y" "a\"b" c\;d"e""#),
            [vec!["a", "TXT", "x; (y", r#"a\"b"#, r"c\;d", "e"]]
        );
    }

    #[test]
    fn each_bad_line_is_named_and_the_next_is_read() {
        let mut problems = Vec::new();
        let entries = scan("a TXT \"open\nb A 1 )\nc TXT end\\\nd A 1\ne ( A\n", &mut problems);
        assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [1, 2, 3, 5]);
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].line, 4);
    }
}
