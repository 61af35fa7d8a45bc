//! Time to profile rows of 151 values, all columns. Divide by the rows: the aim is at most 4 microseconds a row.

#![expect(clippy::expect_used, reason = "a benchmark that cannot start may end")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rand::RngExt as _;

use serin_ml::dataset::{ColumnKind, Dataset, Field, Fingerprint, Schema};
use serin_ml::profile::{DatasetProfile, ProfileOptions};
use serin_ml::seed::Seed;

const ROWS: usize = 20_000;
const COLUMNS: usize = 151;

fn profile(criterion: &mut Criterion) {
    let mut rng = Seed(17).rng();
    let columns: Vec<Vec<f64>> = (0..COLUMNS)
        .map(|j| {
            let value = |_| match j % 4 {
                // Continuous, whole numbers, few values, and mostly missing.
                0 | 1 => rng.random_range(-1e3..1e3),
                2 => f64::from(rng.random_range(0..5)),
                _ if rng.random_bool(0.3) => f64::NAN,
                _ => f64::from(rng.random_range(0..1000)),
            };
            (0..ROWS).map(value).collect()
        })
        .collect();
    let field =
        |j: usize| Field { name: j.to_string(), kind: ColumnKind::Number, range: None, has_missing: true };
    let dataset = Dataset {
        schema: Schema { fields: (0..COLUMNS).map(field).collect() },
        columns,
        n_rows: ROWS,
        labels: None,
        weights: None,
        groups: None,
        times: None,
        ids: None,
        sources: Vec::new(),
        fingerprint: Fingerprint(String::new()),
    };
    let options = ProfileOptions::default();
    let mut group = criterion.benchmark_group("profile");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(10);
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of threads");
        group.bench_function(format!("{COLUMNS} columns, {threads} threads"), |bencher| {
            bencher.iter(|| pool.install(|| DatasetProfile::of(&dataset, &options)));
        });
    }
    group.finish();
}

criterion_group!(benches, profile);
criterion_main!(benches);
