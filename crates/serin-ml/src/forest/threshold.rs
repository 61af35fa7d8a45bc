//! One comparison for every decision rule: `value >= bound` on doubles, which sends a value right.
//!
//! XGBoost compares in single precision, LightGBM in double with "at most". Both are a cut of the number line, so each
//! has a double `bound` with exactly the same answers for every double value. The walk then needs no conversions.

use super::parts::DecisionRule;

/// The double `bound` for which `value >= bound` is false exactly when `rule` sends `value` to the left of `threshold`.
///
/// `threshold` is not NaN, and under [`DecisionRule::SingleLess`] a finite single-precision number. Every value is at most
/// infinity: there the bound is NaN, which no value is at or above.
pub(super) fn bound(rule: DecisionRule, threshold: f64) -> f64 {
    match rule {
        DecisionRule::SingleLess => single_bound(threshold as f32),
        DecisionRule::DoubleAtMost if threshold == f64::INFINITY => f64::NAN,
        DecisionRule::DoubleAtMost => threshold.next_up(),
    }
}

/// The inverse of [`bound`]; the sign of a zero is not kept.
pub(super) fn threshold(rule: DecisionRule, bound: f64) -> f64 {
    match rule {
        DecisionRule::SingleLess => f64::from(bound as f32),
        DecisionRule::DoubleAtMost if bound.is_nan() => f64::INFINITY,
        DecisionRule::DoubleAtMost => bound.next_down(),
    }
}

/// Values round to `threshold` or above from the midpoint below it on; a value on the midpoint itself rounds to
/// the neighbour with the even last bit (IEEE 754, round to nearest, ties to even).
fn single_bound(threshold: f32) -> f64 {
    let threshold = threshold + 0.0; // -0 becomes 0: they compare equal, but their bits do not
    let below = threshold.next_down();
    // Below the smallest finite single lies -infinity, to which values round as if it were -2^128.
    let below = if below.is_finite() { f64::from(below) } else { -(2.0_f64.powi(128)) };
    let midpoint = f64::midpoint(below, f64::from(threshold));
    if threshold.to_bits() & 1 == 0 { midpoint } else { midpoint.next_up() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(value: f64, threshold: f32) {
        let bound = single_bound(threshold);
        assert_eq!(value < bound, (value as f32) < threshold, "value {value:e}, threshold {threshold:e}");
        assert_eq!(super::threshold(DecisionRule::SingleLess, bound), f64::from(threshold));
    }

    #[test]
    fn single_precision_at_the_edges() {
        let thresholds = [
            0.0,
            -0.0,
            f32::MIN_POSITIVE,
            f32::from_bits(1),
            -f32::from_bits(1),
            f32::MAX,
            f32::MIN,
            1.0,
            -1.0,
            0.1,
        ];
        for threshold in thresholds {
            let bound = single_bound(threshold);
            let exact = f64::from(threshold);
            for value in
                [bound.next_down(), bound, bound.next_up(), exact, exact.next_down(), exact.next_up()]
            {
                check(value, threshold);
            }
            for value in [f64::MAX, f64::MIN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1e-300, -1e-300] {
                check(value, threshold);
            }
        }
    }

    proptest! {
        #[test]
        fn single_precision_agrees_everywhere(bits in any::<u32>(), steps in -3_i64..=3, other in any::<f64>()) {
            let threshold = f32::from_bits(bits);
            prop_assume!(threshold.is_finite() && !other.is_nan());
            let mut near = single_bound(threshold);
            for _ in 0..steps.abs() {
                near = if steps < 0 { near.next_down() } else { near.next_up() };
            }
            check(near, threshold);
            check(f64::from(threshold), threshold);
            check(other, threshold);
        }

        #[test]
        fn at_most_agrees_everywhere(value in any::<f64>(), cut in any::<f64>()) {
            prop_assume!(!cut.is_nan() && !value.is_nan());
            let bound = bound(DecisionRule::DoubleAtMost, cut);
            for value in [value, cut, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN] {
                prop_assert_eq!(value >= bound, value > cut);
            }
            prop_assert_eq!(threshold(DecisionRule::DoubleAtMost, bound), cut);
        }
    }
}
