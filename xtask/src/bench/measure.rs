//! Times, their least and their median.

use std::time::{Duration, Instant};

use crate::Outcome;

/// The times of one way to do it.
#[derive(Debug)]
pub struct Times {
    name: &'static str,
    times: Vec<Duration>,
}

impl Times {
    /// None yet.
    pub fn new(name: &'static str) -> Self {
        Self { name, times: Vec::new() }
    }

    /// Takes the time of a piece of work that must succeed.
    pub fn take(&mut self, work: impl FnOnce() -> Outcome<()>) -> Outcome<()> {
        let began = Instant::now();
        work()?;
        self.times.push(began.elapsed());
        Ok(())
    }

    /// Takes a time that was measured elsewhere.
    pub fn add(&mut self, time: Duration) {
        self.times.push(time);
    }

    fn least(&self) -> Duration {
        self.times.iter().min().copied().unwrap_or_default()
    }

    fn median(&self) -> Duration {
        let mut sorted = self.times.clone();
        sorted.sort();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

/// What ours is compared with, and the largest ratio that is aimed at, where there is such an aim.
pub type Peer<'a> = (&'a Times, Option<f64>);

/// Prints ours, then each peer with the ratio of ours to it.
pub fn print(ours: &Times, peers: &[Peer<'_>]) {
    println!("{:<38} {:>11} {:>11} {:>12}  aim", "", "least", "median", "ours / this");
    println!("{:<38} {:>11} {:>11}", ours.name, shown(ours.least()), shown(ours.median()));
    for (peer, aim) in peers {
        let ratio = ours.median().as_secs_f64() / peer.median().as_secs_f64();
        let aim = match aim {
            None => String::new(),
            Some(aim) if ratio <= *aim => format!("at most {aim:.2}: reached"),
            Some(aim) => format!("at most {aim:.2}: MISSED"),
        };
        let (least, median) = (shown(peer.least()), shown(peer.median()));
        println!("{:<38} {least:>11} {median:>11} {ratio:>12.2}  {aim}", peer.name);
    }
}

fn shown(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds >= 1.0 {
        format!("{seconds:.2} s")
    } else if seconds >= 0.001 {
        format!("{:.2} ms", seconds * 1e3)
    } else {
        format!("{:.2} us", seconds * 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_and_median_do_not_depend_on_the_order() {
        let times = Times { name: "x", times: [5, 1, 9].map(Duration::from_millis).to_vec() };
        assert_eq!((times.least(), times.median()), (Duration::from_millis(1), Duration::from_millis(5)));
        assert_eq!(Times::new("none").median(), Duration::ZERO);
    }

    #[test]
    fn times_are_shown_in_a_unit_that_fits() {
        assert_eq!(shown(Duration::from_nanos(2600)), "2.60 us");
        assert_eq!(shown(Duration::from_micros(2600)), "2.60 ms");
        assert_eq!(shown(Duration::from_millis(2600)), "2.60 s");
    }
}
