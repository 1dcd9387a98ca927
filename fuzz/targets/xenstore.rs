//! See `fuzz/oracles/src/xenstore.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|untrusted: &[u8]| fuzz_oracles::xenstore::run(untrusted));
