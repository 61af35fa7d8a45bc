//! Evaluation of a forest as large as a served model: 500 trees of 31 leaves over 151 features, 5 classes.
#![expect(clippy::unwrap_used, reason = "a benchmark")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rand_chacha::rand_core::Rng;
use serin_ml::forest::{Addition, Combination, DecisionRule, Forest, ForestParts, LeafKind, Node, TreeParts};
use serin_ml::matrix::Matrix;
use serin_ml::seed::Seed;

const TREES: usize = 500;
const LEAVES: usize = 31;
const FEATURES: usize = 151;
const CLASSES: usize = 5;

fn uniform(rng: &mut impl Rng) -> f64 {
    f64::from(rng.next_u32()) / 2.0_f64.powi(32)
}

/// Trees grown leaf by leaf: the leaf to split is drawn, so depths differ as LightGBM's do.
fn forest() -> Forest {
    let mut rng = Seed(17).rng();
    let mut leaf_values = Vec::new();
    let trees = (0..TREES).map(|tree| {
        let mut nodes = vec![Node::Leaf { row: 0 }];
        for _ in 1..LEAVES {
            let leaves: Vec<usize> =
                (0..nodes.len()).filter(|i| matches!(nodes[*i], Node::Leaf { .. })).collect();
            let leaf = leaves[rng.next_u32() as usize % leaves.len()];
            let left = nodes.len() as u32;
            let threshold = f64::from(uniform(&mut rng) as f32);
            let feature = rng.next_u32() % FEATURES as u32;
            nodes[leaf] = Node::Split {
                feature,
                threshold,
                missing_left: true,
                zero_is_missing: false,
                left,
                right: left + 1,
            };
            nodes.extend([Node::Leaf { row: 0 }; 2]);
        }
        for node in &mut nodes {
            if let Node::Leaf { row } = node {
                *row = leaf_values.len() as u32;
                leaf_values.push(uniform(&mut rng) - 0.5);
            }
        }
        TreeParts { output: (tree % CLASSES) as u32, nodes, covers: Vec::new() }
    });
    let trees = trees.collect();
    Forest::new(&ForestParts {
        n_features: FEATURES,
        n_outputs: CLASSES,
        rule: DecisionRule::SingleLess,
        combination: Combination::Sum,
        addition: Addition::Double,
        leaf_kind: LeafKind::Scalar,
        base: vec![0.0; CLASSES],
        trees,
        leaf_values,
        category_sets: Vec::new(),
    })
    .unwrap()
}

fn evaluate(c: &mut Criterion) {
    let forest = forest();
    let mut rng = Seed(18).rng();
    let values = (0..256 * FEATURES).map(|_| uniform(&mut rng)).collect();
    let x = Matrix::new(256, FEATURES, values);
    let mut missing = x.clone();
    for i in 0..256 {
        missing.row_mut(i)[i % FEATURES] = f64::NAN;
    }
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let mut out = [0.0; CLASSES];
    let mut group = c.benchmark_group("forest");
    for (name, x) in [("", &x), (", missing values", &missing)] {
        group.throughput(Throughput::Elements(1));
        let mut i = 0;
        group.bench_function(format!("single row{name}"), |b| {
            b.iter(|| {
                i = (i + 1) % 256;
                forest.evaluate_into(x.row(i), &mut out);
                out[0]
            });
        });
        group.throughput(Throughput::Elements(256));
        group.bench_function(format!("batch of 256, one thread{name}"), |b| {
            b.iter(|| one_thread.install(|| forest.evaluate(x)));
        });
    }
    group.finish();
}

criterion_group!(benches, evaluate);
criterion_main!(benches);
