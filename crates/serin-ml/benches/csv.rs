//! Speed of the CSV reader on a table that fits the cache; `scripts/bench-csv` compares it with others on a large one.
#![expect(clippy::expect_used, reason = "a benchmark that cannot write its file has nothing to measure")]

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serin_ml::dataset::{ReadOptions, read};
use serin_ml::observer::Silent;
use serin_ml::seed::Seed;

fn csv(c: &mut Criterion) {
    use rand::RngExt as _;

    let mut rng = Seed(17).rng();
    let mut text = (0..150).map(|i| format!("c{i}")).collect::<Vec<_>>().join(",");
    for _ in 0..5000 {
        for column in 0..150 {
            let separator = if column == 0 { '\n' } else { ',' };
            // Writing to a string cannot fail.
            let _ = write!(text, "{separator}{:.6}", rng.random::<f64>());
        }
    }
    let folder = tempfile::tempdir().expect("a folder for the file");
    let path = folder.path().join("bench.csv");
    std::fs::write(&path, &text).expect("the file is written");
    let mut group = c.benchmark_group("csv");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("5000 x 150", |b| {
        b.iter(|| black_box(read(std::slice::from_ref(&path), &ReadOptions::default(), &Silent)));
    });
    group.finish();
}

criterion_group!(benches, csv);
criterion_main!(benches);
