//! See `fuzz/oracles/src/gate.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|untrusted: &[u8]| fuzz_oracles::gate::run(untrusted));
