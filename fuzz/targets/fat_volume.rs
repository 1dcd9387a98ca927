//! See `fuzz/oracles/src/fat_volume.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|untrusted: &[u8]| fuzz_oracles::fat_volume::run(untrusted));
