//! `[control.acme]` of node.toml.

use std::path::PathBuf;
use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use proxima_chassis::NodeConfig;
use proxima_model::{KeyAlgorithm, excerpt};
use serde::{Deserialize, Serialize};

use crate::limits;

/// The table `[control.acme]`: from whom certificates are ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcmeConfig {
    /// The authority's directory (RFC 8555, 7.1.1).
    pub directory: String,
    /// Whether the operator has read the authority's terms of service and agrees to them.
    #[serde(default)]
    pub agree_to_terms: bool,
    /// Whom the authority may write to: `mailto:` addresses.
    #[serde(default)]
    pub contact: Vec<String>,
    /// The authorities that the directory's own certificate may come from, PEM; those of the system unless given.
    #[serde(default)]
    pub root: Option<PathBuf>,
    /// The name of the key that binds our account to one that the authority knows (RFC 8555, 7.3.4).
    #[serde(default)]
    pub eab_key_id: Option<String>,
    /// The file that holds that key, in base64url.
    #[serde(default)]
    pub eab_key_file: Option<PathBuf>,
    /// Whether zones get a certificate with an RSA key beside the one with an ECDSA key.
    #[serde(default)]
    pub rsa: bool,
    /// How much of a certificate's life is left when it is renewed, in percent, 5 to 90.
    #[serde(default = "renew_left_percent")]
    pub renew_left_percent: u8,
    /// How long other servers are given to answer a challenge before the authority is told to look, in milliseconds.
    #[serde(default = "propagation_ms")]
    pub propagation_ms: u64,
    /// Orders at a time, 1 to 64.
    #[serde(default = "orders_max")]
    pub orders_max: usize,
}

const fn renew_left_percent() -> u8 {
    limits::ACME_RENEW_LEFT_PERCENT
}

const fn propagation_ms() -> u64 {
    limits::ACME_PROPAGATION_MS
}

const fn orders_max() -> usize {
    limits::ACME_ORDERS
}

/// What is made of [`AcmeConfig`]: checked, and its files read.
#[derive(Clone)]
pub(crate) struct AcmeSettings {
    pub(crate) directory: String,
    pub(crate) contact: Vec<String>,
    pub(crate) roots: Vec<reqwest::Certificate>,
    /// Name and key.
    pub(crate) binding: Option<(String, Vec<u8>)>,
    /// In the order in which they are ordered.
    pub(crate) algorithms: Vec<KeyAlgorithm>,
    pub(crate) renew_left_percent: u8,
    pub(crate) propagation: Duration,
    pub(crate) orders_max: usize,
}

impl AcmeConfig {
    /// Checks it, and reads the files that it names.
    ///
    /// # Errors
    /// What is wrong, and what to give instead.
    pub(crate) fn load(&self, node: &NodeConfig) -> Result<AcmeSettings, String> {
        self.check().map_err(|problem| format!("[control.acme] {problem}"))?;
        let read = |name: &str, path: &PathBuf| {
            let path = node.path(path);
            let text = std::fs::read(&path);
            text.map_err(|error| format!("[control.acme] `{name}` {}: {error}", path.display()))
        };
        let roots = match &self.root {
            None => Vec::new(),
            Some(path) => {
                let found = reqwest::Certificate::from_pem_bundle(&read("root", path)?);
                found.ok().filter(|found| !found.is_empty()).ok_or_else(|| {
                    format!("[control.acme] `root` {}: there is no certificate in it", path.display())
                })?
            }
        };
        let binding = match (&self.eab_key_id, &self.eab_key_file) {
            (Some(id), Some(path)) => {
                let text = read("eab_key_file", path)?;
                let text = text.trim_ascii().trim_ascii_end();
                let text = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(text);
                let key = BASE64_URL_SAFE_NO_PAD.decode(text).ok().filter(|key| !key.is_empty());
                let key = key.ok_or_else(|| {
                    let path = path.display();
                    format!("[control.acme] `eab_key_file` {path}: it holds no key in base64url")
                })?;
                Some((id.clone(), key))
            }
            _ => None,
        };
        let rsa = self.rsa.then_some(KeyAlgorithm::Rsa);
        Ok(AcmeSettings {
            directory: self.directory.clone(),
            contact: self.contact.clone(),
            roots,
            binding,
            algorithms: std::iter::once(KeyAlgorithm::Ecdsa).chain(rsa).collect(),
            renew_left_percent: self.renew_left_percent,
            propagation: Duration::from_millis(self.propagation_ms),
            orders_max: self.orders_max,
        })
    }

    /// What is wrong with it by itself, and what to give instead.
    fn check(&self) -> Result<(), String> {
        let url = reqwest::Url::parse(&self.directory).ok();
        if !url.is_some_and(|url| url.scheme() == "https" && url.has_host()) {
            return Err(format!(
                "`directory` is {}: give the authority's URL, which begins with https:// (RFC 8555, 6.1)",
                excerpt(&self.directory)
            ));
        }
        if !self.agree_to_terms {
            return Err(
                "`agree_to_terms` is not set: read the authority's terms of service, which its directory names, and set it \
                 to true"
                    .to_owned(),
            );
        }
        if self.contact.len() > limits::ACME_CONTACTS_MAX
            || self.contact.iter().any(|uri| !uri.strip_prefix("mailto:").is_some_and(|to| to.contains('@')))
        {
            return Err(format!(
                "`contact` has at most {} addresses, each such as \"mailto:operator@example.com\"",
                limits::ACME_CONTACTS_MAX
            ));
        }
        if self.eab_key_id.is_some() != self.eab_key_file.is_some() {
            return Err("`eab_key_id` and `eab_key_file` are given together or not at all".to_owned());
        }
        if !(5..=90).contains(&self.renew_left_percent) {
            return Err("`renew_left_percent` is 5 to 90".to_owned());
        }
        if self.propagation_ms > limits::ACME_PROPAGATION_MS_MAX {
            return Err(format!("`propagation_ms` is at most {}", limits::ACME_PROPAGATION_MS_MAX));
        }
        if !(1..=limits::ACME_ORDERS_MAX).contains(&self.orders_max) {
            return Err(format!("`orders_max` is 1 to {}", limits::ACME_ORDERS_MAX));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> AcmeConfig {
        let table = "[node]\nname = \"n\"\npop = \"TST\"\nregion = \"r\"\ndata_dir = \"d\"\nkey_file = \"k\"\n[control.acme]\n";
        let node = NodeConfig::parse(&format!("{table}{text}")).unwrap();
        node.service::<crate::ControlConfig>("control").unwrap().acme.unwrap()
    }

    #[test]
    fn what_no_authority_would_take_is_refused_with_what_to_give_instead() {
        const GOOD: &str = "directory = \"https://ca.example/directory\"\nagree_to_terms = true\n";
        config(GOOD).check().unwrap();
        let wrong = [
            ("directory = \"http://ca.example/\"\nagree_to_terms = true", "https://"),
            ("directory = \"nonsense\"\nagree_to_terms = true", "directory"),
            ("directory = \"https://ca.example/\"", "agree_to_terms"),
            (&format!("{GOOD}contact = [\"operator@example.com\"]"), "mailto:"),
            (&format!("{GOOD}eab_key_id = \"kid\""), "eab_key_file"),
            (&format!("{GOOD}renew_left_percent = 95"), "renew_left_percent"),
            (&format!("{GOOD}propagation_ms = 9000000"), "propagation_ms"),
            (&format!("{GOOD}orders_max = 0"), "orders_max"),
        ];
        for (text, told) in wrong {
            let problem = config(text).check().unwrap_err();
            assert!(problem.contains(told), "{told} is not in: {problem}");
        }
    }
}
