//! Who is asked: of two drawn at random, the one that is likely to answer sooner.
//!
//! Power of two choices (Mitzenmacher 2001) over requests in hand and a moving average of how long answers take, which rises
//! at once and falls slowly ("peak EWMA"). One that is new gets less at first.

use std::time::Duration;

/// How long a new replica gets less than its share.
pub const SLOW_START: Duration = Duration::from_secs(10);
/// What it gets in the beginning.
const FIRST_SHARE: f64 = 0.1;
/// What an answer is taken to last before there was one, seconds.
const FIRST_LATENCY: f64 = 0.001;
/// After so long without an answer, an old one counts for 1/e.
const MEMORY: Duration = Duration::from_secs(5);

/// One that could be asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    pub in_flight: u32,
    /// Of answers lately, seconds.
    pub latency: f64,
    /// Since it is ready.
    pub age: Duration,
}

/// A moving average of latencies that rises at once and falls slowly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PeakAverage {
    seconds: f64,
    at: Duration,
}

/// The position of the one to ask; `draws` are two numbers in [0, 1). `None` without candidates.
#[must_use]
pub fn choose(candidates: &[Load], draws: [f64; 2]) -> Option<usize> {
    let n = candidates.len();
    if n < 2 {
        return (n == 1).then_some(0);
    }
    let pick = |draw: f64, among: usize| ((draw * among as f64) as usize).min(among - 1);
    let first = pick(draws[0], n);
    // Of the others, so that two are compared.
    let second = (first + 1 + pick(draws[1], n - 1)) % n;
    Some(if candidates[second].cost() < candidates[first].cost() { second } else { first })
}

impl Load {
    /// How long an answer is likely to take, in a unit that only compares.
    fn cost(&self) -> f64 {
        let age = self.age.as_secs_f64() / SLOW_START.as_secs_f64();
        let share = (FIRST_SHARE + (1.0 - FIRST_SHARE) * age).clamp(FIRST_SHARE, 1.0);
        f64::from(self.in_flight.saturating_add(1)) * self.latency.max(1e-6) / share
    }
}

impl PeakAverage {
    /// Nothing is known yet, at a moment of a monotonic clock.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self { seconds: FIRST_LATENCY, at: now }
    }

    /// An answer took so long.
    pub fn observe(&mut self, latency: Duration, now: Duration) {
        let (latency, weight) = (latency.as_secs_f64(), self.weight(now));
        self.seconds =
            if latency > self.seconds { latency } else { latency + (self.seconds - latency) * weight };
        self.at = now;
    }

    /// Seconds, as they are remembered now: what was slow is tried again after a while.
    #[must_use]
    pub fn seconds(&self, now: Duration) -> f64 {
        FIRST_LATENCY.min(self.seconds) + (self.seconds - FIRST_LATENCY.min(self.seconds)) * self.weight(now)
    }

    fn weight(&self, now: Duration) -> f64 {
        (-now.saturating_sub(self.at).as_secs_f64() / MEMORY.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Duration = Duration::from_secs(60);

    fn load(in_flight: u32, latency: f64) -> Load {
        Load { in_flight, latency, age: OLD }
    }

    /// Shares of many draws from a grid.
    fn shares(candidates: &[Load]) -> Vec<f64> {
        let mut counts = vec![0.0; candidates.len()];
        const GRID: u32 = 120;
        for a in 0..GRID {
            for b in 0..GRID {
                let draw = |i: u32| (f64::from(i) + 0.5) / f64::from(GRID);
                counts[choose(candidates, [draw(a), draw(b)]).unwrap()] += 1.0 / f64::from(GRID * GRID);
            }
        }
        counts
    }

    #[test]
    fn the_better_of_two_is_asked() {
        assert_eq!(choose(&[], [0.0, 0.0]), None);
        assert_eq!(choose(&[load(9, 1.0)], [0.9, 0.9]), Some(0));
        // Of two, always the better one, whichever is drawn first.
        for draws in [[0.0, 0.0], [0.99, 0.99]] {
            assert_eq!(choose(&[load(3, 0.01), load(2, 0.01)], draws), Some(1));
            assert_eq!(choose(&[load(1, 0.5), load(9, 0.01)], draws), Some(1));
        }
        // Among equals everyone gets the same; the worst of four is never asked, as the other one drawn is better.
        for share in shares(&[load(1, 0.01); 4]) {
            assert!((share - 0.25).abs() < 0.02, "{share}");
        }
        let shares = shares(&[load(0, 0.01), load(1, 0.01), load(2, 0.01), load(9, 0.01)]);
        assert!((shares[0] - 0.5).abs() < 0.02 && shares[3] == 0.0, "{shares:?}");
    }

    #[test]
    fn a_new_one_gets_less_at_first() {
        let new = |age| Load { in_flight: 0, latency: 0.001, age: Duration::from_secs(age) };
        let busy = |in_flight| load(in_flight, 0.001);
        assert_eq!(choose(&[new(0), busy(5)], [0.0, 0.0]), Some(1));
        assert_eq!(choose(&[new(0), busy(20)], [0.0, 0.0]), Some(0));
        assert_eq!(choose(&[new(10), busy(1)], [0.0, 0.0]), Some(0));
    }

    #[test]
    fn an_average_rises_at_once_and_falls_slowly() {
        let at = Duration::from_secs;
        let mut average = PeakAverage::new(at(0));
        average.observe(Duration::from_millis(500), at(1));
        assert!((average.seconds(at(1)) - 0.5).abs() < 1e-9);
        average.observe(Duration::from_millis(1), at(1));
        assert!(average.seconds(at(1)) > 0.49, "one quick answer proves little");
        average.observe(Duration::from_millis(1), at(11));
        assert!(average.seconds(at(11)) < 0.1);
        let mut slow = PeakAverage::new(at(0));
        slow.observe(Duration::from_secs(2), at(0));
        assert!(slow.seconds(at(60)) < 0.002, "after a while it is tried again");
        // A clock that goes back does no harm.
        slow.observe(Duration::from_millis(1), Duration::ZERO);
        assert!(slow.seconds(Duration::ZERO).is_finite());
    }
}
