//! Programs that run beside a test.

use std::{
    io::Read,
    process::{Child, Command},
};

use crate::process::dies_with_the_test;

/// A program that runs until it is dropped, and no longer than the test.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(dies_with_the_test(command).spawn().unwrap_or_else(|error| {
            panic!("{command:?}: {error}; what is missing, `cargo xtask setup` installs");
        }))
    }

    /// What it has printed when it ends by itself.
    pub(crate) fn output(mut self) -> String {
        let (mut stdout, mut stderr) = (self.0.stdout.take(), self.0.stderr.take());
        let mut text = String::new();
        stdout.as_mut().map(|pipe| pipe.read_to_string(&mut text).unwrap());
        stderr.as_mut().map(|pipe| pipe.read_to_string(&mut text).unwrap());
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
