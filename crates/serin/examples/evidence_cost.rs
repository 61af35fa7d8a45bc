//! What a request costs to count: `cargo run --release -p serin --example evidence_cost`.
//!
//! Divide by the processor time of a request (one over the throughput of one processor) for the share of judging.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use serin::gateway::evidence::{Evidence, Witness};
use serin::gateway::model::{Classifier, Predictions, ServedModel};
use serin_core::clock::{Clock as _, SystemClock};
use serin_ml::dataset::Schema;
use serin_ml::train::{CannotExplain, Explanation};

const REQUESTS: u32 = 5_000_000;

struct Nothing;

impl Classifier for Nothing {
    fn classify(&self, _: &[f64], _: &mut [f64], _: &mut [usize]) {}

    fn explain(&self, _: &[f64], _: usize) -> Result<Explanation, CannotExplain> {
        Ok(Explanation { base: 0.0, contributions: Vec::new(), unit: serin_ml::train::ScoreUnit::LogOdds })
    }
}

fn main() {
    let classes: Vec<String> = (0..5).map(|class| class.to_string()).collect();
    let model = ServedModel::new("1", &Schema { fields: Vec::new() }, &[], &classes, Box::new(Nothing));
    let evidence = Evidence::new("measured".to_owned());
    let counters = evidence.of("prod", &model);
    let predictions = Predictions { chosen: vec![3], probabilities: vec![0.1, 0.1, 0.1, 0.6, 0.1] };
    let clock = SystemClock::new();
    for threads in [1_u64, 2] {
        let began = clock.monotonic();
        std::thread::scope(|scope| {
            for caller in 0..threads {
                let (counters, predictions) = (Arc::clone(&counters), &predictions);
                scope.spawn(move || {
                    for _ in 0..REQUESTS {
                        let begun = counters.begin(Duration::from_micros(1));
                        let witness = Witness::of(black_box(predictions), 5);
                        counters.answered(begun, witness, Duration::from_micros(138), caller);
                    }
                });
            }
        });
        let took = clock.monotonic().saturating_sub(began);
        let each = took.as_secs_f64() * 1e9 / f64::from(REQUESTS);
        println!("{threads} threads on one version: {each:.0} ns a request");
    }
}
