//! How many requests may be asked a second time: a fifth of them and ten a second. Without a limit, retries are what keeps an
//! overloaded fleet overloaded.

use std::time::Duration;

/// Of the requests.
const SHARE: f64 = 0.2;
/// Whatever the requests, each second.
const EACH_SECOND: f64 = 10.0;
/// What is not used is kept so long.
const KEPT: Duration = Duration::from_secs(10);
/// The most that is kept of requests.
const MOST: f64 = 1_000.0;

/// A bucket of retries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    tokens: f64,
    at: Duration,
}

impl Budget {
    /// Full of what time gives, at a moment of a monotonic clock.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self { tokens: EACH_SECOND, at: now }
    }

    /// A request came.
    pub fn deposit(&mut self, now: Duration) {
        self.fill(now);
        self.tokens = (self.tokens + SHARE).min(MOST);
    }

    /// Whether one more may be asked again; it counts.
    pub fn withdraw(&mut self, now: Duration) -> bool {
        self.fill(now);
        let is_there = self.tokens >= 1.0;
        if is_there {
            self.tokens -= 1.0;
        }
        is_there
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        let most_of_time = EACH_SECOND * KEPT.as_secs_f64();
        // What requests left above that stays until it is used.
        if self.tokens < most_of_time {
            self.tokens = (self.tokens + passed * EACH_SECOND).min(most_of_time);
        }
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_and_ten_a_second() {
        let mut budget = Budget::new(Duration::ZERO);
        let mut taken = 0;
        // A thousand requests a second for ten seconds, every one of which would be asked again.
        for i in 0..10_000_u32 {
            let now = Duration::from_millis(u64::from(i));
            budget.deposit(now);
            taken += u32::from(budget.withdraw(now));
        }
        assert!((2_000..=2_120).contains(&taken), "{taken}");
        // An hour without requests leaves little.
        let later = Duration::from_secs(3_600);
        let burst = (0..1_000).filter(|_| budget.withdraw(later)).count();
        assert!((90..=110).contains(&burst), "{burst}");
        assert!(!budget.withdraw(Duration::ZERO), "a clock that goes back gives nothing");
    }
}
