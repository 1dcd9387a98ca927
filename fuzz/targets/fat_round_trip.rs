//! See `fuzz/oracles/src/fat_round_trip.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|untrusted: &[u8]| fuzz_oracles::fat_round_trip::run(untrusted));
