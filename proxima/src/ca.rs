//! `proxima ca`: who is a node of this cluster.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use proxima_chassis::ClusterAuthority;
use proxima_model::NodeName;

/// The cluster's authority.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum CaCommand {
    /// Make a new authority, and the key that secrets are encrypted with at rest. Keep the folder off the servers.
    Init {
        /// The folder: ca.pem, ca.key and at-rest.key are written there.
        folder: PathBuf,
    },
    /// Issue a node's identity: ca.pem, node.pem and node.key, for its `[identity]`.
    Issue {
        /// The authority's folder.
        #[arg(long)]
        ca: PathBuf,
        /// The node's name, as in its `[node]`.
        #[arg(long)]
        name: String,
        /// The folder to write to.
        #[arg(long)]
        out: PathBuf,
    },
}

pub(crate) fn run(command: CaCommand) -> anyhow::Result<ExitCode> {
    match command {
        CaCommand::Init { folder } => {
            ClusterAuthority::create(&folder)?;
            let key = write_at_rest_key(&folder)?;
            println!("{}  to every node, for [identity] ca", folder.join("ca.pem").display());
            println!("{}  stays here, and secret", folder.join("ca.key").display());
            println!("{}  to every node, for [node] key_file, and secret", key.display());
        }
        CaCommand::Issue { ca, name, out } => {
            let name = NodeName::parse(&name)?;
            let identity = ClusterAuthority::load(&ca)?.issue(&name, &out)?;
            println!("[identity]");
            for (key, path) in
                [("ca", identity.ca), ("certificate", identity.certificate), ("key", identity.key)]
            {
                println!("{key} = {:?}", path.display().to_string());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A new key for secrets at rest, unless the folder has one.
pub(crate) fn write_at_rest_key(folder: &std::path::Path) -> anyhow::Result<PathBuf> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};

    let path = folder.join("at-rest.key");
    if !path.exists() {
        let (_, hex) = proxima_ledger::Sealer::generate();
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(&path).with_context(|| format!("writing {}", path.display()))?;
        writeln!(file, "{hex}")?;
        file.sync_all()?;
    }
    Ok(path)
}
