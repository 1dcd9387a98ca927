//! See `fuzz/oracles/src/broker.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|untrusted: &[u8]| fuzz_oracles::broker::run(untrusted));
