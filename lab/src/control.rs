//! The daemon's control socket: one JSON line asks, one JSON line answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Doing, LabError, Result};
use crate::fault::{Fault, FaultReport};
use crate::state::LabState;
use crate::status::Status;

/// The longest work is restarting a PoP whose nodes drain and come up one after the other.
const ANSWER_DEADLINE: Duration = Duration::from_secs(300);
/// A request names a fault and two hosts.
pub(crate) const REQUEST_BYTES_MAX: u64 = 16 << 10;
/// The status of a full lab has some 50 kilobytes.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    Status,
    Fault(Fault),
    /// A zone on Proxima.
    Delegate(String),
    Down,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    Status(Box<Status>),
    Fault(FaultReport),
    /// What was done.
    Delegated(String),
    Down,
    Error(String),
}

/// What the daemon tells `lab up`, line by line on its stdout.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Progress {
    Step(String),
    Ready,
    Error(String),
}

/// Asks the daemon of a lab.
pub(crate) fn ask(state: &LabState, request: &Request) -> Result<Answer> {
    let mut stream = UnixStream::connect(state.control_socket())
        .map_err(|_| LabError::NotUp { name: state.name().to_owned(), state_dir: state.dir().to_owned() })?;
    let doing = || format!("asking the daemon of the lab `{}`", state.name());
    stream.set_read_timeout(Some(ANSWER_DEADLINE)).doing(doing)?;
    stream.write_all(&line(request)).doing(doing)?;
    let mut answer = String::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut answer).doing(doing)?;
    match parse(&answer)? {
        Answer::Error(error) => Err(LabError::Daemon(error)),
        answer => Ok(answer),
    }
}

/// Something as a JSON line.
pub(crate) fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("the protocol's types have string keys only");
    line.push(b'\n');
    line
}

/// What a JSON line says.
pub(crate) fn parse<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T> {
    serde_json::from_str(line).map_err(|error| LabError::Malformed {
        what: "a line of the lab's daemon".to_owned(),
        why: if line.is_empty() { "the daemon is gone".to_owned() } else { error.to_string() },
    })
}
