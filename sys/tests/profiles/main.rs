//! Every profile, entered by a real process that then tries what it may not do.
//!
//! This program is both the tests and, started again by them under the name [`PROBE`], the confined process.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_sign_loss,
    reason = "all of this is a test, which fails by a panic"
)]

mod acts;
mod commands;
mod half;
mod limits;
mod numbers;
mod probe;
mod started;
mod under_profiles;

/// `argv[0]` of the confined process.
const PROBE: &str = "profile-probe";

/// Leaves out what takes long.
const QUICK: &str = "--quick";

/// Ids of nobody in particular, for the run without privileges.
const ORDINARY_ID: u32 = 64_321;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.first().is_some_and(|name| name == PROBE) {
        probe::run(&args);
    }
    let filter: Vec<&String> = args.iter().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if args.iter().any(|arg| arg == "--list") {
        return;
    }
    let mut failed = 0;
    let mut passed = 0;
    // What another run of this program has tested at length.
    let is_quick = args.iter().any(|arg| arg == QUICK);
    let numbers = if is_quick { &[] } else { numbers::TESTS };
    let all = [started::TESTS, commands::TESTS, under_profiles::TESTS, half::TESTS, limits::TESTS, numbers]
        .concat();
    for (name, test) in all {
        if !filter.is_empty() && !filter.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        match std::panic::catch_unwind(test) {
            Ok(()) => {
                passed += 1;
                println!("test {name} ... ok");
            }
            Err(_) => {
                failed += 1;
                println!("test {name} ... FAILED");
            }
        }
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out"
    );
    if failed > 0 {
        std::process::exit(101);
    }
}
