//! One boosting fit on a CSV file, timed: what `scripts/bench-boosting` and `scripts/check-xgboost-parity` run.
//!
//! `fit_boosting FILE.csv [--rounds N] [--learning-rate X] [--max-depth N] [--threads N] [--json OUT] [--proba OUT]`: the
//! file's first column is the class (0, 1, ...), empty fields are missing. Prints one JSON line.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a tool for developers")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::fmt::Write as _;
use std::time::Instant;

use serin_ml::matrix::Matrix;
use serin_ml::observer::Silent;
use serin_ml::seed::Seed;
use serin_ml::train::boosting::{BoostingParameters, Rows};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().unwrap_or_else(|| panic!("which file?"));
    let mut parameters = BoostingParameters::default();
    let (mut threads, mut json, mut proba) = (2, None, None);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().unwrap_or_else(|| panic!("{flag} needs a value"));
        match flag.as_str() {
            "--rounds" => parameters.rounds = value.parse().unwrap(),
            "--learning-rate" => parameters.learning_rate = value.parse().unwrap(),
            "--max-depth" => parameters.max_depth = value.parse().unwrap(),
            "--threads" => threads = value.parse().unwrap(),
            "--json" => json = Some(value),
            "--proba" => proba = Some(value),
            _ => panic!("unknown flag {flag}"),
        }
    }
    let (x, y) = read(&file);
    let n_classes = y.iter().max().map_or(0, |class| *class as usize + 1);
    let base_kb = peak_memory_kb();
    let boosting = parameters.check().unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let start = Instant::now();
    let model = pool
        .install(|| boosting.fit(Rows { x: &x, y: &y, weights: None }, n_classes, Seed(17), &Silent))
        .unwrap();
    let fit_s = start.elapsed().as_secs_f64();
    let peak_kb = peak_memory_kb();
    let probabilities = model.probabilities(&x);
    if let Some(path) = json {
        std::fs::write(path, model.to_xgboost_json().unwrap()).unwrap();
    }
    if let Some(path) = proba {
        let mut text = String::new();
        for row in probabilities.rows() {
            let fields: Vec<String> = row.iter().map(f64::to_string).collect();
            writeln!(text, "{}", fields.join(",")).unwrap();
        }
        std::fs::write(path, text).unwrap();
    }
    println!(
        "{{\"rows\":{},\"columns\":{},\"classes\":{n_classes},\"threads\":{threads},\"fit_s\":{fit_s:.3},\
         \"before_fit_mb\":{},\"peak_mb\":{},\"nodes\":{}}}",
        x.n_rows(),
        x.n_columns(),
        base_kb / 1024,
        peak_kb / 1024,
        model.forest().n_nodes(),
    );
}

fn read(path: &str) -> (Matrix, Vec<u32>) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut values = Vec::new();
    let mut y = Vec::new();
    for line in text.lines().skip(1) {
        let mut fields = line.split(',');
        y.push(fields.next().unwrap().parse::<f64>().unwrap() as u32);
        values.extend(fields.map(|field| if field.is_empty() { f64::NAN } else { field.parse().unwrap() }));
    }
    (Matrix::new(y.len(), values.len() / y.len().max(1), values), y)
}

/// The most memory this process has held, where the system says so.
fn peak_memory_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
