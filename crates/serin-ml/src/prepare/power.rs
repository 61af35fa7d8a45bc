//! The Yeo-Johnson transform and its exponent of largest likelihood.
//!
//! I.-K. Yeo, R. A. Johnson: A new family of power transformations to improve normality or symmetry. Biometrika 87
//! (2000), 954-959.

/// Exponents stay within this magnitude; beyond it the transform of all but tiny values is not a number of use.
pub(super) const LARGEST_EXPONENT: f64 = 64.0;

/// The transform of `value`; strictly increasing, and 0 at 0. May overflow to infinity. NaN stays NaN.
pub(super) fn transform(value: f64, exponent: f64) -> f64 {
    if value >= 0.0 { box_cox_of_next(value, exponent) } else { -box_cox_of_next(-value, 2.0 - exponent) }
}

/// The exponent under which the transformed values look most like a normal sample; 1 (no change) for values without
/// spread.
pub(super) fn best_exponent(values: &[f64]) -> f64 {
    let first = values.first().copied().unwrap_or(0.0);
    if values.iter().all(|&value| value == first) {
        return 1.0;
    }
    let slope: f64 = values.iter().map(|value| value.abs().ln_1p().copysign(*value)).sum();
    let mut transformed = vec![0.0; values.len()];
    let cost = |exponent: f64| {
        for (to, value) in transformed.iter_mut().zip(values) {
            *to = transform(*value, exponent);
        }
        let (_, deviation) = super::scale::centre_and_deviation(&transformed);
        let cost = values.len() as f64 * deviation.ln() - (exponent - 1.0) * slope;
        // No spread left, or an overflow: as bad as can be.
        if cost.is_finite() { cost } else { f64::INFINITY }
    };
    minimum(cost).clamp(-LARGEST_EXPONENT, LARGEST_EXPONENT)
}

/// ((value + 1)^exponent - 1) / exponent, and its limit at 0, for a value of at least 0.
fn box_cox_of_next(value: f64, exponent: f64) -> f64 {
    let logarithm = value.ln_1p();
    if exponent.abs() < f64::EPSILON { logarithm } else { (exponent * logarithm).exp_m1() / exponent }
}

/// Where `cost` is smallest: a bracket grown from [-2, 2] by golden steps, then Brent's method (R. P. Brent, Algorithms
/// for Minimization without Derivatives, 1973, chapter 5), to 1e-9 relative.
fn minimum(mut cost: impl FnMut(f64) -> f64) -> f64 {
    const GOLDEN: f64 = 1.618_033_988_749_895;
    const STEPS: usize = 200;
    let (mut a, mut b) = (-2.0, 2.0);
    let (mut cost_a, mut cost_b) = (cost(a), cost(b));
    if cost_a < cost_b {
        (a, b, cost_a, cost_b) = (b, a, cost_b, cost_a);
    }
    // Downhill from a through b to c, until it rises or the exponent is no longer of use.
    let mut c = b + GOLDEN * (b - a);
    let mut cost_c = cost(c);
    while cost_c < cost_b && c.abs() < LARGEST_EXPONENT {
        (a, b, cost_b) = (b, c, cost_c);
        c = b + GOLDEN * (b - a);
        cost_c = cost(c);
    }
    if !cost_a.min(cost_b).min(cost_c).is_finite() {
        return 1.0;
    }

    let (mut low, mut high) = if a < c { (a, c) } else { (c, a) };
    let (mut best, mut second, mut third) = (b, b, b);
    let (mut cost_best, mut cost_second, mut cost_third) = (cost_b, cost_b, cost_b);
    let (mut step, mut step_before) = (0.0_f64, 0.0_f64);
    for _ in 0..STEPS {
        let middle = 0.5 * (low + high);
        let tolerance = 1e-9 * best.abs() + 1e-11;
        if (best - middle).abs() <= 2.0 * tolerance - 0.5 * (high - low) {
            break;
        }
        let mut golden = true;
        if step_before.abs() > tolerance {
            let r = (best - second) * (cost_best - cost_third);
            let q = (best - third) * (cost_best - cost_second);
            let numerator = (best - third) * q - (best - second) * r;
            let denominator = 2.0 * (q - r);
            let parabolic = -numerator / denominator;
            let inside = parabolic.is_finite() && best + parabolic > low && best + parabolic < high;
            if inside && parabolic.abs() < 0.5 * step_before.abs() {
                step_before = step;
                step = parabolic;
                golden = false;
            }
        }
        if golden {
            step_before = if best < middle { high - best } else { low - best };
            step = (2.0 - GOLDEN) * step_before;
        }
        let at = best + if step.abs() >= tolerance { step } else { tolerance.copysign(step) };
        let cost_at = cost(at);
        if cost_at <= cost_best {
            if at < best {
                high = best;
            } else {
                low = best;
            }
            (third, cost_third) = (second, cost_second);
            (second, cost_second) = (best, cost_best);
            (best, cost_best) = (at, cost_at);
        } else {
            if at < best {
                low = at;
            } else {
                high = at;
            }
            if cost_at <= cost_second || second == best {
                (third, cost_third) = (second, cost_second);
                (second, cost_second) = (at, cost_at);
            } else if cost_at <= cost_third || third == best || third == second {
                (third, cost_third) = (at, cost_at);
            }
        }
    }
    best
}
