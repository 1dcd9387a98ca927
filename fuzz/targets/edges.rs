//! See `fuzz/oracles/src/edges.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|untrusted: &[u8]| fuzz_oracles::edges::run(untrusted));
