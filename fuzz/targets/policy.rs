//! See `fuzz/oracles/src/policy.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|untrusted: &[u8]| fuzz_oracles::policy::run(untrusted));
