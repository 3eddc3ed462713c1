//! `[workers]` of `node.toml`.

use std::{
    ffi::OsStr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use proxima_chassis::{ConfigError, NodeConfig};
use proxima_model::limits::WORKER_SUBREQUESTS_MAX;
use serde::Deserialize;

use crate::SERVICE;

/// What the program is called.
const PROGRAM: &str = "workerd";
/// Processes that accounts are spread over; each costs some 60 MiB when it runs.
const SHARDS_MAX: usize = 256;
/// A Worker of less could not be told from the engine's own start.
const CPU_MS_MIN: u64 = 100;
/// An object of less could not even write what it needs to begin: a database and its log.
const DURABLE_BYTES_MIN: u64 = 8 << 20;
/// Less than this the engine takes by itself.
const MEMORY_BYTES_MIN: u64 = 128 << 20;
/// Below the one that is called nobody, and is many daemons: not used by Debian, nor by systemd for users that it makes.
const USER: u32 = 65_533;

/// `[workers]`. [`Default`] is what a node has that says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkersConfig {
    /// The program `workerd`; looked for in `PATH` without it.
    pub workerd: Option<PathBuf>,
    /// Processes that accounts are spread over; as many as there are processors without it.
    pub shards: Option<usize>,
    /// Versions that are asked most and have a process each, so that they answer at less than half of the cost; each process costs
    /// some 60 MiB, and 0 means that all share. As many as there are processors without it.
    pub own_processes_max: Option<usize>,
    /// How much time of a processor a process may take, in milliseconds, while nothing comes out of it.
    pub cpu_ms_max: u64,
    /// Memory of one process, in octets: all Workers of its accounts together.
    pub memory_bytes_max: u64,
    /// What is to stand around each process.
    pub isolation: IsolationLevel,
    /// The user, and the group of the same number, that processes become where the node is root.
    pub user: u32,
    /// The control group (cgroups(7), version 2) below which each process gets its own: one that the node may write. What systemd has
    /// delegated to the node without it, if anything.
    pub cgroup: Option<PathBuf>,
    /// Octets that one Durable Object may keep; no file of it becomes longer by more than a quarter.
    pub durable_object_bytes_max: u64,
    /// Octets that the Durable Objects of one account may keep on this server.
    pub durable_account_bytes_max: u64,
    /// Accounts whose Durable Objects are in memory at a time; each has a process of its own.
    pub durable_accounts_max: usize,
    /// How many subrequests an invocation may make, of versions that do not say.
    pub subrequests_max: u32,
    /// Whether code may fetch from private, loopback and link-local addresses.
    pub allow_private: bool,
}

impl Default for WorkersConfig {
    fn default() -> Self {
        Self {
            workerd: None,
            shards: None,
            own_processes_max: None,
            cpu_ms_max: 1_000,
            // Somewhat beyond, the engine ends by itself.
            memory_bytes_max: 1 << 30,
            isolation: IsolationLevel::Full,
            user: USER,
            cgroup: None,
            // What Cloudflare's have.
            durable_object_bytes_max: 10 << 30,
            durable_account_bytes_max: 50 << 30,
            durable_accounts_max: 64,
            // As Cloudflare documents it.
            subrequests_max: 1_000,
            allow_private: false,
        }
    }
}

/// What is to stand around each process of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IsolationLevel {
    /// Namespaces, files of its own, no rights, and the filter of system calls; without them no Workers run.
    Full,
    /// What of it the machine allows.
    Available,
    /// Nothing: for who looks for a fault in it.
    None,
}

impl WorkersConfig {
    /// Reads and checks the table.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(node: &NodeConfig) -> Result<Self, ConfigError> {
        let mut config: Self = node.service(SERVICE)?;
        let refuse = |problem: String| Err(ConfigError::Section { section: SERVICE.to_owned(), problem });
        if config.shards.is_some_and(|shards| !(1..=SHARDS_MAX).contains(&shards)) {
            return refuse(format!("shards: give 1 to {SHARDS_MAX}"));
        }
        if config.own_processes_max.is_some_and(|most| most > SHARDS_MAX) {
            return refuse(format!("own_processes_max: give 0 to {SHARDS_MAX}"));
        }
        if config.cpu_ms_max < CPU_MS_MIN {
            return refuse(format!("cpu_ms_max: give {CPU_MS_MIN} or more"));
        }
        if config.memory_bytes_max < MEMORY_BYTES_MIN {
            return refuse(format!("memory_bytes_max: give {MEMORY_BYTES_MIN} or more"));
        }
        if config.user == 0 {
            return refuse("user: give one that is not root".to_owned());
        }
        if config.cgroup.as_ref().is_some_and(|group| !group.is_absolute()) {
            return refuse("cgroup: give an absolute path".to_owned());
        }
        if config.durable_object_bytes_max < DURABLE_BYTES_MIN
            || config.durable_account_bytes_max < config.durable_object_bytes_max
        {
            return refuse(format!(
                "durable_object_bytes_max: give {DURABLE_BYTES_MIN} or more, and at most durable_account_bytes_max"
            ));
        }
        if config.durable_accounts_max == 0 {
            return refuse("durable_accounts_max: give 1 or more".to_owned());
        }
        if !(1..=WORKER_SUBREQUESTS_MAX).contains(&config.subrequests_max) {
            return refuse(format!("subrequests_max: give 1 to {WORKER_SUBREQUESTS_MAX}"));
        }
        config.workerd = config.workerd.map(|path| node.path(&path));
        Ok(config)
    }

    /// The program, if it is there: the one that is configured, or the first in `path`, which is written as `PATH` is.
    pub(crate) fn program(&self, path: Option<&OsStr>) -> Option<PathBuf> {
        match &self.workerd {
            Some(program) => is_program(program).then(|| program.clone()),
            None => std::env::split_paths(path?).map(|folder| folder.join(PROGRAM)).find(|it| is_program(it)),
        }
    }
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<WorkersConfig, String> {
        let node = "[node]\nname = \"a\"\npop = \"FRA\"\nregion = \"europe\"\ndata_dir = \"d\"\nkey_file = \"k\"\n\
                    [network]\n[workers]\n";
        let config = NodeConfig::parse(&format!("{node}{text}")).map_err(|error| error.to_string())?;
        WorkersConfig::of(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn what_could_not_work_is_told() {
        assert_eq!(read(""), Ok(WorkersConfig::default()));
        for (text, told) in [
            ("shards = 0", "shards: give 1"),
            ("shards = 257", "shards: give 1"),
            ("own_processes_max = 257", "own_processes_max: give 0"),
            ("cpu_ms_max = 99", "cpu_ms_max: give 100"),
            ("memory_bytes_max = 134217727", "memory_bytes_max: give 134217728"),
            ("user = 0", "user: give one that is not root"),
            ("isolation = \"some\"", "unknown variant `some`"),
            ("cgroup = \"proxima\"", "cgroup: give an absolute path"),
            ("durable_object_bytes_max = 1", "durable_object_bytes_max: give 8388608"),
            ("durable_account_bytes_max = 8388608", "at most durable_account_bytes_max"),
            ("durable_accounts_max = 0", "durable_accounts_max: give 1"),
            ("subrequests_max = 0", "subrequests_max: give 1"),
            ("subrequests_max = 10000001", "subrequests_max: give 1 to 10000000"),
            ("workerds = \"x\"", "unknown field `workerds`"),
        ] {
            let error = read(text).expect_err(told);
            assert!(error.contains(told), "{error}");
        }
        assert!(read("shards = 256\ncpu_ms_max = 100\nmemory_bytes_max = 134217728").is_ok());
    }

    #[test]
    fn the_program_is_the_configured_one_or_the_first_of_the_path_that_can_be_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let (plain, program) = (folder.path().join("plain"), folder.path().join("bin"));
        for (folder, mode) in [(&plain, 0o644), (&program, 0o755)] {
            std::fs::create_dir(folder).expect("a folder");
            let file = folder.join(PROGRAM);
            std::fs::write(&file, "").expect("a file");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("a mode");
        }
        let path = std::env::join_paths([&plain, &program]).expect("a path");
        let config = WorkersConfig::default();
        assert_eq!(config.program(Some(&path)), Some(program.join(PROGRAM)));
        assert_eq!(config.program(Some(plain.as_os_str())), None);
        assert_eq!(config.program(None), None);
        let configured = WorkersConfig { workerd: Some(plain.join(PROGRAM)), ..config };
        assert_eq!(configured.program(Some(&path)), None, "what is configured is not replaced by another");
    }
}
