//! deny.toml, followed without cargo-deny: so that every run of the tests checks it, also where that is not installed.
//! A key that is not understood here is an error, not a rule that nobody follows.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::spdx;
use crate::package::edges::Edges;
use crate::package::metadata::{Crate, Metadata};
use crate::{Outcome, workspace};

/// Where every crate of others comes from.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Graph {
    targets: Vec<String>,
    #[serde(rename = "all-features")]
    _all_features: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Licenses {
    allow: BTreeSet<String>,
    #[serde(rename = "unused-allowed-license")]
    _unused: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Bans {
    /// A warning of cargo-deny, which nothing depends on.
    #[serde(rename = "multiple-versions")]
    _multiple_versions: String,
    wildcards: String,
    allow_wildcard_paths: bool,
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    #[serde(default)]
    wrappers: Vec<String>,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sources {
    unknown_registry: String,
    unknown_git: String,
}

/// Checks every crate of the workspace's graph against deny.toml.
pub fn check() -> Outcome<()> {
    let path = workspace::top().join("deny.toml");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let rules: Rules = toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let targets: Vec<&str> = rules.graph.targets.iter().map(String::as_str).collect();
    let broken = broken(&rules, &Metadata::read_for(&targets)?, &used(&targets)?)?;
    if broken.is_empty() { Ok(()) } else { Err(broken.join("\n")) }
}

/// Which crate uses which, in programs, builds and tests for any of these targets.
fn used(targets: &[&str]) -> Outcome<Edges> {
    let mut all = Edges::default();
    for target in targets {
        all.add(Edges::read("normal,build,dev", target)?);
    }
    Ok(all)
}

/// A sentence about each rule that does not hold.
fn broken(rules: &Rules, metadata: &Metadata, used: &Edges) -> Outcome<Vec<String>> {
    for (key, value) in [
        ("wildcards", &rules.bans.wildcards),
        ("unknown-registry", &rules.sources.unknown_registry),
        ("unknown-git", &rules.sources.unknown_git),
    ] {
        if value != "deny" {
            return Err(format!("deny.toml: {key} must be \"deny\""));
        }
    }
    let mut broken = Vec::new();
    for key in used.crates() {
        let one = metadata
            .crate_named(key)
            .ok_or_else(|| format!("cargo metadata knows no {} {}", key.0, key.1))?;
        broken.extend(licence(one, &rules.licenses.allow));
        broken.extend(source(one, metadata.is_ours(one)));
        if metadata.is_ours(one) {
            broken.extend(wildcards(one, rules.bans.allow_wildcard_paths));
        }
        let bans = rules.bans.deny.iter().filter(|ban| ban.name == one.name);
        broken.extend(bans.filter_map(|ban| banned(ban, used)));
    }
    Ok(broken)
}

fn licence(one: &Crate, allowed: &BTreeSet<String>) -> Option<String> {
    let of = format!("{} {}", one.name, one.version);
    match one.license.as_deref().map(|licence| (licence, spdx::is_satisfied(licence, allowed))) {
        None => Some(format!("{of}: names no licence")),
        Some((_, Ok(true))) => None,
        Some((licence, Ok(false))) => Some(format!("{of}: {licence} is not permitted in deny.toml")),
        Some((_, Err(error))) => Some(format!("{of}: {error}")),
    }
}

fn source(one: &Crate, is_ours: bool) -> Option<String> {
    match one.source.as_deref() {
        None if is_ours => None,
        Some(CRATES_IO) => None,
        other => {
            Some(format!("{} {}: comes from {}", one.name, one.version, other.unwrap_or("another folder")))
        }
    }
}

fn wildcards(one: &Crate, paths_may: bool) -> Vec<String> {
    let any = one.dependencies.iter().filter(|need| need.req == "*" && !(paths_may && need.path.is_some()));
    any.map(|need| format!("{}: any version of {} would do", one.name, need.name)).collect()
}

fn banned(ban: &Ban, used: &Edges) -> Option<String> {
    let others: Vec<&str> = used
        .users_of(&ban.name)
        .into_iter()
        .filter(|user| !ban.wrappers.iter().any(|wrapper| wrapper == user))
        .collect();
    if others.is_empty() && !ban.wrappers.is_empty() {
        return None;
    }
    Some(format!("{} is banned ({}), but used by {}", ban.name, ban.reason, others.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        toml::from_str(&std::fs::read_to_string(workspace::top().join("deny.toml")).unwrap()).unwrap()
    }

    const TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

    #[test]
    fn every_crate_has_a_permitted_licence_a_known_source_and_is_not_banned() {
        assert_eq!(check(), Ok(()));
    }

    #[test]
    fn a_rule_that_does_not_hold_is_named() {
        let (metadata, used) = (Metadata::read_for(&TARGETS).unwrap(), used(&TARGETS).unwrap());
        let first = |change: &dyn Fn(&mut Rules)| {
            let mut rules = rules();
            change(&mut rules);
            broken(&rules, &metadata, &used).unwrap().join("\n")
        };
        let without = first(&|rules| rules.licenses.allow.retain(|licence| licence != "GPL-3.0-only"));
        assert!(without.contains("broker 0.1.0: GPL-3.0-only is not permitted"), "{without}");
        let ban = |name: &str, wrappers: &[&str]| Ban {
            name: name.to_owned(),
            wrappers: wrappers.iter().map(|wrapper| (*wrapper).to_owned()).collect(),
            reason: "a test".to_owned(),
        };
        let banned = first(&|rules| rules.bans.deny.push(ban("bincode", &[])));
        assert!(banned.contains("bincode is banned (a test), but used by "), "{banned}");
        let banned = first(&|rules| rules.bans.deny.push(ban("bincode_derive", &["bincode"])));
        assert_eq!(banned, "", "by its wrapper alone");
        let mut weak = rules();
        weak.sources.unknown_git = "warn".to_owned();
        assert!(broken(&weak, &metadata, &used).is_err());
        assert!(toml::from_str::<Rules>("[graph]\ntargets = []\nexclude = []\n").is_err(), "an unknown key");
    }
}
