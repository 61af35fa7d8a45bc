//! Isotonic regression: the monotone curve nearest to the outcomes.

use serde::{Deserialize, Serialize};

use crate::matrix::Matrix;

/// A non-decreasing curve through knots, straight between them and level beyond the first and the last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IsotonicCurve {
    /// Ascending.
    scores: Vec<f64>,
    /// As many, not descending.
    values: Vec<f64>,
}

/// One curve a class from stated to calibrated probability; the results are normalised to sum to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IsotonicCalibration {
    curves: Vec<IsotonicCurve>,
}

/// Curves that give no probabilities.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIsotonic {
    /// Not one curve a class.
    #[error("{curves} curves for {n_classes} classes")]
    Count {
        /// Curves there are.
        curves: usize,
        /// Classes there are.
        n_classes: usize,
    },
    /// No knots, or not as many values as scores.
    #[error("curve {curve} has {scores} scores and {values} values")]
    Length {
        /// Which curve.
        curve: usize,
        /// Its scores.
        scores: usize,
        /// Its values.
        values: usize,
    },
    /// Scores that do not ascend, values that descend or are no probabilities.
    #[error("curve {curve} is not monotone and between 0 and 1 at knot {knot}")]
    Knot {
        /// Which curve.
        curve: usize,
        /// Which knot.
        knot: usize,
    },
}

impl IsotonicCurve {
    /// The non-decreasing function of `scores` with the smallest weighted squared distance to `targets`, by pooling
    /// adjacent violators (Barlow et al. 1972); equal scores are averaged first. `weights`, all above 0, default to
    /// 1. Without rows the curve is level at 0.
    #[must_use]
    pub fn fit(scores: &[f64], targets: &[f64], weights: Option<&[f64]>) -> Self {
        assert_eq!(scores.len(), targets.len(), "one target for each score");
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        let mut groups: Vec<Group> = Vec::new();
        for row in order {
            let weight = weights.map_or(1.0, |weights| weights[row]);
            let group = Group { first: scores[row], last: scores[row], sum: weight * targets[row], weight };
            match groups.last_mut() {
                Some(last) if last.last == group.first => last.absorb(&group),
                _ => groups.push(group),
            }
        }
        let mut blocks: Vec<Group> = Vec::new();
        for group in groups {
            blocks.push(group);
            while let [.., before, last] = &blocks[..]
                && before.mean() >= last.mean()
            {
                let last = last.clone();
                blocks.pop();
                if let Some(before) = blocks.last_mut() {
                    before.absorb(&last);
                }
            }
        }
        let mut curve = Self { scores: Vec::new(), values: Vec::new() };
        for block in &blocks {
            curve.push(block.first, block.mean());
            if block.last > block.first {
                curve.push(block.last, block.mean());
            }
        }
        if curve.scores.is_empty() {
            curve.push(0.0, 0.0);
        }
        curve
    }

    /// The curve at `score`.
    #[must_use]
    pub fn at(&self, score: f64) -> f64 {
        let above = self.scores.partition_point(|&knot| knot <= score);
        if above == 0 {
            return self.values[0];
        }
        let below = above - 1;
        if above == self.scores.len() {
            return self.values[below];
        }
        let share = (score - self.scores[below]) / (self.scores[above] - self.scores[below]);
        self.values[below] + share * (self.values[above] - self.values[below])
    }

    fn push(&mut self, score: f64, value: f64) {
        self.scores.push(score);
        self.values.push(value);
    }

    fn validate(&self, curve: usize) -> Result<(), InvalidIsotonic> {
        let (scores, values) = (self.scores.len(), self.values.len());
        if scores != values || scores == 0 {
            return Err(InvalidIsotonic::Length { curve, scores, values });
        }
        let sound = |knot: usize| {
            self.scores[knot].is_finite()
                && (0.0..=1.0).contains(&self.values[knot])
                && (knot == 0
                    || (self.scores[knot - 1] < self.scores[knot]
                        && self.values[knot - 1] <= self.values[knot]))
        };
        match (0..scores).find(|&knot| !sound(knot)) {
            Some(knot) => Err(InvalidIsotonic::Knot { curve, knot }),
            None => Ok(()),
        }
    }
}

impl IsotonicCalibration {
    /// One curve a class. Values are kept half a row away from 0 and 1 (at 1 / 2n and 1 - 1 / 2n): a pool without a
    /// positive row does not prove that there is none, and log loss would punish the claim without limit.
    #[must_use]
    pub fn fit(probabilities: &Matrix, truth: &[u32]) -> Self {
        let half_row = 0.5 / truth.len().max(1) as f64;
        let curve = |class: usize| {
            let targets: Vec<f64> =
                truth.iter().map(|&actual| f64::from(u8::from(actual as usize == class))).collect();
            let mut curve = IsotonicCurve::fit(&probabilities.column(class), &targets, None);
            for value in &mut curve.values {
                *value = value.clamp(half_row, 1.0 - half_row);
            }
            curve
        };
        Self { curves: (0..probabilities.n_columns()).map(curve).collect() }
    }

    /// The curves, one a class.
    #[must_use]
    pub fn curves(&self) -> &[IsotonicCurve] {
        &self.curves
    }

    /// Calibrates one row in place; classes all at 0 become equally probable.
    pub fn apply_into(&self, probabilities: &mut [f64]) {
        let mut sum = 0.0;
        for (p, curve) in probabilities.iter_mut().zip(&self.curves) {
            *p = curve.at(*p);
            sum += *p;
        }
        let equal = 1.0 / probabilities.len() as f64;
        for p in probabilities.iter_mut() {
            *p = if sum > 0.0 { *p / sum } else { equal };
        }
    }

    /// Checks curves read from a file.
    ///
    /// # Errors
    /// When they are not one a class, or one is not a monotone curve of probabilities.
    pub fn validate(&self, n_classes: usize) -> Result<(), InvalidIsotonic> {
        if self.curves.len() != n_classes {
            return Err(InvalidIsotonic::Count { curves: self.curves.len(), n_classes });
        }
        self.curves.iter().enumerate().try_for_each(|(at, curve)| curve.validate(at))
    }
}

/// Rows with neighbouring scores that share one value.
#[derive(Debug, Clone)]
struct Group {
    first: f64,
    last: f64,
    sum: f64,
    weight: f64,
}

impl Group {
    fn mean(&self) -> f64 {
        self.sum / self.weight
    }

    fn absorb(&mut self, next: &Self) {
        self.last = next.last;
        self.sum += next.sum;
        self.weight += next.weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violators_are_pooled_and_the_ends_are_level() {
        let curve = IsotonicCurve::fit(&[1.0, 2.0, 3.0, 4.0], &[0.0, 1.0, 0.0, 1.0], None);
        assert_eq!(
            [0.0, 1.0, 2.0, 2.5, 3.0, 3.5, 9.0].map(|x| curve.at(x)),
            [0.0, 0.0, 0.5, 0.5, 0.5, 0.75, 1.0]
        );
    }

    #[test]
    fn weights_count_as_rows() {
        let weighted = IsotonicCurve::fit(&[1.0, 2.0], &[1.0, 0.0], Some(&[3.0, 1.0]));
        let repeated = IsotonicCurve::fit(&[1.0, 1.0, 1.0, 2.0], &[1.0, 1.0, 1.0, 0.0], None);
        assert_eq!(weighted, repeated);
        assert_eq!(weighted.at(1.5), 0.75);
    }

    #[test]
    fn curves_of_a_foreign_file_are_checked() {
        let curve = |scores: &[f64], values: &[f64]| IsotonicCalibration {
            curves: vec![IsotonicCurve { scores: scores.to_vec(), values: values.to_vec() }],
        };
        assert_eq!(curve(&[0.1, 0.2], &[0.0, 1.0]).validate(1), Ok(()));
        assert!(matches!(curve(&[0.1], &[0.0]).validate(2), Err(InvalidIsotonic::Count { .. })));
        assert!(matches!(curve(&[], &[]).validate(1), Err(InvalidIsotonic::Length { .. })));
        for (scores, values) in [
            ([0.2, 0.1], [0.0, 1.0]),
            ([0.1, 0.2], [0.9, 0.1]),
            ([0.1, f64::NAN], [0.0, 1.0]),
            ([0.1, 0.2], [0.0, 1.5]),
        ] {
            assert!(matches!(
                curve(&scores, &values).validate(1),
                Err(InvalidIsotonic::Knot { knot: 1, .. })
            ));
        }
    }
}
