//! Asks a model that another program trained about rows of numbers, or measures how fast it is asked.
//!
//! `foreign_model MODEL ROWS` prints the probabilities of each row; `foreign_model MODEL ROWS --time` prints the
//! microseconds a row takes, alone and in batches of all rows, on one thread: median and least of several rounds.
//! ROWS holds little-endian doubles, row after row, as `numpy.ndarray.tofile` writes them: values that no table may
//! hold (infinities) are rows like any other here.
#![expect(clippy::disallowed_methods, reason = "a measurement needs the clock")]

use std::error::Error;
use std::io::Write as _;
use std::time::Instant;

use serin_ml::forest::read_foreign;
use serin_ml::model::Bundle;
use serin_ml::train::{PredictScratch, Predictor};

const ROUNDS: usize = 15;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, rows, options @ ..] = arguments.as_slice() else {
        return Err("usage: foreign_model MODEL ROWS [--time]".into());
    };
    let bundle = Bundle::from_foreign(read_foreign(&std::fs::read(model)?)?, None, "model", None)?;
    let bytes = std::fs::read(rows)?;
    let rows: Vec<f64> = bytes.as_chunks().0.iter().map(|chunk| f64::from_le_bytes(*chunk)).collect();
    if options.iter().any(|option| option == "--time") {
        return time(&bundle.predictor, &rows);
    }
    let (probabilities, _) = ask(&bundle.predictor, &rows, &mut PredictScratch::default());
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for row in probabilities.chunks(bundle.predictor.n_classes) {
        let row: Vec<String> = row.iter().map(ToString::to_string).collect();
        writeln!(out, "{}", row.join(","))?;
    }
    Ok(())
}

fn ask(predictor: &Predictor, rows: &[f64], scratch: &mut PredictScratch) -> (Vec<f64>, Vec<usize>) {
    let n_rows = rows.len() / predictor.n_features.max(1);
    let (mut probabilities, mut classes) = (vec![0.0; n_rows * predictor.n_classes], vec![0; n_rows]);
    predictor.predict_rows_into(rows, scratch, &mut probabilities, &mut classes);
    (probabilities, classes)
}

fn time(predictor: &Predictor, rows: &[f64]) -> Result<(), Box<dyn Error>> {
    let n_rows = rows.len() / predictor.n_features;
    let mut scratch = PredictScratch::default();
    let mut answer = vec![0.0; predictor.n_classes];
    let mut class = [0];
    let mut alone = || {
        for row in rows.chunks_exact(predictor.n_features) {
            predictor.predict_rows_into(row, &mut scratch, &mut answer, &mut class);
        }
    };
    let single = microseconds_a_row(n_rows, &mut alone);
    let mut scratch = PredictScratch::default();
    let batch = microseconds_a_row(n_rows, &mut || drop(ask(predictor, rows, &mut scratch)));
    println!(
        "{{\"one_us_median\": {}, \"one_us_min\": {}, \"batch_us_median\": {}, \"batch_us_min\": {}}}",
        single[ROUNDS / 2],
        single[0],
        batch[ROUNDS / 2],
        batch[0]
    );
    Ok(())
}

/// Of every round, ascending.
fn microseconds_a_row(n_rows: usize, work: &mut dyn FnMut()) -> Vec<f64> {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e6 / n_rows as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times
}
