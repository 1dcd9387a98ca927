//! Nothing is forgotten.

use std::collections::BTreeSet;

use super::super::list::{List, Package, Thing, manual_of, packaging};
use super::super::metadata::Metadata;
use super::{commands, files_below};

#[test]
fn every_program_of_the_workspace_is_in_a_package_or_left_out_for_a_reason() {
    let metadata = Metadata::read().unwrap();
    let list = List::read().unwrap();
    let programs = metadata.programs();
    assert_eq!(list.forgotten(programs.iter().copied()), Vec::<&str>::new());
    for package in Package::ALL {
        for program in list.programs(package) {
            assert!(programs.contains(program), "{program} is in the list, but not in the workspace");
        }
    }
    assert_eq!(list.forgotten(["qfilexchgd", "no-such-program"]), ["no-such-program"]);
}

#[test]
fn every_file_of_packaging_is_in_a_package_or_left_out_for_a_reason() {
    let list = List::read().unwrap();
    let mut known = BTreeSet::new();
    for thing in Package::ALL.into_iter().flat_map(|package| list.of(package)) {
        match thing {
            Thing::Program { name, .. } => {
                known.insert(format!("man/{}", manual_of(name).unwrap()));
                known.insert(format!("completions/bash/{name}"));
                known.insert(format!("completions/zsh/_{name}"));
                known.insert(format!("completions/fish/{name}.fish"));
            }
            Thing::Worker { manual, .. } | Thing::Manual(manual) => {
                known.insert(format!("man/{manual}"));
            }
            Thing::File { source, .. } => {
                known.insert(source.clone());
            }
        }
    }
    let all = files_below(&packaging(""));
    let is_left_out = |file: &str| {
        list.left_out.iter().any(|(name, _)| file == name || (name.ends_with('/') && file.starts_with(name)))
    };
    let forgotten: Vec<_> = all.iter().filter(|file| !known.contains(*file) && !is_left_out(file)).collect();
    assert_eq!(forgotten, Vec::<&String>::new(), "add them to packaging/contents");
    let missing: Vec<_> = known.difference(&all).collect();
    assert_eq!(
        missing,
        Vec::<&String>::new(),
        "named in packaging/contents, or needed by a program named there"
    );
}

#[test]
fn every_account_that_the_configuration_names_is_made_by_the_package() {
    let config = std::fs::read_to_string(packaging("qfilexchgd.toml")).unwrap();
    let accounts = std::fs::read_to_string(packaging("sysusers.d/qfilexchg-dom0.conf")).unwrap();
    let made: BTreeSet<&str> = accounts
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    let (_, section) = config.split_once("[accounts]\n").unwrap();
    let mut count = 0;
    for name in
        section.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split('"').nth(1))
    {
        assert!(made.contains(name), "{name} is not in sysusers.d");
        count += 1;
    }
    assert!(count >= 5, "{section}");
}

#[test]
fn people_find_every_command_in_their_path() {
    assert!(commands().len() >= 5);
    let list = List::read().unwrap();
    for thing in Package::ALL.into_iter().flat_map(|package| list.of(package)) {
        if let Thing::Program { name, folder } = thing {
            assert!(["/usr/bin/", "/usr/sbin/"].contains(&folder.as_str()), "{name}");
        }
    }
}
