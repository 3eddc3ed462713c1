//! Where this program lies: what a graceful restart, the watchdog and the lab start again.

use std::{
    io,
    path::{Path, PathBuf},
    sync::OnceLock,
};

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// The path of this program, as it was when this was first called. `main` calls it before anything else: once another
/// version has been renamed over the file, Linux calls it "… (deleted)", and the path is the only way to the new one.
///
/// # Errors
/// If the first call could not find it.
pub fn program() -> io::Result<&'static Path> {
    if let Some(path) = PROGRAM.get() {
        return Ok(path);
    }
    let path = std::env::current_exe()?;
    Ok(PROGRAM.get_or_init(|| path))
}
