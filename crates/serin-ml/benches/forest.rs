//! Evaluation of forests as large as served models, on one thread: 500 trees of 31 leaves over 151 features and 5 classes,
//! which have a compiled form, and 100 deep trees of 1,000 leaves with class distributions, which are walked.
#![expect(clippy::unwrap_used, reason = "a benchmark")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rand_chacha::rand_core::Rng;
use serin_ml::forest::{
    Addition, Combination, DecisionRule, Forest, ForestParts, LeafKind, Node, Scratch, TreeParts,
};
use serin_ml::matrix::Matrix;
use serin_ml::seed::Seed;

const FEATURES: usize = 151;
const CLASSES: usize = 5;
const ROWS: usize = 256;

fn uniform(rng: &mut impl Rng) -> f64 {
    f64::from(rng.next_u32()) / 2.0_f64.powi(32)
}

/// Trees grown leaf by leaf: the leaf to split is drawn, so depths differ as LightGBM's do.
fn forest(n_trees: usize, n_leaves: usize, leaf_kind: LeafKind) -> Forest {
    let mut rng = Seed(17).rng();
    let width = if leaf_kind == LeafKind::Vector { CLASSES } else { 1 };
    let mut leaf_values = Vec::new();
    let trees = (0..n_trees).map(|tree| {
        let mut nodes = vec![Node::Leaf { row: 0 }];
        let mut leaves = vec![0];
        for _ in 1..n_leaves {
            let leaf = leaves.swap_remove(rng.next_u32() as usize % leaves.len());
            let left = nodes.len() as u32;
            nodes[leaf] = Node::Split {
                feature: rng.next_u32() % FEATURES as u32,
                threshold: f64::from(uniform(&mut rng) as f32),
                missing_left: true,
                zero_is_missing: false,
                left,
                right: left + 1,
            };
            leaves.extend([left as usize, left as usize + 1]);
            nodes.extend([Node::Leaf { row: 0 }; 2]);
        }
        for leaf in leaves {
            nodes[leaf] = Node::Leaf { row: (leaf_values.len() / width) as u32 };
            leaf_values.extend((0..width).map(|_| uniform(&mut rng) - 0.5));
        }
        let output = if leaf_kind == LeafKind::Vector { 0 } else { tree % CLASSES };
        TreeParts { output: output as u32, nodes, covers: Vec::new() }
    });
    let trees = trees.collect();
    Forest::new(&ForestParts {
        n_features: FEATURES,
        n_outputs: CLASSES,
        rule: DecisionRule::SingleLess,
        combination: Combination::Sum,
        addition: Addition::Double,
        leaf_kind,
        base: vec![0.0; CLASSES],
        trees,
        leaf_values,
        category_sets: Vec::new(),
    })
    .unwrap()
}

fn evaluate(c: &mut Criterion) {
    let boosted = forest(500, 31, LeafKind::Scalar);
    let deep = forest(100, 1_000, LeafKind::Vector);
    let mut rng = Seed(18).rng();
    let x = Matrix::new(ROWS, FEATURES, (0..ROWS * FEATURES).map(|_| uniform(&mut rng)).collect());
    let mut missing = x.clone();
    (0..ROWS).for_each(|i| missing.row_mut(i)[i % FEATURES] = f64::NAN);
    let mut scratch = Scratch::default();
    let (mut one, mut all) = ([0.0; CLASSES], vec![0.0; ROWS * CLASSES]);
    for (name, forest) in [("boosted", &boosted), ("deep", &deep)] {
        let mut group = c.benchmark_group(name);
        for (rows, x) in [("", &x), (", missing values", &missing)] {
            group.throughput(Throughput::Elements(1));
            let mut i = 0;
            group.bench_function(format!("single row{rows}"), |b| {
                b.iter(|| {
                    i = (i + 1) % ROWS;
                    forest.evaluate_rows_into(x.row(i), &mut scratch, &mut one);
                    one[0]
                });
            });
            group.throughput(Throughput::Elements(ROWS as u64));
            group.bench_function(format!("batch of {ROWS}{rows}"), |b| {
                b.iter(|| {
                    forest.evaluate_rows_into(x.values(), &mut scratch, &mut all);
                    all[0]
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, evaluate);
criterion_main!(benches);
