//! See `fuzz/oracles/src/config.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|untrusted: &[u8]| fuzz_oracles::config::run(untrusted));
