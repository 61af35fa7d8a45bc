//! Forests: what is accepted, what they answer, and how ours grow.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use rand_chacha::rand_core::Rng;
use serin_ml::forest::grow::{ClassWeight, GrowError, GrowParameters, MaxFeatures, Splitter, grow};
use serin_ml::forest::{
    Addition, CategorySet, Combination, DecisionRule, Forest, ForestParts, InvalidForest, LeafKind, Node,
    Scratch, TreeParts, ZERO_LIMIT,
};
use serin_ml::matrix::Matrix;
use serin_ml::observer::{Observer, Silent};
use serin_ml::seed::Seed;

// Structure

fn split(feature: u32, threshold: f64, left: u32, right: u32) -> Node {
    Node::Split { feature, threshold, missing_left: true, zero_is_missing: false, left, right }
}

fn category(feature: u32, set: u32, left: u32, right: u32) -> Node {
    Node::Category { feature, set, listed_left: true, missing_left: false, left, right }
}

fn leaf(row: u32) -> Node {
    Node::Leaf { row }
}

/// Two trees over three features, one for each of two outputs.
fn parts() -> ForestParts {
    ForestParts {
        n_features: 3,
        n_outputs: 2,
        rule: DecisionRule::SingleLess,
        combination: Combination::Sum,
        addition: Addition::Double,
        leaf_kind: LeafKind::Scalar,
        base: vec![0.5, -0.5],
        trees: vec![
            TreeParts {
                output: 0,
                nodes: vec![split(0, 1.5, 2, 1), leaf(0), split(2, 0.0, 3, 4), leaf(1), leaf(2)],
                covers: vec![9.0, 4.0, 5.0, 2.0, 3.0],
            },
            TreeParts { output: 1, nodes: vec![leaf(3)], covers: vec![9.0] },
        ],
        leaf_values: vec![1.0, 2.0, 4.0, 8.0],
        category_sets: vec![CategorySet::from_members(&[1, 40])],
    }
}

fn evaluate(forest: &Forest, row: &[f64]) -> Vec<f64> {
    let mut out = vec![f64::NAN; forest.n_outputs()];
    forest.evaluate_into(row, &mut out);
    out
}

#[test]
fn a_row_takes_the_sum_of_its_leaves() {
    let forest = Forest::new(&parts()).unwrap();
    assert_eq!(evaluate(&forest, &[1.0, 0.0, -1.0]), [2.5, 7.5]);
    assert_eq!(evaluate(&forest, &[1.0, 0.0, 0.0]), [4.5, 7.5]);
    assert_eq!(evaluate(&forest, &[1.5, 0.0, -1.0]), [1.5, 7.5]);
    assert_eq!(evaluate(&forest, &[f64::NAN, 0.0, f64::NAN]), [2.5, 7.5]);
    // Rounded to single precision it is 1.5.
    assert_eq!(evaluate(&forest, &[1.5_f64.next_down(), 0.0, -1.0]), [1.5, 7.5]);
}

#[test]
fn whatever_is_wrong_is_refused_with_its_place() {
    type Change = fn(&mut ForestParts);
    let cases: &[(&str, Change)] = &[
        ("the forest has no trees", |p| p.trees.clear()),
        ("the forest has no outputs", |p| p.n_outputs = 0),
        ("base has 1 values, expected 2", |p| p.base.truncate(1)),
        ("base value 1 is not finite", |p| p.base[1] = f64::NAN),
        ("leaf value 2 is not finite", |p| p.leaf_values[2] = f64::INFINITY),
        ("leaf values has 5 values, expected 6", |p| {
            p.leaf_kind = LeafKind::Vector;
            p.leaf_values.push(0.0);
        }),
        ("tree 1 adds to output 2, but there are 2", |p| p.trees[1].output = 2),
        ("tree 1 adds to output 1, but there are 1", |p| p.leaf_kind = LeafKind::Vector),
        ("tree 1 has no nodes", |p| p.trees[1].nodes.clear()),
        ("tree 0, node 2: feature 3 of 3", |p| p.trees[0].nodes[2] = split(3, 0.0, 3, 4)),
        ("tree 0, node 0: feature 0 of 0", |p| p.n_features = 0),
        ("tree 0, node 2: the threshold NaN is not a number that its rule compares with", |p| {
            p.trees[0].nodes[2] = split(0, f64::NAN, 3, 4);
        }),
        ("tree 0, node 2: the threshold 0.1 is not a number that its rule compares with", |p| {
            p.trees[0].nodes[2] = split(0, 0.1, 3, 4);
        }),
        ("tree 0, node 2: child 5 of 5 nodes", |p| p.trees[0].nodes[2] = split(0, 0.0, 3, 5)),
        ("tree 0, node 2: child 4294967295 of 5 nodes", |p| p.trees[0].nodes[2] = split(0, 0.0, u32::MAX, 4)),
        ("tree 0, node 0: reached more than once", |p| p.trees[0].nodes[2] = split(0, 0.0, 0, 4)),
        ("tree 0, node 2: reached more than once", |p| p.trees[0].nodes[2] = split(0, 0.0, 2, 4)),
        ("tree 0, node 3: reached more than once", |p| p.trees[0].nodes[2] = split(0, 0.0, 3, 3)),
        ("tree 0, node 5: never reached from the root", |p| {
            p.trees[0].nodes.push(leaf(0));
            p.trees[0].covers.push(0.0);
        }),
        ("tree 0 has 5 covers for 6 nodes", |p| p.trees[0].nodes.push(leaf(0))),
        ("tree 1, node 0: the cover -1 is negative or not finite", |p| p.trees[1].covers[0] = -1.0),
        ("tree 0, node 2: category set 1 of 1", |p| p.trees[0].nodes[2] = category(0, 1, 3, 4)),
        ("tree 0, node 2: feature 3 of 3", |p| p.trees[0].nodes[2] = category(3, 0, 3, 4)),
        ("tree 0, node 2: child 5 of 5 nodes", |p| p.trees[0].nodes[2] = category(0, 0, 5, 4)),
        ("a leaf value is not a single-precision number, but is added as one", |p| {
            p.addition = Addition::SingleFromBase;
            p.leaf_values[0] = 0.1;
        }),
        ("a mean is added in double precision only", |p| {
            (p.addition, p.combination) = (Addition::SingleFromBase, Combination::Mean);
        }),
        ("3 trees are not whole rounds of one tree for each of 2 outputs", |p| {
            p.combination = Combination::Mean;
            p.trees.push(p.trees[1].clone());
        }),
        ("tree 0, node 3: leaf row 4 of 4", |p| p.trees[0].nodes[3] = leaf(4)),
    ];
    for (message, change) in cases {
        let mut wrong = parts();
        change(&mut wrong);
        let error = Forest::new(&wrong).map(|_| "accepted").map_err(|error| error.to_string());
        assert_eq!(error, Err((*message).to_owned()));
        // The same checks stand between stored bytes and a forest.
        let bytes = postcard::to_stdvec(&wrong).unwrap();
        assert!(postcard::from_bytes::<Forest>(&bytes).is_err(), "{message}: decoded");
    }
}

#[test]
fn a_double_threshold_is_fine_under_the_double_rule() {
    let mut parts = parts();
    parts.rule = DecisionRule::DoubleAtMost;
    parts.trees[0].nodes[2] = split(2, 0.1, 3, 4);
    let forest = Forest::new(&parts).unwrap();
    assert_eq!(evaluate(&forest, &[1.0, 0.0, 0.1])[0], 2.5);
    assert_eq!(evaluate(&forest, &[1.0, 0.0, 0.1_f64.next_up()])[0], 4.5);
}

#[test]
fn a_chain_of_a_hundred_thousand_nodes_needs_no_stack() {
    let mut parts = parts();
    let mut nodes = Vec::new();
    for i in 0..100_000 {
        nodes.extend([split(0, 1.0, 2 * i + 2, 2 * i + 1), leaf(0)]);
    }
    nodes.push(leaf(1));
    parts.trees[0].nodes = nodes;
    parts.trees[0].covers.clear();
    let forest = Forest::new(&parts).unwrap();
    assert_eq!(evaluate(&forest, &[0.0, 0.0, 0.0])[0], 2.5);
    assert_eq!(forest.validate(), Ok(()));
}

/// A forest drawn from `seed`, of every kind there is: trees of few leaves or of many, both rules, both ways to add,
/// splits that take zeros for missing and splits on categories.
fn random_parts(seed: u64) -> ForestParts {
    let mut rng = Seed(seed).rng();
    let mut draw = move |limit: u32| rng.next_u32() % limit;
    let (n_features, n_outputs) = (draw(5) + 1, draw(4) + 1);
    let vector = draw(2) == 0;
    let rule = if draw(2) == 0 { DecisionRule::SingleLess } else { DecisionRule::DoubleAtMost };
    // Most leaves of a tree: within 32, within 64, beyond.
    let splits = [30, 60, 150][draw(3) as usize];
    let has_special = draw(2) == 0;
    let cuts = if draw(4) == 0 { 600 } else { 9 };
    let leaf_rows = 20;
    let trees = (0..draw(20) + 1).map(|_| {
        let mut nodes = vec![leaf(0)];
        for _ in 0..draw(splits) {
            let at = draw(nodes.len() as u32) as usize;
            if matches!(nodes[at], Node::Leaf { .. }) {
                let next = nodes.len() as u32;
                let feature = draw(n_features);
                let (left, right) = if draw(2) == 0 { (next, next + 1) } else { (next + 1, next) };
                let missing_left = draw(2) == 0;
                nodes[at] = if has_special && draw(3) == 0 {
                    Node::Category {
                        feature,
                        set: draw(3),
                        listed_left: draw(2) == 0,
                        missing_left,
                        left,
                        right,
                    }
                } else {
                    let is_whole = rule == DecisionRule::DoubleAtMost && draw(8) == 0;
                    let threshold = if is_whole { f64::INFINITY } else { f64::from(draw(cuts)) / 4.0 - 1.0 };
                    let zero_is_missing = has_special && draw(3) == 0;
                    Node::Split { feature, threshold, missing_left, zero_is_missing, left, right }
                };
                nodes.extend([leaf(draw(leaf_rows)), leaf(draw(leaf_rows))]);
            }
        }
        let covers = (0..nodes.len()).map(|i| i as f32 / 4.0).collect();
        TreeParts { output: if vector { 0 } else { draw(n_outputs) }, nodes, covers }
    });
    let trees: Vec<TreeParts> = trees.collect();
    let width = if vector { n_outputs } else { 1 };
    let addition =
        if !vector && seed.is_multiple_of(2) { Addition::SingleFromBase } else { Addition::Double };
    let number = |value: f64| if addition == Addition::Double { value } else { f64::from(value as f32) };
    ForestParts {
        n_features: n_features as usize,
        n_outputs: n_outputs as usize,
        rule,
        combination: if vector { Combination::Mean } else { Combination::Sum },
        addition,
        leaf_kind: if vector { LeafKind::Vector } else { LeafKind::Scalar },
        base: (0..n_outputs).map(|i| number(f64::from(i) / 3.0)).collect(),
        trees,
        leaf_values: (0..leaf_rows * width).map(|i| number(f64::from(i * i % 17) / 7.0)).collect(),
        category_sets: [&[0_u32, 2][..], &[], &[1, 3, 100]].map(CategorySet::from_members).to_vec(),
    }
}

/// Rows around the thresholds, on them, missing, and of numbers that are odd in other ways.
fn random_rows(seed: u64, rows: usize, columns: usize, missing: bool) -> Matrix {
    const ODD: [f64; 14] = [
        0.0,
        -0.0,
        5e-324,
        -5e-324,
        1e-36,
        ZERO_LIMIT,
        1.1e-35,
        -1.1e-35,
        1e300,
        -1e300,
        f64::INFINITY,
        f64::NEG_INFINITY,
        100.0,
        2_147_483_648.0,
    ];
    let mut rng = Seed(seed).child("rows").rng();
    let values = (0..rows * columns).map(|_| match rng.next_u32() % 16 {
        0 if missing => f64::NAN,
        1 => (f64::from(rng.next_u32() % 9) / 4.0 - 1.0).next_down(),
        2 => (f64::from(rng.next_u32() % 9) / 4.0 - 1.0).next_up(),
        3 => ODD[rng.next_u32() as usize % ODD.len()],
        4 => f64::from(rng.next_u32() % 1300) / 8.0 - 1.0,
        _ => f64::from(rng.next_u32() % 17) / 8.0 - 1.0,
    });
    Matrix::new(rows, columns, values.collect())
}

/// The node of `tree` that is the leaf of `row`, by the definition.
fn walk(parts: &ForestParts, tree: &TreeParts, row: &[f64]) -> usize {
    let mut at = 0;
    loop {
        let (goes_left, left, right) = match tree.nodes[at] {
            Node::Leaf { .. } => return at,
            Node::Split { feature, threshold, missing_left, zero_is_missing, left, right } => {
                let value = row[feature as usize];
                let goes_left = match parts.rule {
                    _ if value.is_nan() || zero_is_missing && value.abs() <= ZERO_LIMIT => missing_left,
                    DecisionRule::SingleLess => (value as f32) < threshold as f32,
                    DecisionRule::DoubleAtMost => value <= threshold,
                };
                (goes_left, left, right)
            }
            Node::Category { feature, set, listed_left, missing_left, left, right } => {
                let value = row[feature as usize];
                let (whole, is_category) = match parts.rule {
                    DecisionRule::SingleLess => {
                        let value = value as f32;
                        (f64::from(value.trunc()), (0.0..16_777_216.0).contains(&value))
                    }
                    DecisionRule::DoubleAtMost => {
                        (value.trunc(), value.trunc() >= 0.0 && value < 2_147_483_648.0)
                    }
                };
                let is_listed = is_category && parts.category_sets[set as usize].contains(whole as u32);
                (if value.is_nan() { missing_left } else { is_listed == listed_left }, left, right)
            }
        };
        at = if goes_left { left } else { right } as usize;
    }
}

fn evaluate_by_definition(parts: &ForestParts, row: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0; parts.n_outputs];
    let mut singles: Vec<f32> = parts.base.iter().map(|base| *base as f32).collect();
    for tree in &parts.trees {
        let Node::Leaf { row: leaf } = tree.nodes[walk(parts, tree, row)] else { unreachable!() };
        match parts.leaf_kind {
            LeafKind::Scalar => {
                sums[tree.output as usize] += parts.leaf_values[leaf as usize];
                singles[tree.output as usize] += parts.leaf_values[leaf as usize] as f32;
            }
            LeafKind::Vector => {
                for (k, sum) in sums.iter_mut().enumerate() {
                    *sum += parts.leaf_values[leaf as usize * parts.n_outputs + k];
                }
            }
        }
    }
    if parts.addition == Addition::SingleFromBase {
        return singles.into_iter().map(f64::from).collect();
    }
    let trees = if parts.combination == Combination::Mean { parts.trees.len() as f64 } else { 1.0 };
    sums.iter().zip(&parts.base).map(|(sum, base)| sum / trees + base).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn alone_in_a_batch_and_by_the_definition_a_row_has_the_same_result(seed: u64, missing: bool, rows in 1_usize..150) {
        let parts = random_parts(seed);
        let forest = Forest::new(&parts).unwrap();
        let x = random_rows(seed, rows, parts.n_features, missing);
        let batch = forest.evaluate(&x);
        let mut serial = vec![f64::NAN; rows * parts.n_outputs];
        forest.evaluate_rows_into(x.values(), &mut Scratch::default(), &mut serial);
        prop_assert_eq!(&serial, batch.values());
        for (i, row) in x.rows().enumerate() {
            let alone = evaluate(&forest, row);
            prop_assert_eq!(&alone, &evaluate_by_definition(&parts, row));
            prop_assert_eq!(&alone, batch.row(i));
        }
    }

    #[test]
    fn a_stored_forest_comes_back_the_same(seed: u64) {
        let forest = Forest::new(&random_parts(seed)).unwrap();
        let bytes = postcard::to_stdvec(&forest).unwrap();
        let back: Forest = postcard::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&back.to_parts(), &forest.to_parts());
        prop_assert_eq!(back, forest);
    }

    #[test]
    fn damaged_bytes_are_refused_or_still_a_sound_forest(seed: u64, place: prop::sample::Index, value: u8, cut: bool) {
        let forest = Forest::new(&random_parts(seed)).unwrap();
        let mut bytes = postcard::to_stdvec(&forest).unwrap();
        let place = place.index(bytes.len());
        if cut {
            bytes.truncate(place);
        } else {
            bytes[place] = value;
        }
        if let Ok(forest) = postcard::from_bytes::<Forest>(&bytes) {
            prop_assert_eq!(forest.validate(), Ok(()));
            // A damaged count of features or outputs may be large; evaluation still ends within its bounds.
            if forest.n_features() < 10_000 && forest.n_outputs() < 10_000 {
                evaluate(&forest, &vec![0.5; forest.n_features()]);
            }
        }
    }
}

// Growth

fn extra_trees() -> GrowParameters {
    GrowParameters { splitter: Splitter::Random, bootstrap: false, ..GrowParameters::default() }
}

/// Rows of `n_classes` overlapping clouds; the first half of the columns informs, the rest is noise.
fn clouds(seed: u64, rows: usize, columns: usize, n_classes: u32, spread: f64) -> (Matrix, Vec<u32>) {
    let mut rng = Seed(seed).child("clouds").rng();
    let mut uniform = move || f64::from(rng.next_u32()) / 2.0_f64.powi(32);
    let y: Vec<u32> = (0..rows).map(|_| (uniform() * f64::from(n_classes)) as u32).collect();
    let mut values = Vec::with_capacity(rows * columns);
    for class in &y {
        for j in 0..columns {
            let noise: f64 = (0..6).map(|_| uniform() - 0.5).sum();
            let centre =
                if j < columns / 2 { f64::from((class * 7 + j as u32 * 5) % 11) / 11.0 } else { 0.0 };
            values.push(centre + spread * noise);
        }
    }
    (Matrix::new(rows, columns, values), y)
}

fn accuracy(forest: &Forest, x: &Matrix, y: &[u32]) -> f64 {
    let p = forest.evaluate(x);
    let right =
        p.rows().zip(y).filter(|(row, class)| row.iter().all(|share| *share <= row[**class as usize]));
    right.count() as f64 / y.len() as f64
}

#[test]
fn both_kinds_learn_what_there_is_to_learn() {
    let (x, y) = clouds(1, 600, 12, 4, 0.35);
    let (test_x, test_y) = clouds(2, 600, 12, 4, 0.35);
    for parameters in [GrowParameters::default(), extra_trees()] {
        let grown = grow(&x, &y, 4, None, &parameters, Seed(3), &Silent).unwrap();
        assert_eq!(accuracy(&grown.forest, &x, &y), 1.0, "grown until leaves are pure");
        let judged = accuracy(&grown.forest, &test_x, &test_y);
        assert!(judged > 0.9, "{judged} on new rows");
        assert!((grown.importances.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let informing: f64 = grown.importances[..6].iter().sum();
        assert!(informing > 0.8, "informing columns have {informing} of the importance");
        let Some(out_of_bag) = grown.out_of_bag else {
            assert!(!parameters.bootstrap);
            continue;
        };
        let known: Vec<(&[f64], u32)> =
            out_of_bag.rows().zip(y.iter().copied()).filter(|(row, _)| !row[0].is_nan()).collect();
        let right =
            known.iter().filter(|(row, class)| row.iter().all(|share| *share <= row[*class as usize]));
        let estimate = right.count() as f64 / known.len() as f64;
        assert!((estimate - judged).abs() < 0.05, "out of bag {estimate}, new rows {judged}");
        assert_eq!(known.len(), 600, "with 100 trees every row is out of some bag");
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let (mut x, y) = clouds(4, 300, 8, 3, 0.5);
    (0..300).step_by(7).for_each(|i| x.row_mut(i)[i % 8] = f64::NAN);
    for parameters in [GrowParameters { trees: 23, ..GrowParameters::default() }, extra_trees()] {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| grow(&x, &y, 3, None, &parameters, Seed(5), &Silent)).unwrap()
        };
        let one = on(1);
        for threads in [2, 3] {
            let other = on(threads);
            assert_eq!(other.forest, one.forest);
            assert_eq!(other.importances, one.importances);
            // By bits, for rows that are in every bag hold NaN.
            let bits = |m: &Option<Matrix>| {
                m.as_ref().map(|m| m.values().iter().map(|v| v.to_bits()).collect::<Vec<_>>())
            };
            assert_eq!(bits(&other.out_of_bag), bits(&one.out_of_bag));
        }
        let other_seed = grow(&x, &y, 3, None, &parameters, Seed(6), &Silent).unwrap();
        assert_ne!(other_seed.forest, one.forest);
    }
}

#[test]
fn that_a_value_is_missing_can_tell_the_class() {
    let y: Vec<u32> = (0..200).map(|i| i % 2).collect();
    for constant in [false, true] {
        let values = y.iter().enumerate().map(|(i, class)| match class {
            1 => f64::NAN,
            _ if constant => 3.0,
            _ => (i * 37 % 101) as f64,
        });
        let x = Matrix::new(200, 1, values.collect());
        for parameters in [GrowParameters::default(), extra_trees()] {
            let grown = grow(&x, &y, 2, None, &parameters, Seed(1), &Silent).unwrap();
            assert_eq!(accuracy(&grown.forest, &x, &y), 1.0, "{parameters:?}, constant {constant}");
        }
    }
}

#[test]
fn a_split_without_gain_opens_the_way_to_one_with() {
    // Exclusive or: no single threshold helps at the root.
    let x = Matrix::new(4, 2, vec![0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0]);
    let y = [0, 1, 1, 0];
    let parameters = GrowParameters { trees: 1, bootstrap: false, ..GrowParameters::default() };
    let grown = grow(&x, &y, 2, None, &parameters, Seed(0), &Silent).unwrap();
    assert_eq!(accuracy(&grown.forest, &x, &y), 1.0);
}

#[test]
fn a_weight_of_two_is_a_row_twice() {
    let (x, y) = clouds(8, 120, 5, 3, 0.8);
    let weights: Vec<f64> = (0..120).map(|i| f64::from(i % 3)).collect();
    let twice: Vec<usize> = (0..120).flat_map(|i| std::iter::repeat_n(i, i % 3)).collect();
    let y_twice: Vec<u32> = twice.iter().map(|i| y[*i]).collect();
    let parameters = GrowParameters {
        trees: 5,
        max_features: MaxFeatures::All,
        max_depth: Some(4),
        bootstrap: false,
        ..GrowParameters::default()
    };
    let weighted = grow(&x, &y, 3, Some(&weights), &parameters, Seed(2), &Silent).unwrap();
    let repeated = grow(&x.select_rows(&twice), &y_twice, 3, None, &parameters, Seed(2), &Silent).unwrap();
    let (a, b) = (weighted.forest.evaluate(&x), repeated.forest.evaluate(&x));
    for (a, b) in a.values().iter().zip(b.values()) {
        assert!((a - b).abs() < 1e-12, "{a} {b}");
    }
}

#[test]
fn balanced_weights_give_a_rare_class_its_say() {
    let (x, mut y) = clouds(9, 1000, 4, 2, 2.0);
    y.iter_mut().enumerate().for_each(|(i, class)| *class &= u32::from(i % 10 == 0));
    let mean_of_rare = |class_weight| {
        let parameters = GrowParameters { max_depth: Some(3), class_weight, ..GrowParameters::default() };
        let grown = grow(&x, &y, 2, None, &parameters, Seed(2), &Silent).unwrap();
        grown.forest.evaluate(&x).column(1).iter().sum::<f64>() / 1000.0
    };
    assert!(mean_of_rare(ClassWeight::Uniform) < 0.1);
    for class_weight in [ClassWeight::Balanced, ClassWeight::BalancedSubsample] {
        let mean = mean_of_rare(class_weight);
        assert!((0.35..0.65).contains(&mean), "{class_weight:?}: {mean}");
    }
}

#[test]
fn limits_on_trees_hold() {
    let (x, y) = clouds(10, 400, 6, 3, 0.8);
    for base in [GrowParameters { bootstrap: false, ..GrowParameters::default() }, extra_trees()] {
        let leaves = |parameters: &GrowParameters| {
            let parts = grow(&x, &y, 3, None, parameters, Seed(1), &Silent).unwrap().forest.to_parts();
            let mut counts = Vec::new();
            for tree in &parts.trees {
                let mut rows = vec![0; tree.nodes.len()];
                x.rows().for_each(|row| rows[walk(&parts, tree, row)] += 1);
                counts.extend(rows.into_iter().filter(|count| *count > 0));
            }
            counts
        };
        assert!(
            leaves(&GrowParameters { min_samples_leaf: 15, ..base.clone() }).iter().all(|rows| *rows >= 15)
        );
        assert!(leaves(&GrowParameters { max_depth: Some(2), ..base.clone() }).len() <= 4 * base.trees);
        let unsplit = leaves(&GrowParameters { min_samples_split: 401, ..base.clone() });
        assert_eq!(unsplit, vec![400; base.trees]);
    }
}

#[test]
fn unusable_arguments_are_refused() {
    let x = Matrix::zeros(3, 2);
    let grow_with = |y: &[u32], weights: Option<&[f64]>, parameters: &GrowParameters| {
        grow(&x, y, 2, weights, parameters, Seed(0), &Silent).unwrap_err()
    };
    let plain = GrowParameters::default();
    assert_eq!(grow_with(&[0, 1], None, &plain), GrowError::Length { what: "classes", rows: 3, found: 2 });
    assert_eq!(grow_with(&[0, 1, 2], None, &plain), GrowError::Class { row: 2, class: 2, n_classes: 2 });
    assert_eq!(grow_with(&[0, 1, 1], Some(&[0.0; 3]), &plain), GrowError::NoRows);
    assert_eq!(
        grow_with(&[0, 1, 1], Some(&[1.0, -1.0, 1.0]), &plain),
        GrowError::Weight { row: 1, weight: -1.0 }
    );
    for parameters in [
        GrowParameters { trees: 0, ..plain.clone() },
        GrowParameters { min_samples_split: 1, ..plain.clone() },
        GrowParameters { min_samples_leaf: 0, ..plain.clone() },
        GrowParameters { max_features: MaxFeatures::Share(f64::NAN), ..plain.clone() },
        GrowParameters { max_features: MaxFeatures::Count(0), ..plain },
    ] {
        assert!(
            matches!(grow_with(&[0, 1, 1], None, &parameters), GrowError::Parameter { .. }),
            "{parameters:?}"
        );
    }
    assert!(matches!(Forest::new(&ForestParts { trees: vec![], ..parts() }), Err(InvalidForest::NoTrees)));
}

#[test]
fn degenerate_data_give_a_forest_of_the_class_shares() {
    for x in [Matrix::zeros(4, 0), Matrix::zeros(4, 2), Matrix::new(4, 1, vec![f64::NAN; 4])] {
        for mut parameters in [GrowParameters::default(), extra_trees()] {
            parameters.bootstrap = false;
            let grown = grow(&x, &[0, 1, 1, 1], 3, None, &parameters, Seed(0), &Silent).unwrap();
            assert_eq!(grown.forest.evaluate(&x).row(0), [0.25, 0.75, 0.0]);
            assert!(grown.importances.iter().all(|share| *share == 0.0));
        }
    }
}

/// Asks to stop at the third question.
struct Impatient(AtomicUsize);

impl Observer for Impatient {
    fn stop_requested(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) >= 2
    }
}

#[test]
fn a_stop_request_is_heard_between_trees() {
    let (x, y) = clouds(1, 50, 4, 2, 0.5);
    let observer = Impatient(AtomicUsize::new(0));
    let parameters = GrowParameters { trees: 10_000, ..GrowParameters::default() };
    assert_eq!(grow(&x, &y, 2, None, &parameters, Seed(1), &observer).unwrap_err(), GrowError::Stopped);
    assert!(observer.0.load(Ordering::Relaxed) < 100);
}

/// Values that are hard on comparisons: ties, neighbours, beyond single precision, missing.
fn hard_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-3_i32..3).prop_map(f64::from),
        2 => Just(0.1),
        2 => Just(f64::from(0.1_f32)),
        2 => Just(f64::from(0.1_f32.next_up())),
        1 => Just(0.1_f64.next_up()),
        1 => Just(-0.0),
        1 => prop_oneof![Just(1e300), Just(-1e300), Just(1e-300), Just(f64::from(f32::MAX)), Just(f64::from(f32::MIN))],
        2 => Just(f64::NAN),
        3 => -1.0..1.0_f64,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Leaves hold exactly the shares of the training rows that evaluation sends there: so each training row reaches
    /// the leaf that it was counted in.
    #[test]
    fn a_training_row_reaches_the_leaf_it_was_counted_in(
        values in prop::collection::vec(hard_value(), 40..400),
        best: bool,
        seed: u64,
        min_samples_leaf in 1_usize..4,
    ) {
        let rows = values.len() / 4;
        let x = Matrix::new(rows, 4, values[..rows * 4].to_vec());
        let y: Vec<u32> = (0..rows).map(|i| (i as u32 * 7 + 3) % 11 % 3).collect();
        let splitter = if best { Splitter::Best } else { Splitter::Random };
        let parameters =
            GrowParameters { trees: 4, splitter, bootstrap: false, min_samples_leaf, ..GrowParameters::default() };
        let parts = grow(&x, &y, 3, None, &parameters, Seed(seed), &Silent).unwrap().forest.to_parts();
        for tree in &parts.trees {
            let mut counts = vec![[0.0; 3]; tree.nodes.len()];
            for (row, class) in x.rows().zip(&y) {
                counts[walk(&parts, tree, row)][*class as usize] += 1.0;
            }
            for (node, counts) in tree.nodes.iter().zip(&counts) {
                let Node::Leaf { row } = node else { continue };
                let sum: f64 = counts.iter().sum();
                prop_assert!(sum >= min_samples_leaf as f64, "a leaf has {} rows", sum);
                for (class, count) in counts.iter().enumerate() {
                    let share = parts.leaf_values[*row as usize * 3 + class];
                    prop_assert!((share - count / sum).abs() < 1e-12);
                }
            }
        }
    }
}
