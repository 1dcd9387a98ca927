//! docs/dependencies.md: which crates are in each program.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::Outcome;
use crate::package::list::{List, Package};
use crate::package::metadata::{Crate, Metadata};

const HEAD: &str = "\
# Whose code is in each program

Made by `cargo xtask docs` from what cargo says of the workspace for x86_64; a test compares. Versions are those of
Cargo.lock. *Inside* counts the crates of others whose code is in the program, *macros* those that write some of that code
while it is built, *building* those of the build scripts.

| program | package | inside | macros | building |
|---|---|---|---|---|
";

/// The document.
pub fn document(metadata: &Metadata) -> Outcome<String> {
    let list = List::read()?;
    let mut text = String::from(HEAD);
    let mut trees = String::new();
    let mut shown: BTreeSet<&str> = BTreeSet::new();
    for package in Package::ALL {
        for program in list.programs(package) {
            let one = metadata.crate_of(program).ok_or_else(|| format!("no crate makes {program}"))?;
            let inside = metadata.contained_in(&BTreeSet::from([program])).len();
            let macros = metadata.written_in(program).len().saturating_sub(inside);
            let building = metadata.involved_in(program).len().saturating_sub(inside + macros);
            let _ = writeln!(text, "| {program} | {} | {inside} | {macros} | {building} |", package.short());
            if shown.insert(&one.name) {
                let _ = writeln!(trees, "\n## {}\n\n```text", one.name);
                branch(metadata, one, 0, &mut BTreeSet::new(), &mut trees);
                trees.push_str("```\n");
            }
        }
    }
    text.push_str(
        "\nEach tree below is that of a crate of the workspace which makes one or more of the programs. Crates of the workspace\n\
         are named without a version; `*` stands for what is below the same crate further up.\n",
    );
    Ok(text + &trees)
}

/// A crate, and what it is linked with.
fn branch<'a>(
    metadata: &'a Metadata,
    one: &'a Crate,
    depth: usize,
    seen: &mut BTreeSet<(&'a str, &'a str)>,
    text: &mut String,
) {
    let linked = metadata.used_by(one);
    let is_new = seen.insert((&one.name, &one.version));
    let version = if metadata.is_ours(one) { String::new() } else { format!(" {}", one.version) };
    let more = if !is_new && !linked.is_empty() { " *" } else { "" };
    let _ = writeln!(text, "{}{}{version}{more}", "  ".repeat(depth), one.name);
    if is_new {
        for other in linked {
            branch(metadata, other, depth.saturating_add(1), seen, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    /// Most crates of others, with macros, for a process which decides, holds a right, or reads a VM's bytes.
    const CRATES_MAX: usize = 30;
    /// Those processes: all of dom0's and the readers of a VM, but for the window.
    const FEW: [&str; 12] = [
        "broker",
        "attacher",
        "xs-monitor",
        "xs-gate",
        "dvm-launcher",
        "dvm-runner",
        "dialog",
        "control",
        "notifier",
        "fat-reader",
        "dvm-parser",
        "qfilexchgd",
    ];

    #[test]
    fn the_document_is_what_cargo_says() {
        let written = std::fs::read_to_string(workspace::top().join(super::super::DOCUMENT)).unwrap();
        let now = document(Metadata::known()).unwrap();
        assert!(written == now, "{} is old: cargo xtask docs", super::super::DOCUMENT);
    }

    #[test]
    fn few_crates_of_others_are_in_what_holds_a_right_or_reads_a_vms_bytes() {
        let metadata = Metadata::known();
        for program in FEW {
            let count = metadata.written_in(program).len();
            assert!((1..=CRATES_MAX).contains(&count), "{program}: {count}");
        }
    }

    #[test]
    fn slint_is_in_the_window_alone() {
        let metadata = Metadata::known();
        let list = List::read().unwrap();
        let has_slint = |program: &str| {
            metadata.involved_in(program).iter().any(|one| one.name.contains("slint") || one.name == "x11rb")
        };
        let all: BTreeSet<&str> =
            Package::ALL.into_iter().flat_map(|package| list.programs(package)).collect();
        let with: Vec<&str> = all.into_iter().filter(|program| has_slint(program)).collect();
        assert_eq!(with, ["dialog-window"]);
    }
}
