//! Where a lab keeps its files, and what its namespaces are called.
//!
//! ```text
//! /run/proxima-lab/<lab>/
//!   topology.toml  daemon.lock  daemon.log  control.sock  at-rest.key  ca/
//!   names/{root.hints,root.key}  names/zones/…
//!   hosts/<host>/{config,data,logs,run}
//! ```

use std::path::{Path, PathBuf};

use crate::error::{Doing, LabError, Result};

/// Where labs keep their state unless told otherwise.
pub const STATE_ROOT: &str = "/run/proxima-lab";
/// The lab that commands mean when they name none.
pub const DEFAULT_NAME: &str = "default";

/// A lab's name is part of the names of its namespaces, which people type.
const LAB_NAME_BYTES_MAX: usize = 12;
/// `sockaddr_un` holds 108 bytes with the final zero; the longest socket path is a host's `run/bird.ctl`.
const STATE_DIR_BYTES_MAX: usize = 107 - "/hosts/fifteen-letters/run/bird.ctl".len();

/// A lab's name and folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabState {
    name: String,
    dir: PathBuf,
}

impl LabState {
    /// # Errors
    /// The name is not one, or the path is too long for the sockets in it.
    pub fn new(name: &str, state_root: &Path) -> Result<Self> {
        let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let well_formed = name.len() <= LAB_NAME_BYTES_MAX
            && name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(letters);
        if !well_formed {
            return Err(LabError::LabName(name.to_owned()));
        }
        let root = std::path::absolute(state_root).doing(|| format!("finding {}", state_root.display()))?;
        let dir = root.join(name);
        if dir.as_os_str().len() > STATE_DIR_BYTES_MAX {
            return Err(LabError::Malformed {
                what: format!("the state folder {}", dir.display()),
                why: format!("its path is over {STATE_DIR_BYTES_MAX} bytes, too long for the sockets in it"),
            });
        }
        Ok(Self { name: name.to_owned(), dir })
    }

    /// The lab's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The lab's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the names of the lab's namespaces begin with. The dot keeps lab `a` apart from lab `a-b`.
    pub(crate) fn namespace_prefix(&self) -> String {
        format!("px-{}.", self.name)
    }

    /// The namespace of a host, as `ip netns` knows it.
    #[must_use]
    pub fn namespace(&self, host: &str) -> String {
        format!("{}{host}", self.namespace_prefix())
    }

    /// The folder of a host.
    #[must_use]
    pub fn host_dir(&self, host: &str) -> PathBuf {
        self.dir.join("hosts").join(host)
    }

    /// The configuration files of a host.
    #[must_use]
    pub fn config_dir(&self, host: &str) -> PathBuf {
        self.host_dir(host).join("config")
    }

    /// The data folder of a host.
    #[must_use]
    pub fn data_dir(&self, host: &str) -> PathBuf {
        self.host_dir(host).join("data")
    }

    /// The logs of a host.
    #[must_use]
    pub fn logs_dir(&self, host: &str) -> PathBuf {
        self.host_dir(host).join("logs")
    }

    /// Sockets and pid files of a host.
    #[must_use]
    pub fn run_dir(&self, host: &str) -> PathBuf {
        self.host_dir(host).join("run")
    }

    pub(crate) fn bird_socket(&self, host: &str) -> PathBuf {
        self.run_dir(host).join("bird.ctl")
    }

    /// The root hints for a resolver: names and addresses of the lab's root servers, as a zone file.
    #[must_use]
    pub fn root_hints(&self) -> PathBuf {
        self.names_dir().join("root.hints")
    }

    /// The trust anchor for a resolver: the DS record of the lab's root, as a zone file.
    #[must_use]
    pub fn root_anchor(&self) -> PathBuf {
        self.names_dir().join("root.key")
    }

    /// The control socket of the resolver on a client, for `unbound-control -s`.
    #[must_use]
    pub fn resolver_socket(&self, host: &str) -> PathBuf {
        self.run_dir(host).join("dns.ctl")
    }

    /// Zones of the lab's name servers that are not Proxima.
    pub(crate) fn names_dir(&self) -> PathBuf {
        self.dir.join("names")
    }

    pub(crate) fn topology(&self) -> PathBuf {
        self.dir.join("topology.toml")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.dir.join("daemon.lock")
    }

    pub(crate) fn daemon_log(&self) -> PathBuf {
        self.dir.join("daemon.log")
    }

    pub(crate) fn control_socket(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    pub(crate) fn at_rest_key(&self) -> PathBuf {
        self.dir.join("at-rest.key")
    }

    pub(crate) fn ca_dir(&self) -> PathBuf {
        self.dir.join("ca")
    }
}

/// The names of the labs that run, in order. A folder without a daemon that answers is a lab that crashed.
pub(crate) fn running(state_root: &Path) -> Vec<String> {
    let folders = std::fs::read_dir(state_root).into_iter().flatten().flatten();
    let names = folders.filter_map(|folder| folder.file_name().into_string().ok());
    let mut running: Vec<String> = names
        .filter(|name| {
            let state = LabState::new(name, state_root);
            state.is_ok_and(|state| std::os::unix::net::UnixStream::connect(state.control_socket()).is_ok())
        })
        .collect();
    running.sort_unstable();
    running
}

/// The lab that a command means: the one that it names, else the default one, else the only one that runs.
pub(crate) fn meant(named: Option<&str>, running: &[String]) -> Result<String> {
    match (named, running) {
        (Some(name), _) => Ok(name.to_owned()),
        (None, []) => Ok(DEFAULT_NAME.to_owned()),
        (None, running) if running.iter().any(|name| name == DEFAULT_NAME) => Ok(DEFAULT_NAME.to_owned()),
        (None, [only]) => Ok(only.clone()),
        (None, several) => Err(LabError::WhichLab { running: several.join(", ") }),
    }
}

/// Writes a file, naming it if that fails.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    std::fs::write(path, content).doing(|| format!("writing {}", path.display()))
}

/// Writes a file that only its owner may read.
pub(crate) fn write_secret(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let doing = || format!("writing {}", path.display());
    let mut file = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .doing(doing)?;
    file.write_all(content.as_ref()).doing(doing)
}

/// Makes a folder and those above it.
pub(crate) fn create_dir(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).doing(|| format!("making the folder {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_labs_name_must_fit_into_namespace_names() {
        for name in ["", "Lab", "a.b", "a/b", "../up", "thirteen-long", "1st"] {
            assert!(LabState::new(name, Path::new("/run/x")).is_err(), "{name}");
        }
        let state = LabState::new("a-b", Path::new("/run/x")).unwrap();
        assert_eq!(state.namespace("paris"), "px-a-b.paris");
        assert!(
            !"px-a-b.paris".starts_with(&LabState::new("a", Path::new("/run/x")).unwrap().namespace_prefix())
        );
    }

    #[test]
    fn without_a_name_the_only_lab_that_runs_is_meant_and_of_several_none() {
        let labs = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
        assert_eq!(meant(None, &labs(&["tour"])).unwrap(), "tour");
        assert_eq!(meant(None, &labs(&["default", "tour"])).unwrap(), "default");
        assert_eq!(meant(None, &[]).unwrap(), "default");
        assert_eq!(meant(Some("mine"), &labs(&["tour"])).unwrap(), "mine");
        let error = meant(None, &labs(&["one", "tour"])).unwrap_err().to_string();
        assert!(error.contains("one, tour") && error.contains("--name"), "{error}");
    }

    #[test]
    fn a_lab_runs_when_its_daemon_answers() {
        let root = tempfile::tempdir().unwrap();
        for name in ["crashed", "tour"] {
            create_dir(&root.path().join(name)).unwrap();
        }
        let socket = |name| LabState::new(name, root.path()).unwrap().control_socket();
        drop(std::os::unix::net::UnixListener::bind(socket("crashed")).unwrap());
        let _daemon = std::os::unix::net::UnixListener::bind(socket("tour")).unwrap();
        assert_eq!(running(root.path()), ["tour"]);
        assert!(running(&root.path().join("none")).is_empty());
    }

    #[test]
    fn a_state_folder_too_deep_for_sockets_is_refused() {
        let deep = format!("/{}", "d".repeat(100));
        let error = LabState::new("lab", Path::new(&deep)).unwrap_err().to_string();
        assert!(error.contains("too long for the sockets"), "{error}");
    }
}
