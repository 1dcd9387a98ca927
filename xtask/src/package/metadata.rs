//! What cargo knows about the workspace: its programs, and whose code is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::Outcome;
use crate::workspace::cargo;

/// The target that packages are made for.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The output of `cargo metadata`, as far as it is needed.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    packages: Vec<Crate>,
    workspace_members: BTreeSet<String>,
    resolve: Option<Resolve>,
}

/// A crate.
#[derive(Debug, Deserialize)]
pub struct Crate {
    id: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence, an SPDX expression.
    pub license: Option<String>,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

impl Crate {
    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Debug, Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

impl Metadata {
    /// Asks cargo.
    pub fn read() -> Outcome<Self> {
        let mut command = cargo();
        command.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", TARGET]);
        let output = command.output().map_err(|error| format!("cargo metadata: {error}"))?;
        if !output.status.success() {
            return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
    }

    /// Every program of the workspace.
    pub fn programs(&self) -> BTreeSet<&str> {
        let members = self.packages.iter().filter(|one| self.workspace_members.contains(&one.id));
        let targets = members.flat_map(|one| &one.targets);
        targets.filter(|target| is_kind(target, "bin")).map(|target| target.name.as_str()).collect()
    }

    /// The crates of others whose code is in these programs, by name and version.
    pub fn contained_in(&self, programs: &BTreeSet<&str>) -> Vec<&Crate> {
        let by_id: BTreeMap<&str, &Crate> = self.packages.iter().map(|one| (one.id.as_str(), one)).collect();
        let nodes = self.resolve.iter().flat_map(|resolve| &resolve.nodes);
        let dependencies: BTreeMap<&str, &[Dependency]> =
            nodes.map(|node| (node.id.as_str(), node.deps.as_slice())).collect();
        let is_start = |one: &&Crate| {
            one.targets.iter().any(|target| is_kind(target, "bin") && programs.contains(target.name.as_str()))
                && self.workspace_members.contains(&one.id)
        };
        let mut waiting: Vec<&str> =
            self.packages.iter().filter(is_start).map(|one| one.id.as_str()).collect();
        let mut seen: BTreeSet<&str> = waiting.iter().copied().collect();
        while let Some(id) = waiting.pop() {
            for dependency in dependencies.get(id).copied().unwrap_or_default() {
                let is_linked = dependency.dep_kinds.iter().any(|kind| kind.kind.is_none());
                let is_macro = by_id
                    .get(dependency.pkg.as_str())
                    .is_some_and(|one| one.targets.iter().any(|target| is_kind(target, "proc-macro")));
                if is_linked && !is_macro && seen.insert(&dependency.pkg) {
                    waiting.push(&dependency.pkg);
                }
            }
        }
        let mut found: Vec<&Crate> = seen
            .iter()
            .filter(|id| !self.workspace_members.contains(**id))
            .filter_map(|id| by_id.get(id).copied())
            .collect();
        found.sort_by(|left, right| (&left.name, &left.version).cmp(&(&right.name, &right.version)));
        found
    }
}

fn is_kind(target: &Target, kind: &str) -> bool {
    target.kind.iter().any(|one| one == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_the_code_in_them_are_found() {
        let metadata = Metadata::read().unwrap();
        let programs = metadata.programs();
        assert!(programs.is_superset(&BTreeSet::from([
            "qfilexchgd",
            "xs-gate",
            "fat-reader",
            "xen-sim",
            "xtask"
        ])));
        let names = |programs: &[&str]| -> BTreeSet<&str> {
            let contained = metadata.contained_in(&programs.iter().copied().collect());
            contained.iter().map(|one| one.name.as_str()).collect()
        };
        let of_reader = names(&["fat-reader"]);
        assert!(of_reader.contains("rustix") && of_reader.contains("bincode"), "{of_reader:?}");
        for (absent, why) in [
            ("thiserror-impl", "a macro"),
            ("proptest", "of tests"),
            ("xenstore-rs", "of dom0"),
            ("protocol", "our own"),
        ] {
            assert!(!of_reader.contains(absent), "{absent} is {why}");
        }
        assert!(names(&["attacher"]).contains("xenstore-rs"));
    }
}
