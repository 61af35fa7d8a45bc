//! The tree-structured Parzen estimator: where to look next, from what was seen.
//!
//! Bergstra, Bardenet, Bengio and Kegl, "Algorithms for Hyper-Parameter Optimization" (NIPS 2011): split the trials at
//! a quantile of their scores into good and bad, model each side by a density, and propose the candidate with the
//! largest ratio good / bad among draws from the good side. Coordinates are treated one by one.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::dimension::Dimension;

/// Share of trials called good.
const GOOD_SHARE: f64 = 0.1;
/// Draws from the good density, of which the best ratio is proposed.
const DRAWS: usize = 32;
/// Weight of the uniform prior, in trials.
const PRIOR_WEIGHT: f64 = 1.0;

/// A finished trial: its coordinates in the unit cube and its score (greater is better).
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub units: Vec<f64>,
    pub score: f64,
}

/// Proposes a point of the unit cube. With fewer than four trials seen it is uniform.
pub fn propose(dimensions: &[Dimension], seen: &[Seen], rng: &mut ChaCha8Rng) -> Vec<f64> {
    if seen.len() < 4 {
        return dimensions.iter().map(|_| rng.random::<f64>()).collect();
    }
    let mut order: Vec<usize> = (0..seen.len()).collect();
    order.sort_by(|&a, &b| seen[b].score.total_cmp(&seen[a].score).then(a.cmp(&b)));
    let good_count = ((GOOD_SHARE * seen.len() as f64).ceil() as usize).clamp(2, 25);
    let (good, bad) = order.split_at(good_count);
    let densities: Vec<(Density, Density)> = dimensions
        .iter()
        .enumerate()
        .map(|(d, dimension)| {
            let side =
                |rows: &[usize]| Density::new(dimension, rows.iter().map(|&i| seen[i].units[d]).collect());
            (side(good), side(bad))
        })
        .collect();
    let mut best: Option<(f64, Vec<f64>)> = None;
    for _ in 0..DRAWS {
        let draw: Vec<f64> = densities.iter().map(|(good, _)| good.draw(rng)).collect();
        let ratio: f64 = densities
            .iter()
            .zip(&draw)
            .map(|((good, bad), &unit)| good.log_density(unit) - bad.log_density(unit))
            .sum();
        if best.as_ref().is_none_or(|(best_ratio, _)| ratio > *best_ratio) {
            best = Some((ratio, draw));
        }
    }
    best.map(|(_, draw)| draw).unwrap_or_default()
}

/// A density over one coordinate: a mixture of Gaussians (or option counts) and a uniform prior.
enum Density {
    Continuous { centres: Vec<f64>, width: f64 },
    Options { shares: Vec<f64> },
}

impl Density {
    fn new(dimension: &Dimension, centres: Vec<f64>) -> Self {
        if let Some(options) = dimension.options() {
            let mut shares = vec![PRIOR_WEIGHT / options.len() as f64; options.len()];
            for &unit in &centres {
                shares[dimension.value(unit) as usize] += 1.0;
            }
            let total: f64 = shares.iter().sum();
            shares.iter_mut().for_each(|share| *share /= total);
            return Self::Options { shares };
        }
        // Silverman's rule, kept wide enough that neighbours of a good trial stay reachable.
        let n = centres.len() as f64;
        let mean = centres.iter().sum::<f64>() / n;
        let variance = centres.iter().map(|centre| (centre - mean).powi(2)).sum::<f64>() / n;
        let width = (1.06 * variance.sqrt() * n.powf(-0.2)).clamp(0.05, 0.5);
        Self::Continuous { centres, width }
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> f64 {
        match self {
            Self::Continuous { centres, width } => {
                let n = centres.len() as f64;
                let pick = rng.random::<f64>() * (n + PRIOR_WEIGHT);
                let (jitter_a, jitter_b) = (rng.random::<f64>(), rng.random::<f64>());
                match centres.get(pick as usize) {
                    None => jitter_a,
                    Some(centre) => (centre + width * gaussian(jitter_a, jitter_b)).clamp(0.0, 1.0),
                }
            }
            Self::Options { shares } => {
                let mut left = rng.random::<f64>();
                let option = shares.iter().position(|share| {
                    left -= share;
                    left < 0.0
                });
                (option.unwrap_or(shares.len() - 1) as f64 + 0.5) / shares.len() as f64
            }
        }
    }

    fn log_density(&self, unit: f64) -> f64 {
        match self {
            Self::Continuous { centres, width } => {
                let norm = 1.0 / (width * (2.0 * std::f64::consts::PI).sqrt());
                let kernels: f64 = centres
                    .iter()
                    .map(|centre| norm * (-0.5 * ((unit - centre) / width).powi(2)).exp())
                    .sum();
                ((kernels + PRIOR_WEIGHT) / (centres.len() as f64 + PRIOR_WEIGHT)).ln()
            }
            Self::Options { shares } => {
                let option = ((unit * shares.len() as f64) as usize).min(shares.len() - 1);
                shares[option].ln()
            }
        }
    }
}

/// A standard normal draw from two uniform ones (Box and Muller).
fn gaussian(a: f64, b: f64) -> f64 {
    (-2.0 * (1.0 - a).ln()).sqrt() * (2.0 * std::f64::consts::PI * b).cos()
}

#[cfg(test)]
mod tests {
    use super::super::dimension::Range;
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn it_finds_the_optimum_of_a_simple_function_better_than_chance() {
        let dimensions = [
            Dimension { name: "x", range: Range::Linear { low: 0.0, high: 1.0 } },
            Dimension { name: "y", range: Range::Linear { low: 0.0, high: 1.0 } },
            Dimension { name: "z", range: Range::Choice(&["a", "b", "c"]) },
        ];
        let score = |p: &[f64]| {
            let right_option = if (p[2] * 3.0) as usize == 1 { 0.0 } else { 0.3 };
            -(p[0] - 0.7).powi(2) - (p[1] - 0.2).powi(2) - right_option
        };
        let run = |guided: bool, seed: Seed| {
            let mut rng = seed.rng();
            let mut seen: Vec<Seen> = Vec::new();
            for _ in 0..60 {
                let units = propose(&dimensions, if guided { &seen } else { &[] }, &mut rng);
                seen.push(Seen { score: score(&units), units });
            }
            seen.iter().map(|trial| trial.score).fold(f64::NEG_INFINITY, f64::max)
        };
        let wins = (0..40).filter(|&s| run(true, Seed(s)) > run(false, Seed(s))).count();
        assert!(wins >= 28, "guided search won only {wins} of 40");
    }
}
