//! Minimum of a smooth convex function by limited-memory BFGS.
//!
//! After Nocedal and Wright, *Numerical Optimization*, 2nd edition, algorithm 7.4 (two-loop recursion), with a
//! backtracking line search that near the minimum, where differences of the function drown in rounding, judges by the
//! slope instead (Hager and Zhang 2005, "approximate Wolfe conditions").

use std::collections::VecDeque;

use super::arithmetic::{add_scaled, dot, largest_magnitude};

/// Steps remembered to model the curvature.
const MEMORY: usize = 12;

/// Halvings (or better) of one step before the search gives up.
const MAXIMUM_BACKTRACKS: usize = 40;

/// Share of the decrease promised by the slope that a step must deliver.
const SUFFICIENT_DECREASE: f64 = 1e-4;

/// Differences of the function below this part of its value count as rounding.
const ROUNDING: f64 = 1e-13;

/// When to end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The largest component of the gradient that counts as zero.
    pub(super) tolerance: f64,
    /// Iterations after which the point reached is taken as it is.
    pub(super) maximum_iterations: usize,
}

/// Where a minimisation ended.
#[derive(Debug, Clone)]
pub(super) struct Minimum {
    pub(super) point: Vec<f64>,
    pub(super) iterations: usize,
    /// Whether the gradient fell below the tolerance.
    pub(super) is_converged: bool,
}

/// Asked to stop on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stopped;

/// Walks from `start` to the minimum of a function. `evaluate(point, gradient)` returns its value and fills in the
/// gradient; `stop_requested` is asked before each iteration.
pub(super) fn minimise(
    start: Vec<f64>,
    evaluate: impl Fn(&[f64], &mut [f64]) -> f64,
    limits: Limits,
    stop_requested: impl Fn() -> bool,
) -> Result<Minimum, Stopped> {
    let mut point = start;
    let mut gradient = vec![0.0; point.len()];
    let mut value = evaluate(&point, &mut gradient);
    let mut curvature = Curvature::default();
    let mut iterations = 0;
    loop {
        let is_converged = largest_magnitude(&gradient) <= limits.tolerance;
        if is_converged || iterations >= limits.maximum_iterations {
            return Ok(Minimum { point, iterations, is_converged });
        }
        if stop_requested() {
            return Err(Stopped);
        }
        iterations += 1;
        let direction = curvature.descent(&gradient);
        let Some(next) = line_search(&point, value, &gradient, &direction, &evaluate) else {
            if curvature.forget() {
                continue;
            }
            // Not even the steepest descent leads further down: this is as low as doubles resolve.
            return Ok(Minimum { point, iterations, is_converged: false });
        };
        curvature.remember(difference(&next.point, &point), difference(&next.gradient, &gradient));
        (point, value, gradient) = (next.point, next.value, next.gradient);
    }
}

struct Step {
    point: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

/// Shortens the step along `direction` until it leads down enough; `None` when no step does.
fn line_search(
    point: &[f64],
    value: f64,
    gradient: &[f64],
    direction: &[f64],
    evaluate: &impl Fn(&[f64], &mut [f64]) -> f64,
) -> Option<Step> {
    let slope = dot(gradient, direction);
    if !(slope < 0.0 && slope.is_finite()) {
        return None;
    }
    let mut length = 1.0;
    let mut next = Step { point: point.to_vec(), value, gradient: vec![0.0; point.len()] };
    for _ in 0..MAXIMUM_BACKTRACKS {
        next.point.copy_from_slice(point);
        add_scaled(&mut next.point, length, direction);
        next.value = evaluate(&next.point, &mut next.gradient);
        let decreases = next.value <= value + SUFFICIENT_DECREASE * length * slope;
        let is_level = next.value <= value + ROUNDING * value.abs();
        let flattens = dot(&next.gradient, direction) <= (2.0 * SUFFICIENT_DECREASE - 1.0) * slope;
        if decreases || (is_level && flattens) {
            return Some(next);
        }
        // The minimum of the parabola through both values and the slope, kept within a tenth and a half.
        let parabola = -0.5 * slope * length * length / (next.value - value - slope * length);
        length = if parabola.is_finite() { parabola.clamp(0.1 * length, 0.5 * length) } else { 0.1 * length };
    }
    None
}

/// The last steps and what they did to the gradient.
#[derive(Default)]
struct Curvature {
    pairs: VecDeque<Pair>,
}

struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    inverse_product: f64,
}

impl Curvature {
    fn remember(&mut self, step: Vec<f64>, change: Vec<f64>) {
        let product = dot(&step, &change);
        // Rounding can hide the curvature of a tiny step; such a pair would spoil the model.
        if product <= f64::EPSILON * dot(&change, &change) {
            return;
        }
        if self.pairs.len() == MEMORY {
            self.pairs.pop_front();
        }
        self.pairs.push_back(Pair { step, change, inverse_product: 1.0 / product });
    }

    /// Drops what was remembered; false when there was nothing.
    fn forget(&mut self) -> bool {
        let had_any = !self.pairs.is_empty();
        self.pairs.clear();
        had_any
    }

    /// The quasi-Newton direction; without memory the steepest descent, no longer than 1.
    fn descent(&self, gradient: &[f64]) -> Vec<f64> {
        let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let Some(last) = self.pairs.back() else {
            let length = dot(gradient, gradient).sqrt().max(1.0);
            direction.iter_mut().for_each(|d| *d /= length);
            return direction;
        };
        let mut factors = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let factor = pair.inverse_product * dot(&pair.step, &direction);
            add_scaled(&mut direction, -factor, &pair.change);
            factors.push(factor);
        }
        let scale = 1.0 / (last.inverse_product * dot(&last.change, &last.change));
        direction.iter_mut().for_each(|d| *d *= scale);
        for (pair, factor) in self.pairs.iter().zip(factors.into_iter().rev()) {
            let correction = factor - pair.inverse_product * dot(&pair.change, &direction);
            add_scaled(&mut direction, correction, &pair.step);
        }
        direction
    }
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(x, y)| x - y).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { tolerance: 1e-10, maximum_iterations: 200 };

    /// Sum of cosh(x_i - i) / scale_i, whose minimum is at x_i = i.
    fn bowl(point: &[f64], gradient: &mut [f64]) -> f64 {
        let mut value = 0.0;
        for (i, (x, g)) in point.iter().zip(gradient).enumerate() {
            let scale = 10.0_f64.powi(i as i32 % 4);
            value += (x - i as f64).cosh() / scale;
            *g = (x - i as f64).sinh() / scale;
        }
        value
    }

    #[test]
    fn the_minimum_is_found_within_the_tolerance() {
        let minimum = minimise(vec![0.0; 9], bowl, LIMITS, || false).unwrap();
        assert!(minimum.is_converged);
        for (i, x) in minimum.point.iter().enumerate() {
            assert!((x - i as f64).abs() < 1e-6, "component {i} is {x}");
        }
    }

    #[test]
    fn limits_and_stops_are_kept() {
        let short = Limits { maximum_iterations: 2, ..LIMITS };
        let minimum = minimise(vec![0.0; 9], bowl, short, || false).unwrap();
        assert!(!minimum.is_converged);
        assert_eq!(minimum.iterations, 2);
        assert_eq!(minimise(vec![0.0; 9], bowl, LIMITS, || true).unwrap_err(), Stopped);
    }

    #[test]
    fn a_function_without_variables_is_at_its_minimum() {
        assert!(minimise(Vec::new(), |_, _| 3.0, LIMITS, || true).unwrap().is_converged);
    }
}
