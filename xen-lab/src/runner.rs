//! Runs the scenarios, one after the other, in one lab.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::LabError;
use crate::host::Lab;
use crate::machine::Options;
use crate::product::Product;
use crate::scenarios::{ALL, LABS, Scenario};

/// What came of it.
#[derive(Debug, Default)]
pub struct Summary {
    /// Scenarios that held.
    pub passed: u64,
    /// Those that did not.
    pub failed: Vec<String>,
    /// Those that could not run, and why.
    pub skipped: Vec<(String, String)>,
}

impl Summary {
    fn skip(&mut self, scenario: &Scenario, reason: &str) {
        let reason = reason.lines().next().unwrap_or_default().to_owned();
        self.skipped.push((format!("xen-lab::{}", scenario.name), reason));
    }
}

/// Runs all scenarios whose names contain one of the parts of `filter`; each xenstored and each kernel has a lab of its
/// own.
#[must_use]
pub fn run_all(product: &Product, options: &Options, filter: &str) -> Summary {
    let mut summary = Summary::default();
    for (xenstored, linux) in LABS {
        let wanted: Vec<&Scenario> = ALL
            .iter()
            .filter(|scenario| (scenario.xenstored, scenario.linux) == (xenstored, linux))
            .filter(|scenario| is_wanted(scenario.name, filter))
            .collect();
        if wanted.is_empty() {
            continue;
        }
        let begin = Instant::now();
        match Lab::start(product, &Options { xenstored, linux, ..options.clone() }) {
            Ok(mut lab) => {
                let seconds = begin.elapsed().as_secs_f32();
                println!("the lab is up after {seconds:.1} s, with {xenstored} {linux}");
                run_in(&mut lab, product, &wanted, &mut summary);
            }
            Err(error) => {
                println!("NO REAL XEN HOST HERE: {error}");
                wanted.iter().for_each(|scenario| summary.skip(scenario, &error.to_string()));
            }
        }
    }
    summary
}

/// A filter is parts of names, with commas between them.
pub(crate) fn is_wanted(name: &str, filter: &str) -> bool {
    filter.split(',').any(|part| name.contains(part))
}

fn run_in(lab: &mut Lab, product: &Product, scenarios: &[&Scenario], summary: &mut Summary) {
    for scenario in scenarios {
        let begin = Instant::now();
        let ran = catch_unwind(AssertUnwindSafe(|| {
            lab.reset();
            (scenario.run)(lab);
        }));
        let seconds = begin.elapsed().as_secs_f32();
        let name = format!("xen-lab::{}", scenario.name);
        if ran.is_ok() {
            println!("test {name} ... ok ({seconds:.1} s)");
            summary.passed += 1;
        } else {
            println!("test {name} ... FAILED ({seconds:.1} s)");
            summary.failed.push(name);
            let repaired = catch_unwind(AssertUnwindSafe(|| lab.repair(product)));
            if repaired.is_err() {
                println!("the lab is broken; its console:\n{}", lab.console());
            }
        }
    }
}

/// A shell in dom0, with the daemon running.
///
/// # Errors
/// [`LabError`].
pub fn shell(product: &Product, options: &Options) -> Result<(), LabError> {
    println!("starting a Xen host; this takes a minute, the next time a few seconds");
    let mut lab = Lab::start(product, &Options { shell: true, ..options.clone() })?;
    lab.reset();
    lab.start_daemon("");
    let size = rustix::termios::tcgetwinsize(std::io::stdin()).ok();
    if let Some(size) = size {
        lab.dom0(&format!("stty -F /dev/ttyS1 rows {} cols {}", size.ws_row, size.ws_col));
    }
    lab.wait();
    Ok(())
}
