//! What is known of two versions beside each other.

use serde::{Deserialize, Serialize};

use super::exact::Trials;
use super::tally::Tally;

/// No caller is more than this share of the evidence, where there are callers enough for that.
pub const CALLER_SHARE: f64 = 0.2;

/// Where a fair share would leave less than this of the evidence, nothing is cut.
const LEAST_LEFT: f64 = 0.2;

/// Everything counted of a rollout so far.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// Of the version that serves, before the rollout began.
    pub before: Tally,
    /// Of both, one entry a step in which requests were split the same way, the present one last.
    pub strata: Vec<Stratum>,
    /// Of the new version on rows that the other one answered.
    pub mirrored: Mirrored,
    /// What the two were known to differ in before.
    pub expected: Expected,
    /// Rows whose true class became known.
    pub labels: Labelled,
    /// Requests of the new version at the last look, mirrored rows, and labels: looks up to there are spent.
    pub looked: Looked,
}

/// How far evidence was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Looked {
    pub requests: u64,
    /// Those among them and those that were refused because their rows do not fit.
    pub fits: u64,
    pub mirrored: u64,
    pub labels: u64,
}

/// Answers whose true class became known, and the wrong ones among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Labelled {
    pub canary: Trials,
    pub stable: Trials,
}

/// Both versions in the same seconds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stratum {
    pub canary: Tally,
    pub stable: Tally,
}

/// The new version beside the one that answered, on the same rows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Mirrored {
    /// The new version's answers; its latencies are of the evaluation alone.
    pub tally: Tally,
    /// Rows on which the two chose different classes.
    pub disagreed: u64,
    /// Rows that were not mirrored, because the mirror was busy.
    pub dropped: u64,
}

/// What two versions differ in on rows that were kept with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Expected {
    /// Rows that both were asked.
    pub rows: u64,
    /// Rows on which they chose different classes.
    pub disagreed: u64,
}

impl Evidence {
    /// Of the new version, over all steps.
    #[must_use]
    pub fn canary(&self) -> Tally {
        self.sum(|stratum| &stratum.canary)
    }

    /// Of the version that serves, in the same seconds.
    #[must_use]
    pub fn stable(&self) -> Tally {
        self.sum(|stratum| &stratum.stable)
    }

    fn sum(&self, of: impl Fn(&Stratum) -> &Tally) -> Tally {
        self.strata.iter().fold(Tally::default(), |mut sum, stratum| {
            sum.add(of(stratum));
            sum
        })
    }
}

impl Mirrored {
    /// Rows that the new version answered, or should have.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tally.trials().n
    }

    /// What was mirrored since `earlier`, of the same counters.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        if self.rows() < earlier.rows() {
            return self.clone();
        }
        Self {
            tally: self.tally.since(&earlier.tally),
            disagreed: self.disagreed.saturating_sub(earlier.disagreed),
            dropped: self.dropped.saturating_sub(earlier.dropped),
        }
    }

    /// Adds what was counted in a later period.
    pub fn add(&mut self, later: &Self) {
        self.tally.add(&later.tally);
        self.disagreed += later.disagreed;
        self.dropped += later.dropped;
    }
}

impl Tally {
    /// The same as [`Tally::trials`], with every caller cut to at most [`CALLER_SHARE`] of the whole. With fewer than five
    /// callers nothing is cut: there is no fairer share.
    #[must_use]
    pub fn fair_trials(&self) -> Trials {
        let whole = self.trials();
        let named: u64 = self.callers.values().map(|caller| caller.requests).sum();
        let others = whole.n.saturating_sub(named);
        if (self.callers.len() as f64) < 1.0 / CALLER_SHARE || whole.n == 0 {
            return whole;
        }
        let cut = |limit: f64| -> f64 {
            let named: f64 = self.callers.values().map(|caller| (caller.requests as f64).min(limit)).sum();
            others as f64 + named
        };
        // The largest limit that is a fair share of what it leaves; each round cuts further, the callers are few.
        let mut limit = whole.n as f64;
        for _ in 0..100 {
            let fair = CALLER_SHARE * cut(limit);
            if fair >= limit - 0.5 {
                break;
            }
            limit = fair;
        }
        let (mut n, mut failures) = (cut(limit).round() as u64, whole.failures);
        if (n as f64) < LEAST_LEFT * whole.n as f64 {
            // A proxy and a few others: the cut would leave no evidence at all.
            return whole;
        }
        for caller in self.callers.values() {
            let requests = caller.requests as f64;
            if requests > limit {
                let kept = (caller.failures as f64 * limit / requests).round() as u64;
                failures = failures.saturating_sub(caller.failures - kept.min(caller.failures));
            }
        }
        n = n.max(failures);
        Trials { n, failures }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::CallerTally;
    use super::*;

    fn asked(callers: &[(u64, u64)]) -> Tally {
        let callers: Vec<_> =
            callers.iter().map(|&(requests, failures)| CallerTally { requests, failures }).collect();
        let (requests, failures): (u64, u64) =
            callers.iter().fold((0, 0), |sum, caller| (sum.0 + caller.requests, sum.1 + caller.failures));
        Tally {
            answered: requests - failures,
            failed: failures,
            callers: (0..).zip(callers).collect(),
            ..Tally::default()
        }
    }

    #[test]
    fn no_caller_is_more_than_a_fifth_of_the_evidence() {
        // One caller with a row that breaks the model, among many.
        let mut callers = vec![(1_000, 1_000)];
        callers.extend([(10, 0); 40]);
        let trials = asked(&callers).fair_trials();
        assert!(trials.failures as f64 <= 0.21 * trials.n as f64, "{trials:?}");
        assert!((480..=520).contains(&trials.n), "{trials:?}");
        // When all are alike, or there are too few to be fair, nothing is cut.
        assert_eq!(asked(&[(100, 10); 10]).fair_trials(), Trials { n: 1_000, failures: 100 });
        assert_eq!(asked(&[(1_000, 1_000), (1, 0)]).fair_trials(), Trials { n: 1_001, failures: 1_000 });
        assert_eq!(Tally::default().fair_trials(), Trials::default());
        let proxy = asked(&[(10_000, 3_000), (1, 0), (1, 0), (1, 0), (1, 0)]);
        assert_eq!(proxy.fair_trials(), Trials { n: 10_004, failures: 3_000 });
    }

    #[test]
    fn failures_of_callers_without_a_name_of_their_own_count_whole() {
        let mut tally = asked(&[(500, 0), (20, 0), (20, 0), (20, 0), (20, 0)]);
        tally.failed += 100;
        let trials = tally.fair_trials();
        assert_eq!(trials.failures, 100);
        assert!(trials.n < 300, "{trials:?}");
    }
}
