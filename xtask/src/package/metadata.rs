//! What cargo knows about the workspace: its programs, and whose code is in them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::edges::{Edges, Key};
use crate::Outcome;
use crate::workspace::cargo;

/// The target that packages are made for.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The output of `cargo metadata`, as far as it is needed.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    packages: Vec<Crate>,
    workspace_members: BTreeSet<String>,
    /// Whose code is in whose.
    #[serde(skip)]
    linked: Edges,
    /// The same with macros.
    #[serde(skip)]
    with_macros: Edges,
    /// The same with build scripts.
    #[serde(skip)]
    building: Edges,
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
    /// Where it comes from; `None` for a folder.
    pub source: Option<String>,
    /// What its manifest asks for.
    pub dependencies: Vec<Need>,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

impl Crate {
    fn key(&self) -> Key {
        (self.name.clone(), self.version.clone())
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }
}

/// A dependency as a manifest names it.
#[derive(Debug, Deserialize)]
pub struct Need {
    /// The crate.
    pub name: String,
    /// Which versions would do.
    pub req: String,
    /// The folder that it is in, for one of the workspace.
    pub path: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Metadata {
    /// Asks cargo.
    pub fn read() -> Outcome<Self> {
        let mut metadata = Self::read_for(&[TARGET])?;
        metadata.linked = Edges::read("normal,no-proc-macro", TARGET)?;
        metadata.with_macros = Edges::read("normal", TARGET)?;
        metadata.building = Edges::read("normal,build", TARGET)?;
        Ok(metadata)
    }

    /// What cargo says, asked once for all tests.
    #[cfg(test)]
    pub fn known() -> &'static Self {
        static KNOWN: std::sync::OnceLock<Metadata> = std::sync::OnceLock::new();
        KNOWN.get_or_init(|| Self::read().unwrap())
    }

    /// Asks cargo about these targets together, and not what is linked with what.
    pub fn read_for(targets: &[&str]) -> Outcome<Self> {
        let mut command = cargo();
        command.args(["metadata", "--format-version", "1", "--locked"]);
        for target in targets {
            command.args(["--filter-platform", target]);
        }
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

    /// Whether a crate is of this workspace.
    pub fn is_ours(&self, one: &Crate) -> bool {
        self.workspace_members.contains(&one.id)
    }

    /// The crate of the workspace that a program is made from.
    pub fn crate_of(&self, program: &str) -> Option<&Crate> {
        let mut ours = self.packages.iter().filter(|one| self.is_ours(one));
        ours.find(|one| one.targets.iter().any(|target| is_kind(target, "bin") && target.name == program))
    }

    /// The crates whose code is in this one's, by name and version.
    pub fn used_by(&self, one: &Crate) -> Vec<&Crate> {
        self.linked.of(&one.key()).filter_map(|key| self.crate_named(key)).collect()
    }

    /// The crates of others whose code is in these programs, by name and version.
    pub fn contained_in(&self, programs: &BTreeSet<&str>) -> Vec<&Crate> {
        self.others(&self.linked, programs)
    }

    /// The same, and the macros that were at work on it.
    pub fn written_in(&self, program: &str) -> Vec<&Crate> {
        self.others(&self.with_macros, &BTreeSet::from([program]))
    }

    /// The same, and what the build scripts consist of.
    pub fn involved_in(&self, program: &str) -> Vec<&Crate> {
        self.others(&self.building, &BTreeSet::from([program]))
    }

    fn others(&self, edges: &Edges, programs: &BTreeSet<&str>) -> Vec<&Crate> {
        let starts = programs.iter().filter_map(|program| self.crate_of(program)).map(Crate::key);
        let reached = edges.reached(starts);
        reached.iter().filter_map(|key| self.crate_named(key)).filter(|one| !self.is_ours(one)).collect()
    }

    /// A crate by its name and version.
    pub fn crate_named(&self, (name, version): &Key) -> Option<&Crate> {
        self.packages.iter().find(|one| one.name == *name && one.version == *version)
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
        let metadata = Metadata::known();
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
        // Slint could, with features that only its compiler has here.
        assert!(
            names(&["dialog-window"]).contains("slint") && !names(&["dialog-window"]).contains("fontique")
        );
    }
}
