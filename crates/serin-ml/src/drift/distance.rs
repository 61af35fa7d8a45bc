//! How far two distributions are apart, in the measures of the field.

use serde::{Deserialize, Serialize};

use super::bins::ColumnBins;
use super::window::ColumnWindow;

/// Shares of a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Shares(Vec<f64>);

/// The distances between the baseline and a window of one feature. All are of finite values but `psi` and
/// `jensen_shannon`, for which missing values are a bin of their own.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
pub struct Distances {
    /// Largest difference of the two distribution functions, at the edges of the bins (Kolmogorov and Smirnov's D), 0 to 1.
    pub ks: f64,
    /// Population stability index: the sum over bins of (now - before) ln(now / before), each share of an empty bin taken
    /// as that of half a row.
    pub psi: f64,
    /// Jensen-Shannon distance: the root of the divergence in bits, 0 to 1.
    pub jensen_shannon: f64,
    /// Area between the distribution functions, in standard deviations of the baseline (normed Wasserstein-1 distance); in
    /// the feature's own unit when the baseline has one value only.
    pub wasserstein: f64,
}

impl Shares {
    /// Of counts; zeros when there are none.
    #[must_use]
    pub fn of(counts: &[u64]) -> Self {
        let total = counts.iter().sum::<u64>().max(1) as f64;
        Self(counts.iter().map(|&count| count as f64 / total).collect())
    }

    pub(super) fn at(&self, place: usize) -> f64 {
        self.0.get(place).copied().unwrap_or(0.0)
    }

    /// Half the sum of differences: the share that would have to move.
    #[must_use]
    pub fn total_variation(&self, other: &Self) -> f64 {
        self.0.iter().zip(&other.0).map(|(a, b)| (a - b).abs()).sum::<f64>() / 2.0
    }
}

impl Distances {
    /// Between counts of a baseline, with its missing values, range and standard deviation, and a window.
    #[must_use]
    pub fn between(
        bins: &ColumnBins,
        before: &[u64],
        missing_before: u64,
        range: Option<(f64, f64)>,
        deviation: f64,
        window: &ColumnWindow,
    ) -> Self {
        let with =
            |counts: &[u64], missing: u64| counts.iter().copied().chain([missing]).collect::<Vec<u64>>();
        let was = with(before, missing_before);
        let is = with(&window.counts, window.missing + window.non_finite);
        Self {
            ks: Self::largest_cdf_difference(before, &window.counts),
            psi: population_stability(&was, &is),
            jensen_shannon: jensen_shannon(&Shares::of(&was), &Shares::of(&is)),
            wasserstein: (wasserstein(bins, before, range, window)
                / if deviation > 0.0 { deviation } else { 1.0 })
            .min(f64::MAX),
        }
    }

    /// The largest difference of the distribution functions of two counts of the same bins; 0 when one is empty.
    #[must_use]
    pub fn largest_cdf_difference(before: &[u64], now: &[u64]) -> f64 {
        let (n, m) = (before.iter().sum::<u64>(), now.iter().sum::<u64>());
        if n == 0 || m == 0 {
            return 0.0;
        }
        let (mut below, mut below_now, mut largest) = (0_u64, 0_u64, 0.0_f64);
        for (a, b) in before.iter().zip(now) {
            below += a;
            below_now += b;
            largest = largest.max((below as f64 / n as f64 - below_now as f64 / m as f64).abs());
        }
        largest
    }
}

fn population_stability(before: &[u64], now: &[u64]) -> f64 {
    let (n, m) = (before.iter().sum::<u64>(), now.iter().sum::<u64>());
    if n == 0 || m == 0 {
        return 0.0;
    }
    let share = |count: u64, total: u64| (count as f64).max(0.5) / total as f64;
    let both = before.iter().zip(now).filter(|(a, b)| **a + **b > 0);
    both.map(|(&a, &b)| (share(b, m) - share(a, n)) * (share(b, m) / share(a, n)).ln()).sum()
}

fn jensen_shannon(before: &Shares, now: &Shares) -> f64 {
    let half = |a: f64, b: f64| if a > 0.0 { a * (2.0 * a / (a + b)).log2() } else { 0.0 };
    let pairs = before.0.iter().zip(&now.0);
    let divergence: f64 = pairs.map(|(&a, &b)| (half(a, b) + half(b, a)) / 2.0).sum();
    divergence.max(0.0).sqrt()
}

/// The area between the distribution functions, taken as straight between the edges. Outside of them the baseline has
/// nothing, and the window's values are known by their distance.
fn wasserstein(bins: &ColumnBins, before: &[u64], range: Option<(f64, f64)>, window: &ColumnWindow) -> f64 {
    if range.is_none() || window.range.is_none() {
        return 0.0;
    }
    let edges = bins.edges.as_slice();
    let cumulative = |counts: &[u64]| {
        let total = counts.iter().sum::<u64>().max(1) as f64;
        let mut sum = 0;
        let shares = counts.iter().map(move |count| {
            sum += count;
            sum as f64 / total
        });
        shares.collect::<Vec<f64>>()
    };
    let (f, g) = (cumulative(before), cumulative(&window.counts));
    // At edge i the function is the share of the bins up to i.
    let at: Vec<(f64, f64)> = edges.iter().copied().zip(f.iter().zip(&g).map(|(a, b)| a - b)).collect();
    let inside = at.windows(2).map(|pair| {
        let (width, (a, b)) = (pair[1].0 - pair[0].0, (pair[0].1, pair[1].1));
        // Two triangles where the difference changes its sign.
        let height = if a * b < 0.0 {
            (a * a + b * b) / (2.0 * (a - b).abs())
        } else {
            f64::midpoint(a.abs(), b.abs())
        };
        width * height
    });
    let inside: f64 = inside.filter(|area| area.is_finite()).sum();
    inside + (window.outside.0 + window.outside.1) / window.present().max(1) as f64
}
