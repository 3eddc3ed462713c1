//! Running other programs: each is printed before it runs, and its failure is an error that names it.

use std::ffi::OsStr;
use std::fs;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Cargo as this process was started by it, so that every step uses one toolchain.
pub(crate) fn cargo<I, S>(arguments: I) -> Command
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// `program` with `arguments`, through sudo when we are not root.
pub(crate) fn as_root(program: impl AsRef<OsStr>) -> Result<Command> {
    if is_root()? {
        return Ok(Command::new(program));
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    Ok(command)
}

/// Whether this process is root: the lab makes network namespaces, and apt installs.
pub(crate) fn is_root() -> Result<bool> {
    let status = fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let effective = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1));
    Ok(effective == Some("0"))
}

/// Prints the command, runs it with our own output, and fails if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", shown(command));
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("starting `{}`: is it installed?", program(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", shown(command));
    }
    Ok(())
}

/// The same for a command that says much when all is well: what it says is printed if it fails.
pub(crate) fn run_quietly(command: &mut Command) -> Result<()> {
    println!("$ {}", shown(command));
    let Output { status, stdout, stderr } = output(command)?;
    if !status.success() {
        print!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        bail!("`{}` failed: {status}", shown(command));
    }
    Ok(())
}

/// Runs the command silently and hands back all that it said, whether it succeeded or not.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting `{}`: is it installed?", program(command)))
}

/// What the command printed; its failure, or output that is not UTF-8, is an error.
pub(crate) fn stdout(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed: {}: {}", shown(command), output.status, said.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("output of `{}`", shown(command)))
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// The command as a person would type it (without quoting: for reading, not for pasting).
pub(crate) fn shown(command: &Command) -> String {
    let name = program(command);
    // Cargo is run by its full path; people know it by its name.
    let name = if name.ends_with("/cargo") { "cargo".to_owned() } else { name };
    std::iter::once(name)
        .chain(command.get_args().map(|argument| argument.to_string_lossy().into_owned()))
        .collect::<Vec<_>>()
        .join(" ")
}
