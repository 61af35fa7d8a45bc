//! Cross-validated quality and time of our forests on a CSV file: what `scripts/compare-forests` runs.
//!
//! `compare_forests FILE.csv FAMILY TREES SEEDS THREADS`: the first column is the fold, the second the class (0, 1, ...).
//! FAMILY is random-forest or extra-trees. Prints one JSON line.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a tool for developers")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::time::Instant;

use serin_ml::forest::grow::{GrowParameters, Splitter, grow};
use serin_ml::matrix::Matrix;
use serin_ml::observer::Silent;
use serin_ml::seed::Seed;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, family, trees, seeds, threads] = arguments.as_slice() else {
        panic!("five arguments, see the source")
    };
    let mut parameters = GrowParameters { trees: trees.parse().unwrap(), ..GrowParameters::default() };
    match family.as_str() {
        "random-forest" => {}
        "extra-trees" => {
            parameters.splitter = Splitter::Random;
            parameters.bootstrap = false;
        }
        _ => panic!("unknown family {family}"),
    }
    let (folds, y, x) = read(file);
    let n_classes = *y.iter().max().unwrap() as usize + 1;
    let n_folds = *folds.iter().max().unwrap() + 1;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.parse().unwrap()).build().unwrap();
    let (mut f1, mut accuracy) = (Vec::new(), Vec::new());
    let (mut fit_s, mut predict_s) = (0.0, 0.0);
    for seed in 0..seeds.parse().unwrap() {
        let (mut fold_f1, mut fold_accuracy) = (0.0, 0.0);
        for fold in 0..n_folds {
            let (train, test): (Vec<usize>, Vec<usize>) = (0..y.len()).partition(|i| folds[*i] != fold);
            let classes = |rows: &[usize]| rows.iter().map(|i| y[*i]).collect::<Vec<u32>>();
            let (train_x, test_x) = (x.select_rows(&train), x.select_rows(&test));
            let start = Instant::now();
            let grown = pool
                .install(|| {
                    grow(
                        &train_x,
                        &classes(&train),
                        n_classes,
                        None,
                        &parameters,
                        Seed(seed).nth(fold),
                        &Silent,
                    )
                })
                .unwrap();
            fit_s += start.elapsed().as_secs_f64();
            let start = Instant::now();
            let probabilities = pool.install(|| grown.forest.evaluate(&test_x));
            predict_s += start.elapsed().as_secs_f64();
            let decisions: Vec<u32> = probabilities.rows().map(largest).collect();
            let truth = classes(&test);
            fold_f1 += macro_f1(&truth, &decisions, n_classes);
            fold_accuracy +=
                truth.iter().zip(&decisions).filter(|(a, b)| a == b).count() as f64 / truth.len() as f64;
        }
        f1.push(fold_f1 / n_folds as f64);
        accuracy.push(fold_accuracy / n_folds as f64);
    }
    let fits = (f1.len() * n_folds) as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    println!(
        "{{\"f1\":{:.4},\"f1_by_seed\":{f1:.4?},\"accuracy\":{:.4},\"fit_ms\":{:.1},\"predict_ms\":{:.2}}}",
        mean(&f1),
        mean(&accuracy),
        1e3 * fit_s / fits,
        1e3 * predict_s / fits,
    );
}

fn largest(row: &[f64]) -> u32 {
    let mut best = 0;
    for (class, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = class;
        }
    }
    best as u32
}

/// The mean over the classes that occur in `truth` or `decisions`, as scikit-learn has it.
fn macro_f1(truth: &[u32], decisions: &[u32], n_classes: usize) -> f64 {
    let (mut sum, mut classes) = (0.0, 0.0);
    for class in 0..n_classes as u32 {
        let both = truth.iter().zip(decisions).filter(|(a, b)| **a == class && **b == class).count();
        let either = truth.iter().chain(decisions).filter(|other| **other == class).count();
        if either > 0 {
            sum += 2.0 * both as f64 / either as f64;
            classes += 1.0;
        }
    }
    sum / classes
}

fn read(path: &str) -> (Vec<usize>, Vec<u32>, Matrix) {
    let text = std::fs::read_to_string(path).unwrap();
    let (mut folds, mut y, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for line in text.lines().skip(1) {
        let mut fields = line.split(',');
        folds.push(fields.next().unwrap().parse().unwrap());
        y.push(fields.next().unwrap().parse().unwrap());
        values.extend(fields.map(|field| if field.is_empty() { f64::NAN } else { field.parse().unwrap() }));
    }
    let columns = values.len() / y.len().max(1);
    (folds, y.clone(), Matrix::new(y.len(), columns, values))
}
