//! See `fuzz/oracles/src/machines.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|untrusted: &[u8]| fuzz_oracles::machines::run(untrusted));
