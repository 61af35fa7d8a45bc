//! What is counted of one version, cumulative or over a period.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::exact::Trials;

/// Buckets of the latency histogram: each is 1.25 times as wide as the one before, the first from 0 to 10 microseconds,
/// the last without an end (from 10 s).
pub const LATENCY_BUCKETS: usize = 64;
const FIRST_BOUND_MICROSECONDS: f64 = 10.0;
const BUCKET_FACTOR: f64 = 1.25;
/// Bins of the histogram of confidences (the probability of the class that was chosen), from 0 to 1.
pub const CONFIDENCE_BINS: usize = 20;

/// Counts of one version of one endpoint. What is not there yet is 0.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Requests that were given to this version.
    pub begun: u64,
    /// Requests answered with classes.
    pub answered: u64,
    /// Of those, answered later than a caller can be expected to wait.
    pub late: u64,
    /// Requests that failed by the server's or the model's fault (5xx).
    pub failed: u64,
    /// Of those, because the model's output was not a class with probabilities.
    pub invalid: u64,
    /// Requests refused because their rows do not fit this version.
    pub misfits: u64,
    /// Other requests that were the caller's fault, and callers that left.
    pub excused: u64,
    /// Requests that wait for an answer already too long; of the present, not of a period.
    pub hanging: u64,
    /// Latencies, by [`bucket_of_latency`]; also of callers that left.
    pub latency: Vec<u64>,
    /// Classes chosen, one row a request: a batch of a thousand is one witness.
    pub classes: BTreeMap<String, u64>,
    /// Confidences of the same rows, by [`confidence_bin`].
    pub confidence: Vec<u64>,
    /// The callers that asked most, each by a number of its own.
    pub callers: BTreeMap<u64, CallerTally>,
}

/// Requests of one caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CallerTally {
    pub requests: u64,
    pub failures: u64,
}

/// The bucket of a latency.
#[must_use]
pub fn bucket_of_latency(microseconds: u64) -> usize {
    let above = (microseconds as f64 / FIRST_BOUND_MICROSECONDS).max(1e-9).ln() / BUCKET_FACTOR.ln();
    if above < 0.0 { 0 } else { (above.floor() as usize + 1).min(LATENCY_BUCKETS - 1) }
}

/// The upper end of a bucket, microseconds; of the last one it is infinite.
#[must_use]
pub fn latency_bound(bucket: usize) -> f64 {
    if bucket + 1 >= LATENCY_BUCKETS {
        return f64::INFINITY;
    }
    FIRST_BOUND_MICROSECONDS * BUCKET_FACTOR.powi(i32::try_from(bucket).unwrap_or(i32::MAX))
}

/// The upper end of the bucket that a quantile of a histogram falls into, microseconds; `None` of none.
#[must_use]
pub fn latency_quantile(histogram: &[u64], quantile: f64) -> Option<f64> {
    let total: u64 = histogram.iter().sum();
    let wanted = ((total as f64 * quantile).ceil() as u64).max(1);
    let mut below = 0;
    let bucket = histogram.iter().position(|count| {
        below += count;
        below >= wanted
    });
    bucket.map(latency_bound)
}

/// The bin of a confidence.
#[must_use]
pub fn confidence_bin(confidence: f64) -> usize {
    ((confidence.clamp(0.0, 1.0) * CONFIDENCE_BINS as f64) as usize).min(CONFIDENCE_BINS - 1)
}

impl Tally {
    /// Requests that say something about the version, and those of them that its callers saw fail.
    #[must_use]
    pub fn trials(&self) -> Trials {
        let failures = self.failed + self.late + self.hanging;
        Trials { n: self.answered + self.failed + self.hanging, failures }
    }

    /// Requests that were read or would have been, and those of them whose rows do not fit.
    #[must_use]
    pub fn fits(&self) -> Trials {
        Trials { n: self.answered + self.failed + self.misfits, failures: self.misfits }
    }

    /// What was counted since `earlier`, of the same counters. Counters that are smaller than they were have begun anew:
    /// all of them counts.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let is_anew =
            self.begun < earlier.begun || self.answered < earlier.answered || self.failed < earlier.failed;
        if is_anew {
            return self.clone();
        }
        let count = |now: u64, then: u64| now.saturating_sub(then);
        let each = |now: &[u64], then: &[u64]| -> Vec<u64> {
            now.iter().enumerate().map(|(i, now)| count(*now, then.get(i).copied().unwrap_or(0))).collect()
        };
        let classes = self.classes.iter().map(|(class, now)| {
            (class.clone(), count(*now, earlier.classes.get(class).copied().unwrap_or(0)))
        });
        let callers = self.callers.iter().map(|(caller, now)| {
            let then = earlier.callers.get(caller).copied().unwrap_or_default();
            let requests = count(now.requests, then.requests);
            (*caller, CallerTally { requests, failures: count(now.failures, then.failures) })
        });
        Self {
            begun: count(self.begun, earlier.begun),
            answered: count(self.answered, earlier.answered),
            late: count(self.late, earlier.late),
            failed: count(self.failed, earlier.failed),
            invalid: count(self.invalid, earlier.invalid),
            misfits: count(self.misfits, earlier.misfits),
            excused: count(self.excused, earlier.excused),
            hanging: self.hanging,
            latency: each(&self.latency, &earlier.latency),
            classes: classes.filter(|(_, count)| *count > 0).collect(),
            confidence: each(&self.confidence, &earlier.confidence),
            callers: callers.filter(|(_, caller)| caller.requests > 0).collect(),
        }
    }

    /// Adds what was counted in a later period.
    pub fn add(&mut self, later: &Self) {
        self.begun += later.begun;
        self.answered += later.answered;
        self.late += later.late;
        self.failed += later.failed;
        self.invalid += later.invalid;
        self.misfits += later.misfits;
        self.excused += later.excused;
        self.hanging = later.hanging;
        add_each(&mut self.latency, &later.latency);
        add_each(&mut self.confidence, &later.confidence);
        for (class, count) in &later.classes {
            *self.classes.entry(class.clone()).or_default() += count;
        }
        for (caller, more) in &later.callers {
            let known = self.callers.entry(*caller).or_default();
            known.requests += more.requests;
            known.failures += more.failures;
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, later: &Self) -> Self {
        let mut sum = self.clone();
        sum.add(later);
        sum
    }
}

fn add_each(into: &mut Vec<u64>, more: &[u64]) {
    if into.len() < more.len() {
        into.resize(more.len(), 0);
    }
    for (count, more) in into.iter_mut().zip(more) {
        *count += more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_is_below_the_end_of_its_bucket() {
        for microseconds in (0..200).chain([999, 1_000, 5_000, 123_456, 9_999_999, 10_000_000, u64::MAX]) {
            let bucket = bucket_of_latency(microseconds);
            assert!((microseconds as f64) < latency_bound(bucket) * (1.0 + 1e-12), "{microseconds}");
            assert!(
                bucket == 0 || microseconds as f64 >= latency_bound(bucket - 1) * (1.0 - 1e-12),
                "{microseconds}"
            );
        }
        assert!(latency_bound(LATENCY_BUCKETS - 2) > 10e6);
    }

    #[test]
    fn a_period_is_the_difference_of_two_readings_and_readings_are_the_sum_of_periods() {
        let mut earlier =
            Tally { begun: 10, answered: 8, failed: 1, latency: vec![1, 2], ..Tally::default() };
        earlier.classes.insert("a".into(), 8);
        earlier.callers.insert(7, CallerTally { requests: 9, failures: 1 });
        let mut later = earlier.clone();
        later.add(&Tally { begun: 5, answered: 5, latency: vec![0, 0, 5], ..Tally::default() });
        later.classes.insert("b".into(), 5);
        later.callers.insert(8, CallerTally { requests: 5, failures: 0 });
        let period = later.since(&earlier);
        assert_eq!((period.begun, period.answered, period.failed), (5, 5, 0));
        assert_eq!(period.latency, [0, 0, 5]);
        assert_eq!(period.classes.keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(period.callers.len(), 1);
        assert_eq!(earlier.plus(&period), later);
        // A server that began anew counts from nothing.
        assert_eq!(earlier.since(&later), earlier);
    }

    #[test]
    fn confidences_have_a_bin() {
        assert_eq!(
            [0.0, 0.049, 0.05, 0.999, 1.0, 7.0, f64::NAN].map(confidence_bin),
            [0, 0, 1, 19, 19, 19, 0]
        );
    }
}
