//! Random forests and extremely randomised trees for classification.
//!
//! Breiman, "Random Forests", Machine Learning 45 (2001); Geurts, Ernst and Wehenkel, "Extremely randomized trees",
//! Machine Learning 63 (2006). Trees split by the Gini criterion, leaves hold weighted class shares, and a forest
//! answers their mean. Values are compared in single precision, in training as in evaluation, so each training row
//! reaches the leaf that it was counted in. A missing value needs no imputation: each split says where it goes.
//!
//! The result depends on the data, the parameters and the seed, never on the number of threads.

mod columns;
mod split;
mod tree;

use rand_chacha::rand_core::Rng;
use rayon::prelude::*;
use thiserror::Error;

use super::parts::{
    Addition, Combination, DecisionRule, ForestParts, InvalidForest, LeafKind, Node, TreeParts,
};
use super::structure::Forest;
use crate::matrix::Matrix;
use crate::observer::Observer;
use crate::seed::Seed;
use columns::Columns;
use tree::{GrownTree, TreeRows};

/// How a forest grows.
#[derive(Debug, Clone, PartialEq)]
pub struct GrowParameters {
    /// Number of trees, at least 1.
    pub trees: usize,
    /// How a threshold is chosen.
    pub splitter: Splitter,
    /// How many features, drawn anew at each node, compete for the split.
    pub max_features: MaxFeatures,
    /// Longest path; unlimited when absent.
    pub max_depth: Option<usize>,
    /// A node with fewer rows is a leaf. At least 2.
    pub min_samples_split: usize,
    /// Both sides of a split keep at least this many rows. At least 1.
    pub min_samples_leaf: usize,
    /// Whether each tree sees rows drawn with replacement, as many as there are.
    pub bootstrap: bool,
    /// Whether rare classes count more.
    pub class_weight: ClassWeight,
}

/// How the threshold of a split is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Splitter {
    /// The best one: a random forest.
    Best,
    /// One drawn uniformly between the smallest and the largest value in the node: extra trees.
    Random,
}

/// How many features compete at each node; at least one always does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxFeatures {
    All,
    /// The square root of their number, rounded down.
    SquareRoot,
    /// The base-2 logarithm of their number, rounded down.
    Log2,
    /// A share of them, in (0, 1], rounded down.
    Share(f64),
    /// That many, or all if there are fewer.
    Count(usize),
}

/// What a row weighs by its class, multiplied by its own weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassWeight {
    /// The same for all classes.
    Uniform,
    /// rows / (classes present * rows of the class), over all rows.
    Balanced,
    /// The same formula, over the rows drawn for each tree, multiplied with the draws.
    BalancedSubsample,
}

/// A grown forest and what is known about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Grown {
    /// Vector leaves; the mean over trees is the class distribution.
    pub forest: Forest,
    /// For each feature its share of the decrease of Gini impurity, mean over trees; sums to 1, or is all zero when no
    /// tree has a split.
    pub importances: Vec<f64>,
    /// With bootstrapping: for each row, the mean over the trees that did not see it; NaN where all trees did.
    pub out_of_bag: Option<Matrix>,
}

/// Why no forest was grown.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum GrowError {
    #[error("stopped before all trees were grown")]
    Stopped,
    #[error("there are no rows with a positive weight")]
    NoRows,
    #[error("{rows} rows, but {found} {what}")]
    Length { what: &'static str, rows: usize, found: usize },
    #[error("row {row} has class {class} of {n_classes}")]
    Class { row: usize, class: u32, n_classes: usize },
    #[error("row {row} weighs {weight}: a weight must be finite and not negative")]
    Weight { row: usize, weight: f64 },
    #[error("{key} is {value}: expected {expected}")]
    Parameter { key: &'static str, value: String, expected: &'static str },
    #[error("the forest does not fit together")]
    Invalid(#[source] InvalidForest),
}

impl Default for GrowParameters {
    /// A random forest of 100 trees, grown until leaves are pure.
    fn default() -> Self {
        Self {
            trees: 100,
            splitter: Splitter::Best,
            max_features: MaxFeatures::SquareRoot,
            max_depth: None,
            min_samples_split: 2,
            min_samples_leaf: 1,
            bootstrap: true,
            class_weight: ClassWeight::Uniform,
        }
    }
}

impl MaxFeatures {
    /// The number for `n_features`.
    #[must_use]
    pub fn count(self, n_features: usize) -> usize {
        let count = match self {
            Self::All => n_features,
            Self::SquareRoot => n_features.isqrt(),
            Self::Log2 => n_features.checked_ilog2().unwrap_or(0) as usize,
            Self::Share(share) => (share * n_features as f64) as usize,
            Self::Count(count) => count,
        };
        count.clamp(1, n_features.max(1))
    }
}

/// Grows a forest on the rows of `x` with classes `y` (each below `n_classes`) and optional row `weights`.
///
/// `observer` is asked before each tree whether to stop.
///
/// # Errors
/// [`GrowError::Stopped`] when the observer asked to stop; else what is wrong with the arguments.
pub fn grow(
    x: &Matrix,
    y: &[u32],
    n_classes: usize,
    weights: Option<&[f64]>,
    parameters: &GrowParameters,
    seed: Seed,
    observer: &dyn Observer,
) -> Result<Grown, GrowError> {
    check_parameters(parameters)?;
    check_data(x, y, n_classes, weights)?;
    let columns = Columns::new(x, parameters.splitter == Splitter::Best);
    let grower = Grower { columns: &columns, y, n_classes, weights, parameters };
    let trees: Vec<GrownTree> = (0..parameters.trees)
        .into_par_iter()
        .map(|index| {
            if observer.stop_requested() {
                return Err(GrowError::Stopped);
            }
            Ok(grower.tree(seed.nth(index)))
        })
        .collect::<Result<_, _>>()?;

    let importances = combined_importances(&trees, x.n_columns());
    let forest = Forest::new(&parts(trees, x.n_columns(), n_classes)).map_err(GrowError::Invalid)?;
    let out_of_bag = parameters.bootstrap.then(|| out_of_bag(&forest, x, &grower, seed));
    Ok(Grown { forest, importances, out_of_bag })
}

/// What all trees share.
struct Grower<'a> {
    columns: &'a Columns,
    y: &'a [u32],
    n_classes: usize,
    weights: Option<&'a [f64]>,
    parameters: &'a GrowParameters,
}

impl Grower<'_> {
    fn tree(&self, seed: Seed) -> GrownTree {
        let mut rows = TreeRows::default();
        for (row, weight) in self.sample(seed).into_iter().enumerate() {
            if weight > 0.0 {
                rows.push(row as u32, self.y[row], weight);
            }
        }
        tree::grow(self.columns, rows, self.n_classes, self.parameters, seed.child("splits"))
    }

    /// What each row weighs in the tree.
    ///
    /// With bootstrapping, weights decide how likely a row is to be drawn, and a draw counts 1: so trees differ in
    /// which rows of a rare class they see how often. Multiplying draws by weights instead gives every tree the same few
    /// heavy rows, and much worse forests where classes are rare.
    fn sample(&self, seed: Seed) -> Vec<f64> {
        let rows = self.y.len();
        let weight = |row: usize| self.weights.map_or(1.0, |weights| weights[row]);
        let balance = |counts: &dyn Fn(usize) -> f64| -> Vec<f64> {
            let class_weights = self.balanced(counts);
            (0..rows).map(|row| class_weights[self.y[row] as usize]).collect()
        };
        let mut weights: Vec<f64> = (0..rows).map(weight).collect();
        if self.parameters.class_weight == ClassWeight::Balanced
            || self.parameters.class_weight == ClassWeight::BalancedSubsample && !self.parameters.bootstrap
        {
            let factors = balance(&|_| 1.0);
            weights.iter_mut().zip(factors).for_each(|(weight, factor)| *weight *= factor);
        }
        if !self.parameters.bootstrap {
            return weights;
        }
        let draws = draws(&weights, &mut seed.child("rows").rng());
        if self.parameters.class_weight != ClassWeight::BalancedSubsample {
            return draws;
        }
        let factors = balance(&|row| draws[row]);
        draws.iter().zip(factors).map(|(draws, factor)| draws * factor).collect()
    }

    /// The weight of each class that makes all of them count alike, when row `row` counts `count(row)`.
    fn balanced(&self, count: &dyn Fn(usize) -> f64) -> Vec<f64> {
        let mut counts = vec![0.0; self.n_classes];
        for (row, &class) in self.y.iter().enumerate() {
            counts[class as usize] += count(row);
        }
        let rows: f64 = counts.iter().sum();
        let present = counts.iter().filter(|count| **count > 0.0).count() as f64;
        counts.iter().map(|&count| if count > 0.0 { rows / (present * count) } else { 0.0 }).collect()
    }
}

/// How often each row is drawn when as many rows as there are are drawn with replacement, each as likely as its weight.
fn draws(weights: &[f64], rng: &mut impl Rng) -> Vec<f64> {
    let rows = weights.len();
    let mut draws = vec![0.0; rows];
    let is_uniform = weights.iter().all(|weight| *weight == weights[0]);
    if is_uniform {
        for _ in 0..rows {
            draws[below(rng, rows)] += 1.0;
        }
        return draws;
    }
    let last = weights.iter().rposition(|weight| *weight > 0.0).unwrap_or(0);
    let mut ends = Vec::with_capacity(rows);
    let total = weights.iter().fold(0.0, |total, weight| {
        ends.push(total + weight);
        total + weight
    });
    for _ in 0..rows {
        // 53 random bits as a share of the total; a row without weight has no width and is never hit.
        let target = (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64 * total;
        draws[ends.partition_point(|end| *end <= target).min(last)] += 1.0;
    }
    draws
}

/// A number below `limit` (at most 2^32), uniform up to a bias of `limit` / 2^32 (Lemire's multiplication).
fn below(rng: &mut impl Rng, limit: usize) -> usize {
    ((u64::from(rng.next_u32()) * limit as u64) >> 32) as usize
}

/// Leaves with equal distributions, most of all the pure ones, share one row of values.
fn parts(trees: Vec<GrownTree>, n_features: usize, n_classes: usize) -> ForestParts {
    let mut leaf_values: Vec<f64> = Vec::new();
    let mut rows = std::collections::BTreeMap::<Vec<u64>, u32>::new();
    let trees = trees
        .into_iter()
        .map(|mut tree| {
            for node in &mut tree.nodes {
                if let Node::Leaf { row } = node {
                    let start = *row as usize * n_classes;
                    let values = &tree.leaves[start..start + n_classes];
                    let next = rows.len() as u32;
                    *row = *rows.entry(values.iter().map(|value| value.to_bits()).collect()).or_insert_with(
                        || {
                            leaf_values.extend_from_slice(values);
                            next
                        },
                    );
                }
            }
            TreeParts { output: 0, nodes: tree.nodes, covers: tree.covers }
        })
        .collect();
    ForestParts {
        n_features,
        n_outputs: n_classes,
        rule: DecisionRule::SingleLess,
        combination: Combination::Mean,
        addition: Addition::Double,
        leaf_kind: LeafKind::Vector,
        base: vec![0.0; n_classes],
        trees,
        leaf_values,
        category_sets: Vec::new(),
    }
}

/// Each tree's decreases are brought to a sum of 1 before the mean, as scikit-learn does.
fn combined_importances(trees: &[GrownTree], n_features: usize) -> Vec<f64> {
    let mut sums = vec![0.0; n_features];
    for tree in trees {
        let total: f64 = tree.decreases.iter().sum();
        if total > 0.0 {
            for (sum, decrease) in sums.iter_mut().zip(&tree.decreases) {
                *sum += decrease / total;
            }
        }
    }
    let total: f64 = sums.iter().sum();
    if total > 0.0 {
        sums.iter_mut().for_each(|sum| *sum /= total);
    }
    sums
}

fn out_of_bag(forest: &Forest, x: &Matrix, grower: &Grower<'_>, seed: Seed) -> Matrix {
    let n_classes = grower.n_classes;
    // Drawn again from the trees' seeds rather than kept: a bit for each row and tree.
    let in_bag: Vec<Vec<u64>> = (0..forest.n_trees())
        .into_par_iter()
        .map(|tree| {
            let mut bits = vec![0_u64; x.n_rows().div_ceil(64)];
            for (row, &count) in grower.sample(seed.nth(tree)).iter().enumerate() {
                bits[row / 64] |= u64::from(count > 0.0) << (row % 64);
            }
            bits
        })
        .collect();
    let mut values = vec![0.0; x.n_rows() * n_classes];
    values.par_chunks_mut(n_classes).enumerate().for_each(|(row, out)| {
        let mut trees = 0.0;
        for (tree, bits) in in_bag.iter().enumerate() {
            if bits[row / 64] >> (row % 64) & 1 == 0 {
                trees += 1.0;
                let leaf = forest.leaf_node(tree, x.row(row));
                for (out, share) in out.iter_mut().zip(forest.leaf_values_at(leaf)) {
                    *out += share;
                }
            }
        }
        for out in out {
            *out = if trees > 0.0 { *out / trees } else { f64::NAN };
        }
    });
    Matrix::new(x.n_rows(), n_classes, values)
}

fn check_parameters(parameters: &GrowParameters) -> Result<(), GrowError> {
    let refuse = |key, value: String, expected| Err(GrowError::Parameter { key, value, expected });
    if parameters.trees == 0 {
        return refuse("trees", "0".to_owned(), "at least 1");
    }
    if parameters.min_samples_split < 2 {
        return refuse("min_samples_split", parameters.min_samples_split.to_string(), "at least 2");
    }
    if parameters.min_samples_leaf < 1 {
        return refuse("min_samples_leaf", "0".to_owned(), "at least 1");
    }
    match parameters.max_features {
        MaxFeatures::Share(share) if !(share > 0.0 && share <= 1.0) => {
            refuse("max_features", share.to_string(), "a share above 0 and at most 1")
        }
        MaxFeatures::Count(0) => refuse("max_features", "0".to_owned(), "at least 1"),
        _ => Ok(()),
    }
}

fn check_data(x: &Matrix, y: &[u32], n_classes: usize, weights: Option<&[f64]>) -> Result<(), GrowError> {
    let rows = x.n_rows();
    if y.len() != rows {
        return Err(GrowError::Length { what: "classes", rows, found: y.len() });
    }
    if let Some((row, &class)) = y.iter().enumerate().find(|(_, class)| **class as usize >= n_classes) {
        return Err(GrowError::Class { row, class, n_classes });
    }
    let Some(weights) = weights else {
        return if rows == 0 { Err(GrowError::NoRows) } else { Ok(()) };
    };
    if weights.len() != rows {
        return Err(GrowError::Length { what: "weights", rows, found: weights.len() });
    }
    if let Some((row, &weight)) = weights.iter().enumerate().find(|(_, w)| !(w.is_finite() && **w >= 0.0)) {
        return Err(GrowError::Weight { row, weight });
    }
    if weights.iter().sum::<f64>() > 0.0 { Ok(()) } else { Err(GrowError::NoRows) }
}
