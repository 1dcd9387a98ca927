//! See `fuzz/oracles/src/journal.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|untrusted: &[u8]| fuzz_oracles::journal::run(untrusted));
