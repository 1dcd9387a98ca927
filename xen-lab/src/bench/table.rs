//! What is printed: least and median, and the ratio to what one would do otherwise.

use std::time::Duration;

/// The times of one thing.
pub struct Times {
    name: &'static str,
    /// How many do not count.
    without: usize,
    all: Vec<Duration>,
}

impl Times {
    /// None yet.
    pub fn new(name: &'static str) -> Self {
        Self { name, without: 0, all: Vec::new() }
    }

    /// None yet, and the first one will not count.
    pub fn without_first(name: &'static str) -> Self {
        Self { without: 1, ..Self::new(name) }
    }

    /// Takes one.
    pub fn add(&mut self, time: Duration) {
        match self.without.checked_sub(1) {
            Some(without) => self.without = without,
            None => self.all.push(time),
        }
    }

    fn median(&self) -> Duration {
        let mut sorted = self.all.clone();
        sorted.sort();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }

    fn line(&self) -> String {
        let least = self.all.iter().min().copied().unwrap_or_default();
        format!("{:<58} {:>8.3} s {:>8.3} s", self.name, least.as_secs_f64(), self.median().as_secs_f64())
    }
}

fn head(ratio: &str) {
    println!("\n{:<58} {:>10} {:>10}{ratio}", "", "least", "median");
}

/// Prints a thing, its parts, and its peer with the ratio.
pub fn print(ours: &Times, parts: &[&Times], peer: &Times, aim: Option<f64>) {
    head("   times faster");
    println!("{}", ours.line());
    parts.iter().for_each(|part| println!("{}", part.line()));
    let ratio = peer.median().as_secs_f64() / ours.median().as_secs_f64();
    let verdict = match aim {
        None => String::new(),
        Some(aim) if ratio >= aim => format!(" (at least {aim}: reached)"),
        Some(aim) => format!(" (at least {aim}: MISSED)"),
    };
    println!("{} {ratio:>8.1}{verdict}", peer.line());
}

/// Prints a thing and its parts.
pub fn print_alone(whole: &Times, parts: &[&Times]) {
    head("");
    println!("{}", whole.line());
    parts.iter().for_each(|part| println!("{}", part.line()));
}
