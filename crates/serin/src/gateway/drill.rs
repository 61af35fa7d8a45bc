//! Faults on purpose: what a drill makes a version do wrong.

use std::time::Duration;

use serin_core::hash::hash;
use serin_core::routes::Faults;

use super::model::{Predictions, ServedModel};
use super::problem::{Code, Problem};
use super::rows::Rows;

/// How long a request hangs: longer than any caller waits, and than the gateway lets it.
const FOR_EVER: Duration = Duration::from_secs(3_600);

/// How much later the answer shall be.
#[must_use]
pub fn delay(faults: &Faults) -> Duration {
    if faults.hang { FOR_EVER } else { Duration::from_millis(faults.latency_milliseconds) }
}

/// Fails the requests that shall fail: always the same ones.
///
/// # Errors
/// For those, as if the model had failed.
pub fn fail(faults: &Faults, id: &str, answered: u64) -> Result<(), Problem> {
    // In [0, 1).
    let draw = (hash(id.bytes().chain(*b"drill")) >> 11) as f64 / (1_u64 << 53) as f64;
    let is_worn_out = faults.fails_after.is_some_and(|after| answered >= after);
    if draw < faults.error_rate || is_worn_out {
        return Err(Problem::new(Code::Internal, "a drill makes this request fail"));
    }
    Ok(())
}

/// Moves a feature of every row, as a sensor out of order would.
pub fn drift(faults: &Faults, model: &ServedModel, rows: &mut Rows) {
    let Some(drift) = &faults.drift else { return };
    if let Some(column) = model.guard().position(&drift.feature) {
        rows.shift(column, model.guard().names().len(), drift.shift);
    }
}

/// Spoils what the model said.
pub fn spoil(faults: &Faults, predictions: &mut Predictions, n_classes: usize) {
    let Predictions { chosen, probabilities } = predictions;
    if faults.class_flip && n_classes > 0 {
        for class in chosen.iter_mut() {
            *class = (*class + 1) % n_classes;
        }
        for row in probabilities.chunks_exact_mut(n_classes) {
            row.rotate_right(1);
        }
    }
    if faults.one_class && n_classes > 0 {
        chosen.fill(0);
        for row in probabilities.chunks_exact_mut(n_classes) {
            row.fill(0.0);
            row[0] = 1.0;
        }
    }
    if faults.nan_output {
        probabilities.fill(f64::NAN);
    }
    if faults.wrong_shape {
        probabilities.pop();
    }
}
