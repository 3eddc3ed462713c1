//! Programs that run beside a test.

use std::process::{Child, Command};

use crate::process::dies_with_the_test;

/// A program that runs until it is dropped, and no longer than the test.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(dies_with_the_test(command).spawn().unwrap_or_else(|error| {
            panic!("{command:?}: {error}; what is missing, `cargo xtask setup` installs");
        }))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
