//! `[dns.flattening]`: what is done about aliases that lead outside.

use serde::Deserialize;

use crate::DnsError;

/// Targets that may be configured, each with some 500 octets, and at most 2 KiB.
const TARGETS_LARGEST: usize = 4_194_304;

/// How aliases are flattened that lead out of the zones here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlatteningConfig {
    /// Whether names outside are resolved for it. Unless given: where the files are there with which resolving begins, the
    /// `hints_file` and `anchors_file` of `[dns.resolver]`.
    pub outside: Option<bool>,
    /// Targets outside that are known at a time, of each type of address: what is asked for here within an hour.
    pub targets_max: usize,
    /// Those of one account.
    pub targets_per_account_max: usize,
}

impl Default for FlatteningConfig {
    fn default() -> Self {
        Self { outside: None, targets_max: 65_536, targets_per_account_max: 2_048 }
    }
}

impl FlatteningConfig {
    /// What the table alone tells.
    pub(crate) fn check(&self) -> Result<(), DnsError> {
        let refuse = |field, problem: &str| Err(DnsError::Config { field, problem: problem.to_owned() });
        if !(1..=TARGETS_LARGEST).contains(&self.targets_max) {
            return refuse("flattening.targets_max", "give 1 to 4194304");
        }
        if !(1..=self.targets_max).contains(&self.targets_per_account_max) {
            return refuse("flattening.targets_per_account_max", "give 1 to targets_max");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_no_more_targets_than_all_together() {
        let of = |all, account| FlatteningConfig {
            targets_max: all,
            targets_per_account_max: account,
            ..FlatteningConfig::default()
        };
        assert!(FlatteningConfig::default().check().is_ok() && of(1, 1).check().is_ok());
        for (all, account) in [(0, 0), (1, 0), (5, 6), (TARGETS_LARGEST + 1, 1)] {
            assert!(of(all, account).check().is_err(), "{all} {account}");
        }
    }
}
