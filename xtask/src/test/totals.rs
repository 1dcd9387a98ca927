//! Counting what the test runner says.

use std::collections::BTreeMap;

use xen_lab::Summary;

/// The sum over all test programs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Totals {
    returned: u64,
    failed: u64,
    ignored: u64,
    /// Tests that returned without having tested anything, and why.
    pub skipped: BTreeMap<String, String>,
}

impl Totals {
    /// Adds a line `test result: ok. 3 passed; 0 failed; 1 ignored; …`; any other line counts nothing.
    pub fn note_line(&mut self, line: &str) {
        let Some(rest) = line.trim().strip_prefix("test result: ") else { return };
        for part in rest.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(count), Some(what)) = (words.next(), words.next()) else { continue };
            let Ok(count) = count.parse::<u64>() else { continue };
            match what {
                "passed" => self.returned += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }

    /// Adds a check that is no test of the runner: the format, the lints, the demo.
    pub fn note_check(&mut self, passed: bool) {
        if passed {
            self.returned += 1;
        } else {
            self.failed += 1;
        }
    }

    /// Adds the scenarios of the real Xen host. Those that could not run count as tests that returned without having
    /// tested anything.
    pub fn note_scenarios(&mut self, summary: &Summary) {
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        self.returned += summary.passed.saturating_add(count(summary.skipped.len()));
        self.failed += count(summary.failed.len());
        for (scenario, reason) in &summary.skipped {
            self.skipped.insert(scenario.clone(), reason.clone());
        }
    }

    /// Adds the notes of tests that could not run: lines `TEST: REASON`.
    pub fn note_skipped(&mut self, notes: &str) {
        for line in notes.lines() {
            // A test's name has single colons only in pairs.
            let (test, reason) = line.split_once(": ").unwrap_or(("a test", line));
            self.skipped.entry(test.to_owned()).or_insert_with(|| reason.to_owned());
        }
    }

    /// `N passed, N failed, N skipped`.
    pub fn closing_line(&self) -> String {
        let skipped = u64::try_from(self.skipped.len()).unwrap_or(u64::MAX);
        let passed = self.returned.saturating_sub(skipped);
        format!("{passed} passed, {} failed, {} skipped", self.failed, skipped.saturating_add(self.ignored))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_add_up_and_a_skipped_test_has_not_passed() {
        let mut totals = Totals::default();
        totals.note_line(
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.1s",
        );
        totals.note_line("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out");
        totals.note_line("test a::b ... ok");
        totals.note_line("");
        totals.note_skipped("a::b: no root here\na::b: again\nc::d: not installed: strace\n");
        assert_eq!(totals.closing_line(), "13 passed, 2 failed, 3 skipped");
        assert_eq!(totals.skipped["c::d"], "not installed: strace");
    }

    #[test]
    fn a_check_that_is_no_test_counts_like_one() {
        let mut totals = Totals::default();
        totals.note_check(true);
        totals.note_check(false);
        totals.note_check(true);
        assert_eq!(totals.closing_line(), "2 passed, 1 failed, 0 skipped");
    }

    #[test]
    fn a_scenario_without_a_host_is_skipped() {
        let mut totals = Totals::default();
        let skipped = vec![("b".to_owned(), "no QEMU".to_owned()), ("c".to_owned(), "no QEMU".to_owned())];
        totals.note_scenarios(&Summary { passed: 3, failed: vec!["a".to_owned()], skipped });
        assert_eq!(totals.closing_line(), "3 passed, 1 failed, 2 skipped");
        assert_eq!(totals.skipped["c"], "no QEMU");
    }

    #[test]
    fn nothing_run_is_nothing_passed() {
        assert_eq!(Totals::default().closing_line(), "0 passed, 0 failed, 0 skipped");
    }
}
