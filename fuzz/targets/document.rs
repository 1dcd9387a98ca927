//! See `fuzz/oracles/src/document.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|untrusted: &[u8]| fuzz_oracles::document::run(untrusted));
