//! Sums over slices, written so that they vectorise and always add in the same order.

use super::family::LARGEST_MAGNITUDE;

/// Lanes that a sum keeps apart; the compiler maps them to vector registers.
const LANES: usize = 8;

/// Inner product of two slices of equal length.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    sum_of_pairs(a, b, |x, y| x * y)
}

/// Sum of squared differences of two slices of equal length; exactly 0 for equal slices.
pub(super) fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    sum_of_pairs(a, b, |x, y| (x - y) * (x - y))
}

/// Sum of absolute differences of two slices of equal length.
pub(super) fn absolute_distance(a: &[f64], b: &[f64]) -> f64 {
    sum_of_pairs(a, b, |x, y| (x - y).abs())
}

/// `target += factor * source`, element by element.
pub(super) fn add_scaled(target: &mut [f64], factor: f64, source: &[f64]) {
    for (t, s) in target.iter_mut().zip(source) {
        *t += factor * s;
    }
}

/// The largest magnitude in a slice; 0 for an empty one.
pub(super) fn largest_magnitude(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| value.abs().max(largest))
}

/// Turns finite scores into probabilities in place: `exp(s) / sum exp(s)`, shifted by the largest so that nothing
/// overflows. Returns the logarithm of the sum, `ln sum exp(s)`.
pub(super) fn softmax(scores: &mut [f64]) -> f64 {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - largest).exp();
        sum += *score;
    }
    for score in scores.iter_mut() {
        *score /= sum;
    }
    largest + sum.ln()
}

/// Moves the values at the front of `out`, one for each of the ascending `classes`, to the places of their classes; the
/// rest of `out` is 0 before, and all other places are after.
pub(super) fn spread(out: &mut [f64], classes: &[u32]) {
    // A class lies at or behind its place among those present: from the back none is overwritten.
    for (place, class) in classes.iter().enumerate().rev() {
        out.swap(place, *class as usize);
    }
}

/// Parts of their sum. The totals are finite, not negative, and their sum is positive.
pub(super) fn shares(totals: &[f64]) -> Vec<f64> {
    let sum: f64 = totals.iter().sum();
    totals.iter().map(|total| total / sum).collect()
}

/// A value within [`LARGEST_MAGNITUDE`]; a missing one stays missing.
pub(super) fn limited(value: f64) -> f64 {
    value.clamp(-LARGEST_MAGNITUDE, LARGEST_MAGNITUDE)
}

/// A value within [`LARGEST_MAGNITUDE`], and `replacement` for a missing one.
pub(super) fn present_or(value: f64, replacement: f64) -> f64 {
    if value.is_nan() { replacement } else { limited(value) }
}

fn sum_of_pairs(a: &[f64], b: &[f64], term: impl Fn(f64, f64) -> f64) -> f64 {
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 = a_blocks.remainder().iter().zip(b_blocks.remainder()).map(|(x, y)| term(*x, *y)).sum();
    let mut lanes = [0.0; LANES];
    for (x, y) in a_blocks.zip(b_blocks) {
        for lane in 0..LANES {
            lanes[lane] += term(x[lane], y[lane]);
        }
    }
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_agree_with_plain_ones_at_every_length() {
        for length in 0..40 {
            let a: Vec<f64> = (0..length).map(|i| f64::from(i) * 0.5 - 3.0).collect();
            let b: Vec<f64> = (0..length).map(|i| 2.0 - f64::from(i) * 0.25).collect();
            let pairs = || a.iter().zip(&b);
            assert_eq!(dot(&a, &b), pairs().map(|(x, y)| x * y).sum::<f64>());
            assert_eq!(squared_distance(&a, &b), pairs().map(|(x, y)| (x - y).powi(2)).sum::<f64>());
            assert_eq!(absolute_distance(&a, &b), pairs().map(|(x, y)| (x - y).abs()).sum::<f64>());
        }
    }

    #[test]
    fn values_are_spread_to_their_classes() {
        let mut out = [0.1, 0.2, 0.3, 0.4, 0.0, 0.0, 0.0];
        spread(&mut out, &[0, 2, 3, 6]);
        assert_eq!(out, [0.1, 0.0, 0.2, 0.3, 0.0, 0.0, 0.4]);
    }

    #[test]
    fn softmax_bears_any_finite_scores() {
        let mut scores = [1e300, -1e300, 1e300];
        softmax(&mut scores);
        assert_eq!(scores, [0.5, 0.0, 0.5]);
        let mut scores = [1.0_f64.ln(), 3.0_f64.ln()];
        let logarithm = softmax(&mut scores);
        assert!((scores[1] - 0.75).abs() < 1e-15 && (logarithm - 4.0_f64.ln()).abs() < 1e-15);
    }
}
