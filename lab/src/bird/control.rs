//! BIRD's control socket: one command, one answer.
//!
//! An answer is lines "CCCC-text" or " text" (same code as before) and at last "CCCC text". Codes from 8000 on are
//! errors of execution, from 9000 on of syntax.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::error::{LabError, Result};

/// A router with a few hundred routes answers within milliseconds.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
/// `show route all` of a full lab is a few kilobytes.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
const ERROR_CODES_FROM: u16 = 8000;

/// Sends one command to the BIRD of `host`; the answer's lines without their codes.
pub(crate) fn ask(host: &str, socket: &Path, command: &str) -> Result<Vec<String>> {
    let fail = |answer: String| LabError::Bird { host: host.to_owned(), command: command.to_owned(), answer };
    let stream = UnixStream::connect(socket).map_err(|error| fail(format!("not running ({error})")))?;
    let transport = |error: std::io::Error| fail(format!("no answer ({error})"));
    stream.set_read_timeout(Some(ANSWER_DEADLINE)).map_err(transport)?;
    stream.set_write_timeout(Some(ANSWER_DEADLINE)).map_err(transport)?;
    let mut lines = BufReader::new(stream.take(ANSWER_BYTES_MAX));
    let (code, greeting) = read_answer(&mut lines).map_err(transport)?;
    if code >= ERROR_CODES_FROM {
        return Err(fail(greeting.join(" ")));
    }
    lines.get_ref().get_ref().write_all(format!("{command}\n").as_bytes()).map_err(transport)?;
    let (code, answer) = read_answer(&mut lines).map_err(transport)?;
    if code >= ERROR_CODES_FROM { Err(fail(answer.join(" "))) } else { Ok(answer) }
}

fn read_answer(lines: &mut impl BufRead) -> std::io::Result<(u16, Vec<String>)> {
    let mut answer = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let text = line.trim_end_matches('\n');
        match (text.get(..4).and_then(|code| code.parse::<u16>().ok()), text.as_bytes().get(4)) {
            (Some(code), Some(b' ')) => {
                answer.push(text[5..].to_owned());
                return Ok((code, answer));
            }
            (Some(_), Some(b'-')) => answer.push(text[5..].to_owned()),
            (Some(code), None) => return Ok((code, answer)),
            // Continuation: a blank, then text.
            _ => answer.push(text.get(1..).unwrap_or_default().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_several_lines_ends_with_its_code_and_a_blank() {
        let wire = "1007-Table master4:\n 198.18.0.0/24   unicast [fra_1_v4] * (100)\n\tvia 10.1.1.2 on fra-1\n0000 \n";
        let (code, lines) = read_answer(&mut wire.as_bytes()).unwrap();
        assert_eq!(code, 0);
        assert_eq!(lines[1], "198.18.0.0/24   unicast [fra_1_v4] * (100)");
        assert_eq!(lines[2], "via 10.1.1.2 on fra-1");
    }

    #[test]
    fn an_answer_that_breaks_off_is_an_error() {
        assert!(read_answer(&mut "1007-Table master4:\n".as_bytes()).is_err());
    }
}
