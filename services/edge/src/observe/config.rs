//! `[edge.request_log]`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::EdgeError;

/// Requests of which at least one is logged: beyond this, a log says nothing any more.
const SAMPLE_INTERVAL_MAX: u64 = 1_000_000_000;
/// The path that means standard output.
const STDOUT: &str = "stdout";

/// `[edge.request_log]`: requests as lines of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestLogConfig {
    /// The file, or `stdout`.
    pub path: PathBuf,
    /// One request in so many is logged.
    #[serde(default = "every")]
    pub sample_interval: u64,
    /// Whether requests that were answered 500 or above are logged, whatever the sample.
    #[serde(default = "yes")]
    pub always_errors: bool,
    /// Whether queries are logged: they may hold secrets.
    #[serde(default)]
    pub query: bool,
}

const fn every() -> u64 {
    1
}

const fn yes() -> bool {
    true
}

impl RequestLogConfig {
    /// Whether lines go to standard output.
    pub fn is_stdout(&self) -> bool {
        self.path == Path::new(STDOUT)
    }

    /// Checks what types cannot; touches no file.
    ///
    /// # Errors
    /// The first value that cannot be, and what it may be.
    pub fn check(&self) -> Result<(), EdgeError> {
        if (1..=SAMPLE_INTERVAL_MAX).contains(&self.sample_interval) {
            return Ok(());
        }
        let problem = format!("{} is not between 1 and {SAMPLE_INTERVAL_MAX}", self.sample_interval);
        Err(EdgeError::Setting { field: "request_log.sample_interval", problem })
    }

    /// Checks that lines could be written to `path`, this configuration's in full, and makes nothing.
    ///
    /// # Errors
    /// Why they could not.
    pub fn check_path(&self, path: &Path) -> Result<(), EdgeError> {
        if self.is_stdout() {
            return Ok(());
        }
        let failed = |source| EdgeError::RequestLog { path: path.to_owned(), source };
        match std::fs::OpenOptions::new().append(true).open(path) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let metadata = std::fs::metadata(folder.unwrap_or(Path::new("."))).map_err(failed)?;
                if metadata.is_dir() { Ok(()) } else { Err(failed(std::io::ErrorKind::NotADirectory.into())) }
            }
            Err(error) => Err(failed(error)),
        }
    }
}
