//! What monitoring finds, and what it finds by mistake, beside the rules of SageMaker Model Monitor and Evidently.
//!
//!     cargo run --release -p serin-ml --example drift_power -- [MONTHS [WINDOWS]]
//!
//! Prints Markdown for docs/monitoring.md.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a measurement, of numbers of its own")]

use rand::Rng;
use rayon::prelude::*;
use serin_ml::drift::{Bins, ColumnReport, CompareOptions, Comparison, Damage, Reference, Window, compare};
use serin_ml::profile::{ColumnProfile, DatasetProfile, ProfileOptions};
use serin_ml::seed::Seed;

const FEATURES: usize = 151;
/// Windows of an hour in 30 days.
const WINDOWS: usize = 720;
/// A feature counts once it was found in so many of the last three windows.
const CONFIRMED: usize = 2;

/// What a feature's values are drawn from.
#[derive(Clone, Copy)]
enum Kind {
    Normal,
    Skewed,
    Count,
    Code,
    Gappy,
}

fn kind(feature: usize) -> Kind {
    match feature {
        0..=99 => Kind::Normal,
        100..=119 => Kind::Skewed,
        120..=134 => Kind::Count,
        135..=144 => Kind::Code,
        _ => Kind::Gappy,
    }
}

fn normal(rng: &mut impl Rng) -> f64 {
    let (u, v): (f64, f64) = (uniform(rng), uniform(rng));
    (-2.0 * u.max(1e-300).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

fn uniform(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

fn value(kind: Kind, rng: &mut impl Rng) -> f64 {
    match kind {
        Kind::Normal => normal(rng),
        Kind::Skewed => normal(rng).exp(),
        Kind::Count => (3.0 + 2.0 * normal(rng)).round().max(0.0),
        Kind::Code => (4.0 * uniform(rng) * uniform(rng)).floor(),
        Kind::Gappy if uniform(rng) < 0.1 => f64::NAN,
        Kind::Gappy => normal(rng),
    }
}

/// Rows by columns; features 0 and 1 are correlated.
fn rows(n: usize, rng: &mut impl Rng) -> Vec<Vec<f64>> {
    let mut columns: Vec<Vec<f64>> =
        (0..FEATURES).map(|j| (0..n).map(|_| value(kind(j), rng)).collect()).collect();
    let (first, others) = columns.split_at_mut(1);
    for (value, with) in others[0].iter_mut().zip(&first[0]) {
        *value = 0.8 * with + 0.6 * *value;
    }
    columns
}

type Change = fn(&mut Vec<Vec<f64>>, &mut dyn FnMut() -> f64);

/// The shapes of drift, all in feature 0 unless they say otherwise.
const SHAPES: [(&str, Change); 13] = [
    ("mean: +0.5 sd", |c, _| c[0].iter_mut().for_each(|v| *v += 0.5)),
    ("mean: +0.25 sd", |c, _| c[0].iter_mut().for_each(|v| *v += 0.25)),
    ("scale: x 1.5", |c, _| c[0].iter_mut().for_each(|v| *v *= 1.5)),
    ("tail: 5 % of values x 5", |c, u| {
        c[0].iter_mut().for_each(|v| {
            if u() < 0.05 {
                *v *= 5.0;
            }
        });
    }),
    ("missing: 5 % of values", |c, u| {
        c[0].iter_mut().for_each(|v| {
            if u() < 0.05 {
                *v = f64::NAN;
            }
        });
    }),
    ("unit: x 1000 (skewed feature)", |c, _| c[100].iter_mut().for_each(|v| *v *= 1000.0)),
    ("category swap: 0 and 1", |c, _| {
        c[135].iter_mut().for_each(|v| {
            if *v < 2.0 {
                *v = 1.0 - *v;
            }
        });
    }),
    ("correlation only: 0.8 to 0", |c, _| {
        let n = c[0].len();
        c[1].rotate_left(n / 2);
    }),
    ("prior: 20 % of rows +1 sd in 10 features", |c, u| {
        let n = c[0].len();
        for i in 0..n {
            if u() < 0.2 {
                c.iter_mut().take(10).for_each(|column| column[i] += 1.0);
            }
        }
    }),
    ("freeze: one value", |c, _| {
        let frozen = c[0][0];
        c[0].fill(frozen);
    }),
    ("duplicate feed: 50 rows again and again", |c, _| {
        c.iter_mut().for_each(|column| (50..column.len()).for_each(|i| column[i] = column[i % 50]));
    }),
    ("rounding: to whole numbers", |c, _| c[0].iter_mut().for_each(|v| *v = v.round())),
    ("swap of two columns (normal and skewed)", |c, _| c.swap(0, 100)),
];

struct Baseline {
    reference: Reference,
    bins: Bins,
}

fn baseline(n: usize, rng: &mut impl Rng) -> Baseline {
    let columns = rows(n, rng);
    let profiles = columns.iter().enumerate().map(|(j, values)| {
        let mut column = ColumnProfile::empty(&format!("x{j}"), &ProfileOptions::default());
        column.add_all(values);
        column
    });
    let profile = DatasetProfile { rows: n as u64, columns: profiles.collect(), by_class: Vec::new() };
    let bins = Bins::of(&profile, &[]);
    Baseline { reference: Reference::of(&bins, &profile).unwrap(), bins }
}

impl Baseline {
    fn compare(&self, columns: &[Vec<f64>]) -> Comparison {
        let mut window = Window::empty(&self.bins);
        let columns: Vec<Option<&[f64]>> = columns.iter().map(|column| Some(column.as_slice())).collect();
        let n = columns[0].map_or(0, <[f64]>::len);
        window.add_columns(&self.bins, &columns, n);
        compare(&self.reference, &window, None, &Damage::default(), &CompareOptions::default()).unwrap()
    }
}

/// SageMaker Model Monitor's baseline_drift_check as generated: Robust, threshold 0.1.
fn sagemaker(comparison: &Comparison, column: &ColumnReport) -> bool {
    let (n, m) = (comparison.baseline_rows as f64, comparison.rows as f64);
    column.distances.ks - 1.8 * ((n + m) / (n * m)).sqrt() > 0.1
}

/// Evidently's default of a numeric column: Kolmogorov-Smirnov at 5 % up to 1,000 rows of reference, then the normed
/// Wasserstein distance above 0.1.
fn evidently(comparison: &Comparison, column: &ColumnReport) -> bool {
    let (n, m) = (comparison.baseline_rows as f64, comparison.rows as f64);
    if n > 1_000.0 {
        return column.distances.wasserstein > 0.1;
    }
    let lambda = (n * m / (n + m)).sqrt() * column.distances.ks;
    2.0 * (-2.0 * lambda * lambda).exp() < 0.05
}

type Rule = fn(&Comparison, &ColumnReport) -> bool;

const RULES: [(&str, Rule); 3] = [
    ("Serin", |_, column| column.is_changed),
    ("SageMaker, 0.1 robust", sagemaker),
    ("Evidently, any column", evidently),
];

/// Windows with a finding of each rule, and alarms of ours.
type Month = ([usize; 3], usize);

/// Alarms in 30 days of hourly windows: of unconfirmed windows, and of our own rule confirmed.
fn quiet_month(baseline_rows: usize, n: usize, seed: Seed) -> Month {
    let mut rng = seed.rng();
    let baseline = baseline(baseline_rows, &mut rng);
    let mut windows = [0; 3];
    let (mut confirmed, mut is_on) = (0, false);
    let mut recent: Vec<Vec<bool>> = Vec::new();
    for _ in 0..WINDOWS {
        let comparison = baseline.compare(&rows(n, &mut rng));
        for (count, (_, rule)) in windows.iter_mut().zip(RULES) {
            *count += usize::from(comparison.columns.iter().any(|column| rule(&comparison, column)));
        }
        recent.push(comparison.columns.iter().map(|column| column.is_changed).collect());
        let last = &recent[recent.len().saturating_sub(3)..];
        let now = (0..FEATURES).any(|j| last.iter().filter(|window| window[j]).count() >= CONFIRMED);
        confirmed += usize::from(now && !is_on);
        is_on = now;
    }
    (windows, confirmed)
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let (months, repetitions): (usize, usize) = (numbers.next().unwrap_or(50), numbers.next().unwrap_or(500));
    println!("Unchanged rows: alarms in 30 days of hourly windows, {months} months, {FEATURES} features.\n");
    println!(
        "| baseline | window | Serin, confirmed: mean (worst) | windows of 720 with a finding: Serin | SageMaker | Evidently |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: |");
    for (baseline_rows, n) in [(741, 1_000), (741, 250), (5_000, 1_000)] {
        let months: Vec<_> = (0..months)
            .into_par_iter()
            .map(|i| quiet_month(baseline_rows, n, Seed(1).child("quiet").nth(i * 10 + n + baseline_rows)))
            .collect();
        let mean =
            |of: &dyn Fn(&Month) -> usize| months.iter().map(of).sum::<usize>() as f64 / months.len() as f64;
        let worst = months.iter().map(|month| month.1).max().unwrap_or(0);
        println!(
            "| {baseline_rows} | {n} | {:.2} ({worst}) | {:.2} | {:.1} | {:.0} |",
            mean(&|month| month.1),
            mean(&|month| month.0[0]),
            mean(&|month| month.0[1]),
            mean(&|month| month.0[2]),
        );
    }
    for baseline_rows in [741, 5_000] {
        println!(
            "\nFound in one window, of {repetitions} windows each; baseline of {baseline_rows} rows. In brackets SageMaker, and Evidently's column.\n"
        );
        println!("| change | 200 rows | 1,000 rows | 5,000 rows |");
        println!("| --- | ---: | ---: | ---: |");
        for (name, change) in SHAPES {
            print!("| {name} |");
            for n in [200, 1_000, 5_000] {
                let found: Vec<[bool; 3]> = (0..repetitions)
                    .into_par_iter()
                    .map(|i| {
                        let mut rng = Seed(2).child(name).nth(i * 3 + n).rng();
                        let baseline = baseline(baseline_rows, &mut rng);
                        let mut columns = rows(n, &mut rng);
                        let mut draw = Seed(3).nth(i).rng();
                        change(&mut columns, &mut || uniform(&mut draw));
                        let comparison = baseline.compare(&columns);
                        // Others judge features that are there for what was changed alone.
                        let changed = |rule: Rule| {
                            comparison
                                .columns
                                .iter()
                                .take(11)
                                .chain(&comparison.columns[100..101])
                                .chain(&comparison.columns[135..136])
                                .any(|column| rule(&comparison, column))
                        };
                        [!comparison.findings.is_empty(), changed(RULES[1].1), changed(RULES[2].1)]
                    })
                    .collect();
                let share = |k: usize| {
                    100.0 * found.iter().filter(|found| found[k]).count() as f64 / found.len() as f64
                };
                print!(" {:.0} % ({:.0}, {:.0}) |", share(0), share(1), share(2));
            }
            println!();
        }
    }
}
