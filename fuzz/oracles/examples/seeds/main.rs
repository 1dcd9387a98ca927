//! Writes the seeds of all fuzz targets anew: `cargo run --package fuzz-oracles --example seeds`.
//!
//! They are few, small and made by the project's own writers, where there is one. Inputs that once broke something are
//! not made here: their names begin with `once-`, and they stay.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a developer's tool")]

mod documents;
mod events;
mod messages;
mod streams;
mod text;
mod volumes;

use std::path::Path;

/// Names and contents of the seeds of one target.
type Seeds = Vec<(String, Vec<u8>)>;

fn main() {
    let all: [(&str, Seeds); 12] = [
        ("broker", events::broker()),
        ("config", text::configurations()),
        ("document", documents::documents()),
        ("edges", messages::edges()),
        ("fat_round_trip", volumes::trees()),
        ("fat_volume", volumes::volumes()),
        ("gate", streams::gate()),
        ("journal", streams::journals()),
        ("machines", events::machines()),
        ("policy", text::policies()),
        ("request", text::requests()),
        ("xenstore", streams::xenstore()),
    ];
    for (target, seeds) in all {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds").join(target);
        std::fs::create_dir_all(&folder).expect("a folder for seeds");
        for file in std::fs::read_dir(&folder).expect("the folder can be read") {
            let path = file.expect("the folder can be read").path();
            let is_kept = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("once-"));
            if !is_kept {
                std::fs::remove_file(path).expect("an old seed can be removed");
            }
        }
        let bytes: usize = seeds.iter().map(|(_, bytes)| bytes.len()).sum();
        println!("{target}: {} seeds, {bytes} bytes", seeds.len());
        for (name, bytes) in seeds {
            std::fs::write(folder.join(name), bytes).expect("a seed can be written");
        }
    }
}

fn seed(name: &str, bytes: impl Into<Vec<u8>>) -> (String, Vec<u8>) {
    (name.to_owned(), bytes.into())
}
