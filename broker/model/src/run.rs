//! One configuration explored, and what came of it in words.

use std::fmt;
use std::time::{Duration, Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use crate::actions::Act;
use crate::config::Config;
use crate::properties::Explored;

/// How many threads explore.
const THREADS: usize = 2;

/// What came of one property.
#[derive(Debug)]
pub struct Finding {
    /// The property.
    pub name: &'static str,
    /// What it asks for.
    pub expectation: Expectation,
    /// The way to the state that violates it, or that shows the place that was to be reached.
    pub path: Option<Vec<Act>>,
}

impl Finding {
    /// Whether all is as it should be.
    #[must_use]
    pub fn is_well(&self) -> bool {
        (self.expectation == Expectation::Sometimes) == self.path.is_some()
    }
}

/// What came of one configuration.
#[derive(Debug)]
pub struct Report {
    /// Its name.
    pub name: &'static str,
    /// Different states.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
    /// Length of the longest way from the first state that was gone.
    pub depth: usize,
    /// How long it took.
    pub time: Duration,
    /// Each property.
    pub findings: Vec<Finding>,
}

/// Explores a configuration until all is seen, or a property is violated.
#[must_use]
pub fn explore(config: Config) -> Report {
    let began = Instant::now();
    let (name, depth) = (config.name, config.depth_max);
    let builder = Explored::new(config).checker().threads(THREADS).target_max_depth(depth);
    let checker = builder.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let mut paths = checker.discoveries();
    let findings = checker.model().properties().into_iter().map(|property| Finding {
        name: property.name,
        expectation: property.expectation.clone(),
        path: paths.remove(property.name).map(stateright::Path::into_actions),
    });
    Report {
        name,
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        time: began.elapsed(),
        findings: findings.collect(),
    }
}

impl Report {
    /// Whether every property is as it should be.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.findings.iter().all(Finding::is_well)
    }
}

impl fmt::Display for Report {
    /// One row of a table, and what is not as it should be below it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.time.as_secs();
        write!(out, "| {} | {} | {} | {} | {seconds} s |", self.name, self.states, self.steps, self.depth)?;
        for finding in self.findings.iter().filter(|finding| !finding.is_well()) {
            match &finding.path {
                None => write!(out, "\nnever reached: {}", finding.name)?,
                Some(path) => {
                    write!(out, "\nviolated after {} steps: {}", path.len(), finding.name)?;
                    path.iter().try_for_each(|act| write!(out, "\n    {act:?}"))?;
                }
            }
        }
        Ok(())
    }
}
