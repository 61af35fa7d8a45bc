//! Temperature scaling: one number, fitted by Newton's method on a convex function.

use crate::matrix::Matrix;

/// Temperatures outside [1/20, 20] say that there is nothing to fit (all right, or pure noise).
const MAXIMUM_POWER: f64 = 20.0;

const MAXIMUM_STEPS: usize = 60;

/// The temperature with the smallest log loss.
///
/// In the power b = 1 / temperature the log loss of the normalised p^b is convex, so its slope has one zero; Newton
/// steps inside a shrinking bracket find it.
pub(super) fn fit(probabilities: &Matrix, truth: &[u32]) -> f64 {
    if truth.is_empty() {
        return 1.0;
    }
    let logarithms: Vec<f64> = probabilities.values().iter().map(|&p| logarithm(p)).collect();
    let n_classes = probabilities.n_columns();
    let slope = |power: f64| slope_and_curvature(&logarithms, n_classes, truth, power);

    let (mut low, mut high) = (1.0 / MAXIMUM_POWER, MAXIMUM_POWER);
    if slope(low).0 >= 0.0 {
        return 1.0 / low;
    }
    if slope(high).0 <= 0.0 {
        return 1.0 / high;
    }
    let mut power: f64 = 1.0;
    for _ in 0..MAXIMUM_STEPS {
        let (first, second) = slope(power);
        if first < 0.0 {
            low = power;
        } else {
            high = power;
        }
        let newton = power - first / second;
        // The bracket spans orders of magnitude, so it is halved in the logarithm.
        let next = if newton > low && newton < high { newton } else { (low * high).sqrt() };
        let done = (next - power).abs() <= 1e-12 * power;
        power = next;
        if done {
            break;
        }
    }
    1.0 / power
}

/// Probabilities to the power 1 / temperature, normalised.
pub(super) fn apply(temperature: f64, probabilities: &mut [f64]) {
    for p in probabilities.iter_mut() {
        *p = logarithm(*p) / temperature;
    }
    let largest = probabilities.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for p in probabilities.iter_mut() {
        *p = (*p - largest).exp();
        sum += *p;
    }
    for p in probabilities.iter_mut() {
        *p /= sum;
    }
}

/// First and second derivative in `power` of the log loss, summed over rows.
fn slope_and_curvature(logarithms: &[f64], n_classes: usize, truth: &[u32], power: f64) -> (f64, f64) {
    let (mut slope, mut curvature) = (0.0, 0.0);
    for (row, &actual) in logarithms.chunks_exact(n_classes).zip(truth) {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (mut sum, mut mean, mut square) = (0.0, 0.0, 0.0);
        for &logarithm in row {
            // Measured from the largest, so that neither exponential nor square can overflow or cancel.
            let distance = logarithm - largest;
            let weight = (power * distance).exp();
            sum += weight;
            mean += weight * distance;
            square += weight * distance * distance;
        }
        mean /= sum;
        slope += mean - (row[actual as usize] - largest);
        curvature += square / sum - mean * mean;
    }
    (slope, curvature)
}

/// Natural logarithm of a probability, 2^-52 for less, as in log loss: a flat 0 can be taken back.
fn logarithm(p: f64) -> f64 {
    p.max(f64::EPSILON).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halved_logits_get_temperature_one_half() {
        // Rows with odds r for class 0, stated as sqrt(r): 4 of 5 rows are class 0 where 2 : 1 is stated.
        let probabilities = Matrix::new(5, 2, [2.0 / 3.0, 1.0 / 3.0].repeat(5));
        let temperature = fit(&probabilities, &[0, 0, 0, 0, 1]);
        assert!((temperature - 0.5).abs() < 1e-9, "{temperature}");
        let mut row = [2.0 / 3.0, 1.0 / 3.0];
        apply(temperature, &mut row);
        assert!((row[0] - 0.8).abs() < 1e-9);
    }

    #[test]
    fn nothing_to_fit_ends_at_a_bound() {
        let right = Matrix::new(2, 2, vec![0.9, 0.1, 0.2, 0.8]);
        assert_eq!(fit(&right, &[0, 1]), 1.0 / MAXIMUM_POWER);
        assert_eq!(fit(&right, &[1, 0]), MAXIMUM_POWER);
        assert_eq!(fit(&Matrix::zeros(0, 2), &[]), 1.0);
    }
}
