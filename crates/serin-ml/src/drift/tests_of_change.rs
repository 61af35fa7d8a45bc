//! Tests of "these two samples are of one population": each gives the probability of at least such a difference by chance.

use statrs::distribution::{ChiSquared, ContinuousCDF as _};
use statrs::function::beta::ln_beta;
use statrs::function::gamma::ln_gamma;

use crate::sequential::Trials;
use crate::sequential::exact::worse_than;

/// Fewest rows that each sample is expected to have in a group, so that chi-square is near the truth far out in its tail.
const EXPECTED_LEAST: f64 = 10.0;
/// Samples of more values are taken as so many: the sum has a term for each.
const UNSEEN_SAMPLE: u64 = 100_000;
/// Terms smaller than this part of the sum no longer change it.
const NEGLIGIBLE: f64 = 1e-12;

/// Two samples counted in the same groups.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Groups {
    pairs: Vec<(f64, f64)>,
    totals: (f64, f64),
}

impl Groups {
    /// Bins put together until each sample is expected to have enough rows in each group: neighbours when bins are in
    /// `order`, else all small ones into one. Which are put together depends on both samples' sum alone, as the test
    /// demands.
    pub(super) fn of(before: &[u64], now: &[u64], in_order: bool) -> Self {
        let totals = (before.iter().sum::<u64>() as f64, now.iter().sum::<u64>() as f64);
        let least = EXPECTED_LEAST * (totals.0 + totals.1) / totals.0.min(totals.1).max(f64::MIN_POSITIVE);
        let mut pairs: Vec<(f64, f64)> = Vec::new();
        let mut rest = (0.0, 0.0);
        for (&a, &b) in before.iter().zip(now) {
            let (a, b) = (a as f64, b as f64);
            if in_order {
                rest = (rest.0 + a, rest.1 + b);
                if rest.0 + rest.1 >= least {
                    pairs.push(std::mem::take(&mut rest));
                }
            } else if a + b >= least {
                pairs.push((a, b));
            } else {
                rest = (rest.0 + a, rest.1 + b);
            }
        }
        if rest.0 + rest.1 >= least {
            pairs.push(rest);
        } else if let Some(last) = pairs.last_mut() {
            *last = (last.0 + rest.0, last.1 + rest.1);
        }
        Self { pairs, totals }
    }

    /// Share of rows that would have to be in another group.
    pub(super) fn total_variation(&self) -> f64 {
        let (n, m) = self.totals;
        if n == 0.0 || m == 0.0 {
            return 0.0;
        }
        self.pairs.iter().map(|(a, b)| (a / n - b / m).abs()).sum::<f64>() / 2.0
    }
}

/// Pearson's chi-square test of homogeneity of two samples; 1 with fewer than two groups.
pub(super) fn homogeneity(groups: &Groups) -> f64 {
    let (n, m) = groups.totals;
    let freedom = groups.pairs.len().saturating_sub(1);
    if freedom == 0 || n == 0.0 || m == 0.0 {
        return 1.0;
    }
    let statistic: f64 = groups
        .pairs
        .iter()
        .map(|&(a, b)| {
            let expected = ((a + b) * n / (n + m), (a + b) * m / (n + m));
            (a - expected.0).powi(2) / expected.0 + (b - expected.1).powi(2) / expected.1
        })
        .sum();
    ChiSquared::new(freedom as f64).map_or(1.0, |chi| chi.sf(statistic))
}

/// Kolmogorov and Smirnov's test of two samples whose distribution functions differ by `difference` at most, with
/// M. A. Stephens' correction for finite samples (1970). Looking at the edges of bins alone makes it careful, never rash.
pub(super) fn kolmogorov_smirnov(difference: f64, n: u64, m: u64) -> f64 {
    if n == 0 || m == 0 {
        return 1.0;
    }
    let size = (n as f64 * m as f64 / (n as f64 + m as f64)).sqrt();
    let lambda = (size + 0.12 + 0.11 / size) * difference;
    if lambda < 0.2 {
        return 1.0;
    }
    let mut sum = 0.0;
    for j in 1..=100 {
        let j = f64::from(j);
        let term = (-2.0 * j * j * lambda * lambda).exp();
        sum += if j as u32 % 2 == 1 { term } else { -term };
        if term < NEGLIGIBLE * sum {
            break;
        }
    }
    (2.0 * sum).clamp(0.0, 1.0)
}

/// Fisher's exact test of two shares, two-sided (twice the smaller side).
pub(super) fn shares_differ(before: (u64, u64), now: (u64, u64)) -> f64 {
    let trials = |(failures, n): (u64, u64)| Trials { n, failures };
    let more = worse_than(trials(now), trials(before));
    let fewer = worse_than(trials(before), trials(now));
    (2.0 * more.min(fewer)).min(1.0)
}

/// The probability that at least `count` of `n` new values lie where none of `seen` values did, of which `rare` were
/// one of a kind (or at the border of the range): the unseen share is taken as Beta(rare, seen - rare + 1), which is its exact
/// distribution for the part beyond `rare` order statistics of a continuous feature, and Good's (1953) estimate for a
/// discrete one.
pub(super) fn unseen(count: u64, n: u64, rare: u64, seen: u64) -> f64 {
    if count == 0 || n == 0 {
        return 1.0;
    }
    let (count, n) = fewer(count, n);
    if count == 0 {
        return 1.0;
    }
    let (a, b) = (rare.max(1) as f64, seen.saturating_sub(rare) as f64 + 1.0);
    let n = n as f64;
    let mut k = count as f64;
    let ln_choose = ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0);
    let mut term = (ln_choose + ln_beta(k + a, n - k + b) - ln_beta(a, b)).exp();
    let mut sum = 0.0;
    while k <= n {
        sum += term;
        if term < NEGLIGIBLE * sum || sum == 0.0 {
            break;
        }
        term *= (n - k) * (k + a) / ((k + 1.0) * (n - k - 1.0 + b));
        k += 1.0;
    }
    sum.min(1.0)
}

/// A large sample as a smaller one of the same share: less evidence than there is, and never more.
fn fewer(count: u64, n: u64) -> (u64, u64) {
    if n <= UNSEEN_SAMPLE {
        return (count, n);
    }
    let share = count as f64 / n as f64;
    ((share * UNSEEN_SAMPLE as f64) as u64, UNSEEN_SAMPLE)
}

/// Which of many hypotheses to give up so that of those given up no more than `rate` are true on average, and with
/// probability `rate` at most any if all are true: Y. Benjamini and Y. Hochberg (1995). Gives the largest probability
/// that still counts as a discovery; 0: none.
pub(super) fn discovery_limit(probabilities: &[f64], rate: f64) -> f64 {
    let mut sorted: Vec<f64> = probabilities.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len() as f64;
    let ranked = sorted.iter().enumerate().rev();
    ranked
        .map(|(i, &p)| (p, rate * (i as f64 + 1.0) / count))
        .find(|(p, limit)| p <= limit)
        .map_or(0.0, |(_, limit)| limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_those_of_scipy() {
        // scipy.special.kolmogorov(lambda) at (sqrt(250) + 0.12 + 0.11 / sqrt(250)) * 0.1 = 1.593834...
        let p = kolmogorov_smirnov(0.1, 500, 500);
        assert!((p - 0.012_432_14).abs() < 1e-7, "{p}");
        // scipy.stats.chi2_contingency([[30, 70], [50, 50]], correction=False).pvalue
        let groups = Groups::of(&[30, 70], &[50, 50], true);
        assert!((homogeneity(&groups) - 0.003_892_417).abs() < 1e-8, "{}", homogeneity(&groups));
        // scipy.stats.betabinom.sf(2, 200, 2, 740)
        let p = unseen(3, 200, 2, 741);
        assert!((p - 0.031_973_254_9).abs() < 1e-9, "{p}");
    }

    #[test]
    fn nothing_is_no_evidence() {
        assert_eq!(kolmogorov_smirnov(0.9, 0, 10), 1.0);
        assert_eq!(homogeneity(&Groups::of(&[], &[], true)), 1.0);
        assert_eq!(homogeneity(&Groups::of(&[5, 5], &[0, 0], true)), 1.0);
        assert_eq!(unseen(0, 100, 2, 741), 1.0);
        assert_eq!(shares_differ((0, 100), (0, 100)), 1.0);
        assert_eq!(discovery_limit(&[], 0.1), 0.0);
    }

    #[test]
    fn discoveries_grow_with_their_number() {
        assert_eq!(discovery_limit(&[0.9, 0.5, 0.2], 0.05), 0.0);
        let limit = discovery_limit(&[0.001, 0.02, 0.03, 0.9], 0.05);
        assert!((limit - 0.05 * 3.0 / 4.0).abs() < 1e-12);
    }
}
