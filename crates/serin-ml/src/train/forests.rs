//! The families "random-forest" and "extra-trees": what a user writes about [`crate::forest::grow`].

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::forest::grow::{ClassWeight, GrowError, GrowParameters, Grown, MaxFeatures, Splitter, grow};
use crate::matrix::Matrix;
use crate::observer::Observer;
use crate::seed::Seed;

/// A random forest, as a user writes it: the best of the thresholds, on rows drawn with replacement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandomForestParameters {
    /// Number of trees, 1 to 100000.
    pub trees: usize,
    /// How many features compete at each node.
    pub max_features: FeatureChoice,
    /// Longest path; without a limit when absent.
    pub max_depth: Option<usize>,
    /// A node with fewer rows is a leaf; 2 or more.
    pub min_samples_split: usize,
    /// Both sides of a split keep that many rows; 1 or more.
    pub min_samples_leaf: usize,
    /// Whether each tree sees rows drawn with replacement.
    pub bootstrap: bool,
    /// Whether rare classes count more.
    pub class_weight: ClassWeightChoice,
}

/// Extremely randomised trees, as a user writes them: thresholds drawn at random, on all rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExtraTreesParameters {
    /// Number of trees, 1 to 100000.
    pub trees: usize,
    /// How many features compete at each node.
    pub max_features: FeatureChoice,
    /// Longest path; without a limit when absent.
    pub max_depth: Option<usize>,
    /// A node with fewer rows is a leaf; 2 or more.
    pub min_samples_split: usize,
    /// Both sides of a split keep that many rows; 1 or more.
    pub min_samples_leaf: usize,
    /// Whether each tree sees rows drawn with replacement.
    pub bootstrap: bool,
    /// Whether rare classes count more.
    pub class_weight: ClassWeightChoice,
}

/// How many features compete at each node: a word, a share (a number with a point) or a count.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FeatureChoice {
    /// "sqrt", "log2" or "all".
    Rule(FeatureRule),
    /// That many; 1 or more.
    Count(usize),
    /// That share of them; above 0 and at most 1.
    Share(f64),
}

/// A number of features by rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeatureRule {
    Sqrt,
    Log2,
    All,
}

/// Whether rare classes count more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassWeightChoice {
    Uniform,
    Balanced,
    BalancedSubsample,
}

/// A checked random forest.
#[derive(Debug, Clone, PartialEq)]
pub struct RandomForest {
    parameters: GrowParameters,
}

/// Checked extra trees.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtraTrees {
    parameters: GrowParameters,
}

/// A parameter that cannot be used.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{key} is {value}: expected {expected}")]
pub struct ForestParameterError {
    /// The parameter.
    pub key: &'static str,
    /// What it was.
    pub value: String,
    /// What is allowed.
    pub expected: &'static str,
}

impl Default for RandomForestParameters {
    fn default() -> Self {
        Self {
            trees: 200,
            max_features: FeatureChoice::Rule(FeatureRule::Sqrt),
            max_depth: None,
            min_samples_split: 2,
            min_samples_leaf: 1,
            bootstrap: true,
            class_weight: ClassWeightChoice::Uniform,
        }
    }
}

impl Default for ExtraTreesParameters {
    fn default() -> Self {
        Self {
            trees: 200,
            max_features: FeatureChoice::Rule(FeatureRule::Sqrt),
            max_depth: None,
            min_samples_split: 2,
            min_samples_leaf: 1,
            bootstrap: false,
            class_weight: ClassWeightChoice::Uniform,
        }
    }
}

impl RandomForestParameters {
    /// Checks every parameter.
    ///
    /// # Errors
    /// Names the first key that is out of range and what is allowed.
    pub fn check(self) -> Result<RandomForest, ForestParameterError> {
        let parameters = GrowParameters {
            trees: self.trees,
            splitter: Splitter::Best,
            max_features: self.max_features.into(),
            max_depth: self.max_depth,
            min_samples_split: self.min_samples_split,
            min_samples_leaf: self.min_samples_leaf,
            bootstrap: self.bootstrap,
            class_weight: self.class_weight.into(),
        };
        check(&parameters)?;
        Ok(RandomForest { parameters })
    }
}

impl ExtraTreesParameters {
    /// Checks every parameter.
    ///
    /// # Errors
    /// Names the first key that is out of range and what is allowed.
    pub fn check(self) -> Result<ExtraTrees, ForestParameterError> {
        let parameters = GrowParameters {
            trees: self.trees,
            splitter: Splitter::Random,
            max_features: self.max_features.into(),
            max_depth: self.max_depth,
            min_samples_split: self.min_samples_split,
            min_samples_leaf: self.min_samples_leaf,
            bootstrap: self.bootstrap,
            class_weight: self.class_weight.into(),
        };
        check(&parameters)?;
        Ok(ExtraTrees { parameters })
    }
}

impl RandomForest {
    /// Grows the forest on the rows of `x`; see [`grow`].
    ///
    /// # Errors
    /// As [`grow`].
    pub fn fit(
        &self,
        x: &Matrix,
        y: &[u32],
        n_classes: usize,
        weights: Option<&[f64]>,
        seed: Seed,
        observer: &dyn Observer,
    ) -> Result<Grown, GrowError> {
        grow(x, y, n_classes, weights, &self.parameters, seed, observer)
    }
}

impl ExtraTrees {
    /// Grows the forest on the rows of `x`; see [`grow`].
    ///
    /// # Errors
    /// As [`grow`].
    pub fn fit(
        &self,
        x: &Matrix,
        y: &[u32],
        n_classes: usize,
        weights: Option<&[f64]>,
        seed: Seed,
        observer: &dyn Observer,
    ) -> Result<Grown, GrowError> {
        grow(x, y, n_classes, weights, &self.parameters, seed, observer)
    }
}

impl From<FeatureChoice> for MaxFeatures {
    fn from(choice: FeatureChoice) -> Self {
        match choice {
            FeatureChoice::Rule(FeatureRule::Sqrt) => Self::SquareRoot,
            FeatureChoice::Rule(FeatureRule::Log2) => Self::Log2,
            FeatureChoice::Rule(FeatureRule::All) => Self::All,
            FeatureChoice::Count(count) => Self::Count(count),
            FeatureChoice::Share(share) => Self::Share(share),
        }
    }
}

impl From<ClassWeightChoice> for ClassWeight {
    fn from(choice: ClassWeightChoice) -> Self {
        match choice {
            ClassWeightChoice::Uniform => Self::Uniform,
            ClassWeightChoice::Balanced => Self::Balanced,
            ClassWeightChoice::BalancedSubsample => Self::BalancedSubsample,
        }
    }
}

fn check(parameters: &GrowParameters) -> Result<(), ForestParameterError> {
    let refuse = |key, value: String, expected| Err(ForestParameterError { key, value, expected });
    if !(1..=100_000).contains(&parameters.trees) {
        return refuse("trees", parameters.trees.to_string(), "1 to 100000");
    }
    if parameters.max_depth == Some(0) {
        return refuse("max_depth", "0".to_owned(), "1 or more, or nothing for no limit");
    }
    if parameters.min_samples_split < 2 {
        return refuse("min_samples_split", parameters.min_samples_split.to_string(), "2 or more");
    }
    if parameters.min_samples_leaf < 1 {
        return refuse("min_samples_leaf", "0".to_owned(), "1 or more");
    }
    match parameters.max_features {
        MaxFeatures::Share(share) if !(share > 0.0 && share <= 1.0) => refuse(
            "max_features",
            share.to_string(),
            "\"sqrt\", \"log2\", \"all\", a share in (0, 1] or a count",
        ),
        MaxFeatures::Count(0) => refuse(
            "max_features",
            "0".to_owned(),
            "\"sqrt\", \"log2\", \"all\", a share in (0, 1] or a count",
        ),
        _ => Ok(()),
    }
}
