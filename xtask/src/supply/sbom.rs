//! What is in a package, as a list for machines: CycloneDX 1.5 in JSON (<https://cyclonedx.org/docs/1.5/json/>).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::package::list::{List, Package};
use crate::package::metadata::{Crate, Metadata};
use crate::package::release::Release;
use crate::{Outcome, workspace};

/// Writes the list of each package into a folder.
pub fn write_all(out: &Path) -> Outcome<Vec<PathBuf>> {
    std::fs::create_dir_all(out).map_err(|error| format!("{}: {error}", out.display()))?;
    let (list, metadata, release) = (List::read()?, Metadata::read()?, Release::read()?);
    let mut made = Vec::new();
    for package in Package::ALL {
        let path = out.join(format!("{}.cdx.json", package.name()));
        std::fs::write(&path, text(&list, package, &metadata, &release)?)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        made.push(path);
    }
    Ok(made)
}

/// The list of one package. The same sources give the same text.
pub fn text(list: &List, package: Package, metadata: &Metadata, release: &Release) -> Outcome<String> {
    let programs: BTreeSet<&str> = list.programs(package).collect();
    let checksums = checksums()?;
    let top = format!("{}@{}", package.name(), release.debian_version);
    let mut inside: BTreeMap<String, &Crate> = BTreeMap::new();
    let mut waiting: Vec<&Crate> = programs.iter().filter_map(|program| metadata.crate_of(program)).collect();
    let first: BTreeSet<String> = waiting.iter().map(|one| reference(one)).collect();
    let mut dependencies = BTreeMap::from([(top.clone(), first)]);
    while let Some(one) = waiting.pop() {
        if inside.insert(reference(one), one).is_some() {
            continue;
        }
        let linked = metadata.used_by(one);
        dependencies.insert(reference(one), linked.iter().map(|other| reference(other)).collect());
        waiting.extend(linked);
    }
    let components: Vec<Value> =
        inside.iter().map(|(reference, one)| component(reference, one, &checksums)).collect();
    let dependencies: Vec<Value> =
        dependencies.iter().map(|(reference, on)| json!({ "ref": reference, "dependsOn": on })).collect();
    let mut document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": timestamp(release.epoch_s),
            "tools": { "components": [{ "type": "application", "name": "xtask", "version": env!("CARGO_PKG_VERSION") }] },
            "component": {
                "type": "application",
                "bom-ref": top,
                "name": package.name(),
                "version": release.debian_version,
                "licenses": [{ "expression": "GPL-3.0-only" }],
            },
        },
        "components": components,
        "dependencies": dependencies,
    });
    let serial = serial(&document.to_string());
    if let Some(object) = document.as_object_mut() {
        object.insert("serialNumber".to_owned(), json!(serial));
    }
    let text = serde_json::to_string_pretty(&document).map_err(|error| format!("the list: {error}"))?;
    Ok(text + "\n")
}

fn component(reference: &str, one: &Crate, checksums: &BTreeMap<(String, String), String>) -> Value {
    let licence = one.license.as_deref().unwrap_or("NOASSERTION").replace('/', " OR ");
    let mut component = json!({
        "type": "library",
        "bom-ref": reference,
        "name": one.name,
        "version": one.version,
        "licenses": [{ "expression": licence }],
    });
    if let (Some(object), Some(_)) = (component.as_object_mut(), &one.source) {
        object.insert("purl".to_owned(), json!(reference));
        if let Some(checksum) = checksums.get(&(one.name.clone(), one.version.clone())) {
            object.insert("hashes".to_owned(), json!([{ "alg": "SHA-256", "content": checksum }]));
        }
    }
    component
}

/// How a crate is named: its package URL, and for those of the workspace, which are in no registry, another word.
fn reference(one: &Crate) -> String {
    let kind = if one.source.is_some() { "pkg:cargo/" } else { "workspace:" };
    format!("{kind}{}@{}", one.name, one.version)
}

/// The part of Cargo.lock that is needed.
#[derive(serde::Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(serde::Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// The SHA-256 of each crate's archive, by name and version.
fn checksums() -> Outcome<BTreeMap<(String, String), String>> {
    let path = workspace::top().join("Cargo.lock");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let lock: Lock = toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let with = lock.package.into_iter().filter_map(|one| Some(((one.name, one.version), one.checksum?)));
    Ok(with.collect())
}

/// A UUID (version 8, RFC 9562) that follows from the text, so that it is the same for the same list.
fn serial(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let mut hex: Vec<char> =
        digest.iter().take(16).flat_map(|byte| format!("{byte:02x}").chars().collect::<Vec<_>>()).collect();
    for (place, digit) in [(12, '8'), (16, '8')] {
        if let Some(at) = hex.get_mut(place) {
            *at = digit;
        }
    }
    let hex: String = hex.into_iter().collect();
    let parts =
        [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex.get(range).unwrap_or_default().to_owned());
    format!("urn:uuid:{}", parts.join("-"))
}

/// Seconds since 1970 as RFC 3339 has them, in UTC.
fn timestamp(epoch_s: u64) -> String {
    let stamp = vm_tools::stamp::of_unix(epoch_s);
    let (date, time) = stamp.split_once('_').unwrap_or((&stamp, ""));
    format!("{date}T{}Z", time.replace('-', ":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> Release {
        Release {
            debian_version: "0.1.0-1".to_owned(),
            maintainer: "A <a@b.example>".to_owned(),
            changelog: String::new(),
            epoch_s: 1_772_360_130,
        }
    }

    #[test]
    fn every_crate_in_a_package_is_in_its_list_once_with_where_it_comes_from() {
        let (list, metadata) = (List::read().unwrap(), Metadata::known());
        for package in Package::ALL {
            let text = text(&list, package, metadata, &release()).unwrap();
            assert_eq!(text, super::text(&list, package, metadata, &release()).unwrap());
            let document: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                (&document["bomFormat"], &document["specVersion"]),
                (&json!("CycloneDX"), &json!("1.5"))
            );
            assert_eq!(document["metadata"]["timestamp"], "2026-03-01T10:15:30Z");
            let components = document["components"].as_array().unwrap();
            let mut references: BTreeSet<&str> =
                components.iter().map(|one| one["bom-ref"].as_str().unwrap()).collect();
            assert_eq!(references.len(), components.len(), "each once");
            let contained = metadata.contained_in(&list.programs(package).collect());
            assert_eq!(
                components.iter().filter(|one| one.get("purl").is_some()).count(),
                contained.len(),
                "all of others, as in the copyright file"
            );
            for one in components.iter().filter(|one| one.get("purl").is_some()) {
                assert_eq!(one["hashes"][0]["content"].as_str().unwrap().len(), 64, "{one}");
                assert_eq!(one["purl"], one["bom-ref"]);
            }
            references.insert(document["metadata"]["component"]["bom-ref"].as_str().unwrap());
            for edge in document["dependencies"].as_array().unwrap() {
                let to = edge["dependsOn"].as_array().unwrap().iter();
                let mut all = to.chain([&edge["ref"]]).map(|name| name.as_str().unwrap());
                assert!(all.all(|name| references.contains(name)), "{edge}");
            }
        }
    }

    #[test]
    fn times_and_serial_numbers_have_their_forms() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(951_782_399), "2000-02-28T23:59:59Z");
        let one = serial("a");
        assert_eq!(one, serial("a"));
        assert_ne!(one, serial("b"));
        let groups: Vec<usize> = one.trim_start_matches("urn:uuid:").split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
    }
}
