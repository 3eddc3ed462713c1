//! What the nodes of a lab are given to know each other by.

use std::path::Path;

use proxima_chassis::ClusterAuthority;
use proxima_model::NodeName;
use rand::RngExt;

use crate::error::{LabError, Result};
use crate::state::write_secret;

/// Issues the identities of one lab's nodes.
pub(crate) struct ClusterCa(ClusterAuthority);

fn malformed(what: &str, why: &dyn std::fmt::Display) -> LabError {
    LabError::Malformed { what: what.to_owned(), why: why.to_string() }
}

impl ClusterCa {
    /// A new authority, kept in `dir` as ca.pem and ca.key.
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        ClusterAuthority::create(dir).map(Self).map_err(|error| malformed("the cluster's authority", &error))
    }

    /// Writes ca.pem, node.pem and node.key of a node.
    pub(crate) fn issue(&self, node: &str, dir: &Path) -> Result<()> {
        let what = format!("the identity of {node}");
        let name = NodeName::parse(node).map_err(|error| malformed(&what, &error))?;
        self.0.issue(&name, dir).map(drop).map_err(|error| malformed(&what, &error))
    }
}

/// The key that encrypts secrets at rest: 32 random bytes as 64 hexadecimal digits.
pub(crate) fn write_at_rest_key(path: &Path) -> Result<()> {
    let key: [u8; 32] = rand::rng().random();
    write_secret(path, hex::encode(key))
}
