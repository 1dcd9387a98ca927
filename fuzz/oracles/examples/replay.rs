//! Tries inputs without libFuzzer: `cargo run --package fuzz-oracles --example replay TARGET FILE|FOLDER…`.
//!
//! For looking at an input that a target did not pass, and for measuring what a corpus reaches.

#![expect(clippy::expect_used, reason = "a developer's tool")]

use std::path::Path;

use fuzz_oracles::TARGETS;

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let name = arguments.next().expect("which target?");
    let target = TARGETS.iter().find(|target| name == target.name).expect("there is no such target");
    let mut tried = 0;
    for place in arguments {
        let place = Path::new(&place);
        if place.is_dir() {
            for file in place.read_dir().expect("the folder can be read") {
                (target.run)(&std::fs::read(file.expect("the folder can be read").path()).expect("a file"));
                tried += 1;
            }
        } else {
            (target.run)(&std::fs::read(place).expect("the file can be read"));
            tried += 1;
        }
    }
    println!("{}: {tried} inputs passed", target.name);
}
