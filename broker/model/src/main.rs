//! `broker-model [--small] [NAME...]`: explores the large configurations, or the small ones, or those that are named,
//! and prints a table.

use std::process::ExitCode;

use broker_model::{configs, run};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (options, names): (Vec<_>, Vec<_>) = words.into_iter().partition(|word| word.starts_with("--"));
    let is_small = options.iter().any(|option| option == "--small");
    let all = if !names.is_empty() {
        configs::small().into_iter().chain(configs::large()).collect()
    } else if is_small {
        configs::small()
    } else {
        configs::large()
    };
    println!("| configuration | states | steps | depth | time |\n|---|---|---|---|---|");
    let mut is_well = true;
    for config in all {
        if names.is_empty() || names.iter().any(|name| name == config.name) {
            let report = run::explore(config);
            is_well &= report.is_well();
            println!("{report}");
        }
    }
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
