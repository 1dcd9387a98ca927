//! Every input that is kept is tried by an ordinary test: seeds, and what once broke something.

use std::path::Path;

use fuzz_oracles::TARGETS;

#[test]
fn every_kept_input_passes_its_target() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds");
    for target in TARGETS {
        let folder = seeds.join(target.name);
        let files =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut tried = 0;
        for file in files {
            let path = file.unwrap().path();
            let input = std::fs::read(&path).unwrap();
            // A panic's message does not say which input it was.
            println!("{}", path.display());
            (target.run)(&input);
            tried += 1;
        }
        assert!(tried > 0, "{} has no seeds", target.name);
    }
}

#[test]
fn every_target_has_its_program_and_none_is_forgotten() {
    let manifest = include_str!("../../Cargo.toml");
    for target in TARGETS {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../targets/{}.rs", target.name));
        let program = std::fs::read_to_string(&file).unwrap();
        assert!(program.contains(&format!("fuzz_oracles::{}::run", target.name)));
        assert!(manifest.contains(&format!("path = \"targets/{}.rs\"", target.name)));
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}

#[test]
fn l1_no_target_trips_over_nothing_or_next_to_nothing() {
    for target in TARGETS {
        (target.run)(b"");
        for byte in 0..=u8::MAX {
            (target.run)(&[byte]);
            (target.run)(&[byte; 64]);
        }
    }
}

#[test]
fn the_good_volumes_among_the_seeds_are_read_to_their_end() {
    for (seed, entries) in [("fat12", 6), ("fat16", 6), ("fat32", 3)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds/fat_volume").join(seed);
        let tally = fuzz_oracles::fat_volume::read(&std::fs::read(path).unwrap()).unwrap().unwrap();
        assert_eq!(tally.files + tally.directories, entries, "{seed}: {tally:?}");
    }
}
