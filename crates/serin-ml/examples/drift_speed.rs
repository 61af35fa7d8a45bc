//! How long a drift report takes: from rows in memory, from stored counts, and what counting costs a row.
//!
//!     cargo run --release -p serin-ml --example drift_speed -- [ROWS] [FEATURES]
//!
//! Peers are timed by scripts/bench-drift on the same numbers; parsing is left out for all.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a measurement, of numbers of its own")]

use std::time::Instant;

use serin_ml::drift::{Bins, CompareOptions, Damage, Reference, Window, compare};
use serin_ml::profile::{ColumnProfile, DatasetProfile, ProfileOptions};
use serin_ml::seed::Seed;

use rand::Rng;
use rayon::prelude::*;

fn column(n: usize, seed: Seed, shift: f64) -> Vec<f64> {
    let mut rng = seed.rng();
    let mut uniform = move || (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    (0..n)
        .map(|_| {
            let (u, v): (f64, f64) = (uniform(), uniform());
            shift + (-2.0 * u.max(1e-300).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
        })
        .collect()
}

fn profile(columns: &[Vec<f64>]) -> DatasetProfile {
    let columns: Vec<ColumnProfile> = columns
        .par_iter()
        .enumerate()
        .map(|(j, values)| {
            let mut column = ColumnProfile::empty(&format!("x{j}"), &ProfileOptions::default());
            column.add_all(values);
            column
        })
        .collect();
    let rows = columns.first().map_or(0, |column| column.finish().count);
    DatasetProfile { rows, columns, by_class: Vec::new() }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let rows: usize = arguments.next().unwrap_or(100_000);
    let features: usize = arguments.next().unwrap_or(151);
    let data = |name: &str, shift: f64| -> Vec<Vec<f64>> {
        let seed = Seed(5).child(name);
        (0..features)
            .into_par_iter()
            .map(|j| column(rows, seed.nth(j), if j == 7 { shift } else { 0.0 }))
            .collect()
    };
    let (before, now) = (data("before", 0.0), data("now", 0.5));
    let timed = |what: &str, work: &mut dyn FnMut()| {
        // The best of several: what else the machine does only adds.
        let best = (0..5)
            .map(|_| {
                let began = Instant::now();
                work();
                began.elapsed().as_secs_f64()
            })
            .fold(f64::INFINITY, f64::min);
        println!("{what:<58} {:>9.2} ms", 1e3 * best);
        best
    };
    let options = CompareOptions::default();
    println!("{rows} rows x {features} features, twice\n");
    timed("both sides from rows, to the report", &mut || {
        let baseline = profile(&before);
        let bins = Bins::of(&baseline, &[]);
        let mut window = Window::empty(&bins);
        let columns: Vec<Option<&[f64]>> = now.iter().map(|column| Some(column.as_slice())).collect();
        window.add_columns(&bins, &columns, rows);
        let report =
            compare(&Reference::of(&bins, &baseline).unwrap(), &window, None, &Damage::default(), &options)
                .unwrap();
        assert_eq!(report.changed_columns(), 1);
    });
    let baseline = profile(&before);
    let bins = Bins::of(&baseline, &[]);
    let mut window = Window::empty(&bins);
    let columns: Vec<Option<&[f64]>> = now.iter().map(|column| Some(column.as_slice())).collect();
    window.add_columns(&bins, &columns, rows);
    let reference = Reference::of(&bins, &baseline).unwrap();
    timed("current rows against a stored baseline", &mut || {
        let mut window = Window::empty(&bins);
        window.add_columns(&bins, &columns, rows);
        compare(&reference, &window, None, &Damage::default(), &options).unwrap();
    });
    let stored: Vec<Vec<u8>> = (0..60).map(|_| postcard::to_allocvec(&window).unwrap()).collect();
    timed("60 stored windows, merged, to the report", &mut || {
        let mut merged = Window::empty(&bins);
        for counts in &stored {
            merged.merge(&postcard::from_bytes(counts).unwrap()).unwrap();
        }
        compare(&reference, &merged, None, &Damage::default(), &options).unwrap();
    });
    timed("one stored window, to the report", &mut || {
        let merged: Window = postcard::from_bytes(&stored[0]).unwrap();
        compare(&reference, &merged, None, &Damage::default(), &options).unwrap();
    });
    let sample: Vec<Vec<f64>> =
        (0..rows.min(20_000)).map(|i| now.iter().map(|column| column[i]).collect()).collect();
    let mut counted = Window::empty(&bins);
    let took = timed("counting rows one by one, as the loader does", &mut || {
        counted = Window::empty(&bins);
        for row in &sample {
            counted.add(&bins, row, None);
        }
    });
    println!("{:<58} {:>9.2} us a row", "", 1e6 * took / sample.len() as f64);
    println!("{:<58} {:>9} bytes", "a stored window", stored[0].len());
}
