//! Asking a router's BIRD.

use std::path::Path;

use proxima_bird::{BirdError, Control};

use crate::error::{LabError, Result};

/// Sends one command to the BIRD of `host`; the reply's lines without their codes.
pub(crate) fn ask(host: &str, socket: &Path, command: &str) -> Result<Vec<String>> {
    let reply = Control::connect(socket).and_then(|mut control| control.say(command));
    let fail = |error: BirdError| LabError::Bird {
        host: host.to_owned(),
        command: command.to_owned(),
        answer: error.to_string(),
    };
    Ok(reply.map_err(fail)?.into_iter().map(|line| line.text).collect())
}
