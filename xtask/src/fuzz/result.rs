//! What libFuzzer says of a run.

use std::fmt;

/// The numbers of one run, as far as it told them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Results {
    executions: Option<u64>,
    /// Places of the code that were reached.
    reached: Option<u64>,
    /// Those, each with how often and with which comparisons.
    features: Option<u64>,
    seconds: Option<u64>,
}

impl Results {
    /// Reads the log of a run.
    pub fn of(log: &str) -> Self {
        let mut results = Self::default();
        for line in log.lines() {
            let mut words = line.split_whitespace().peekable();
            while let Some(word) = words.next() {
                let number = words.peek().and_then(|next| next.parse().ok());
                match word {
                    "cov:" => results.reached = number,
                    "ft:" => results.features = number,
                    "stat::number_of_executed_units:" => results.executions = number,
                    // Done 464202 runs in 9 second(s)
                    "in" if line.starts_with("Done ") => results.seconds = number,
                    _ => {}
                }
            }
        }
        results
    }
}

impl fmt::Display for Results {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
        let (executions, seconds) = (shown(self.executions), shown(self.seconds));
        let (reached, features) = (shown(self.reached), shown(self.features));
        write!(out, "{executions} executions in {seconds} s, {reached} places reached, {features} features")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_a_run_counts() {
        let log = "#2\tINITED cov: 37 ft: 38 corp: 1/1b exec/s: 0 rss: 33Mb\n\
            #9\tDONE   cov: 40 ft: 50 corp: 1/1b lim: 4096 exec/s: 51578 rss: 74Mb\n\
            Done 9 runs in 3 second(s)\nstat::number_of_executed_units: 9\n";
        let results = Results::of(log);
        assert_eq!(results.to_string(), "9 executions in 3 s, 40 places reached, 50 features");
        let cut_off = Results::of("#2\tINITED cov: 37 ft: 38 corp: 1/1b\npanicked at x\n");
        assert_eq!(cut_off.to_string(), "? executions in ? s, 37 places reached, 38 features");
    }
}
