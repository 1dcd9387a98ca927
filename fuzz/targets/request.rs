//! See `fuzz/oracles/src/request.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|untrusted: &[u8]| fuzz_oracles::request::run(untrusted));
