//! A bundle's predictor behind the gateway.

use std::cell::RefCell;

use serin_core::capture::WatchedBins;
use serin_ml::drift::Bins;
use serin_ml::model::{Bundle, GoldenRow};
use serin_ml::train::{CannotExplain, Explanation, PredictScratch, Predictor};

use super::model::{Classifier, ServedModel};
use crate::fleet::GoldenQuestion;

struct Judge(Predictor);

thread_local! {
    /// Kept from request to request, whichever model they ask.
    static SCRATCH: RefCell<PredictScratch> = RefCell::default();
}

/// Golden rows that replicas are asked before they are asked anything else: enough to tell one model from another.
const GOLDEN_ROWS: usize = 16;

/// The model of a bundle; its version is the beginning of the bundle's digest.
#[must_use]
pub fn served_model(bundle: Bundle) -> ServedModel {
    let version = bundle.digest()[..12].to_owned();
    let card = &bundle.card;
    let baseline = bundle.baseline.as_ref();
    let bins = baseline.map(|baseline| WatchedBins::of(Bins::of(baseline, &card.classes)));
    let golden = bundle.golden.rows.iter().take(GOLDEN_ROWS).map(question).collect();
    ServedModel::new(&version, &card.schema, &card.missing, &card.classes, Box::new(Judge(bundle.predictor)))
        .watched_in(bins)
        .with_golden(golden)
}

fn question(row: &GoldenRow) -> GoldenQuestion {
    GoldenQuestion {
        values: row.values.iter().map(|value| value.unwrap_or(f64::NAN)).collect(),
        class: row.class,
        probabilities: row.probabilities.clone(),
    }
}

impl Classifier for Judge {
    fn classify(&self, rows: &[f64], probabilities: &mut [f64], chosen: &mut [usize]) {
        SCRATCH.with_borrow_mut(|scratch| self.0.predict_rows_into(rows, scratch, probabilities, chosen));
    }

    fn explain(&self, row: &[f64], class: usize) -> Result<Explanation, CannotExplain> {
        self.0.explain(row, class)
    }
}
