//! Tail probabilities, computed and not approximated.

use serde::{Deserialize, Serialize};
use statrs::function::gamma::ln_gamma;

/// Trials and how many of them failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Trials {
    pub n: u64,
    pub failures: u64,
}

impl Trials {
    /// The share that failed; 0 of none.
    #[must_use]
    pub fn rate(self) -> f64 {
        if self.n == 0 { 0.0 } else { self.failures as f64 / self.n as f64 }
    }
}

impl std::ops::Add for Trials {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { n: self.n + other.n, failures: self.failures + other.failures }
    }
}

/// Terms smaller than this part of the sum so far no longer change it.
const NEGLIGIBLE: f64 = 1e-17;
/// Below this a number loses digits.
const SMALLEST: f64 = 1e-290;

/// The probability that a group of `a.n` has at least `a.failures` of the failures that it and another of `b.n` have
/// together, when failures do not care about groups: Fisher's exact test, one-sided, in its mid-p form, which counts the
/// outcome itself half (H. O. Lancaster, Significance tests in discrete distributions, JASA 56, 1961). It is right on
/// average over outcomes, where the full sum is always too careful.
#[must_use]
pub fn worse_than(a: Trials, b: Trials) -> f64 {
    let (n, total, failures) = (a.n, a.n + b.n, a.failures + b.failures);
    if n == 0 || failures == 0 {
        return 1.0;
    }
    let log =
        ln_choose(failures, a.failures) + ln_choose(total - failures, n - a.failures) - ln_choose(total, n);
    let first = log.exp();
    if first < SMALLEST && (a.failures as f64) < failures as f64 * n as f64 / total as f64 {
        // Far below the middle nothing is left of the first term, and the sum is 1.
        return 1.0;
    }
    let most = n.min(failures);
    let (mut sum, mut term) = (0.5 * first, first);
    for k in a.failures..most {
        // From the probability of k failures in the group to that of k + 1.
        let (more, fewer) = ((failures - k) as f64, (n - k) as f64);
        // Not negative: with k + 1 failures in the group there are enough others.
        let others = (total + k + 1).saturating_sub(failures + n) as f64;
        if others <= 0.0 {
            // The probability of k was 0: the next is not reached from it.
            return exact_from(a, b, k + 1, most, sum);
        }
        term *= more * fewer / ((k + 1) as f64 * others);
        sum += term;
        if term < NEGLIGIBLE * sum {
            break;
        }
    }
    sum.min(1.0)
}

/// The rest of the sum, each term by itself.
fn exact_from(a: Trials, b: Trials, from: u64, most: u64, sum: f64) -> f64 {
    let (total, failures) = (a.n + b.n, a.failures + b.failures);
    let terms = (from..=most).map(|k| {
        if failures - k > b.n {
            return 0.0;
        }
        (ln_choose(failures, k) + ln_choose(total - failures, a.n - k) - ln_choose(total, a.n)).exp()
    });
    (sum + terms.sum::<f64>()).min(1.0)
}

/// The probability of at least `trials.failures` failures when each trial fails with probability `p`.
#[must_use]
pub fn at_least(trials: Trials, p: f64) -> f64 {
    let Trials { n, failures } = trials;
    if failures == 0 || p >= 1.0 {
        return 1.0;
    }
    if p <= 0.0 || failures > n {
        return 0.0;
    }
    let odds = p / (1.0 - p);
    let exactly = |k: u64| (ln_choose(n, k) + k as f64 * p.ln() + (n - k) as f64 * (-p).ln_1p()).exp();
    let mut sum = 0.0;
    if (failures as f64) < n as f64 * p {
        // Below the middle the terms grow from nothing; those on the other side fall.
        let mut term = exactly(failures - 1);
        for k in (0..failures).rev() {
            sum += term;
            if term < NEGLIGIBLE * sum {
                break;
            }
            term *= k as f64 / ((n - k + 1) as f64 * odds);
        }
        return (1.0 - sum).max(0.0);
    }
    let mut term = exactly(failures);
    for k in failures..=n {
        sum += term;
        if term < NEGLIGIBLE * sum {
            break;
        }
        term *= odds * (n - k) as f64 / (k + 1) as f64;
    }
    sum.min(1.0)
}

/// The largest share of failures that is not refuted at `level`: fewer failures than were seen would then be as rare
/// (Clopper and Pearson 1934, upper side).
#[must_use]
pub fn upper_share(trials: Trials, level: f64) -> f64 {
    let Trials { n, failures } = trials;
    if n == 0 || failures >= n {
        return 1.0;
    }
    // P(X <= failures) falls as the share grows.
    let at_most = |p: f64| 1.0 - at_least(Trials { n, failures: failures + 1 }, p);
    let (mut low, mut high) = (trials.rate(), 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if at_most(middle) > level { low = middle } else { high = middle }
    }
    high
}

/// How many standard deviations the first of each pair has more failures than its share of the pair's, over all pairs:
/// the test of Mantel and Haenszel (1959), one-sided. Pairs are compared within themselves alone, so what changes from
/// pair to pair, such as a bad hour for both, does not count. 0 when no pair has both sides.
#[must_use]
pub fn stratified_excess(pairs: impl Iterator<Item = (Trials, Trials)>) -> f64 {
    let (mut excess, mut variance) = (0.0, 0.0);
    for (a, b) in pairs {
        let (n, m, failures) = (a.n as f64, b.n as f64, (a.failures + b.failures) as f64);
        let total = n + m;
        if a.n == 0 || b.n == 0 || total < 2.0 {
            continue;
        }
        excess += a.failures as f64 - failures * n / total;
        variance += n * m * failures * (total - failures) / (total * total * (total - 1.0));
    }
    if variance > 0.0 { excess / variance.sqrt() } else { 0.0 }
}

fn ln_choose(n: u64, k: u64) -> f64 {
    if k > n {
        return f64::NEG_INFINITY;
    }
    ln_gamma(n as f64 + 1.0) - ln_gamma(k as f64 + 1.0) - ln_gamma((n - k) as f64 + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials(failures: u64, n: u64) -> Trials {
        Trials { n, failures }
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-9 * expected.max(1e-6), "{found} instead of {expected}");
    }

    #[test]
    fn tails_agree_with_scipy() {
        // scipy 1.17.1: hypergeom.sf(k, N, K, n) + hypergeom.pmf(k, N, K, n) / 2, see tests/data/sequential/make.py
        let text = include_str!("../../tests/data/sequential/tails.csv");
        let mut compared = 0;
        for line in text.lines().skip(1) {
            let cells: Vec<&str> = line.split(',').collect();
            let whole = |i: usize| cells[i].parse::<u64>().unwrap();
            let expected: f64 = cells[5].parse().unwrap();
            let found = match cells[0] {
                "worse_than" => worse_than(trials(whole(1), whole(2)), trials(whole(3), whole(4))),
                "at_least" => at_least(trials(whole(1), whole(2)), cells[3].parse().unwrap()),
                "upper_share" => upper_share(trials(whole(1), whole(2)), cells[3].parse().unwrap()),
                other => unreachable!("{other}"),
            };
            // Logarithms of factorials of a hundred thousand are good to nine digits.
            let tolerance = 1e-6 * expected.abs();
            assert!((found - expected).abs() <= tolerance, "{line}: {found}");
            compared += 1;
        }
        assert!(compared > 200, "{compared}");
    }

    #[test]
    fn odd_counts_have_an_answer() {
        close(worse_than(trials(0, 0), trials(0, 0)), 1.0);
        close(worse_than(trials(0, 10), trials(0, 10)), 1.0);
        close(worse_than(trials(5, 5), trials(0, 0)), 0.5);
        close(worse_than(trials(5, 5), trials(5, 5)), 0.5);
        close(at_least(trials(0, 0), 0.5), 1.0);
        close(at_least(trials(3, 2), 0.5), 0.0);
        close(at_least(trials(1, 2), 0.0), 0.0);
        close(at_least(trials(2, 2), 1.0), 1.0);
        close(at_least(trials(1, 1_000_000), 0.9), 1.0);
        close(upper_share(trials(0, 0), 0.01), 1.0);
        close(upper_share(trials(4, 4), 0.01), 1.0);
        close(stratified_excess(std::iter::empty()), 0.0);
        close(stratified_excess([(trials(1, 1), trials(0, 0))].into_iter()), 0.0);
    }

    #[test]
    fn a_bad_hour_for_both_is_no_excess() {
        // Nine in ten requests fall into the bad hour of one, one in ten of the other.
        let hours = [(trials(45, 900), trials(5, 100)), (trials(0, 100), trials(0, 900))];
        close(stratified_excess(hours.into_iter()), 0.0);
        assert!(worse_than(trials(45, 1_000), trials(5, 1_000)) < 1e-8, "all together it looks like one");
        assert!(stratified_excess([(trials(12, 300), trials(0, 300))].into_iter()) > 3.0);
    }
}
