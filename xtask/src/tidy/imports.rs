//! Imports only go down.

use super::{Finding, Rule};
use crate::workspace::Package;

const DIRECTION: Rule = Rule {
    name: "imports go down",
    reason: "a floor that knows nothing of those above can be read, tested and reused without them; services that do \
             not know each other can be changed alone",
    remedy: "move the shared part to a lower floor, or meet through a port of core/pipeline; whole-system tests live \
             in tests/",
};

const UNPLACED: Rule = Rule {
    name: "every crate has a floor",
    reason: "only then can the direction of imports be checked",
    remedy: "move the crate to the floor where it belongs, or give it a floor in xtask/src/tidy/imports.rs",
};

/// Where a crate stands in the house.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Floor {
    /// core/, by height.
    Core(u8),
    /// services/*: on one floor, with walls between them.
    Service,
    /// The simulated internet: beside the services, which it drives only through the binary.
    Lab,
    /// The binary.
    Proxima,
    /// Chores: know nothing of what they build.
    Xtask,
    /// Whole-system tests, benchmarks, fuzzing: above everything.
    Outside,
}

/// core/, from the ground up.
const CORE: [&str; 13] = [
    "core/bird",
    "core/rules",
    "core/wire",
    "core/model",
    "core/transfer",
    "core/resolver",
    "core/ledger",
    "core/chassis",
    "core/store",
    "core/tls",
    "core/pipeline",
    "core/http1",
    "core/compression",
];

impl Floor {
    fn of(folder: &str) -> Option<Self> {
        if let Some(height) = CORE.iter().position(|known| *known == folder) {
            return Some(Self::Core(u8::try_from(height).expect("the house has few core floors")));
        }
        match folder.split('/').next()? {
            "services" => Some(Self::Service),
            "lab" => Some(Self::Lab),
            "proxima" => Some(Self::Proxima),
            "xtask" => Some(Self::Xtask),
            "tests" | "benches" | "fuzz" => Some(Self::Outside),
            _ => None,
        }
    }

    fn may_import(self, other: Self) -> bool {
        match (self, other) {
            (Self::Core(own), Self::Core(others)) => others < own,
            (Self::Service | Self::Lab, Self::Core(_)) => true,
            (Self::Proxima, Self::Core(_) | Self::Service | Self::Lab) => true,
            (Self::Outside, Self::Xtask) => false,
            (Self::Outside, _) => true,
            _ => false,
        }
    }
}

/// Checks the dependencies of every package on packages of this workspace.
pub(super) fn check(packages: &[Package]) -> Vec<Finding> {
    packages.iter().flat_map(|package| check_package(package, packages)).collect()
}

fn check_package(package: &Package, packages: &[Package]) -> Vec<Finding> {
    let manifest = format!("{}/Cargo.toml", package.folder);
    let Some(floor) = Floor::of(&package.folder) else {
        return vec![Finding::new(&UNPLACED, manifest, format!("{} has none", package.name))];
    };
    let ours = |name: &String| packages.iter().find(|other| other.name == *name);
    let upwards = |other: &&Package| Floor::of(&other.folder).is_some_and(|others| !floor.may_import(others));
    package
        .dependencies
        .iter()
        .filter_map(ours)
        .filter(upwards)
        .map(|other| {
            Finding::new(&DIRECTION, &manifest, format!("{} imports {}", package.folder, other.folder))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(folder: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name(folder),
            folder: folder.into(),
            crate_roots: vec![],
            source_folders: vec![folder.into()],
            dependencies: dependencies.iter().map(|folder| name(folder)).collect(),
        }
    }

    fn name(folder: &str) -> String {
        folder.replace('/', "-")
    }

    fn found(packages: &[Package]) -> Vec<String> {
        check(packages).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn downwards_and_outwards_is_fine() {
        let packages = [
            package("core/model", &[]),
            package("core/ledger", &["core/model"]),
            package("core/pipeline", &["core/ledger", "core/model"]),
            package("services/dns", &["core/pipeline", "serde"]),
            package("lab", &["core/model"]),
            package("proxima", &["services/dns", "lab", "core/model"]),
            package("tests/api", &["proxima", "services/dns"]),
        ];
        assert_eq!(found(&packages), [""; 0]);
    }

    #[test]
    fn upwards_sideways_and_into_the_chores_is_not() {
        let packages = [
            package("core/model", &["core/ledger"]),
            package("core/ledger", &["services/dns"]),
            package("services/dns", &["services/edge", "proxima"]),
            package("services/edge", &["xtask"]),
            package("xtask", &["core/model"]),
            package("lab", &["services/dns"]),
            package("proxima", &[]),
        ];
        assert_eq!(
            found(&packages),
            [
                "core/model imports core/ledger",
                "core/ledger imports services/dns",
                "services/dns imports services/edge",
                "services/dns imports proxima",
                "services/edge imports xtask",
                "xtask imports core/model",
                "lab imports services/dns",
            ]
        );
    }

    #[test]
    fn a_crate_outside_the_house_is_a_finding() {
        assert_eq!(found(&[package("tools/x", &[])]), ["tools-x has none"]);
    }
}
