//! Debian packages, by apt-get.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{AptPackage, Packages};
use crate::command;

/// Debian's hook that says which services a package may start when it is installed (invoke-rc.d(8)).
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// First words of our hook: by them we know it again, should a set-up have been killed before it could remove it.
const POLICY_TEXT: &str =
    "#!/bin/sh\n# By cargo xtask setup, for the time of an installation: start no service.\nexit 101\n";
/// Another apt may hold the lock, at boot for instance: wait for it rather than fail.
const LOCK_TIMEOUT_SECONDS: u32 = 300;
/// A mirror may be out for a moment.
const DOWNLOAD_TRIES: u32 = 3;

/// Installs what is missing.
pub(super) fn install(packages: &Packages, bench: bool) -> Result<()> {
    let wanted: Vec<&AptPackage> = packages
        .apt
        .iter()
        .filter(|package| bench || !package.bench)
        .filter(|package| !package.unless.as_deref().is_some_and(is_there))
        .collect();
    let pinned = release()?.as_deref() == Some(packages.release.as_str());
    let missing = missing(&wanted, &installed(&wanted)?, pinned);
    if missing.is_empty() {
        return Ok(());
    }

    println!("Installing from Debian's packages:");
    for package in &missing {
        println!("  {:<16} {:<11} {}", package.name, package.version, package.why);
    }
    if !pinned {
        println!(
            "This is not Debian {}, whose versions we test with: taking this release's own.",
            packages.release
        );
    }
    command::run(apt_get()?.args(["update", "--quiet=2"]))?;
    {
        let _no_service_starts = Policy::forbid_services()?;
        let specs = missing.iter().map(|package| specification(package, pinned));
        command::run(
            apt_get()?.args(["install", "--quiet=2", "--yes", "--no-install-recommends"]).args(specs),
        )?;
    }
    disable_services(&missing)
}

/// Whether a program is on the path. One that comes by another way than Debian's packages stays what it is.
fn is_there(program: &str) -> bool {
    command::output(Command::new(program).arg("--version")).is_ok_and(|said| said.status.success())
}

/// apt-get that asks nothing.
fn apt_get() -> Result<Command> {
    let mut command = command::as_root("env")?;
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    command.arg(format!("--option=DPkg::Lock::Timeout={LOCK_TIMEOUT_SECONDS}"));
    command.arg(format!("--option=Acquire::Retries={DOWNLOAD_TRIES}"));
    // No progress bars: who reads a log sees each of their steps.
    command.arg("--option=Dpkg::Use-Pty=0");
    Ok(command)
}

/// What apt-get is asked for: any Debian revision of the upstream version that we pin.
fn specification(package: &AptPackage, pinned: bool) -> String {
    if pinned { format!("{}={}*", package.name, package.version) } else { package.name.clone() }
}

/// Those of `wanted` that are not installed, or not in the version that we pin.
fn missing<'a>(
    wanted: &[&'a AptPackage],
    installed: &BTreeMap<String, String>,
    pinned: bool,
) -> Vec<&'a AptPackage> {
    let present = |package: &AptPackage| {
        installed.get(&package.name).is_some_and(|version| !pinned || version.starts_with(&package.version))
    };
    wanted.iter().copied().filter(|package| !present(package)).collect()
}

/// Versions of those of `wanted` that are installed.
fn installed(wanted: &[&AptPackage]) -> Result<BTreeMap<String, String>> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${db:Status-Status} ${Package} ${Version}\n"]);
    query.args(wanted.iter().map(|package| &package.name));
    // It fails if it does not know one of them, and still tells of the others.
    let output =
        command::output(&mut query).context("this set-up installs with apt, on Debian or its kin")?;
    Ok(parse_installed(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_installed(listing: &str) -> BTreeMap<String, String> {
    listing
        .lines()
        .filter_map(|line| {
            let (name, version) = line.strip_prefix("installed ")?.split_once(' ')?;
            Some((name.to_owned(), version.to_owned()))
        })
        .collect()
}

/// Code name of the release that this machine runs.
fn release() -> Result<Option<String>> {
    let text = fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
    Ok(text
        .lines()
        .find_map(|line| Some(line.strip_prefix("VERSION_CODENAME=")?.trim_matches('"').to_owned())))
}

/// Keeps packages from starting their services while it lives.
struct Policy {
    ours: bool,
}

impl Policy {
    /// A hook that is there already and not ours is somebody's decision: it stays as it is.
    fn forbid_services() -> Result<Self> {
        if !command::is_root()? || (Path::new(POLICY).exists() && fs::read_to_string(POLICY)? != POLICY_TEXT)
        {
            return Ok(Self { ours: false });
        }
        fs::write(POLICY, POLICY_TEXT).with_context(|| format!("writing {POLICY}"))?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("making {POLICY} executable"))?;
        Ok(Self { ours: true })
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("could not remove {POLICY}: {error}; until it is removed, packages start no services");
        }
    }
}

/// Where systemd runs, what we installed must not come up at the next boot either and take port 80.
fn disable_services(installed: &[&AptPackage]) -> Result<()> {
    let services: Vec<&str> =
        installed.iter().flat_map(|package| &package.services).map(String::as_str).collect();
    if services.is_empty() || !Path::new("/run/systemd/system").exists() {
        return Ok(());
    }
    command::run(command::as_root("systemctl")?.args(["disable", "--now", "--quiet"]).args(services))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> AptPackage {
        AptPackage {
            name: name.into(),
            version: version.into(),
            why: "a test".into(),
            services: vec![],
            unless: None,
            bench: false,
        }
    }

    #[test]
    fn only_what_is_installed_whole_counts() {
        let listing = "installed bird2 2.0.12-7\nconfig-files nginx-core 1.22.1-9\nnot-installed wrk \n";
        let installed = parse_installed(listing);
        assert_eq!(installed, BTreeMap::from([("bird2".to_owned(), "2.0.12-7".to_owned())]));
    }

    #[test]
    fn another_upstream_version_is_missing_only_where_it_is_pinned() {
        let bird = package("bird2", "2.0.12");
        let installed = BTreeMap::from([("bird2".to_owned(), "2.0.13-1".to_owned())]);
        assert_eq!(missing(&[&bird], &installed, true).len(), 1);
        assert_eq!(missing(&[&bird], &installed, false).len(), 0);
        assert_eq!(missing(&[&bird], &BTreeMap::new(), false).len(), 1);
    }

    #[test]
    fn a_pin_allows_for_security_revisions() {
        let nginx = package("nginx-core", "1.22.1");
        assert_eq!(specification(&nginx, true), "nginx-core=1.22.1*");
        let installed = BTreeMap::from([("nginx-core".to_owned(), "1.22.1-9+deb12u11".to_owned())]);
        assert!(missing(&[&nginx], &installed, true).is_empty());
    }
}
